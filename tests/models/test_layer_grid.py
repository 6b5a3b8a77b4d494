"""Voxels of layers with different cells in one array, and the maps from and to them."""

from __future__ import annotations

import pytest
import torch

from fastv.detector.detector import Detector
from fastv.detector.mesh import LayerBlock, ReadoutMesh
from fastv.models.layer_grid import LayerGrid, LayerLinear, from_cells, shares_before, to_cells

MESH = ReadoutMesh(
    blocks=(
        LayerBlock(layers=1, alpha_cells=1, r_edges=(0.0, 2.0, 5.0)),
        LayerBlock(layers=2, alpha_cells=4, r_edges=(0.0, 1.0, 2.0, 4.0), first_id=1),
        LayerBlock(layers=1, alpha_cells=2, r_edges=(0.0, 10.0), first_id=12),
    )
)
GRID = LayerGrid.of(MESH)


def test_each_voxel_has_its_place_and_comes_back() -> None:
    voxels = torch.arange(1.0, MESH.n_voxels + 1).repeat(3, 1)
    grid = GRID(voxels)
    assert grid.shape == (3, 4, 4, 3)
    assert torch.equal(GRID.flat(grid), voxels)
    assert torch.equal(GRID.flat(grid.flatten(2), axes=2), voxels)
    assert torch.equal(grid > 0, GRID.inside.bool().expand_as(grid))
    assert torch.equal(GRID.packed(grid), voxels)
    assert torch.equal(GRID.unpacked(voxels), grid)
    # Alpha and r of each layer are the first two axes, with r fastest.
    for layer in range(4):
        own = voxels[0, MESH.layer_slice(layer)].view(MESH.layers[layer].alpha_cells, -1)
        assert torch.equal(grid[0, layer, : own.shape[0], : own.shape[1]], own)
    assert torch.equal(GRID.masked(torch.ones(4, 4, 3)), GRID.inside)


def test_layers_of_the_same_segmentation_are_of_one_kind() -> None:
    assert GRID.kinds == (0, 1, 1, 2)
    assert GRID.sizes == (2, 12, 12, 2)
    assert not GRID.alike
    edges = MESH.model_copy(update={"blocks": (MESH.blocks[0], LayerBlock(layers=1, alpha_cells=1, r_edges=(0, 1, 2)))})
    other = LayerGrid.of(edges)
    # As many cells, of other sizes.
    assert other.full
    assert not other.alike


def test_a_regular_mesh_is_a_view() -> None:
    mesh = Detector.preset("par04-siw").mesh
    grid = LayerGrid.of(mesh)
    voxels = torch.rand(2, mesh.n_voxels)
    assert grid.full
    assert grid.alike
    assert grid(voxels).data_ptr() == voxels.data_ptr()
    assert grid.flat(grid(voxels)).data_ptr() == voxels.data_ptr()
    assert grid.packed(grid(voxels)).shape == (2, *mesh.shape)
    assert grid.unpacked(grid(voxels)).shape == (2, *mesh.shape)
    assert isinstance(from_cells(grid, 2, 5), torch.nn.Linear)
    assert not grid.state_dict()


def test_each_kind_has_its_weights_and_starts_as_wide_as_the_others() -> None:
    torch.manual_seed(1)
    grid = LayerGrid([(1, 4), (20, 20), (1, 4)])
    to_tokens = from_cells(grid, 1, 300)
    assert isinstance(to_tokens, LayerLinear)
    x = grid(torch.randn(50, grid.n_voxels)).flatten(2)
    tokens = to_tokens(x)
    assert tokens.shape == (50, 3, 300)
    spread = (tokens - to_tokens.bias[to_tokens.kind]).std((0, 2))
    torch.testing.assert_close(spread, torch.full((3,), 3**-0.5), rtol=0.1, atol=0)
    expected = x[:, 1] @ to_tokens.weight[1] + to_tokens.bias[1]
    torch.testing.assert_close(tokens[:, 1], expected)
    torch.testing.assert_close(to_tokens(x.flip(1))[:, 2], to_tokens(x)[:, 0])
    assert to_cells(grid, 7, 2)(torch.zeros(5, 3, 7)).shape == (5, 3, 2 * 400)


def test_cells_lie_in_those_of_the_layer_before() -> None:
    alpha, r = shares_before(MESH)
    assert float(alpha[0].abs().sum() + r[0].abs().sum()) == 0
    # A quarter lies in the only cell; all of two rings in the first, and half of the third in each.
    torch.testing.assert_close(alpha[1, :, 0], torch.ones(4))
    torch.testing.assert_close(r[1, :, :2], torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    torch.testing.assert_close(alpha[2], torch.eye(4))
    torch.testing.assert_close(r[2], torch.eye(3))
    # A ring that extends further has a share beyond the layer before, where nothing is.
    torch.testing.assert_close(r[3, 0], torch.tensor([0.1, 0.1, 0.2]))
    torch.testing.assert_close(alpha[3, :2], torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]))


@pytest.mark.parametrize("cells", [[(1, 4), (2, 3)], [(2, 3), (2, 3)]])
def test_places_follow_a_module_to_another_precision(cells: list[tuple[int, int]]) -> None:
    grid = LayerGrid(cells).double()
    voxels = torch.rand(2, grid.n_voxels, dtype=torch.float64)
    assert grid(voxels).dtype == torch.float64
    assert torch.equal(grid.flat(grid.masked(grid(voxels))), voxels)
