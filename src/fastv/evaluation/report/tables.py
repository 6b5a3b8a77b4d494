"""The tables of a report, in plain text: a page, Markdown and a terminal show the same ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fastv.evaluation.metrics.boosted import BoostedAuc
from fastv.evaluation.metrics.classifier_records import ClassifierAuc
from fastv.evaluation.metrics.measure import Metrics
from fastv.evaluation.report import words
from fastv.evaluation.report.labels import observable_name
from fastv.evaluation.report.table import STATUS, Column, Table
from fastv.evaluation.result import Evaluation
from fastv.evaluation.statistics.chance import Chance
from fastv.evaluation.statistics.comparison import Comparison
from fastv.evaluation.statistics.measured import Measured
from fastv.evaluation.verdict import Verdict, of_each


def verdict(found: Verdict) -> Table:
    """A line a question."""
    columns = [
        Column("question"),
        STATUS,
        Column("generated", "number"),
        Column("floor", "number"),
        Column("in words", "words"),
    ]
    rows = [[line.question, line.status, words.found(line), words.floor(line), line.words] for line in found.lines]
    return Table(columns, rows, stacked=True)


def physics(evaluation: Evaluation, *, agreeing: bool | None = None) -> Table:
    """All physics comparisons, those that differ most first; or only those that agree, or that do not."""
    found, floor = evaluation.physics, evaluation.physics_floor
    columns = [
        Column("comparison"),
        STATUS,
        Column("where most"),
        Column("difference"),
        Column("deviations", "number"),
        Column("floor, its most"),
    ]
    rows = []
    for each in sorted(found.comparisons.values(), key=_pull, reverse=True):
        if agreeing not in (None, found.status(each.name) == "agrees"):
            continue
        base = floor[each.name]
        rows.append(
            [
                f"{each.title}\n{each.definition}",
                found.status(each.name),
                *_worst(each),
                "" if base.worst is None else words.size(base, base.worst),
            ]
        )
    return Table(columns, rows, stacked=True)


def _pull(comparison: Comparison) -> float:
    return -1.0 if comparison.worst is None else abs(comparison.worst.pull)


def _worst(comparison: Comparison) -> list[str]:
    worst = comparison.worst
    if worst is None:
        return [comparison.skipped or "nothing to compare", "", ""]
    return [worst.where, words.size(comparison, worst), f"{worst.pull:+.1f} of {comparison.compared}"]


def metrics(evaluation: Evaluation) -> Table:
    """FPD, KPD, PRDC and classifiers beside chance and floor."""
    found = evaluation.metrics or Metrics()
    notes = [each.note for each in (found.fpd, found.kpd) if each is not None and each.note]
    notes += [f"{name.upper()}: {reason}" for name, reason in found.skipped.items()]
    head = ["metric", "generated", "whole samples", "by chance", "p", "floor, Geant4 against Geant4"]
    rows = _metric_rows(found, evaluation.metrics_floor or Metrics())
    return Table.of_numbers(head, rows, notes=notes, stacked=True)


def _metric_rows(found: Metrics, floor: Metrics) -> Iterator[list[str]]:
    if found.fpd is not None:
        yield _distance("FPD x 1e3", found.fpd.fpd, found.fpd.chance, floor.fpd.fpd if floor.fpd else None)
    if found.kpd is not None:
        yield _distance("KPD x 1e3", found.kpd.kpd, found.kpd.chance, floor.kpd.kpd if floor.kpd else None)
    if found.prdc is not None:
        for name in ("precision", "recall", "density", "coverage"):
            by_chance = (found.prdc.chance or {}).get(name)
            yield [
                name,
                words.measured(getattr(found.prdc, name)),
                "",
                "" if by_chance is None else f"{by_chance.expected:.4g} ± {by_chance.spread:.2g}",
                "" if by_chance is None else f"{by_chance.p_value:.2g}",
                words.measured(getattr(floor.prdc, name)) if floor.prdc else "",
            ]
    if found.boosted is not None:
        yield [
            "gradient-boosted high-level AUC (ours, not the challenge's)",
            words.measured(found.boosted.auc),
            "",
            "0.5",
            f"{found.boosted.p_value:.2g}",
            words.measured(floor.boosted.auc) if floor.boosted else "",
        ]
    for classifier in found.classifiers:
        base_of = [each for each in floor.classifiers if each.classifier == classifier.classifier]
        reduced = f"\nreduced: {'; '.join(classifier.reduced)}" if classifier.reduced else ""
        yield [
            f"{classifier.classifier} AUC{reduced}",
            _auc(classifier),
            "",
            "0.5",
            f"{classifier.p_value:.2g}",
            _auc(base_of[0]) if base_of else "",
        ]


def trees(evaluations: Mapping[str, Evaluation]) -> list[tuple[str, Table]]:
    """Titles and tables of boosted trees: the AUC by number of showers, and by group of observables; a column a sample.

    None if no trees were trained.
    """
    found = {
        name: each.metrics.boosted
        for name, each in evaluations.items()
        if each.metrics is not None and each.metrics.boosted is not None
    }
    floors = (each.metrics_floor.boosted for each in evaluations.values() if each.metrics_floor is not None)
    floor = next((each for each in floors if each is not None), None)
    if not found:
        return []
    columns = found if floor is None else {**found, "floor": floor}
    return [
        ("AUC of boosted trees by number of showers", _by_showers(columns)),
        ("AUC of boosted trees by group of observables", _by_group(columns)),
    ]


def _by_showers(columns: Mapping[str, BoostedAuc]) -> Table:
    cells: dict[int, dict[str, str]] = {}
    for name, each in columns.items():
        for point in each.growth.measured:
            cells.setdefault(point.showers, {})[name] = words.number(point.auc, "area")
        for point in each.growth.expected:
            cells.setdefault(point.showers, {})[name] = f"{words.number(point.auc, 'area')} (extrapolated)"
    rows = [[f"{size:,}", *(cells[size].get(name, "") for name in columns)] for size in sorted(cells)]
    notes = ["0.5 is chance. What is extrapolated was not measured."]
    notes += [
        f"{name}: no extrapolation to more showers, since {each.growth.reason}."
        for name, each in columns.items()
        if each.growth.reason and name != "floor"
    ]
    return Table.of_numbers(["showers of each", *columns], rows, notes=notes)


def _by_group(columns: Mapping[str, BoostedAuc]) -> Table:
    first = next(iter(columns.values()))
    rows = [["all observables", str(first.columns), *(words.number(each.auc, "area") for each in columns.values())]]
    for i, group in enumerate(first.groups):
        aucs = [words.number(each.groups[i].auc, "area") for each in columns.values()]
        rows.append([group.group, str(group.columns), *aucs])
    sizes = ", ".join(
        f"{name}: {of_each(each.showers_reference, each.showers_generated)}" for name, each in columns.items()
    )
    notes = [f"Each group with the incident energy. {sizes}."]
    return Table.of_numbers(["group", "columns", *columns], rows, notes=notes)


def _distance(name: str, value: Measured, chance: Chance | None, floor: Measured | None) -> list[str]:
    by_chance = ["", "", ""]
    if chance is not None:
        by_chance = [
            f"{1e3 * chance.observed:.4g}",
            f"{1e3 * chance.expected:.4g} ± {1e3 * chance.spread:.2g}",
            f"{chance.p_value:.2g}",
        ]
    return [name, words.measured(value, 1e3), *by_chance, words.measured(floor, 1e3) if floor else ""]


def _auc(classifier: ClassifierAuc) -> str:
    return f"{classifier.quoted.value:.4f} ± {classifier.quoted.error:.4f}"


def integrity(evaluation: Evaluation) -> Table:
    """All integrity checks."""
    numbers = [Column(name, "number") for name in ("value", "floor", "p")]
    rows = [
        [
            finding.check,
            finding.status,
            "" if finding.value is None else f"{finding.value:.4g}",
            "" if finding.floor is None else f"{finding.floor:.4g}",
            "" if finding.p_value is None else f"{finding.p_value:.2g}",
            finding.words,
        ]
        for finding in (evaluation.integrity.findings if evaluation.integrity is not None else ())
    ]
    return Table([Column("check"), STATUS, *numbers, Column("in words", "words")], rows, stacked=True)


def separations(evaluation: Evaluation) -> Table:
    """Separation powers of all observables."""
    head = ["observable", "generated", "by chance", "floor", "floor by chance", "worst layer"]
    rows = []
    for name, separation in evaluation.physics.separations.items():
        base = evaluation.physics_floor.separations[name]
        worst = "" if separation.worst_layer is None else f"{separation.worst_layer}: {separation.worst_value:.2g}"
        numbers = (separation.value, separation.expected, base.value, base.expected)
        rows.append([observable_name(name), *(f"{x:.2g}" for x in numbers), worst])
    return Table.of_numbers(head, rows)


def comparison(found: Comparison, floor: Comparison) -> Table:
    """Every place of a comparison, and the floor there; its worst place below, since its bins may be wider."""
    head = [found.axis or "place", "reference", "generated", "difference", "deviations", "floor"]
    rows = []
    for each in found.differences:
        base = floor.at(each.where)
        rows.append(
            [
                each.where,
                words.measured(each.reference),
                words.measured(each.generated),
                words.size(found, each),
                f"{each.pull:+.1f}" if each.judged else "too little to judge",
                "" if base is None else words.size(floor, base),
            ]
        )
    worst = floor.worst
    base_words = floor.skipped or "" if worst is None else f"at most {words.size(floor, worst)}, {worst.where}"
    return Table.of_numbers(head, rows, notes=[*found.notes, f"Floor: {base_words}."])


def files(evaluation: Evaluation) -> Table:
    """The two samples and the digests of their files."""
    columns = [Column("sample"), Column("file"), Column("showers"), Column("SHA-256", "code")]
    rows = [
        [role, info.source, str(info.showers), info.sha256 or "not a file, or too large"]
        for role, info in (("reference", evaluation.reference), ("generated", evaluation.generated))
    ]
    return Table(columns, rows)
