"""Trees of divisions: blocks, their neighbours, and the order of cells."""

from __future__ import annotations

import pytest
import torch

from fastv.models.division_tree import Tree, TreeLevel, sums, tree_levels


def test_a_division_sees_its_neighbours() -> None:
    """Each level in alpha is told the blocks beside its own, whatever their order."""
    for cells in (2, 3, 5, 8, 16):
        for level in tree_levels(cells):
            places = level.beside()
            assert len(places) == min(2, len(level.blocks) - 1)
            for row, place in enumerate(level.divided):
                start, end = level.blocks[place]
                beside = {level.blocks[each[row]] for each in places}
                expected = {b for b in level.blocks if b[1] % cells == start or b[0] == end % cells}
                assert beside == expected - {(0, cells)}
    assert TreeLevel(((0, 2), (2, 3))).following == ((0, 1), (1, 2), (2, 3))


@pytest.mark.parametrize("cells", [1, 2, 3, 5, 9, 16])
def test_parts_that_are_joined_are_the_blocks_of_the_next_level(cells: int) -> None:
    tree, energies = Tree(cells), torch.arange(1.0, cells + 1)[None] ** 2
    half = 0.5 * sums(energies, [(0, cells)])
    for number, level in enumerate(tree.levels):
        torch.testing.assert_close(2 * half, sums(energies, level.blocks))
        first = sums(energies, level.firsts)
        half = 0.5 * tree.joined(number, half, first, 2 * tree.of_divided(number, half) - first)
    torch.testing.assert_close(tree.in_order(2 * half), energies)
