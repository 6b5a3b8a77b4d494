"""Copula: each layer's energy is divided between rings and arcs, all layers at once, by correlated noise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from fastv.detector.detector import Detector
from fastv.models.codings.preprocessing import above_threshold
from fastv.models.codings.response import ResponseCoding
from fastv.models.contract import Batch, ConditionScaler, Domain, Generator, GeneratorSettings, NoiseSpec
from fastv.models.division_tree import Outcomes, Tree, sums
from fastv.models.energy_bins import EnergyBins
from fastv.models.layer_tree import LayerTree
from fastv.models.networks import MLP
from fastv.models.noise_factors import NoiseFactors
from fastv.models.plain_division import PARAMETERS, initial_parameters, level_of, log_prob
from fastv.models.response import FreeResponse, ResponseShape, response_of
from fastv.models.slant import Slant

_UNIT = 1.0001
"""Least energy of a voxel in units of the threshold: rounding must not take it below the threshold."""
_JOINT_LEVELS = 2
"""Levels in alpha whose divisions are correlated: halves and quarters of rings, which tell the axis of a shower."""
_CALIBRATION_ROWS, _LEAST_CALIBRATION = 12_000, 100
_START_ROWS = 250
"""Showers in a bin as which the correlations of the start count when a model is adapted.

Adapted to lead and scintillator with 1000 showers, 158 a bin, the AUC is 0.012 to 0.015 higher with correlations of
these alone than with those of the start; both together are as good as the latter.
"""
_PART = 500
"""Showers whose divisions are computed at once."""
_CONTEXT_START = 5.0
"""Factor of the first weights of the context in the network that sees all layer energies."""


class CopulaSettings(GeneratorSettings):
    """Settings of :class:`Copula`.

    Attributes:
        response: shape of the response's distribution: ``free``, or ``sinh-arcsinh`` for a single peak (faster).
        layer_hidden, layer_dropout: width and dropout of the networks that divide the visible energy between layers.
        layer_bound: largest deviation of a block's energy from its mean that these networks see, in standard
            deviations; needed below 1 GeV, where many blocks are empty. None for any.
        summary: width of the network that sees all layer energies.
        width: of a layer's token, which tells rings and arcs about their layer and its neighbours.
        depth_kernel: size of the convolution of tokens along the shower axis.
        ring_hidden: width of the networks that divide a layer between its rings.
        alpha_context: width of the network that sees the rings of a layer and its neighbours.
        alpha_hidden: width of the networks that divide a ring between its arcs.
        slant: whether divisions in alpha of inclined showers are told what part of a ring lies in front of the
            calorimeter (:class:`~fastv.models.slant.Slant`).
        factors: common factors of the noise of layers, of rings, and in alpha; 0 for independent divisions.
        correlation_bins: bins of incident energy, each with correlations of its own.
    """

    response: ResponseShape = "free"
    layer_hidden: PositiveInt = 128
    layer_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    layer_bound: PositiveFloat | None = None
    summary: PositiveInt = 64
    width: PositiveInt = 32
    depth_kernel: Literal[1, 3, 5, 7, 9] = 5
    ring_hidden: PositiveInt = 32
    alpha_context: PositiveInt = 48
    alpha_hidden: PositiveInt = 8
    slant: bool = False
    factors: NonNegativeInt = 24
    correlation_bins: PositiveInt = 4


class Copula(Generator):
    r"""Divides energies like a cascade, but all layers at once, and correlates the divisions by their noise.

    With the response t, layer energies e, and a division giving E -> (E_1, E - E_1),

        p(x | c) = p(t | c)  p(e | t, c)  prod_(divisions) p(E_1 | E, what is known before, t, c) ,

    times a Gaussian copula of the divisions.

    * p(t | c) is that of :class:`~fastv.models.fastv.FastV`.
    * The visible energy is divided between halves of the layers, down to layers. A division sees all blocks of its
      level (:class:`~fastv.models.layer_tree.LayerTree`).
    * The energy of a layer is divided between blocks of rings, in the middle, down to rings. A division sees all blocks
      of its level in its own layer and in the next ones, and a token of its layer, which knows all layer energies.
    * The energy of a ring is divided between arcs, down to voxels. A division sees the arcs beside its own, and the
      energies of all rings of its layer and of the next ones. At normal incidence all divisions of a level are alike.
      Showers at an angle are only symmetric under alpha -> -alpha: divisions that are no mirror images of each other
      have laws of their own (:class:`~fastv.models.division_tree.Tree`).
    * Each division is a small distribution with a likelihood (:mod:`~fastv.models.plain_division`, of layers
      :mod:`~fastv.models.stepped_division`), a function of normal noise, and training maximises the likelihood of all
      divisions at once.
    * After training, the noise that would give the training showers is computed, and its correlations are fitted
      (:class:`~fastv.models.noise_factors.NoiseFactors`), for the divisions of layers, of rings, and in alpha: the axes
      and widths of all layers of a shower are correlated. A division alone keeps its distribution.

    All operations are dense and there are few of them, so that generation of single showers is fast. Energies add up
    exactly, no voxel is below the threshold, and there is no energy that the shower does not have.

    Shapes: showers (N, V) MeV, conditions (N, C); noise (N, 2 + D + 3 factors + 2 L normal columns, with a
    single peak also a uniform one), D the number of divisions.

    Raises:
        SettingsError: the mesh has layers of different segmentation.

    Source: multiplicative cascades: Mandelbrot, J. Fluid Mech. 62 (1974) 331; copulas of normal noise: Nelsen, An
    Introduction to Copulas, 2nd ed., section 3.1.
    """

    family: ClassVar[str] = "copula"
    Settings: ClassVar[type[GeneratorSettings]] = CopulaSettings
    chain_of_choices: ClassVar[bool] = True
    calibration_showers: ClassVar[int] = 40_000
    settings: CopulaSettings

    def __init__(self, settings: CopulaSettings, detector: Detector, domain: Domain) -> None:
        super().__init__(settings, detector, domain)
        self.settings = settings
        # A detector without a threshold gets one that is far below any energy of interest.
        self.unit = _UNIT * (detector.threshold or 1e-6)
        self.adapted = domain.told_as is not None
        self.layers, self.alpha, self.rings = detector.mesh.shape
        self.scaler = ConditionScaler(settings.conditions, domain)
        context = self.scaler.size + 1
        self.response = response_of(settings.response, self.scaler.size)
        self.layer_tree = LayerTree(
            self.layers, context, settings.layer_hidden, settings.layer_dropout, settings.layer_bound
        )
        # An adapted model has the networks of the model that it started from.
        inclined = (domain.told_as or domain).inclined
        told = settings.slant and inclined and "theta" in settings.conditions
        slant = Slant(self.scaler, detector.mesh) if told else None
        self.cells = Cells(self.layers, self.alpha, self.rings, context, settings, inclined=inclined, slant=slant)
        self.bins = EnergyBins(settings.correlation_bins, domain.energy[1])
        uniform = self.response.uniform
        # Of the response, of the straightened total, of the divisions, of rare losses.
        self._columns = [1, 1, *self.cells.noise, uniform]
        self.shower_noise = NoiseSpec(normal=sum(self._columns) - uniform, uniform=uniform)

    @property
    def response_coding(self) -> ResponseCoding | None:
        """The coding of the response, if its shape is free."""
        return self.response.coding if isinstance(self.response, FreeResponse) else None

    def fit_response(self, fraction: Tensor, incident: Tensor) -> None:
        """Fit the scale of the response."""
        self.response.fit(fraction, incident)

    def fit(self, batch: Batch) -> None:
        """Fit the scales of response and layers."""
        scaled, fraction, _ = self._given(batch)
        self.response.fit(fraction, batch.conditions[:, :1])
        energies = self._in_units(batch.energies)
        self.layer_tree.fit(energies.sum((2, 3)), scaled[:, :1], energies, adapted=self.adapted)

    def _given(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Scaled conditions, responses, context of the divisions."""
        scaled, incident = self.scaler(batch.conditions), batch.conditions[:, :1]
        fraction = batch.energies.sum(1, keepdim=True) / incident
        return scaled, fraction, torch.cat([scaled, self.response.context(fraction, incident)], dim=1)

    def _in_units(self, energies: Tensor) -> Tensor:
        """Energies (N, L, A, R) in units of the least one, of voxels (N, V) in MeV."""
        return energies.view(-1, self.layers, self.alpha, self.rings) / self.unit

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Terms ``response``, ``layers``, ``undivided``, ``rings``, ``alpha``, and their sum ``loss``; nats per shower.

        ``undivided`` is the price of :class:`~fastv.models.undivided.Undivided` for blocks of layers.
        """
        scaled, fraction, context = self._given(batch)
        energies = self._in_units(batch.energies)
        of_layers, price = self.layer_tree.objective(energies.sum((2, 3)), context)
        log_probs = {
            "response": self.response.log_prob(fraction, scaled, batch.conditions[:, :1]),
            "layers": of_layers,
            "undivided": -price,
            **self.cells.log_prob(energies, context),
        }
        terms = {name: -each.mean() for name, each in log_probs.items()}
        return {"loss": torch.stack(list(terms.values())).sum(), **terms}

    @torch.no_grad()
    def calibrate(self, batch: Batch) -> None:
        """Fit the correlations of the divisions to training showers; few showers keep those of an adapted model."""
        if not self.settings.factors:
            return
        if self.adapted and len(batch.energies) < _LEAST_CALIBRATION * self.settings.correlation_bins:
            return
        self.bins.fit(batch.conditions[:, 0])
        for number, rows in enumerate(self.bins(batch.conditions[:, :1]).bool().T):
            # Showers of few energies leave bins empty, and correlations of a few showers are chance.
            if rows.sum() < _LEAST_CALIBRATION:
                continue
            energies, conditions = (each[rows][:_CALIBRATION_ROWS] for each in (batch.energies, batch.conditions))
            parts = zip(torch.split(energies, _PART), torch.split(conditions, _PART), strict=True)
            given = (self._for_calibration(Batch(*part), turned=len(energies) < _CALIBRATION_ROWS) for part in parts)
            self.cells.calibrate(given, number, start=_START_ROWS if self.adapted else 0)

    def _for_calibration(self, showers: Batch, *, turned: bool) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Energies, context, and limits of the noise between layers; ``turned`` adds showers that symmetry makes."""
        energies, context = self._in_units(showers.energies), self._given(showers)[2]
        if turned:  # there are not enough: a quarter of a turn, or mirror images of showers at an angle
            others = energies.flip(2) if self.domain.inclined else energies.roll(max(1, self.alpha // 4), dims=2)
            energies, context = torch.cat([energies, others]), context.repeat(2, 1)
        return energies, context, self.layer_tree.limits(energies.sum((2, 3)), context)

    def draw(self, conditions: Tensor, noise: Tensor) -> Tensor:
        """Voxel energies (N, V) in MeV."""
        of_response, of_total, *of_divisions, of_loss = torch.split(noise, self._columns, dim=1)
        scaled, incident = self.scaler(conditions), conditions[:, :1]
        fraction, seen = self.response.sample(of_response, of_loss, scaled, incident)
        context = torch.cat([scaled, seen], dim=1)
        total = (fraction * incident / self.unit).clamp(min=1.0)
        of_layers, of_rings, of_alpha = self.cells.correlated(tuple(of_divisions), self.bins(incident))
        layers = self.layer_tree.sample(total, context, of_total, of_layers)
        voxels = self.cells.sample(layers, context, of_rings, of_alpha)
        # Of an energy that is all in one part, rounding may leave a trace in the other.
        return above_threshold(voxels * self.unit, self.detector.threshold or 0.5 * self.unit)


class Cells(nn.Module):
    """Layers divided between their rings, and rings between their arcs.

    Energies are in units of the least one; inside, the axes are blocks, then rings, then layers, of which the last two
    are one axis of M = R L for the divisions in alpha.

    Args:
        layers, alpha, rings: L, A and R.
        context: columns of the context.
        settings: of the family.
        inclined: whether showers are at an angle, which makes them symmetric under alpha -> -alpha only.
        slant: what divisions in alpha are told of the angle, from the context.
    """

    def __init__(
        self,
        layers: int,
        alpha: int,
        rings: int,
        context: int,
        settings: CopulaSettings,
        *,
        inclined: bool,
        slant: Slant | None = None,
    ) -> None:
        super().__init__()
        self.slant = slant
        self.layers, self.alpha, self.rings = layers, alpha, rings
        folded = inclined and alpha % 2 == 0
        self.of_rings, self.of_alpha = Tree(rings), Tree(alpha, folded=folded)
        # At normal incidence no alpha is preferred, and all divisions of a level are alike.
        self.kinds = [(each.kinds if folded else len(each.divided)) if inclined else 1 for each in self.of_alpha.levels]
        width, ring, arc, factors = settings.width, settings.ring_hidden, settings.alpha_hidden, settings.factors
        self.ring_hidden, self.alpha_hidden = ring, arc
        self.summary = MLP(layers + context, (settings.summary,), width)
        self.near = nn.Conv1d(1, width, 9, padding=4)
        self.of_layer = nn.Parameter(0.1 * torch.randn(width, layers))
        self.mixer = nn.Conv1d(width, width, settings.depth_kernel, padding=settings.depth_kernel // 2)
        levels = self.of_rings.levels
        self.ring_token = nn.Conv1d(width, ring * max(1, len(levels)), 1)
        self.ring_input = nn.ModuleList(nn.Conv1d(len(each.blocks), ring, 3, padding=1, bias=False) for each in levels)
        self.ring_output = nn.ModuleList(nn.Conv1d(ring, PARAMETERS * size, 1) for size in self.of_rings.sizes)
        self.alpha_near = nn.Conv1d(rings * (1 if slant is None else 2), settings.alpha_context, 3, padding=1)
        self.alpha_token = nn.Conv1d(width, settings.alpha_context, 1, bias=False)
        sees = [len(each.beside()) + 1 for each in self.of_alpha.levels]
        self.alpha_own = nn.Conv1d(settings.alpha_context, arc * max(1, sum(self.kinds)) * rings, 1)
        self.alpha_input = nn.ParameterList(torch.randn(arc, k) / (3 * k) for k in sees)
        self.alpha_output = nn.ParameterList(0.02 * torch.randn(PARAMETERS, arc) for _ in sees)
        self._start(inclined=inclined)
        # Groups of divisions that are correlated: those of rings, and those of the first levels in alpha, of which all
        # of a layer and level share a local factor, the axis of the layer. Later divisions are independent.
        cells, sizes = rings * layers, self.of_alpha.sizes
        self.joint = sum(sizes[:_JOINT_LEVELS])
        blocks = [level for level, size in enumerate(sizes[:_JOINT_LEVELS]) for _ in range(size)]
        local = [layers * level + layer for level in blocks for _ in range(rings) for layer in range(layers)]
        bins = settings.correlation_bins
        # What divisions between layers have in common with those of rings is known from the layer energies.
        self.layer_factors = NoiseFactors(layers - 1, factors, bins=bins)
        self.ring_factors = NoiseFactors(layers * (rings - 1), factors, bins=bins)
        self.alpha_factors = NoiseFactors(self.joint * cells, factors, local if factors else (), bins=bins)
        self.noise = [
            *self.layer_factors.noise,
            *self.ring_factors.noise,
            *self.alpha_factors.noise,
            *(size * cells for size in sizes[_JOINT_LEVELS:]),
        ]

    @torch.no_grad()
    def _start(self, *, inclined: bool) -> None:
        """Start from the initial law everywhere; in alpha the last hidden unit is the constant term."""
        start = initial_parameters()
        if inclined:
            # Else the angle, of order one, is lost among the levels of so many layers.
            self.summary.get_parameter("0.weight")[:, self.layers :] *= _CONTEXT_START
        for output in self.ring_output:
            assert isinstance(output, nn.Conv1d)
            assert output.bias is not None
            nn.init.normal_(output.weight, std=0.02)
            output.bias.copy_(start.repeat_interleave(len(output.bias) // PARAMETERS))
        arc = self.alpha_hidden
        bias = self.alpha_own.bias
        assert bias is not None
        bias.view(-1, arc, self.rings)[:, -1] = 1.0
        self.alpha_own.weight.view(-1, arc, self.rings, self.alpha_own.in_channels)[:, -1] = 0.0
        for inputs, outputs in zip(self.alpha_input, self.alpha_output, strict=True):
            inputs[-1] = 0.0
            outputs[:, -1] = start

    def _tokens(self, levels: Tensor, context: Tensor) -> Tensor:
        """Tokens (N, W, L) of layers, from their levels (N, L)."""
        shower = self.summary(torch.cat([levels, context], dim=1))[:, :, None]
        return F.silu(self.mixer(F.silu(self.near(levels[:, None]) + self.of_layer + shower)))

    def _ring_contexts(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """For each level of rings what its network knows of a layer, (N, H, L)."""
        return torch.split(self.ring_token(tokens), self.ring_hidden, dim=1)

    def _ring_parameters(self, number: int, levels: Tensor, context: Tensor) -> Tensor:
        """Parameters (N, 4 n, L) of the divisions, from levels (N, B, L) of blocks of rings."""
        parameters: Tensor = self.ring_output[number](F.silu(self.ring_input[number](levels) + context))
        return parameters

    def _alpha_contexts(self, tokens: Tensor, levels: Tensor, context: Tensor) -> tuple[Tensor, ...]:
        """For each level of arcs what its network knows of a ring, (N, K, H, M) for K kinds, from levels (N, R, L)."""
        if self.slant is not None:
            levels = torch.cat([levels, self.slant(context)], dim=1)
        own = self.alpha_own(F.silu(self.alpha_near(levels) + self.alpha_token(tokens)))
        if not self.kinds:
            return ()
        cells = self.rings * self.layers
        return torch.split(own.view(-1, sum(self.kinds), self.alpha_hidden, cells), self.kinds, dim=1)

    def _of_arcs(self, number: int, hidden: Tensor, context: Tensor) -> Tensor:
        """Hidden units (N, n, H, M) of the divisions of a level with those (N, K, H, M) of their kinds."""
        kinds = self.kinds[number]
        if kinds == 1:
            return hidden + context
        return (hidden.view(-1, kinds, hidden.shape[1] // kinds, *hidden.shape[2:]) + context[:, :, None]).flatten(1, 2)

    def correlated(
        self, noise: tuple[Tensor, ...], bins: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Noise of the divisions between layers (N, L - 1), of the levels of rings (N, n, L), and in alpha."""
        cells, sizes = self.rings * self.layers, self.of_alpha.sizes
        of_rings: tuple[Tensor, ...] = ()
        of_alpha: tuple[Tensor, ...] = ()
        of_layers = self.layer_factors(*noise[:3], bins)
        if self.of_rings.levels:
            each = self.ring_factors(*noise[3:6], bins)
            of_rings = torch.split(each.view(-1, self.rings - 1, self.layers), self.of_rings.sizes, dim=1)
        if self.of_alpha.levels:
            each = self.alpha_factors(*noise[6:9], bins).view(-1, self.joint, 1, cells)
            of_alpha = torch.split(each, sizes[:_JOINT_LEVELS], dim=1)
        later = zip(noise[9:], sizes[_JOINT_LEVELS:], strict=True)
        return of_layers, of_rings, (*of_alpha, *(each.view(-1, size, 1, cells) for each, size in later))

    def sample(
        self, layers: Tensor, context: Tensor, z_rings: tuple[Tensor, ...], z_alpha: tuple[Tensor, ...]
    ) -> Tensor:
        """Voxel energies (N, V) of layer energies (N, L), from the noise of :meth:`correlated`."""
        half = 0.5 * layers
        x = level_of(half)
        tokens = self._tokens(x, context)
        half, x = half[:, None], x[:, None]
        for number, (of_layer, z) in enumerate(zip(self._ring_contexts(tokens), z_rings, strict=False)):
            parameters = self._ring_parameters(number, x, of_layer)
            half = 0.5 * self.of_rings.following(number, half, x, parameters, z)
            x = level_of(half)
        half, x = self.of_rings.in_order(half), self.of_rings.in_order(x)
        contexts = self._alpha_contexts(tokens, x, context)
        half, x = (each.view(-1, 1, 1, self.rings * self.layers) for each in (half, x))
        energies = 2 * half
        for number, z in enumerate(z_alpha):
            if number:
                half = 0.5 * energies
                x = level_of(half)
            hidden = self.alpha_input[number] @ self.of_alpha.with_beside(number, x)
            parameters = self.alpha_output[number] @ F.relu(self._of_arcs(number, hidden, contexts[number]))
            energies = self.of_alpha.following(number, half, x, parameters, z)
        energies = self.of_alpha.in_order(energies).view(-1, self.alpha, self.rings, self.layers)
        return energies.permute(0, 3, 1, 2).flatten(1)

    def outcomes(self, voxels: Tensor, context: Tensor) -> Iterator[Outcomes]:
        """The divisions of all levels, of voxels (N, L, A, R); only those that have energy."""
        arcs = voxels.permute(0, 2, 3, 1)
        rings = arcs.sum(1)
        tokens = self._tokens(level_of(0.5 * rings.sum(1)), context)
        for number, (level, of_layer) in enumerate(
            zip(self.of_rings.levels, self._ring_contexts(tokens), strict=False)
        ):
            whole, first = sums(rings, level.blocks), sums(rings, level.firsts)
            x = level_of(0.5 * whole)
            parameters = self._ring_parameters(number, x, of_layer).view(len(voxels), PARAMETERS, -1, self.layers)
            whole, x = self.of_rings.of_divided(number, whole), self.of_rings.of_divided(number, x)
            at = (whole > 0).nonzero(as_tuple=True)
            rows = parameters[at[0], :, at[1], at[2]]
            yield Outcomes("rings", number, at, *log_prob(whole[at], first[at], x[at], rows))
        contexts = self._alpha_contexts(tokens, level_of(0.5 * rings), context)
        arcs = self.of_alpha.as_divided(arcs.flatten(2))
        for number, level in enumerate(self.of_alpha.levels):
            whole, first = sums(arcs, level.blocks), sums(arcs, level.firsts)
            x = level_of(0.5 * whole)
            beside = self.of_alpha.with_beside(number, x[:, :, None])
            whole, x = self.of_alpha.of_divided(number, whole), self.of_alpha.of_divided(number, x)
            # Few arcs have energy, and only these pass through the network.
            at = (whole > 0).nonzero(as_tuple=True)
            shower, arc, cell = at
            kinds = self.kinds[number]
            kind = torch.div(arc * kinds, self.of_alpha.sizes[number], rounding_mode="floor")
            of_ring = contexts[number].transpose(2, 3).flatten(0, 2)[(shower * kinds + kind) * arcs.shape[2] + cell]
            hidden = F.relu(beside[shower, arc, :, cell] @ self.alpha_input[number].T + of_ring)
            rows = hidden @ self.alpha_output[number].T
            yield Outcomes("alpha", number, at, *log_prob(whole[at], first[at], x[at], rows))

    def log_prob(self, voxels: Tensor, context: Tensor) -> dict[str, Tensor]:
        """Logarithm of the density of divisions of ``rings`` and in ``alpha``, (N,), in nats, without the copula."""
        result = {name: voxels.new_zeros(len(voxels)) for name in ("rings", "alpha")}
        for each in self.outcomes(voxels, context):
            result[each.name] = result[each.name].index_add(0, each.at[0], each.log_prob)
        return result

    def calibrate(
        self, showers: Iterable[tuple[Tensor, Tensor, tuple[Tensor, Tensor]]], number: int, start: int = 0
    ) -> None:
        """Fit the correlations of the noise in a bin to parts of training showers.

        A part has voxels (N, L, A, R), the context, and the least and the largest noise of divisions between layers.
        The present correlations count as ``start`` showers.
        """
        tables = [self._limits(*each) for each in showers]
        each = self.layer_factors, self.ring_factors, self.alpha_factors
        for parts, factors in zip(zip(*tables, strict=True), each, strict=True):
            low, high = torch.cat(parts, dim=1)
            factors.fit(low, high, number, start=start)

    def _limits(self, voxels: Tensor, context: Tensor, layers: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        """Least and largest noise (2, N, P) of the divisions of layers, of those of rings, and of those in alpha."""
        none = voxels.new_empty(2, len(voxels), 0)
        of_rings, of_alpha = [none], [none]
        for each in self.outcomes(voxels, context):
            rings = each.name == "rings"
            if rings or each.number < _JOINT_LEVELS:
                size = (self.of_rings if rings else self.of_alpha).sizes[each.number]
                found = each.limits((len(voxels), size, self.layers if rings else self.rings * self.layers))
                (of_rings if rings else of_alpha).append(torch.stack(found).flatten(2))
        return torch.stack(layers), torch.cat(of_rings, dim=2), torch.cat(of_alpha, dim=2)
