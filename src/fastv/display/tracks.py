"""Particle tracks in a scene, as written by ``fastv simulate --event K --tracks FILE``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastv.conditions.particles import PDG_NAMES
from fastv.detector.detector import Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.display.cells import Floats, has_depths, layer_edges, reach
from fastv.display.outline import Line
from fastv.display.scene import Panel
from fastv.errors import FileFormatError, GeometryError, SettingsError
from fastv.showers import ShowersFile
from fastv.simulation.tracks import Tracks, read_tracks

TRACK_COLOURS = {11: "#0072b2", -11: "#d55e00", 22: "#009e73"}
"""Colours by particle code: electrons blue, positrons vermilion, photons green; safe for colour-blind readers."""
OTHER_COLOUR = "#555555"
MOST_CORNERS = 60_000
"""Maximum number of points of all tracks that are drawn; tracks of the lowest energies are left out."""


def load_tracks(path: str | Path, file: ShowersFile) -> tuple[Tracks, int]:
    """Read tracks and the number of their event, and check that they belong to a showers file.

    Args:
        path: file with the tracks.
        file: the open showers file.

    Raises:
        FileFormatError: the file is missing or damaged.
        GeometryError: the meshes differ, or depths are unknown.
        SettingsError: the provenance of the two files differs.
    """
    tracks, note = read_tracks(path)
    try:
        mesh = Detector.model_validate(note["detector"]).mesh
        event, provenance = int(note["event"]), dict(note["provenance"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        msg = f"{path}: the attribute 'fastv' of the tracks does not give their event and detector"
        raise FileFormatError(msg) from error
    if mesh != file.mesh or not has_depths(mesh):
        msg = f"{path}: the tracks have a different mesh from the showers of {file.path}"
        raise GeometryError(msg)
    for name in sorted(provenance.keys() & file.provenance.keys() - {"code_version"}):
        if provenance[name] != file.provenance[name]:
            msg = f"{path}: the tracks do not belong to the showers of {file.path}: their {name} differs"
            raise SettingsError(msg)
    return tracks, event


def with_tracks(panel: Panel, tracks: Tracks) -> Panel:
    """The same panel with tracks added to its only event.

    Raises:
        SettingsError: the panel has several events.
    """
    if len(panel.events) != 1:
        msg = f"tracks belong to one shower; the panel has {len(panel.events)}"
        raise SettingsError(msg)
    (event,) = panel.events
    lines, legend = track_lines(tracks, panel.detector.mesh)
    shown = replace(event, lines=(*event.lines, *lines), legend=(*event.legend, *legend))
    return replace(panel, events=(shown,))


def track_lines(tracks: Tracks, mesh: ReadoutMesh) -> tuple[list[Line], list[tuple[str, str]]]:
    """Lines of the most energetic tracks, clipped to a box around the mesh, and a legend.

    Returns:
        The lines, thinner for photons; and (colour, text) for each kind of particle.

    Example:
        >>> columns = {"pdg": np.array([11, 22]), "energy": np.array([5.0, 7.0]), "first": np.array([0, 2, 4]),
        ...            "points": np.array([[0, 0, 0], [0, 0, 5], [0, 0, 5], [0, 0, 1e4]], dtype=float)}
        >>> mesh = ReadoutMesh.cylinder(layers=2, alpha_cells=4, r_cells=3, layer_thickness=5, r_size=5)
        >>> lines, legend = track_lines(Tracks(columns), mesh)
        >>> lines[0].points.tolist(), legend
        ([[0.0, 0.0, 5.0], [0.0, 0.0, 12.0]], [('#009e73', '1 gamma'), ('#0072b2', '1 e-')])
    """
    radius, depth = reach(mesh), float(layer_edges(mesh)[-1])
    low = np.array([-1.2 * radius, -1.2 * radius, -0.2 * depth])
    high = np.array([1.2 * radius, 1.2 * radius, 1.2 * depth])
    first, pdg = tracks.columns["first"], tracks.columns["pdg"]
    lines: list[Line] = []
    counts: dict[int, int] = {}
    corners = 0
    order = np.argsort(-tracks.columns["energy"], kind="stable")
    for drawn, track in enumerate(order):
        corners += int(first[track + 1] - first[track])
        if corners > MOST_CORNERS:
            order = order[:drawn]
            break
        code = int(pdg[track])
        counts[code] = counts.get(code, 0) + 1
        colour, width = TRACK_COLOURS.get(code, OTHER_COLOUR), 0.5 if code == 22 else 0.9
        points = tracks.corners(int(track)).astype(np.float64)
        lines += [Line(piece, colour, width) for piece in clipped_path(points, low, high)]
    legend = [(TRACK_COLOURS.get(code, OTHER_COLOUR), f"{n} {PDG_NAMES.get(code, code)}") for code, n in counts.items()]
    if left_out := len(pdg) - len(order):
        legend.append((OTHER_COLOUR, f"{left_out} of lower energy left out"))
    return lines, legend


def clipped_path(points: Floats, low: Floats, high: Floats) -> list[Floats]:
    """The parts of a path (k, 3) inside a box with corners ``low`` and ``high``, each (m, 3) with m >= 2.

    Example:
        >>> path = np.array([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
        >>> [part.tolist() for part in clipped_path(path, np.full(3, -1.0), np.full(3, 1.0))]
        [[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]], [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]
    """
    start, step = points[:-1], np.diff(points, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        to_low, to_high = (low - start) / step, (high - start) / step
    still = step == 0
    inside = (start >= low) & (start <= high)
    enter = np.where(still, np.where(inside, -np.inf, np.inf), np.minimum(to_low, to_high)).max(axis=1)
    leave = np.where(still, np.where(inside, np.inf, -np.inf), np.maximum(to_low, to_high)).min(axis=1)
    t0, t1 = np.maximum(enter, 0.0), np.minimum(leave, 1.0)
    seen: NDArray[np.bool_] = t0 < t1
    parts: list[list[Floats]] = []
    joined, last = False, -1
    for i in np.flatnonzero(seen):
        a, b = start[i] + t0[i] * step[i], start[i] + t1[i] * step[i]
        if joined and t0[i] == 0 and last == i - 1:
            parts[-1].append(b)
        else:
            parts.append([a, b])
        joined, last = bool(t1[i] == 1), int(i)
    return [np.array(part) for part in parts]
