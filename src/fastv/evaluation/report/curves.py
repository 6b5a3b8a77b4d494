"""Curves of any number of samples over the reference, with their ratios to it.

Curves are arrays with shape (sample, 2, 2, places): of each generated sample the reference and the sample itself, of
each values and errors. Bands and bars are statistical errors, one standard deviation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fastv.conditions.particles import PDG_NAMES
from fastv.evaluation.observables.histograms import padded_edges
from fastv.evaluation.observables.observe import Observables
from fastv.evaluation.physics.condition_bins import energy_range
from fastv.evaluation.report.labels import literal, particle_symbol, plain
from fastv.evaluation.report.numbers import Curve, NumberedFigure, Role, note
from fastv.evaluation.report.style import GENERATED_COLOUR, REFERENCE_COLOUR, band, ratio_axis
from fastv.evaluation.result import Evaluation

F64 = NDArray[np.float64]
Evaluations = Mapping[str, Evaluation]
"""Evaluations against one reference, by the names of their samples."""
COLOURS = (GENERATED_COLOUR, "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#882255", "#999933")
"""Colours that colour-blind readers can tell apart, one a sample; then the lines change their style."""

SAMPLE_LABEL, BEYOND = "samples", "beyond"
"""Identifiers of the line that names the samples, and of arrows for points outside of their panel."""


class Look(NamedTuple):
    """How a sample is drawn; several generated ones without errors, so that they stay readable.

    ``label`` is its name as the text of a figure, ``name`` as it is.
    """

    label: str
    colour: str
    name: str
    line: str = "-"
    errors: bool = True


def looks(evaluations: Evaluations) -> list[Look]:
    """How the samples are drawn, the reference first."""
    engine = str(_first(evaluations).reference.provenance.get("engine", ""))
    title = "Geant4" if "Geant4" in engine else "Reference"
    reference = Look(title, REFERENCE_COLOUR, title)
    lines = "-", "--", ":"
    alone = len(evaluations) == 1
    return [
        reference,
        *(
            Look(literal(name), COLOURS[i % len(COLOURS)], name, lines[i // len(COLOURS) % len(lines)], errors=alone)
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
    """Curves from a comparison at all its places; not a number where it could not be made."""
    curves = np.full((len(evaluations), 2, 2, places), np.nan)
    for own, evaluation in zip(curves, evaluations.values(), strict=True):
        if found := evaluation.physics[name].differences:
            own[0] = np.transpose([(each.reference.value, each.reference.error) for each in found])
            own[1] = np.transpose([(each.generated.value, each.generated.error) for each in found])
    return curves


def inside(sample: Observables, low: float, high: float, *, last: bool) -> NDArray[np.bool_]:
    """The showers (N,) of a bin of incident energy, which holds its upper end only if it is the last."""
    energies = sample.incident_energies
    return (energies >= low) & ((energies <= high) if last else (energies < high))


def sample_label(evaluations: Evaluations) -> str:
    """What the samples are, in a line: detector, particles, incident energies, numbers of showers."""
    reference, *generated = samples(evaluations)
    parts = [literal(reference.detector.name)]
    if particles := _particles(reference, _first(evaluations).reference.provenance):
        parts.append(particles)
    energies = reference.incident_energies
    parts.append(energy_range(float(energies.min()), float(energies.max())))
    sizes = sorted({len(each) for each in generated})
    counts = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    each = " each" if len(generated) > len(sizes) == 1 else ""
    names = looks(evaluations)
    about = names[1].label if len(generated) == 1 else "generated"
    parts.append(f"$N$ = {len(reference)} ({names[0].label}), {counts}{each} ({about})")
    return ", ".join(parts)


def _particles(sample: Observables, provenance: Mapping[str, object]) -> str:
    codes = sample.conditions.get("particle")
    if codes is not None:
        names = [PDG_NAMES.get(int(code), f"PDG {code}") for code in np.unique(codes)]
        return " ".join(map(particle_symbol, names)) if len(names) < 4 else f"{len(names)} particles"
    told = provenance.get("particle")
    return particle_symbol(told) if isinstance(told, str) else ""


def write_label(figure: Figure, evaluations: Evaluations) -> None:
    """Name the samples above the panels, from the left edge of the first on, in a size that fits."""
    text = sample_label(evaluations)
    left = min(axes.get_position().x0 for axes in figure.axes)
    width, height = figure.get_size_inches()
    # A character of the font is about 0.6 of its size wide.
    size = min(9.5, 72 * (width * (1 - left) - 0.1) / (0.6 * max(1, len(plain(text)))))
    figure.text(left, 1 - 0.07 / height, text, fontsize=size, va="top", ha="left", color="#555555", gid=SAMPLE_LABEL)


def shares(counts: NDArray[Any]) -> tuple[F64, F64]:
    """Shares of the entries of a histogram (K,) and their Poisson errors."""
    total = max(1.0, float(counts.sum()))
    return counts / total, np.sqrt(counts) / total


def readable_edges(values: Sequence[NDArray[np.floating]], bins: int = 40) -> F64:
    """Edges of readable bins over the central 99.8 % of all samples together."""
    return padded_edges(np.concatenate(values), bins)


def draw_step(axes: Axes, edges: F64, values: F64, errors: F64, look: Look, counts: NDArray[Any] | None = None) -> None:
    """A stepped curve with its error band."""
    axes.stairs(values, edges, color=look.colour, linestyle=look.line, linewidth=1.5, label=look.label)
    if look.errors:
        band(axes, edges, values - errors, values + errors, look.colour)
    note(Curve(axes, look.name, "values", values, errors, edges=edges, counts=counts, colour=look.colour))


def draw_deviations(axes: Axes, edges: F64, values: F64, errors: F64, look: Look, role: Role = "ratio") -> None:
    """Differences or ratios at each place, as points with errors or as steps."""
    note(Curve(axes, look.name, role, values, errors, edges=edges, colour=look.colour))
    if not look.errors:
        axes.stairs(values, edges, baseline=None, color=look.colour, linestyle=look.line, linewidth=1.2)
        return
    known = np.isfinite(values)
    x, spreads = middles(edges)[known], np.nan_to_num(errors[known], posinf=0.0)
    axes.errorbar(x, values[known], spreads, fmt="o", color=look.colour, markersize=2.5, elinewidth=0.9)


def middles(edges: F64) -> F64:
    """Middles of bins, geometric where the edges are not evenly spaced."""
    uniform = np.isclose(edges[1] - edges[0], edges[-1] - edges[-2])
    return (edges[1:] + edges[:-1]) / 2 if uniform else np.sqrt(edges[1:] * edges[:-1])


def mark_outside(figure: Figure) -> None:
    """Arrows at the edge of a panel for ratios and differences beyond it, in the colour of their sample."""
    for curve in figure.curves if isinstance(figure, NumberedFigure) else []:
        if curve.role not in ("ratio", "difference"):
            continue
        low, high = curve.axes.get_ylim()
        x = curve.at if curve.edges is None else middles(curve.edges)
        assert x is not None  # deviations are drawn in bins or at places
        left, right = curve.axes.get_xlim()
        seen = (x >= left) & (x <= right)
        for beyond, marker, place in ((curve.values > high, "^", 0.95), (curve.values < low, "v", 0.05)):
            curve.axes.plot(
                x[beyond & seen],
                np.full(np.count_nonzero(beyond & seen), place),
                linestyle="",
                marker=marker,
                markersize=4,
                color=curve.colour,
                transform=curve.axes.get_xaxis_transform(),
                gid=BEYOND,
            )


def tell_empty(axes: Axes, curves: Any, words: str = "too few showers to compare") -> None:
    """Say why a panel without any number is empty."""
    if not np.isfinite(curves).any():
        axes.text(0.5, 0.5, words, ha="center", fontsize=11, transform=axes.transAxes)


def draw_curves(
    axes: tuple[Axes, Axes],
    edges: F64,
    curves: F64,
    who: list[Look],
    *,
    log_y: bool = False,
    counts: Sequence[NDArray[Any]] | None = None,
) -> None:
    """Stepped curves with error bands, and their ratios with the reference's band about 1.

    ``counts`` are the entries of histograms, the reference's first.
    """
    main, lower = axes
    reference, errors = curves[0, 0]
    main.stairs(reference, edges, fill=True, color=REFERENCE_COLOUR, alpha=0.12, linewidth=0)
    for i, (curve, look) in enumerate(zip([curves[0, 0], *curves[:, 1]], who, strict=True)):
        draw_step(main, edges, curve[0], curve[1], look, None if counts is None else counts[i])
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = errors / reference
    # A band of 100 % (one entry) only blackens the panel.
    relative = np.where((reference > 0) & (relative < 0.9), relative, 0.0)
    band(lower, edges, 1 - relative, 1 + relative, REFERENCE_COLOUR)
    ratios, spreads = [], []
    for ((base, base_error), (values, error)), look in zip(curves, who[1:], strict=True):
        # A bin that the sample leaves empty is shown where the reference is sure of its own entries.
        filled = (base > 0) & ((values > 0) | (base_error < 0.5 * base))
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
        top = float(np.nan_to_num(curves.sum(axis=2)).max())
        main.set_ylim(0, 1.3 * top if top > 0 else 1.0)
    main.set_xlim(edges[0], edges[-1])
    tell_empty(main, curves)
