"""One quantity of two samples at one or many places: differences with errors, pulls and a p-value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from fastv.evaluation.statistics.measured import ROUNDING, Measured, pull, ratio, smallest_of, two_sided

Status = Literal["agrees", "undecided", "differs", "not judged"]
"""The outcome of every judgement.

``agrees``: chance explains all differences, or they are within the target. ``undecided``: a difference that is real
but small, or that needs more showers to decide. ``differs``: a difference that matters. ``not judged``: no judgement
was possible.
"""
SURE = 1e-3
"""Upper limit of the probability that any comparison of two samples of one distribution stands out by chance."""
_LISTED = 400
"""Largest number of differences that a comparison lists, those with the largest pulls."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Difference(_Record):
    """One quantity in both samples at one place.

    ``difference`` is generated/reference - 1 in a relative comparison, otherwise generated - reference; ``pull`` is the
    difference in units of its error. ``low`` and ``high`` bound the place on the comparison's axis, if it has one. A
    place with too little energy is listed but not ``judged``.
    """

    where: str
    reference: Measured
    generated: Measured
    difference: Measured
    pull: float
    low: float | None = None
    high: float | None = None
    judged: bool = True


class Comparison(_Record):
    """One quantity of two samples, at one or many places.

    ``compared`` is the number of differences judged; ``differences`` lists them in the order of the axis, only those
    with the largest pulls if there are many. ``p_value`` is the probability that chance alone makes the largest of all
    these pulls at least as large. ``skipped`` gives the reason if nothing could be compared; ``notes`` state what was
    left out or assumed.
    """

    name: str
    title: str
    definition: str
    unit: str = ""
    relative: bool = False
    axis: str = ""
    compared: int = 0
    differences: tuple[Difference, ...] = ()
    p_value: float | None = None
    skipped: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def worst(self) -> Difference | None:
        """The judged difference with the largest absolute pull, None if there is none."""
        return max((d for d in self.differences if d.judged), key=lambda d: abs(d.pull), default=None)

    def at(self, where: str) -> Difference | None:
        """The difference at the place of this name, None if it is not listed."""
        return next((d for d in self.differences if d.where == where), None)

    @property
    def words(self) -> str:
        """The worst difference in a sentence."""
        worst = self.worst
        if worst is None:
            return f"{self.title}: not compared: {self.skipped or 'nothing to compare'}"
        size = f"{100 * worst.difference.value:+.3g} %" if self.relative else f"{worst.difference.value:+.3g}"
        unit = f" {self.unit}" if self.unit and not self.relative else ""
        values = f"{worst.generated.value:.4g} against {worst.reference.value:.4g}"
        values += f" {self.unit}" if self.unit and self.relative else ""
        return f"{self.title}: {worst.where}: {size}{unit} ({values}, {abs(worst.pull):.1f} standard deviations)"


def difference(
    where: str,
    reference: Measured,
    generated: Measured,
    *,
    relative: bool = False,
    error: float | None = None,
    low: float | None = None,
    high: float | None = None,
    deviations: float | None = None,
    judged: bool = True,
) -> Difference:
    """Compare one quantity of two samples. A difference of less than 1e-6 of both values is rounding: its pull is 0.

    Args:
        where: the place, in words.
        reference, generated: the quantity in both samples; errors are independent unless ``error`` is given.
        relative: compute generated/reference - 1 instead of generated - reference.
        error: error of the difference, if the samples are not independent.
        low, high: bounds of the place on the comparison's axis.
        deviations: the pull, if a better one than difference over error is known.
        judged: whether the difference counts or is only listed.

    Example:
        >>> a, b = Measured(value=2.0, error=0.03), Measured(value=2.1, error=0.04)
        >>> round(difference("layer 3", a, b).pull, 3)
        2.0
    """
    change = Measured(value=generated.value - reference.value, error=math.hypot(reference.error, generated.error))
    found = change
    if relative and reference.value == 0 != generated.value:
        found = Measured(value=math.copysign(math.inf, generated.value), error=math.inf)
    elif relative:
        found = ratio(generated, reference) - 1
    if error is not None:
        found = change = Measured(value=found.value, error=error)
    if abs(generated.value - reference.value) <= ROUNDING * max(abs(generated.value), abs(reference.value)):
        change = Measured(value=0.0, error=change.error)
    return Difference(
        where=where,
        reference=reference,
        generated=generated,
        difference=found,
        # The ratio to an empty sample has no useful error, so the pull is that of the absolute difference.
        pull=pull(change) if deviations is None else deviations,
        low=low,
        high=high,
        judged=judged,
    )


def compare(
    name: str,
    title: str,
    definition: str,
    differences: Iterable[Difference],
    *,
    unit: str = "",
    relative: bool = False,
    axis: str = "",
    compared: int | None = None,
    notes: Sequence[str] = (),
) -> Comparison:
    """A comparison from its differences, with the p-value of the largest pull.

    Differences with a pull of NaN are left out; without any judged difference the comparison is skipped.

    Args:
        name, title, definition, unit, relative, axis, notes: see :class:`Comparison`.
        differences: all differences, or those with the largest pulls.
        compared: number of places examined, if more than are given.

    Example:
        >>> one, other = Measured(value=1.0, error=0.1), Measured(value=1.1, error=0.1)
        >>> found = compare("response", "Response", "mean of E_tot/E_inc", [difference("10 GeV", one, other)])
        >>> found.compared, round(found.p_value, 2)
        (1, 0.48)
    """
    listed = [d for d in differences if not math.isnan(d.pull)]
    given = [d for d in listed if d.judged]
    number = len(given) if compared is None else compared
    if len(given) > _LISTED:
        floor = sorted((abs(d.pull) for d in given), reverse=True)[_LISTED - 1]
        listed = [d for d in given if abs(d.pull) >= floor][:_LISTED]
    largest = max((abs(d.pull) for d in given), default=0.0)
    return Comparison(
        name=name,
        title=title,
        definition=definition,
        unit=unit,
        relative=relative,
        axis=axis,
        compared=number,
        differences=tuple(listed),
        p_value=smallest_of(two_sided(largest), number) if given else None,
        skipped=None if given else "too few showers or no energy at every place",
        notes=tuple(notes),
    )


def skipped(name: str, title: str, definition: str, reason: str) -> Comparison:
    """A comparison that could not be made, with the reason.

    Example:
        >>> skipped("response", "Response", "mean of E_tot/E_inc", "no shower").words
        'Response: not compared: no shower'
    """
    return Comparison(name=name, title=title, definition=definition, skipped=reason)
