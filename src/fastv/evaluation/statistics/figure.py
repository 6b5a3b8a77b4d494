"""The record that every physics figure gives: differences with errors, where they are, and how likely by chance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict

from fastv.evaluation.statistics.measured import Measured, pull, ratio, smallest_of, two_sided

SURE = 1e-3
"""Probability that chance alone makes any figure of two samples of one distribution stand out."""
_LISTED = 400
"""Differences that a figure lists at most; of more, those with the largest pulls."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Difference(_Record):
    """One quantity in both samples at one place.

    ``difference`` is generated over reference minus one in a relative figure, generated minus reference in any other,
    and ``pull`` its size in units of its error. ``low`` and ``high`` are the place on the figure's axis, where it has
    one.
    """

    where: str
    reference: Measured
    generated: Measured
    difference: Measured
    pull: float
    low: float | None = None
    high: float | None = None


class Figure(_Record):
    """One comparison of two samples, of one or many quantities.

    ``compared`` differences were looked at; ``differences`` lists them in the order of the axis, or of many those with
    the largest pulls. ``p_value`` is the probability that chance alone makes the largest pull of all of them as large.
    ``skipped`` gives the reason where nothing could be compared; ``notes`` tell what was left out or assumed.
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
        """The difference with the largest pull."""
        return max(self.differences, key=lambda d: abs(d.pull), default=None)

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
) -> Difference:
    """Compare one quantity of two samples.

    Args:
        where: the place, in words.
        reference, generated: the quantity in both, errors independent unless ``error`` is given.
        relative: generated/reference - 1 instead of generated - reference.
        error: error of the difference, where the samples are not independent.
        low, high: the place on the figure's axis.
        deviations: the pull, where a better one is known than difference over error.

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
    return Difference(
        where=where,
        reference=reference,
        generated=generated,
        difference=found,
        # In a ratio an empty sample has no error: the pull is that of the plain difference.
        pull=pull(change) if deviations is None else deviations,
        low=low,
        high=high,
    )


def figure(
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
) -> Figure:
    """A figure from its differences, with the p-value of the largest pull.

    Differences that are not defined (0/0) do not count; a figure without any is skipped.

    Args:
        name, title, definition, unit, relative, axis, notes: see :class:`Figure`.
        differences: what was found, or the largest of it.
        compared: how many were looked at, if more than are given.

    Example:
        >>> one, other = Measured(value=1.0, error=0.1), Measured(value=1.1, error=0.1)
        >>> found = figure("response", "Response", "mean of E_tot/E_inc", [difference("10 GeV", one, other)])
        >>> found.compared, round(found.p_value, 2)
        (1, 0.48)
    """
    given = [d for d in differences if not math.isnan(d.pull)]
    number = len(given) if compared is None else compared
    if len(given) > _LISTED:
        floor = sorted((abs(d.pull) for d in given), reverse=True)[_LISTED - 1]
        listed = [d for d in given if abs(d.pull) >= floor][:_LISTED]
    else:
        listed = given
    largest = max((abs(d.pull) for d in given), default=0.0)
    return Figure(
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


def skipped(name: str, title: str, definition: str, reason: str) -> Figure:
    """A figure that could not be made, and why.

    Example:
        >>> skipped("response", "Response", "mean of E_tot/E_inc", "no shower").words
        'Response: not compared: no shower'
    """
    return Figure(name=name, title=title, definition=definition, skipped=reason)
