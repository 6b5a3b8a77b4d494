"""Geometry of the cells of a mesh.

Coordinates are those of the mesh, in mm: z along the shower axis from the entrance into the detector, x and y
perpendicular to it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fastv.detector.mesh import ReadoutMesh

Floats = NDArray[np.float64]


def has_depths(mesh: ReadoutMesh) -> bool:
    """Whether the thickness of every layer is known."""
    return all(block.thickness is not None for block in mesh.blocks)


def layer_edges(mesh: ReadoutMesh) -> Floats:
    """Depths of the boundaries between layers in mm, shape (n_layers + 1,).

    If depths are unknown every layer is one unit deep, as in :attr:`ReadoutMesh.layer_z`.

    Example:
        >>> mesh = ReadoutMesh.cylinder(layers=2, alpha_cells=4, r_cells=1, layer_thickness=3.4, r_size=5)
        >>> layer_edges(mesh).tolist()
        [0.0, 3.4, 6.8]
    """
    known = has_depths(mesh)
    return np.cumsum([0.0, *((layer.thickness if known else None) or 1.0 for layer in mesh.layers)])


def reach(mesh: ReadoutMesh) -> float:
    """Outer radius of the mesh in mm."""
    return max(block.r_edges[-1] for block in mesh.blocks)


def depth_scale(mesh: ReadoutMesh) -> float:
    """Factor from depth to drawn length: 1, or, if depths are unknown, such that the mesh is 2.4 outer radii long."""
    return 1.0 if has_depths(mesh) else 2.4 * reach(mesh) / mesh.n_layers


def cell_bounds(mesh: ReadoutMesh) -> Floats:
    """Edges of every voxel, shape (V, 6): lower and upper edge in r, in alpha and in z, in mm and rad.

    Example:
        >>> mesh = ReadoutMesh.cylinder(layers=2, alpha_cells=4, r_cells=1, layer_thickness=3.4, r_size=5)
        >>> cell_bounds(mesh)[-1].round(4).tolist()
        [0.0, 5.0, 1.5708, 3.1416, 3.4, 6.8]
    """
    z = layer_edges(mesh)
    parts = []
    for i, layer in enumerate(mesh.layers):
        r = np.asarray(layer.r_edges)
        alpha = np.linspace(-np.pi, np.pi, layer.alpha_cells + 1)
        part = np.empty((layer.alpha_cells, layer.r_cells, 6))
        part[..., 0], part[..., 1] = r[:-1], r[1:]
        part[..., 2], part[..., 3] = alpha[:-1, None], alpha[1:, None]
        part[..., 4:] = z[i : i + 2]
        parts.append(part.reshape(-1, 6))
    return np.concatenate(parts)


def arc_pieces(alpha_cells: int) -> int:
    """Number of pieces into which a cell is cut in alpha to sort them by distance: at most 30 degrees each.

    Example:
        >>> arc_pieces(16), arc_pieces(1)
        (1, 12)
    """
    return math.ceil(12 / alpha_cells)


def arc_steps(mesh: ReadoutMesh) -> int:
    """Number of straight lines that approximate the arc of one piece: at most 8 degrees each.

    Example:
        >>> mesh = ReadoutMesh.cylinder(layers=2, alpha_cells=16, r_cells=1, layer_thickness=3.4, r_size=5)
        >>> arc_steps(mesh)
        3
    """
    return max(math.ceil(45 / (block.alpha_cells * arc_pieces(block.alpha_cells))) for block in mesh.blocks)


def pieces_of(bounds: Floats) -> tuple[Floats, NDArray[np.int64], NDArray[np.bool_]]:
    """Cut wide cells into pieces in alpha.

    Args:
        bounds: edges of cells (n, 6), as of :func:`cell_bounds`.

    Returns:
        The edges of the pieces (m, 6); the index of the cell of each piece, shape (m,); and whether its lower and upper
        edge in alpha are walls of the cell, shape (m, 2).

    Example:
        >>> ring = np.array([[0.0, 5.0, -np.pi, np.pi, 0.0, 3.4]])
        >>> bounds, cell, walls = pieces_of(ring)
        >>> len(bounds), int(walls.sum())
        (12, 2)
    """
    width = bounds[:, 3] - bounds[:, 2]
    counts = np.array([arc_pieces(round(2 * math.pi / w)) for w in width], dtype=np.int64)
    cell = np.repeat(np.arange(len(bounds)), counts)
    piece = np.arange(len(cell)) - np.repeat(np.cumsum(counts) - counts, counts)
    cut = bounds[cell]
    cut[:, 2] = bounds[cell, 2] + width[cell] * piece / counts[cell]
    cut[:, 3] = bounds[cell, 2] + width[cell] * (piece + 1) / counts[cell]
    return cut, cell, np.column_stack([piece == 0, piece == counts[cell] - 1])


def cut_open(
    bounds: Floats, walls: NDArray[np.bool_], quadrant: tuple[float, float]
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
    """Cut a quadrant in alpha out of the cells, so that the inside of a shower can be seen.

    Args:
        bounds, walls: pieces of cells (n, 6) and their walls (n, 2), as of :func:`pieces_of`.
        quadrant: (from, to) in rad, starting at a multiple of 90 degrees.

    Returns:
        The edges of what is left of each piece, its walls, and whether anything is left, shape (n,).

    Example:
        >>> piece = np.array([[0.0, 5.0, -0.2, 0.2, 0.0, 3.4]])
        >>> bounds, walls, left = cut_open(piece, np.array([[True, False]]), (0.0, np.pi / 2))
        >>> bounds[0, 2:4].tolist(), walls[0].tolist(), left[0].item()
        ([-0.2, 0.0], [True, True], True)
    """
    low, high = quadrant
    tiny = 1e-6
    bounds, walls = bounds.copy(), walls.copy()
    first, last = bounds[:, 2].copy(), bounds[:, 3].copy()
    starts_inside = (first >= low - tiny) & (first <= high + tiny)
    ends_inside = (last >= low - tiny) & (last <= high + tiny)
    left = ~(starts_inside & ends_inside)
    bounds[starts_inside & left, 2] = high
    walls[starts_inside & left, 0] = True
    bounds[ends_inside & left, 3] = low
    walls[ends_inside & left, 1] = True
    return bounds, walls, left
