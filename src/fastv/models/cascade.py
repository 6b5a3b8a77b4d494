"""Cascade: the energy of a shower is divided again and again, down to its voxels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from fastv.detector.detector import Detector
from fastv.models.codings.preprocessing import LayerScale
from fastv.models.codings.response import ResponseCoding
from fastv.models.contract import Batch, ConditionScaler, Domain, Generator, GeneratorSettings, NoiseSpec
from fastv.models.division_law import DivisionLaw
from fastv.models.divisions import DivisionPlan, Range, halves, plan_divisions
from fastv.models.networks import MLP, DepthMixer
from fastv.models.repeated import repeated
from fastv.models.response import FreeResponse

_LEAST_SHARE = 1e-6
"""Shares of the visible energy below this are alike to the networks."""


class CascadeSettings(GeneratorSettings):
    """Settings of :class:`Cascade`.

    Attributes:
        components: of the mixture that a share is drawn from.
        layer_hidden, layer_dropout: width and dropout of the networks that divide the visible energy between layers.
        width: of a layer's token, which tells the cells about their layer.
        depth_blocks, depth_kernel: number and kernel size of the convolutions of tokens along the shower axis.
        hidden: width of the network that divides a layer between its cells.
        hidden_layers: number of its hidden layers.
        halvings: how often the spacing of layers is halved until all are divided. A layer sees the cells of the nearest
            layers that are divided before it; 0 divides all layers at once, independently given their energies.
        checkerboard: divide every second block after its neighbours, so that it can see their parts.
    """

    components: Annotated[int, Field(ge=1, le=16)] = 3
    layer_hidden: PositiveInt = 128
    layer_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    width: PositiveInt = 48
    depth_blocks: NonNegativeInt = 2
    depth_kernel: Literal[1, 3, 5, 7, 9] = 5
    hidden: PositiveInt = 96
    hidden_layers: PositiveInt = 2
    halvings: Annotated[int, Field(ge=0, le=12)] = 5
    checkerboard: bool = True


class Cascade(Generator):
    r"""Multiplicative cascade: each energy is divided in two parts, from the whole shower down to its voxels.

    With the response t = E_tot / E_inc, and a division giving E -> (E_1, E - E_1),

        p(x | c) = p(t | c)  prod_(divisions) p(E_1 | E, what is known before, t, c) .

    * p(t | c): a free shape (:class:`~fastv.models.response.FreeResponse`).
    * the visible energy is divided between blocks of layers, in the middle, down to single layers; a division sees all
      blocks of its level;
    * the energy of a layer is divided between blocks of rings, down to rings, and that of a ring between arcs, down to
      voxels; a division sees its neighbourhood, also in layers that were divided before, and a token of its layer,
      which knows all layer energies (:class:`~fastv.models.divisions.DivisionPlan`).

    Every factor is a small distribution with a likelihood (:class:`~fastv.models.division_law.DivisionLaw`), so this is
    a density without any bound, and training maximises it with all divisions of a shower at once. Energies add up
    exactly, no voxel is below the threshold, and there is no energy that the shower does not have. Most blocks are
    empty and need no division, so generation takes time in proportion to the voxels that are hit.

    Shapes: showers (N, V) MeV, conditions (N, C); noise (N, 1 normal and L - 1 + D uniform columns), D the number of
    divisions of cells.

    Source: multiplicative cascades: Mandelbrot, J. Fluid Mech. 62 (1974) 331; likelihoods from coarse to fine: Reed et
    al., arXiv 1703.03664.
    """

    family: ClassVar[str] = "cascade"
    Settings: ClassVar[type[GeneratorSettings]] = CascadeSettings
    any_mesh: ClassVar[bool] = True
    chain_of_choices: ClassVar[bool] = True
    settings: CascadeSettings

    def __init__(self, settings: CascadeSettings, detector: Detector, domain: Domain) -> None:
        super().__init__(settings, detector, domain)
        self.settings = settings
        # A detector without a threshold gets one that is far below any energy of interest.
        self.threshold = detector.threshold or 1e-6
        self.scaler = ConditionScaler(settings.conditions, domain)
        self.plan = plan_divisions(detector.mesh, halvings=settings.halvings, checkerboard=settings.checkerboard)
        layers, context = detector.mesh.n_layers, self.scaler.size + 1
        self.response = FreeResponse(self.scaler.size)
        self.levels = Levels(self.threshold)
        law = DivisionLaw(settings.components, self.threshold)
        self.layers = LayerDivisions(layers, context, law, settings)
        self.cells = CellDivisions(self.plan, layers, context, law, settings)
        self._columns = [layers - 1, len(self.plan.parent)]
        self.shower_noise = NoiseSpec(normal=1, uniform=sum(self._columns))

    @property
    def response_coding(self) -> ResponseCoding | None:
        """The coding of the response."""
        return self.response.coding

    def fit(self, batch: Batch) -> None:
        """Fit the response, and the scale of the energies that networks see."""
        incident = batch.conditions[:, :1]
        total = batch.energies.sum(1, keepdim=True)
        self.response.fit(total / incident, incident)
        self.levels.fit(batch.energies)
        layers = self.cells.energies(batch.energies)[:, self.cells.roots]
        self.layers.fit(layers, self.scaler(batch.conditions)[:, :1])
        self.cells.fit(batch.energies, self.levels)

    def _given(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Scaled conditions, responses, context of the divisions, energies of all blocks."""
        incident = batch.conditions[:, :1]
        scaled = self.scaler(batch.conditions)
        energies = self.cells.energies(batch.energies)
        fraction = batch.energies.sum(1, keepdim=True) / incident
        context = torch.cat([scaled, self.response.context(fraction, incident)], dim=1)
        return scaled, fraction, context, energies

    def _standardised(self, layers: Tensor, context: Tensor) -> Tensor:
        """Layer energies (N, L) as numbers of mean 0 and width 1 at every incident energy."""
        return self.layers.standardised(layers, context[:, :1])

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """``response``, ``layers``, ``rings`` and ``alpha`` terms, and their sum ``loss``; nats per shower."""
        scaled, fraction, context, energies = self._given(batch)
        of_layers = energies[:, self.cells.roots]
        log_probs = {
            "response": self.response.log_prob(fraction, scaled, batch.conditions[:, :1]),
            "layers": self.layers.log_prob(of_layers, context, self.levels),
            **self.cells.log_prob(energies, self._standardised(of_layers, context), context, self.levels),
        }
        terms = {name: -log_prob.mean() for name, log_prob in log_probs.items()}
        return {"loss": torch.stack(list(terms.values())).sum(), **terms}

    def log_prob(self, batch: Batch) -> Tensor:
        """log p(x | c), (N,), in nats: the density of voxel energies in MeV, times the probability of which are hit."""
        scaled, fraction, context, energies = self._given(batch)
        incident = batch.conditions[:, :1]
        of_layers = energies[:, self.cells.roots]
        slope = torch.log(self.response.coding.scale.slope(incident) * incident)[:, 0]
        total = self.response.log_prob(fraction, scaled, incident) - slope
        total = total + self.layers.log_prob(of_layers, context, self.levels, in_mev=True)
        standardised = self._standardised(of_layers, context)
        return total + sum(self.cells.log_prob(energies, standardised, context, self.levels, in_mev=True).values())

    def draw(self, conditions: Tensor, noise: Tensor) -> Tensor:
        """Voxel energies (N, V) in MeV."""
        of_response, of_layers, of_cells = torch.split(noise, [1, *self._columns], dim=1)
        edge = self.cells.law.EDGE
        of_layers, of_cells = of_layers.clamp(edge, 1 - edge), of_cells.clamp(edge, 1 - edge)
        scaled, incident = self.scaler(conditions), conditions[:, :1]
        fraction, seen = self.response.sample(of_response, of_response[:, :0], scaled, incident)
        context = torch.cat([scaled, seen], dim=1)
        total = (fraction * incident).clamp(min=1.0001 * self.threshold)
        layers = self.layers.sample(total, context, self.levels, of_layers)
        voxels = self.cells.sample(layers, self._standardised(layers, context), context, self.levels, of_cells)
        # The parts of an energy are above the threshold up to rounding, which must not empty a voxel.
        hit = (voxels > 0).to(voxels.dtype)
        return voxels.clamp(min=self.threshold * (1 + 1e-6)) * hit


class Levels(nn.Module):
    """What networks see of an energy: log(1 + E / threshold) in units of its mean over voxels that are hit; 0 for none.

    Args:
        threshold: readout threshold in MeV.
    """

    scale: Tensor

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.register_buffer("scale", torch.ones(()))

    @torch.no_grad()
    def fit(self, energies: Tensor) -> None:
        """Fit the unit to voxel energies in MeV, of any shape."""
        hit = energies[energies > 0]
        if hit.numel():
            self.scale.copy_(1 / torch.log1p(hit / self.threshold).mean().clamp(min=1e-3))

    def forward(self, energies: Tensor) -> Tensor:
        """Levels of energies in MeV, of any shape."""
        return _level(energies, self.threshold, self.scale)


def _level(energies: Tensor, threshold: float, scale: Tensor) -> Tensor:
    return torch.log1p(energies / threshold) * scale


class LayerDivisions(nn.Module):
    """p(e | E_tot, c): the visible energy divided between blocks of layers, down to layers.

    Every second division of a level comes after the others and sees their parts.

    Shapes: layer energies (N, L) MeV, context (N, K), uniform noise (N, L - 1).

    Args:
        layers: number of layers L.
        context: columns K.
        law: of a division.
        settings: of the family.
    """

    def __init__(self, layers: int, context: int, law: DivisionLaw, settings: CascadeSettings) -> None:
        super().__init__()
        self.law = law
        self.turns = list(_turns(layers))
        self.blocks = [block for blocks in halves(layers) for block in blocks]
        self.scale = LayerScale(len(self.blocks))
        begin = 0
        for number, (blocks, turns, order) in enumerate(self.turns):
            self.register_buffer(f"order_{number}", torch.tensor(order), persistent=False)
            self.register_buffer(f"blocks_{number}", begin + torch.arange(len(blocks)), persistent=False)
            begin += len(blocks)
            for turn, parents in enumerate(turns):
                self.register_buffer(f"parents_{number}_{turn}", torch.tensor(parents), persistent=False)
                ends = [(blocks[p][0], sum(blocks[p]) // 2, blocks[p][1]) for p in parents]
                both = [(start, middle) for start, middle, _ in ends] + [(middle, end) for _, middle, end in ends]
                parts = [begin + self.blocks[begin:].index(part) for part in both]
                self.register_buffer(f"parts_{number}_{turn}", torch.tensor(parts), persistent=False)
        hidden = (settings.layer_hidden, settings.layer_hidden)
        self.networks = nn.ModuleList()
        for blocks, turns, _ in self.turns:
            seen = context + 2 * len(blocks)
            for parents in turns:
                network = MLP(seen, hidden, law.parameters_each * len(parents), settings.layer_dropout)
                last = network[-1]
                assert isinstance(last, nn.Linear)
                nn.init.normal_(last.weight, std=1e-2)
                last.bias.data.copy_(law.initial().repeat(len(parents)))
                self.networks.append(network)
                seen += 4 * len(parents)

    def fit(self, layers: Tensor, u: Tensor) -> None:
        """Fit the scales of all blocks to layer energies (N, L) in MeV, at scaled logarithms of the energy u (N, 1)."""
        self.scale.fit(_sums(layers, self.blocks), layers.sum(1, keepdim=True), u)

    def standardised(self, layers: Tensor, u: Tensor) -> Tensor:
        """Logarithms of the shares of layers, (N, L), in numbers of mean 0 and width 1 at every energy; 0 for none."""
        mean, width = (each[:, -layers.shape[1] :] for each in self.scale.scales(u)[:2])
        return _standardised(layers, layers.sum(1, keepdim=True), mean, width)

    def _moved(self, parameters: Tensor, mean: Tensor, width: Tensor) -> Tensor:
        """Parameters (N P, ...) of divisions whose y is in units of what the scales (N, 2 P) of their parts say."""
        means, widths = (each.reshape(mean.shape[0], 2, -1) for each in (mean, width))
        spread = torch.sqrt(widths[:, 0] ** 2 + widths[:, 1] ** 2)
        parameters = parameters.reshape(-1, self.law.parameters_each)
        return self.law.moved(parameters, (means[:, 0] - means[:, 1]).reshape(-1, 1), spread.reshape(-1, 1))

    @repeated(shape=lambda energies, _, context, *__: (energies.shape[0], context.shape[1] + 2 * energies.shape[1]))
    def _seen(
        self, energies: Tensor, total: Tensor, context: Tensor, mean: Tensor, width: Tensor, scale: Tensor
    ) -> Tensor:
        """What the first turn of a level sees of the energies (N, B) of its blocks, and of the total (N, 1)."""
        parts = [_level(energies, self.law.threshold, scale), _standardised(energies, total, mean, width)]
        return torch.cat([context, *parts], dim=1)

    def log_prob(self, layers: Tensor, context: Tensor, levels: Levels, *, in_mev: bool = False) -> Tensor:
        """Logarithm of the density, (N,), in nats; of MeV instead of the y of each division with ``in_mev``."""
        total = layers.sum(1, keepdim=True)
        result = torch.zeros_like(layers[:, 0])
        networks = iter(self.networks)
        mean, width, _ = self.scale.scales(context[:, :1])
        for number, (blocks, turns, _) in enumerate(self.turns):
            energies, own = _sums(layers, blocks), self.get_buffer(f"blocks_{number}")
            seen = self._seen(energies, total, context, mean[:, own], width[:, own], levels.scale)
            for turn, parents in enumerate(turns):
                middle = [(blocks[p][0], sum(blocks[p]) // 2) for p in parents]
                whole, first = energies[:, parents], _sums(layers, middle)
                columns = self.get_buffer(f"parts_{number}_{turn}")
                scales = mean[:, columns], width[:, columns]
                parameters = self._moved(next(networks)(seen), *scales)
                rows = whole > 0
                found = self.law.log_prob(parameters[rows.flatten()], whole[rows], first[rows])
                if in_mev:
                    found = found + self.law.log_slope(whole[rows], first[rows])
                result = result.index_add(0, rows.nonzero()[:, 0], found)
                both = torch.cat([first, (whole - first).clamp(min=0.0)], dim=1)
                seen = torch.cat([seen, levels(both), _standardised(both, total, *scales)], dim=1)
        return result

    def sample(self, total: Tensor, context: Tensor, levels: Levels, uniform: Tensor) -> Tensor:
        """Layer energies (N, L) in MeV that add up to ``total`` (N, 1)."""
        energies = total
        networks = iter(self.networks)
        noises = iter(torch.split(uniform, [len(parents) for _, turns, _ in self.turns for parents in turns], dim=1))
        mean, width, _ = self.scale.scales(context[:, :1])
        for number, (_, turns, _) in enumerate(self.turns):
            own = self.get_buffer(f"blocks_{number}")
            scales = mean.index_select(1, own), width.index_select(1, own)
            seen = self._seen(energies, total, context, *scales, levels.scale)
            parts = [energies]
            for turn, parents in enumerate(turns):
                columns = self.get_buffer(f"parts_{number}_{turn}")
                result = self._turn(
                    seen,
                    energies,
                    total,
                    self.get_buffer(f"parents_{number}_{turn}"),
                    next(noises),
                    mean.index_select(1, columns),
                    width.index_select(1, columns),
                    levels.scale,
                    *next(networks).parameters(),
                )
                seen, both = torch.split(result, [seen.shape[1] + 4 * len(parents), 2 * len(parents)], dim=1)
                parts.append(both)
            energies = torch.cat(parts, dim=1).index_select(1, self.get_buffer(f"order_{number}"))
        return energies

    @repeated(shape=lambda seen, _, __, columns, *___: (seen.shape[0], seen.shape[1] + 6 * columns.shape[0]))
    def _turn(
        self,
        seen: Tensor,
        energies: Tensor,
        total: Tensor,
        columns: Tensor,
        uniform: Tensor,
        mean: Tensor,
        width: Tensor,
        scale: Tensor,
        *weights: Tensor,
    ) -> Tensor:
        """What the next turn sees, then the energies of the first and of the second parts of the blocks ``columns``."""
        whole = energies.index_select(1, columns)
        hidden = seen
        for weight, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
            hidden = F.silu(F.linear(hidden, weight, bias))
        parameters = self._moved(F.linear(hidden, *weights[-2:]), mean, width)
        first = self.law.first_parts(parameters, whole.reshape(-1, 1), uniform.reshape(-1, 1))
        first = first.view(-1, columns.shape[0])
        both = torch.cat([first, whole - first], dim=1)
        known = [_level(both, self.law.threshold, scale), _standardised(both, total, mean, width)]
        return torch.cat([seen, *known, both], dim=1)


def _standardised(energies: Tensor, total: Tensor, mean: Tensor, width: Tensor) -> Tensor:
    """(log(E / E_tot) - mean) / width of energies (N, B) in MeV; 0 for none."""
    share = (energies / total.clamp(min=1e-9)).clamp(min=_LEAST_SHARE)
    return torch.where(energies > 0, (torch.log(share) - mean) / width, 0.0)


def _turns(layers: int) -> Iterator[tuple[list[Range], list[list[int]], list[int]]]:
    """For each level, its blocks of layers; the places of those that are divided, in up to two turns; and the order of
    the next level's blocks among these blocks, followed by the first and second parts of each turn."""
    for blocks in halves(layers)[:-1]:
        parents = [place for place, (start, end) in enumerate(blocks) if end - start > 1]
        turns = [turn for turn in (parents[::2], parents[1::2]) if turn]
        at: dict[int, list[int]] = {place: [place] for place in range(len(blocks))}
        begin = len(blocks)
        for turn in turns:
            at |= {parent: [begin + i, begin + len(turn) + i] for i, parent in enumerate(turn)}
            begin += 2 * len(turn)
        yield blocks, turns, [number for place in range(len(blocks)) for number in at[place]]


def _sums(layers: Tensor, blocks: list[Range]) -> Tensor:
    """Energies (N, B) of blocks of layers."""
    return torch.stack([layers[:, start:end].sum(1) for start, end in blocks], dim=1)


class CellDivisions(nn.Module):
    """p(x | e, c): the energy of each layer divided between rings, and that of a ring between voxels.

    One network serves all divisions. It sees the levels of the energies around the parent, a token of the layer, and
    which division of a layer it is.

    Shapes: voxels (N, V), layer energies (N, L), both in MeV; context (N, K); uniform noise (N, D).

    Args:
        plan: the divisions.
        layers: number of layers L.
        context: columns K.
        law: of a division.
        settings: of the family.
    """

    roots: Tensor
    leaves: Tensor
    parent: Tensor
    first: Tensor
    second: Tensor
    layer: Tensor
    place: Tensor
    seen: Tensor
    like: Tensor
    of_rings: Tensor
    sums: Tensor
    summands: Tensor

    def __init__(
        self, plan: DivisionPlan, layers: int, context: int, law: DivisionLaw, settings: CascadeSettings
    ) -> None:
        super().__init__()
        self.law = law
        self.plan_steps, self.size, self.n_layers = plan.steps, plan.size, layers
        # Energies are numbered in the order in which they are divided, then the voxels, so that the energies of a step
        # and the voxels are next to each other: energy 1 + d is that of division d. Sums keep their numbers.
        number = np.arange(plan.size)
        number[np.concatenate([plan.parent, plan.leaves])] = np.arange(1, plan.blocks)
        self.divisions, self.blocks = len(plan.parent), plan.blocks
        tables: dict[str, NDArray[Any]] = {
            "roots": number[plan.roots],
            "leaves": number[plan.leaves],
            "parent": number[plan.parent],
            "first": number[plan.first],
            "second": number[plan.second],
            "layer": plan.layer,
            "place": plan.place,
            "of_rings": plan.rings,
            # The energy that is divided is the first that is seen.
            "seen": number[np.concatenate([plan.parent[:, None], plan.seen], axis=1)],
            "like": plan.like,
            "sums": plan.sums,
            "summands": number[plan.summands],
        }
        for name, table in tables.items():
            self.register_buffer(name, torch.from_numpy(table), persistent=False)
        self.sum_steps = plan.sum_steps
        self.contrasts = Contrasts(plan)
        self._tabulate_steps()
        self.upwards = [torch.from_numpy(rows) for rows in plan.upwards]
        self.by_wave = [torch.from_numpy(rows) for rows in plan.sums_by_wave]
        width, hidden = settings.width, settings.hidden
        self.token_input, self.token_context = nn.Linear(2, width), nn.Linear(context, width)
        self.token_layer = nn.Parameter(0.1 * torch.randn(layers, width))
        self.token_mixer = DepthMixer(width, settings.depth_blocks, settings.depth_kernel)
        self.of_token = nn.Linear(width, hidden, bias=False)
        self.of_place = nn.Parameter(0.3 * torch.randn(max(plan.places, 1), hidden))
        self.input = nn.Linear(self.seen.shape[1] + 1 + self.contrasts.kinds, hidden)
        self.hidden = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(settings.hidden_layers - 1))
        self.output = nn.Linear(hidden, law.parameters_each)
        self.output.bias.data.copy_(law.initial())

    def fit(self, voxels: Tensor, levels: Levels) -> None:
        """Fit the scales of the contrasts to voxel energies (N, V) in MeV."""
        for part in torch.split(voxels, 100):
            energies = self.energies(part)
            shower, row = (energies[:, self.parent] > 0).nonzero(as_tuple=True)
            seen = levels(energies).flatten()[(shower * self.size)[:, None] + self.seen[row]]
            self.contrasts.add(seen, self.like[row])
        self.contrasts.fit()

    def energies(self, voxels: Tensor) -> Tensor:
        """The energies of all layers and blocks, (N, ``plan.size``), in MeV."""
        energies = voxels.new_zeros(len(voxels), self.size)
        energies[:, self.leaves] = voxels
        for rows in self.upwards:
            energies[:, self.parent[rows]] = energies[:, self.first[rows]] + energies[:, self.second[rows]]
        for rows in self.by_wave:
            energies[:, self.sums[rows]] = energies[:, self.summands[rows]].sum(2)
        return energies

    def _tokens(self, layers: Tensor, standardised: Tensor, context: Tensor, levels: Levels) -> Tensor:
        """What the network sees of each layer, (N L, hidden), from layer energies in MeV and standardised ones."""
        inputs = self.token_input(torch.stack([levels(layers), standardised], dim=2)) + self.token_layer
        tokens = F.silu(self.token_mixer(inputs + self.token_context(context)[:, None]))
        of_layers: Tensor = self.of_token(tokens)
        return of_layers.flatten(0, 1)

    def _parameters_of(self, seen: Tensor, scarcity: Tensor, token: Tensor, place: Tensor, like: Tensor) -> Tensor:
        """Parameters (M, P) of divisions that see levels (M, F), threshold over energy (M, 1), and a token (M, H)."""
        inputs = torch.cat([seen, scarcity, self.contrasts(seen, like)], dim=1)
        hidden = self.input(inputs) + token + F.embedding(place, self.of_place)
        return self._parameters_from(F.silu(hidden))

    def _parameters_from(self, hidden: Tensor) -> Tensor:
        """Parameters (M, P) from the first hidden layer (M, H)."""
        for layer in self.hidden:
            hidden = hidden + F.silu(layer(hidden))
        parameters: Tensor = self.output(hidden)
        return parameters

    def log_prob(
        self, energies: Tensor, standardised: Tensor, context: Tensor, levels: Levels, *, in_mev: bool = False
    ) -> dict[str, Tensor]:
        """Logarithms of the densities of ``rings`` and ``alpha``, (N,) each, in nats, from all energies."""
        tokens = self._tokens(energies[:, self.roots], standardised, context, levels)
        shower, row = (energies[:, self.parent] > 0).nonzero(as_tuple=True)
        base = shower * self.size
        flat = energies.flatten()
        whole, first = flat[base + self.parent[row]], flat[base + self.first[row]]
        seen = levels(energies).flatten()[base[:, None] + self.seen[row]]
        token = tokens[shower * self.n_layers + self.layer[row]]
        scarcity = self.law.threshold / whole[:, None]
        parameters = self._parameters_of(seen, scarcity, token, self.place[row], self.like[row])
        found = self.law.log_prob(parameters, whole, first)
        if in_mev:
            found = found + self.law.log_slope(whole, first)
        none, rings = torch.zeros_like(energies[:, 0]), self.of_rings[row]
        return {
            name: none.index_add(0, shower[which], found[which])
            for name, which in (("rings", rings), ("alpha", ~rings))
        }

    def _tabulate_steps(self) -> None:
        """Tables of the divisions of each step.

        The state of a shower in :meth:`sample` is a row of the levels of all energies, the energies, and the uniform
        noise of all divisions.

        * ``looked_at``: the columns that a division takes: the levels that it sees, its energy, its noise; and those
          that it sets: the levels and the energies of its parts.
        * ``inputs``: the inputs of the network that some division of the step needs; those in alpha see nothing that
          those of rings see; and ``signs`` that make contrasts of them.
        """
        energy, noise = self.size, 2 * self.size
        columns = torch.arange(self.divisions)[:, None]
        parts = torch.stack([self.first, self.second], dim=1)
        others = torch.cat([energy + self.parent[:, None], noise + columns, parts, energy + parts], dim=1)
        for number, step in enumerate(self.plan_steps):
            inputs = (self.seen[step] > 0).any(0).nonzero()[:, 0]
            looked_at = torch.cat([self.seen[step][:, inputs], others[step]], dim=1)
            others_seen = self.seen.shape[1] + torch.arange(
                1 + self.contrasts.kinds
            )  # threshold over energy, contrasts
            tables = {"looked_at": looked_at, "inputs": torch.cat([inputs, others_seen])}
            tables |= {"signs": self.contrasts.signs[inputs].clone()}
            tables |= {name: self.get_buffer(name)[step].clone() for name in ("layer", "place", "like")}
            for name, table in tables.items():
                self.register_buffer(f"{name}_{number}", table, persistent=False)
            sums = self.sum_steps[number]
            self.register_buffer(f"summands_{number}", energy + self.summands[sums], persistent=False)
            added = torch.cat([self.sums[sums], energy + self.sums[sums]])
            self.register_buffer(f"sums_{number}", added, persistent=False)

    @repeated(shape=lambda state, *_: state.shape)
    def _add(self, state: Tensor, summands: Tensor, sums: Tensor, scale: Tensor) -> Tensor:
        """The next state (N, S), from the columns of the summands (A, K) and of the levels and energies of the sums."""
        n = state.shape[0]
        added = state.index_select(1, summands.view(-1)).view(-1, summands.shape[0], summands.shape[1]).sum(2)
        given = torch.cat([_level(added, self.law.threshold, scale), added], dim=1)
        columns = sums.expand(n, -1)
        return state.scatter(1, columns, given) if torch.compiler.is_exporting() else state.scatter_(1, columns, given)

    @repeated(shape=lambda state, *_: state.shape)
    def _step(
        self,
        state: Tensor,
        energies: Tensor,
        tokens: Tensor,
        looked_at: Tensor,
        layer: Tensor,
        place: Tensor,
        like: Tensor,
        signs: Tensor,
        weight: Tensor,
        scale: Tensor,
    ) -> Tensor:
        """The next state (N, S), from the energies (N, D) of the step's divisions and its tables.

        Only what has energy is divided: most blocks have none.
        """
        columns = looked_at.shape[1] - 4
        where = energies.nonzero().t()
        shower, row = where[0], where[1]
        numbers = F.embedding(row, looked_at) + (shower * state.shape[1])[:, None]
        seen, parts = torch.split(numbers, [columns, 4], dim=1)
        found = torch.gather(state.view(-1), 0, seen.reshape(-1)).view(-1, columns)
        levels, whole, uniform = torch.split(found, [columns - 2, 1, 1], dim=1)
        token = F.embedding(layer.index_select(0, row) + shower * self.n_layers, tokens)
        about = token + F.embedding(place.index_select(0, row), self.of_place + self.input.bias)
        contrasts = self.contrasts.scaled(levels @ signs, like.index_select(0, row))
        hidden = F.silu(torch.addmm(about, torch.cat([levels, self.law.threshold / whole, contrasts], dim=1), weight))
        first = self.law.first_parts(self._parameters_from(hidden), whole, uniform)
        both = torch.cat([first, whole - first], dim=1)
        given = torch.cat([_level(both, self.law.threshold, scale), both], dim=1)
        flat = state.view(-1)
        parts, given = parts.reshape(-1), given.view(-1)
        following = flat.scatter(0, parts, given) if torch.compiler.is_exporting() else flat.scatter_(0, parts, given)
        return following.view(state.shape)

    def sample(self, layers: Tensor, standardised: Tensor, context: Tensor, levels: Levels, uniform: Tensor) -> Tensor:
        """Voxel energies (N, V) in MeV, which add up to the layer energies."""
        n = layers.shape[0]
        tokens = self._tokens(layers, standardised, context, levels)
        state = torch.cat([layers.new_zeros(n, 2 * self.size), uniform], dim=1)
        known = torch.cat([levels(layers), layers], dim=1)
        state = state.scatter(1, torch.cat([self.roots, self.size + self.roots]).expand(n, -1), known)
        weights = self.input.weight.t()
        for number, step in enumerate(self.plan_steps):
            begin = self.size + 1
            state = self._step(
                state,
                state[:, begin + step.start : begin + step.stop],
                tokens,
                *(self.get_buffer(f"{name}_{number}") for name in ("looked_at", "layer", "place", "like", "signs")),
                weights.index_select(0, self.get_buffer(f"inputs_{number}")),
                levels.scale,
            )
            summands, sums = self.get_buffer(f"summands_{number}"), self.get_buffer(f"sums_{number}")
            if len(sums):
                state = self._add(state, summands, sums, levels.scale)
        return state[:, self.size + 1 + self.divisions : self.size + self.blocks]


class Contrasts(nn.Module):
    """How much more of the energy in other layers is on the side of the first part, in units of what is usual.

    The shower's axis and width change the shares of many layers by little, so that the differences of levels which tell
    them are small. Each kind of difference (the layers below, above, ahead, and ahead over rings) is given to the
    network as a number of mean 0 and width 1, for each group of divisions that are alike.

    Shapes: levels that are seen (M, F), groups (M,) -> (M, ``kinds``).

    Args:
        plan: the divisions.
    """

    signs: Tensor
    scales: Tensor
    counted: Tensor

    def __init__(self, plan: DivisionPlan) -> None:
        super().__init__()
        self.kinds = plan.contrasts.shape[1]
        groups = int(plan.like.max(initial=-1)) + 1
        # The first column of what is seen is the energy that is divided.
        signs = torch.zeros(plan.seen.shape[1] + 1, self.kinds)
        for of_divisions in plan.contrasts:
            for kind, (one, two) in enumerate(of_divisions):
                if one >= 0:
                    signs[1 + one, kind], signs[1 + two, kind] = 1.0, -1.0
        self.register_buffer("signs", signs, persistent=False)
        # Means and inverse widths; 0 for what is not seen.
        self.register_buffer("scales", torch.zeros(groups, 2 * self.kinds))
        self.register_buffer("counted", torch.zeros(groups, 1 + 2 * self.kinds), persistent=False)

    @torch.no_grad()
    def add(self, seen: Tensor, like: Tensor) -> None:
        """Count levels that are seen (M, F)."""
        found = seen @ self.signs
        given = torch.cat([torch.ones_like(found[:, :1]), found, found**2], dim=1)
        self.counted.index_add_(0, like, given)

    @torch.no_grad()
    def fit(self) -> None:
        """Set means and widths from what was counted."""
        count, first, second = torch.split(self.counted, [1, self.kinds, self.kinds], dim=1)
        mean = first / count.clamp(min=1.0)
        # Few divisions do not tell a width.
        variance = (second / count.clamp(min=1.0) - mean**2) * count / (count - 1).clamp(min=1.0)
        gain = torch.where((count >= 20) & (variance > 1e-8), variance.clamp(min=1e-8).rsqrt(), 0.0)
        self.scales.copy_(torch.cat([mean, gain], dim=1))
        self.counted.zero_()

    def forward(self, seen: Tensor, like: Tensor) -> Tensor:
        """Contrasts (M, ``kinds``)."""
        return self.scaled(seen @ self.signs, like)

    def scaled(self, differences: Tensor, like: Tensor) -> Tensor:
        """Differences of levels (M, ``kinds``) in units of what is usual."""
        mean, gain = torch.split(F.embedding(like, self.scales), self.kinds, dim=1)
        return (differences - mean) * gain
