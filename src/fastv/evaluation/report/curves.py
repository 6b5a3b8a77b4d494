"""Curves of any number of samples over the reference, with their ratios to it.

Curves are arrays with shape (sample, 2, 2, places): of each generated sample the reference and the sample itself, of
each values and errors. Bands and bars are statistical errors, one standard deviation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from fastv.evaluation.observables.histograms import histogram, padded_edges
from fastv.evaluation.observables.observe import Observables
from fastv.evaluation.report.style import GENERATED_COLOUR, REFERENCE_COLOUR, band, ratio_axis
from fastv.evaluation.result import Evaluation

F64 = NDArray[np.float64]
Evaluations = Mapping[str, Evaluation]
"""Evaluations against one reference, by the names of their samples."""
COLOURS = (GENERATED_COLOUR, "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#882255", "#999933")
"""Colours that colour-blind readers can tell apart, one a sample; then the lines change their style."""


class Look(NamedTuple):
    """How a sample is drawn; several generated ones without errors, so that they stay readable."""

    label: str
    colour: str
    line: str = "-"
    errors: bool = True


def looks(evaluations: Evaluations) -> list[Look]:
    """How the samples are drawn, the reference first."""
    engine = str(_first(evaluations).reference.provenance.get("engine", ""))
    reference = Look("Geant4" if "Geant4" in engine else "Reference", REFERENCE_COLOUR)
    lines = "-", "--", ":"
    alone = len(evaluations) == 1
    return [
        reference,
        *(
            Look(name, COLOURS[i % len(COLOURS)], lines[i // len(COLOURS) % len(lines)], errors=alone)
            for i, name in enumerate(evaluations)
        ),
    ]


def samples(evaluations: Evaluations) -> list[Observables]:
    """Observables of all samples, the reference first."""
    return [_first(evaluations).reference_observables, *(each.generated_observables for each in evaluations.values())]


def _first(evaluations: Evaluations) -> Evaluation:
    return next(iter(evaluations.values()))


def paired(found: Iterable[tuple[F64, F64]]) -> F64:
    """Curves from the values and errors of all samples, the reference first."""
    reference, *generated = found
    return np.array([[reference, each] for each in generated])


def of_comparison(evaluations: Evaluations, name: str, places: int) -> F64:
    """Curves from a comparison at all its places; zeros where it could not be made."""
    curves = np.zeros((len(evaluations), 2, 2, places))
    for own, evaluation in zip(curves, evaluations.values(), strict=True):
        if found := evaluation.physics[name].differences:
            own[0] = np.transpose([(each.reference.value, each.reference.error) for each in found])
            own[1] = np.transpose([(each.generated.value, each.generated.error) for each in found])
    return curves


def shares(values: NDArray[np.floating], edges: F64) -> tuple[F64, F64]:
    """Shares of a histogram and their Poisson errors."""
    counts = histogram(values, edges).values()
    total = max(1.0, float(counts.sum()))
    return counts / total, np.sqrt(counts) / total


def readable_edges(values: Sequence[NDArray[np.floating]], bins: int = 40) -> F64:
    """Edges of readable bins over the central 99.8 % of all samples together."""
    return padded_edges(np.concatenate(values), bins)


def draw_step(axes: Axes, edges: F64, values: F64, errors: F64, look: Look) -> None:
    """A stepped curve with its error band."""
    axes.stairs(values, edges, color=look.colour, linestyle=look.line, linewidth=1.5, label=look.label)
    if look.errors:
        band(axes, edges, values - errors, values + errors, look.colour)


def draw_deviations(axes: Axes, edges: F64, values: F64, errors: F64, look: Look) -> None:
    """Differences or ratios at each place, as points with errors or as steps."""
    if not look.errors:
        axes.stairs(values, edges, baseline=None, color=look.colour, linestyle=look.line, linewidth=1.2)
        return
    uniform = np.isclose(edges[1] - edges[0], edges[-1] - edges[-2])
    middles = (edges[1:] + edges[:-1]) / 2 if uniform else np.sqrt(edges[1:] * edges[:-1])
    known = np.isfinite(values)
    axes.errorbar(
        middles[known], values[known], errors[known], fmt="o", color=look.colour, markersize=2.5, elinewidth=0.9
    )


def draw_curves(axes: tuple[Axes, Axes], edges: F64, curves: F64, who: list[Look], *, log_y: bool = False) -> None:
    """Stepped curves with error bands, and their ratios with the reference's band about 1."""
    main, lower = axes
    reference, errors = curves[0, 0]
    main.stairs(reference, edges, fill=True, color=REFERENCE_COLOUR, alpha=0.12, linewidth=0)
    for curve, look in zip([curves[0, 0], *curves[:, 1]], who, strict=True):
        draw_step(main, edges, curve[0], curve[1], look)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = errors / reference
    # A band of 100 % (one entry) only blackens the panel.
    relative = np.where((reference > 0) & (relative < 0.9), relative, 0.0)
    band(lower, edges, 1 - relative, 1 + relative, REFERENCE_COLOUR)
    ratios, spreads = [], []
    for ((base, base_error), (values, error)), look in zip(curves, who[1:], strict=True):
        filled = (base > 0) & (values > 0)
        divisor = np.where(filled, base, np.nan)
        ratio, own = values / divisor, error / divisor
        draw_deviations(lower, edges, ratio, own, look)
        ratios.append(ratio[filled])
        spreads.append(np.hypot(own, base_error / divisor)[filled])
    ratio_axis(lower, np.concatenate(ratios), np.concatenate(spreads))
    positive = curves[:, :, 0][curves[:, :, 0] > 0]
    if log_y and positive.size:
        main.set_yscale("log")
        main.set_ylim(positive.min() / 2, positive.max() * 4)
    else:
        main.set_ylim(0, 1.3 * max(float(curves.sum(axis=2).max()), 1e-30))
    main.set_xlim(edges[0], edges[-1])
