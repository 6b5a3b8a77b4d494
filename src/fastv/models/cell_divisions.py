"""The energies of layers divided between their rings, and those of rings between their arcs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from numpy.typing import NDArray
from torch import Tensor, nn

from fastv.models.contrasts import Contrasts
from fastv.models.division_law import DivisionLaw
from fastv.models.divisions import DivisionPlan
from fastv.models.energy_levels import Levels, level_of
from fastv.models.networks import DepthMixer
from fastv.models.repeated import repeated


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
        width, depth_blocks, depth_kernel: of the tokens of layers.
        hidden, hidden_layers: width of the network and number of its hidden layers.
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
        self.token_input, self.token_context = nn.Linear(2, width), nn.Linear(context, width)
        self.token_layer = nn.Parameter(0.1 * torch.randn(layers, width))
        self.token_mixer = DepthMixer(width, depth_blocks, depth_kernel)
        self.of_token = nn.Linear(width, hidden, bias=False)
        self.of_place = nn.Parameter(0.3 * torch.randn(max(plan.places, 1), hidden))
        self.input = nn.Linear(self.seen.shape[1] + 1 + self.contrasts.kinds, hidden)
        self.hidden = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(hidden_layers - 1))
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
        given = torch.cat([level_of(added, self.law.threshold, scale), added], dim=1)
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
        given = torch.cat([level_of(both, self.law.threshold, scale), both], dim=1)
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
