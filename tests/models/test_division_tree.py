"""Trees of divisions: blocks, their neighbours, and the order of cells."""

from __future__ import annotations

import pytest
import torch

from fastv.models.division_tree import Tree, TreeLevel, order_of_cells, sums, tree_levels


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


@pytest.mark.parametrize("cells", [2, 6, 8, 16])
def test_folded_halves_are_mirror_images(cells: int) -> None:
    """A division of the second half has the mirror images of the blocks that its partner in the first half has."""
    order, half = order_of_cells(cells), cells // 2
    assert sorted(order) == list(range(cells))

    def of_cells(block: tuple[int, int], *, mirrored: bool = False) -> set[int]:
        found = {order[place] for place in range(*block)}
        return {cells - 1 - cell for cell in found} if mirrored else found

    for level in tree_levels(cells, folded=True)[1:]:
        divided = [level.blocks[place] for place in level.divided]
        pairs = list(zip(range(0, len(divided), 2), range(1, len(divided), 2), strict=True))
        assert len(pairs) == level.kinds
        for row, partner in pairs:
            for each in (level.divided, *level.beside()):
                one, other = level.blocks[each[row]], level.blocks[each[partner]]
                assert of_cells(one) == of_cells(other, mirrored=True)
            assert divided[partner] == (divided[row][0] + half, divided[row][1] + half)
            assert of_cells(level.firsts[row]) == of_cells(level.firsts[partner], mirrored=True)
        # The blocks beside are the neighbours around the axis.
        for before, row in zip(level.beside()[0], level.divided, strict=True):
            mine, its = of_cells(level.blocks[row]), of_cells(level.blocks[before])
            assert any((cell + step) % cells in its for cell in mine for step in (-1, 1))


@pytest.mark.parametrize(
    ("cells", "folded"), [*((cells, False) for cells in (1, 2, 3, 5, 9, 16)), (2, True), (6, True), (16, True)]
)
def test_parts_that_are_joined_are_the_blocks_of_the_next_level(cells: int, folded: bool) -> None:
    tree, energies = Tree(cells, folded=folded), torch.arange(1.0, cells + 1)[None] ** 2
    divided = tree.as_divided(energies)
    half = 0.5 * sums(energies, [(0, cells)])
    for number, level in enumerate(tree.levels):
        torch.testing.assert_close(2 * half, sums(divided, level.blocks))
        first = sums(divided, level.firsts)
        half = 0.5 * tree.joined(number, half, first, 2 * tree.of_divided(number, half) - first)
    torch.testing.assert_close(tree.in_order(2 * half), energies)
