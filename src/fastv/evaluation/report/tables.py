"""The tables of every figure by energy, layer and ring, as HTML."""

from __future__ import annotations

from html import escape

from fastv.evaluation.physics.comparison import MIN_SHARE, Compared, Comparison
from fastv.evaluation.report.html import html_table
from fastv.evaluation.result import Evaluation
from fastv.evaluation.statistics.measured import Measured


def tables(evaluation: Evaluation) -> str:
    """All tables of one evaluation."""
    own, floor = evaluation.comparison, evaluation.floor
    return (
        f"<h3>Response, mean visible fraction</h3>{_energy_table(own, floor, 'response')}"
        f"<h3>Resolution, standard deviation over mean</h3>{_energy_table(own, floor, 'resolution')}"
        f"<h3>Resolution, half of the central 68.27 % over mean</h3>{_energy_table(own, floor, 'resolution_68')}"
        f"<h3>Separation power</h3>{_separation_table(own, floor)}"
        f"<h3>Shower moments, mm</h3>{_moment_table(own, floor)}"
        f"<details><summary>Layers</summary>{_layer_table(own, floor)}</details>"
        f"<details><summary>Rings in r</summary>{_ring_table(own, floor)}</details>"
    )


def _measured(m: Measured, digits: int = 4) -> str:
    return f"{m.value:.{digits}f} ± {m.error:.{digits}f}"


def _ratio(c: Compared | None) -> str:
    return _measured(c.ratio) if c else ""


def _energy_table(own: Comparison, floor: Comparison, field: str) -> str:
    head = ["incident energy [GeV]", "showers", "reference", "generated", "ratio", "ratio, floor"]
    rows = []
    for mine, base in zip(own.energy_bins, floor.energy_bins, strict=True):
        energies = f"{mine.low / 1000:.3g} to {mine.high / 1000:.3g}"
        compared: Compared | None = getattr(mine, field)
        row = [energies, f"{mine.showers_reference} / {mine.showers_generated}"]
        if compared is None:
            rows.append([*row, escape(mine.skipped or ""), "", "", ""])
            continue
        numbers = (compared.reference, compared.generated, compared.ratio)
        rows.append([*row, *(_measured(m) for m in numbers), _ratio(getattr(base, field)) or "too few showers"])
    return html_table(head, rows)


def _separation_table(own: Comparison, floor: Comparison) -> str:
    head = ["observable", "generated", "by chance", "floor", "floor by chance", "worst layer"]
    rows = []
    for separation in own.separations:
        base = floor.separation(separation.observable)
        worst = "" if separation.worst_layer is None else f"{separation.worst_layer}: {separation.worst_value:.2g}"
        numbers = (separation.value, separation.expected, base.value, base.expected)
        rows.append([escape(separation.observable), *(f"{x:.2g}" for x in numbers), worst])
    return html_table(head, rows)


def _moment_table(own: Comparison, floor: Comparison) -> str:
    head = ["moment", "mean, reference", "ratio", "floor", "spread, reference", "ratio", "floor"]
    rows = []
    for mine, base in zip(own.moments, floor.moments, strict=True):
        rows.append(
            [
                mine.name,
                _measured(mine.mean.reference, 3),
                _ratio(mine.mean),
                _ratio(base.mean),
                _measured(mine.spread.reference, 3),
                _ratio(mine.spread),
                _ratio(base.spread),
            ]
        )
    return html_table(head, rows)


def _layer_table(own: Comparison, floor: Comparison) -> str:
    head = ["layer", "share of energy", "energy ratio", "floor", "sparsity, reference", "difference", "floor"]
    rows = []
    for mine, base in zip(own.layers, floor.layers, strict=True):
        share = f"{100 * mine.share:.2f} %"
        rows.append(
            [
                str(mine.layer),
                f"<b>{share}</b>" if mine.share > MIN_SHARE else share,
                _ratio(mine.energy),
                _ratio(base.energy),
                f"{mine.sparsity_reference:.4f}",
                _measured(mine.sparsity_difference),
                _measured(base.sparsity_difference),
            ]
        )
    return html_table(head, rows)


def _ring_table(own: Comparison, floor: Comparison) -> str:
    rows = [
        [
            f"{mine.r_low_mm:g} to {mine.r_high_mm:g}",
            f"{100 * mine.share:.2f} %",
            _ratio(mine.energy),
            _ratio(base.energy),
        ]
        for mine, base in zip(own.rings, floor.rings, strict=True)
    ]
    return html_table(["r [mm]", "share of energy", "energy ratio", "floor"], rows)
