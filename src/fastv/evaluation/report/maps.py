"""Maps of the mean shower and of correlations: a row a sample, of reference, sample and their deviation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from fastv.evaluation.observables.observe import Observables, ring_edges
from fastv.evaluation.physics.correlations import correlations
from fastv.evaluation.report.curves import F64, Evaluations, looks, samples
from fastv.evaluation.report.numbers import Curve, note
from fastv.evaluation.report.style import LABEL_INCHES, new_figure


def layer_axis(axes: Axes, ids: Sequence[int], *, vertical: bool = False) -> None:
    """An axis of layers, with their numbers where these are not 0, 1, 2 ..."""
    limits, label, ticks = (
        (axes.set_ylim, axes.set_ylabel, axes.set_yticks)
        if vertical
        else (axes.set_xlim, axes.set_xlabel, axes.set_xticks)
    )
    limits(-0.5, len(ids) - 0.5)
    label("layer")
    if list(ids) != list(range(len(ids))):
        every = -(-len(ids) // 12)
        ticks(range(0, len(ids), every), [str(layer) for layer in ids[::every]], minor=False)


def layer_edges(layers: int) -> F64:
    """Edges about the indices of layers."""
    return np.arange(-0.5, layers)


def average_shower(evaluations: Evaluations) -> Figure:
    """Average shower as a map of layer and radius: both samples and their ratio."""
    edges = ring_edges(samples(evaluations)[0].detector.mesh)

    def image(sample: Observables) -> F64:
        image = np.zeros((sample.detector.mesh.n_layers, len(edges) - 1)) if sample.image is None else sample.image
        return np.asarray(image / (sample.incident_energies.mean() * np.diff(edges)))

    reference, *generated = (image(sample) for sample in samples(evaluations))
    ratios = [each / np.where(reference > 0, reference, np.nan) for each in generated]
    top = float(reference.max()) if reference.max() > 0 else 1e-12
    look = {"norm": LogNorm(top * 1e-6, top), "cmap": "viridis"}
    figure, first = _maps(
        evaluations,
        edges,
        [reference, *generated],
        look,
        ratios,
        {"vmin": 0.5, "vmax": 1.5, "cmap": "RdBu_r"},
        (r"$\langle \mathrm{d}E/\mathrm{d}r\rangle/\langle E_\mathrm{inc}\rangle$ [1/mm]", "ratio"),
    )
    for axes in first:
        axes.set_ylabel("r [mm]")
    return figure


def layer_correlations(evaluations: Evaluations) -> Figure:
    """Pearson correlation of the energies of all pairs of layers: both samples and their difference."""
    reference, *generated = (correlations(sample.layer_energies).r for sample in samples(evaluations))
    differences = [each - reference for each in generated]
    look = {"vmin": -1, "vmax": 1, "cmap": "RdBu_r"}
    figure, first = _maps(
        evaluations,
        layer_edges(len(reference)),
        [reference, *generated],
        look,
        differences,
        {"vmin": -0.2, "vmax": 0.2, "cmap": "PuOr_r"},
        ("correlation of layer energies", "difference"),
    )
    for axes in first:
        layer_axis(axes, samples(evaluations)[0].detector.mesh.layer_ids, vertical=True)
    return figure


def _maps(
    evaluations: Evaluations,
    edges: F64,
    images: list[F64],
    look: dict[str, Any],
    deviations: list[F64],
    deviating: dict[str, Any],
    titles: tuple[str, str],
) -> tuple[Figure, list[Axes]]:
    """Two maps that share a colour bar and one with its own, in a row a generated sample; and the first axes."""
    ids = samples(evaluations)[0].detector.mesh.layer_ids
    layers = layer_edges(len(ids))
    who = looks(evaluations)
    rows = len(deviations)
    height = 4.4 * rows + LABEL_INCHES
    figure = new_figure(13.2, height)
    cells = figure.add_gridspec(
        rows,
        6,
        width_ratios=[1, 1, 0.04, 0.24, 1, 0.04],
        left=0.055,
        right=0.955,
        bottom=0.62 / height,
        top=1 - (0.4 + LABEL_INCHES) / height,
        wspace=0.07,
        hspace=0.32,
    )
    left = []
    for row, (image, deviation, label) in enumerate(zip(images[1:], deviations, who[1:], strict=True)):
        first = figure.add_subplot(cells[row, 0])
        left.append(first)
        others = [figure.add_subplot(cells[row, column], sharex=first, sharey=first) for column in (1, 4)]
        others[0].tick_params(labelleft=False)
        for axes, values, how, named, what, bar in (
            (first, images[0], look, who[0], titles[0], None),
            (others[0], image, look, label, titles[0], 2),
            (others[1], deviation, deviating, label, titles[1], 5),
        ):
            drawn = axes.pcolormesh(layers, edges, values.T, **how)
            axes.set_title(titles[1] if how is deviating else named.label)
            axes.tick_params(which="both", color="#888888")
            layer_axis(axes, ids)
            note(Curve(axes, named.name, "map", values.T, edges=layers, edges_y=edges, title=what))
            if bar is not None:
                extend = "both" if how is deviating else "neither"
                figure.colorbar(drawn, cax=figure.add_subplot(cells[row, bar]), extend=extend)
    return figure, left
