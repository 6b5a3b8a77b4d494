"""The visible energy divided between the layers."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from torch import Tensor, nn

from fastv.models.codings.preprocessing import LayerScale
from fastv.models.division_law import DivisionLaw
from fastv.models.divisions import Range, halves
from fastv.models.energy_levels import Levels, level_of, standardised
from fastv.models.networks import MLP
from fastv.models.repeated import repeated
from fastv.models.undivided import Undivided


class LayerDivisions(nn.Module):
    """p(e | E_tot, c): the visible energy divided between blocks of layers, down to layers.

    Every second division of a level comes after the others and sees their parts. A block with more energy than was ever
    left undivided in training has two parts for certain (:class:`~fastv.models.undivided.Undivided`).

    Shapes: layer energies (N, L) MeV, context (N, K), uniform noise (N, L - 1).

    Args:
        layers: number of layers L.
        context: columns K.
        law: of a division.
        hidden, dropout: width and dropout of the networks.
    """

    def __init__(self, layers: int, context: int, law: DivisionLaw, hidden: int, dropout: float) -> None:
        super().__init__()
        self.law = law
        self.turns = list(_turns(layers))
        self.blocks = [block for blocks in halves(layers) for block in blocks]
        self.scale = LayerScale(len(self.blocks))
        self.undivided = Undivided(len(self.blocks))
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
        self.networks = nn.ModuleList()
        for blocks, turns, _ in self.turns:
            seen = context + 2 * len(blocks)
            for parents in turns:
                network = MLP(seen, (hidden, hidden), law.parameters_each * len(parents), dropout)
                last = network[-1]
                assert isinstance(last, nn.Linear)
                nn.init.normal_(last.weight, std=1e-2)
                last.bias.data.copy_(law.initial().repeat(len(parents)))
                self.networks.append(network)
                seen += 4 * len(parents)

    def fit(self, layers: Tensor, u: Tensor) -> None:
        """Fit the scales of all blocks to layer energies (N, L) in MeV, at scaled logarithms of the energy u (N, 1)."""
        energies = _sums(layers, self.blocks)
        self.scale.fit(energies, layers.sum(1, keepdim=True), u)
        first = _sums(layers, [(start, (start + end) // 2) for start, end in self.blocks])
        half = 0.5 * self.law.threshold
        divided = torch.tensor([end - start > 1 for start, end in self.blocks], device=layers.device)
        self.undivided.fit(energies, divided & ((first < half) | (energies - first < half)))

    def standardised(self, layers: Tensor, u: Tensor) -> Tensor:
        """Logarithms of the shares of layers, (N, L), in numbers of mean 0 and width 1 at every energy; 0 for none."""
        mean, width = (each[:, -layers.shape[1] :] for each in self.scale.scales(u)[:2])
        return standardised(layers, layers.sum(1, keepdim=True), mean, width)

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
        parts = [level_of(energies, self.law.threshold, scale), standardised(energies, total, mean, width)]
        return torch.cat([context, *parts], dim=1)

    def log_prob(self, layers: Tensor, context: Tensor, levels: Levels, *, in_mev: bool = False) -> Tensor:
        """Logarithm of the density, (N,), in nats; of MeV instead of the y of each division with ``in_mev``."""
        result = torch.zeros_like(layers[:, 0])
        for row, whole, first, parameters in self._divisions(layers, context, levels):
            found = self.law.log_prob(parameters, whole, first)
            if in_mev:
                found = found + self.law.log_slope(whole, first)
            result = result.index_add(0, row, found)
        return result

    def _divisions(self, layers: Tensor, context: Tensor, levels: Levels) -> Iterator[tuple[Tensor, ...]]:
        """The divisions of each turn that have energy: rows, energies, first parts, parameters."""
        total = layers.sum(1, keepdim=True)
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
                row, place = (whole > 0).nonzero(as_tuple=True)
                of_division = parameters.view(len(whole), len(parents), -1)[row, place]
                block, divided = own[parents][place], whole[row, place]
                sure = self.undivided.never(divided, self.undivided.largest[block])[:, None]
                yield row, divided, first[row, place], self.law.surely_divided(of_division, sure)
                both = torch.cat([first, (whole - first).clamp(min=0.0)], dim=1)
                seen = torch.cat([seen, levels(both), standardised(both, total, *scales)], dim=1)

    def sample(self, total: Tensor, context: Tensor, levels: Levels, uniform: Tensor) -> Tensor:
        """Layer energies (N, L) in MeV that add up to ``total`` (N, 1)."""
        energies = total
        networks = iter(self.networks)
        noises = iter(torch.split(uniform, [len(parents) for _, turns, _ in self.turns for parents in turns], dim=1))
        mean, width, _ = self.scale.scales(context[:, :1])
        for number, (_, turns, _) in enumerate(self.turns):
            own = self.get_buffer(f"blocks_{number}")
            largest = self.undivided.largest.index_select(0, own)[None]
            scales = mean.index_select(1, own), width.index_select(1, own)
            seen = self._seen(energies, total, context, *scales, levels.scale)
            parts = [energies]
            for turn, parents in enumerate(turns):
                columns, own = self.get_buffer(f"parts_{number}_{turn}"), self.get_buffer(f"parents_{number}_{turn}")
                result = self._turn(
                    seen,
                    energies,
                    total,
                    own,
                    next(noises),
                    largest.index_select(1, own),
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
        largest: Tensor,
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
        parameters = self.law.surely_divided(parameters, self.undivided.never(whole, largest).reshape(-1, 1))
        first = self.law.first_parts(parameters, whole.reshape(-1, 1), uniform.reshape(-1, 1))
        first = first.view(-1, columns.shape[0])
        both = torch.cat([first, whole - first], dim=1)
        known = [level_of(both, self.law.threshold, scale), standardised(both, total, mean, width)]
        return torch.cat([seen, *known, both], dim=1)


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
