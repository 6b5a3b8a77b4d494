"""Plots for a paper: each function takes an :class:`Evaluation` and returns a matplotlib ``Figure``.

No figure is registered with pyplot, so none has to be closed. Bands and bars are statistical errors, one standard
deviation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import mplhep
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fastv.detector.depth import radiation_lengths_per_mm
from fastv.evaluation.observables.histograms import PER_LAYER, histogram
from fastv.evaluation.observables.observe import Observables, alpha_layers, ring_edges
from fastv.evaluation.observables.shower_shape import depth_edges, depth_unit
from fastv.evaluation.physics.correlations import correlations
from fastv.evaluation.report.style import (
    GENERATED_COLOUR,
    REFERENCE_COLOUR,
    band,
    grid,
    panels,
    paper_style,
    ratio_axis,
)
from fastv.evaluation.result import Evaluation
from fastv.evaluation.verdict import TARGETS

F64 = NDArray[np.float64]
Draw = Callable[[Evaluation], Figure]


@dataclass(frozen=True)
class Plot:
    """One plot of the report; ``wide`` ones need the full width of the page."""

    name: str
    title: str
    caption: str
    draw: Draw
    wide: bool = False


def _styled(draw: Draw) -> Draw:
    @wraps(draw)
    def styled(evaluation: Evaluation) -> Figure:
        with paper_style():
            return draw(evaluation)

    return styled


def _labels(evaluation: Evaluation) -> tuple[str, str]:
    engine = str(evaluation.reference.provenance.get("engine", ""))
    return ("Geant4" if "Geant4" in engine else "Reference"), "Generated"


def _samples(evaluation: Evaluation) -> tuple[Observables, Observables]:
    return evaluation.reference_observables, evaluation.generated_observables


def _draw_pair(
    main: Axes,
    lower: Axes,
    edges: F64,
    values: tuple[F64, F64],
    errors: tuple[F64, F64],
    labels: tuple[str, str],
    *,
    log_y: bool = False,
) -> None:
    """Two stepped curves with error bands, and their ratio with the reference's band about 1."""
    a, b = values
    e, f = errors
    main.stairs(a, edges, fill=True, color=REFERENCE_COLOUR, alpha=0.12, linewidth=0)
    mplhep.histplot(a, edges, ax=main, histtype="step", color=REFERENCE_COLOUR, label=labels[0], yerr=False)
    band(main, edges, a - e, a + e, REFERENCE_COLOUR)
    mplhep.histplot(b, edges, ax=main, histtype="step", color=GENERATED_COLOUR, label=labels[1], yerr=False)
    band(main, edges, b - f, b + f, GENERATED_COLOUR)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio, own, base = b / a, f / a, e / a
    filled = (a > 0) & (b > 0)
    # A band of 100 % (one entry) only blackens the panel.
    known = (a > 0) & (base < 0.9)
    band(lower, edges, np.where(known, 1 - base, 1), np.where(known, 1 + base, 1), REFERENCE_COLOUR)
    middles = (
        (edges[1:] + edges[:-1]) / 2
        if np.isclose(edges[1] - edges[0], edges[-1] - edges[-2])
        else np.sqrt(edges[1:] * edges[:-1])
    )
    lower.errorbar(
        middles[filled], ratio[filled], own[filled], fmt="o", color=GENERATED_COLOUR, markersize=2.5, elinewidth=0.9
    )
    ratio_axis(lower, ratio[filled], np.hypot(own, base)[filled])
    positive = np.concatenate([a[a > 0], b[b > 0]])
    if log_y and positive.size:
        main.set_yscale("log")
        main.set_ylim(positive.min() / 2, positive.max() * 4)
    else:
        main.set_ylim(0, 1.3 * max(float(np.max(a + e)), float(np.max(b + f)), 1e-30))
    main.set_xlim(edges[0], edges[-1])


def _normalised(values: NDArray[np.floating], edges: F64) -> tuple[F64, F64]:
    """Shares of a histogram and their Poisson errors."""
    counts = histogram(values, edges).values()
    total = max(1.0, float(counts.sum()))
    return counts / total, np.sqrt(counts) / total


def _distribution(
    axes: tuple[Axes, Axes],
    samples: tuple[NDArray[np.floating], NDArray[np.floating]],
    edges: F64,
    labels: tuple[str, str],
    *,
    log_y: bool = False,
) -> None:
    (a, e), (b, f) = (_normalised(sample, edges) for sample in samples)
    _draw_pair(*axes, edges, (a, b), (e, f), labels, log_y=log_y)


def _coarse(samples: tuple[NDArray[np.floating], NDArray[np.floating]], bins: int = 40) -> F64:
    """Readable bins over the central 99.8 % of both samples."""
    both = np.concatenate(samples).astype(np.float64)
    low, high = np.quantile(both, [0.001, 0.999])
    margin = 0.1 * (high - low) or 0.5
    return np.linspace(low - margin, high + margin, bins + 1)


@_styled
def visible_fraction(evaluation: Evaluation) -> Figure:
    """Distribution of E_tot/E_inc over all energies, with ratio."""
    figure, axes = panels()
    main, lower = axes[0, 0]
    a, b = (sample.visible_fraction for sample in _samples(evaluation))
    _distribution((main, lower), (a, b), _coarse((a, b), 50), _labels(evaluation))
    main.set_ylabel("share of showers")
    main.legend()
    lower.set_xlabel(r"$E_\mathrm{tot}/E_\mathrm{inc}$")
    return figure


@_styled
def visible_fraction_by_energy(evaluation: Evaluation) -> Figure:
    """Distributions of E_tot/E_inc in each bin of incident energy."""
    bins = [(each.low or 0.0, each.high or 0.0) for each in evaluation.physics["response"].differences]
    columns = min(5, max(1, len(bins)))
    rows = max(1, -(-len(bins) // columns))
    figure, cells = grid(rows, columns, 3.0, 2.9, gap=0.3)
    small = [figure.add_subplot(cells[i]) for i in range(rows * columns)]
    samples = _samples(evaluation)
    for i, ((low, high), axes) in enumerate(zip(bins, small, strict=False)):
        inside = [
            sample.visible_fraction[(sample.incident_energies >= low) & (sample.incident_energies <= high)]
            for sample in samples
        ]
        if min(len(x) for x in inside) < 2:
            axes.set_axis_off()
            continue
        edges = _coarse((inside[0], inside[1]), 20)
        for values, colour, label in zip(
            inside, (REFERENCE_COLOUR, GENERATED_COLOUR), _labels(evaluation), strict=True
        ):
            share, error = _normalised(values, edges)
            mplhep.histplot(share, edges, ax=axes, histtype="step", color=colour, label=label, yerr=False)
            band(axes, edges, share - error, share + error, colour)
        axes.set_ylim(0, None)
        axes.minorticks_off()
        axes.set_yticks([])
        axes.set_title(f"{low / 1000:.3g} to {high / 1000:.3g} GeV", fontsize=12)
        if i == 0:
            axes.legend(fontsize=9, loc="upper right")
        if i % columns == 0:
            axes.set_ylabel("share of showers")
        if i >= len(bins) - columns:
            axes.set_xlabel(r"$E_\mathrm{tot}/E_\mathrm{inc}$")
    for axes in small[len(bins) :]:
        axes.set_axis_off()
    return figure


def _against_energy(
    evaluation: Evaluation, curves: list[tuple[str, str, str]], label: str, *, log_y: bool = False
) -> Figure:
    """Points of comparisons in bins of energy, as (comparison, marker, name), with ratio."""
    figure, axes = panels()
    main, lower = axes[0, 0]
    shifts = np.linspace(-0.03, 0.03, len(curves)) if len(curves) > 1 else [0.0]
    ratios: list[float] = []
    errors: list[float] = []
    for (comparison, marker, name), shift in zip(curves, shifts, strict=True):
        found = evaluation.physics[comparison].differences
        x = np.array([math.sqrt((each.low or 1.0) * (each.high or 1.0)) for each in found]) / 1000 * np.exp(shift)
        for side, colour, who in zip(
            ("reference", "generated"), (REFERENCE_COLOUR, GENERATED_COLOUR), _labels(evaluation), strict=True
        ):
            points = [getattr(each, side) for each in found]
            main.errorbar(
                x,
                [p.value for p in points],
                [p.error for p in points],
                fmt=marker,
                color=colour,
                markersize=5,
                markerfacecolor=colour if marker == "o" else "white",
                label=f"{who}{name}",
            )
        own, spread = [1 + each.difference.value for each in found], [each.difference.error for each in found]
        lower.errorbar(
            x,
            own,
            spread,
            fmt=marker,
            color=GENERATED_COLOUR,
            markersize=5,
            markerfacecolor=GENERATED_COLOUR if marker == "o" else "white",
        )
        ratios += own
        errors += spread
    main.set_xscale("log")
    if log_y:
        main.set_yscale("log")
    main.set_ylabel(label)
    main.legend(ncols=len(curves), fontsize=11)
    lower.set_xlabel(r"$E_\mathrm{inc}$ [GeV]")
    if ratios:
        ratio_axis(lower, np.array(ratios), np.array(errors), most=5.0)
    return figure


@_styled
def response(evaluation: Evaluation) -> Figure:
    """Mean visible fraction in bins of incident energy, with the target of 1 % in the ratio."""
    figure = _against_energy(evaluation, [("response", "o", "")], r"$\langle E_\mathrm{tot}/E_\mathrm{inc}\rangle$")
    _target(figure, TARGETS["response"])
    return figure


@_styled
def resolution(evaluation: Evaluation) -> Figure:
    """Resolution of the visible fraction in bins of incident energy, std/mean and the central 68.27 %."""
    curves = [
        ("resolution, std/mean", "o", ", std/mean"),
        ("resolution, central 68 %", "s", r", $\sigma_{68}$/mean"),
    ]
    figure = _against_energy(evaluation, curves, "relative resolution", log_y=True)
    _target(figure, TARGETS["resolution, std/mean"])
    return figure


def _target(figure: Figure, target: float) -> None:
    """Shade the allowed deviation in the ratio panel."""
    lower = figure.axes[0]  # the ratio panel is made first
    lower.axhspan(1 - target, 1 + target, color="#0072b2", alpha=0.12, linewidth=0)
    low, high = lower.get_ylim()
    lower.set_ylim(min(low, 1 - 1.3 * target), max(high, 1 + 1.3 * target))


def curves_of(evaluation: Evaluation, name: str, places: int) -> NDArray[np.float64]:
    """Values and errors of reference and generated sample at every place of a comparison, (sample, 2, places).

    Zeros where the comparison could not be made.
    """
    found = evaluation.physics[name].differences
    if not found:
        return np.zeros((2, 2, places))
    sides = [[each.reference for each in found], [each.generated for each in found]]
    return np.array([[[m.value for m in side], [m.error for m in side]] for side in sides])


def _profile(evaluation: Evaluation, name: str, edges: F64, *, top_axis: bool = False) -> tuple[Figure, Axes, Axes]:
    figure, axes = panels(top=0.7 if top_axis else 0.38)
    main, lower = axes[0, 0]
    values, errors = (curves_of(evaluation, name, len(edges) - 1) / np.diff(edges)).transpose(1, 0, 2)
    _draw_pair(main, lower, edges, (values[0], values[1]), (errors[0], errors[1]), _labels(evaluation), log_y=True)
    main.legend()
    return figure, main, lower


def _times(factor: float) -> Callable[[Any], Any]:
    return lambda values: factor * values


@_styled
def longitudinal_profile(evaluation: Evaluation) -> Figure:
    """Mean energy per depth over the incident energy, with depth in radiation lengths on top where it is known."""
    detector = evaluation.reference_observables.detector
    known = depth_unit(detector.mesh) == "mm"
    per_mm = radiation_lengths_per_mm(detector) if known else None
    figure, main, lower = _profile(
        evaluation, "layer energies", depth_edges(detector.mesh), top_axis=per_mm is not None
    )
    unit = "mm" if known else "layer"
    main.set_ylabel(rf"$\langle \mathrm{{d}}E/\mathrm{{d}}z/E_\mathrm{{inc}}\rangle$ [1/{unit}]")
    lower.set_xlabel("depth [mm]" if known else "layer")
    if per_mm is not None:
        top = main.secondary_xaxis("top", functions=(_times(per_mm), _times(1 / per_mm)))
        main.tick_params(top=False, which="both")
        top.set_xlabel(r"depth [$X_0$]")
    return figure


@_styled
def lateral_profile(evaluation: Evaluation) -> Figure:
    """Mean energy per radius, summed over depth, over the incident energy."""
    edges = ring_edges(evaluation.reference_observables.detector.mesh)
    figure, main, lower = _profile(evaluation, "ring energies", edges)
    main.set_ylabel(r"$\langle \mathrm{d}E/\mathrm{d}r/E_\mathrm{inc}\rangle$ [1/mm]")
    lower.set_xlabel("r [mm]")
    return figure


@_styled
def moments(evaluation: Evaluation) -> Figure:
    """First moments and widths of depth and radius, shower by shower."""
    figure, axes = panels(2, 2, width=5.4, height=4.6)
    depth = depth_unit(evaluation.reference_observables.detector.mesh)
    names = [
        ("longitudinal_mean", rf"$\langle z\rangle$ [{depth}]"),
        ("longitudinal_width", rf"$\sigma_z$ [{depth}]"),
        ("lateral_mean", r"$\langle r\rangle$ [mm]"),
        ("lateral_width", r"$\sigma_r$ [mm]"),
    ]
    for (field, label), (main, lower) in zip(names, axes.reshape(4, 2), strict=True):
        a, b = (getattr(sample, field) for sample in _samples(evaluation))
        _distribution((main, lower), (a, b), _coarse((a, b)), _labels(evaluation))
        main.set_ylabel("share of showers")
        lower.set_xlabel(label)
    axes[0, 0, 0].legend()
    return figure


@_styled
def layer_energies(evaluation: Evaluation) -> Figure:
    """Distributions of the energy in six layers, evenly spaced where the shower has its energy."""
    ids = evaluation.reference_observables.detector.mesh.layer_ids
    energies = curves_of(evaluation, "layer energies", len(ids))[0, 0]
    holding = np.flatnonzero(energies > 1e-3 * energies.sum()).tolist() or [0]
    chosen = sorted({holding[round(j)] for j in np.linspace(0, len(holding) - 1, 6)})
    columns = min(3, len(chosen))
    rows = -(-len(chosen) // columns)
    figure, axes = panels(rows, columns, width=4.8, height=4.4)
    a, b = _samples(evaluation)
    for layer, (main, lower) in zip(chosen, axes.reshape(-1, 2), strict=False):
        edges = evaluation.edges.per_layer["layer energy"][layer]
        assert edges is not None  # every layer has an energy
        _distribution(
            (main, lower), (a.layer_energies[:, layer], b.layer_energies[:, layer]), edges, _labels(evaluation)
        )
        main.set_xscale("log")
        main.minorticks_off()
        shown = np.concatenate([s.layer_energies[:, layer] for s in (a, b)])
        lowest = float(np.quantile(shown[shown >= edges[0]], 0.002)) if (shown >= edges[0]).any() else edges[0]
        main.set_xlim(max(edges[0], lowest), edges[-1])
        main.set_title(f"layer {ids[layer]}")
        lower.set_xlabel(r"$E_\mathrm{layer}$ [MeV]")
    for main, lower in axes.reshape(-1, 2)[len(chosen) :]:
        main.set_axis_off()
        lower.set_axis_off()
    for row in axes:
        row[0][0].set_ylabel("share of showers")
    axes[0, 0, 0].legend(loc="upper left")
    return figure


@_styled
def sparsity(evaluation: Evaluation) -> Figure:
    """Mean sparsity per layer and its difference, with the target of 0.02."""
    figure, axes = panels()
    main, lower = axes[0, 0]
    ids = evaluation.reference_observables.detector.mesh.layer_ids
    index = np.arange(len(ids))
    curves = curves_of(evaluation, "sparsity", len(ids))
    for (values, errors), colour, label in zip(
        curves, (REFERENCE_COLOUR, GENERATED_COLOUR), _labels(evaluation), strict=True
    ):
        main.plot(index, values, color=colour, label=label, drawstyle="steps-mid")
        main.fill_between(index, values - errors, values + errors, color=colour, alpha=0.25, step="mid", linewidth=0)
    differences, errors = curves[1, 0] - curves[0, 0], np.hypot(curves[0, 1], curves[1, 1])
    target = TARGETS["sparsity"]
    lower.errorbar(index, differences, errors, fmt="o", color=GENERATED_COLOUR, markersize=2.5, elinewidth=0.9)
    lower.axhline(0, color=REFERENCE_COLOUR, linewidth=0.9)
    lower.axhspan(-target, target, color="#0072b2", alpha=0.12, linewidth=0)
    reach = 1.2 * max(1.25 * target, float(np.max(np.abs(differences) + errors)))
    lower.set_ylim(-reach, reach)
    lower.set_ylabel("difference")
    _layer_axis(lower, list(ids))
    main.set_ylabel("mean sparsity")
    main.set_ylim(0, 1.05)
    main.legend()
    return figure


def _layer_axis(axes: Axes, ids: list[int]) -> None:
    axes.set_xlim(-0.5, len(ids) - 0.5)
    axes.set_xlabel("layer")
    if ids != list(range(len(ids))):
        axes.set_xticks(range(len(ids)), [str(layer) for layer in ids], minor=False)


@_styled
def voxel_spectrum(evaluation: Evaluation) -> Figure:
    """Mean number of voxels per shower and logarithmic bin of voxel energy."""
    figure, axes = panels()
    main, lower = axes[0, 0]
    samples = _samples(evaluation)
    edges = samples[0].voxel_edges
    decades = np.diff(np.log10(edges))
    values = [sample.voxel_counts.mean(axis=0) / decades for sample in samples]
    errors = [sample.voxel_counts.std(axis=0) / np.sqrt(len(sample)) / decades for sample in samples]
    _draw_pair(main, lower, edges, (values[0], values[1]), (errors[0], errors[1]), _labels(evaluation), log_y=True)
    main.set_xscale("log")
    main.set_ylabel("voxels per shower and decade")
    main.legend()
    lower.set_xlabel("voxel energy [MeV]")
    return figure


@_styled
def centres_and_widths(evaluation: Evaluation) -> Figure:
    """Per layer: spread of the centres of energy in x and y, mean centre in r, mean widths in x, y and r."""
    mesh = evaluation.reference_observables.detector.mesh
    planar = alpha_layers(mesh)
    every = np.arange(mesh.n_layers)
    quantities: list[tuple[str, str, bool]] = [
        ("centre_x", r"rms of $\langle x\rangle$ [mm]", True),
        ("centre_y", r"rms of $\langle y\rangle$ [mm]", True),
        ("centre_r", r"mean of $\langle r\rangle$ [mm]", False),
        ("width_x", r"mean $\sigma_x$ [mm]", False),
        ("width_y", r"mean $\sigma_y$ [mm]", False),
        ("width_r", r"mean $\sigma_r$ [mm]", False),
    ]
    figure, cells = grid(2, 3, 4.4, 3.8)
    small = [figure.add_subplot(cells[i]) for i in range(6)]
    for (field, label, rms), axes in zip(quantities, small, strict=True):
        layers = every if field.endswith("r") else planar
        for sample, colour, who in zip(
            _samples(evaluation), (REFERENCE_COLOUR, GENERATED_COLOUR), _labels(evaluation), strict=True
        ):
            values = getattr(sample, field)[:, layers].astype(np.float64)
            # An error of the rms from that of the mean square.
            mean = (values**2 if rms else values).mean(axis=0)
            error = (values**2 if rms else values).std(axis=0) / np.sqrt(len(sample))
            if rms:
                mean, error = np.sqrt(mean), error / (2 * np.sqrt(np.maximum(mean, 1e-30)))
            axes.plot(layers, mean, color=colour, label=who, drawstyle="steps-mid")
            axes.fill_between(layers, mean - error, mean + error, color=colour, alpha=0.3, step="mid", linewidth=0)
        axes.set_ylabel(label)
        axes.set_ylim(0, None)
        _layer_axis(axes, list(mesh.layer_ids))
        axes.minorticks_off()
    small[0].legend()
    return figure


def _maps() -> tuple[Figure, list[Axes], list[Axes]]:
    """Two maps that share a colour bar, and a third with its own: figure, panels, bars."""
    figure = Figure(figsize=(13.2, 4.4))
    cells = figure.add_gridspec(
        1, 6, width_ratios=[1, 1, 0.04, 0.24, 1, 0.04], left=0.055, right=0.955, bottom=0.14, top=0.91, wspace=0.07
    )
    first = figure.add_subplot(cells[0])
    panels = [first, *(figure.add_subplot(cells[i], sharex=first, sharey=first) for i in (1, 4))]
    panels[1].tick_params(labelleft=False)
    return figure, panels, [figure.add_subplot(cells[i]) for i in (2, 5)]


@_styled
def average_shower(evaluation: Evaluation) -> Figure:
    """Average shower as a map of layer and radius: both samples and their ratio."""
    samples = _samples(evaluation)
    mesh = samples[0].detector.mesh
    edges = ring_edges(mesh)
    layers = np.arange(mesh.n_layers + 1) - 0.5
    images = [
        (np.zeros((mesh.n_layers, len(edges) - 1)) if sample.image is None else sample.image)
        / (sample.incident_energies.mean() * np.diff(edges))
        for sample in samples
    ]
    top = max(float(images[0].max()), 1e-12)
    norm = LogNorm(top * 1e-6, top)
    figure, axes, bars = _maps()
    for image, panel, label in zip(images, axes[:2], _labels(evaluation), strict=True):
        drawn = panel.pcolormesh(layers, edges, image.T, norm=norm, cmap="viridis")
        panel.set_title(label)
    figure.colorbar(drawn, cax=bars[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(images[0] > 0, images[1] / images[0], np.nan)
    drawn = axes[2].pcolormesh(layers, edges, ratio.T, vmin=0.5, vmax=1.5, cmap="RdBu_r")
    axes[2].set_title("ratio")
    figure.colorbar(drawn, cax=bars[1], extend="both")
    axes[0].set_ylabel("r [mm]")
    for panel in axes:
        panel.tick_params(which="both", color="#888888")
        _layer_axis(panel, list(mesh.layer_ids))
    return figure


@_styled
def layer_correlations(evaluation: Evaluation) -> Figure:
    """Pearson correlation of the energies of all pairs of layers: both samples and their difference."""
    samples = _samples(evaluation)
    matrices = [correlations(sample.layer_energies).r for sample in samples]
    ids = list(samples[0].detector.mesh.layer_ids)
    layers = np.arange(len(ids) + 1) - 0.5
    figure, axes, bars = _maps()
    for matrix, panel, label in zip(matrices, axes[:2], _labels(evaluation), strict=True):
        drawn = panel.pcolormesh(layers, layers, matrix, vmin=-1, vmax=1, cmap="RdBu_r")
        panel.set_title(label)
    figure.colorbar(drawn, cax=bars[0])
    difference = matrices[1] - matrices[0]
    drawn = axes[2].pcolormesh(layers, layers, difference, vmin=-0.2, vmax=0.2, cmap="PuOr_r")
    axes[2].set_title("difference")
    figure.colorbar(drawn, cax=bars[1], extend="both")
    axes[0].set_ylabel("layer")
    for panel in axes:
        _layer_axis(panel, ids)
    return figure


@_styled
def separations(evaluation: Evaluation) -> Figure:
    """Separation power per layer of every layer observable, with the floor and the expectation by chance."""
    names = [name for name in PER_LAYER if name in evaluation.physics.separations]
    columns = 4
    rows = -(-len(names) // columns)
    figure, cells = grid(rows, columns, 3.5, 3.2)
    small = [figure.add_subplot(cells[i]) for i in range(rows * columns)]
    for name, axes in zip(names, small, strict=False):
        for physics, colour, label in (
            (evaluation.physics_floor, REFERENCE_COLOUR, "floor"),
            (evaluation.physics, GENERATED_COLOUR, _labels(evaluation)[1]),
        ):
            separation = physics.separations[name]
            values = separation.layers or {}
            axes.plot(list(values), list(values.values()), color=colour, label=label, linewidth=1.3)
            axes.axhline(separation.expected, color=colour, linestyle=":", linewidth=1.0)
        axes.set_title(name)
        axes.set_ylim(0, None)
        axes.set_xlabel("layer")
        axes.minorticks_off()
    for axes in small[len(names) :]:
        axes.set_axis_off()
    for axes in small[::columns]:
        axes.set_ylabel("separation power")
    small[0].legend()
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
    Plot("longitudinal_profile", "Longitudinal profile", "Mean energy against depth.", longitudinal_profile),
    Plot("lateral_profile", "Lateral profile", "Mean energy against radius, summed over depth.", lateral_profile),
    Plot("voxel_spectrum", "Voxel energies", "Number of voxels per shower against voxel energy.", voxel_spectrum),
    Plot("sparsity", "Sparsity", "Mean fraction of empty voxels per layer; blue: target of 0.02.", sparsity),
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
        "average_shower",
        "Average shower",
        "Mean energy per mm of radius over the mean incident energy [1/mm], and its ratio.",
        average_shower,
        wide=True,
    ),
    Plot(
        "layer_correlations",
        "Correlations of layer energies",
        "Pearson correlation of absolute layer energies over the whole sample.",
        layer_correlations,
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
"""All plots of the report in order."""
