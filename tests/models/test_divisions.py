"""The plan of divisions: every voxel is reached, and nothing is seen before it is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastv.detector.detector import Detector
from fastv.detector.mesh import LayerBlock, ReadoutMesh
from fastv.models.divisions import DivisionPlan, halves, plan_divisions


def mesh_of(*layers: tuple[int, int]) -> ReadoutMesh:
    """A mesh of layers with numbers of alpha and r cells."""
    blocks = tuple(
        LayerBlock(layers=1, alpha_cells=alpha, r_edges=tuple(5.0 * i for i in range(r + 1)), first_id=i)
        for i, (alpha, r) in enumerate(layers)
    )
    return ReadoutMesh(blocks=blocks)


meshes = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 6)), min_size=1, max_size=6).map(lambda x: mesh_of(*x))


def produced(plan: DivisionPlan) -> np.ndarray:
    """The step at which each energy is known; -1 for layers and the empty place."""
    known = np.full(plan.size, -1)
    known[plan.first] = known[plan.second] = plan.step
    known[plan.sums] = plan.sum_step
    return known


@given(mesh=meshes, halvings=st.integers(0, 3), checkerboard=st.booleans())
def test_layers_are_divided_into_their_voxels(mesh: ReadoutMesh, halvings: int, checkerboard: bool) -> None:
    plan = plan_divisions(mesh, halvings=halvings, checkerboard=checkerboard)
    # A binary tree has one division less than leaves.
    assert len(plan.parent) == mesh.n_voxels - mesh.n_layers
    # Each energy but those of layers and the empty place is made once.
    parts = np.concatenate([plan.first, plan.second])
    assert len(np.unique(parts)) == len(parts) == plan.blocks - 1 - mesh.n_layers
    energies = np.zeros(plan.size)
    energies[plan.leaves] = np.random.default_rng(1).random(mesh.n_voxels)
    voxels = energies[plan.leaves].copy()
    for rows in plan.upwards:
        energies[plan.parent[rows]] = energies[plan.first[rows]] + energies[plan.second[rows]]
    expected = [voxels[mesh.layer_slice(i)].sum() for i in range(mesh.n_layers)]
    np.testing.assert_allclose(energies[plan.roots], expected)
    np.testing.assert_array_equal(plan.layer, mesh.voxel_layer[_first_voxel(plan)[plan.parent]])


@given(mesh=meshes)
def test_a_step_goes_from_rings_to_small_arcs(mesh: ReadoutMesh) -> None:
    plan = plan_divisions(mesh)
    for step in plan.steps:
        rings, arcs = plan.rings[step], plan.arc[step]
        assert not np.any(np.diff(rings.astype(int)) > 0)
        assert not np.any(np.diff(arcs[~rings]) > 0)
    voxel = mesh.voxel_layer[_first_voxel(plan)[plan.parent]]
    of_all = np.array([layer.alpha_cells for layer in mesh.layers])[voxel]
    np.testing.assert_array_equal(plan.arc[plan.rings], of_all[plan.rings])
    assert bool((plan.arc <= of_all).all())


def _first_voxel(plan: DivisionPlan) -> np.ndarray:
    """A voxel of each energy."""
    voxel = np.zeros(plan.size, dtype=int)
    voxel[plan.leaves] = np.arange(len(plan.leaves))
    for rows in plan.upwards:
        voxel[plan.parent[rows]] = voxel[plan.first[rows]]
    return voxel


def test_sums_are_those_of_the_layers_ahead() -> None:
    mesh = mesh_of(*[(4, 2)] * 5)
    plan = plan_divisions(mesh, halvings=2)  # waves: 0, 4; 2; 1, 3
    nodes, arcs = int(plan.roots[1] - plan.roots[0]), 2 + 4
    energies = np.zeros(plan.size)
    energies[plan.leaves] = np.random.default_rng(1).random(mesh.n_voxels)
    for rows in plan.upwards:
        energies[plan.parent[rows]] = energies[plan.first[rows]] + energies[plan.second[rows]]
    for rows in plan.sums_by_wave:
        energies[plan.sums[rows]] = energies[plan.summands[rows]].sum(1)
    of_layers = energies[plan.roots[0] : plan.roots[0] + 5 * nodes].reshape(5, nodes)
    first, second, around = np.split(energies[plan.blocks :], [nodes, 2 * nodes])
    np.testing.assert_allclose(first[1:], of_layers[[0, 4], 1:].sum(0))
    np.testing.assert_allclose(second[1:], of_layers[[0, 2, 4], 1:].sum(0))
    for layer, sums in ((2, first), (1, second), (3, second)):
        row = int(np.flatnonzero((plan.layer == layer) & plan.rings)[0])
        ahead = energies[plan.seen[row][plan.seen[row] >= plan.blocks]]
        parts = [number - plan.roots[layer] for number in (plan.first[row], plan.second[row])]
        np.testing.assert_allclose(ahead[:2], sums[parts])
    assert len(around) == arcs


def test_sums_over_rings_are_those_of_layers_that_are_known() -> None:
    plan = plan_divisions(mesh_of(*[(4, 2)] * 9), halvings=3)  # waves: 0, 8; 4; 2, 6; 1, 3, 5, 7
    voxels = _voxels(plan)
    for row in np.flatnonzero((plan.layer == 3) & ~plan.rings):
        for part, column in zip((plan.first[row], plan.second[row]), plan.contrasts[1, 3], strict=True):
            alpha = {voxel % 8 // 2 for voxel in voxels[int(part)]}
            # Every second block is divided half a level later, so the rings take turns from place to place.
            (place,) = {cell // len(alpha) // 2 for cell in alpha}
            expected = {
                8 * layer + 2 * cell + ring
                for ring in range(2)
                for layer in ((0, 4, 8) if (place + ring) % 2 == 0 else (0, 8))
                for cell in alpha
            }
            assert voxels[int(plan.seen[row, column])] == expected


def _voxels(plan: DivisionPlan) -> dict[int, set[int]]:
    """The voxels of each energy and of each sum."""
    voxels: dict[int, set[int]] = {0: set()} | {int(leaf): {number} for number, leaf in enumerate(plan.leaves)}
    for rows in plan.upwards:
        for row in rows:
            voxels[int(plan.parent[row])] = voxels[int(plan.first[row])] | voxels[int(plan.second[row])]
    for rows in plan.sums_by_wave:
        for row in rows:
            voxels[int(plan.sums[row])] = set().union(*(voxels[int(each)] for each in plan.summands[row]))
    return voxels


def test_contrasts_are_between_the_parts_in_other_layers() -> None:
    mesh = mesh_of((4, 2), (4, 3), (4, 2), (4, 2), (4, 2))
    plan = plan_divisions(mesh, halvings=1)
    node = np.arange(plan.size)
    for layer, root in enumerate(plan.roots):
        end = plan.roots[layer + 1] if layer + 1 < mesh.n_layers else plan.blocks
        node[root:end] -= root
    seen = 0
    for row in np.flatnonzero(plan.layer == 3):
        for columns in plan.contrasts[int(not plan.rings[row])][:2]:
            found = plan.seen[row, columns]
            assert node[found].tolist() == [node[plan.first[row]], node[plan.second[row]]]
            seen += 1
    assert seen == 2 * 7


def test_divisions_that_are_alike_are_rotated_into_each_other() -> None:
    plan = plan_divisions(mesh_of((8, 3), (8, 3)), halvings=0)
    for group in np.unique(plan.like):
        rows = np.flatnonzero(plan.like == group)
        assert len({(plan.layer[row], plan.rings[row]) for row in rows}) == 1
        arcs = len(rows)
        assert arcs in ({1} if plan.rings[rows[0]] else {1, 2, 4})
    assert plan.like.max() + 1 == 2 * (2 + 3 * 3)


@given(mesh=meshes, halvings=st.integers(0, 3), checkerboard=st.booleans())
def test_a_division_sees_only_what_is_known(mesh: ReadoutMesh, halvings: int, checkerboard: bool) -> None:
    plan = plan_divisions(mesh, halvings=halvings, checkerboard=checkerboard)
    known = produced(plan)
    assert (known[plan.parent] < plan.step).all()
    assert (known[plan.seen] < plan.step[:, None]).all()
    assert [i for step in plan.steps for i in range(step.start, step.stop)] == list(range(len(plan.step)))
    assert 0 not in plan.leaves


def test_order_of_layers_goes_from_wide_to_narrow() -> None:
    mesh = mesh_of(*[(1, 2)] * 9)
    plan = plan_divisions(mesh, halvings=2)
    # A single division a layer, so its step is the wave: 0, 4, 8; 2, 6; 1, 3, 5, 7.
    assert [int(plan.step[plan.layer == i][0]) for i in range(9)] == [0, 2, 1, 2, 0, 2, 1, 2, 0]
    together = plan_divisions(mesh, halvings=0)
    assert set(together.step) == {0}
    assert together.seen.max() <= together.roots.max()


def test_what_is_seen_in_other_layers_is_the_same_block() -> None:
    """In the shipped mesh, the middle layer of three sees the parts of the same arc below and above."""
    plan = plan_divisions(mesh_of((4, 2), (4, 2), (4, 2)), halvings=1)
    node = plan.parent - plan.roots[plan.layer]
    middle = np.flatnonzero(plan.layer == 1)
    for row in middle[~plan.rings[middle]]:
        below = plan.roots[0] + (plan.first[row] - plan.roots[1])
        above = plan.roots[2] + (plan.second[row] - plan.roots[1])
        assert below in plan.seen[row]
        assert above in plan.seen[row]
    assert set(node[middle]) == set(node[plan.layer == 0])


def test_layers_of_other_segmentation_are_not_seen() -> None:
    plan = plan_divisions(mesh_of((4, 2), (3, 2), (4, 2)), halvings=1)
    ends = [*plan.roots[1:], plan.size]
    for row in np.flatnonzero(plan.layer == 1):
        seen = plan.seen[row][plan.seen[row] > 0]
        assert (seen < plan.blocks).all()  # and no sums, since no layer of this kind is ahead
        assert ((seen >= plan.roots[1]) & (seen < ends[1])).all()
    assert plan.places == 7 + 5


@pytest.mark.parametrize(("checkerboard", "steps"), [(True, 17), (False, 13)])
def test_steps_of_the_shipped_detector(checkerboard: bool, steps: int) -> None:
    plan = plan_divisions(Detector.preset("par04-siw").mesh, checkerboard=checkerboard)
    assert len(plan.steps) == steps
    assert (len(plan.parent), plan.blocks, plan.places) == (6435, 12916, 143)
    # Rotations by whole cells: as many energies are seen at every alpha, because neighbours go around.
    if not checkerboard:
        voxels = ~plan.rings & (plan.level == plan.level.max()) & (plan.layer == 1)
        counts = (plan.seen[voxels] > 0).sum(1).reshape(9, 8)
        assert (counts == counts[:, :1]).all()


def test_blocks_beside_each_other_are_not_divided_at_once() -> None:
    """Like the fields of a checkerboard: the four neighbours of a block, in alpha and r, are half a level away."""
    plan = plan_divisions(mesh_of((8, 3)), halvings=0)
    voxel = _first_voxel(plan)[plan.parent]
    pairs = ~plan.rings & (plan.level >= plan.level.max() - 1)  # the last level: blocks of two voxels
    at = {(v // 3 // 2, v % 3): int(level) for v, level in zip(voxel[pairs], plan.level[pairs], strict=True)}
    assert len(at) == 12
    for (place, ring), level in at.items():
        for beside in (((place + 1) % 4, ring), ((place - 1) % 4, ring), (place, ring + 1), (place, ring - 1)):
            if beside in at:
                assert abs(at[beside] - level) == 1


def test_halves_of_any_number_of_cells() -> None:
    for cells in range(1, 20):
        levels = halves(cells)
        assert levels[-1] == [(i, i + 1) for i in range(cells)]
        assert len(levels) == 1 + int(np.ceil(np.log2(cells)))
