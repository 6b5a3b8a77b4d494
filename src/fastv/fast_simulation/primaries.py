"""Primary particles: of a gun, as in a simulation of single particles, or of a file with events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from fastv.errors import SettingsError
from fastv.fast_simulation.particles import Particles
from fastv.fast_simulation.request import TransportRequest
from fastv.simulation.request import LOWEST_ENERGY, SimulationRequest

_BLOCK = 1000


class Primaries(Protocol):
    """The primary particles of events, which are numbered from 0."""

    def __len__(self) -> int:
        """Number of events."""

    @property
    def codes(self) -> tuple[int, ...]:
        """Codes of all kinds of particles."""

    def blocks(self, size: int) -> Iterator[tuple[range, Particles]]:
        """The numbers and the particles of ``size`` events at a time, in order."""

    def describe(self) -> dict[str, object]:
        """Where they come from, for the provenance."""


class Gun:
    """One particle an event, from the origin.

    Args:
        request: spectra, directions and particles.
        n: number of events.
    """

    def __init__(self, request: SimulationRequest, n: int) -> None:
        self._request = request
        self._n = n
        self.codes = request.particle

    def __len__(self) -> int:
        return self._n

    def blocks(self, size: int) -> Iterator[tuple[range, Particles]]:
        """The numbers and the particles of ``size`` events at a time, in order."""
        for start in range(0, self._n, size):
            numbers = range(start, min(start + size, self._n))
            events = self._request.events(np.array(numbers))
            drawn = Particles.of(
                event=events.numbers,
                primary=np.zeros(len(events)),
                pdg=events.conditions.columns["particle"],
                energy=events.conditions.energy,
                position=events.position,
                direction=events.direction,
                time=np.zeros(len(events)),
            )
            yield numbers, drawn

    def describe(self) -> dict[str, object]:
        """Energies, angles and particles."""
        one = self._request
        return {
            "particle": list(one.particle),
            "energy": one.energy.describe(),
            "theta": str(one.theta_spec),
            "phi": str(one.phi),
            "position_spread_mm": one.position_spread,
        }


def check_primaries(primaries: Primaries, request: TransportRequest) -> None:
    """Check before anything is simulated that all particles of all events start in front of the calorimeter.

    Raises:
        SettingsError: one starts inside or behind it, or outside of what is built; or has too little energy.
    """
    stack, hall = request.stack, np.array(request.hall) / 2
    for _, particles in primaries.blocks(_BLOCK):
        position = particles.position
        depth = np.hypot(position[:, 0], position[:, 1]) if stack.shape == "barrel" else position[:, 2]
        inside, outside = depth >= stack.front, np.any(np.abs(position) >= hall, axis=1)
        low = ~(particles.energy >= LOWEST_ENERGY)
        wrong = np.flatnonzero(inside | outside | low)
        if not wrong.size:
            continue
        row = int(wrong[0])
        which = f"event {particles.event[row]}, particle {particles.primary[row]}"
        place = ", ".join(f"{x:.6g}" for x in position[row])
        if inside[row]:
            where = f"which begins at {'r' if stack.shape == 'barrel' else 'z'} = {stack.front:g} mm"
            msg = (
                f"{which} starts at ({place}) mm, inside or behind the calorimeter, {where}; leave it out of the events"
            )
        elif outside[row]:
            msg = f"{which} starts at ({place}) mm, outside of what is built, {request.hall} mm around the origin"
        else:
            msg = f"{which} has {particles.energy[row]:.3g} MeV; Geant4 simulates particles from 1 keV on"
        raise SettingsError(msg)
