"""Lines drawn around a shower: the outline of the mesh, the slabs of the detector, the shower axis.

All points are in mesh coordinates, mm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fastv.detector.mesh import ReadoutMesh
from fastv.detector.stack import Stack
from fastv.display.cells import Floats, depth_scale, layer_edges, reach

MESH_COLOUR = "#aeb6bf"
GRID_COLOUR = "#dfe3e8"
STACK_COLOUR = "#d8dee5"
AXIS_COLOUR = "#1b6ca8"

_MOST_SLABS = 40
_MOST_RINGS, _MOST_SPOKES = 20, 50


@dataclass(frozen=True)
class Line:
    """A line through points (n, 3) in mm, its colour ``#rrggbb`` and its width in typographic points."""

    points: Floats
    colour: str
    width: float = 1.0


def circle(radius: float, z: float, steps: int = 96) -> Floats:
    """Points of a closed circle around the shower axis at depth z, in mm, shape (steps + 1, 3)."""
    alpha = np.linspace(-np.pi, np.pi, steps + 1)
    return np.stack([radius * np.cos(alpha), radius * np.sin(alpha), np.full_like(alpha, z)], axis=1)


def mesh_lines(mesh: ReadoutMesh) -> list[Line]:
    """The cylinder around the mesh, and on its far end the cells of the last layer unless they are too many.

    Example:
        >>> mesh = ReadoutMesh.cylinder(layers=2, alpha_cells=4, r_cells=3, layer_thickness=3.4, r_size=5)
        >>> lines = mesh_lines(mesh)
        >>> len(lines), max(float(line.points[:, 2].max()) for line in lines)
        (12, 6.8)
    """
    radius, depth = reach(mesh), float(layer_edges(mesh)[-1])
    last = mesh.layers[-1]
    lines = []
    if last.r_cells <= _MOST_RINGS and last.alpha_cells <= _MOST_SPOKES:
        lines += [Line(circle(r, depth), GRID_COLOUR, 0.7) for r in last.r_edges if 0 < r < radius]
        if last.alpha_cells > 1:
            inner, outer = last.r_edges[0], last.r_edges[-1]
            for alpha in np.linspace(-np.pi, np.pi, last.alpha_cells, endpoint=False):
                way = np.array([[math.cos(alpha), math.sin(alpha)]]) * [[inner], [outer]]
                lines.append(Line(np.column_stack([way, [depth, depth]]), GRID_COLOUR, 0.7))
    lines += [Line(circle(radius, z), MESH_COLOUR) for z in (0.0, depth)]
    for x, y in ((1, 0), (0, 1), (-1, 0), (0, -1)):
        lines.append(Line(np.array([[x * radius, y * radius, 0.0], [x * radius, y * radius, depth]]), MESH_COLOUR))
    return lines


def stack_lines(stack: Stack, mesh: ReadoutMesh, theta: float | None = None) -> list[Line]:
    r"""Lines in which the surfaces of the slabs intersect the floor and the back wall of a box around the mesh.

    In the coordinates of a mesh along the polar angle theta, a surface at depth d is

    .. math:: \cos\theta\, x + \sin\theta\, z = \sqrt{(R + d)^2 - y^2} - R

    in a barrel of inner radius R, and :math:`-\sin\theta\, x + \cos\theta\, z = d` in a planar stack. With the outer
    radius r of the mesh, the floor is y = -r and the back wall x = r.

    Args:
        stack: slabs of the detector.
        mesh: the mesh, with known depths.
        theta: polar angle of the particle in rad; by default normal incidence.

    Returns:
        The lines of the front, the back and at most 40 evenly spaced active slabs; none if the particle is nearly
        parallel to the slabs.

    Example:
        >>> from fastv.detector.detector import Detector
        >>> detector = Detector.preset("par04-siw")
        >>> floor = [line for line in stack_lines(detector.stack, detector.mesh) if len(line.points) == 2]
        >>> floor[0].points.round(1).tolist()
        [[-41.8, -41.8, 0.3], [41.8, -41.8, 0.3]]
    """
    theta = stack.right_angle if theta is None else theta
    across, along = math.cos(theta), math.sin(theta)
    if stack.shape == "planar":
        across, along = -math.sin(theta), math.cos(theta)
    if along < 0.05:
        return []
    radius, depth = reach(mesh), float(layer_edges(mesh)[-1])
    if stack.shape == "barrel" and radius >= stack.front:
        return []

    def height(d: float, y: Floats) -> Floats:
        """Value of ``across * x + along * z`` on the surface at depth d."""
        if stack.shape == "planar":
            return np.full_like(y, d)
        return np.sqrt((stack.front + d) ** 2 - y**2) - stack.front

    starts = [float(d) for d, slab in zip(stack.boundaries, stack.slabs, strict=False) if slab.active]
    every = -(-len(starts) // _MOST_SLABS)
    surfaces = [0.0, *starts[::every], float(stack.boundaries[-1])]
    lines = []
    for d in surfaces:
        x = np.array([-radius, radius])
        ends = np.column_stack([x, [-radius] * 2, (height(d, np.full(2, -radius)) - across * x) / along])
        if (clipped := _between(ends, depth)) is not None:
            lines.append(Line(clipped, STACK_COLOUR, 0.7))
        y = np.linspace(-radius, radius, 17)
        wall = np.column_stack([np.full_like(y, radius), y, (height(d, y) - across * radius) / along])
        wall = wall[(wall[:, 2] >= 0) & (wall[:, 2] <= depth)]
        if len(wall) > 1:
            lines.append(Line(wall, STACK_COLOUR, 0.7))
    return lines


def _between(ends: Floats, depth: float) -> Floats | None:
    """The part of a straight line (2, 3) with z from 0 to ``depth``."""
    (z0, z1), step = ends[:, 2], ends[1] - ends[0]
    if z0 == z1:
        return ends if 0 <= z0 <= depth else None
    t0, t1 = sorted(((0 - z0) / (z1 - z0), (depth - z0) / (z1 - z0)))
    t0, t1 = max(t0, 0.0), min(t1, 1.0)
    return None if t0 >= t1 else np.stack([ends[0] + t0 * step, ends[0] + t1 * step])


def axis_lines(mesh: ReadoutMesh) -> list[Line]:
    """The incoming particle as an arrow to the entrance, and the shower axis through the mesh."""
    depth, radius = float(layer_edges(mesh)[-1]), reach(mesh)
    start, head = particle_start(mesh), 0.06 * radius
    tip = -0.02 * depth
    back = tip - 2.2 * head / depth_scale(mesh)
    lines = [Line(np.array([[0.0, 0.0, 0.0], [0.0, 0.0, depth]]), AXIS_COLOUR, 0.8)]
    lines.append(Line(np.array([[0.0, 0.0, start], [0.0, 0.0, tip]]), AXIS_COLOUR, 2.2))
    for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        lines.append(Line(np.array([[x * head, y * head, back], [0.0, 0.0, tip]]), AXIS_COLOUR, 2.2))
    return lines


def particle_start(mesh: ReadoutMesh) -> float:
    """z in mm at which the path of the incoming particle starts: a fifth of the mesh's depth in front of the mesh."""
    return -0.2 * float(layer_edges(mesh)[-1])
