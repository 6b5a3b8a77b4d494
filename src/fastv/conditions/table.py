"""The table of conditions of a shower, which simulation, files, training, generation and export share."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from fastv.conditions.particles import parse_particles, particle_code, particle_name
from fastv.conditions.units import AngleSpec, EnergySpec, parse_angle, parse_energy_spec
from fastv.errors import SettingsError

Values = EnergySpec | AngleSpec | tuple[int, ...] | tuple[str, ...]
"""Requested values of a condition: fixed values or a range, of energies (MeV) or angles (rad), PDG codes, or a name."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One condition of a shower.

    Attributes:
        name: name in models, requests and on the command line.
        unit: unit of its values in FastV.
        label: name in messages; empty for ``name``.
        column: data set of a showers file with one value per shower; empty if the file stores the condition only once.
        attribute: its field in :class:`fastv.showers.Showers`; empty if it is an extra column there.
        dtype: type of its values.
        low, high: range of physical values; for angles with a tolerance for float32 rounding.
        allowed: the same range in words.
        parse: function that reads requested values from a text; None if the condition cannot be requested.
        help: help text of its option of ``fastv generate``.
        example: a request for it, as users write it.
        scaling: how a model receives it: scaled to the ``logarithm`` or the linear ``interval`` of the model's domain,
            or one-hot as a ``choice`` among the names in the domain; None if models do not take it.
        choices: for a choice, the field of the domain that lists the allowed names.
        code: for a choice, function from such a name to its value in a column.
        named: for a choice, function from a value in a column to its name.
    """

    name: str
    unit: str
    label: str = ""
    column: str = ""
    attribute: str = ""
    dtype: Literal["float64", "int32", "str"] = "float64"
    low: float = -sys.float_info.max
    high: float = sys.float_info.max
    allowed: str = "finite"
    parse: Callable[[str], Values] | None = None
    help: str = ""
    example: str = ""
    scaling: Literal["logarithm", "interval", "choice"] | None = "interval"
    choices: str = ""
    code: Callable[[str], Any] = str
    named: Callable[[Any], str] = str

    @property
    def on_request(self) -> bool:
        """Whether a user can request values of it when generating."""
        return self.parse is not None and self.scaling is not None


_TOLERANCE = 1e-6
NORMAL_INCIDENCE = 1e-3
"""Largest deviation of theta from its value at normal incidence, in rad, that counts as normal incidence."""


def _parse_detector(text: str) -> tuple[str, ...]:
    """The name of a detector.

    Raises:
        SettingsError: there are several, or none.
    """
    if not text.strip() or "," in text:
        msg = f"name one detector, because a file holds showers of one, got {text!r}; generate one file for each"
        raise SettingsError(msg)
    return (text.strip(),)


CONDITIONS: dict[str, Condition] = {
    condition.name: condition
    for condition in (
        Condition(
            name="energy",
            unit="MeV",
            label="incident energy",
            column="incident_energies",
            attribute="incident_energies",
            low=math.ulp(0.0),
            allowed="finite and above zero",
            parse=parse_energy_spec,
            help="incident energies: 50GeV, 10,50GeV or 1-1000GeV (log-uniform)",
            example="50GeV",
            scaling="logarithm",
        ),
        Condition(
            name="theta",
            unit="rad",
            column="incident_theta",
            attribute="theta",
            low=-_TOLERANCE,
            high=math.pi + _TOLERANCE,
            allowed="from 0 to 180 deg (0 to 3.1416 rad)",
            parse=parse_angle,
            help="polar angles: 90deg, 60-90deg; for models conditional on them",
            example="90deg",
        ),
        Condition(
            name="phi",
            unit="rad",
            column="incident_phi",
            attribute="phi",
            low=-2 * math.pi - _TOLERANCE,
            high=2 * math.pi + _TOLERANCE,
            allowed="from -360 to 360 deg (-6.2832 to 6.2832 rad)",
            parse=parse_angle,
            help="azimuthal angles: 0deg, 0-360deg; for models conditional on them",
            example="0deg",
        ),
        Condition(
            name="particle",
            unit="PDG code",
            column="incident_pdg",
            attribute="pdg",
            dtype="int32",
            allowed="a particle code",
            parse=parse_particles,
            help="particles: e-, or alternating e-,gamma; for models conditional on them",
            example="gamma",
            scaling="choice",
            choices="particles",
            code=particle_code,
            named=particle_name,
        ),
        Condition(
            name="detector",
            unit="index",
            dtype="str",
            parse=_parse_detector,
            help="detector; for models conditional on it",
            example="par04-siw",
            scaling="choice",
            choices="detectors",
        ),
    )
}
"""All conditions by name. To add a condition, add an entry here."""
