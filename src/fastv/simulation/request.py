"""Requests for a simulation: detector, particles and physics. Nothing here starts Geant4.

Every event depends only on the seed and its number. So showers do not depend on how events are distributed over
workers, and each can be simulated again on its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ModelWrapValidatorHandler, ValidationError, field_validator, model_validator

from fastv._version import __version__
from fastv.conditions.particles import PDG_NAMES, parse_particles, particle_code
from fastv.conditions.spectra import Spectrum, angles, of_spec, parse_spectrum
from fastv.conditions.units import AngleSpec, EnergySpec, format_energy, parse_angle
from fastv.detector.detector import Detector
from fastv.detector.stack import Stack
from fastv.errors import SettingsError
from fastv.records import Frozen, PositiveFloat, first_problem
from fastv.showers import Conditions
from fastv.simulation.data_sets import DataSets, geant4_version

LOWEST_ENERGY, HIGHEST_ENERGY = 1e-3, 1e8
"""Energy range of Geant4's electromagnetic physics in MeV: 1 keV to 100 TeV."""

_WORDS = 8
"""Number of 64-bit random numbers per event."""

_SHALLOWEST = math.radians(10)
"""Smallest allowed angle in rad between the direction of a particle and the slabs."""


class PhysicsSettings(Frozen):
    """The physics of a simulation.

    Attributes:
        em_model: electromagnetic model: ``standard`` (Geant4's ``G4EmStandardPhysics``), or another one of calzone.
        had_model: hadronic model, such as ``FTFP_BERT``; with None, hadrons from photonuclear reactions are stopped
            where they are produced.
        cut: production cut in mm: secondaries with a shorter range are not produced, their energy is deposited
            locally. With 1 mm the showers agree with the shipped sample, with Geant4's default of 0.7 mm they do not.
    """

    em_model: str = "standard"
    had_model: str | None = None
    cut: PositiveFloat = 1.0


@dataclass(frozen=True)
class Events:
    """The particles of n events, in the frame of the detector.

    Attributes:
        numbers: numbers (n,) of the events.
        conditions: kinetic energy, direction and particle of each event.
        position: starting points (n, 3) of the particles in mm.
        random_indices: starting indices (n, 2) in Geant4's random number stream, high and low 64 bits.
    """

    numbers: NDArray[np.int64]
    conditions: Conditions
    position: NDArray[np.float64]
    random_indices: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def direction(self) -> NDArray[np.float64]:
        """Unit vectors (n, 3) of the momenta."""
        return directions(self.conditions.columns["theta"], self.conditions.columns["phi"])


def directions(theta: NDArray[np.float64], phi: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors (n, 3) from polar and azimuthal angles (n,) in rad."""
    return np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=1)


class SimulationRequest(Frozen):
    """A simulation: everything that its showers depend on, apart from the number of the event.

    Values can be given as text: ``detector="par04-siw"``, ``particle="e-"``, ``energy="1-1000GeV"``,
    ``theta="60-90deg"``.

    Attributes:
        detector: a detector with a stack, the name of a preset, or FILE.yaml.
        particle: PDG codes, or names.
        energy: spectrum of the kinetic energy, see :func:`fastv.conditions.spectra.parse_spectrum`.
        theta: polar angle of the momentum; by default perpendicular to the slabs (90 degrees in a barrel, 0 in a planar
            stack).
        phi: azimuthal angle of the momentum.
        position_spread: standard deviation in mm of a Gaussian shift of the starting point from the origin, along each
            of the two directions transverse to the momentum, which does not change.
        physics: physics models of Geant4.
        seed: seed of all random numbers.

    Lists are not random: all combinations of their values are taken in turn, energies varying fastest, then theta, phi
    and particles. Ranges of angles are uniform in the angle. Energies and angles are rounded to float32, so the showers
    file contains exactly the simulated values.

    Raises:
        SettingsError: a value is not allowed; the message gives its path.
        GeometryError: the detector is unknown.

    Example:
        >>> request = SimulationRequest(detector="par04-siw", energy="1-1000GeV", theta="60-90deg", seed=7)
        >>> conditions = request.conditions(np.array([0, 41]))
        >>> conditions.energy.round(1).tolist(), np.degrees(conditions.theta).round(2).tolist()
        ([25494.8, 5474.2], [72.78, 77.97])
        >>> bool(conditions.energy[1] == request.conditions(np.array([41])).energy[0])
        True
    """

    detector: Detector
    particle: Annotated[tuple[int, ...], Field(min_length=1)] = (11,)
    energy: Spectrum
    theta: AngleSpec | None = None
    phi: AngleSpec = AngleSpec((0.0,))
    position_spread: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    physics: PhysicsSettings = PhysicsSettings()
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="wrap")
    @classmethod
    def _readable(cls, content: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(content)
        except ValidationError as error:
            msg = f"simulation: {first_problem(error)}"
            raise SettingsError(msg) from error

    @field_validator("detector", mode="before")
    @classmethod
    def _detector(cls, value: Any) -> Any:
        return Detector.named(value) if isinstance(value, str) else value

    @field_validator("particle", mode="before")
    @classmethod
    def _particle(cls, value: Any) -> Any:
        if isinstance(value, str):
            return parse_particles(value)
        if isinstance(value, int):
            return (value,)
        if isinstance(value, Sequence):
            return tuple(particle_code(each) if isinstance(each, str) else each for each in value)
        return value

    @field_validator("energy", mode="before")
    @classmethod
    def _energy(cls, value: Any) -> Any:
        if isinstance(value, str):
            return parse_spectrum(value)
        if isinstance(value, EnergySpec):
            return of_spec(value)
        if isinstance(value, int | float):
            return Spectrum(kind="list", values=(float(value),))
        return value

    @field_validator("theta", "phi", mode="before")
    @classmethod
    def _angle(cls, value: Any) -> Any:
        if isinstance(value, str):
            return parse_angle(value)
        return AngleSpec((float(value),)) if isinstance(value, int | float) else value

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.energy.low < LOWEST_ENERGY or self.energy.high > HIGHEST_ENERGY:
            outside = self.energy.low if self.energy.low < LOWEST_ENERGY else self.energy.high
            msg = (
                f"energy {format_energy(outside)} is outside the range of Geant4's physics, "
                f"{format_energy(LOWEST_ENERGY)} to {format_energy(HIGHEST_ENERGY)}"
            )
            raise SettingsError(msg)
        if any(block.thickness is None for block in self.detector.mesh.blocks):
            msg = f"the mesh of {self.detector.name} has no layer thickness, which full simulation needs"
            raise SettingsError(msg)
        if self.position_spread > self.stack.front / 10:  # shifts of ten standard deviations do not occur
            msg = (
                f"a position spread of {self.position_spread:g} mm would start particles inside the stack, "
                f"whose front is {self.stack.front:g} mm away; at most a tenth of that is allowed"
            )
            raise SettingsError(msg)
        _check_hit(self.stack, self.theta_spec)
        return self

    @property
    def stack(self) -> Stack:
        """The stack of the detector.

        Raises:
            SettingsError: the detector has none.
        """
        if self.detector.stack is None:
            msg = f"{self.detector.name} has no 'stack': its material, which full simulation needs, is unknown"
            raise SettingsError(msg)
        return self.detector.stack

    @property
    def theta_spec(self) -> AngleSpec:
        """Polar angles of the momentum, with the default resolved."""
        return AngleSpec((self.stack.right_angle,)) if self.theta is None else self.theta

    @cached_property
    def _key(self) -> NDArray[np.uint64]:
        return _state((self.seed, 0))

    @property
    def geant4_seed(self) -> int:
        """128-bit seed of Geant4's random number stream."""
        high, low = _state((self.seed, 1))
        return (int(high) << 64) | int(low)

    def conditions(self, numbers: NDArray[np.int64]) -> Conditions:
        """The conditions of events; arguments as for :meth:`events`."""
        return self.events(numbers).conditions

    def events(self, numbers: NDArray[np.int64]) -> Events:
        """The particles of events, each of which depends only on the seed and its number.

        Args:
            numbers: numbers (n,) of the events, from 0, in any order.

        Raises:
            SettingsError: a number is negative.
        """
        numbers = np.asarray(numbers, dtype=np.int64)
        if numbers.ndim != 1 or (numbers.size and numbers.min() < 0):
            msg = "event numbers must be a one-dimensional array of integers from 0"
            raise SettingsError(msg)
        words = _words(self._key, numbers)
        uniform = (words[:, :6] >> np.uint64(11)).astype(np.float64) * 2.0**-53
        energy = self.energy.energies(numbers, uniform[:, 0])
        turn = numbers // self.energy.turns
        theta, turn = angles(self.theta_spec, turn, uniform[:, 1])
        phi, turn = angles(self.phi, turn, uniform[:, 2])
        particle = np.asarray(self.particle)[turn % len(self.particle)]
        energy, theta, phi = (each.astype(np.float32).astype(np.float64) for each in (energy, theta, phi))
        return Events(
            numbers=numbers,
            conditions=Conditions.of(
                energy=energy, theta=theta, phi=phi, particle=particle, detector=self.detector.name
            ),
            position=self._shifts(theta, phi, uniform[:, 3], uniform[:, 4]),
            random_indices=words[:, 6:],
        )

    def _shifts(
        self, theta: NDArray[np.float64], phi: NDArray[np.float64], u: NDArray[np.float64], v: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Starting points (n, 3) in mm: Gaussian shifts (Box-Muller) along the unit vectors of theta and phi."""
        if not self.position_spread:
            return np.zeros((len(theta), 3))
        radius = self.position_spread * np.sqrt(-2 * np.log1p(-u))
        along_theta, along_phi = radius * np.cos(2 * np.pi * v), radius * np.sin(2 * np.pi * v)
        unit_theta = directions(theta + np.pi / 2, phi)
        unit_phi = np.stack([-np.sin(phi), np.cos(phi), np.zeros_like(phi)], axis=1)
        shifts: NDArray[np.float64] = along_theta[:, None] * unit_theta + along_phi[:, None] * unit_phi
        return shifts

    def provenance(self) -> dict[str, Any]:
        """How the showers are made, for their file: versions, physics, data sets, particles, seed.

        Only the name of the detector is included; the file describes it anyway.

        Raises:
            MissingExtraError: calzone is not installed.
        """
        geant4, calzone = geant4_version()
        names = [PDG_NAMES.get(code, f"PDG {code}") for code in self.particle]
        return {
            "engine": f"Geant4 {geant4} (calzone {calzone})",
            "physics": self.physics.model_dump(mode="json"),
            "data_sets": DataSets(geant4).versions(),
            "detector": self.detector.name,
            "stack": self.stack.describe(),
            **({"particle": names[0]} if len(names) == 1 else {"particles": names}),
            "energy": self.energy.describe(),
            "theta": str(self.theta_spec),
            "phi": str(self.phi),
            "position_spread_mm": self.position_spread,
            "deposits": "post-step position",
            "seed": self.seed,
            "code_version": __version__,
        }


def acceptance(stack: Stack) -> tuple[float, float]:
    """The polar angles in rad at which particles from the origin may enter a stack, neither missing it nor along it.

    Example:
        >>> stack = Detector.preset("par04-siw").stack
        >>> [round(math.degrees(angle)) for angle in acceptance(stack)]
        [10, 170]
    """
    low, high = (_SHALLOWEST, math.pi - _SHALLOWEST) if stack.shape == "barrel" else (0.0, math.pi / 2 - _SHALLOWEST)
    limit = stack.half_length if stack.shape == "barrel" else stack.half_width
    if limit is not None:
        at_the_end = math.atan2(stack.front, limit)
        if stack.shape == "barrel":
            low, high = max(low, at_the_end), min(high, math.pi - at_the_end)
        else:
            high = min(high, math.pi / 2 - at_the_end)
    return low, high


def _check_hit(stack: Stack, theta: AngleSpec) -> None:
    """Refuse directions that miss the stack or are nearly parallel to it."""
    low, high = acceptance(stack)
    limit = stack.half_length if stack.shape == "barrel" else stack.half_width
    why = "" if limit is None else f", which ends at {limit:g} mm"
    # With a tolerance for float32 rounding.
    if theta.low < low - 1e-6 or theta.high > high + 1e-6:
        outside = theta.low if theta.low < low - 1e-6 else theta.high
        msg = (
            f"theta {math.degrees(outside):.4g}deg is outside the acceptance of the {stack.shape} stack{why}; "
            f"allowed is {math.degrees(low):.4g}deg to {math.degrees(high):.4g}deg"
        )
        raise SettingsError(msg)


def _state(entropy: tuple[int, int]) -> NDArray[np.uint64]:
    """128 well-mixed bits, as two 64-bit numbers."""
    return np.random.SeedSequence(entropy).generate_state(2, np.uint64).astype(np.uint64, copy=False)


def _words(key: NDArray[np.uint64], events: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The 64-bit random numbers (n, 8) of events, from Philox with the number of the event in its counter.

    Source: J. K. Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011.
    """
    order = np.argsort(events, kind="stable")
    rising = events[order]
    words = np.empty((len(events), _WORDS), dtype=np.uint64)
    # Consecutive events are drawn together.
    ends = [0, *(np.flatnonzero(np.diff(rising) != 1) + 1).tolist(), len(events)]
    for first, last in pairwise(ends) if len(events) else []:
        # Each step of the counter gives four numbers.
        counter = int(rising[first]) * (_WORDS // 4)
        drawn = np.random.Philox(key=key, counter=counter).random_raw(_WORDS * (last - first))
        words[order[first:last]] = drawn.reshape(-1, _WORDS)
    return words
