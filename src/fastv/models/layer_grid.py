"""Voxels as an array (layer, alpha, r) whatever the cells of the layers, and linear maps of layers with other cells."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fastv.detector.mesh import ReadoutMesh

Shape = tuple[int, int, int]
Cells = tuple[int, int]


class LayerGrid(nn.Module):
    """The voxels of a shower as a dense array (layer, alpha, r), whatever the cells of the layers.

    The array is as large as the most cells in alpha and in r of any layer. A layer with fewer has its cells at the
    beginning, and *places* without voxel behind them, which hold 0. On a mesh whose layers all have the same numbers of
    cells there are no such places: both directions are views, and an exported graph has nothing in addition.

    Shapes: voxels (..., V), grid (..., layers, alpha, r).

    Args:
        cells: numbers of cells in alpha and r of each layer.
        kinds: a number for each layer, the same for layers of the same segmentation; by default it depends on
            ``cells``.

    Example:
        >>> grid = LayerGrid([(1, 3), (2, 2)])
        >>> grid(torch.arange(1.0, 8.0)).tolist()
        [[[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]], [[4.0, 5.0, 0.0], [6.0, 7.0, 0.0]]]
        >>> grid.flat(grid(torch.arange(1.0, 8.0))).tolist()
        [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    """

    inside: Tensor
    place: Tensor
    voxel: Tensor

    def __init__(self, cells: Sequence[Cells], kinds: Sequence[int] | None = None) -> None:
        super().__init__()
        self.shape: Shape = (len(cells), max(alpha for alpha, _ in cells), max(r for _, r in cells))
        self.sizes = tuple(alpha * r for alpha, r in cells)
        named = list(cells if kinds is None else kinds)
        numbers = {each: number for number, each in enumerate(dict.fromkeys(named))}
        self.kinds = tuple(numbers[each] for each in named)
        self.full = sum(self.sizes) == math.prod(self.shape)
        inside = torch.zeros(self.shape, dtype=torch.bool)
        for layer, (alpha, r) in enumerate(cells):
            inside[layer, :alpha, :r] = True
        place = inside.flatten().nonzero()[:, 0]
        voxel = torch.full((inside.numel(),), 0)
        voxel[place] = torch.arange(len(place))
        self.register_buffer("inside", inside.float(), persistent=False)
        self.register_buffer("place", place, persistent=False)
        self.register_buffer("voxel", voxel, persistent=False)

    @classmethod
    def of(cls, mesh: ReadoutMesh) -> LayerGrid:
        """The grid of a readout mesh."""
        layers = mesh.layers
        edges = list(dict.fromkeys((layer.alpha_cells, layer.r_edges) for layer in layers))
        kinds = [edges.index((layer.alpha_cells, layer.r_edges)) for layer in layers]
        return cls([(layer.alpha_cells, layer.r_cells) for layer in layers], kinds)

    @classmethod
    def regular(cls, shape: Shape) -> LayerGrid:
        """A grid whose layers all have the same cells."""
        layers, alpha, r = shape
        return cls([(alpha, r)] * layers)

    @property
    def groups(self) -> list[list[int]]:
        """The layers of each segmentation."""
        return [[layer for layer, kind in enumerate(self.kinds) if kind == each] for each in range(max(self.kinds) + 1)]

    @property
    def n_voxels(self) -> int:
        """Number of voxels V."""
        return sum(self.sizes)

    @property
    def cells(self) -> int:
        """Number of places of a layer, alpha times r."""
        return self.shape[1] * self.shape[2]

    @property
    def alike(self) -> bool:
        """Whether all layers have the same segmentation."""
        return max(self.kinds) == 0

    def forward(self, voxels: Tensor) -> Tensor:
        """The grid of voxels."""
        if self.full:
            return voxels.reshape(*voxels.shape[:-1], *self.shape)
        places = voxels[..., self.voxel].reshape(*voxels.shape[:-1], *self.shape)
        return self.masked(places)

    def flat(self, grid: Tensor, axes: int = 3) -> Tensor:
        """The voxels of a grid; with two ``axes``, of (..., layers, alpha r)."""
        places = grid.flatten(-axes)
        return places if self.full else places[..., self.place]

    def packed(self, grid: Tensor) -> Tensor:
        """The numbers of a grid and no others: itself if each place is a voxel, otherwise its voxels (..., V)."""
        return grid if self.full else self.flat(grid)

    def unpacked(self, numbers: Tensor) -> Tensor:
        """The grid of which :meth:`packed` gave the numbers."""
        return numbers if self.full else self(numbers)

    def masked(self, grid: Tensor) -> Tensor:
        """The grid with 0 in places without voxel."""
        return grid if self.full else grid * self.inside


class LayerLinear(nn.Module):
    """A linear map of each layer, with weights of its own for each segmentation.

    Shapes: (N, L, inputs) -> (N, L, outputs).

    Args:
        kinds: number of the segmentation of each layer.
        used: how many inputs of each layer are not always 0; weights start as those of a map of so many.
        inputs, outputs: columns.
    """

    kind: Tensor

    def __init__(self, kinds: Sequence[int], used: Sequence[int], inputs: int, outputs: int) -> None:
        super().__init__()
        bounds = torch.zeros(max(kinds) + 1)
        bounds[list(kinds)] = 1 / torch.tensor(used).float().sqrt()
        self.weight = nn.Parameter((2 * torch.rand(len(bounds), inputs, outputs) - 1) * bounds[:, None, None])
        self.bias = nn.Parameter((2 * torch.rand(len(bounds), outputs) - 1) * bounds[:, None])
        self.register_buffer("kind", torch.tensor(kinds), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map the columns of each layer."""
        out = x.transpose(0, 1) @ self.weight[self.kind]
        return out.transpose(0, 1) + self.bias[self.kind]


def from_cells(grid: LayerGrid, channels: int, outputs: int, besides: int = 0) -> nn.Linear | LayerLinear:
    """A linear map from the cells of each layer, (N, L, channels * cells + besides) -> (N, L, outputs).

    Layers of the same segmentation share weights; with one segmentation this is a plain linear layer.

    Args:
        grid: the layers.
        channels: numbers for each cell.
        outputs: columns of the output.
        besides: columns behind those of the cells.
    """
    inputs = channels * grid.cells + besides
    if grid.alike:
        return nn.Linear(inputs, outputs)
    return LayerLinear(grid.kinds, [channels * size + besides for size in grid.sizes], inputs, outputs)


def to_cells(grid: LayerGrid, inputs: int, channels: int) -> nn.Linear | LayerLinear:
    """A linear map to the cells of each layer, (N, L, inputs) -> (N, L, channels * cells); see :func:`from_cells`."""
    outputs = channels * grid.cells
    if grid.alike:
        return nn.Linear(inputs, outputs)
    return LayerLinear(grid.kinds, [inputs] * len(grid.kinds), inputs, outputs)


def shares_before(mesh: ReadoutMesh) -> tuple[Tensor, Tensor]:
    """The share of each cell that lies in the range of each cell of the layer before.

    Returns:
        For alpha (L, alpha, alpha) and for r (L, r, r): for each layer, a row for each of its cells and a column for
        each of the layer before; 0 for the first layer.

    Example:
        >>> from fastv.detector.mesh import LayerBlock
        >>> front = LayerBlock(layers=1, alpha_cells=2, r_edges=(0, 1, 3))
        >>> alpha, r = shares_before(ReadoutMesh(blocks=(front, LayerBlock(layers=1, alpha_cells=1, r_edges=(0, 2)))))
        >>> alpha[1].tolist(), r[1].tolist()
        ([[0.5, 0.5], [0.0, 0.0]], [[0.5, 0.5], [0.0, 0.0]])
    """
    layers = mesh.layers
    alpha = [torch.linspace(0, 1, layer.alpha_cells + 1, dtype=torch.float64) for layer in layers]
    r = [torch.tensor(layer.r_edges, dtype=torch.float64) for layer in layers]
    return _shares_before(alpha), _shares_before(r)


def _shares_before(edges: Sequence[Tensor]) -> Tensor:
    most = max(len(each) for each in edges) - 1
    shares = torch.zeros(len(edges), most, most)
    for layer, (before, own) in enumerate(itertools.pairwise(edges), start=1):
        low, high = torch.maximum(own[:-1, None], before[:-1]), torch.minimum(own[1:, None], before[1:])
        share = (high - low).clamp(min=0.0) / (own[1:] - own[:-1])[:, None]
        shares[layer, : len(own) - 1, : len(before) - 1] = share.float()
    return shares
