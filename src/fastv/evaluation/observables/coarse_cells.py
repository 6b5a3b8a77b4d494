"""Coarse cells: about a hundred groups of voxels, few enough to correlate all pairs of them.

Consecutive layers of one segmentation are divided into groups, about nine in the whole mesh; each group of layers into
four sectors of alpha; each sector into three ranges of r: the innermost ninth of the cells, the cells up to a third,
and the rest. A mesh with fewer layers or cells has fewer groups. A mesh of 45 x 16 x 9 voxels has 9 x 4 x 3 = 108
coarse cells of 5 layers x 4 alpha cells x 1, 2 or 6 r cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastv.detector.mesh import LayerBlock, ReadoutMesh

LAYER_GROUPS = 9
SECTORS = 4


@dataclass(frozen=True)
class CoarseBlock:
    """Coarse cells of consecutive layers with the same segmentation.

    Attributes:
        groups: the layers of each of G groups, counted from the first layer of the block.
        membership: 1 where a cell of a layer belongs to one of S sectors and R ranges of r, (cells, S R), R fastest.
        labels: name of each coarse cell (G S R).
    """

    groups: tuple[slice, ...]
    membership: NDArray[np.float32]
    labels: tuple[str, ...]


def coarse_blocks(mesh: ReadoutMesh) -> list[CoarseBlock]:
    """The coarse cells of each block of layers of a mesh.

    Example:
        >>> mesh = ReadoutMesh.cylinder(layers=45, alpha_cells=16, r_cells=9, layer_thickness=3.4, r_size=4.65)
        >>> [block] = coarse_blocks(mesh)
        >>> len(block.labels), block.labels[0], block.labels[-1]
        (108, 'layers 0-4, alpha 0-3, r 0', 'layers 40-44, alpha 12-15, r 3-8')
    """
    return [_coarse_block(block, mesh.n_layers) for block in mesh.blocks]


def coarse_labels(mesh: ReadoutMesh) -> list[str]:
    """Names of all coarse cells in the order of ``Observables.coarse_cells``: layers by number, cells by index."""
    return [label for block in coarse_blocks(mesh) for label in block.labels]


def _coarse_block(block: LayerBlock, n_layers: int) -> CoarseBlock:
    groups = np.array_split(np.arange(block.layers), min(block.layers, max(1, LAYER_GROUPS * block.layers // n_layers)))
    sectors = np.array_split(np.arange(block.alpha_cells), min(SECTORS, block.alpha_cells))
    first = max(1, round(block.r_cells / 9))
    second = max(first + 1, round(block.r_cells / 3))
    ranges = [cells for cells in np.split(np.arange(block.r_cells), [first, second]) if cells.size]
    membership = np.zeros((block.alpha_cells, block.r_cells, len(sectors), len(ranges)), np.float32)
    for i, alpha in enumerate(sectors):
        for j, r in enumerate(ranges):
            membership[alpha[0] : alpha[-1] + 1, r[0] : r[-1] + 1, i, j] = 1
    return CoarseBlock(
        groups=tuple(slice(int(group[0]), int(group[-1]) + 1) for group in groups),
        membership=membership.reshape(block.alpha_cells * block.r_cells, -1),
        labels=tuple(
            f"layer{'s' * (len(group) > 1)} {_span(group + block.first_id)}, alpha {_span(alpha)}, r {_span(r)}"
            for group in groups
            for alpha in sectors
            for r in ranges
        ),
    )


def _span(indices: NDArray[np.integer]) -> str:
    first, last = int(indices[0]), int(indices[-1])
    return f"{first}" if first == last else f"{first}-{last}"
