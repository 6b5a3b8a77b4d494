"""A view as a picture drawn with matplotlib: cells in perspective, lit and cut open as on the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import LogNorm, to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fastv.display import style
from fastv.display.camera import CAMERAS, Camera, fitted, on_screen
from fastv.display.cells import Floats, arc_steps, cell_bounds, cut_open, depth_scale, layer_edges, pieces_of, reach
from fastv.display.figure import OwnFigure, own_settings
from fastv.display.outline import Line
from fastv.display.scene import Event, Panel, check_side_by_side, colour_range
from fastv.display.ticks import depth_name, depth_ticks, radius_ticks
from fastv.errors import SettingsError
from fastv.suggestions import unknown

_TEXT = "#222222"
_SCENE_INCHES = (7.6, 4.7)
_HEADER_INCHES, _FOOTER_INCHES = 1.0, 0.72
_ROOM = 1.13
"""Factor by which the camera moves back to leave room for the labels of the axes."""


def picture(
    panels: Panel | Sequence[Panel],
    *,
    event: int = 0,
    camera: str = "3D",
    threshold: float = 0.0,
    opened: bool | None = None,
) -> Figure:
    """One event of each panel, side by side on one colour scale.

    Args:
        panels: one or more, with the same number of events.
        event: index of the event to draw.
        camera: ``3D``, ``side`` or ``front``.
        threshold: voxels with less energy are left out, MeV.
        opened: cut out the quadrant of cells that faces the viewer; by default in all views but ``front``.

    Raises:
        SettingsError: there is no panel, their numbers of events differ, or there is no such event or camera.

    Example:
        >>> from fastv.display import load_panel
        >>> from fastv.sample import sample_path
        >>> figure = picture(load_panel(sample_path("test"), [0]))
        >>> [axes.get_xlabel() for axes in figure.axes]
        ['', 'voxel energy [MeV]']
    """
    panels = [panels] if isinstance(panels, Panel) else list(panels)
    check_side_by_side(panels)
    if camera not in CAMERAS:
        raise SettingsError(unknown("camera", camera, CAMERAS))
    if not 0 <= event < len(panels[0].events):
        msg = f"no event {event} in this view; it has {len(panels[0].events)}"
        raise SettingsError(msg)
    events = [panel.events[event] for panel in panels]
    scale = colour_range(events)
    direction = CAMERAS[camera]
    opened = direction.opened if opened is None else opened
    width, height = _SCENE_INCHES
    whole = _HEADER_INCHES + height + _FOOTER_INCHES
    settings = {"font.size": 11}
    with own_settings(settings):
        figure = OwnFigure(settings, figsize=(width * len(panels), whole))
        for i, (panel, shown) in enumerate(zip(panels, events, strict=True)):
            axes = figure.add_axes((i / len(panels), _FOOTER_INCHES / whole, 1 / len(panels), height / whole))
            axes.set_axis_off()
            axes.set_xlim(-0.5 * width / height, 0.5 * width / height)
            axes.set_ylim(-0.5, 0.5)
            framed = fitted(panel.frame, direction.azimuth, direction.elevation, width / height)
            _draw_scene(axes, panel, shown, framed.moved_back(_ROOM), scale, threshold, opened)
            _write_header(figure, i / len(panels), 1 - 0.12 / whole, panel, shown)
        bar = figure.add_axes((0.5 - 0.21 / len(panels), 0.52 / whole, 0.42 / len(panels), 0.11 / whole))
        colour_bar = figure.colorbar(
            ScalarMappable(LogNorm(*scale), style.COLOUR_MAP), cax=bar, orientation="horizontal", extend="min"
        )
        colour_bar.outline.set_visible(False)
        bar.set_xlabel("voxel energy [MeV]", color=_TEXT)
        bar.xaxis.set_major_formatter("{x:g}")
        bar.tick_params(labelsize=9, colors=_TEXT)
    return figure


def _write_header(figure: Figure, left: float, y: float, panel: Panel, event: Event) -> None:
    texts = [(panel.title, 15.0, "bold"), (event.heading, 12.5, "normal"), (event.facts, 10.5, "normal")]
    if panel.detector.stack is not None:
        texts.append((f"{panel.detector.name}: {panel.detector.stack.describe()}", 8.5, "normal"))
    for text, size, weight in texts:
        if text:
            figure.text(left + 0.02, y, text, size=size, weight=weight, color=_TEXT, va="top", parse_math=False)
            y -= 1.55 * size / 72 / figure.get_figheight()
    x = left + 0.02
    for colour, words in event.legend:
        figure.text(x, y, words, size=8.5, weight="bold", color=colour, va="top", parse_math=False)
        x += (0.2 + 0.085 * len(words)) / figure.get_figwidth()


def _draw_scene(
    axes: Axes,
    panel: Panel,
    event: Event,
    camera: Camera,
    scale: tuple[float, float],
    threshold: float,
    opened: bool,
) -> None:
    mesh = panel.detector.mesh
    stretch = np.array([1.0, 1.0, depth_scale(mesh)])
    _draw_lines(axes, (*panel.lines, *event.lines), camera, stretch)
    kept = event.energies >= threshold
    bounds, cell, walls = pieces_of(cell_bounds(mesh)[event.voxels[kept]])
    energies = event.energies[kept][cell]
    if opened:
        bounds, walls, left = cut_open(bounds, walls, camera.open_quadrant)
        bounds, walls, energies = bounds[left], walls[left], energies[left]
    if len(bounds):
        opacity = style.OPACITY["open" if opened else "closed"]
        bounds = bounds * [1.0, 1.0, 1.0, 1.0, stretch[2], stretch[2]]
        polygons, colours = visible_faces(bounds, walls, energies, camera, scale, opacity, arc_steps(mesh))
        edges = colours * [0.82, 0.82, 0.82, 0.8]
        axes.add_collection(
            PolyCollection(cast(Any, polygons), facecolors=colours, edgecolors=edges, linewidths=0.25, zorder=2)
        )
    _draw_axes(axes, panel, camera, stretch)


def visible_faces(
    bounds: Floats,
    walls: NDArray[np.bool_],
    energies: Floats,
    camera: Camera,
    scale: tuple[float, float],
    opacity: tuple[float, float],
    steps: int,
) -> tuple[Floats, Floats]:
    """The faces of cells that face the camera, those of the farthest cell first.

    Args:
        bounds, walls: edges (n, 6) and walls (n, 2) of pieces of cells, as of :func:`fastv.display.cells.pieces_of`,
            with z as it is drawn.
        energies: of their cells (n,), MeV.
        camera: the camera.
        scale: energies at the ends of the colour scale, MeV.
        opacity: see :data:`fastv.display.style.OPACITY`.
        steps: number of straight lines that approximate an arc.

    Returns:
        Corners in the picture (faces, k, 2), with the last corner repeated in faces with fewer, and RGBA colours
        (faces, 4).
    """
    faces = _faces(bounds, steps)
    order = farthest_first(bounds, camera)
    faces = faces[order]
    screen = on_screen(faces)
    normals = np.cross(screen[:, :, 1] - screen[:, :, 0], screen[:, :, 2] - screen[:, :, 0])
    centres = (screen[:, :, 0] + screen[:, :, 2]) / 2
    length = np.linalg.norm(normals, axis=-1)
    normals /= np.maximum(length, 1e-12)[..., None]
    seen = ((camera.eye - centres) * normals).sum(axis=-1) > 0
    seen &= length > 1e-9 * length.max()
    seen[:, -2:] &= walls[order]
    position = style.scale_position(energies, *scale)[order]
    light = np.array(style.LIGHT) / np.linalg.norm(style.LIGHT) @ camera.axes
    brightness = style.AMBIENT + style.DIFFUSE * np.clip(normals @ light, 0, None)
    colours = np.repeat(matplotlib.colormaps[style.COLOUR_MAP](position)[:, None, :], faces.shape[1], axis=1)
    colours[..., :3] = np.clip(colours[..., :3] * brightness[..., None], 0, 1)
    colours[..., 3] = (opacity[0] + (1 - opacity[0]) * position ** opacity[1])[:, None]
    return camera.project(faces[seen]), colours[seen]


def farthest_first(bounds: Floats, camera: Camera) -> NDArray[np.int64]:
    """Indices (n,) of pieces of cells (n, 6) from the farthest to the nearest, so that nearer ones cover farther ones.

    In a cylinder the order does not need distances: layers towards the camera; in a layer, sectors towards the camera;
    in a sector, outwards in r where the outer faces of cells face the camera, inwards elsewhere.
    """
    right, up, near = camera.eye
    eye_x, eye_y, eye_z = -near, up, right  # mesh coordinates
    r, alpha, z = ((bounds[:, i] + bounds[:, i + 1]) / 2 for i in (0, 2, 4))
    layer = np.where(z < eye_z, z, 2 * bounds[:, 5].max(initial=0.0) + abs(eye_z) - z)
    apart = np.abs((alpha - math.atan2(eye_y, eye_x) + np.pi) % (2 * np.pi) - np.pi)
    outside_seen = math.hypot(eye_x, eye_y) * np.cos(apart) > r
    return np.lexsort((np.where(outside_seen, r, -r), -apart.round(6), layer.round(6)))


def _faces(bounds: Floats, steps: int) -> Floats:
    """Corners of all faces of cells, shape (n, 4 + 2 steps, k, 3), k = 2 steps + 2; counter-clockwise from outside."""
    alpha = bounds[:, 2, None] + (bounds[:, 3] - bounds[:, 2])[:, None] * np.linspace(0, 1, steps + 1)
    inner, outer, front, back = (bounds[:, i, None] for i in (0, 1, 4, 5))

    def at(r: Floats, a: Floats, z: Floats) -> Floats:
        return np.stack(np.broadcast_arrays(r * np.cos(a), r * np.sin(a), z), axis=-1)

    def padded(corners: list[Floats]) -> Floats:
        face = np.stack(corners, axis=2)
        return np.concatenate([face, np.repeat(face[:, :, -1:], 2 * steps - 2, axis=2)], axis=2)

    first, last = alpha[:, :-1], alpha[:, 1:]
    start, end = alpha[:, :1], alpha[:, -1:]
    turned = alpha[:, ::-1]
    # Screen coordinates (z, y, -x) keep the handedness of (x, y, z).
    ends = [
        np.concatenate([at(outer, turned, front), at(inner, alpha, front)], axis=1)[:, None],
        np.concatenate([at(outer, alpha, back), at(inner, turned, back)], axis=1)[:, None],
    ]
    sides = [
        padded([at(outer, first, front), at(outer, last, front), at(outer, last, back), at(outer, first, back)]),
        padded([at(inner, last, front), at(inner, first, front), at(inner, first, back), at(inner, last, back)]),
        padded([at(inner, start, front), at(outer, start, front), at(outer, start, back), at(inner, start, back)]),
        padded([at(outer, end, front), at(inner, end, front), at(inner, end, back), at(outer, end, back)]),
    ]
    return np.concatenate([*ends, *sides], axis=1)


def _draw_lines(axes: Axes, lines: Sequence[Line], camera: Camera, stretch: Floats) -> None:
    """Draw parts of lines that are nearer to the viewer than the shower axis over the cells, the others behind them."""
    for front in (False, True):
        pieces, colours, widths = [], [], []
        for line in lines:
            points = line.points * stretch
            middles = (points[1:] + points[:-1]) / 2
            on_axis = middles * [0.0, 0.0, 1.0]
            nearer = (on_screen(middles - on_axis) @ camera.axes[2]) > 1e-9
            pieces_of_line = np.stack([points[:-1], points[1:]], axis=1)[nearer == front]
            pieces += list(camera.project(pieces_of_line))
            colours += [to_rgb(line.colour)] * len(pieces_of_line)
            widths += [line.width] * len(pieces_of_line)
        collection = LineCollection(
            pieces, colors=colours, linewidths=widths, capstyle="round", zorder=3 if front else 1
        )
        axes.add_collection(collection)


def _draw_axes(axes: Axes, panel: Panel, camera: Camera, stretch: Floats) -> None:
    """Draw axes along the lower edge of the mesh on the viewer's side and across it, unless seen end-on."""
    mesh = panel.detector.mesh
    edge, depth = 1.06 * reach(mesh), float(layer_edges(mesh)[-1])
    near = -edge if camera.axes[2, 2] >= 0 else edge  # x on the side of the viewer
    end = 0.0 if camera.axes[2, 0] < -0.75 else depth
    if abs(camera.axes[2, 0]) < 0.9:
        along = [(np.array([near, -edge, z]), label) for z, label in depth_ticks(mesh)]
        _draw_axis(axes, along, (near, -edge, 0.0), (near, -edge, depth), depth_name(mesh), camera, stretch)
    if abs(camera.axes[2, 1]) < 0.9:
        up = [(np.array([near, y, end]), label) for y, label in radius_ticks(mesh)]
        _draw_axis(axes, up, (near, -edge, end), (near, edge, end), "y [mm]", camera, stretch)


def _draw_axis(
    axes: Axes,
    ticks: Sequence[tuple[Floats, str]],
    start: tuple[float, float, float],
    end: tuple[float, float, float],
    name: str,
    camera: Camera,
    stretch: Floats,
) -> None:
    ends = camera.project(np.array([start, end]) * stretch)
    way = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
    away = np.array([way[1], -way[0]])
    if away @ ends.mean(axis=0) < 0:
        away = -away
    places = camera.project(np.array([place for place, _ in ticks]) * stretch)
    marks = [ends, *(np.array([place, place + 0.012 * away]) for place in places)]
    axes.add_collection(LineCollection(marks, colors="#8a939c", linewidths=0.8))
    texts = [(place + 0.037 * away, label, 8.5) for place, (_, label) in zip(places, ticks, strict=True)]
    name_at = ends.mean(axis=0) + 0.085 * away if abs(way[0]) > abs(way[1]) else ends[np.argmax(ends[:, 1])] + [0, 0.03]
    texts.append((name_at, name, 9.5))
    for (x, y), text, size in texts:
        axes.text(x, y, text, size=size, color=_TEXT, ha="center", va="center", parse_math=False)
