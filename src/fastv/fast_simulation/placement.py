"""Places of voxels in the detector: on the axis of their particle's mesh, in the active slabs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastv.detector.detector import Detector
from fastv.detector.stack import Stack
from fastv.fast_simulation.particles import Particles
from fastv.simulation.voxelisation import Points

_TOGETHER = 4096
"""Hits whose places are computed together: their arrays fit into the processor's cache."""


def places(detector: Detector, particles: Particles, row: NDArray[Any], cell: NDArray[Any]) -> Points:
    """Where the hits of particles are, in the frame of the detector, mm, shape (n, 3).

    The centre q of a voxel in the frame of the shower is at x + R_z(phi) R_y(theta) q, where x is where the particle
    enters. A layer of a mesh may contain slabs of several materials, and deposits are seen in active ones only, so the
    place is moved along the direction of the particle to the middle of the nearest active slab.

    Args:
        detector: with its mesh and its stack.
        particles: as they enter the calorimeter.
        row: which particle (n,) each hit belongs to.
        cell: its voxel (n,).

    Example:
        >>> particle = Particles.of(event=[0], primary=[0], pdg=[11], energy=[1e3], position=[[800, 0, 0]],
        ...                         direction=[[1, 0, 0]], time=[0])
        >>> found = places(Detector.preset("par04-siw"), particle, np.array([0, 0]), np.array([0, 144]))
        >>> np.hypot(found[:, 0], found[:, 1]).round(6).tolist()
        [801.55, 804.95]
    """
    stack, middles = detector.stack, detector.mesh.voxel_centres
    assert stack is not None  # checked at the start
    theta, phi = particles.theta, particles.phi
    # Per particle, of which there are far fewer than hits: the columns of R_z(phi) R_y(theta).
    cos, sin = np.cos(theta), np.sin(theta)
    turn = np.stack(
        [
            np.stack([np.cos(phi) * cos, np.sin(phi) * cos, -sin], axis=1),
            np.stack([-np.sin(phi), np.cos(phi), np.zeros_like(phi)], axis=1),
            np.stack([np.cos(phi) * sin, np.sin(phi) * sin, cos], axis=1),
        ],
        axis=1,
    )
    found = np.empty((len(row), 3))
    for start in range(0, len(row), _TOGETHER):
        some = slice(start, start + _TOGETHER)
        mine = row[some]
        points = particles.position[mine] + np.einsum("na,nab->nb", middles[cell[some]], turn[mine])
        found[some] = _in_active_slabs(stack, points, particles.direction[mine])
    return found


def _in_active_slabs(stack: Stack, points: Points, direction: Points) -> Points:
    """Points (n, 3) moved along directions (n, 3) to the middle of the nearest active slab."""
    active = np.array([slab.active for slab in stack.slabs])
    middles = (stack.boundaries[1:] + stack.boundaries[:-1])[active] / 2
    barrel = stack.shape == "barrel"
    depth = (np.hypot(points[:, 0], points[:, 1]) if barrel else points[:, 2]) - stack.front
    between = (middles[1:] + middles[:-1]) / 2
    # The tolerance decides for the first of two slabs that are equally near, whatever the rounding.
    wanted = stack.front + middles[np.searchsorted(between, depth - 1e-6)]
    if barrel:
        # |p + t d| = R in the plane across the axis, for the t nearest to zero.
        a = direction[:, 0] ** 2 + direction[:, 1] ** 2
        b = points[:, 0] * direction[:, 0] + points[:, 1] * direction[:, 1]
        c = points[:, 0] ** 2 + points[:, 1] ** 2 - wanted**2
        root = b * b - a * c
        away = np.where(b >= 0, 1.0, -1.0) * np.sqrt(np.maximum(root, 0)) - b
        crosses = (root >= 0) & (a > 0)
    else:
        away, a = wanted - points[:, 2], direction[:, 2]
        crosses = a != 0
    path = np.divide(away, a, out=np.zeros_like(away), where=crosses)
    moved: Points = points + path[:, None] * direction
    return moved
