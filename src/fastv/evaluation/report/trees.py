"""What boosted trees saw: their AUC against the number of showers, and of each group of observables."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fastv.evaluation.metrics.boosted import BoostedAuc
from fastv.evaluation.metrics.measure import Metrics
from fastv.evaluation.report.curves import F64, Evaluations, Look, looks, tell_empty
from fastv.evaluation.report.numbers import Curve, note
from fastv.evaluation.report.style import REFERENCE_COLOUR, grid, plain_logarithms

_NOT_MEASURED = "not measured"
_ALL = "all observables"


def auc_by_showers(evaluations: Evaluations) -> Figure:
    """AUC against the number of showers of each sample: measured, of the floor, and expected of larger samples."""
    figure, cells = grid(1, 1, 6.4, 5.0)
    axes = figure.add_subplot(cells[0])
    drawn = [np.full(1, np.nan)]
    who = _all(evaluations)
    for look, found in who:
        if found is None:
            axes.plot([], [], look.line, color=look.colour, marker="o", markersize=4, label=look.label)
            _keep(axes, look, np.array([np.nan]), np.array([np.nan]), np.array([np.nan]))
            continue
        sizes, values, errors = _columns([(p.showers, p.auc.value, p.auc.error) for p in found.growth.measured])
        axes.errorbar(
            sizes, values, errors, fmt=f"o{look.line}", color=look.colour, markersize=4, elinewidth=1, label=look.label
        )
        _keep(axes, look, sizes, values, errors)
        drawn += [values - errors, values + errors]
        if found.growth.expected:
            sizes, later, spreads = _columns([(p.showers, p.auc.value, p.auc.error) for p in found.growth.expected])
            axes.errorbar(sizes, later, spreads, fmt="s", mfc="white", color=look.colour, markersize=6, elinewidth=1)
            axes.plot(
                [found.growth.measured[-1].showers, *sizes], [values[-1], *later], ":", color=look.colour, linewidth=1.2
            )
            _keep(axes, look._replace(name=f"{look.name}, extrapolated, not measured"), sizes, later, spreads)
            drawn += [later - spreads, later + spreads]
    axes.axhline(0.5, color=REFERENCE_COLOUR, linewidth=0.9, linestyle="--")
    if any(found is not None and found.growth.expected for _, found in who):
        axes.plot([], [], "s:", mfc="white", color=REFERENCE_COLOUR, markersize=6, label="extrapolated, not measured")
    values = np.concatenate(drawn)
    if np.isfinite(values).any():
        axes.set_xscale("log")
        axes.margins(x=0.08)
        plain_logarithms(axes.xaxis)
    _upwards(axes, values)
    tell_empty(axes, values, _NOT_MEASURED)
    axes.set_xlabel("showers of each sample")
    axes.set_ylabel("AUC of boosted trees")
    _legend(axes, evaluations)
    return figure


def auc_by_group(evaluations: Evaluations) -> Figure:
    """AUC of trees that see one group of observables and the incident energy, as bars from 1/2, with the floor."""
    figure, cells = grid(1, 1, 6.4, 5.0)
    axes = figure.add_subplot(cells[0])
    # Room for the names of the groups.
    axes.set_position((0.135, 0.3, 0.82, 0.62))
    who = _all(evaluations)
    names = next((_groups(found) for _, found in who if found is not None), [_ALL])
    places = np.arange(len(names), dtype=np.float64)
    width = 0.8 / len(who)
    drawn = [np.full(1, np.nan)]
    for i, (look, found) in enumerate(who):
        values, errors = _bars(found, names)
        x = places + (i - (len(who) - 1) / 2) * width
        axes.bar(x, values - 0.5, 0.92 * width, bottom=0.5, color=look.colour, label=look.label, alpha=0.85)
        axes.errorbar(x, values, errors, fmt="none", ecolor="black", elinewidth=0.9)
        note(
            Curve(
                axes,
                look.name,
                "values",
                values,
                errors,
                low=places - 0.5,
                high=places + 0.5,
                at=x,
                colour=look.colour,
                places=tuple(names),
            )
        )
        drawn += [values - errors, values + errors]
    axes.axhline(0.5, color=REFERENCE_COLOUR, linewidth=0.9)
    values = np.concatenate(drawn)
    _upwards(axes, values)
    tell_empty(axes, values, _NOT_MEASURED)
    axes.minorticks_off()
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_xticks(places, names, rotation=40, ha="right", rotation_mode="anchor", fontsize=10)
    axes.tick_params(axis="x", length=0)
    axes.set_xlabel("group of observables, with the incident energy")
    axes.set_ylabel("AUC of boosted trees")
    _legend(axes, evaluations)
    return figure


def _all(evaluations: Evaluations) -> list[tuple[Look, BoostedAuc | None]]:
    """The floor and all samples, each with what its trees found."""
    reference, *others = looks(evaluations)
    floors = ((each.metrics_floor or Metrics()).boosted for each in evaluations.values())
    floor = next((each for each in floors if each is not None), None)
    return [
        (reference._replace(label="floor", name="floor"), floor),
        *((look, (each.metrics or Metrics()).boosted) for look, each in zip(others, evaluations.values(), strict=True)),
    ]


def _groups(found: BoostedAuc) -> list[str]:
    return [_ALL, *(each.group for each in found.groups)]


def _bars(found: BoostedAuc | None, names: list[str]) -> tuple[F64, F64]:
    """AUC and error of each group; not a number where it was not measured."""
    aucs = {} if found is None else {_ALL: found.auc, **{each.group: each.auc for each in found.groups}}
    pairs = [(aucs[name].value, aucs[name].error) if name in aucs else (math.nan, math.nan) for name in names]
    values, errors = np.transpose(np.array(pairs, dtype=np.float64))
    return values, errors


def _columns(points: list[tuple[int, float, float]]) -> tuple[F64, F64, F64]:
    sizes, values, errors = np.transpose(np.array(points, dtype=np.float64))
    return sizes, values, errors


def _keep(axes: Axes, look: Look, sizes: F64, values: F64, errors: F64) -> None:
    note(Curve(axes, look.name, "values", values, errors, low=sizes, high=sizes, at=sizes, colour=look.colour))


def _upwards(axes: Axes, values: F64) -> None:
    """A range that holds 1/2 and all values, with room for the legend above them."""
    known = values[np.isfinite(values)]
    low, high = min(0.5, known.min(initial=0.5)), max(0.6, known.max(initial=0.5))
    axes.set_ylim(low - 0.1 * (high - low), high + 0.4 * (high - low))


def _legend(axes: Axes, evaluations: Evaluations) -> None:
    longest = max(len(look.label) for look in looks(evaluations))
    axes.legend(fontsize=9 if longest > 12 or len(evaluations) > 2 else 11, loc="upper left")
