"""The verdict on a sample: targets, physics, metrics and integrity checks, judged by the same four statuses."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict

from fastv.evaluation.integrity.checks import Integrity
from fastv.evaluation.integrity.limits import Unphysical
from fastv.evaluation.metrics.boosted import BoostedAuc
from fastv.evaluation.metrics.measure import Metrics
from fastv.evaluation.physics.comparisons import Physics
from fastv.evaluation.physics.profiles import MIN_SHARE
from fastv.evaluation.statistics.chance import Chance
from fastv.evaluation.statistics.comparison import Status
from fastv.evaluation.statistics.measured import Measured, allowance

Kind = Literal["target", "physics", "metric", "integrity"]
Unit = Literal["relative", "absolute", "separation power", "distance", "area", "count"]

SPECTRUM = "voxel spectrum"
TARGETS = {
    "response": 0.01,
    "resolution, std/mean": 0.15,
    "resolution, central 68 %": 0.15,
    "layer energies": 0.03,
    "sparsity": 0.02,
    SPECTRUM: 0.005,
}
"""Largest allowed deviations: the first four are relative, sparsity is absolute, the last is a separation power."""
AT_AN_ANGLE = {"alpha profile": 0.02}
"""The same for showers that do not enter at normal incidence, absolute."""

_LIKELY = 0.01
"""Chance is accepted as the explanation of p-values above this."""
_UNLIKELY_PULL = 4.0
"""Chance is rejected for pulls from here on, since p-values from few labellings are never very small."""
_SMALL_AUC = 0.6
MANY_SHOWERS = 10_000
"""Showers of each sample from which on an AUC is told without a word on larger samples."""
_SMALL_FACTOR = 5.0
"""A distance below this multiple of the chance level is small; published generators have 2 to 500 times."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Line(_Record):
    """One question and its answer, in numbers and in words.

    ``value`` is the result and ``floor`` the same for full simulation against itself. For a target they are the
    deviations farthest from zero, ``where`` is the place of the former and ``target`` the largest allowed deviation.
    For physics they count comparisons that stand out, for integrity checks those that found something. ``compared`` is
    the number of deviations, comparisons or checks. Each may be None.
    """

    question: str
    kind: Kind
    status: Status
    words: str
    unit: Unit
    value: Measured | None = None
    where: str = ""
    compared: int | None = None
    target: float | None = None
    p_value: float | None = None
    floor: Measured | None = None


class Verdict(_Record):
    """The judgement of a sample: overall status and sentence, and a line for each question.

    ``verdict[question]`` is the line of a question. ``showers_reference`` and ``showers_generated`` are the numbers of
    showers for which it holds, and stand in ``words``; larger samples show smaller differences. ``overlap`` tells what
    the reference has in common with the training showers: then no figure of quality is judged.
    """

    status: Status
    words: str
    lines: tuple[Line, ...]
    showers_reference: int | None = None
    showers_generated: int | None = None
    overlap: str = ""

    @property
    def targets(self) -> tuple[Line, ...]:
        """The lines of the targets."""
        return tuple(line for line in self.lines if line.kind == "target")

    def __getitem__(self, question: str) -> Line:
        return next(line for line in self.lines if line.question == question)


def judge(
    physics: Physics,
    physics_floor: Physics,
    metrics: Metrics | None = None,
    metrics_floor: Metrics | None = None,
    integrity: Integrity | None = None,
    *,
    unphysical: Unphysical | None = None,
    trained_on: str = "",
    overlap: str = "",
) -> Verdict:
    """Judge a sample by the results of its evaluation.

    Args:
        physics: generated sample against reference, at least with the comparisons in :data:`TARGETS`.
        physics_floor: full simulation against full simulation.
        metrics, metrics_floor: the same for the metrics, if they were computed.
        integrity: results of the integrity checks, if they were made.
        unphysical: numbers of unphysical showers, which come before everything else.
        trained_on: name of the training file, if it was given.
        overlap: what the reference has in common with the training showers, in words. Then targets, physics and metrics
            are not judged: on showers that it was trained on, a generator looks better than it is.
    """
    made = [name for name, comparison in physics.comparisons.items() if comparison.compared]
    targets = TARGETS | {name: target for name, target in AT_AN_ANGLE.items() if name in made}
    quality = [_target(name, target, physics, physics_floor) for name, target in targets.items()]
    quality.append(_physics(physics, physics_floor))
    if metrics is not None:
        quality += _metrics(metrics, metrics_floor or Metrics())
    if overlap:
        words = "the reference has showers that the generator was trained on"
        quality = [line.model_copy(update={"status": "not judged", "words": words}) for line in quality]
    lines = [] if unphysical is None else [_unphysical(unphysical)]
    lines += quality
    if integrity is not None:
        lines.append(_integrity(integrity, trained_on))
    return overall(lines, showers=(physics.showers_reference, physics.showers_generated), overlap=overlap)


def overall(lines: list[Line], *, showers: tuple[int, int] | None = None, overlap: str = "") -> Verdict:
    """The verdict with the worst status of all lines, in the order differs, undecided, agrees, not judged.

    A target that could not be judged leaves a sample undecided that would agree otherwise.

    Args:
        lines: the questions with their answers.
        showers: numbers of showers of the reference and the generated sample, for the sentence.
        overlap: what the reference has in common with the training showers, in words: then quality is not judged.

    Example:
        >>> line = Line(question="response", kind="target", status="differs", words="beyond", unit="relative")
        >>> overall([line]).words
        'Not a replacement for full simulation yet: response.'
        >>> overall([line], showers=(1400, 1400)).words
        'On 1,400 showers of each: not a replacement for full simulation yet: response.'
    """
    names: dict[str, list[str]] = {}
    for line in lines:
        names.setdefault(line.status, []).append(line.question)
    status: Status = "not judged"
    words = "Nothing could be judged."
    if "differs" in names:
        status, words = "differs", f"Not a replacement for full simulation yet: {', '.join(names['differs'])}."
    elif "undecided" in names:
        found = ", ".join(names["undecided"])
        status, words = "undecided", f"Close to full simulation; small or undecided differences: {found}."
    elif open_ := [line.question for line in lines if line.kind == "target" and line.status == "not judged"]:
        if len(names) > 1:
            status = "undecided"
            words = (
                f"No difference from full simulation was found, but not everything could be judged: {', '.join(open_)}."
            )
    elif "agrees" in names:
        status, words = "agrees", "These samples show no difference from full simulation."
    if overlap:
        faults = f" Faults that do not depend on it: {', '.join(names['differs'])}." if "differs" in names else ""
        status = "differs" if faults else "not judged"
        words = (
            f"Quality is not judged, because the reference has showers that the generator was trained on: {overlap}. "
            f"Take a reference that the training has not seen.{faults}"
        )
    elif showers is not None:
        words = f"On {of_each(*showers)}: {words[0].lower()}{words[1:]}"
    reference, generated = showers or (None, None)
    return Verdict(
        status=status,
        words=words,
        lines=tuple(lines),
        showers_reference=reference,
        showers_generated=generated,
        overlap=overlap,
    )


def of_each(reference: int, generated: int) -> str:
    """The sizes of two samples in words.

    Example:
        >>> of_each(10_000, 10_000), of_each(1400, 20_000)
        ('10,000 showers of each', '1,400 reference and 20,000 generated showers')
    """
    if reference == generated:
        return f"{reference:,} showers of each"
    return f"{reference:,} reference and {generated:,} generated showers"


Deviation = tuple[str, Measured]
"""A place, in words, and the deviation there."""


def deviations(physics: Physics, name: str) -> list[Deviation]:
    """The deviations that one target judges: all judged places; of layers only those with more than 1 % of the energy.

    Args:
        physics: the comparisons.
        name: name of the target, one of :data:`TARGETS` and :data:`AT_AN_ANGLE`.
    """
    if name == SPECTRUM:
        spectrum = physics.separations["voxel energy"]
        # Its expectation by chance serves as its error.
        found = Measured(value=spectrum.value, error=spectrum.expected)
        return [("all voxels", found)]
    judged = [each for each in physics[name].differences if each.judged]
    if name == "layer energies":
        least = MIN_SHARE * sum(each.reference.value for each in judged)
        judged = [each for each in judged if each.reference.value > least]
    return [(each.where, each.difference) for each in judged]


def _worst(found: list[Deviation]) -> Deviation | None:
    return max(found, key=lambda each: abs(each[1].value), default=None)


def _target(name: str, target: float, physics: Physics, physics_floor: Physics) -> Line:
    found = deviations(physics, name)
    worst, floor = _worst(found), _worst(deviations(physics_floor, name))
    status, words = _against_target(found, target)
    return Line(
        question=name,
        kind="target",
        status=status,
        words=words,
        unit="separation power" if name == SPECTRUM else ("relative" if physics[name].relative else "absolute"),
        value=worst[1] if worst else None,
        where=worst[0] if worst else "",
        compared=len(found),
        target=target,
        p_value=None if name == SPECTRUM else physics[name].p_value,
        floor=floor[1] if floor else None,
    )


def _against_target(found: list[Deviation], target: float) -> tuple[Status, str]:
    if not found:
        return "not judged", "every place has too few showers or no energy"
    beyond = [deviation for _, deviation in found if abs(deviation.value) > target]
    n, total = len(beyond), len(found)
    if not beyond:
        within = "within the target" if total == 1 else f"all {total} within the target"
        vague = sum(deviation.error > target for _, deviation in found)
        if vague:
            of = "its statistical error is" if total == 1 else f"the statistical errors of {vague} are"
            return "undecided", f"{within}, but {of} larger than the target: more showers are needed"
        return "agrees", within
    limit = allowance(total)
    # A deviation is infinite if the reference has nothing at its place.
    certain = sum(math.isinf(each.value) or abs(each.value) - target > limit * each.error for each in beyond)
    of = "" if total == 1 else f"{certain or n} of {total} "
    if certain:
        return "differs", f"{of}beyond the target, by more than chance explains"
    return "undecided", f"{of}beyond the target, within the statistical error: more showers are needed"


def _physics(physics: Physics, floor: Physics) -> Line:
    found, made = physics.standing_out, len(physics.made)
    words = "chance explains all differences" if made else "no comparison could be made"
    return Line(
        question="physics comparisons",
        kind="physics",
        status="undecided" if found else ("agrees" if made else "not judged"),
        words="; ".join(each.words for each in found[:3]) or words,
        unit="count",
        value=_count(len(found)),
        compared=made,
        floor=_count(len(floor.standing_out)),
    )


def _metrics(metrics: Metrics, floor: Metrics) -> Iterator[Line]:
    if metrics.fpd is not None:
        base = None if floor.fpd is None else floor.fpd.fpd
        yield distance("FPD", metrics.fpd.fpd, metrics.fpd.chance, base)
    if metrics.kpd is not None:
        base = None if floor.kpd is None else floor.kpd.kpd
        yield distance("KPD", metrics.kpd.kpd, metrics.kpd.chance, base)
    if metrics.boosted is not None:
        yield _area(
            "gradient-boosted high-level AUC",
            metrics.boosted.auc,
            metrics.boosted.p_value,
            None if floor.boosted is None else floor.boosted.auc,
            _trees(metrics.boosted),
        )
    floors = {each.classifier: each.quoted for each in floor.classifiers}
    for each in metrics.classifiers:
        yield _area(
            f"{each.classifier} AUC",
            each.quoted,
            each.p_value,
            floors.get(each.classifier),
            f"reduced: {'; '.join(each.reduced)}" if each.reduced else "as in the CaloChallenge",
        )
    for name, reason in metrics.skipped.items():
        yield Line(question=name.upper(), kind="metric", status="not judged", words=reason, unit="distance")


def _trees(found: BoostedAuc) -> str:
    """What the trees found, for which size, and what that says of larger samples."""
    sizes = found.showers_reference, found.showers_generated
    likely = found.p_value > _LIKELY
    words = f"trees {'cannot ' if likely else ''}distinguish {of_each(*sizes)}; 0.5 is chance"
    if min(sizes) >= MANY_SHOWERS:
        return words
    words += "; an AUC grows with the number of showers"
    if found.growth.expected:
        farthest = found.growth.expected[-1]
        return (
            f"{words}: with {farthest.showers:,} of each, {farthest.auc.value:.2f} ± {farthest.auc.error:.2f} is "
            "expected (extrapolated)"
        )
    return f"{words}, by how much cannot be told from these: {found.growth.reason}"


def _area(question: str, auc: Measured, p_value: float, floor: Measured | None, words: str) -> Line:
    status: Status = "agrees" if p_value > _LIKELY else ("undecided" if auc.value < _SMALL_AUC else "differs")
    return Line(
        question=question,
        kind="metric",
        status=status,
        words=words,
        unit="area",
        value=auc,
        p_value=p_value,
        floor=floor,
    )


def distance(question: str, value: Measured, chance: Chance | None, floor: Measured | None) -> Line:
    """The line of a distance between the samples, such as FPD.

    It agrees if chance explains the distance of the whole samples (p above 0.01 and pull below 4), is undecided below
    five times the chance level (mean plus two standard deviations for shuffled labels), and differs otherwise.

    Args:
        question: name of the distance.
        value: the distance.
        chance: the distance of the whole samples, compared with its values for shuffled labels.
        floor: the distance of full simulation against itself.
    """
    status: Status = "not judged"
    words = "the chance level is not known"
    if chance is not None:
        near = chance.observed < _SMALL_FACTOR * max(chance.expected + 2 * chance.spread, 0.0)
        pull = math.inf if chance.pull is None else chance.pull
        likely = chance.p_value > _LIKELY and pull < _UNLIKELY_PULL
        status = "agrees" if likely else ("undecided" if near else "differs")
        times = f"{chance.observed / chance.expected:.3g} times" if chance.expected > 0 else "above"
        words = (
            "chance explains the distance of the whole samples"
            if likely
            else f"the distance of the whole samples is {times} the chance level ({pull:.1f} standard deviations)"
        )
    return Line(
        question=question,
        kind="metric",
        status=status,
        words=words,
        unit="distance",
        value=value,
        p_value=None if chance is None else chance.p_value,
        floor=floor,
    )


def _unphysical(found: Unphysical) -> Line:
    return Line(
        question="unphysical showers",
        kind="integrity",
        status=found.status,
        words=found.words,
        unit="count",
        value=_count(found.number),
        compared=found.showers,
        floor=_count(found.reference_impossible),
    )


def _integrity(integrity: Integrity, trained_on: str) -> Line:
    faults = integrity.faults
    words = "; ".join(finding.words for finding in faults[:3]) or "no fault found"
    if not trained_on:
        words += "; copies of training showers cannot be found without the training file"
    return Line(
        question="integrity checks",
        kind="integrity",
        status=integrity.status,
        words=words,
        unit="count",
        value=_count(len(faults)),
        compared=len(integrity.findings),
    )


def _count(number: int) -> Measured:
    return Measured(value=number, error=0.0)
