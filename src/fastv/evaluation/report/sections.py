"""Parts of the report's page beyond the plots: the verdict, physics, metrics, integrity, reproduction; as HTML."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from html import escape

from fastv._version import __version__
from fastv.evaluation.integrity.findings import Judgement
from fastv.evaluation.lights import Light
from fastv.evaluation.metrics.classifier_records import ClassifierAuc
from fastv.evaluation.metrics.measure import Metrics
from fastv.evaluation.report.html import html_table
from fastv.evaluation.result import Evaluation, SampleInfo
from fastv.evaluation.statistics.chance import Chance
from fastv.evaluation.statistics.figure import Difference, Figure
from fastv.evaluation.statistics.measured import Measured

_WORDS: dict[Light, str] = {"green": "agrees", "amber": "look", "red": "differs", "grey": "not judged"}
_OF_JUDGEMENT: dict[Judgement, Light] = {"passed": "green", "suspicious": "amber", "failed": "red", "skipped": "grey"}


def light(colour: Light, word: str = "") -> str:
    """A traffic light with a word, so that it reads without colours too."""
    return f'<span class="light {colour}">{escape(word or _WORDS[colour])}</span>'


def verdict(evaluation: Evaluation) -> str:
    """The verdict: one sentence, then a line a question."""
    colour, sentence = evaluation.overall
    rows = [
        [
            escape(line.question),
            light(line.light),
            escape(line.generated),
            escape(line.floor),
            f"<small>{escape(line.words)}</small>",
        ]
        for line in evaluation.lines
    ]
    head = ["question", "", "generated", "floor", "in words"]
    return f'<p class="verdict {colour}">{escape(sentence)}</p>{html_table(head, rows, stacked=True)}'


def physics(evaluation: Evaluation) -> str:
    """All physics figures, those that differ first."""
    found, floor = evaluation.physics, evaluation.physics_floor
    assert found is not None  # the section exists only then
    differing = {figure.name for figure in found.standing_out}
    rows = []
    for figure in sorted(found.figures, key=_pull, reverse=True):
        base = next((each for each in floor.figures if each.name == figure.name), None) if floor else None
        colour: Light = "grey" if figure.p_value is None else ("amber" if figure.name in differing else "green")
        rows.append(
            [
                f"{escape(figure.title)}<br><small>{escape(figure.definition)}</small>",
                light(colour),
                *_worst(figure),
                "" if base is None or base.worst is None else f"{_size(base, base.worst)}",
            ]
        )
    head = ["figure", "", "where most", "difference", "deviations", "floor, its most"]
    note = (
        "<p>Each line compares one quantity at many places and shows the place that differs most. Deviations are in "
        "units of the statistical error; a figure is marked when chance gives so large a one in fewer than 1 of 1000 "
        "evaluations. With many showers small differences are found too: look at their size.</p>"
    )
    return note + html_table(head, rows, numbers_from=2)


def _pull(figure: Figure) -> float:
    return -1.0 if figure.worst is None else abs(figure.worst.pull)


def _worst(figure: Figure) -> list[str]:
    worst = figure.worst
    if worst is None:
        return [escape(figure.skipped or "nothing to compare"), "", ""]
    return [escape(worst.where), _size(figure, worst), f"{worst.pull:+.1f} of {figure.compared}"]


def _size(figure: Figure, difference: Difference) -> str:
    value, error = difference.difference.value, difference.difference.error
    if not math.isfinite(value):
        return "no value"
    if figure.relative:
        return f"{100 * value:+.2f} ± {100 * error:.2f} %"
    return f"{value:+.3g} ± {error:.2g}" + (f" {escape(figure.unit)}" if figure.unit else "")


def metrics(evaluation: Evaluation) -> str:
    """FPD, KPD, PRDC and classifiers beside chance and floor."""
    found, floor = evaluation.metrics, evaluation.metrics_floor
    assert found is not None  # the section exists only then
    rows = list(_metric_rows(found, floor or Metrics()))
    notes = [each.note for each in (found.fpd, found.kpd) if each is not None and each.note]
    notes += [f"{name.upper()}: {reason}" for name, reason in found.skipped.items()]
    told = "".join(f"<li>{escape(note)}</li>" for note in notes)
    head = ["metric", "generated", "whole samples", "by chance", "p", "floor, Geant4 against Geant4"]
    return html_table(head, rows) + (f"<ul>{told}</ul>" if told else "")


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
                measured(getattr(found.prdc, name)),
                "",
                "" if by_chance is None else f"{by_chance.expected:.4g} ± {by_chance.spread:.2g}",
                "" if by_chance is None else f"{by_chance.p_value:.2g}",
                measured(getattr(floor.prdc, name)) if floor.prdc else "",
            ]
    if found.boosted is not None:
        yield [
            "gradient-boosted high-level AUC (ours, not the challenge's)",
            measured(found.boosted.auc),
            "",
            "0.5",
            f"{found.boosted.p_value:.2g}",
            measured(floor.boosted.auc) if floor.boosted else "",
        ]
    for classifier in found.classifiers:
        base_of = [each for each in floor.classifiers if each.classifier == classifier.classifier]
        reduced = f"<br><small>reduced: {escape('; '.join(classifier.reduced))}</small>" if classifier.reduced else ""
        yield [
            f"{escape(classifier.classifier)} AUC{reduced}",
            _auc(classifier),
            "",
            "0.5",
            f"{classifier.p_value:.2g}",
            _auc(base_of[0]) if base_of else "",
        ]


def _distance(name: str, value: Measured, chance: Chance | None, floor: Measured | None) -> list[str]:
    by_chance = ["", "", ""]
    if chance is not None:
        by_chance = [
            f"{1e3 * chance.observed:.4g}",
            f"{1e3 * chance.expected:.4g} ± {1e3 * chance.spread:.2g}",
            f"{chance.p_value:.2g}",
        ]
    return [name, measured(value, 1e3), *by_chance, measured(floor, 1e3) if floor else ""]


def _auc(classifier: ClassifierAuc) -> str:
    return f"{classifier.auc.value:.4f} ± {classifier.std:.4f}"


def measured(value: Measured, factor: float = 1.0) -> str:
    """A value with its error."""
    return f"{factor * value.value:.4g} ± {factor * value.error:.2g}"


def integrity(evaluation: Evaluation) -> str:
    """All integrity checks."""
    found = evaluation.integrity
    assert found is not None  # the section exists only then
    rows = [
        [
            escape(finding.check),
            light(_OF_JUDGEMENT[finding.judgement], finding.judgement),
            "" if finding.value is None else f"{finding.value:.4g}",
            "" if finding.floor is None else f"{finding.floor:.4g}",
            "" if finding.p_value is None else f"{finding.p_value:.2g}",
            f"<small>{escape(finding.words)}</small>",
        ]
        for finding in found.findings
    ]
    note = (
        ""
        if evaluation.trained_on
        else (
            '<p class="warning"><b>No training file.</b> Give it with <code>--train FILE</code> to see whether the '
            "model has memorised its training showers.</p>"
        )
    )
    return note + html_table(["check", "", "value", "floor", "p", "in words"], rows, stacked=True)


def reproduction(evaluation: Evaluation) -> str:
    """How to get the same figures again: command, versions, digests, time."""
    command = reproducing_command(evaluation)
    versions = ", ".join(f"{name} {version}" for name, version in used_versions().items())
    rows = [
        [role, escape(info.source), str(info.showers), f"<code>{escape(_digest(info))}</code>"]
        for role, info in (("reference", evaluation.reference), ("generated", evaluation.generated))
    ]
    took = ", ".join(f"{part} {seconds:.1f} s" for part, seconds in evaluation.seconds.items())
    return (
        f"<pre>{escape(command)}</pre>"
        + html_table(["sample", "file", "showers", "SHA-256"], rows, numbers_from=3)
        + f"<p>FastV {escape(__version__)}, {escape(versions)}. Time: {escape(took)}.</p>"
    )


def reproducing_command(evaluation: Evaluation) -> str:
    """The command line that makes the same report."""
    words = ["fastv", "evaluate", evaluation.reference.source, evaluation.generated.source, "-o", "report"]
    if evaluation.trained_on:
        words += ["--train", evaluation.trained_on]
    words += evaluation.options
    return shlex.join(words)


def used_versions() -> dict[str, str]:
    """Versions of what computes the figures."""
    from importlib.metadata import version
    from platform import python_version

    return {"Python": python_version(), **{name: version(name) for name in ("numpy", "scipy", "scikit-learn")}}


def _digest(info: SampleInfo) -> str:
    return info.sha256 or "not a file, or too large"
