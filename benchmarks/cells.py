"""Accuracy of a model in cells of particle, energy and angle, beside Geant4 against itself; prints JSON.

    python benchmarks/cells.py MODEL_DIR judge.h5 floor.h5 [-n 4000] [--auc] [--plots DIR] [--table docs/models.md]

One shower is generated for each of the first ``n`` showers of the reference, with its conditions. The showers are
divided by particle and by ``--energies`` x ``--angles`` equal ranges of log E and of theta. In every cell are compared

* the mean visible fraction E_tot/E_inc,
* the resolution, half the central 68 % of it,
* the mean energy of each layer that has at least 1 % of the energy of the cell,
* the mean of cos(alpha) in these layers, the axis of the shower.

A quantity passes in a cell if no layer is further from Geant4 than the limit (the mean also if it is within its error).
It ``agrees`` if none is further beyond the limit than three of its errors. ``pull`` is the root of the mean square of
differences in units of their errors. The floor takes showers of ``floor.h5`` in place of generated ones, as many in
each cell as the reference has there, and tells how often Geant4 itself passes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pages import write_between

from fastv.conditions.particles import particle_name
from fastv.evaluation import evaluate
from fastv.evaluation.observables.observe import Observables, observe
from fastv.evaluation.report.style import GENERATED_COLOUR, REFERENCE_COLOUR, as_bytes, grid, paper_style
from fastv.model import Model, load
from fastv.showers import ShowersFile

F64 = NDArray[np.float64]
LEAST_SHARE = 0.01
"""Layers with less of the energy of a cell are not compared."""
LEAST_SHOWERS = 20
ERRORS = 3.0
"""Errors beyond the limit up to which a cell agrees."""


@dataclass(frozen=True)
class Cell:
    """Ranges of conditions: energies in MeV, angles in rad."""

    particle: int
    energies: tuple[float, float]
    angles: tuple[float, float]

    @property
    def name(self) -> str:
        (low, high), (least, most) = (np.array(self.energies) / 1e3).tolist(), np.degrees(self.angles).tolist()
        return f"{particle_name(self.particle)}, {low:.2g} to {high:.3g} GeV, {least:.0f} to {most:.0f}°"

    def rows(self, showers: Observables) -> NDArray[np.int64]:
        """The showers of this cell."""
        energy, theta, particle = (showers.conditions.get(name) for name in ("energy", "theta", "particle"))
        assert energy is not None
        assert theta is not None
        assert particle is not None
        inside = (energy >= self.energies[0]) & (energy < self.energies[1])
        return np.flatnonzero(
            inside & (theta >= self.angles[0]) & (theta < self.angles[1]) & (particle == self.particle)
        )


def cells_of(showers: Observables, energies: int, angles: int) -> list[Cell]:
    """Cells of each particle and equal ranges of log E and theta that hold all showers."""
    theta, particle = showers.theta, showers.conditions.particle
    assert theta is not None
    assert particle is not None
    above = 1 + 1e-9
    of_energy = np.geomspace(showers.incident_energies.min(), showers.incident_energies.max() * above, energies + 1)
    of_angle = np.linspace(theta.min(), theta.max() * above, angles + 1)
    ranges = product(np.unique(particle).tolist(), pairwise(of_energy.tolist()), pairwise(of_angle.tolist()))
    return [Cell(*each) for each in ranges]


@dataclass(frozen=True)
class Difference:
    """Differences of a quantity from the reference, one for each layer or a single one, and their errors."""

    values: F64
    errors: F64
    layers: NDArray[np.int64]
    limit: float
    or_error: bool = False

    def as_json(self) -> dict[str, Any]:
        """The worst difference, whether all are within the limit, and whether they may be but for their errors."""
        allowed = np.maximum(self.limit, self.errors) if self.or_error else np.full_like(self.errors, self.limit)
        worst = int(np.argmax(np.abs(self.values)))
        return {
            "value": float(self.values[worst]),
            "error": float(self.errors[worst]),
            "layer": int(self.layers[worst]) if len(self.layers) else None,
            "passes": bool(np.all(np.abs(self.values) <= allowed)),
            "pull": float(np.sqrt(np.mean((self.values / self.errors) ** 2))),
            "agrees": bool(np.all(np.abs(self.values) <= self.limit + ERRORS * self.errors)),
        }


def relative(reference: F64, other: F64) -> tuple[F64, F64]:
    """Relative difference of means over showers (N, ...) and (M, ...), and its error."""
    mean, its = reference.mean(0), other.mean(0)
    error = np.hypot(reference.std(0, ddof=1) / len(reference) ** 0.5, other.std(0, ddof=1) / len(other) ** 0.5)
    return np.atleast_1d(its / mean - 1), np.atleast_1d(error / np.abs(mean))


def half_width(values: F64) -> float:
    """Half of the central 68 % of values."""
    low, high = np.quantile(values, [0.16, 0.84])
    return float(high - low) / 2


def resolution(reference: F64, other: F64, samples: int = 200) -> tuple[F64, F64]:
    """Relative difference of the widths of values (N,) and (M,), and its error by the bootstrap."""
    rng = np.random.default_rng(0)
    drawn = [
        [half_width(rng.choice(values, len(values))) / half_width(values) for _ in range(samples)]
        for values in (reference, other)
    ]
    ratio = half_width(other) / half_width(reference)
    return np.array([ratio - 1]), np.array([ratio * np.hypot(np.std(drawn[0]), np.std(drawn[1]))])


def used_layers(reference: Observables) -> NDArray[np.int64]:
    """Layers with at least 1 % of the energy."""
    energies = reference.layer_energies.sum(0, dtype=np.float64)
    return np.flatnonzero(energies >= LEAST_SHARE * energies.sum())


def mean_fraction(reference: Observables, other: Observables) -> Difference:
    values = relative(reference.visible_fraction, other.visible_fraction)
    return Difference(*values, np.empty(0, np.int64), 0.01, or_error=True)


def fraction_width(reference: Observables, other: Observables) -> Difference:
    return Difference(*resolution(reference.visible_fraction, other.visible_fraction), np.empty(0, np.int64), 0.08)


def layer_means(reference: Observables, other: Observables) -> Difference:
    layers = used_layers(reference)
    of_both = [each.layer_energies[:, layers] / each.incident_energies[:, None] for each in (reference, other)]
    return Difference(*relative(*of_both), layers, 0.03)


def axis_means(showers: Observables) -> tuple[F64, F64]:
    """Mean cos(alpha) of each layer over the showers that have energy in it, and its error."""
    there = showers.layer_energies > 0
    n, cosine = there.sum(0).clip(1), showers.cos_alpha.astype(np.float64)
    mean = (cosine * there).sum(0) / n
    return mean, np.sqrt(((cosine - mean) ** 2 * there).sum(0)) / n


def axis(reference: Observables, other: Observables) -> Difference:
    layers = used_layers(reference)
    (mean, error), (its, its_error) = ([part[layers] for part in axis_means(each)] for each in (reference, other))
    return Difference(its - mean, np.hypot(error, its_error), layers, 0.03)


QUANTITIES: dict[str, Callable[[Observables, Observables], Difference]] = {
    "mean visible fraction": mean_fraction,
    "resolution": fraction_width,
    "layers": layer_means,
    "cos(alpha)": axis,
}


def compared(reference: Observables, other: Observables, cells: list[Cell], *, same: bool) -> Iterator[dict[str, Any]]:
    """Differences in each cell; with ``same`` only as many showers of ``other`` as the reference has in the cell."""
    for cell in cells:
        rows, its_rows = cell.rows(reference), cell.rows(other)
        its_rows = its_rows[: len(rows)] if same else its_rows
        if min(len(rows), len(its_rows)) < LEAST_SHOWERS:
            continue
        pair = reference[rows], other[its_rows]
        found = {name: make(*pair).as_json() for name, make in QUANTITIES.items()}
        yield {"cell": cell.name, "showers": [len(rows), len(its_rows)], **found}


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """For each quantity the worst of all cells, and how many pass and agree."""
    result: dict[str, Any] = {"cells": len(found)}
    for name in QUANTITIES:
        worst = max(found, key=lambda each: abs(each[name]["value"]))
        counts = {word: sum(each[name][word] for each in found) for word in ("passes", "agrees")}
        pull = float(np.sqrt(np.mean([each[name]["pull"] ** 2 for each in found])))
        result[name] = {"worst": {"cell": worst["cell"], **worst[name]}, **counts, "pull": pull}
    return result


def separation(reference: Path, generated: Path, floor: Path, n: int) -> dict[str, Any]:
    """AUC of boosted trees, of all observables and of groups, and Geant4 against Geant4."""
    found = evaluate(reference, generated, floor=floor, showers=n)
    assert found.metrics is not None
    assert found.metrics_floor is not None
    trees, of_floor = found.metrics.boosted, found.metrics_floor.boosted
    assert trees is not None
    assert of_floor is not None
    return {
        "showers": [trees.showers_reference, trees.showers_generated],
        "value": [trees.auc.value, trees.auc.error],
        "floor": [of_floor.auc.value, of_floor.auc.error],
        "groups": {each.group: [each.auc.value, each.auc.error] for each in trees.groups},
    }


def read(path: Path, n: int | None = None) -> Observables:
    """Observables of the first ``n`` showers of a file."""
    with ShowersFile(path) as file:
        return observe(file[: len(file) if n is None else min(n, len(file))])


PROFILES: dict[str, Callable[[Observables], tuple[F64, F64]]] = {
    "layer": lambda showers: _profile(showers.layer_energies),
    "ring": lambda showers: _profile(showers.ring_energies),
}


def _profile(energies: NDArray[np.float32]) -> tuple[F64, F64]:
    """Mean shares of layers or rings, and their errors."""
    shares = energies.astype(np.float64) / energies.sum(1, dtype=np.float64)[:, None].clip(1e-9)
    return shares.mean(0), shares.std(0) / len(shares) ** 0.5


def draw(reference: Observables, generated: Observables, degrees: list[tuple[float, float]]) -> bytes:
    """A picture: for ranges of angles profiles in layers and rings, and cos(alpha) of layers."""
    columns = [
        ("layer", "share of E_tot", PROFILES["layer"], "log"),
        ("ring", "share of E_tot", PROFILES["ring"], "log"),
        ("layer", "mean cos(alpha)", axis_means, "linear"),
    ]
    with paper_style():
        figure, places = grid(len(degrees), len(columns), 4.0, 2.6)
        for (row, (low, high)), (column, (across, up, profile, scale)) in product(
            enumerate(degrees), enumerate(columns)
        ):
            axes = figure.add_subplot(places[row, column])
            for showers, colour, label in (
                (reference, REFERENCE_COLOUR, "Geant4"),
                (generated, GENERATED_COLOUR, "model"),
            ):
                assert showers.theta is not None
                angles = np.degrees(showers.theta)
                mean, error = profile(showers[(angles >= low) & (angles <= high)])
                place = np.arange(len(mean))
                axes.stairs(mean, np.arange(len(mean) + 1) - 0.5, color=colour, label=label)
                axes.errorbar(place, mean, error, fmt="none", ecolor=colour, elinewidth=1)
            axes.set(xlabel=across, ylabel=up, yscale=scale, title=f"{low:.0f} to {high:.0f}°")
            if row == column == 0:
                axes.legend()
        return as_bytes(figure)


def table(result: dict[str, Any]) -> list[str]:
    """Lines of Markdown: the worst cell of each quantity, how many cells pass, and Geant4 against itself."""
    model, floor = result["summary"], result["floor summary"]
    lines = [
        "| quantity | limit | worst cell | there | pass | agree | pull | Geant4 against itself |",
        "|---" * 8 + "|",
    ]
    for name, limit in zip(QUANTITIES, ("1 % or its error", "8 %", "3 %", "0.03"), strict=True):
        mine, its = model[name], floor[name]
        percent = name != "cos(alpha)"
        value, error = (mine["worst"][key] * (100 if percent else 1) for key in ("value", "error"))
        there = f"{value:.1f} ± {error:.1f} %" if percent else f"{value:.3f} ± {error:.3f}"
        if mine["worst"]["layer"] is not None:
            there += f" in layer {mine['worst']['layer']}"
        cells = [f"{mine[word]} of {model['cells']}" for word in ("passes", "agrees")]
        of_floor = f"{its['passes']}, {its['agrees']} of {floor['cells']}, pull {its['pull']:.2f}"
        shown = [name, limit, mine["worst"]["cell"], there, *cells, f"{mine['pull']:.2f}", of_floor]
        lines.append("| " + " | ".join(shown) + " |")
    return lines


def measured(model: Model, options: argparse.Namespace) -> dict[str, Any]:
    """Generate and compare."""
    reference = read(options.reference, options.n)
    cells = cells_of(reference, options.energies, options.angles)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "generated.h5"
        model.generate_file(path, like=options.reference, n=len(reference), seed=1)
        generated = read(path)
        result: dict[str, Any] = {"showers": len(reference)}
        if options.auc:
            result["AUC"] = separation(options.reference, path, options.floor, len(reference))
    floor = read(options.floor)
    result["cells"] = list(compared(reference, generated, cells, same=False))
    result["floor"] = list(compared(reference, floor, cells, same=True))
    result["summary"], result["floor summary"] = summary(result["cells"]), summary(result["floor"])
    if options.plots:
        options.plots.mkdir(parents=True, exist_ok=True)
        degrees = [(low, high) for low, high in options.shown]
        (options.plots / "angles.png").write_bytes(draw(reference, generated, degrees))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("reference", type=Path, help="showers that the model was not trained on")
    parser.add_argument("floor", type=Path, help="other Geant4 showers, such as those of the training")
    parser.add_argument("-n", type=int, default=4000)
    parser.add_argument("--energies", type=int, default=3, help="ranges of energy")
    parser.add_argument("--angles", type=int, default=3, help="ranges of theta")
    parser.add_argument("--auc", action="store_true", help="also the AUC of boosted trees")
    parser.add_argument("--plots", type=Path, help="folder for a picture of profiles at three angles")
    parser.add_argument("--table", type=Path, help="write the table between the markers of this page")
    options = parser.parse_args()
    options.shown = [(45.0, 50.0), (62.0, 68.0), (85.0, 90.0)]
    result = measured(load(options.model), options)
    print(json.dumps(result, indent=1))
    if options.table:
        write_between(options.table, "cells", table(result))


if __name__ == "__main__":
    main()
