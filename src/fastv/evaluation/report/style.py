"""The look of all plots: a plain style, colours that colour-blind readers can tell apart, ratio panels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from numpy.typing import NDArray

REFERENCE_COLOUR = "#3f3f3f"
GENERATED_COLOUR = "#d55e00"
TARGET_COLOUR = "#0072b2"
# The plain style of high-energy physics: ticks inside and on all sides, labels at the ends of the axes.
_RC: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that plots look the same everywhere
    "mathtext.fontset": "dejavusans",
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


@contextmanager
def paper_style() -> Iterator[None]:
    """Matplotlib settings of the figures, for the time of a ``with`` block only."""
    with matplotlib.rc_context(_RC):
        yield


def save(figure: Figure, file: str | Path | BytesIO, dpi: int = 140) -> None:
    """Write a figure in the style it was drawn in; the suffix of a path gives the format."""
    with paper_style():
        figure.savefig(file, dpi=dpi, facecolor="white")


def png(figure: Figure) -> bytes:
    """A figure as the content of a PNG file."""
    file = BytesIO()
    save(figure, file)
    return file.getvalue()


def grid(
    rows: int, columns: int, width: float, height: float, *, gap: float = 0.85, top: float = 0.38
) -> tuple[Figure, GridSpec]:
    """A figure of ``width`` x ``height`` inches a cell, with margins fixed in inches.

    Margins that are known need no layout engine, which would draw every figure twice.
    """
    total_width, total_height = columns * width, rows * height
    figure = Figure(figsize=(total_width, total_height))
    cells = figure.add_gridspec(
        rows,
        columns,
        left=0.85 / total_width,
        right=1 - 0.15 / total_width,
        bottom=0.62 / total_height,
        top=1 - top / total_height,
        wspace=gap / (width - gap),
        hspace=0.9 / (height - 0.9),
    )
    return figure, cells


def panels(
    rows: int = 1, columns: int = 1, width: float = 6.4, height: float = 5.4, *, top: float = 0.38
) -> tuple[Figure, Any]:
    """Pairs of a main panel and a ratio panel below it: the figure and an array (rows, columns, 2) of axes."""
    figure, cells = grid(rows, columns, width, height, top=top)
    axes = np.empty((rows, columns, 2), dtype=object)
    for row in range(rows):
        for column in range(columns):
            inner = cells[row, column].subgridspec(2, 1, height_ratios=[3, 1], hspace=0.06)
            lower = figure.add_subplot(inner[1])
            main = figure.add_subplot(inner[0], sharex=lower)
            main.tick_params(labelbottom=False)
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
    axes.set_ylim(max(0.0, 1 - reach), 1 + reach)
