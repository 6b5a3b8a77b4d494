"""Quality against speed: one's own generator among all published ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fastv.evaluation.report.labels import literal
from fastv.evaluation.report.numbers import Curve, note
from fastv.evaluation.report.published import Published, data_set_of, published
from fastv.evaluation.report.style import (
    GENERATED_COLOUR,
    LABEL_INCHES,
    REFERENCE_COLOUR,
    new_figure,
    paper_style,
)
from fastv.evaluation.result import Evaluation
from fastv.evaluation.verdict import MANY_SHOWERS, of_each

_SMALL = 0.2
"""Largest ratio of the FPD by chance to the median of the published values."""
PUBLISHED_COLOUR = "#0072b2"


class Point(NamedTuple):
    """A generator: FPD and its error, and ms a shower on one thread of a CPU at batch 1 (None: not measured)."""

    fpd: float
    error: float
    milliseconds: float | None = None


def not_comparable(evaluation: Evaluation) -> str | None:
    """Why the FPD of an evaluation cannot be put beside published ones, in words; empty if it can.

    FPD has a bias inversely proportional to the size of the samples, and published values are those of 100,000 showers.
    It is put beside them for at least 10,000 showers of each sample, if the FPD that chance alone gives for these sizes
    is at most a fifth of the median of the published values.

    Returns:
        The reason or an empty text; None if nothing was published on this mesh, or FPD was not measured.
    """
    data_set = data_set_of(evaluation.reference_observables.detector.mesh.n_voxels)
    if data_set is None or evaluation.metrics is None or evaluation.metrics.fpd is None:
        return None
    sizes = len(evaluation.reference_observables), len(evaluation.generated_observables)
    start = "The plane of quality against speed is not drawn: FPD grows as samples shrink, published values are of "
    if min(sizes) < MANY_SHOWERS:
        return f"{start}100,000 showers, and these are {of_each(*sizes)}; it needs {MANY_SHOWERS:,} of each at least."
    floor = evaluation.metrics_floor.fpd.fpd.value if evaluation.metrics_floor and evaluation.metrics_floor.fpd else 0.0
    chance = evaluation.metrics.fpd.chance
    level = floor if chance is None else chance.expected
    median = float(np.median([each.fpd for each in published(data_set) if each.fpd is not None and not each.geant4]))
    if not level <= _SMALL * median:
        return (
            f"{start}100,000 showers. For {of_each(*sizes)} chance alone gives {level:.2g}, which is more than "
            f"{_SMALL:g} of the median of the published values, {median:.2g}."
        )
    return ""


def quality_speed_plane(own: Mapping[str, Point], others: Sequence[Published], *, floor: float | None = None) -> Figure:
    """FPD against the time of a shower on a CPU at batch 1, both logarithmic; better is to the lower left.

    Without a time, a generator is drawn as a line across the plane.

    Args:
        own: by name.
        others: published ones; those without both numbers are left out.
        floor: FPD of full simulation against itself at the sizes of ``own``.

    Example:
        >>> from fastv.evaluation.report.published import published
        >>> figure = quality_speed_plane({"mine": Point(0.1, 0.01, 0.3)}, published("calochallenge-ds2"))
        >>> figure.axes[0].get_xscale()
        'log'
    """
    with paper_style():
        figure = new_figure(8.4, 5.4 + LABEL_INCHES)
        # Margins that are known need no layout engine, which would draw the figure twice.
        axes = figure.add_axes((0.1, 0.125, 0.87, 0.81))
        named: list[tuple[float, float]] = []
        for each in others:
            if each.geant4 and each.fpd:
                axes.axhline(
                    each.fpd, color=PUBLISHED_COLOUR, linestyle=":", linewidth=1.2, label="Geant4, 100,000 showers"
                )
            if each.geant4 or each.fpd is None or each.cpu_ms_batch1 is None:
                continue
            axes.plot(each.cpu_ms_batch1, each.fpd, "o", color=PUBLISHED_COLOUR, markersize=5)
            _note(axes, each.name, Point(each.fpd, math.nan, each.cpu_ms_batch1))
            place = (math.log10(each.cpu_ms_batch1), math.log10(each.fpd))
            # A name goes below its point where another one is in the way above.
            crowded = any(abs(place[0] - x) < 0.9 and abs(place[1] - y) < 0.09 for x, y in named)
            named.append(place)
            axes.annotate(
                each.name,
                (each.cpu_ms_batch1, each.fpd),
                xytext=(4, -10 if crowded else 3),
                textcoords="offset points",
                fontsize=8,
            )
        if floor is not None and floor > 0:
            axes.axhline(
                floor, color=REFERENCE_COLOUR, linestyle="--", linewidth=1.2, label="Geant4, floor of this evaluation"
            )
        for name, point in own.items():
            _note(axes, name, point)
            if not math.isfinite(point.fpd):
                continue
            level = max(point.fpd, 1e-6)
            if point.milliseconds is None:
                axes.axhline(level, color=GENERATED_COLOUR, linewidth=1.6)
                axes.annotate(
                    f"{literal(name)} (time not measured)",
                    (0.01, level),
                    xycoords=("axes fraction", "data"),
                    va="bottom",
                    color=GENERATED_COLOUR,
                    fontsize=11,
                )
                continue
            axes.errorbar(
                point.milliseconds, level, min(point.error, 0.9 * level), fmt="*", color=GENERATED_COLOUR, markersize=15
            )
            axes.annotate(
                literal(name),
                (point.milliseconds, level),
                xytext=(8, 6),
                textcoords="offset points",
                fontsize=12,
                color=GENERATED_COLOUR,
            )
        if axes.get_legend_handles_labels()[0]:
            # Above the plane: within it there is no corner without points in every data set.
            axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, fontsize=9, borderaxespad=0.2)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.margins(x=0.22, y=0.1)
        axes.set_xlabel("time of a shower on a CPU, batch 1 [ms]")
        axes.set_ylabel("FPD")
    return figure


def _note(axes: Axes, name: str, point: Point) -> None:
    time = np.array([math.nan if point.milliseconds is None else point.milliseconds])
    note(Curve(axes, name, "values", np.array([point.fpd]), np.array([point.error]), low=time, high=time))
