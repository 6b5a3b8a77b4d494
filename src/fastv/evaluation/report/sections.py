"""Parts of the report's page beyond the plots: the verdict, physics, metrics, integrity, reproduction; as HTML."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from html import escape

from fastv._version import __version__
from fastv.evaluation.metrics.classifier_records import ClassifierAuc
from fastv.evaluation.metrics.measure import Metrics
from fastv.evaluation.report import words
from fastv.evaluation.report.html import html_table
from fastv.evaluation.result import Evaluation, SampleInfo
from fastv.evaluation.statistics.chance import Chance
from fastv.evaluation.statistics.comparison import Comparison, Status
from fastv.evaluation.statistics.measured import Measured


def badge(status: Status) -> str:
    """A status in its colour, which the style of the page knows, with its word, so that it reads without colours."""
    return f'<span class="status {css_class(status)}">{status}</span>'


def css_class(status: Status) -> str:
    """The class of a status in the style of the page."""
    return status.replace(" ", "-")


def verdict(evaluation: Evaluation) -> str:
    """The verdict: one sentence, then a line a question."""
    found = evaluation.verdict
    rows = [
        [
            escape(line.question),
            badge(line.status),
            escape(words.found(line)),
            escape(words.floor(line)),
            f"<small>{escape(line.words)}</small>",
        ]
        for line in found.lines
    ]
    head = ["question", "", "generated", "floor", "in words"]
    sentence = f'<p class="verdict {css_class(found.status)}">{escape(found.words)}</p>'
    return sentence + html_table(head, rows, stacked=True)


def physics(evaluation: Evaluation) -> str:
    """All physics comparisons, those that differ most first."""
    found, floor = evaluation.physics, evaluation.physics_floor
    rows = []
    for each in sorted(found.comparisons.values(), key=_pull, reverse=True):
        base = floor[each.name]
        rows.append(
            [
                f"{escape(each.title)}<br><small>{escape(each.definition)}</small>",
                badge(found.status(each.name)),
                *_worst(each),
                "" if base.worst is None else escape(words.size(base, base.worst)),
            ]
        )
    head = ["comparison", "", "where most", "difference", "deviations", "floor, its most"]
    note = (
        "<p>Each line compares one quantity at many places and shows the place that differs most. Deviations are in "
        "units of the statistical error; a comparison is marked when chance gives so large a one in fewer than 1 of "
        "1000 evaluations. With many showers small differences are found too: look at their size.</p>"
    )
    return note + html_table(head, rows, numbers_from=2)


def _pull(comparison: Comparison) -> float:
    return -1.0 if comparison.worst is None else abs(comparison.worst.pull)


def _worst(comparison: Comparison) -> list[str]:
    worst = comparison.worst
    if worst is None:
        return [escape(comparison.skipped or "nothing to compare"), "", ""]
    difference = escape(words.size(comparison, worst))
    return [escape(worst.where), difference, f"{worst.pull:+.1f} of {comparison.compared}"]


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
    return [name, words.measured(value, 1e3), *by_chance, words.measured(floor, 1e3) if floor else ""]


def _auc(classifier: ClassifierAuc) -> str:
    return f"{classifier.auc.value:.4f} ± {classifier.std:.4f}"


def integrity(evaluation: Evaluation) -> str:
    """All integrity checks."""
    found = evaluation.integrity
    assert found is not None  # the section exists only then
    rows = [
        [
            escape(finding.check),
            badge(finding.status),
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
            '<p class="warning"><b>No training file.</b> Give it to the evaluation to see whether the '
            "model has memorised its training showers.</p>"
        )
    )
    return note + html_table(["check", "", "value", "floor", "p", "in words"], rows, stacked=True)


def reproduction(evaluation: Evaluation) -> str:
    """How to get the same numbers again: command, versions, digests, time."""
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
    for name, value in evaluation.options.items():
        words.append(f"--{name}")
        if isinstance(value, Mapping):
            words += [f"{key}={json.dumps(each)}" for key, each in value.items()]
        elif value is not True:
            words.append(str(value))
    return shlex.join(words)


def used_versions() -> dict[str, str]:
    """Versions of what computes the numbers."""
    from importlib.metadata import version
    from platform import python_version

    return {"Python": python_version(), **{name: version(name) for name in ("numpy", "scipy", "scikit-learn")}}


def _digest(info: SampleInfo) -> str:
    return info.sha256 or "not a file, or too large"
