"""Numbers of a verdict and of comparisons as text: here they get their percent signs, and nowhere before."""

from __future__ import annotations

import math

from fastv.evaluation.statistics.comparison import Comparison, Difference
from fastv.evaluation.statistics.measured import Measured
from fastv.evaluation.verdict import Line, Unit


def number(value: Measured | None, unit: Unit) -> str:
    """A value with its error in its unit.

    Example:
        >>> number(Measured(value=0.012, error=0.001), "relative")
        '+1.20 ± 0.10 %'
    """
    if value is None:
        return ""
    if not math.isfinite(value.value):
        return "no value"
    if unit == "relative":
        return f"{100 * value.value:+.2f} ± {100 * value.error:.2f} %"
    if unit == "absolute":
        return f"{value.value:+.4f} ± {value.error:.4f}"
    if unit == "separation power":
        return f"{value.value:.3g} (chance {value.error:.1g})"
    if unit == "area":
        return f"{value.value:.3f} ± {value.error:.3f}"
    return f"{value.value:.0f}" if unit == "count" else measured(value)


def measured(value: Measured, factor: float = 1.0) -> str:
    """A value with its error."""
    if not math.isfinite(value.value):
        return "not measured"
    return f"{factor * value.value:.4g} ± {factor * value.error:.2g}"


def found(line: Line) -> str:
    """What was found, and where."""
    if line.value is None:
        return "not measured" if line.kind == "metric" else "none"
    if line.unit == "count":
        return f"{line.value.value:.0f} of {line.compared} differ"
    return number(line.value, line.unit) + (f", {line.where}" if line.where else "")


def floor(line: Line) -> str:
    """The same of full simulation against itself."""
    return number(line.floor, line.unit)


def size(comparison: Comparison, difference: Difference) -> str:
    """A difference with its error, in percent where the comparison is relative."""
    if comparison.relative or not math.isfinite(difference.difference.value):
        return number(difference.difference, "relative")
    text = f"{difference.difference.value:+.3g} ± {difference.difference.error:.2g}"
    return f"{text} {comparison.unit}".rstrip()
