"""Rotations and mirror images keep what physics keeps, and reach every cell equally often."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fastv.detector.mesh import LayerBlock, ReadoutMesh
from fastv.sample import sample_path
from fastv.showers import ShowersFile
from fastv.training.augmentation import AlphaSymmetry

MESH = ReadoutMesh.cylinder(layers=2, alpha_cells=6, r_cells=3, layer_thickness=1.0, r_size=1.0)


def turned(energies: torch.Tensor, *, rotate: bool, mirror: bool, seed: int = 1) -> torch.Tensor:
    torch.manual_seed(seed)
    return AlphaSymmetry(MESH, rotate=rotate, mirror=mirror)(energies)


@pytest.mark.parametrize(("rotate", "mirror"), [(True, False), (False, True), (True, True)])
def test_layer_and_ring_energies_are_kept_voxel_by_voxel(rotate: bool, mirror: bool) -> None:
    with ShowersFile(sample_path("train")) as file:
        showers = file[:20]
    torch.manual_seed(3)
    after = AlphaSymmetry(showers.mesh, rotate=rotate, mirror=mirror)(torch.from_numpy(showers.energies))
    before = torch.from_numpy(showers.grid)
    grid = after.view(before.shape)
    # The cells around each ring are the same set of energies, in another order.
    assert torch.equal(grid.sort(dim=2).values, before.sort(dim=2).values)
    moved = (grid != before).flatten(1).any(1)
    assert float(moved.float().mean()) > 0.3


def test_a_rotation_turns_all_layers_together() -> None:
    shower = torch.rand(1, MESH.n_voxels)
    grid = shower.view(2, 6, 3)
    after = turned(shower.expand(50, -1), rotate=True, mirror=False).view(-1, 2, 6, 3)
    rotations = torch.stack([grid.roll(shift, dims=1) for shift in range(6)])
    for one in after:
        assert any(torch.equal(one, rotation) for rotation in rotations)


def test_mirror_takes_alpha_to_minus_alpha() -> None:
    values = torch.from_numpy(MESH.voxel_alpha).float()[None] + 10.0
    after = turned(values.expand(40, -1), rotate=False, mirror=True)
    reflected = 20.0 - values
    kinds = [torch.allclose(one, values[0]) - torch.allclose(one, reflected[0]) for one in after]
    assert set(kinds) == {1, -1}


@pytest.mark.parametrize(("mirror", "kinds"), [(False, 6), (True, 12)])
def test_all_symmetries_are_equally_frequent(mirror: bool, kinds: int) -> None:
    n = 12_000
    shower = torch.arange(float(MESH.n_voxels))[None].expand(n, -1)
    after = turned(shower, rotate=True, mirror=mirror)
    _, counts = np.unique(after.numpy(), axis=0, return_counts=True)
    assert len(counts) == kinds
    expected = n / kinds
    assert ((counts - expected) ** 2 / expected).sum() < 2.5 * kinds


def test_each_shower_has_its_own_draw_and_repeats_with_the_seed() -> None:
    showers = torch.rand(64, MESH.n_voxels)
    first, again = (turned(showers, rotate=True, mirror=True, seed=5) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, turned(showers, rotate=True, mirror=True, seed=6))


def layered(*cells: int) -> ReadoutMesh:
    """A mesh with a layer of two rings for each number of cells in alpha."""
    blocks = (LayerBlock(layers=1, alpha_cells=n, r_edges=(0.0, 1.0, 2.0), first_id=i) for i, n in enumerate(cells))
    return ReadoutMesh(blocks=tuple(blocks))


def test_switched_off_it_changes_nothing() -> None:
    showers = torch.rand(3, MESH.n_voxels)
    assert AlphaSymmetry(MESH, rotate=False, mirror=False)(showers) is showers


@pytest.mark.parametrize(("cells", "turns"), [((1, 10, 10, 1), 10), ((8, 12), 4), ((3, 4), 1), ((1, 1), 1)])
@pytest.mark.parametrize("mirror", [False, True])
def test_layers_with_different_cells_turn_together_by_whole_cells_of_each(
    cells: tuple[int, ...], turns: int, mirror: bool
) -> None:
    mesh = layered(*cells)
    assert mesh.turns == turns
    # Directions of a quantity that is constant in each cell: exact if the energy moves by the same angle in all layers.
    fine = 2 * np.lcm.reduce(cells)
    shower = torch.rand(1, mesh.n_voxels)

    def around(energies: torch.Tensor) -> torch.Tensor:
        parts = [part[0].repeat_interleave(fine // part.shape[2], dim=1) for part in grids(energies)]
        return torch.cat([part.flatten(2).transpose(1, 2).reshape(-1, fine) for part in parts])

    def grids(energies: torch.Tensor) -> list[torch.Tensor]:
        return [energies[:, voxels].view(1, *shape) for voxels, shape in mesh.grids]

    first = around(shower)
    pictures = [first] + ([first.flip(1)] if mirror else [])
    allowed = [each.roll(turn * fine // turns, dims=1) for each in pictures for turn in range(turns)]
    torch.manual_seed(1)
    after = AlphaSymmetry(mesh, rotate=True, mirror=mirror)(shower.expand(200, -1))
    found = set()
    for one in after:
        [which] = [i for i, each in enumerate(allowed) if torch.equal(each, around(one[None]))][:1]
        found.add(which)
    assert len(found) == len({tuple(each.flatten().tolist()) for each in allowed})
