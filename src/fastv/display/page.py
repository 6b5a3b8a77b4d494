"""A view as HTML: a fragment for any page, the assets that all fragments of a page share, or a complete page.

Nothing is loaded from the network: the script (a few kilobytes of WebGL) and the showers are part of the page.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from fastv._version import __version__
from fastv.display import style
from fastv.display.camera import CAMERAS, FIELD_OF_VIEW
from fastv.display.cells import arc_steps, depth_scale, has_depths, layer_edges, reach
from fastv.display.outline import Line
from fastv.display.scene import Event, Panel, check_side_by_side, colour_range
from fastv.display.ticks import depth_name, depth_ticks, radius_ticks


def fragment(panels: Panel | Sequence[Panel], *, camera: str = "3D") -> Markup:
    """One view as an HTML element: scenes side by side that share camera, colour scale, threshold and selected event.

    A page with fragments must contain :func:`shared_assets` once, at any place.

    Args:
        panels: one or more, with the same number of events.
        camera: initial view, ``3D``, ``side`` or ``front``.

    Raises:
        SettingsError: there is no panel, or their numbers of events differ.

    Example:
        >>> from fastv.display import load_panel
        >>> from fastv.sample import sample_path
        >>> geant4 = load_panel(sample_path("test"), [0, 1], "Geant4")
        >>> other = load_panel(sample_path("train"), [0, 1], "another sample")
        >>> html = fragment([geant4, other])
        >>> html.startswith('<div class="fastv-view">')
        True
    """
    panels = [panels] if isinstance(panels, Panel) else list(panels)
    check_side_by_side(panels)
    data = {
        "fieldOfView": FIELD_OF_VIEW,
        "cameras": {name: preset._asdict() for name, preset in CAMERAS.items()},
        "camera": camera,
        "colours": style.colours(),
        "light": style.LIGHT,
        "ambient": style.AMBIENT,
        "diffuse": style.DIFFUSE,
        "opacity": style.OPACITY,
        "ranges": [colour_range(events) for events in zip(*(panel.events for panel in panels), strict=True)],
        "panels": [_panel_data(panel) for panel in panels],
    }
    return Markup(_template("fragment.html.j2").render(data=data))


def shared_assets() -> Markup:
    """The style and the script that all fragments of a page need, as ``<style>`` and ``<script>`` elements.

    Example:
        >>> str(shared_assets()[:7]), len(shared_assets()) < 50_000
        ('<style>', True)
    """
    room = files("fastv.display")
    css = room.joinpath("viewer.css").read_text(encoding="utf-8")
    script = room.joinpath("viewer.js").read_text(encoding="utf-8")
    return Markup(_template("assets.html.j2").render(css=Markup(css), script=Markup(script)))


def page(panels: Panel | Sequence[Panel], *, title: str = "Showers", camera: str = "3D") -> str:
    """A complete HTML page with one view.

    Args:
        panels, camera: as of :func:`fragment`.
        title: of the page.

    Raises:
        SettingsError: there is no panel, or their numbers of events differ.

    Example:
        >>> from fastv.display import load_panel
        >>> from fastv.sample import sample_path
        >>> page(load_panel(sample_path("test"), [0]), title="A & B")[:15]
        '<!DOCTYPE html>'
    """
    view = fragment(panels, camera=camera)
    return _template("page.html.j2").render(title=title, assets=shared_assets(), view=view, version=__version__)


def _template(name: str) -> Template:
    environment = Environment(loader=PackageLoader("fastv.display"), autoescape=True, undefined=StrictUndefined)
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment.get_template(name)


def _panel_data(panel: Panel) -> dict[str, Any]:
    detector, mesh = panel.detector, panel.detector.mesh
    stack = "" if detector.stack is None else f": {detector.stack.describe()}"
    return {
        "title": panel.title,
        "detector": f"{detector.name}{stack}; mesh {mesh.describe()}",
        "layers": [[layer.alpha_cells, list(layer.r_edges)] for layer in mesh.layers],
        "layerIds": mesh.layer_ids,
        "z": [round(float(z), 6) for z in layer_edges(mesh)],
        "depthsKnown": has_depths(mesh),
        "depthScale": depth_scale(mesh),
        "reach": reach(mesh),
        "arcSteps": arc_steps(mesh),
        "frame": np.round(panel.frame, 4).tolist(),
        "depthName": depth_name(mesh),
        "depthTicks": depth_ticks(mesh),
        "radiusTicks": radius_ticks(mesh),
        "lines": [_line_data(line) for line in panel.lines],
        "events": [_event_data(event) for event in panel.events],
    }


def _event_data(event: Event) -> dict[str, Any]:
    return {
        "name": event.name,
        "heading": event.heading,
        "facts": event.facts,
        "voxels": _packed(event.voxels, "<u4"),
        "energies": _packed(event.energies, "<f4"),
        "lines": [_line_data(line) for line in event.lines],
        "legend": event.legend,
    }


def _line_data(line: Line) -> list[Any]:
    return [line.colour, line.width, _packed(line.points, "<f4")]


def _packed(values: Any, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=dtype).tobytes()).decode("ascii")
