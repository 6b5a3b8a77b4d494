"""From deposits of energy to voxels, as the Geant4 example Par04 does it.

A deposit has the position at the end of its step. Seen from the point where the particle enters the calorimeter, and
turned so that z is its direction of flight, it falls into a cell of the mesh, or outside of it. No Python code runs for
single deposits.
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
    """Where a particle that flies straight enters the stack, mm, shape (3,).

    In a barrel of inner radius R, start p and direction d, the flight ends at p + t d with
    t = (sqrt(b^2 - a c) - b) / a, where a = d_x^2 + d_y^2, b = p_x d_x + p_y d_y, c = p_x^2 + p_y^2 - R^2. In front of
    planes at a distance D, t = (D - p_z) / d_z.

    Args:
        stack: barrel or planes.
        position: where the particle starts, mm, shape (3,).
        direction: unit vector, shape (3,).

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
    """Points (n, 3) seen from ``origin``, turned by -phi around z and then by -theta around y: z is the flight.

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
    """Deposits to the voxels of a detector.

    Args:
        detector: its mesh must tell the thickness of every layer.

    Raises:
        GeometryError: it does not.

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
            msg = f"the mesh of {detector.name} does not tell how thick its layers are"
            raise GeometryError(msg)
        self._depths = np.concatenate([[0.0], np.round(np.cumsum(np.asarray(thickness, dtype=np.float64)), 9)])
        self._first_voxel = mesh.layer_boundaries
        first_layers = np.cumsum([0, *(block.layers for block in mesh.blocks)])
        self._blocks = [
            (first, block.alpha_cells, np.asarray(block.r_edges, dtype=np.float64))
            for first, block in zip(first_layers.tolist(), mesh.blocks, strict=False)
        ]

    def voxels(self, points: Points) -> NDArray[np.int64]:
        """The voxel of each point (n, 3) of the shower's frame, in mm; -1 outside of the mesh, shape (n,)."""
        layer = _cell(self._depths, points[:, 2])
        radius = np.hypot(points[:, 0], points[:, 1])
        turn = (np.pi + np.arctan2(points[:, 1], points[:, 0])) / (2 * np.pi)
        voxels = np.full(len(points), -1, dtype=np.int64)
        for number, (first, alpha_cells, r_edges) in enumerate(self._blocks):
            ring = _cell(r_edges, radius)
            inside = (ring >= 0) & (layer >= first)
            if number + 1 < len(self._blocks):
                inside &= layer < self._blocks[number + 1][0]
            # The angle pi is that of -pi.
            alpha = np.floor(turn[inside] * alpha_cells).astype(np.int64) % alpha_cells
            voxels[inside] = self._first_voxel[layer[inside]] + alpha * (len(r_edges) - 1) + ring[inside]
        return voxels

    def __call__(self, points: Points, deposits: NDArray[np.float64]) -> NDArray[np.float32]:
        """Voxel energies (V,) in MeV as in a showers file: below the threshold zero, divided by the energy scale.

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
    """The cell between edges that each value falls into, its lower edge included; -1 outside."""
    cells = np.searchsorted(edges, values, side="right") - 1
    cells[cells == len(edges) - 1] = -1
    return cells
