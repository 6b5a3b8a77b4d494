"""Tables of every comparison and of the separation powers, as HTML."""

from __future__ import annotations

from html import escape

from fastv.evaluation.physics.comparisons import Physics
from fastv.evaluation.report.html import html_table
from fastv.evaluation.report.words import measured, size
from fastv.evaluation.result import Evaluation
from fastv.evaluation.statistics.comparison import Comparison


def tables(evaluation: Evaluation) -> str:
    """All tables of one evaluation."""
    own, floor = evaluation.physics, evaluation.physics_floor
    parts = [
        f"<details><summary>{escape(each.title)}</summary>{comparison_table(each, floor[each.name])}</details>"
        for each in own.made
    ]
    return f"<h3>Separation power</h3>{_separation_table(own, floor)}<h3>Comparisons</h3>{''.join(parts)}"


def comparison_table(comparison: Comparison, floor: Comparison) -> str:
    """Every place of a comparison, and the floor there; its worst place below, since its bins may be wider."""
    head = [comparison.axis or "place", "reference", "generated", "difference", "deviations", "floor"]
    rows = []
    for each in comparison.differences:
        base = floor.at(each.where)
        rows.append(
            [
                escape(each.where),
                measured(each.reference),
                measured(each.generated),
                size(comparison, each),
                f"{each.pull:+.1f}" if each.judged else "too little to judge",
                "" if base is None else size(floor, base),
            ]
        )
    worst = floor.worst
    base_words = (
        escape(floor.skipped or "") if worst is None else f"at most {size(floor, worst)}, {escape(worst.where)}"
    )
    notes = "".join(f"<p>{escape(note)}</p>" for note in comparison.notes)
    return f"<p>{escape(comparison.definition)}</p>{html_table(head, rows)}{notes}<p>Floor: {base_words}.</p>"


def _separation_table(own: Physics, floor: Physics) -> str:
    head = ["observable", "generated", "by chance", "floor", "floor by chance", "worst layer"]
    rows = []
    for name, separation in own.separations.items():
        base = floor.separations[name]
        worst = "" if separation.worst_layer is None else f"{separation.worst_layer}: {separation.worst_value:.2g}"
        numbers = (separation.value, separation.expected, base.value, base.expected)
        rows.append([escape(name), *(f"{x:.2g}" for x in numbers), worst])
    return html_table(head, rows)
