"""The network that tells how energies are divided from what a division sees, and a step of divisions."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from torch import Tensor, nn

from fastv.models.contrasts import in_units
from fastv.models.division_law import DivisionLaw
from fastv.models.energy_levels import level_of
from fastv.models.repeated import repeated


class StepTables(NamedTuple):
    """Tables of the divisions of a step; see :class:`~fastv.models.cell_divisions.CellDivisions`."""

    looked_at: Tensor
    layer: Tensor
    place: Tensor
    like: Tensor
    signs: Tensor


class DivisionNetwork(nn.Module):
    """Parameters of divisions from the levels that they see, contrasts, a token of their layer, and their place.

    Args:
        seen: number of energies that a division sees, its own included.
        contrasts: kinds of contrasts.
        places: number of places in a layer.
        layers: number of layers L.
        width: of the tokens of layers.
        hidden, hidden_layers: width and number of hidden layers.
        law: of a division.
    """

    def __init__(
        self,
        seen: int,
        contrasts: int,
        places: int,
        *,
        layers: int,
        width: int,
        hidden: int,
        hidden_layers: int,
        law: DivisionLaw,
    ) -> None:
        super().__init__()
        self.law, self.n_layers = law, layers
        self.of_token = nn.Linear(width, hidden, bias=False)
        self.of_place = nn.Parameter(0.3 * torch.randn(max(places, 1), hidden))
        self.input = nn.Linear(seen + 1 + contrasts, hidden)
        self.hidden = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(hidden_layers - 1))
        self.output = nn.Linear(hidden, law.parameters_each)
        self.output.bias.data.copy_(law.initial())

    def tokens(self, tokens: Tensor) -> Tensor:
        """What the network takes of the tokens of layers (N, L, W): (N L, H)."""
        of_layers: Tensor = self.of_token(tokens)
        return of_layers.flatten(0, 1)

    def forward(self, seen: Tensor, scarcity: Tensor, contrasts: Tensor, token: Tensor, place: Tensor) -> Tensor:
        """Parameters (M, P) of divisions that see levels (M, F), threshold over energy (M, 1), contrasts, a token."""
        inputs = torch.cat([seen, scarcity, contrasts], dim=1)
        hidden = self.input(inputs) + token + F.embedding(place, self.of_place)
        return self._from_first(F.silu(hidden))

    def _from_first(self, hidden: Tensor) -> Tensor:
        """Parameters (M, P) from the first hidden layer (M, H)."""
        for layer in self.hidden:
            hidden = hidden + F.silu(layer(hidden))
        parameters: Tensor = self.output(hidden)
        return parameters

    def step(
        self,
        state: Tensor,
        energies: Tensor,
        tokens: Tensor,
        tables: StepTables,
        inputs: Tensor,
        scales: Tensor,
        level: Tensor,
    ) -> Tensor:
        """The next state (N, S) of showers, from the energies (N, D) of the step's divisions and its tables.

        Args:
            state: levels, energies and noise of all blocks.
            energies: of the blocks that are divided.
            tokens: of all layers, (N L, H).
            tables: of the step.
            inputs: the inputs of the network that some division of the step needs.
            scales: of the contrasts.
            level: unit of levels.
        """
        return self._step(
            state, energies, tokens, *tables, self.input.weight.t().index_select(0, inputs), scales, level
        )

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
        scales: Tensor,
        level: Tensor,
    ) -> Tensor:
        """Only what has energy is divided: most blocks have none."""
        columns = looked_at.shape[1] - 4
        where = energies.nonzero().t()
        shower, row = where[0], where[1]
        numbers = F.embedding(row, looked_at) + (shower * state.shape[1])[:, None]
        seen, parts = torch.split(numbers, [columns, 4], dim=1)
        found = torch.gather(state.view(-1), 0, seen.reshape(-1)).view(-1, columns)
        levels, whole, uniform = torch.split(found, [columns - 2, 1, 1], dim=1)
        token = F.embedding(layer.index_select(0, row) + shower * self.n_layers, tokens)
        about = token + F.embedding(place.index_select(0, row), self.of_place + self.input.bias)
        contrasts = in_units(levels @ signs, F.embedding(like.index_select(0, row), scales))
        hidden = F.silu(torch.addmm(about, torch.cat([levels, self.law.threshold / whole, contrasts], dim=1), weight))
        first = self.law.first_parts(self._from_first(hidden), whole, uniform)
        both = torch.cat([first, whole - first], dim=1)
        given = torch.cat([level_of(both, self.law.threshold, level), both], dim=1)
        flat = state.view(-1)
        parts, given = parts.reshape(-1), given.view(-1)
        following = flat.scatter(0, parts, given) if torch.compiler.is_exporting() else flat.scatter_(0, parts, given)
        return following.view(state.shape)
