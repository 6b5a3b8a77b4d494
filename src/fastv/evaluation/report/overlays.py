"""Plots of several generators over one reference, with their ratios to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fastv.detector.mesh import ReadoutMesh
from fastv.evaluation.observables.histograms import histogram
from fastv.evaluation.observables.observe import Observables, ring_edges
from fastv.evaluation.report.plots import curves_of
from fastv.evaluation.report.style import REFERENCE_COLOUR, band, panels, paper_style, ratio_axis
from fastv.evaluation.result import Evaluation

F64 = NDArray[np.float64]
Evaluations = Mapping[str, Evaluation]

COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#882255", "#999933")
"""Colours that colour-blind readers can tell apart, one a generator; then the lines change their style."""


@dataclass(frozen=True)
class Overlay:
    """One plot of several generators."""

    name: str
    title: str
    caption: str
    draw: Callable[[Evaluations], Figure]


Curve = tuple[F64, F64]
"""Values and errors."""


@dataclass(frozen=True)
class _Curves:
    """The curve of the reference, and those of the generators in their order."""

    reference: Curve
    generated: tuple[Curve, ...]


def _of_samples(evaluations: Evaluations, curve: Callable[[Observables], Curve]) -> _Curves:
    reference = next(iter(evaluations.values())).reference_observables
    return _Curves(curve(reference), tuple(curve(each.generated_observables) for each in evaluations.values()))


def _of_comparison(evaluations: Evaluations, name: str, widths: F64) -> _Curves:
    """Of a comparison that every evaluation holds, over the widths of its places."""
    found = [curves_of(each, name, len(widths)) / widths for each in evaluations.values()]
    return _Curves((found[0][0, 0], found[0][0, 1]), tuple((own[1, 0], own[1, 1]) for own in found))


def _overlay(
    evaluations: Evaluations,
    curves: _Curves,
    edges: F64,
    x_label: str,
    y_label: str,
    *,
    log_x: bool = False,
    log_y: bool = False,
) -> Figure:
    """Stepped curves, a band of the reference's error, and ratios."""
    with paper_style():
        figure, axes = panels()
        main, lower = axes[0, 0]
        base, error = curves.reference
        main.stairs(base, edges, fill=True, color=REFERENCE_COLOUR, alpha=0.12, linewidth=0)
        main.stairs(base, edges, color=REFERENCE_COLOUR, linewidth=1.6, label="Reference")
        known = base > 0
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = np.where(known, error / base, 0.0)
        band(lower, edges, 1 - relative, 1 + relative, REFERENCE_COLOUR)
        ratios, errors = [], []
        for i, (name, (values, own)) in enumerate(zip(evaluations, curves.generated, strict=True)):
            style = {"color": COLOURS[i % len(COLOURS)], "linestyle": ("-", "--", ":")[i // len(COLOURS) % 3]}
            main.stairs(values, edges, linewidth=1.4, label=name, **style)
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio, spread = values / base, own / base
            lower.stairs(np.where(known, ratio, np.nan), edges, linewidth=1.2, baseline=None, **style)
            used = known & (values > 0)
            ratios.append(ratio[used])
            errors.append(np.hypot(spread, relative)[used])
        ratio_axis(lower, np.concatenate(ratios), np.concatenate(errors))
        if log_x:
            main.set_xscale("log")
        if log_y and (base > 0).any():
            main.set_yscale("log")
            main.set_ylim(base[base > 0].min() / 3, base.max() * 5)
        else:
            main.set_ylim(0, 1.35 * float(base.max(initial=1e-30)))
        main.set_xlim(edges[0], edges[-1])
        main.set_ylabel(y_label)
        main.legend(fontsize=10)
        lower.set_xlabel(x_label)
    return figure


def _shares(values: NDArray[np.floating], edges: F64) -> Curve:
    counts = histogram(values, edges).values()
    total = max(1.0, float(counts.sum()))
    return counts / total, np.sqrt(counts) / total


def _central(evaluations: Evaluations, field: str, bins: int = 40) -> F64:
    values = getattr(next(iter(evaluations.values())).reference_observables, field)
    low, high = np.quantile(values, [0.002, 0.998])
    margin = 0.2 * (high - low) or 0.5
    return np.linspace(low - margin, high + margin, bins + 1)


def _distribution(field: str, label: str) -> Callable[[Evaluations], Figure]:
    def draw(evaluations: Evaluations) -> Figure:
        edges = _central(evaluations, field)
        curves = _of_samples(evaluations, lambda s: _shares(getattr(s, field), edges))
        return _overlay(evaluations, curves, edges, label, "share of showers")

    return draw


def longitudinal_profile(evaluations: Evaluations) -> Figure:
    """Mean energy of each layer over the incident energy."""
    edges = np.arange(_mesh(evaluations).n_layers + 1.0)
    return _overlay(
        evaluations,
        _of_comparison(evaluations, "layer energies", np.diff(edges)),
        edges,
        "layer",
        r"$\langle E_\mathrm{layer}/E_\mathrm{inc}\rangle$",
        log_y=True,
    )


def lateral_profile(evaluations: Evaluations) -> Figure:
    """Mean energy per radius over the incident energy."""
    edges = ring_edges(_mesh(evaluations))
    return _overlay(
        evaluations,
        _of_comparison(evaluations, "ring energies", np.diff(edges)),
        edges,
        "r [mm]",
        r"$\langle \mathrm{d}E/\mathrm{d}r/E_\mathrm{inc}\rangle$ [1/mm]",
        log_y=True,
    )


def _mesh(evaluations: Evaluations) -> ReadoutMesh:
    return next(iter(evaluations.values())).reference_observables.detector.mesh


def voxel_spectrum(evaluations: Evaluations) -> Figure:
    """Voxels a shower and decade of voxel energy."""
    edges = next(iter(evaluations.values())).reference_observables.voxel_edges
    decades = np.diff(np.log10(edges))

    def curve(sample: Observables) -> Curve:
        counts = sample.voxel_counts
        error = counts.std(axis=0, dtype=np.float64) / np.sqrt(len(sample))
        return counts.mean(axis=0, dtype=np.float64) / decades, error / decades

    curves = _of_samples(evaluations, curve)
    label = "voxels per shower and decade"
    return _overlay(evaluations, curves, edges, "voxel energy [MeV]", label, log_x=True, log_y=True)


def sparsity(evaluations: Evaluations) -> Figure:
    """Mean fraction of empty voxels in each layer."""
    edges = np.arange(_mesh(evaluations).n_layers + 1.0)
    curves = _of_comparison(evaluations, "sparsity", np.diff(edges))
    return _overlay(evaluations, curves, edges, "layer", "mean sparsity")


OVERLAYS: tuple[Overlay, ...] = (
    Overlay(
        "visible_fraction",
        "Visible fraction",
        "E_tot/E_inc over all incident energies.",
        _distribution("visible_fraction", r"$E_\mathrm{tot}/E_\mathrm{inc}$"),
    ),
    Overlay("longitudinal_profile", "Longitudinal profile", "Mean energy against layer.", longitudinal_profile),
    Overlay("lateral_profile", "Lateral profile", "Mean energy against radius.", lateral_profile),
    Overlay("voxel_spectrum", "Voxel energies", "Number of voxels against voxel energy.", voxel_spectrum),
    Overlay("sparsity", "Sparsity", "Mean fraction of empty voxels per layer.", sparsity),
    Overlay(
        "longitudinal_mean",
        "Depth of the shower",
        "First moment of the depth of each shower.",
        _distribution("longitudinal_mean", r"$\langle z\rangle$ [mm]"),
    ),
    Overlay(
        "longitudinal_width",
        "Length of the shower",
        "Width of the depth of each shower.",
        _distribution("longitudinal_width", r"$\sigma_z$ [mm]"),
    ),
    Overlay(
        "lateral_width",
        "Width of the shower",
        "Width of the radius of each shower.",
        _distribution("lateral_width", r"$\sigma_r$ [mm]"),
    ),
)
"""All plots of a comparison in order."""
