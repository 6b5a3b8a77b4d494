"""Values and ranges of conditions in the units of users, for messages and summaries; without PyTorch."""

from __future__ import annotations

from fastv.conditions.table import CONDITIONS
from fastv.conditions.units import format_angle, format_energy, joined


def in_words(name: str, low: float, high: float | None = None, digits: int = 7) -> str:
    """A value or a range of a real-valued condition: energies in the fitting unit, angles in degrees and rad.

    Args:
        name: the condition.
        low, high: a value, or the ends of a range, in MeV, rad, or the unit of the condition.
        digits: most significant digits; rad have at most five.

    Example:
        >>> in_words("energy", 2e6), in_words("energy", 1e3, 1e6)
        ('2 TeV', '1 GeV to 1 TeV')
        >>> in_words("theta", 2.96706), in_words("theta", 0.785398, 1.5708, 4)
        ('170 deg (2.9671 rad)', '45 to 90 deg (0.7854 to 1.571 rad)')
    """
    unit, ends = CONDITIONS[name].unit, (low,) if high is None else (low, high)
    if unit == "MeV":
        return joined([format_energy(each, digits, space=" ") for each in ends])
    if unit == "rad":
        return format_angle(*ends, digits=digits)
    return f"{joined([f'{each:.{digits}g}' for each in ends])} {unit}"
