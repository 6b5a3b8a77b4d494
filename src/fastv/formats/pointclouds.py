"""Conversion between voxels and points.

A point has x and y in mm, transverse to the shower axis, and the index of its layer. The point of a voxel is its
centre: x = r cos(alpha), y = r sin(alpha).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastv.detector.mesh import ReadoutMesh
from fastv.errors import GeometryError


def voxel_points(mesh: ReadoutMesh) -> NDArray[np.float32]:
    """The point of each voxel, (V, 3): x and y in mm, and index of the layer.

    Raises:
        GeometryError: the cells are so thin that a float32 point lies outside its voxel.

    Example:
        >>> mesh = ReadoutMesh.cylinder(layers=2, alpha_cells=4, r_cells=1, layer_thickness=1, r_size=2)
        >>> voxel_points(mesh)[0].astype(float).round(4).tolist()
        [-0.7071, -0.7071, 0.0]
    """
    x, y = mesh.voxel_r * np.cos(mesh.voxel_alpha), mesh.voxel_r * np.sin(mesh.voxel_alpha)
    points = np.stack([x, y, mesh.voxel_layer], axis=1).astype(np.float32)
    if not np.array_equal(voxels_of(mesh, points), np.arange(mesh.n_voxels)):
        msg = f"the cells of this mesh ({mesh.describe()}) are too thin for points in single precision"
        raise GeometryError(msg)
    return points


def voxels_of(mesh: ReadoutMesh, points: NDArray[np.float32]) -> NDArray[np.int64]:
    """The index (n,) of the voxel that contains each point, or -1 outside the mesh.

    Args:
        mesh: the readout mesh.
        points: x and y in mm and layer, (n, 3 or more); a layer that is not an integer is rounded.

    Example:
        >>> mesh = ReadoutMesh.cylinder(layers=2, alpha_cells=4, r_cells=3, layer_thickness=1, r_size=2)
        >>> voxels_of(mesh, np.array([[-1, -1, 0], [1, 1, 1], [9, 9, 0]], dtype=np.float32)).tolist()
        [0, 18, -1]
    """
    x, y = points[:, 0].astype(np.float64), points[:, 1].astype(np.float64)
    layer = np.rint(points[:, 2].astype(np.float64))
    r, turn = np.hypot(x, y), (np.arctan2(y, x) + np.pi) / (2 * np.pi)
    voxels = np.full(len(points), -1, dtype=np.int64)
    first = 0
    for block in mesh.blocks:
        edges = np.asarray(block.r_edges)
        inside = (layer >= first) & (layer < first + block.layers) & (r >= edges[0]) & (r < edges[-1])
        # alpha = pi and alpha = -pi are the same direction; it is assigned to the last cell.
        alpha = np.minimum((turn[inside] * block.alpha_cells).astype(np.int64), block.alpha_cells - 1)
        cell = np.searchsorted(edges, r[inside], side="right") - 1
        depth = layer[inside].astype(np.int64) - first
        voxels[inside] = mesh.layer_boundaries[first] + (depth * block.alpha_cells + alpha) * block.r_cells + cell
        first += block.layers
    return voxels
