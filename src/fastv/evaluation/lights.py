"""The verdict at the top of a report: one line a question, with a traffic light."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from fastv.evaluation.statistics.chance import Chance
from fastv.evaluation.verdict import deviation_text

if TYPE_CHECKING:
    from fastv.evaluation.result import Evaluation

Light = Literal["green", "amber", "red", "grey"]

_LIKELY = 0.01
"""A p-value from which on chance is a good explanation."""
_UNLIKELY_PULL = 4.0
"""A pull from which on it is not: few labellings give no small p-value, however large the difference."""
_SMALL_AUC = 0.6
_SMALL_FACTOR = 5.0
"""A distance of up to so many times that of chance is small: published generators lie at 2 to 500 times."""


class Line(BaseModel):
    """One question and its answer.

    ``green``: no difference that chance does not explain, or within the target. ``amber``: a difference that is real
    but small, or that more showers must decide. ``red``: a difference that matters. ``grey``: could not be judged.
    """

    model_config = ConfigDict(frozen=True)

    question: str
    light: Light
    generated: str
    floor: str
    words: str


def lines(evaluation: Evaluation) -> tuple[Line, ...]:
    """All lines of an evaluation, in the order of a report."""
    return (*_targets(evaluation), *_physics(evaluation), *_metrics(evaluation), *_integrity(evaluation))


def overall(found: tuple[Line, ...]) -> tuple[Light, str]:
    """The light and the sentence that stand for all lines.

    Example:
        >>> line = Line(question="response", light="red", generated="+5 %", floor="+0.1 %", words="beyond the target")
        >>> overall((line,))
        ('red', 'Not a replacement for full simulation yet: response.')
    """
    red = [line.question for line in found if line.light == "red"]
    amber = [line.question for line in found if line.light == "amber"]
    if red:
        return "red", f"Not a replacement for full simulation yet: {', '.join(red)}."
    if amber:
        return "amber", f"Close to full simulation; small or undecided differences: {', '.join(amber)}."
    if any(line.light == "green" for line in found):
        return "green", "No difference from full simulation was found that these samples can show."
    return "grey", "Nothing could be judged."


def _targets(evaluation: Evaluation) -> Iterator[Line]:
    lights: dict[str, Light] = {"met": "green", "undecided": "amber", "missed": "red"}
    for verdict in evaluation.verdicts:
        where = f", {verdict.generated.where}" if verdict.generated else ""
        yield Line(
            question=verdict.figure,
            light=lights[verdict.judgement],
            generated=deviation_text(verdict, verdict.generated) + where,
            floor=deviation_text(verdict, verdict.floor),
            words=f"{verdict.judgement}: {verdict.words}",
        )


def _physics(evaluation: Evaluation) -> Iterator[Line]:
    physics, floor = evaluation.physics, evaluation.physics_floor
    if physics is None:
        return
    found = physics.standing_out
    made = sum(figure.p_value is not None for figure in physics.figures)
    words = "none differs by more than chance explains"
    if found:
        words = "; ".join(figure.words for figure in found[:3])
    yield Line(
        question="physics figures",
        light="amber" if found else ("green" if made else "grey"),
        generated=f"{len(found)} of {made} differ",
        floor=f"{len(floor.standing_out)} differ" if floor else "",
        words=words,
    )


def _metrics(evaluation: Evaluation) -> Iterator[Line]:
    metrics, floor = evaluation.metrics, evaluation.metrics_floor
    if metrics is None:
        return
    if metrics.fpd is not None:
        base = "" if floor is None or floor.fpd is None else f"{1e3 * floor.fpd.fpd.value:.3g}"
        yield _distance("FPD x 1e3", metrics.fpd.fpd.value, metrics.fpd.chance, base)
    if metrics.kpd is not None:
        base = "" if floor is None or floor.kpd is None else f"{1e3 * floor.kpd.kpd.value:.3g}"
        yield _distance("KPD x 1e3", metrics.kpd.kpd.value, metrics.kpd.chance, base)
    if metrics.boosted is not None:
        auc = metrics.boosted.auc
        likely = metrics.boosted.p_value > _LIKELY
        base = (
            ""
            if floor is None or floor.boosted is None
            else f"{floor.boosted.auc.value:.3f} ± {floor.boosted.auc.error:.3f}"
        )
        yield Line(
            question="gradient-boosted high-level AUC",
            light="green" if likely else ("amber" if auc.value < _SMALL_AUC else "red"),
            generated=f"{auc.value:.3f} ± {auc.error:.3f}",
            floor=base,
            words="trees cannot tell the samples apart" if likely else "trees tell the samples apart; 0.5 is chance",
        )
    for classifier in metrics.classifiers:
        auc = classifier.auc
        likely = classifier.p_value > _LIKELY
        yield Line(
            question=f"{classifier.classifier} AUC",
            light="green" if likely else ("amber" if auc.value < _SMALL_AUC else "red"),
            generated=f"{auc.value:.3f} ± {classifier.std:.3f}",
            floor=_classifier_floor(evaluation, classifier.classifier),
            words=f"reduced: {'; '.join(classifier.reduced)}" if classifier.reduced else "as in the CaloChallenge",
        )
    for name, reason in metrics.skipped.items():
        yield Line(question=name.upper(), light="grey", generated="not measured", floor="", words=reason)


def _classifier_floor(evaluation: Evaluation, name: str) -> str:
    floor = evaluation.metrics_floor
    same = [each for each in floor.classifiers if each.classifier == name] if floor else []
    return f"{same[0].auc.value:.3f} ± {same[0].std:.3f}" if same else ""


def _distance(question: str, value: float, chance: Chance | None, floor: str) -> Line:
    light: Light = "grey"
    words = "no chance level known"
    if chance is not None:
        near = chance.observed < _SMALL_FACTOR * max(chance.expected + 2 * chance.spread, 0.0)
        pull = math.inf if chance.pull is None else chance.pull
        likely = chance.p_value > _LIKELY and pull < _UNLIKELY_PULL
        light = "green" if likely else ("amber" if near else "red")
        ratio = f", {chance.observed / chance.expected:.3g} times" if chance.expected > 0 else ""
        words = (
            f"whole samples {1e3 * chance.observed:.3g}, by chance {1e3 * chance.expected:.3g} "
            f"± {1e3 * chance.spread:.2g}{ratio} (p = {chance.p_value:.2g}, pull {pull:.1f})"
        )
    return Line(question=question, light=light, generated=f"{1e3 * value:.4g}", floor=floor, words=words)


def _integrity(evaluation: Evaluation) -> Iterator[Line]:
    integrity = evaluation.integrity
    if integrity is None:
        return
    lights: dict[str, Light] = {"passed": "green", "suspicious": "amber", "failed": "red", "skipped": "grey"}
    faults = integrity.faults
    words = "; ".join(finding.words for finding in faults[:3]) or "no fault found"
    if not evaluation.trained_on:
        words += "; without the training file (--train) copies of training showers cannot be found"
    yield Line(
        question="integrity checks",
        light=lights[integrity.judgement],
        generated=f"{len(faults)} of {len(integrity.findings)} found something",
        floor="",
        words=words,
    )
