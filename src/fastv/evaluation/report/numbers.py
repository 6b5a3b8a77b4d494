"""The numbers behind a plot: a figure that knows what it shows, and the file ``plots.json`` of a report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fastv._version import __version__
from fastv.display.figure import OwnFigure
from fastv.evaluation.report.labels import name_and_unit, plain

Values = NDArray[np.float64]
Role = Literal["values", "ratio", "difference", "map"]
"""What a curve shows: quantities themselves, their ratio or difference to the reference, or a map of two axes."""


@dataclass(frozen=True)
class Curve:
    """What one sample has in one panel.

    Attributes:
        axes: the panel.
        sample: its name.
        role: what is shown.
        values, errors: (K,), or (J, K) of a map, which has no errors.
        edges: of the bins (K + 1,), if there are bins that touch.
        low, high: limits of places that need not touch (K,).
        edges_y: of a map, the edges of its second axis (J + 1,).
        counts: entries of the bins (K,), of a histogram of showers.
        at: where the places are drawn (K,), beside each other where several samples share one.
        colour: in which it is drawn.
        title: of a map, what its colours mean, as a label.
        places: names of the places (K,), where numbers say nothing.
    """

    axes: Axes
    sample: str
    role: Role
    values: Values
    errors: Values | None = None
    edges: Values | None = None
    low: Values | None = None
    high: Values | None = None
    edges_y: Values | None = None
    counts: NDArray[Any] | None = None
    at: Values | None = None
    colour: str = "black"
    title: str = ""
    places: tuple[str, ...] = ()


class NumberedFigure(OwnFigure):
    """A figure that knows the numbers it shows.

    Example:
        >>> figure = NumberedFigure({})
        >>> axes = figure.add_subplot()
        >>> _ = axes.set(xlabel="depth [mm]", ylabel=r"$E_\\mathrm{layer}$ [MeV]")
        >>> note(Curve(axes, "Geant4", "values", np.array([1.0, np.nan]), edges=np.array([0.0, 1.0, 2.0])))
        >>> figure.numbers()[0]["y"], figure.numbers()[0]["values"]
        ({'name': 'E_layer', 'unit': 'MeV'}, [1.0, None])
    """

    def __init__(self, settings: Mapping[str, Any], **options: Any) -> None:
        super().__init__(settings, **options)
        self.curves: list[Curve] = []

    def numbers(self) -> list[dict[str, Any]]:
        """All curves as JSON data, see :func:`plot_numbers`."""
        return [self._data_of(curve) for curve in self.curves]

    def _data_of(self, curve: Curve) -> dict[str, Any]:
        columns = {
            name: getattr(curve, name)
            for name in ("edges", "low", "high", "edges_y", "counts", "values", "errors")
            if getattr(curve, name) is not None
        }
        x, y = self._label_along("x", curve), self._label_along("y", curve)
        named = {"x": name_and_unit(x), "y": name_and_unit(y)}
        if curve.role == "map":
            named["values_are"] = name_and_unit(curve.title)
        return {
            "panel": plain(curve.axes.get_title()),
            "sample": curve.sample,
            "role": curve.role,
            **named,
            **({"places": list(curve.places)} if curve.places else {}),
            **{name: _listed(values) for name, values in columns.items()},
        }

    def _label_along(self, axis: Literal["x", "y"], curve: Curve) -> str:
        """The label of the panel's axis; panels without one have that of the panel below, or of the first in a row."""
        get = f"get_{axis}label"
        if own := str(getattr(curve.axes, get)()):
            return own
        shared = curve.axes.get_shared_x_axes().get_siblings(curve.axes) if axis == "x" else []
        alike = [each.axes for each in self.curves if each.role == curve.role]
        return next((label for axes in (*shared, *alike) if (label := str(getattr(axes, get)()))), "")


def note(curve: Curve) -> None:
    """Keep the numbers of a curve with its figure."""
    figure = curve.axes.get_figure(root=True)
    if isinstance(figure, NumberedFigure):
        figure.curves.append(curve)


def numbers_of(figure: Figure) -> list[dict[str, Any]]:
    """The numbers of a figure; of one that does not know them, none."""
    return figure.numbers() if isinstance(figure, NumberedFigure) else []


def plot_numbers(plots: Sequence[Any]) -> dict[str, Any]:
    """The content of ``plots.json``: the numbers behind drawn plots, and why others could not be drawn.

    Args:
        plots: with the attributes of :class:`fastv.evaluation.report.page.DrawnPlot`.
    """
    return {
        "plots": {
            each.name: {"title": each.title, "caption": each.caption, "curves": list(each.numbers)}
            for each in plots
            if not each.failure
        },
        "not_drawn": {each.name: each.failure for each in plots if each.failure},
    }


def header() -> dict[str, Any]:
    """The first entries of ``plots.json``."""
    return {"format_version": 1, "fastv_version": __version__}


def _listed(values: Any) -> Any:
    """Nested lists with at most seven digits, and None for what is not finite."""
    if isinstance(values, np.ndarray):
        return [_listed(each) for each in values.tolist()]
    if isinstance(values, list):
        return [_listed(each) for each in values]
    return float(f"{values:.7g}") if math.isfinite(values) else None
