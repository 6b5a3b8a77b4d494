"""Joint embedding: showers and conditions in one space, in which they are near if they belong together."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from fastv.conditions.table import CONDITIONS
from fastv.detector.detector import Detector
from fastv.models.codes import Code
from fastv.models.contract import Batch, ConditionScaler, Domain, Generator, GeneratorSettings
from fastv.models.layer_grid import LayerGrid
from fastv.models.moments import MOMENTS, ShowerMoments
from fastv.models.networks import MLP, DepthMixer

_REACH = 8.0
"""Standard deviations beyond which all showers are alike."""
_KNOWN = 4000
"""Conditions of training showers that are kept as those of other showers."""
_PIECE = 500
_LEAST = 50
"""Showers of which a temperature is learnt."""
_TEMPERATURES = torch.logspace(math.log10(0.5), math.log10(2.0), 41)
_CELLS = 1000
_OTHERS = 24
"""Values of all other conditions over which the posterior of the energy is averaged."""
_EXPONENTS = torch.logspace(math.log10(0.5), math.log10(4.0), 25)
_ENDS = (0.16, 0.84)
_STEPS = 300
_HELD = 1.0


class EmbeddingSettings(GeneratorSettings):
    """Settings of :class:`Embedding`.

    Attributes:
        size: dimensions of the space.
        coordinates: learned numbers of a shower of which its place is a function.
        width: numbers of a layer inside the network of showers.
        mixing: convolutions along the layers; 0 for none.
        hidden: widths of the network that makes coordinates of all layers.
        dropout: probability of dropout in it, in training.
        waves: octaves of the waves that tell near values of a coordinate or a condition apart.
        head: widths of the networks from the waves to the space.
        others: conditions of other training showers, beside those of the batch, among which a shower finds its own.
        sharpness: inverse temperature at the start of the training.
    """

    size: PositiveInt = 64
    coordinates: Annotated[int, Field(ge=1)] = 8
    width: PositiveInt = 16
    mixing: NonNegativeInt = 2
    hidden: tuple[PositiveInt, ...] = (256,)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    waves: Annotated[int, Field(ge=1, le=12)] = 8
    head: tuple[PositiveInt, ...] = (256,)
    others: Annotated[int, Field(ge=0, le=_KNOWN)] = 1500
    sharpness: PositiveFloat = 40.0


class Embedding(Generator):
    r"""Showers x and their conditions c in one space, trained contrastively; it draws no showers.

    Two networks give places of length 1: f(x), which is told nothing of the conditions, and g(c). The product

        s(x, c) = f(x) . g(c) / t

    with a temperature t is trained with both InfoNCE losses: in a batch, each shower shall find its own conditions
    (``conditions_found``; also among the conditions of ``others``), and each conditions their own shower
    (``showers_found``):

        - mean_i log exp s(x_i, c_i) / sum_j exp s(x_i, c_j),   - mean_i log exp s(x_i, c_i) / sum_j exp s(x_j, c_i)

    The loss is the mean of both. It is least for s(x, c) = log p(x | c) / p(x) + constant. So exp s is a likelihood
    up to a factor: times any prior it gives the posterior p(c | x) of the conditions of a shower, and with given
    conditions it orders showers by how well they belong to them. :meth:`calibrate` sets t once more, to the value with
    which the showers of validation find their conditions best.

    One t does not fit all of that: at high energies, which are told to a percent, networks learn the energy less
    sharply than particle and angles, and a smaller t would make them too sure of these. So the posterior of the energy
    alone is raised to a power (:meth:`energy_exponent`), which is a smooth function of the estimated energy,

        p(E | x)^k / sum,   k = exp(a + b v + d v^2 + e v^3),   v from -1 to 1 over the domain in ln E,

    with the a, b, d and e for which the central 68 % of the energy have the best interval score on the showers of
    validation.

    f sees the moments y of a shower (:class:`~fastv.models.moments.ShowerMoments`), and of each layer
    log(1 + E / threshold) of the energy in each ring and in all, the logarithm of the number of hits, and the centre in
    x and y, all standardised. Convolutions along the layers and a network make a few coordinates z of them, with a
    linear function of y in addition; the first is ln E_tot at the start. As energies are told apart to a percent over
    three orders of magnitude, networks see waves sin(2^k z), cos(2^k z) of coordinates and of the scaled conditions.

    Shapes: showers (N, V) MeV -> (N, size); conditions (M, C) -> (M, size).

    Source: InfoNCE: van den Oord et al., arXiv 1807.03748; both directions and the learned temperature: Radford et al.,
    arXiv 2103.00020 (CLIP); waves: Tancik et al., arXiv 2006.10739; one temperature after training: Guo et al., arXiv
    1706.04599; interval score: Gneiting and Raftery, J. Am. Stat. Assoc. 102 (2007) 359, equation (43).
    """

    family: ClassVar[str] = "embedding"
    Settings: ClassVar[type[GeneratorSettings]] = EmbeddingSettings
    any_mesh: ClassVar[bool] = True
    instead: ClassVar[str] = (
        "it finds showers by their conditions (`fastv.representation.matching.retrieve`), and conditions by showers "
        "(`fastv.representation.estimation.estimate_file`)"
    )
    calibration_part: ClassVar[Literal["training", "validation"]] = "validation"
    settings: EmbeddingSettings
    centres: Tensor
    location: Tensor
    spread: Tensor
    moment_location: Tensor
    moment_spread: Tensor
    known: Tensor
    temperature: Tensor
    energy_power: Tensor

    def __init__(self, settings: EmbeddingSettings, detector: Detector, domain: Domain) -> None:
        super().__init__(settings, detector, domain)
        self.settings = how = settings
        self.scaler = ConditionScaler(settings.conditions, domain)
        self.grid = LayerGrid.of(detector.mesh)
        self.moments = ShowerMoments(detector)
        self.unit = detector.threshold or 1e-3
        layers, _, rings = self.grid.shape
        columns = rings + 4
        self.token = nn.Linear(columns, how.width)
        self.mixer = DepthMixer(how.width, how.mixing, kernel=5)
        self.encoder = MLP(layers * how.width + len(MOMENTS), how.hidden, how.coordinates, how.dropout)
        self.linear = nn.Linear(len(MOMENTS), how.coordinates)
        self.head = MLP(how.coordinates * (1 + 2 * how.waves), how.head, how.size)
        continuous = sum(not CONDITIONS[name].choices for name in settings.conditions)
        self.places = MLP(self.scaler.size + 2 * continuous * how.waves, how.head, how.size)
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(how.sharpness)))
        with torch.no_grad():
            # At first the coordinates are those of the moments alone.
            *_, weight, bias = self.encoder.parameters()
            weight.mul_(0.1)
            bias.zero_()
            self.linear.weight.mul_(0.3)
            self.linear.weight[0].copy_(torch.eye(len(MOMENTS))[0])
            self.linear.bias.zero_()
        centres = torch.from_numpy(detector.mesh.voxel_centres[:, :2].T.copy()).float()
        self.register_buffer("centres", centres, persistent=False)
        self.register_buffer("location", torch.zeros(layers, columns))
        self.register_buffer("spread", torch.ones(layers, columns))
        self.register_buffer("moment_location", torch.zeros(len(MOMENTS)))
        self.register_buffer("moment_spread", torch.ones(len(MOMENTS)))
        self.register_buffer("known", torch.ones(_KNOWN, len(settings.conditions)))
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("energy_power", torch.zeros(4))

    @torch.no_grad()
    def fit(self, batch: Batch) -> None:
        """Fit location and spread of what is seen, and keep conditions of training showers."""
        layers, moments = self._raw(batch.energies)
        for values, location, spread in (
            (layers, self.location, self.spread),
            (moments, self.moment_location, self.moment_spread),
        ):
            location.copy_(values.mean(0))
            spread.copy_(values.std(0).clamp(min=1e-2))
        self.known.copy_(batch.conditions[torch.arange(_KNOWN) % len(batch.conditions)])

    def _raw(self, energies: Tensor) -> tuple[Tensor, Tensor]:
        """What is seen of each layer, (N, L, rings + 4), and the moments (N, 8)."""
        grid = self.grid(energies)
        rings, hits = grid.sum(2), (grid > 0).to(energies.dtype).sum((2, 3))
        total = rings.sum(2)
        sums = [self.grid(energies * centre).sum((2, 3)) for centre in self.centres]
        x, y = (torch.where(total > 0, each / torch.where(total > 0, total, 1.0), 0.0) for each in sums)
        columns = [torch.log1p(total / self.unit), torch.log1p(hits), x, y]
        return torch.cat([torch.log1p(rings / self.unit), torch.stack(columns, dim=2)], dim=2), self.moments(energies)

    def _coordinates(self, energies: Tensor) -> Tensor:
        layers, moments = self._raw(energies)
        seen = ((layers - self.location) / self.spread).clamp(-_REACH, _REACH)
        moments = ((moments - self.moment_location) / self.moment_spread).clamp(-_REACH, _REACH)
        tokens = self.mixer(self.token(seen)).flatten(1)
        found: Tensor = self.encoder(torch.cat([tokens, moments], dim=1)) + self.linear(moments)
        return found

    def _place_of_showers(self, energies: Tensor) -> Tensor:
        """f: places (N, size) of length 1."""
        z = self._coordinates(energies)
        return normalize(self.head(torch.cat([z, _waves(z, self.settings.waves)], dim=1)), dim=1)

    def _place_of_conditions(self, conditions: Tensor) -> Tensor:
        """g: places (M, size) of length 1."""
        scaled = self.scaler(conditions)
        sizes = [self.scaler.choices.get(name, 0) or 1 for name in self.condition_names]
        parts = zip(torch.split(scaled, sizes, dim=1), self.condition_names, strict=True)
        values = torch.cat([part for part, name in parts if not CONDITIONS[name].choices], dim=1)
        waves = _waves(0.5 * math.pi * values, self.settings.waves)
        places: Tensor = normalize(self.places(torch.cat([scaled, waves], dim=1)), dim=1)
        return places

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Both losses and their mean; in validation the conditions of the batch alone."""
        n = len(batch.conditions)
        conditions = batch.conditions
        if self.training and self.settings.others:
            chosen = torch.randint(_KNOWN, (self.settings.others,), device=conditions.device)
            conditions = torch.cat([conditions, self.known[chosen]])
        places = self._place_of_conditions(conditions)
        products = self.log_sharpness.exp() * self._place_of_showers(batch.energies) @ places.T
        own = torch.arange(n, device=products.device)
        conditions_found = cross_entropy(products, own)
        showers_found = cross_entropy(products[:, :n].T, own)
        return {
            "loss": 0.5 * (conditions_found + showers_found),
            "conditions_found": conditions_found,
            "showers_found": showers_found,
            "sharpness": self.log_sharpness.detach().exp(),
        }

    @torch.no_grad()
    def calibrate(self, batch: Batch) -> None:
        """Set the temperature to that with which showers find their own conditions best among those of all.

        Then fit the power of the energy's posterior. With fewer than 50 showers, which say little of it, both stay
        those of the training.
        """
        self.temperature.fill_(1.0)
        self.energy_power.zero_()
        if len(batch.energies) < _LEAST:
            return
        showers = torch.cat([self._place_of_showers(part) for part in torch.split(batch.energies, _PIECE)])
        products = showers @ self.embed(batch.conditions).T
        own = torch.arange(len(products))
        losses = torch.stack([cross_entropy(products / t, own) for t in _TEMPERATURES])
        self.temperature.copy_(_TEMPERATURES[losses.argmin()])
        low, high = self.domain.energy
        if low < high:
            middles = (2 * torch.arange(_CELLS, device=products.device) + 1) / _CELLS - 1
            energies = low * (high / low) ** ((middles + 1) / 2)
            log_posterior = self._log_posterior(showers, energies)
            terms = _powers_of(torch.softmax(log_posterior, dim=1) @ middles)
            self.energy_power.copy_(_best_power(log_posterior, terms, self._along(batch.conditions[:, 0])))

    def _log_posterior(self, showers: Tensor, energies: Tensor) -> Tensor:
        """Logarithm (N, K), up to a constant, of the posterior of energies (K,), for places (N, size) of showers.

        Other conditions are those of some training showers.
        """
        parts = []
        for other in self.known[: _OTHERS if len(self.condition_names) > 1 else 1]:
            conditions = other.repeat(len(energies), 1)
            conditions[:, 0] = energies
            parts.append(showers @ self.embed(conditions).T)
        return torch.logsumexp(torch.stack(parts), dim=0)

    def _along(self, energies: Tensor) -> Tensor:
        """Where energies are in the domain, from -1 to 1 in their logarithm."""
        low, high = self.domain.energy
        return 2 * torch.log(energies / low) / math.log(high / low) - 1

    def energy_exponent(self, energies: Tensor) -> Tensor:
        """The power (N,) to which the posterior of the energy is raised where estimates are ``energies`` (N,) MeV."""
        low, high = self.domain.energy
        if not low < high:
            return torch.ones_like(energies)
        return torch.exp(_powers_of(self._along(energies)) @ self.energy_power.to(energies.dtype))

    def encode(self, batch: Batch) -> dict[str, Code]:
        """``embedding``: the place (N, size) of each shower, of length 1."""
        return {"embedding": Code(self._place_of_showers(batch.energies))}

    def embed(self, conditions: Tensor) -> Tensor:
        """The places (M, size) of conditions (M, C), times 1 / t: a product with a code is s, without the constant."""
        return self._place_of_conditions(conditions) * (self.log_sharpness.exp() / self.temperature)


def _waves(values: Tensor, octaves: int) -> Tensor:
    """Sines and cosines of 1, 2, 4, ... times each value, (N, D) -> (N, 2 D octaves)."""
    turns = (values[:, :, None] * 2.0 ** torch.arange(octaves, device=values.device)).flatten(1)
    return torch.cat([torch.sin(turns), torch.cos(turns)], dim=1)


def _powers_of(values: Tensor) -> Tensor:
    """1, v, v^2 and v^3 of values v (N,), (N, 4)."""
    return values.clamp(-1.0, 1.0)[:, None] ** torch.arange(4, device=values.device)


def _best_power(log_posterior: Tensor, terms: Tensor, true: Tensor) -> Tensor:
    """Coefficients (4,) of ln k for which the central intervals of posteriors^k (N, K) have the least mean score.

    Posteriors and ``true`` (N,) are along -1 to 1; ``terms`` (N, 4) are the powers of the estimate.
    """
    scores = torch.stack([_interval_score(torch.softmax(k * log_posterior, dim=1), true) for k in _EXPONENTS])
    one = torch.softmax(log_posterior, dim=1)
    scores = scores / (_quantile(one, _ENDS[1]) - _quantile(one, _ENDS[0])).clamp(min=1e-6)
    logs, step = _EXPONENTS.log(), float(_EXPONENTS[1].log() - _EXPONENTS[0].log())
    with torch.inference_mode(False), torch.enable_grad():
        table, given = scores.clone(), terms.clone()
        found = torch.zeros(terms.shape[1], device=terms.device, requires_grad=True)
        optimizer = torch.optim.Adam([found], lr=0.02)
        for _ in range(_STEPS):
            optimizer.zero_grad()
            place = ((given @ found - logs[0]) / step).clamp(0.0, len(logs) - 1.001)
            cell = place.detach().long()
            at, after = (table.gather(0, (cell + more)[None])[0] for more in (0, 1))
            loss = (at + (place - cell) * (after - at)).mean() + _HELD * found.square().sum() / len(true)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return found.detach()


def _interval_score(posterior: Tensor, true: Tensor) -> Tensor:
    """Width (N,) of the central 68 %, and 2 / 0.32 times by how much the truth is outside: least for true quantiles."""
    low, high = (_quantile(posterior, q) for q in _ENDS)
    missed = (low - true).clamp(min=0.0) + (true - high).clamp(min=0.0)
    return high - low + 2 / (1 - _ENDS[1] + _ENDS[0]) * missed


def _quantile(posterior: Tensor, q: float) -> Tensor:
    """Quantiles (N,), from -1 to 1, of probabilities (N, K) of cells."""
    above = posterior.cumsum(1)
    cell = (above < q).sum(1).clamp(max=posterior.shape[1] - 1)[:, None]
    own = posterior.gather(1, cell)
    inside = ((q - above.gather(1, cell) + own) / own.clamp(min=1e-30)).clamp(0.0, 1.0)
    return (2 * (cell + inside) / posterior.shape[1] - 1)[:, 0]
