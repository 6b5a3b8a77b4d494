"""Which particles a model generates, and which ones it must leave to full simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fastv.conditions.record import Conditions
from fastv.detector.stack import Stack
from fastv.domain import Domain
from fastv.fast_simulation.particles import Particles


class Conditional(Protocol):
    """A model that takes conditions, of which it knows a domain."""

    @property
    def domain(self) -> Domain:
        """The conditions of the showers that it knows."""
        ...

    @property
    def condition_names(self) -> Sequence[str]:
        """The conditions that it takes, in order."""
        ...


class Fate(IntEnum):
    """Why a particle is generated or simulated; the numbers are those of the files.

    ``fast``: generated. All others are simulated: ``particle``, ``energy`` and ``angle`` are outside the domain of the
    model; ``control`` belongs to the control sample; ``failed`` got no valid shower from the model.
    """

    fast = 0
    particle = 1
    energy = 2
    angle = 3
    control = 4
    failed = 5


FATES: Mapping[str, str] = {
    "fast": "generated",
    "particle": "simulated: no particle of the model",
    "energy": "simulated: energy outside its domain",
    "angle": "simulated: direction outside its domain",
    "control": "simulated: control sample",
    "failed": "simulated: no valid shower from the model",
}
"""The fates by name, in words."""


def fates(
    generator: Conditional, stack: Stack, particles: Particles, angle_tolerance: float, control: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """The :class:`Fate` (N,) of particles that enter a calorimeter.

    Args:
        generator: the model, with its domain.
        stack: the calorimeter.
        particles: as they enter it.
        angle_tolerance: by how much in rad a direction may be outside the domain. In a barrel a particle must also
            fly radially, in the plane across the axis, within this tolerance.
        control: which particles are of the control sample, (N,).
    """
    domain = generator.domain
    fate = np.where(control, Fate.control, Fate.fast).astype(np.uint8)
    off = np.zeros(len(particles), dtype=bool)
    for name, angle in _angles(generator, particles).items():
        low, high = domain.bounds(name) or (-np.inf, np.inf)
        off |= (angle < low - angle_tolerance) | (angle > high + angle_tolerance)
    if "theta" not in generator.condition_names:
        low, high = domain.theta or (stack.right_angle, stack.right_angle)
        off |= (particles.theta < low - angle_tolerance) | (particles.theta > high + angle_tolerance)
    if stack.shape == "barrel":
        off |= np.abs(_turned(particles.phi - np.arctan2(*particles.position[:, [1, 0]].T))) > angle_tolerance
    fate[off] = Fate.angle
    low, high = domain.energy
    fate[(particles.energy < low * (1 - 1e-6)) | (particles.energy > high * (1 + 1e-6))] = Fate.energy
    if domain.particles:
        fate[~np.isin(particles.pdg, domain.choices("particle"))] = Fate.particle
    return fate


def conditions(generator: Conditional, detector: str, particles: Particles) -> Conditions:
    """The conditions of the showers of particles; angles within the tolerance are set to the edge of the domain."""
    columns = {
        name: angle if (bounds := generator.domain.bounds(name)) is None else np.clip(angle, *bounds)
        for name, angle in _angles(generator, particles).items()
    }
    return Conditions.of(energy=particles.energy, particle=particles.pdg, detector=detector, **columns)


def _angles(generator: Conditional, particles: Particles) -> Mapping[str, NDArray[np.float64]]:
    """The angles that a generator is conditional on; phi in the turn in which the domain has it."""
    asked = [name for name in ("theta", "phi") if name in generator.condition_names]
    angles: dict[str, NDArray[np.float64]] = {name: getattr(particles, name) for name in asked}
    if "phi" in angles and (bounds := generator.domain.bounds("phi")) is not None:
        middle = (bounds[0] + bounds[1]) / 2
        angles["phi"] = middle + _turned(angles["phi"] - middle)
    return angles


def _turned(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angles (N,) in rad, from -pi to pi."""
    return np.mod(angle + np.pi, 2 * np.pi) - np.pi
