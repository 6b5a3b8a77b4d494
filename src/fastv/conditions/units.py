"""Energies, angles and lengths as users write them: a number with its unit, a list, or a range.

Parsed energies are in MeV, angles in rad, lengths in mm. A text without a unit is an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from fastv.errors import SettingsError

ENERGY_UNITS = {"keV": -3, "MeV": 0, "GeV": 3, "TeV": 6}
"""Exponent of ten of each unit in MeV."""

ANGLE_UNITS = {"deg": math.pi / 180, "rad": 1.0}
"""Size of each unit in rad."""

LENGTH_UNITS = {"um": -3, "mm": 0, "cm": 1, "m": 3}
"""Exponent of ten of each unit in mm."""

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_QUANTITY = re.compile(rf"\s*({_NUMBER})\s*([A-Za-z]*)\s*", re.ASCII)


@dataclass(frozen=True)
class EnergySpec:
    """Incident energies: fixed values, or a range.

    Attributes:
        values: fixed values, or (low, high) of a range, in MeV.
        is_range: whether ``values`` are the ends of a range.

    Example:
        >>> spec = EnergySpec((1_000.0, 50_000.0), is_range=True)
        >>> spec.high, str(spec)
        (50000.0, '1GeV-50GeV')
    """

    values: tuple[float, ...]
    is_range: bool = False

    def __post_init__(self) -> None:
        _check_values(self.values, self.is_range, "energy")
        if min(self.values) <= 0:
            msg = f"an energy must be above zero, got {format_energy(min(self.values))}"
            raise SettingsError(msg)

    @property
    def low(self) -> float:
        """The lowest energy in MeV."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The highest energy in MeV."""
        return max(self.values)

    def __str__(self) -> str:
        return ("-" if self.is_range else ",").join(format_energy(value) for value in self.values)


@dataclass(frozen=True)
class AngleSpec:
    """Angles: fixed values, or a range.

    Attributes:
        values: fixed values, or (low, high) of a range, in rad.
        is_range: whether ``values`` are the ends of a range.

    Example:
        >>> str(AngleSpec((0.5, 1.5), is_range=True))
        '0.5rad-1.5rad'
    """

    values: tuple[float, ...]
    is_range: bool = False

    def __post_init__(self) -> None:
        _check_values(self.values, self.is_range, "angle")
        if max(map(abs, self.values)) > 2 * math.pi:
            msg = f"an angle must lie within a full turn (360 deg), got {format_angle(max(self.values, key=abs))}"
            raise SettingsError(msg)

    @property
    def low(self) -> float:
        """The lowest angle in rad."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The highest angle in rad."""
        return max(self.values)

    def __str__(self) -> str:
        return ("-" if self.is_range else ",").join(f"{value!r}rad" for value in self.values)


def parse_energy(text: str) -> float:
    """Parse one energy, in MeV.

    Raises:
        SettingsError: the text is not a number above zero with a unit keV, MeV, GeV or TeV.

    Example:
        >>> parse_energy("50GeV"), parse_energy("0.5 keV")
        (50000.0, 0.0005)
    """
    spec = parse_energy_spec(text)
    if len(spec.values) != 1:
        msg = f"energy {text!r}: one energy is needed here, as in 50GeV, not a list or a range"
        raise SettingsError(msg)
    return spec.values[0]


def parse_energy_spec(text: str) -> EnergySpec:
    """Parse one energy, a list or a range; a number without a unit has the unit that follows next.

    Raises:
        SettingsError: the text is none of these, the last unit is missing, a value is not above zero, or a range does
            not increase.

    Example:
        >>> parse_energy_spec("500MeV-1TeV")
        EnergySpec(values=(500.0, 1000000.0), is_range=True)
        >>> parse_energy_spec("10,50,100GeV").values
        (10000.0, 50000.0, 100000.0)
        >>> parse_energy_spec("50")
        Traceback (most recent call last):
        fastv.errors.SettingsError: energy '50' has no unit; write keV, MeV, GeV or TeV, as in 50GeV
    """
    quantities, is_range = _parse(text, "energy", tuple(ENERGY_UNITS), "50GeV, 10,50,100GeV or 1-1000GeV")
    values = tuple(_shifted(number, ENERGY_UNITS[unit]) for number, unit in quantities)
    try:
        return EnergySpec(values, is_range)
    except SettingsError as error:
        msg = f"energy {text!r}: {error}"
        raise SettingsError(msg) from None


def parse_angle(text: str) -> AngleSpec:
    """Parse one angle, a list or a range; a number without a unit has the unit that follows next.

    Raises:
        SettingsError: the text is none of these, the last unit is missing, a value exceeds a full turn, or a range does
            not increase.

    Example:
        >>> parse_angle("1.2rad").values
        (1.2,)
        >>> spec = parse_angle("60-90deg")
        >>> round(spec.low, 4), round(spec.high, 4)
        (1.0472, 1.5708)
    """
    quantities, is_range = _parse(text, "angle", tuple(ANGLE_UNITS), "90deg, 1.2rad, 60,90deg or 60-90deg")
    values = tuple(float(number) * ANGLE_UNITS[unit] for number, unit in quantities)
    try:
        return AngleSpec(values, is_range)
    except SettingsError as error:
        msg = f"angle {text!r}: {error}"
        raise SettingsError(msg) from None


def parse_length(text: str) -> float:
    """Parse one length, in mm.

    Raises:
        SettingsError: the text is not a number of at least zero with a unit um, mm, cm or m.

    Example:
        >>> parse_length("0.7mm"), parse_length("5 cm")
        (0.7, 50.0)
    """
    quantities, _ = _parse(text, "length", tuple(LENGTH_UNITS), "0.7mm, 5cm or 30um")
    values = [_shifted(number, LENGTH_UNITS[unit]) for number, unit in quantities]
    if len(values) != 1 or not (math.isfinite(values[0]) and values[0] >= 0):
        msg = f"length {text!r}: one length of at least zero is needed here, as in 0.7mm"
        raise SettingsError(msg)
    return values[0]


def format_energy(energy: float, digits: int | None = None, *, space: str = "") -> str:
    """Format an energy in the largest unit in which it is at least 1.

    Args:
        energy: energy in MeV.
        digits: significant digits; None for the exact value, which :func:`parse_energy` reads back unchanged.
        space: text between number and unit.

    Example:
        >>> format_energy(50_000.0), format_energy(0.01515151, digits=3)
        ('50GeV', '15.2keV')
    """
    if not math.isfinite(energy):
        return f"{energy}{space}MeV"
    size = abs(energy) if digits is None else abs(float(f"{energy:.{digits}g}"))
    fitting = [unit for unit, power in ENERGY_UNITS.items() if size >= 10.0**power]
    unit = fitting[-1] if fitting else ("keV" if energy else "MeV")
    number = Decimal(repr(float(energy))).scaleb(-ENERGY_UNITS[unit])
    if digits is not None:
        return f"{float(number):.{digits}g}{space}{unit}"
    text = f"{number.normalize():f}" if -7 < number.adjusted() < 16 else f"{number.normalize()}"
    return f"{text}{space}{unit}"


def format_angle(*angles: float, digits: int = 7) -> str:
    """Format an angle, or the ends of a range, in degrees, as users write them, and in rad, as files and Python do.

    Args:
        angles: one or two angles in rad.
        digits: most significant digits; rad have at most five.

    Example:
        >>> format_angle(2.96706), format_angle(0.785398, 1.5708, digits=4)
        ('170 deg (2.9671 rad)', '45 to 90 deg (0.7854 to 1.571 rad)')
    """
    degrees = [round(math.degrees(each), 4) for each in angles]  # single precision has 90 deg a little beside it
    both = ((degrees, digits, "deg"), (angles, min(digits, 5), "rad"))
    told, in_rad = (f"{joined([f'{each:.{most}g}' for each in ends])} {unit}" for ends, most, unit in both)
    return f"{told} ({in_rad})"


def joined(ends: Sequence[str]) -> str:
    """One or two ends of a range, formatted, as text; equal ones are one value."""
    return ends[0] if ends[0] == ends[-1] else " to ".join(ends)


def _shifted(number: str, power: int) -> float:
    """``number`` times a power of ten, rounded once: 0.7keV is the same number as 0.0007MeV."""
    value = float(number)
    return value if value == 0 or math.isinf(value) else float(Decimal(number).scaleb(power))


def _check_values(values: tuple[float, ...], is_range: bool, what: str) -> None:
    if not values or not all(map(math.isfinite, values)):
        msg = f"an {what} must be a finite number"
        raise SettingsError(msg)
    if is_range and (len(values) != 2 or not values[0] < values[1]):
        msg = f"the first {what} of a range must be below the second"
        raise SettingsError(msg)


def _meant(unit: str, units: tuple[str, ...]) -> str | None:
    """The unit that is written in other letters or in full."""
    word = unit.lower()
    full = {"degree": "deg", "degrees": "deg", "radian": "rad", "radians": "rad", "micron": "um", "microns": "um"}
    return next((one for one in units if word == one.lower() or full.get(word) == one), None)


def _parse(text: str, what: str, units: tuple[str, ...], examples: str) -> tuple[list[tuple[str, str]], bool]:
    """Numbers with their units, and whether they form a range."""
    example = examples.split(",")[0]
    allowed = f"{', '.join(units[:-1])} or {units[-1]}"
    found: list[tuple[str, str]] = []
    separators: list[str] = []
    position = 0
    while (match := _QUANTITY.match(text, position)) is not None:
        number, unit = match.groups()
        if unit and unit not in units:
            meant = _meant(unit, units)
            # Letter case matters: m and M differ by 10^9.
            hint = f"did you mean {text.strip().replace(unit, meant)}?" if meant else f"as in {example}"
            msg = f"{what} {text!r}: unknown unit {unit!r}; allowed are {allowed}{';' if meant else ','} {hint}"
            raise SettingsError(msg)
        found.append((number, unit))
        position = match.end()
        if position == len(text) or text[position] not in ",-":
            break
        separators.append(text[position])
        position += 1
    is_range = separators == ["-"]
    if position != len(text) or len(found) != len(separators) + 1 or ("-" in separators and not is_range):
        msg = f"{what} {text!r} is not understood; write it as {examples}"
        raise SettingsError(msg)
    if not found[-1][1]:
        msg = f"{what} {text!r} has no unit; write {allowed}, as in {found[-1][0]}{example.lstrip('0123456789.')}"
        raise SettingsError(msg)
    with_units: list[tuple[str, str]] = []
    unit = ""
    for number, own in reversed(found):
        unit = own or unit
        with_units.append((number, unit))
    return with_units[::-1], is_range
