"""Plots for a paper: each takes evaluations by the names of their samples and returns a matplotlib ``Figure``.

All samples are drawn over the one reference. No figure is registered with pyplot, so none has to be closed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import wraps
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fastv.detector.depth import radiation_lengths_per_mm
from fastv.evaluation.observables.histograms import PER_LAYER, histogram
from fastv.evaluation.observables.observe import alpha_layers, ring_edges
from fastv.evaluation.observables.shower_shape import depth_edges, depth_unit
from fastv.evaluation.physics.condition_bins import energy_range
from fastv.evaluation.report import maps, trees
from fastv.evaluation.report.curves import (
    F64,
    Evaluations,
    Look,
    draw_curves,
    draw_deviations,
    draw_step,
    inside,
    looks,
    mark_outside,
    of_comparison,
    paired,
    readable_edges,
    samples,
    shares,
    tell_empty,
    write_label,
)
from fastv.evaluation.report.labels import observable_name, plain
from fastv.evaluation.report.maps import layer_axis, layer_edges
from fastv.evaluation.report.numbers import Curve, Role, note
from fastv.evaluation.report.style import (
    REFERENCE_COLOUR,
    TARGET_COLOUR,
    energy_axis,
    grid,
    panels,
    paper_style,
    plain_logarithms,
    ratio_axis,
)
from fastv.evaluation.statistics.comparison import Difference
from fastv.evaluation.verdict import TARGETS

Draw = Callable[[Evaluations], Figure]


@dataclass(frozen=True)
class Plot:
    """One plot of the report.

    ``wide`` ones need the full width of the page, ``more`` ones are folded away there. Those of ``trees`` are left out
    where trees were not trained, as in a quick evaluation.
    """

    name: str
    title: str
    caption: str
    draw: Draw
    wide: bool = False
    more: bool = False
    trees: bool = False


def _styled(draw: Draw) -> Draw:
    @wraps(draw)
    def styled(evaluations: Evaluations) -> Figure:
        with paper_style():
            figure = draw(evaluations)
            mark_outside(figure)
            write_label(figure, evaluations)
            return figure

    return styled


def _legend(axes: Axes, evaluations: Evaluations, **how: Any) -> None:
    """A legend in a size that fits into the panel."""
    figure = axes.get_figure(root=True)
    width = 0.0 if figure is None else axes.get_position().width * figure.get_size_inches()[0]
    longest = max(len(plain(look.label)) for look in looks(evaluations))
    # A character of the font is about 0.6 of its size wide; the lines and margins take half an inch.
    size = min(9.0 if len(evaluations) > 2 else 11.0, 72 * (width - 0.6) / (0.6 * longest))
    axes.legend(fontsize=size, **how)


def _stepped(
    evaluations: Evaluations,
    curves: F64,
    edges: F64,
    x: str,
    y: str,
    *,
    log_y: bool = False,
    top: float = 0.1,
    counts: Sequence[NDArray[Any]] | None = None,
) -> tuple[Figure, Axes, Axes]:
    """One plot of stepped curves with ratios: the figure and its two panels."""
    figure, axes = panels(top=top)
    main, lower = axes[0, 0]
    draw_curves((main, lower), edges, curves, looks(evaluations), log_y=log_y, counts=counts)
    main.set_ylabel(y)
    lower.set_xlabel(x)
    _legend(main, evaluations)
    return figure, main, lower


def _distribution(
    axes: tuple[Axes, Axes], evaluations: Evaluations, values: Sequence[NDArray[np.floating]], edges: F64 | None = None
) -> None:
    """The distributions of one number a shower, the reference's first."""
    edges = readable_edges(values) if edges is None else edges
    counts = [histogram(each, edges).values() for each in values]
    draw_curves(axes, edges, paired(map(shares, counts)), looks(evaluations), counts=counts)
    axes[0].set_ylabel("share of showers")


def _one_distribution(
    evaluations: Evaluations, values: Sequence[NDArray[np.floating]], label: str, bins: int = 40
) -> Figure:
    figure, axes = panels()
    _distribution(tuple(axes[0, 0]), evaluations, values, readable_edges(values, bins))
    axes[0, 0, 1].set_xlabel(label)
    _legend(axes[0, 0, 0], evaluations)
    return figure


@_styled
def visible_fraction(evaluations: Evaluations) -> Figure:
    """Distribution of E_tot/E_inc over all energies, with ratio."""
    values = [sample.visible_fraction for sample in samples(evaluations)]
    return _one_distribution(evaluations, values, r"$E_\mathrm{tot}/E_\mathrm{inc}$", 50)


def _differences(evaluations: Evaluations, name: str) -> tuple[Difference, ...]:
    """Of a comparison, in the evaluation that has the finest bins of it."""
    return max((each.physics[name].differences for each in evaluations.values()), key=len)


def _energy_bins(evaluations: Evaluations) -> list[tuple[float, float, bool]]:
    """The bins of incident energy in which samples are judged: limits, and whether the upper one is inside.

    Without such a bin, one that holds all showers of the reference.
    """
    found = [(each.low, each.high) for each in _differences(evaluations, "response")]
    limits = [(low, high) for low, high in found if low is not None and high is not None]
    if not limits:
        energies = samples(evaluations)[0].incident_energies
        limits = [(float(energies.min()), float(energies.max()))]
    lows = {low for low, _ in limits}
    return [(low, high, high not in lows) for low, high in limits]


@_styled
def visible_fraction_by_energy(evaluations: Evaluations) -> Figure:
    """Distributions of E_tot/E_inc in each bin of incident energy."""
    bins = _energy_bins(evaluations)
    columns = min(5, len(bins))
    rows = -(-len(bins) // columns)
    width = max(3.0, 6.4 / columns)
    figure, cells = grid(rows, columns, width, 2.9, gap=0.45, top=0.38)
    small = [figure.add_subplot(cells[i]) for i in range(rows * columns)]
    for i, ((low, high, last), axes) in enumerate(zip(bins, small, strict=False)):
        chosen = [sample.visible_fraction[inside(sample, low, high, last=last)] for sample in samples(evaluations)]
        edges = readable_edges([*chosen, *([np.array([0.5, 1.5])] if not any(map(len, chosen)) else [])], 20)
        for values, look in zip(chosen, looks(evaluations), strict=True):
            counts = histogram(values, edges).values()
            draw_step(axes, edges, *shares(counts), look, counts)
        axes.set_ylim(0, None)
        axes.minorticks_off()
        axes.set_yticks([])
        axes.locator_params(axis="x", nbins=4)
        axes.set_title(energy_range(low, high))
        if i % columns == 0:
            axes.set_ylabel("share of showers")
        if i >= len(bins) - columns:
            axes.set_xlabel(r"$E_\mathrm{tot}/E_\mathrm{inc}$")
    _legend_with_room(small[0], evaluations)
    _switch_off(small[len(bins) :])
    return figure


def _legend_with_room(axes: Axes, evaluations: Evaluations) -> None:
    """A legend in a small panel, above its curves."""
    _, top = axes.get_ylim()
    lines = len(evaluations) + 1
    axes.set_ylim(None, top * (1 + 0.13 * lines))
    axes.legend(fontsize=8, loc="upper right", borderaxespad=0.2, labelspacing=0.25)


def _switch_off(unused: Iterable[Axes]) -> None:
    for axes in unused:
        axes.set_axis_off()


class _Points(NamedTuple):
    """A comparison in bins of energy as points: its name, their marker, and its words in a legend of several."""

    comparison: str
    marker: str
    words: str


def _against_energy(
    evaluations: Evaluations, shown: list[_Points], label: str, target: float, *, log_y: bool = False
) -> Figure:
    """Points of comparisons in bins of energy, with their ratios to the reference and the target."""
    figure, axes = panels()
    main, lower = axes[0, 0]
    reference, *others = looks(evaluations)
    count = len(shown) * len(evaluations)
    # Points beside each other do not cover each other.
    shifts = iter(np.exp(0.12 * ((np.arange(count) + 0.5) / count - 0.5)))
    ratios: list[tuple[float, float]] = []
    for each in shown:
        finest = _differences(evaluations, each.comparison)
        own = [next(shifts) for _ in evaluations]
        first = each is shown[0]
        measured = [(place.reference.value, place.reference.error) for place in finest]
        about = math.sqrt(own[0] * own[-1])
        _draw_points(main, finest, measured, each, reference, "values", about, named=first)
        for evaluation, look, shift in zip(evaluations.values(), others, own, strict=True):
            found = evaluation.physics[each.comparison].differences
            measured = [(place.generated.value, place.generated.error) for place in found]
            _draw_points(main, found, measured, each, look, "values", shift, named=first)
            relative = [(1 + place.difference.value, place.difference.error) for place in found]
            _draw_points(lower, found, relative, each, look, "ratio", shift)
            ratios += relative
    energy_axis((main, lower), _energy_bins(evaluations))
    shown_values = [curve.values for curve in figure.curves if curve.role == "values"]
    positive = np.concatenate(shown_values)
    positive = positive[np.isfinite(positive) & (positive > 0)]
    if log_y and positive.size:
        main.set_yscale("log")
        low, high = main.get_ylim()
        main.set_ylim(max(low, positive.min() / 3) / 1.2 ** len(evaluations), high)  # room for the legend
        plain_logarithms(main.yaxis)
    if not positive.size:
        main.set_ylim(0, 1)
        tell_empty(main, positive, "no bin of energy could be judged")
    main.set_ylabel(label)
    for each in shown if len(shown) > 1 else []:
        main.plot([], [], each.marker, color="#888888", markersize=5, mfc=_face(each, "#888888"), label=each.words)
    _legend(main, evaluations)
    lower.set_xlabel(r"$E_\mathrm{inc}$ [GeV]")
    ratio_axis(lower, *np.array(ratios).reshape(-1, 2).T, most=5.0)
    lower.axhspan(1 - target, 1 + target, color=TARGET_COLOUR, alpha=0.12, linewidth=0)
    low, high = lower.get_ylim()
    lower.set_ylim(min(low, 1 - 1.3 * target), max(high, 1 + 1.3 * target))
    return figure


def _draw_points(
    axes: Axes,
    places: Sequence[Difference],
    found: list[tuple[float, float]],
    points: _Points,
    look: Look,
    role: Role,
    shift: float,
    *,
    named: bool = False,
) -> None:
    """Values and errors of one sample in bins of energy; what is not a number is left out."""
    values, errors = np.array(found, dtype=np.float64).reshape(-1, 2).T
    low, high = np.array([(each.low, each.high) for each in places], dtype=np.float64).reshape(-1, 2).T / 1000
    at = np.sqrt(low * high) * shift
    name = f"{look.name}, {plain(points.words)}" if points.words else look.name
    note(Curve(axes, name, role, values, errors, low=low, high=high, at=at, colour=look.colour))
    known = np.isfinite(values)
    axes.errorbar(
        at[known],
        values[known],
        np.where(np.isfinite(errors[known]), errors[known], 0.0),
        fmt=points.marker,
        color=look.colour,
        markersize=5,
        markerfacecolor=_face(points, look.colour),
        label=look.label if named else "",
    )


def _face(points: _Points, colour: str) -> str:
    return colour if points.marker == "o" else "white"


@_styled
def response(evaluations: Evaluations) -> Figure:
    """Mean visible fraction in bins of incident energy, with the target of 1 % in the ratio."""
    label = r"$\langle E_\mathrm{tot}/E_\mathrm{inc}\rangle$"
    return _against_energy(evaluations, [_Points("response", "o", "")], label, TARGETS["response"])


@_styled
def resolution(evaluations: Evaluations) -> Figure:
    """Resolution of the visible fraction in bins of incident energy, std/mean and the central 68.27 %."""
    curves = [
        _Points("resolution, std/mean", "o", "std/mean"),
        _Points("resolution, central 68 %", "s", r"$\sigma_{68}$/mean"),
    ]
    return _against_energy(evaluations, curves, "relative resolution", TARGETS["resolution, std/mean"], log_y=True)


def _times(factor: float) -> Callable[[Any], Any]:
    return lambda values: factor * values


@dataclass(frozen=True)
class _Profile:
    """A mean profile: its comparison, the attribute of the observables, the edges of its places and its labels."""

    comparison: str
    energies: str
    edges: F64
    x: str
    y: str
    per_mm: float | None = None

    def curves(self, evaluations: Evaluations) -> F64:
        """Over all energies, with the weights of the comparison."""
        return of_comparison(evaluations, self.comparison, len(self.edges) - 1) / np.diff(self.edges)

    def in_bin(self, evaluations: Evaluations, low: float, high: float, *, last: bool) -> F64:
        """In a bin of incident energy."""
        found = []
        for sample in samples(evaluations):
            chosen = inside(sample, low, high, last=last)
            energies = getattr(sample, self.energies)[chosen] / sample.incident_energies[chosen, None]
            found.append(_mean(energies) if len(energies) else (np.zeros(energies.shape[1]),) * 2)
        return paired(found) / np.diff(self.edges)


def _longitudinal(evaluations: Evaluations) -> _Profile:
    detector = samples(evaluations)[0].detector
    known = depth_unit(detector.mesh) == "mm"
    return _Profile(
        "layer energies",
        "layer_energies",
        depth_edges(detector.mesh),
        "depth [mm]" if known else "layer",
        rf"$\langle \mathrm{{d}}E/\mathrm{{d}}z/E_\mathrm{{inc}}\rangle$ [1/{'mm' if known else 'layer'}]",
        radiation_lengths_per_mm(detector) if known else None,
    )


def _lateral(evaluations: Evaluations) -> _Profile:
    edges = ring_edges(samples(evaluations)[0].detector.mesh)
    label = r"$\langle \mathrm{d}E/\mathrm{d}r/E_\mathrm{inc}\rangle$ [1/mm]"
    return _Profile("ring energies", "ring_energies", edges, "r [mm]", label)


def _mean_profile(of: Callable[[Evaluations], _Profile], *, log_y: bool) -> Draw:
    """A mean profile over all energies, with depth in radiation lengths on top where it is known."""

    def draw(evaluations: Evaluations) -> Figure:
        profile = of(evaluations)
        top = 0.1 if profile.per_mm is None else 0.6
        curves = profile.curves(evaluations)
        figure, main, _ = _stepped(evaluations, curves, profile.edges, profile.x, profile.y, log_y=log_y, top=top)
        if profile.per_mm is not None:
            above = main.secondary_xaxis("top", functions=(_times(profile.per_mm), _times(1 / profile.per_mm)))
            main.tick_params(top=False, which="both")
            above.set_xlabel(r"depth [$X_0$]")
        return figure

    return _styled(draw)


def _profile_by_energy(of: Callable[[Evaluations], _Profile], *, log_y: bool) -> Draw:
    """A mean profile in each bin of incident energy."""

    def draw(evaluations: Evaluations) -> Figure:
        profile, bins = of(evaluations), _energy_bins(evaluations)
        columns = min(5, len(bins))
        rows = -(-len(bins) // columns)
        figure, axes = panels(rows, columns, width=max(4.2, 6.4 / columns), height=3.8, top=0.38)
        for i, ((low, high, last), (main, lower)) in enumerate(zip(bins, axes.reshape(-1, 2), strict=False)):
            curves = profile.in_bin(evaluations, low, high, last=last)
            draw_curves((main, lower), profile.edges, curves, looks(evaluations), log_y=log_y)
            main.set_title(energy_range(low, high))
            main.set_ylabel(profile.y if i % columns == 0 else "")
            lower.set_xlabel(profile.x)
        _switch_off(axes.reshape(-1, 2)[len(bins) :].ravel())
        _legend(axes[0, 0, 0], evaluations)
        return figure

    return _styled(draw)


_longitudinal_profile = _mean_profile(_longitudinal, log_y=True)
_lateral_profile = _mean_profile(_lateral, log_y=True)


@_styled
def voxel_spectrum(evaluations: Evaluations) -> Figure:
    """Mean number of voxels per shower and logarithmic bin of voxel energy."""
    edges = samples(evaluations)[0].voxel_edges
    curves = paired(_mean(sample.voxel_counts) for sample in samples(evaluations)) / np.diff(np.log10(edges))
    label = "voxels per shower and decade"
    counts = [sample.voxel_counts.sum(axis=0) for sample in samples(evaluations)]
    figure, main, _ = _stepped(evaluations, curves, edges, "voxel energy [MeV]", label, log_y=True, counts=counts)
    main.set_xscale("log")
    return figure


def _mean(values: NDArray[Any]) -> tuple[F64, F64]:
    """Mean over showers with its error."""
    mean, spread = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
    return mean, np.asarray(spread / math.sqrt(len(values)))


_MOMENTS = {
    "longitudinal_mean": r"$\langle z\rangle$",
    "longitudinal_width": r"$\sigma_z$",
    "lateral_mean": r"$\langle r\rangle$",
    "lateral_width": r"$\sigma_r$",
}


def _values_and_label(evaluations: Evaluations, moment: str) -> tuple[list[NDArray[np.floating]], str]:
    unit = depth_unit(samples(evaluations)[0].detector.mesh) if moment.startswith("longitudinal") else "mm"
    return [getattr(sample, moment) for sample in samples(evaluations)], f"{_MOMENTS[moment]} [{unit}]"


@_styled
def moments(evaluations: Evaluations) -> Figure:
    """First moments and widths of depth and radius, shower by shower."""
    figure, axes = panels(2, 2, width=5.4, height=4.6)
    for moment, (main, lower) in zip(_MOMENTS, axes.reshape(4, 2), strict=True):
        values, label = _values_and_label(evaluations, moment)
        _distribution((main, lower), evaluations, values)
        lower.set_xlabel(label)
    _legend(axes[0, 0, 0], evaluations)
    return figure


def _moment(name: str) -> Draw:
    """One of the moments in a plot of its own."""
    return _styled(lambda evaluations: _one_distribution(evaluations, *_values_and_label(evaluations, name)))


@_styled
def layer_energies(evaluations: Evaluations) -> Figure:
    """Distributions of the energy in all layers, or of many in six, evenly spaced where the shower has its energy."""
    ids = samples(evaluations)[0].detector.mesh.layer_ids
    energies = samples(evaluations)[0].layer_energies.mean(axis=0, dtype=np.float64)
    least = 1e-3 * energies.sum() if len(ids) > 6 else 0.0
    holding = np.flatnonzero(energies > least).tolist() or [0]
    chosen = sorted({holding[round(j)] for j in np.linspace(0, len(holding) - 1, 6)})
    columns = min(3, len(chosen))
    rows = -(-len(chosen) // columns)
    figure, axes = panels(rows, columns, width=4.8, height=4.4, top=0.38)
    binning = next(iter(evaluations.values())).edges.per_layer["layer energy"]
    for layer, (main, lower) in zip(chosen, axes.reshape(-1, 2), strict=False):
        edges = binning[layer]
        assert edges is not None  # every layer has an energy
        values = [sample.layer_energies[:, layer] for sample in samples(evaluations)]
        _distribution((main, lower), evaluations, values, edges)
        main.set_xscale("log")
        main.minorticks_off()
        shown = np.concatenate(values)
        shown = shown[shown >= edges[0]]
        main.set_xlim(float(np.quantile(shown, 0.002)) if shown.size else edges[0], edges[-1])
        main.set_title(f"layer {ids[layer]}")
        lower.set_xlabel(r"$E_\mathrm{layer}$ [MeV]")
    _switch_off(axes.reshape(-1, 2)[len(chosen) :].ravel())
    for each in axes[:, 1:, 0].ravel():
        each.set_ylabel("")
    _legend(axes[0, 0, 0], evaluations, loc="upper left")
    return figure


@_styled
def sparsity(evaluations: Evaluations) -> Figure:
    """Mean sparsity per layer and its difference, with the target of 0.02."""
    figure, axes = panels()
    main, lower = axes[0, 0]
    ids = samples(evaluations)[0].detector.mesh.layer_ids
    edges = layer_edges(len(ids))
    who = looks(evaluations)
    curves = of_comparison(evaluations, "sparsity", len(ids))
    for curve, look in zip([curves[0, 0], *curves[:, 1]], who, strict=True):
        draw_step(main, edges, curve[0], curve[1], look)
    target = TARGETS["sparsity"]
    differences = curves[:, 1, 0] - curves[:, 0, 0]
    errors = np.hypot(curves[:, 0, 1], curves[:, 1, 1])
    for own, error, look in zip(differences, errors, who[1:], strict=True):
        draw_deviations(lower, edges, own, error, look, "difference")
    lower.axhline(0, color=REFERENCE_COLOUR, linewidth=0.9)
    lower.axhspan(-target, target, color=TARGET_COLOUR, alpha=0.12, linewidth=0)
    furthest = np.abs(differences) + errors
    reach = 1.2 * max(1.25 * target, float(np.max(furthest[np.isfinite(furthest)], initial=0.0)))
    lower.set_ylim(-reach, reach)
    lower.set_ylabel("difference")
    layer_axis(lower, ids)
    main.set_ylabel("mean sparsity")
    main.set_ylim(0, 1.05)
    tell_empty(main, curves)
    _legend(main, evaluations)
    return figure


@_styled
def centres_and_widths(evaluations: Evaluations) -> Figure:
    """Per layer: spread of the centres of energy in x and y, mean centre in r, mean widths in x, y and r."""
    mesh = samples(evaluations)[0].detector.mesh
    without = np.setdiff1d(np.arange(mesh.n_layers), alpha_layers(mesh))
    figure, cells = grid(2, 3, 4.4, 3.8)
    small = [figure.add_subplot(cells[i]) for i in range(6)]
    for (quantity, direction), axes in zip(product(("centre", "width"), "xyr"), small, strict=True):
        rms = quantity == "centre" and direction != "r"
        for sample, look in zip(samples(evaluations), looks(evaluations), strict=True):
            values = getattr(sample, f"{quantity}_{direction}").astype(np.float64)
            mean, error = _mean(values**2 if rms else values)
            if rms:
                # An error of the rms from that of the mean square.
                mean, error = np.sqrt(mean), error / (2 * np.sqrt(np.maximum(mean, 1e-30)))
            if direction != "r":
                mean[without] = np.nan
            draw_step(axes, layer_edges(mesh.n_layers), mean, error, look)
        symbol = rf"\langle {direction}\rangle" if quantity == "centre" else rf"\sigma_{direction}"
        axes.set_ylabel(f"rms of ${symbol}$ [mm]" if rms else f"mean of ${symbol}$ [mm]")
        axes.set_ylim(0, None)
        layer_axis(axes, mesh.layer_ids)
        axes.minorticks_off()
    _legend(small[0], evaluations)
    return figure


@_styled
def separations(evaluations: Evaluations) -> Figure:
    """Separation power per layer of every layer observable, with the floor and the expectation by chance."""
    first = next(iter(evaluations.values()))
    names = [name for name in PER_LAYER if name in first.physics.separations]
    ids = samples(evaluations)[0].detector.mesh.layer_ids
    columns = 4
    rows = -(-len(names) // columns)
    figure, cells = grid(rows, columns, 3.5, 3.2, top=0.38)
    small = [figure.add_subplot(cells[i]) for i in range(rows * columns)]
    reference, *others = looks(evaluations)
    drawn = [(first.physics_floor, reference._replace(label="floor", name="floor"))]
    drawn += [(each.physics, look) for each, look in zip(evaluations.values(), others, strict=True)]
    for name, axes in zip(names, small, strict=False):
        for physics, look in drawn:
            separation = physics.separations[name]
            values = separation.layers or {}
            powers = np.array(list(values.values()), dtype=np.float64)
            places = [ids.index(layer) for layer in values]
            # A line alone would not show a single layer.
            marker = "." if len(places) < 10 else ""
            axes.plot(places, powers, look.line, color=look.colour, label=look.label, linewidth=1.3, marker=marker)
            axes.axhline(separation.expected, color=look.colour, linestyle=":", linewidth=1.0)
            layer = np.array(list(values), dtype=np.float64)
            note(Curve(axes, look.name, "values", powers, low=layer, high=layer, colour=look.colour))
        axes.set_title(observable_name(name))
        axes.set_ylim(0, None)
        layer_axis(axes, ids)
        axes.minorticks_off()
    _switch_off(small[len(names) :])
    for axes in small[::columns]:
        axes.set_ylabel("separation power")
    _legend(small[0], evaluations)
    return figure


PLOTS: tuple[Plot, ...] = (
    Plot("visible_fraction", "Visible fraction", "E_tot/E_inc over all incident energies.", visible_fraction),
    Plot("response", "Response", "Mean visible fraction against incident energy; blue: 1 % target.", response),
    Plot(
        "resolution",
        "Resolution",
        "Width of the visible fraction over its mean: standard deviation and half of the central 68 %; "
        "blue: 15 % target.",
        resolution,
    ),
    Plot("longitudinal_profile", "Longitudinal profile", "Mean energy against depth.", _longitudinal_profile),
    Plot("lateral_profile", "Lateral profile", "Mean energy against radius, summed over depth.", _lateral_profile),
    Plot("voxel_spectrum", "Voxel energies", "Number of voxels per shower against voxel energy.", voxel_spectrum),
    Plot("sparsity", "Sparsity", "Mean fraction of empty voxels per layer; blue: target of 0.02.", sparsity),
    Plot(
        "auc_by_showers",
        "What more showers show",
        "AUC of boosted trees against the number of showers of each sample; 0.5 is chance. Open squares are "
        "extrapolated, not measured.",
        _styled(trees.auc_by_showers),
        trees=True,
    ),
    Plot(
        "auc_by_group",
        "What the trees saw",
        "AUC of trees that see one group of observables and the incident energy: the highest bars are what to mend "
        "first.",
        _styled(trees.auc_by_group),
        trees=True,
    ),
    Plot(
        "visible_fraction_by_energy",
        "Visible fraction by energy",
        "E_tot/E_inc in the bins of incident energy in which response and resolution are judged.",
        visible_fraction_by_energy,
        wide=True,
    ),
    Plot("moments", "Shower moments", "First moment and width of depth and radius of each shower.", moments, wide=True),
    Plot("layer_energies", "Layer energies", "Energy of six layers through the shower.", layer_energies, wide=True),
    Plot(
        "centres_and_widths",
        "Centres and widths",
        "Per layer: spread of the centre of energy across showers, and mean widths; empty layers count as 0.",
        centres_and_widths,
        wide=True,
    ),
    Plot(
        "longitudinal_profile_by_energy",
        "Longitudinal profile by energy",
        "Mean energy against depth in the bins of incident energy.",
        _profile_by_energy(_longitudinal, log_y=True),
        wide=True,
        more=True,
    ),
    Plot(
        "lateral_profile_by_energy",
        "Lateral profile by energy",
        "Mean energy against radius in the bins of incident energy.",
        _profile_by_energy(_lateral, log_y=True),
        wide=True,
        more=True,
    ),
    *(
        Plot(f"{name}_linear", f"{title}, linear", caption, draw, wide=wide, more=True)
        for name, title, caption, draw, wide in (
            (
                "longitudinal_profile",
                "Longitudinal profile",
                "Mean energy against depth.",
                _mean_profile(_longitudinal, log_y=False),
                False,
            ),
            (
                "lateral_profile",
                "Lateral profile",
                "Mean energy against radius, summed over depth.",
                _mean_profile(_lateral, log_y=False),
                False,
            ),
            (
                "longitudinal_profile_by_energy",
                "Longitudinal profile by energy",
                "Mean energy against depth in the bins of incident energy.",
                _profile_by_energy(_longitudinal, log_y=False),
                True,
            ),
            (
                "lateral_profile_by_energy",
                "Lateral profile by energy",
                "Mean energy against radius in the bins of incident energy.",
                _profile_by_energy(_lateral, log_y=False),
                True,
            ),
        )
    ),
    Plot(
        "average_shower",
        "Average shower",
        "Mean energy per mm of radius over the mean incident energy [1/mm], and its ratio.",
        _styled(maps.average_shower),
        wide=True,
    ),
    Plot(
        "layer_correlations",
        "Correlations of layer energies",
        "Pearson correlation of layer energies over the whole sample.",
        _styled(maps.layer_correlations),
        wide=True,
    ),
    Plot(
        "separations",
        "Separation power per layer",
        "Of each layer observable; dotted: what two samples of one distribution have on average by chance.",
        separations,
        wide=True,
    ),
)
"""All plots of an evaluation's report in order."""
COMPARISON_PLOTS: tuple[Plot, ...] = (
    *(plot for plot in PLOTS if not (plot.wide or plot.more)),
    *(
        Plot(name, title, caption, _moment(name))
        for name, title, caption in (
            ("longitudinal_mean", "Depth of the shower", "First moment of the depth of each shower."),
            ("longitudinal_width", "Length of the shower", "Width of the depth of each shower."),
            ("lateral_width", "Width of the shower", "Width of the radius of each shower."),
        )
    ),
    *(plot for plot in PLOTS if (plot.wide or plot.more) and plot.draw is not moments),
)
"""All plots of a comparison of several samples in order."""
