"""Tick positions and labels for the axes of a scene."""

from __future__ import annotations

import math

from fastv.detector.mesh import ReadoutMesh
from fastv.display.cells import has_depths, layer_edges, reach


def round_step(length: float, parts: int) -> float:
    """The smallest step of 1, 2 or 5 times a power of ten that divides a length into at most ``parts`` parts.

    Example:
        >>> round_step(153.0, 4), round_step(0.9, 4)
        (50.0, 0.5)
    """
    rough = length / parts
    power = 10.0 ** math.floor(math.log10(rough))
    return power * next(step for step in (1.0, 2.0, 5.0, 10.0) if step * power >= rough * 0.999)


def depth_ticks(mesh: ReadoutMesh) -> list[tuple[float, str]]:
    """Positions along z and their labels: mm, or numbers of layers if depths are unknown.

    Example:
        >>> mesh = ReadoutMesh.cylinder(layers=45, alpha_cells=16, r_cells=9, layer_thickness=3.4, r_size=4.65)
        >>> depth_ticks(mesh)
        [(0.0, '0'), (50.0, '50'), (100.0, '100'), (150.0, '150')]
    """
    depth = float(layer_edges(mesh)[-1])
    if not has_depths(mesh):
        every = math.ceil(mesh.n_layers / 12)
        return [(i + 0.5, str(mesh.layer_ids[i])) for i in range(0, mesh.n_layers, every)]
    step = round_step(depth, 4)
    return [(i * step, f"{i * step:g}") for i in range(int(depth / step + 1e-9) + 1)]


def depth_name(mesh: ReadoutMesh) -> str:
    """Label of the axis along z."""
    return "depth [mm]" if has_depths(mesh) else "layer"


def radius_ticks(mesh: ReadoutMesh) -> list[tuple[float, str]]:
    """Positions across the shower in mm and their labels.

    Example:
        >>> mesh = ReadoutMesh.cylinder(layers=45, alpha_cells=16, r_cells=9, layer_thickness=3.4, r_size=4.65)
        >>> radius_ticks(mesh)
        [(-40.0, '-40'), (-20.0, '-20'), (0.0, '0'), (20.0, '20'), (40.0, '40')]
    """
    radius = reach(mesh)
    step = round_step(2 * radius, 5)
    most = int(radius / step + 1e-9)
    return [(i * step, f"{i * step:g}") for i in range(-most, most + 1)]
