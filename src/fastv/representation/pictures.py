"""Pictures of scores, components and discriminants, in the style of reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fastv.detector.mesh import ReadoutMesh
from fastv.display.figure import save
from fastv.evaluation.report.style import (
    GENERATED_COLOUR,
    REFERENCE_COLOUR,
    TARGET_COLOUR,
    grid,
    new_figure,
    paper_style,
    plain_logarithms,
)
from fastv.representation.intrinsic_dimension import IntrinsicDimension

Array = NDArray[Any]

COLOURS = (TARGET_COLOUR, GENERATED_COLOUR, "#009e73", "#cc79a7", "#e69f00", REFERENCE_COLOUR)
"""Colours of classes, which colour-blind readers can tell apart."""
MOST_POINTS = 5000
"""Showers in a scatter."""
_SHOWN = 4
"""Components drawn as showers."""
_REACH = 2.0
"""Standard deviations by which a component is varied."""


def write_picture(path: Path, figure: Figure) -> None:
    """Write a figure as PNG."""
    save(figure, path, picture_format="png", dpi=110)


def score_picture(scores: Mapping[str, Array], energies: Array) -> Figure:
    """Each score against the incident energy."""
    rows = np.linspace(0, len(energies) - 1, min(MOST_POINTS, len(energies))).astype(int)
    with paper_style():
        figure, cells = grid(1, len(scores), 5.6, 4.6)
        for place, (name, values) in enumerate(scores.items()):
            axes = figure.add_subplot(cells[0, place])
            axes.plot(energies[rows] / 1000, values[rows], ".", color=TARGET_COLOUR, ms=2, alpha=0.6)
            _energies(axes, energies)
            axes.set_ylabel(name.replace("_", " "))
    return figure


def _energies(axes: Axes, energies: Array) -> None:
    axes.set_xscale("log")
    low, high = float(energies.min()) / 1000, float(energies.max()) / 1000
    axes.set_xlim(low / 1.1, high * 1.1)
    plain_logarithms(axes.xaxis)
    axes.set_xlabel("incident energy [GeV]")


def roc_picture(curves: Sequence[tuple[str, str, float, Array, Array]]) -> Figure:
    """ROC curves, a panel a score: (score, kind, AUC, false positives, true positives)."""
    names = list(dict.fromkeys(curve[0] for curve in curves))
    with paper_style():
        kinds = len({curve[1] for curve in curves})
        figure, cells = grid(1, len(names), 5.6, 5.0, top=0.3 + 0.22 * kinds)
        for place, name in enumerate(names):
            axes = figure.add_subplot(cells[0, place])
            of_score = [curve for curve in curves if curve[0] == name]
            for number, (_, kind, auc, false, true) in enumerate(of_score):
                colour = COLOURS[number % len(COLOURS)]
                line = ("-", "--", ":")[number // len(COLOURS) % 3]
                axes.plot(np.maximum(false, 1e-4), true, line, color=colour, label=f"{kind[:24]}: AUC {auc:.3f}")
            chance = np.geomspace(1e-4, 1, 50)
            axes.plot(chance, chance, ":", color=REFERENCE_COLOUR)
            axes.set_xscale("log")
            axes.set_xlim(5e-4, 1)
            axes.set_ylim(0, 1.02)
            axes.set_title(name.replace("_", " "))
            axes.set_xlabel("usual showers above the threshold")
            axes.set_ylabel("anomalies above the threshold")
            # Curves can be anywhere inside.
            axes.legend(fontsize=10, loc="lower left", bbox_to_anchor=(0, 1.07))
    return figure


def variance_picture(shares: Array) -> Figure:
    """The share of the variance of each component, and of all up to it."""
    numbers = np.arange(1, len(shares) + 1)
    with paper_style():
        figure, cells = grid(1, 1, 6.4, 4.6)
        axes = figure.add_subplot(cells[0, 0])
        axes.plot(numbers, shares, "o-", color=TARGET_COLOUR, ms=4, label="component")
        axes.plot(numbers, np.cumsum(shares), "s-", color=GENERATED_COLOUR, ms=4, label="all up to it")
        axes.set_yscale("log")
        axes.set_ylim(top=1.3)
        axes.set_xlabel("principal component")
        axes.set_ylabel("share of the variance")
        axes.legend(loc="center right")
    return figure


def component_picture(mesh: ReadoutMesh, mean: Array, components: Array, deviations: Array, shares: Array) -> Figure:
    """The first components as showers: the mean shower, and those two standard deviations below and above it.

    Args:
        mesh: of the showers.
        mean, components: of the roots of E_v / E_inc, (V,) and (n, V).
        deviations: standard deviation of each score (n,).
        shares: of the variance (n,).
    """
    shown = min(_SHOWN, len(components))
    columns = 2 if mesh.is_regular else 1
    with paper_style():
        figure, cells = grid(shown, columns, 5.6, 3.9, top=0.3)
        for row in range(shown):
            step = _REACH * deviations[row] * components[row]
            low, middle, high = (np.clip(mean + sign * step, 0, None) ** 2 for sign in (-1, 0, 1))
            axes = figure.add_subplot(cells[row, 0])
            layers = np.arange(mesh.n_layers)
            for values, colour, label in (
                (middle, REFERENCE_COLOUR, "mean shower"),
                (high, GENERATED_COLOUR, f"+{_REACH:g} standard deviations"),
                (low, TARGET_COLOUR, f"-{_REACH:g} standard deviations"),
            ):
                profile = np.add.reduceat(values, mesh.layer_boundaries[:-1])
                axes.step(layers, profile, where="mid", color=colour, label=label)
            axes.set_title(f"component {row + 1}, {100 * shares[row]:.2g} % of the variance")
            axes.set_xlabel("layer")
            axes.set_ylabel(r"$E_\mathrm{layer}/E_\mathrm{inc}$")
            if row == 0:
                axes.legend(fontsize=10)
            if mesh.is_regular:
                _map(figure, figure.add_subplot(cells[row, 1]), mesh, components[row])
    return figure


def _map(figure: Figure, axes: Axes, mesh: ReadoutMesh, component: Array) -> None:
    """A component from the front: summed over layers, against alpha and r."""
    _, alpha, rings = mesh.shape
    edges = np.asarray(mesh.blocks[0].r_edges, dtype=float)
    front = component.reshape(-1, alpha, rings).sum(axis=0)
    reach = float(np.abs(front).max()) or 1.0
    angles = np.linspace(0, 360, alpha + 1)
    drawn = axes.pcolormesh(angles, edges, front.T / reach, cmap="RdBu_r", vmin=-1, vmax=1)
    axes.set_xlabel("alpha [deg]")
    axes.set_ylabel("r [mm]")
    axes.set_xticks(range(0, 361, 90))
    axes.set_title("component from the front")
    figure.colorbar(drawn, ax=axes, pad=0.02).set_label("sum over layers, relative")


def projection_picture(projections: Array, energies: Array) -> Figure:
    """Showers in the plane of the first components, and of the next, coloured by energy."""
    rows = np.linspace(0, len(energies) - 1, min(MOST_POINTS, len(energies))).astype(int)
    pairs = [(first, first + 1) for first in range(0, min(4, projections.shape[1] - 1), 2)]
    with paper_style():
        figure, cells = grid(1, max(1, len(pairs)), 5.8, 4.8)
        for place, (x, y) in enumerate(pairs or [(0, 0)]):
            axes = figure.add_subplot(cells[0, place])
            colours = np.log10(energies[rows] / 1000)
            drawn = axes.scatter(projections[rows, x], projections[rows, y], c=colours, s=3, cmap="viridis")
            axes.set_xlabel(f"component {x + 1}")
            axes.set_ylabel(f"component {y + 1}")
            figure.colorbar(drawn, ax=axes, pad=0.02).set_label("log10 incident energy / GeV")
    return figure


def class_picture(projections: Array, labels: Array, names: Sequence[str]) -> Figure:
    """Held-out showers on the discriminants: a histogram of one, or a scatter of the first two."""
    with paper_style():
        figure, cells = grid(1, 1, 6.4, 5.0)
        axes = figure.add_subplot(cells[0, 0])
        several = projections.shape[1] > 1
        low, high = np.quantile(projections[:, 0], (0.001, 0.999)).tolist()
        edges = np.linspace(low, high, 51)
        for number, name in enumerate(names):
            chosen, colour = projections[labels == number], COLOURS[number % len(COLOURS)]
            if several:
                chosen = chosen[: MOST_POINTS // len(names)]
                axes.plot(chosen[:, 0], chosen[:, 1], ".", ms=3, alpha=0.6, color=colour, label=name)
            else:
                counts, _ = np.histogram(chosen[:, 0], edges)
                axes.stairs(counts / max(1, len(chosen)), edges, color=colour, linewidth=1.6, label=name)
        axes.set_xlabel("discriminant 1" if several else "discriminant")
        axes.set_ylabel("discriminant 2" if several else "share of showers")
        axes.legend(markerscale=3 if several else 1)
    return figure


def loading_picture(loadings: Mapping[str, float]) -> Figure:
    """The features that are correlated most with the first discriminant."""
    names = list(loadings)[::-1]
    with paper_style():
        height = 1.0 + 0.3 * len(names)
        figure = new_figure(6.4, height)
        axes = figure.add_axes((0.3, 0.65 / height, 0.66, 1 - 0.8 / height))
        axes.barh(range(len(names)), [loadings[name] for name in names], color=TARGET_COLOUR, height=0.6)
        axes.set_yticks(range(len(names)), names, fontsize=10)
        axes.tick_params(axis="y", which="minor", left=False, right=False)
        axes.axvline(0, color=REFERENCE_COLOUR, linewidth=0.9)
        axes.set_xlim(-1, 1)
        axes.set_xlabel("correlation with the discriminant")
    return figure


def dimension_picture(
    names: Sequence[str], edges: Array, scales: Sequence[Sequence[Sequence[IntrinsicDimension]]]
) -> Figure:
    """Intrinsic dimensions of files against energy, and those in the middle bin against the number of showers.

    Args:
        names: of the files (F).
        edges: of the bins of energy (B + 1,) in MeV.
        scales: dimensions of each file and bin, of all showers first.
    """
    with paper_style():
        figure, cells = grid(1, 2, 5.6, 4.6, top=0.2 + 0.22 * len(names))
        against_energy, against_number = (figure.add_subplot(cells[0, column]) for column in range(2))
        middle = (len(edges) - 1) // 2
        for place, name in enumerate(names):
            style: dict[str, Any] = {
                "color": COLOURS[place % len(COLOURS)],
                "fmt": "os^vDP"[place % 6] + "-",
                "ms": 4,
                "capsize": 2,
            }
            # Side by side, so that equal ones are seen.
            shift = 1 + 0.02 * (place - (len(names) - 1) / 2)
            first = [bins[0] for bins in scales[place]]
            middles = np.sqrt(edges[:-1] * edges[1:]) / 1000
            values, errors = [each.value for each in first], [each.error for each in first]
            against_energy.errorbar(middles * shift, values, errors, label=name[:40], **style)
            some = scales[place][middle]
            numbers = np.array([each.points for each in some])
            values, errors = [each.value for each in some], [each.error for each in some]
            against_number.errorbar(numbers * shift, values, errors, **style)
        for axes, label in ((against_energy, "incident energy [GeV]"), (against_number, "showers")):
            axes.set_xscale("log")
            axes.set_xlabel(label)
            axes.set_ylabel("two-NN dimension")
        _energies(against_energy, edges)
        low, high = edges[middle : middle + 2] / 1000
        against_number.set_title(f"{low:.3g} to {high:.3g} GeV")
        plain_logarithms(against_number.xaxis)
        against_energy.legend(fontsize=10, loc="lower left", bbox_to_anchor=(0, 1.02))
    return figure
