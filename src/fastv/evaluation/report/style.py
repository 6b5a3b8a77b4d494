"""The look of all plots: a plain style, colours that colour-blind readers can tell apart, ratio panels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from fastv.display.figure import own_settings, save
from fastv.evaluation.report.numbers import NumberedFigure

REFERENCE_COLOUR = "#3f3f3f"
GENERATED_COLOUR = "#d55e00"
TARGET_COLOUR = "#0072b2"
# The plain style of high-energy physics: ticks inside and on all sides, labels at the ends of the axes.
_RC: Any = {
    "font.size": 12,
    "axes.labelsize": 13,
    "axes.titlesize": 12,
    "axes.linewidth": 1.0,
    "axes.unicode_minus": False,
    "lines.linewidth": 1.6,
    "legend.fontsize": 11,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "xaxis.labellocation": "right",
    "yaxis.labellocation": "top",
    "xtick.top": True,
    "ytick.right": True,
    **{
        f"{axis}tick.{name}": value
        for axis in "xy"
        for name, value in (
            ("direction", "in"),
            ("labelsize", 11),
            ("major.size", 6),
            ("minor.size", 3),
            ("minor.visible", True),
            ("major.pad", 5),
        )
    },
}


LABEL_INCHES = 0.3
"""Height of the line above the panels that names the samples."""


def paper_style() -> AbstractContextManager[None]:
    """Matplotlib settings of the figures, for the time of a ``with`` block only."""
    return own_settings(_RC)


def new_figure(width: float, height: float) -> NumberedFigure:
    """An empty figure of this style, in inches."""
    return NumberedFigure(_RC, figsize=(width, height))


def as_bytes(figure: Figure, picture_format: str = "png") -> bytes:
    """A figure as the content of a file."""
    file = BytesIO()
    save(figure, file, picture_format=picture_format)
    return file.getvalue()


def grid(
    rows: int, columns: int, width: float, height: float, *, gap: float = 0.85, top: float = 0.1
) -> tuple[NumberedFigure, GridSpec]:
    """A figure of ``width`` x ``height`` inches a cell, with margins fixed in inches.

    ``top`` is the height of what stands above the panels: titles, or a second axis. Margins that are known need no
    layout engine, which would draw every figure twice.
    """
    top += LABEL_INCHES
    total_width, total_height = columns * width, rows * height + top - 0.38
    figure = new_figure(total_width, total_height)
    cells = figure.add_gridspec(
        rows,
        columns,
        left=0.85 / total_width,
        right=1 - 0.28 / total_width,
        bottom=0.62 / total_height,
        top=1 - top / total_height,
        wspace=gap / (width - gap),
        hspace=0.9 / (height - 0.9),
    )
    return figure, cells


def panels(
    rows: int = 1, columns: int = 1, width: float = 6.4, height: float = 5.4, *, top: float = 0.1
) -> tuple[NumberedFigure, Any]:
    """Pairs of a main panel and a ratio panel below it: the figure and an array (rows, columns, 2) of axes."""
    figure, cells = grid(rows, columns, width, height, top=top)
    axes = np.empty((rows, columns, 2), dtype=object)
    # Room for half a number of each panel.
    inside, between = height - (0.72 if rows == 1 else 0.9), 0.17
    for row in range(rows):
        for column in range(columns):
            inner = cells[row, column].subgridspec(2, 1, height_ratios=[3, 1], hspace=2 * between / (inside - between))
            lower = figure.add_subplot(inner[1])
            main = figure.add_subplot(inner[0], sharex=lower)
            main.tick_params(labelbottom=False, which="both")
            if rows * columns > 1:
                # Ticks on four sides dominate the time to draw many panels.
                for panel in (main, lower):
                    panel.minorticks_off()
            axes[row, column] = main, lower
    return figure, axes


def band(axes: Axes, edges: NDArray[Any], low: NDArray[Any], high: NDArray[Any], colour: str, label: str = "") -> None:
    """Statistical error band of a stepped curve."""
    low, high = np.nan_to_num(low), np.nan_to_num(high)
    axes.stairs(high, edges, baseline=low, fill=True, color=colour, alpha=0.25, linewidth=0, label=label or None)


def ratio_axis(
    axes: Axes, values: NDArray[Any], errors: NDArray[Any], *, least: float = 0.02, most: float = 2.0
) -> None:
    """Label a ratio panel and give it a range that holds the well measured points and every clear deviation."""
    axes.axhline(1.0, color=REFERENCE_COLOUR, linewidth=0.9)
    axes.set_ylabel("ratio")
    distance = np.abs(values - 1)
    good = np.isfinite(distance) & np.isfinite(errors) & (errors < 0.5)
    clear = good & (distance > 4 * errors)
    reach = 1.2 * np.quantile((distance + errors)[good], 0.95) if good.any() else 0.5
    reach = float(np.clip(max(reach, 1.15 * distance[clear].max(initial=0)), least, most))
    # A ratio of 0 is seen above the edge, and its number beside those of the other axis.
    axes.set_ylim(max(-0.1 * reach, 1 - reach), 1 + reach)


def energy_axis(axes: Sequence[Axes], bins: Sequence[tuple[float, float, bool]]) -> None:
    """A logarithmic axis of incident energies in GeV over all bins, given in MeV, with plain numbers that fit."""
    low, high = min(each[0] for each in bins) / 1000, max(each[1] for each in bins) / 1000
    margin = max(1.1, math.sqrt(max(1.0, 4 * low / high)))
    low, high = low / margin, high * margin
    for each in axes:
        each.set_xscale("log")
        each.set_xlim(low, high)
        plain_logarithms(each.xaxis)


def plain_logarithms(axis: Axis) -> None:
    """Plain numbers such as 0.02 or 50 on a logarithmic axis, more of them on a short one."""
    low, high = sorted(axis.get_view_interval())
    span = high / low
    subs = (1.0,) if span > 50 else (1.0, 2.0, 5.0) if span > 5 else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
