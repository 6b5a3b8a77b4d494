"""Divisions of a row of cells in the middle, again and again, down to single cells, with dense operations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fastv.models.divisions import Range
from fastv.models.plain_division import divide


@dataclass(frozen=True)
class TreeLevel:
    """A level of divisions: its ``blocks`` as they are stored, and the places of those that are ``divided``.

    Stored next are the first parts, the second parts, and the blocks of one cell, which are not divided.

    With ``folded``, the second half of the cells is in reverse order (:func:`order_of_cells`).
    """

    blocks: tuple[Range, ...]
    folded: bool = False

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
        """Places of the blocks before and after each one that is divided, around the axis; once if they are one.

        If folded, the first cells of both halves are neighbours, and so are the last ones.
        """
        if len(self.blocks) == 1:
            return []
        end = max(end for _, end in self.blocks)
        starts = {start: place for place, (start, _) in enumerate(self.blocks)}
        ends = {end_: place for place, (_, end_) in enumerate(self.blocks)}
        half = end // 2
        if self.folded:
            first, last = {0: starts[half], half: starts[0]}, {half: ends[end], end: ends[half]}
        else:
            first, last = {0: ends[end]}, {end: starts[0]}
        divided = [self.blocks[place] for place in self.divided]
        before = [first[start] if start in first else ends[start] for start, _ in divided]
        after = [last[end_] if end_ in last else starts[end_] for _, end_ in divided]
        return [before] if before == after else [before, after]

    @property
    def kinds(self) -> int:
        """How many of the divided blocks are no mirror images of others, if folded."""
        return (len(self.divided) + 1) // 2


def order_of_cells(cells: int) -> list[int]:
    """The cells as :class:`TreeLevel` has them if folded: the second half in reverse order.

    Example:
        >>> order_of_cells(6)
        [0, 1, 2, 5, 4, 3]
    """
    return [*range(cells // 2), *range(cells - 1, cells // 2 - 1, -1)]


def tree_levels(cells: int, *, folded: bool = False) -> list[TreeLevel]:
    """The levels from one block of all cells to the last that has a division.

    Example:
        >>> [level.blocks for level in tree_levels(3)], tree_levels(3)[-1].following
        ([((0, 3),), ((0, 1), (1, 3))], ((1, 2), (2, 3), (0, 1)))
    """
    levels: list[TreeLevel] = []
    blocks: tuple[Range, ...] = ((0, cells),)
    while any(end - start > 1 for start, end in blocks):
        levels.append(TreeLevel(blocks, folded))
        blocks = levels[-1].following
    return levels


class Tree(nn.Module):
    """Divisions down to cells along one axis: levels, and the numbers of blocks as buffers.

    Args:
        cells: number of cells.
        folded: whether the halves are mirror images of each other: then so are their divisions. The number of cells
            is even.
    """

    places: Tensor

    def __init__(self, cells: int, *, folded: bool = False) -> None:
        super().__init__()
        self.levels = tree_levels(cells, folded=folded)
        last = self.levels[-1].following if self.levels else ((0, 1),)
        self.sizes = [len(level.divided) for level in self.levels]
        self.places_list = sorted(range(cells), key=lambda place: last[place][0])
        self.order = order_of_cells(cells) if folded else list(range(cells))
        # The order is its own inverse.
        self.places_list = [self.places_list[cell] for cell in self.order]
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

    def as_divided(self, energies: Tensor) -> Tensor:
        """Energies (N, cells, ...) of cells in the order in which levels have them."""
        return energies[:, self.order] if self.order != sorted(self.order) else energies

    def of_divided(self, number: int, blocks: Tensor) -> Tensor:
        """Those of the blocks (N, B, ...) of a level that are divided."""
        return blocks.index_select(1, self.get_buffer(f"divided_{number}")) if self.levels[number].kept else blocks

    def following(self, number: int, half: Tensor, level: Tensor, parameters: Tensor, z: Tensor) -> Tensor:
        """Energies of the blocks of the next level, from the halves of those of a level."""
        parts = divide(self.of_divided(number, half), self.of_divided(number, level), parameters, z)
        return self.joined(number, half, *parts)

    def joined(self, number: int, half: Tensor, *parts: Tensor) -> Tensor:
        """Energies of the blocks of the next level: the parts, and the blocks that are not divided."""
        if self.levels[number].kept:
            parts = (*parts, 2 * half.index_select(1, self.get_buffer(f"kept_{number}")))
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]

    def with_beside(self, number: int, x: Tensor) -> Tensor:
        """For each divided block numbers x (N, B, 1, M) of itself and of those beside it, (N, n, K, M)."""
        n, cells = self.sizes[number], x.shape[3]
        index = self.get_buffer(f"seen_{number}")
        return x if len(index) == 1 else x.index_select(1, index).view(-1, n, len(index) // n, cells)


def sums(energies: Tensor, blocks: list[Range] | tuple[Range, ...]) -> Tensor:
    """Sums (N, B, ...) over blocks of the axis 1."""
    return torch.stack([energies[:, start:end].sum(1) for start, end in blocks], dim=1)


@dataclass(frozen=True)
class Outcomes:
    """The divisions of a level: places in (N, n, M) or (N, n), log probabilities and limits of the noise, (K,)."""

    name: str
    number: int
    at: tuple[Tensor, ...]
    log_prob: Tensor
    low: Tensor
    high: Tensor

    def limits(self, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Limits of the noise as tables (N, n, M) or (N, n), NaN where there is no energy to divide."""
        low, high = (torch.full(shape, torch.nan, device=self.low.device) for _ in range(2))
        low[self.at], high[self.at] = self.low.float(), self.high.float()
        return low, high
