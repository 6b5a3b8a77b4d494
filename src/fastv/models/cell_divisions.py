"""The energies of layers divided between their rings, and those of rings between their arcs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from numpy.typing import NDArray
from torch import Tensor, nn

from fastv.models.contrasts import Contrasts
from fastv.models.division_law import DivisionLaw
from fastv.models.division_network import DivisionNetwork, StepTables
from fastv.models.divisions import DivisionPlan
from fastv.models.energy_levels import Levels, level_of
from fastv.models.networks import DepthMixer
from fastv.models.noise_factors import NoiseFactors
from fastv.models.repeated import repeated

_EDGE = DivisionLaw.EDGE


class CellDivisions(nn.Module):
    """p(x | e, c): the energy of each layer divided between rings, and that of a ring between voxels.

    One network serves all divisions, and a smaller one those of the smallest arcs, which are most. They see the levels
    of the energies around the parent, a token of the layer, and which division of a layer it is. The noise of the
    divisions of rings, and of halves and quarters of rings, may be correlated, :meth:`calibrate`.

    Shapes: voxels (N, V), layer energies (N, L), both in MeV; context (N, K); noise (N, ``normal`` and ``uniform``).

    Args:
        plan: the divisions.
        layers: number of layers L.
        context: columns K.
        law: of a division.
        width, depth_blocks, depth_kernel: of the tokens of layers.
        hidden, hidden_layers: width of the network and number of its hidden layers.
        fine_arcs, fine_hidden: cells of the largest arc that the smaller network divides, and its width.
        factors, bins: common factors of the noise, and bins of energy with correlations of their own.
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
    fine: Tensor
    joint: Tensor
    noise_place: Tensor
    sums: Tensor
    summands: Tensor

    def __init__(
        self,
        plan: DivisionPlan,
        layers: int,
        context: int,
        law: DivisionLaw,
        *,
        width: int,
        depth_blocks: int,
        depth_kernel: int,
        hidden: int,
        hidden_layers: int,
        fine_arcs: int = 0,
        fine_hidden: int = 1,
        factors: int = 0,
        bins: int = 1,
    ) -> None:
        super().__init__()
        self.law = law
        self.size, self.n_layers = plan.size, layers
        # Energies are numbered in the order in which they are divided, then the voxels, so that the energies of a step
        # and the voxels are next to each other: energy 1 + d is that of division d. Sums keep their numbers.
        number = np.arange(plan.size)
        number[np.concatenate([plan.parent, plan.leaves])] = np.arange(1, plan.blocks)
        self.divisions, self.blocks = len(plan.parent), plan.blocks
        fine = ~plan.rings & (plan.arc <= fine_arcs)
        of_rings, of_alpha = _joint(plan) if factors else (np.arange(0), np.arange(0))
        joint = np.concatenate([of_rings, of_alpha])
        order = np.concatenate([joint, np.setdiff1d(np.arange(self.divisions), joint)])
        tables: dict[str, NDArray[Any]] = {
            "roots": number[plan.roots],
            "leaves": number[plan.leaves],
            "parent": number[plan.parent],
            "first": number[plan.first],
            "second": number[plan.second],
            "layer": plan.layer,
            "place": plan.place,
            "of_rings": plan.rings,
            "fine": fine,
            "joint": joint,
            # Noise comes in the order: rings, large arcs, then all others.
            "noise_place": np.argsort(order),
            # The energy that is divided is the first that is seen.
            "seen": number[np.concatenate([plan.parent[:, None], plan.seen], axis=1)],
            "like": plan.like,
            "sums": plan.sums,
            "summands": number[plan.summands],
        }
        for name, table in tables.items():
            self.register_buffer(name, torch.from_numpy(table), persistent=False)
        self.contrasts = Contrasts(plan)
        self.upwards = [torch.from_numpy(rows) for rows in plan.upwards]
        self.by_wave = [torch.from_numpy(rows) for rows in plan.sums_by_wave]
        self.token_input, self.token_context = nn.Linear(2, width), nn.Linear(context, width)
        self.token_layer = nn.Parameter(0.1 * torch.randn(layers, width))
        self.token_mixer = DepthMixer(width, depth_blocks, depth_kernel)
        sizes = [(hidden, hidden_layers), (fine_hidden, min(hidden_layers, 2))]
        self.networks = nn.ModuleList(
            DivisionNetwork(
                self.seen.shape[1],
                self.contrasts.kinds,
                plan.places,
                layers=layers,
                width=width,
                hidden=of_hidden,
                hidden_layers=of_layers,
                law=law,
            )
            for of_hidden, of_layers in (sizes if fine.any() else sizes[:1])
        )
        self._tabulate_steps(plan)
        halves = np.zeros(layers, dtype=np.int64)
        np.maximum.at(halves, plan.layer, plan.arc)
        # The halves, and the quarters, of all rings of a layer share a factor: its axis.
        axes = 2 * plan.layer[of_alpha] + (plan.arc[of_alpha] < halves[plan.layer[of_alpha]])
        local = np.unique(axes, return_inverse=True)[1].tolist()
        self.ring_factors = NoiseFactors(len(of_rings), factors, bins=bins)
        self.alpha_factors = NoiseFactors(len(of_alpha), factors, local, bins=bins)
        self.normal = [*self.ring_factors.noise, *self.alpha_factors.noise] if factors else []
        self.uniform = self.divisions - len(joint)

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

    def _tokens(self, layers: Tensor, standardised: Tensor, context: Tensor, levels: Levels) -> tuple[Tensor, ...]:
        """What each network sees of layers, (N L, H), from layer energies in MeV and standardised ones."""
        inputs = self.token_input(torch.stack([levels(layers), standardised], dim=2)) + self.token_layer
        tokens = F.silu(self.token_mixer(inputs + self.token_context(context)[:, None]))
        return tuple(network.tokens(tokens) for network in self._each_network())

    def _each_network(self) -> Iterator[DivisionNetwork]:
        for network in self.networks:
            assert isinstance(network, DivisionNetwork)
            yield network

    def _divided(
        self, energies: Tensor, standardised: Tensor, context: Tensor, levels: Levels, rows: Tensor | None = None
    ) -> Iterator[_Divided]:
        """The divisions of energies, of all rows or of some, that have energy; for each network."""
        tokens = self._tokens(energies[:, self.roots], standardised, context, levels)
        flat, seen_levels = energies.flatten(), levels(energies).flatten()
        parent, fine = (each if rows is None else each[rows] for each in (self.parent, self.fine))
        shower, column = (energies[:, parent] > 0).nonzero(as_tuple=True)
        for number, (network, of_layers) in enumerate(zip(self._each_network(), tokens, strict=True)):
            mine = fine[column] if number else ~fine[column]
            at, which = shower[mine], column[mine]
            row = which if rows is None else rows[which]
            base = at * self.size
            whole, first = flat[base + self.parent[row]], flat[base + self.first[row]]
            seen = seen_levels[base[:, None] + self.seen[row]]
            parameters = network(
                seen,
                self.law.threshold / whole[:, None],
                self.contrasts(seen, self.like[row]),
                of_layers[at * self.n_layers + self.layer[row]],
                self.place[row],
            )
            yield _Divided(at, which, row, whole, first, parameters)

    def log_prob(
        self, energies: Tensor, standardised: Tensor, context: Tensor, levels: Levels, *, in_mev: bool = False
    ) -> dict[str, Tensor]:
        """Logarithms of the densities of ``rings`` and ``alpha``, (N,) each, in nats, from all energies.

        Those of independent noise, without its correlations.
        """
        result = {name: torch.zeros_like(energies[:, 0]) for name in ("rings", "alpha")}
        for each in self._divided(energies, standardised, context, levels):
            found = self.law.log_prob(each.parameters, each.whole, each.first)
            if in_mev:
                found = found + self.law.log_slope(each.whole, each.first)
            rings = self.of_rings[each.row]
            for name, which in (("rings", rings), ("alpha", ~rings)):
                result[name] = result[name].index_add(0, each.shower[which], found[which])
        return result

    @torch.no_grad()
    def calibrate(self, showers: Iterable[tuple[Tensor, Tensor, Tensor]], levels: Levels, number: int) -> None:
        """Fit the correlations of the noise in a bin to showers: energies of all blocks, standardised layers, context.

        The scores of an outcome are what it takes to make it if energies increased with the noise. They nearly do: the
        correlation of scores with the noise that made them is measured with new draws, and correlations of the noise
        are larger by that much.
        """
        random = torch.Generator(self.parent.device).manual_seed(1)
        limits: list[Tensor] = []
        drawn: tuple[list[Tensor], list[Tensor]] = ([], [])
        for energies, standardised, context in showers:
            table = energies.new_full((2, len(energies), len(self.joint)), math.nan)
            for each in self._divided(energies, standardised, context, levels, self.joint):
                scores = self.law.scores(each.parameters, each.whole, each.first)
                table[:, each.shower, each.column] = torch.stack(scores).to(table)
                z = torch.randn(len(each.row), generator=random, device=energies.device)
                first = self.law.divide(each.parameters, each.whole, torch.special.ndtr(z))
                low, high = self.law.scores(each.parameters, each.whole, first)
                pairs, rings = torch.stack([z, low.to(z)]), self.of_rings[each.row]
                for found, which in zip(drawn, (rings, ~rings), strict=True):
                    found.append(pairs[:, which & (low == high)])
            limits.append(table)
        if not limits:
            return
        sizes = [self.ring_factors.noise[0], self.alpha_factors.noise[0]]
        parts = torch.split(torch.cat(limits, dim=1), sizes, dim=2)
        for factors, found, (low, high) in zip((self.ring_factors, self.alpha_factors), drawn, parts, strict=True):
            pairs = torch.cat(found, dim=1)
            if pairs.shape[1] > 1:
                factors.fit(low, high, number, fidelity=float(torch.corrcoef(pairs)[0, 1]))

    def _tabulate_steps(self, plan: DivisionPlan) -> None:
        """Tables of the divisions of each step that a network makes.

        The state of a shower in :meth:`sample` is a row of the levels of all energies, the energies, and the uniform
        noise of all divisions.

        * ``looked_at``: the columns that a division takes: the levels that it sees, its energy, its noise; and those
          that it sets: the levels and the energies of its parts.
        * ``inputs``: the inputs of the network that some division of the step needs; those in alpha see nothing that
          those of rings see; and ``signs`` that make contrasts of them.
        """
        energy, noise = self.size, 2 * self.size
        parts = torch.stack([self.first, self.second], dim=1)
        places = noise + self.noise_place[:, None]
        others = torch.cat([energy + self.parent[:, None], places, parts, energy + parts], dim=1)
        others_seen = self.seen.shape[1] + torch.arange(1 + self.contrasts.kinds)  # threshold over energy, contrasts
        self.turns: list[tuple[slice, int, int]] = []
        for number, (step, sums) in enumerate(zip(plan.steps, plan.sum_steps, strict=True)):
            middle = step.start + int((~self.fine[step]).sum())
            for network, rows in enumerate((slice(step.start, middle), slice(middle, step.stop))):
                if rows.start == rows.stop:
                    continue
                # The sums of a step are known after its last turn.
                self.turns.append((rows, network, number if rows.stop == step.stop else -1))
                inputs = (self.seen[rows] > 0).any(0).nonzero()[:, 0]
                tables = {"looked_at": torch.cat([self.seen[rows][:, inputs], others[rows]], dim=1)}
                tables |= {name: self.get_buffer(name)[rows].clone() for name in ("layer", "place", "like")}
                tables |= {"signs": self.contrasts.signs[inputs].clone(), "inputs": torch.cat([inputs, others_seen])}
                for name, table in tables.items():
                    self.register_buffer(f"{name}_{len(self.turns) - 1}", table, persistent=False)
            self.register_buffer(f"summands_{number}", energy + self.summands[sums], persistent=False)
            added = torch.cat([self.sums[sums], energy + self.sums[sums]])
            self.register_buffer(f"sums_{number}", added, persistent=False)

    @repeated(shape=lambda state, *_: state.shape)
    def _add(self, state: Tensor, summands: Tensor, sums: Tensor, scale: Tensor) -> Tensor:
        """The next state (N, S), from the columns of the summands (A, K) and of the levels and energies of the sums."""
        n = state.shape[0]
        added = state.index_select(1, summands.view(-1)).view(-1, summands.shape[0], summands.shape[1]).sum(2)
        given = torch.cat([level_of(added, self.law.threshold, scale), added], dim=1)
        columns = sums.expand(n, -1)
        return state.scatter(1, columns, given) if torch.compiler.is_exporting() else state.scatter_(1, columns, given)

    def _noise(self, noise: tuple[Tensor, ...], uniform: Tensor, bins: Tensor) -> Tensor:
        """Uniform noise of all divisions in the order of ``noise_place``, from noise of the factors."""
        if not noise:
            return uniform
        z = torch.cat([self.ring_factors(*noise[:3], bins), self.alpha_factors(*noise[3:], bins)], dim=1)
        return torch.cat([0.5 + 0.5 * torch.erf(z * math.sqrt(0.5)), uniform], dim=1).clamp(_EDGE, 1 - _EDGE)

    def sample(
        self,
        layers: Tensor,
        standardised: Tensor,
        context: Tensor,
        levels: Levels,
        noise: tuple[Tensor, ...],
        uniform: Tensor,
        bins: Tensor,
    ) -> Tensor:
        """Voxel energies (N, V) in MeV, which add up to the layer energies; ``bins`` as in ``NoiseFactors``."""
        n = layers.shape[0]
        tokens = self._tokens(layers, standardised, context, levels)
        state = torch.cat([layers.new_zeros(n, 2 * self.size), self._noise(noise, uniform, bins)], dim=1)
        known = torch.cat([levels(layers), layers], dim=1)
        state = state.scatter(1, torch.cat([self.roots, self.size + self.roots]).expand(n, -1), known)
        networks = list(self._each_network())
        for turn, (rows, network, step) in enumerate(self.turns):
            begin = self.size + 1
            state = networks[network].step(
                state,
                state[:, begin + rows.start : begin + rows.stop],
                tokens[network],
                StepTables(*(self.get_buffer(f"{name}_{turn}") for name in StepTables._fields)),
                self.get_buffer(f"inputs_{turn}"),
                self.contrasts.scales,
                levels.scale,
            )
            if step >= 0 and len(sums := self.get_buffer(f"sums_{step}")):
                state = self._add(state, self.get_buffer(f"summands_{step}"), sums, levels.scale)
        return state[:, self.size + 1 + self.divisions : self.size + self.blocks]


class _Divided(NamedTuple):
    """Divisions of a batch of showers: where they are, their energies and the parameters of their law, (M, ...)."""

    shower: Tensor
    column: Tensor
    row: Tensor
    whole: Tensor
    first: Tensor
    parameters: Tensor


def _joint(plan: DivisionPlan) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The divisions whose noise is correlated: those of rings, and those of rings into halves and quarters."""
    alpha = np.zeros(int(plan.layer.max(initial=-1)) + 1, dtype=np.int64)
    np.maximum.at(alpha, plan.layer, plan.arc)
    large = ~plan.rings & (4 * plan.arc > alpha[plan.layer])
    return np.flatnonzero(plan.rings), np.flatnonzero(large)
