"""Conversion of energy deposits to voxels, as in the Geant4 example Par04.

The position of a deposit is the end point of its step. It is transformed to the frame of the shower, with the origin
where the particle enters the calorimeter and z along its direction, and assigned to a cell of the mesh, or to none. All
operations are vectorised over deposits.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fastv.detector.detector import Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.detector.stack import Stack
from fastv.errors import GeometryError

Points = NDArray[np.float64]


def entrance(stack: Stack, position: Points, direction: Points) -> Points:
    """Point at which a straight path enters the stack, mm, shape (3,).

    A path from p along d enters at p + t d. For a barrel of inner radius R, t = (sqrt(b^2 - a c) - b) / a with
    a = d_x^2 + d_y^2, b = p_x d_x + p_y d_y and c = p_x^2 + p_y^2 - R^2. For planes at a distance D,
    t = (D - p_z) / d_z.

    Args:
        stack: barrel or planes.
        position: start p of the particle, mm, shape (3,).
        direction: unit vector d, shape (3,).

    Raises:
        GeometryError: the particle starts inside the stack or flies away from it.

    Example:
        >>> stack = Detector.preset("par04-siw").stack
        >>> entrance(stack, np.zeros(3), np.array([0.6, 0.0, 0.8])).round(6).tolist()
        [800.0, 0.0, 1066.666667]
    """
    if stack.shape == "barrel":
        (px, py, _), (dx, dy, _) = position.tolist(), direction.tolist()
        a, b, c = dx * dx + dy * dy, px * dx + py * dy, px * px + py * py - stack.front**2
        path = (math.sqrt(b * b - a * c) - b) / a if c < 0 < a else -1.0
    else:
        path = (stack.front - float(position[2])) / float(direction[2]) if direction[2] > 0 else -1.0
    if path <= 0:
        msg = (
            f"a particle from {position.tolist()} mm along {direction.tolist()} does not enter the {stack.shape} stack"
        )
        raise GeometryError(msg)
    return position + path * direction


def shower_frame(points: Points, origin: Points, theta: float, phi: float) -> Points:
    """Transform points to the frame of a shower: translation, rotation by -phi around z, then by -theta around y.

    Args:
        points: positions (n, 3), mm.
        origin: of the shower's frame, mm, shape (3,).
        theta, phi: direction of the particle, rad, which becomes the z axis.

    Example:
        >>> flight = np.array([[0.6, 0.0, 0.8]])
        >>> np.abs(shower_frame(flight, np.zeros(3), math.atan2(0.6, 0.8), 0.0) - [0, 0, 1]).max() < 1e-12
        np.True_
    """
    delta = points - origin
    turned = np.empty_like(delta)
    along = math.cos(phi) * delta[:, 0] + math.sin(phi) * delta[:, 1]
    turned[:, 1] = math.cos(phi) * delta[:, 1] - math.sin(phi) * delta[:, 0]
    turned[:, 0] = math.cos(theta) * along - math.sin(theta) * delta[:, 2]
    turned[:, 2] = math.sin(theta) * along + math.cos(theta) * delta[:, 2]
    return turned


class Voxeliser:
    """Conversion of deposits to the voxel energies of a detector.

    Args:
        detector: a detector whose layers have known thicknesses.

    Raises:
        GeometryError: a thickness is unknown.

    Example:
        >>> voxelise = Voxeliser(Detector.preset("par04-siw"))
        >>> energies = voxelise(np.array([[10.0, 0.0, 5.0], [0.0, 0.0, -1.0]]), np.array([0.66, 1.0]))
        >>> np.flatnonzero(energies).tolist(), float(energies.sum().round(3))
        ([218], 20.0)
    """

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        mesh: ReadoutMesh = detector.mesh
        thickness = [layer.thickness for layer in mesh.layers]
        if None in thickness:
            msg = f"the mesh of {detector.name} does not give the thickness of its layers"
            raise GeometryError(msg)
        self._depths = np.concatenate([[0.0], np.round(np.cumsum(np.asarray(thickness, dtype=np.float64)), 9)])
        self._first_voxel = mesh.layer_boundaries
        first_layers = np.cumsum([0, *(block.layers for block in mesh.blocks)])
        self._blocks = [
            (first, block.alpha_cells, np.asarray(block.r_edges, dtype=np.float64))
            for first, block in zip(first_layers.tolist(), mesh.blocks, strict=False)
        ]

    def voxels(self, points: Points) -> NDArray[np.int64]:
        """Indices (n,) of the voxels of points (n, 3) in the shower's frame, mm; -1 outside the mesh."""
        layer = _cell(self._depths, points[:, 2])
        radius = np.hypot(points[:, 0], points[:, 1])
        turn = (np.pi + np.arctan2(points[:, 1], points[:, 0])) / (2 * np.pi)
        voxels = np.full(len(points), -1, dtype=np.int64)
        for number, (first, alpha_cells, r_edges) in enumerate(self._blocks):
            ring = _cell(r_edges, radius)
            inside = (ring >= 0) & (layer >= first)
            if number + 1 < len(self._blocks):
                inside &= layer < self._blocks[number + 1][0]
            # The angles pi and -pi are the same.
            alpha = np.floor(turn[inside] * alpha_cells).astype(np.int64) % alpha_cells
            voxels[inside] = self._first_voxel[layer[inside]] + alpha * (len(r_edges) - 1) + ring[inside]
        return voxels

    def __call__(self, points: Points, deposits: NDArray[np.float64]) -> NDArray[np.float32]:
        """Voxel energies (V,) in MeV as in a showers file: zero below the threshold, divided by the energy scale.

        Args:
            points: positions of the deposits (n, 3) in the shower's frame, mm.
            deposits: their energies (n,), MeV.
        """
        voxels = self.voxels(points)
        inside = voxels >= 0
        visible = np.bincount(voxels[inside], weights=deposits[inside], minlength=self.detector.mesh.n_voxels)
        visible[visible < self.detector.readout_threshold] = 0.0
        return (visible / self.detector.energy_scale).astype(np.float32)


def _cell(edges: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index of the cell between edges for each value, with the lower edge included; -1 outside."""
    cells = np.searchsorted(edges, values, side="right") - 1
    cells[cells == len(edges) - 1] = -1
    return cells
