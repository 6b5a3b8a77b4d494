"""Copula: each layer's energy is divided between rings and arcs, all layers at once, by correlated noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from fastv.detector.detector import Detector
from fastv.models.codings.preprocessing import above_threshold
from fastv.models.contract import Batch, Domain, GeneratorSettings, NoiseSpec
from fastv.models.divisions import Range
from fastv.models.networks import MLP
from fastv.models.noise_factors import NoiseFactors
from fastv.models.plain_division import PARAMETERS, divide, initial_parameters, level_of, log_prob
from fastv.models.posterior import Covariance
from fastv.models.priors import Prior
from fastv.models.profile import ProfiledGenerator
from fastv.models.response import ResponseShape
from fastv.models.vae import warmup

_UNIT = 1.0001
"""Least energy of a voxel in units of the threshold: rounding must not take it below the threshold."""
_JOINT_LEVELS = 2
"""Levels in alpha whose divisions are correlated: halves and quarters of rings, which tell the axis of a shower."""
_CALIBRATION_ROWS = 6000


class CopulaSettings(GeneratorSettings):
    """Settings of :class:`Copula`.

    Attributes:
        response: shape of the response's distribution: ``free``, or ``sinh-arcsinh`` for a single peak (faster).
        profile_latent: size of the latent vector of the layer energies.
        covariance: of the posterior of this vector.
        prior: of this vector.
        hidden: width of the networks of the layer energies.
        dropout: in the encoder of the layer energies.
        kl_warmup_epochs: epochs over which the weight of the KL divergence increases from 0.
        summary: width of the network that sees all layer energies.
        width: of a layer's token, which tells rings and arcs about their layer and its neighbours.
        depth_kernel: size of the convolution of tokens along the shower axis.
        ring_hidden: width of the networks that divide a layer between its rings.
        alpha_context: width of the network that sees the rings of a layer and its neighbours.
        alpha_hidden: width of the networks that divide a ring between its arcs.
        factors: common factors of the noise of all layers; 0 for independent divisions.
        correlation_bins: bins of incident energy, each with correlations of its own.
    """

    response: ResponseShape = "free"
    profile_latent: PositiveInt = 16
    covariance: Covariance = "full"
    prior: Prior = "gaussian"
    hidden: PositiveInt = 128
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    kl_warmup_epochs: NonNegativeFloat = 5.0
    summary: PositiveInt = 64
    width: PositiveInt = 32
    depth_kernel: Literal[1, 3, 5, 7, 9] = 5
    ring_hidden: PositiveInt = 32
    alpha_context: PositiveInt = 48
    alpha_hidden: PositiveInt = 8
    factors: NonNegativeInt = 24
    correlation_bins: PositiveInt = 4


class Copula(ProfiledGenerator):
    r"""Divides energies like a cascade, but all layers at once, and correlates the divisions by their noise.

    With the response t, layer energies e, and a division giving E -> (E_1, E - E_1),

        p(x | c) = p(t | c)  p(e | t, c)  prod_(divisions) p(E_1 | E, what is known before, t, c) ,

    times a Gaussian copula of the divisions.

    * p(t | c) and p(e | t, c) are those of :class:`~fastv.models.fastv.FastV`.
    * The energy of a layer is divided between blocks of rings, in the middle, down to rings. A division sees all blocks
      of its level in its own layer and in the next ones, and a token of its layer, which knows all layer energies.
    * The energy of a ring is divided between arcs, down to voxels. A division sees the arcs beside its own, and the
      energies of all rings of its layer and of the next ones.
    * Each division is a small distribution with a likelihood (:mod:`~fastv.models.plain_division`), a function of
      normal noise, and training maximises the likelihood of all divisions at once.
    * After training, the noise that would give the training showers is computed, and its correlations between layers
      and rings are fitted (:class:`~fastv.models.noise_factors.NoiseFactors`): the axes and widths of all layers of a
      shower are correlated. A division alone keeps its distribution.

    All operations are dense and there are few of them, so that generation of single showers is fast. Energies add up
    exactly, no voxel is below the threshold, and there is no energy that the shower does not have.

    Shapes: showers (N, V) MeV, conditions (N, C); noise (N, 1 + profile_latent + L + D + 2 factors + 2 L normal columns
    and L uniform ones, with a single peak 1 + L), D the number of divisions.

    Raises:
        SettingsError: the mesh has layers of different segmentation.

    Source: multiplicative cascades: Mandelbrot, J. Fluid Mech. 62 (1974) 331; copulas of normal noise: Nelsen, An
    Introduction to Copulas, 2nd ed., section 3.1.
    """

    family: ClassVar[str] = "copula"
    Settings: ClassVar[type[GeneratorSettings]] = CopulaSettings
    chain_of_choices: ClassVar[bool] = True
    settings: CopulaSettings
    edges: Tensor

    def __init__(self, settings: CopulaSettings, detector: Detector, domain: Domain) -> None:
        super().__init__(settings, detector, domain)
        self.settings = settings
        # A detector without a threshold gets one that is far below any energy of interest.
        self.unit = _UNIT * (detector.threshold or 1e-6)
        self.least = self.unit
        _, self.alpha, self.rings = detector.mesh.shape
        self.cells = Cells(self.layers, self.alpha, self.rings, self.scaler.size + 1, settings)
        self.register_buffer("edges", torch.full((settings.correlation_bins - 1,), domain.energy[1]))
        self._columns = [*self.profile_normal, *self.cells.noise, *self.profile_uniform]
        uniform = sum(self.profile_uniform)
        self.shower_noise = NoiseSpec(normal=sum(self._columns) - uniform, uniform=uniform)

    def fit(self, batch: Batch) -> None:
        """Fit the scales of response and layers."""
        self._fit_profile(batch)

    def _given(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Scaled conditions, responses, context of the divisions."""
        scaled, incident = self.scaler(batch.conditions), batch.conditions[:, :1]
        fraction = batch.energies.sum(1, keepdim=True) / incident
        return scaled, fraction, self._context(scaled, fraction, incident)

    def _in_units(self, energies: Tensor) -> Tensor:
        """Energies (N, L, A, R) in units of the least one, of voxels (N, V) in MeV."""
        return energies.view(-1, self.layers, self.alpha, self.rings) / self.unit

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """``response``, ``profile``, ``rings`` and ``alpha`` terms, the divergence, and ``loss``; nats per shower."""
        scaled, fraction, context = self._given(batch)
        incident, layers = batch.conditions[:, :1], self._layer_energies(batch.energies)
        terms = {"response": -self.response.log_prob(fraction, scaled, incident).mean()}
        profile = self.profile.scale(layers, incident, scaled[:, :1])
        terms["profile"], divergence = self.profile.loss(profile, layers > 0, context)
        terms |= {
            name: -each.mean() for name, each in self.cells.log_prob(self._in_units(batch.energies), context).items()
        }
        weight = warmup(batch.epoch, self.settings.kl_warmup_epochs)
        loss = torch.stack(list(terms.values())).sum() + weight * divergence
        return {"loss": loss, **terms, "profile_kl": divergence}

    @torch.no_grad()
    def calibrate(self, batch: Batch) -> None:
        """Match the mean layer energies to those of training showers, and fit the correlations of divisions to them."""
        super().calibrate(batch)
        incident, bins = batch.conditions[:, 0], self.settings.correlation_bins
        self.edges.copy_(torch.quantile(incident.double(), torch.arange(1, bins).double() / bins).to(self.edges))
        for number, rows in enumerate(self._bins(batch.conditions).bool().T):
            if not rows.any():  # showers of few energies leave bins empty
                continue
            showers = Batch(batch.energies[rows][:_CALIBRATION_ROWS], batch.conditions[rows][:_CALIBRATION_ROWS])
            energies, context = self._in_units(showers.energies), self._given(showers)[2]
            if not self.domain.inclined and len(energies) < _CALIBRATION_ROWS:
                # A quarter of a turn makes showers of others, as far as there are not enough.
                energies = torch.cat([energies, energies.roll(max(1, self.alpha // 4), dims=2)])
                context = context.repeat(2, 1)
            self.cells.calibrate(energies, context, number)

    def _bins(self, conditions: Tensor) -> Tensor:
        """A one in the column of the bin of the incident energy, (N, B)."""
        above = (conditions[:, :1] >= self.edges).to(conditions.dtype)
        return F.pad(above, (1, 0), value=1.0) - F.pad(above, (0, 1))

    def draw(self, conditions: Tensor, noise: Tensor) -> Tensor:
        """Voxel energies (N, V) in MeV."""
        parts = torch.split(noise, self._columns, dim=1)
        layers, context = self._sample_layers(conditions, self.scaler(conditions), (*parts[:3], *parts[-2:]))
        voxels = self.cells.sample(layers / self.unit, context, parts[3:-2], self._bins(conditions))
        # Of an energy that is all in one part, rounding may leave a trace in the other.
        return above_threshold(voxels * self.unit, self.detector.threshold or 0.5 * self.unit)


@dataclass(frozen=True)
class TreeLevel:
    """A level of divisions: its ``blocks`` as they are stored, and the places of those that are ``divided``.

    Stored next are the first parts, the second parts, and the blocks of one cell, which are not divided.
    """

    blocks: tuple[Range, ...]

    @property
    def divided(self) -> list[int]:
        """Places of the blocks of several cells."""
        return [place for place, (start, end) in enumerate(self.blocks) if end - start > 1]

    @property
    def kept(self) -> list[int]:
        """Places of the blocks of one cell."""
        return [place for place, (start, end) in enumerate(self.blocks) if end - start == 1]

    @property
    def firsts(self) -> list[Range]:
        """The first parts of the blocks that are divided."""
        return [(start, (start + end) // 2) for start, end in (self.blocks[place] for place in self.divided)]

    @property
    def following(self) -> tuple[Range, ...]:
        """Blocks of the next level."""
        pairs = zip(self.divided, self.firsts, strict=True)
        seconds = [(middle, self.blocks[place][1]) for place, (_, middle) in pairs]
        return (*self.firsts, *seconds, *(self.blocks[place] for place in self.kept))

    def beside(self) -> list[list[int]]:
        """Places of the blocks before and after each one that is divided, around the axis; once if they are one."""
        end = max(end for _, end in self.blocks)
        starts = {start: place for place, (start, _) in enumerate(self.blocks)}
        ends = {end_ % end: place for place, (_, end_) in enumerate(self.blocks)}
        before = [ends[self.blocks[place][0]] for place in self.divided]
        after = [starts[self.blocks[place][1] % end] for place in self.divided]
        if len(self.blocks) == 1:
            return []
        return [before] if before == after else [before, after]


def tree_levels(cells: int) -> list[TreeLevel]:
    """The levels from one block of all cells to the last that has a division.

    Example:
        >>> [level.blocks for level in tree_levels(3)], tree_levels(3)[-1].following
        ([((0, 3),), ((0, 1), (1, 3))], ((1, 2), (2, 3), (0, 1)))
    """
    levels: list[TreeLevel] = []
    blocks: tuple[Range, ...] = ((0, cells),)
    while any(end - start > 1 for start, end in blocks):
        levels.append(TreeLevel(blocks))
        blocks = levels[-1].following
    return levels


class Tree(nn.Module):
    """Divisions down to cells along one axis: levels, and the numbers of blocks as buffers.

    Args:
        cells: number of cells.
    """

    places: Tensor

    def __init__(self, cells: int) -> None:
        super().__init__()
        self.levels = tree_levels(cells)
        last = self.levels[-1].following if self.levels else ((0, 1),)
        self.sizes = [len(level.divided) for level in self.levels]
        self.places_list = sorted(range(cells), key=lambda place: last[place][0])
        self._buffer("places", self.places_list)
        for number, level in enumerate(self.levels):
            self._buffer(f"divided_{number}", level.divided)
            self._buffer(f"kept_{number}", level.kept)
            # For each divided block itself and those beside it.
            seen = [list(each) for each in zip(level.divided, *level.beside(), strict=True)]
            self._buffer(f"seen_{number}", [place for each in seen for place in each])

    def _buffer(self, name: str, values: list[int]) -> None:
        self.register_buffer(name, torch.tensor(values, dtype=torch.int64), persistent=False)

    def in_order(self, energies: Tensor) -> Tensor:
        """Energies (N, cells, ...) of the blocks after the last level in the order of cells."""
        if self.places_list == list(range(len(self.places_list))):
            return energies
        return energies.index_select(1, self.places)

    def of_divided(self, number: int, blocks: Tensor) -> Tensor:
        """Those of the blocks (N, B, ...) of a level that are divided."""
        return blocks.index_select(1, self.get_buffer(f"divided_{number}")) if self.levels[number].kept else blocks

    def following(self, number: int, half: Tensor, level: Tensor, parameters: Tensor, z: Tensor) -> Tensor:
        """Energies of the blocks of the next level, from the halves of those of a level."""
        parts: tuple[Tensor, ...] = divide(self.of_divided(number, half), self.of_divided(number, level), parameters, z)
        if self.levels[number].kept:
            parts = (*parts, 2 * half.index_select(1, self.get_buffer(f"kept_{number}")))
        return torch.cat(parts, dim=1)

    def with_beside(self, number: int, x: Tensor) -> Tensor:
        """For each divided block numbers x (N, B, 1, M) of itself and of those beside it, (N, n, K, M)."""
        n, cells = self.sizes[number], x.shape[3]
        index = self.get_buffer(f"seen_{number}")
        return x if len(index) == 1 else x.index_select(1, index).view(-1, n, len(index) // n, cells)


def _blocks(energies: Tensor, blocks: list[Range] | tuple[Range, ...]) -> Tensor:
    """Sums (N, B, ...) over blocks of the axis 1."""
    return torch.stack([energies[:, start:end].sum(1) for start, end in blocks], dim=1)


@dataclass(frozen=True)
class Outcomes:
    """The divisions of a level: where they are in (N, n, M), their log probabilities and limits of the noise, (K,)."""

    name: str
    number: int
    at: tuple[Tensor, ...]
    log_prob: Tensor
    low: Tensor
    high: Tensor

    def limits(self, shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
        """Limits of the noise as tables (N, n, M), NaN where there is no energy to divide."""
        low, high = (torch.full(shape, torch.nan, device=self.low.device) for _ in range(2))
        low[self.at], high[self.at] = self.low.float(), self.high.float()
        return low, high


class Cells(nn.Module):
    """Layers divided between their rings, and rings between their arcs.

    Energies are in units of the least one; inside, the axes are blocks, then rings, then layers, of which the last two
    are one axis of M = R L for the divisions in alpha.

    Args:
        layers, alpha, rings: L, A and R.
        context: columns of the context.
        settings: of the family.
    """

    def __init__(self, layers: int, alpha: int, rings: int, context: int, settings: CopulaSettings) -> None:
        super().__init__()
        self.layers, self.alpha, self.rings = layers, alpha, rings
        self.of_rings, self.of_alpha = Tree(rings), Tree(alpha)
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
        self.alpha_near = nn.Conv1d(rings, settings.alpha_context, 3, padding=1)
        self.alpha_token = nn.Conv1d(width, settings.alpha_context, 1, bias=False)
        sees = [len(each.beside()) + 1 for each in self.of_alpha.levels]
        self.alpha_own = nn.Conv1d(settings.alpha_context, arc * max(1, len(sees)) * rings, 1)
        self.alpha_input = nn.ParameterList(torch.randn(arc, k) / (3 * k) for k in sees)
        self.alpha_output = nn.ParameterList(0.02 * torch.randn(PARAMETERS, arc) for _ in sees)
        self._start()
        # Groups of divisions that are correlated: those of rings, and those of the first levels in alpha, of which all
        # of a layer and level share a local factor, the axis of the layer. Later divisions are independent.
        cells, sizes = rings * layers, self.of_alpha.sizes
        self.joint = sum(sizes[:_JOINT_LEVELS])
        blocks = [level for level, size in enumerate(sizes[:_JOINT_LEVELS]) for _ in range(size)]
        local = [layers * level + layer for level in blocks for _ in range(rings) for layer in range(layers)]
        bins = settings.correlation_bins
        self.ring_factors = NoiseFactors(layers * (rings - 1), factors, bins=bins)
        self.alpha_factors = NoiseFactors(self.joint * cells, factors, local if factors else (), bins=bins)
        self.noise = [
            *self.ring_factors.noise,
            *self.alpha_factors.noise,
            *(size * cells for size in sizes[_JOINT_LEVELS:]),
        ]

    @torch.no_grad()
    def _start(self) -> None:
        """Start from the initial law everywhere; in alpha the last hidden unit is the constant term."""
        start = initial_parameters()
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

    def _alpha_contexts(self, tokens: Tensor, levels: Tensor) -> tuple[Tensor, ...]:
        """For each level of arcs what its network knows of a ring, (N, 1, H, M), from levels (N, R, L) of rings."""
        own = self.alpha_own(F.silu(self.alpha_near(levels) + self.alpha_token(tokens)))
        return torch.split(
            own.view(-1, 1, own.shape[1] // self.rings, self.rings * self.layers), self.alpha_hidden, dim=2
        )

    def _noise(self, noise: tuple[Tensor, ...], bins: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Noise of the levels of rings (N, n, L), and of those in alpha (N, n, 1, M)."""
        cells, sizes = self.rings * self.layers, self.of_alpha.sizes
        of_rings: tuple[Tensor, ...] = ()
        of_alpha: tuple[Tensor, ...] = ()
        if self.of_rings.levels:
            each = self.ring_factors(*noise[:3], bins).view(-1, self.rings - 1, self.layers)
            of_rings = torch.split(each, self.of_rings.sizes, dim=1)
        if self.of_alpha.levels:
            each = self.alpha_factors(*noise[3:6], bins).view(-1, self.joint, 1, cells)
            of_alpha = torch.split(each, sizes[:_JOINT_LEVELS], dim=1)
        later = zip(noise[6:], sizes[_JOINT_LEVELS:], strict=True)
        return of_rings, (*of_alpha, *(each.view(-1, size, 1, cells) for each, size in later))

    def sample(self, layers: Tensor, context: Tensor, noise: tuple[Tensor, ...], bins: Tensor) -> Tensor:
        """Voxel energies (N, V) of layer energies (N, L)."""
        z_rings, z_alpha = self._noise(noise, bins)
        half = 0.5 * layers
        x = level_of(half)
        tokens = self._tokens(x, context)
        half, x = half[:, None], x[:, None]
        for number, (of_layer, z) in enumerate(zip(self._ring_contexts(tokens), z_rings, strict=False)):
            parameters = self._ring_parameters(number, x, of_layer)
            half = 0.5 * self.of_rings.following(number, half, x, parameters, z)
            x = level_of(half)
        half, x = self.of_rings.in_order(half), self.of_rings.in_order(x)
        contexts = self._alpha_contexts(tokens, x)
        half, x = (each.view(-1, 1, 1, self.rings * self.layers) for each in (half, x))
        energies = 2 * half
        for number, z in enumerate(z_alpha):
            if number:
                half = 0.5 * energies
                x = level_of(half)
            hidden = self.alpha_input[number] @ self.of_alpha.with_beside(number, x) + contexts[number]
            parameters = self.alpha_output[number] @ F.relu(hidden)
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
            whole, first = _blocks(rings, level.blocks), _blocks(rings, level.firsts)
            x = level_of(0.5 * whole)
            parameters = self._ring_parameters(number, x, of_layer).view(len(voxels), PARAMETERS, -1, self.layers)
            whole, x = self.of_rings.of_divided(number, whole), self.of_rings.of_divided(number, x)
            at = (whole > 0).nonzero(as_tuple=True)
            rows = parameters[at[0], :, at[1], at[2]]
            yield Outcomes("rings", number, at, *log_prob(whole[at], first[at], x[at], rows))
        contexts = self._alpha_contexts(tokens, level_of(0.5 * rings))
        arcs = arcs.flatten(2)
        for number, level in enumerate(self.of_alpha.levels):
            whole, first = _blocks(arcs, level.blocks), _blocks(arcs, level.firsts)
            x = level_of(0.5 * whole)
            beside = self.of_alpha.with_beside(number, x[:, :, None])
            whole, x = self.of_alpha.of_divided(number, whole), self.of_alpha.of_divided(number, x)
            # Few arcs have energy, and only these pass through the network.
            at = (whole > 0).nonzero(as_tuple=True)
            shower, arc, cell = at
            of_ring = contexts[number][:, 0].transpose(1, 2).flatten(0, 1)[shower * arcs.shape[2] + cell]
            hidden = F.relu(beside[shower, arc, :, cell] @ self.alpha_input[number].T + of_ring)
            rows = hidden @ self.alpha_output[number].T
            yield Outcomes("alpha", number, at, *log_prob(whole[at], first[at], x[at], rows))

    def log_prob(self, voxels: Tensor, context: Tensor) -> dict[str, Tensor]:
        """Logarithm of the density of divisions of ``rings`` and in ``alpha``, (N,), in nats, without the copula."""
        result = {name: voxels.new_zeros(len(voxels)) for name in ("rings", "alpha")}
        for each in self.outcomes(voxels, context):
            result[each.name] = result[each.name].index_add(0, each.at[0], each.log_prob)
        return result

    def calibrate(self, voxels: Tensor, context: Tensor, number: int) -> None:
        """Fit the correlations of the noise in a bin to voxels (N, L, A, R) of training showers."""
        tables: dict[str, list[tuple[Tensor, Tensor]]] = {"rings": [], "alpha": []}
        for each in self.outcomes(voxels, context):
            rings = each.name == "rings"
            if rings or each.number < _JOINT_LEVELS:
                size = (self.of_rings if rings else self.of_alpha).sizes[each.number]
                shape = (len(voxels), size, self.layers if rings else self.rings * self.layers)
                tables[each.name].append(each.limits(shape))
        for parts, factors in zip(tables.values(), (self.ring_factors, self.alpha_factors), strict=True):
            if parts:
                low, high = (torch.cat(limits, dim=1).flatten(1) for limits in zip(*parts, strict=True))
                factors.fit(low, high, number)
