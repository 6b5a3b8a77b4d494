"""The conditions of a shower, one line each: what simulation, files, training, generation and export know of them."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from fastv.particles import parse_particles, particle_code
from fastv.units import AngleSpec, EnergySpec, parse_angle, parse_energy_spec

Values = EnergySpec | AngleSpec | tuple[int, ...]
"""Values that a text asks for: fixed ones, or a range."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One condition of a shower.

    Attributes:
        name: as models, requests and the command line call it.
        unit: inside FastV.
        label: in messages; by default the name.
        column: the data set of a showers file that has it for each shower; empty where the file tells it once.
        attribute: its field in :class:`fastv.showers.Showers`; without one it is an extra column there.
        dtype: of its values.
        low, high: the values that are physical; angles with a tolerance for the rounding of float32.
        allowed: the same in words.
        parse: values from a text, for a request; None where there is no such text.
        help: of the option of ``fastv generate``.
        scaling: how a model is told: on a ``logarithm`` or a linear ``interval`` of its domain, or as a ``choice``
            among those of its domain (one-hot); None for what no model takes.
        choices: the field of the domain that holds the names of a choice.
        code: the value of such a name.
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
    scaling: Literal["logarithm", "interval", "choice"] | None = "interval"
    choices: str = ""
    code: Callable[[str], Any] = str

    @property
    def on_request(self) -> bool:
        """Whether a user can ask for values of it."""
        return self.parse is not None and self.scaling is not None


_TOLERANCE = 1e-6

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
            scaling="logarithm",
        ),
        Condition(
            name="theta",
            unit="rad",
            column="incident_theta",
            attribute="theta",
            low=-_TOLERANCE,
            high=math.pi + _TOLERANCE,
            allowed="from 0 to 3.142 rad",
            parse=parse_angle,
            help="polar angles: 90deg, 60-90deg; for models conditional on them",
        ),
        Condition(
            name="phi",
            unit="rad",
            column="incident_phi",
            attribute="phi",
            low=-2 * math.pi - _TOLERANCE,
            high=2 * math.pi + _TOLERANCE,
            allowed="from -6.283 to 6.283 rad",
            parse=parse_angle,
            help="azimuthal angles, in the same way",
        ),
        Condition(
            name="particle",
            unit="PDG code",
            column="incident_pdg",
            attribute="pdg",
            dtype="int32",
            allowed="a particle code",
            parse=parse_particles,
            help="particles: e-, or e-,gamma in turns",
            scaling=None,
            choices="particles",
            code=particle_code,
        ),
        Condition(name="detector", unit="index", dtype="str", scaling="choice", choices="detectors"),
    )
}
"""All conditions by name; a new one is a line here."""
