"""From primary particles to those that enter the calorimeter: straight through vacuum, or with Geant4."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastv.detector.stack import Stack
from fastv.fast_simulation.particles import LIGHT, Particles, joined_particles
from fastv.fast_simulation.process import Geant4
from fastv.fast_simulation.request import TransportRequest
from fastv.fast_simulation.seeds import random_indices

STRAIGHT = (11, -11, 22)
"""Particles that neither decay nor turn in vacuum."""


@dataclass(frozen=True)
class Entered:
    """What becomes of the primary particles of n events.

    Attributes:
        particles: those that enter the calorimeter, where they do, in the order of the events; ``primary`` is the one
            that each comes from.
        missed: available energy (n,) of those that leave without entering it, MeV.
        deposited: energy (n,) that stays in the material in front, MeV.
    """

    particles: Particles
    missed: NDArray[np.float64]
    deposited: NDArray[np.float64]


class Front:
    """What lies in front of a calorimeter.

    In vacuum, electrons, positrons and photons fly straight; for all else, Geant4 transports the particles.

    Args:
        request: the front.
        seed: of the run.

    Attributes:
        seconds: time in s that Geant4 took.
    """

    def __init__(self, request: TransportRequest, seed: int) -> None:
        self._request = request
        self._seed = seed
        self._geant4 = Geant4(request)
        self.seconds = 0.0

    def entered(self, primaries: Particles, events: range) -> Entered:
        """Transport the primary particles of events to the calorimeter.

        Args:
            primaries: in the order of the events.
            events: numbers of the events; some may have no particles.

        Raises:
            SimulationError: Geant4 fails.
        """
        straight = np.isin(primaries.pdg, STRAIGHT) & (self._request.plate is None)
        flying = primaries[straight]
        ahead, arrival = self._straight(flying)
        arrived = Particles(**{**flying.columns, "position": arrival})[ahead]
        found = [_later(arrived, flying.position[ahead])]
        lost = flying[~ahead]
        missed = np.zeros(len(events))
        np.add.at(missed, lost.event - events.start, lost.available)
        deposited = np.zeros(len(events))
        for event in np.unique(primaries.event[~straight]).tolist():
            mine = primaries.event == event
            indices = random_indices(self._seed, event, int(mine.sum()), front=True)[~straight[mine]]
            rest = primaries[mine & ~straight]
            started = time.perf_counter()
            got = self._geant4.run(rest, indices)
            self.seconds += time.perf_counter() - started
            parents = rest[got["row"]]
            moved = {name: got[name] for name in ("pdg", "energy", "position", "direction")}
            found.append(_later(Particles.of(**{**parents.columns, **moved}), parents.position))
            missed[event - events.start] += got["missed"].sum()
            deposited[event - events.start] = got["deposited"].sum()
        entered = joined_particles(found)
        return Entered(entered[np.argsort(entered.event, kind="stable")], missed, deposited)

    def _straight(self, particles: Particles) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Which particles (N,) on straight paths enter, and where (N, 3)."""
        stack, (low, high) = self._request.stack, self._request.ends
        path = _path(stack, particles)
        with np.errstate(invalid="ignore"):
            arrival = particles.position + path[:, None] * particles.direction
            across = arrival[:, 2:] if stack.shape == "barrel" else arrival[:, :2]
            ahead = (path > 0) & ((across > low) & (across < high)).all(axis=1)
        return ahead, arrival

    def close(self) -> None:
        """End Geant4's process."""
        self._geant4.close()


def _path(stack: Stack, particles: Particles) -> NDArray[np.float64]:
    """Lengths (N,) of straight paths to the stack in mm, NaN for particles that fly away from it; as in
    :func:`fastv.simulation.voxelisation.entrance`."""
    p, d = particles.position, particles.direction
    with np.errstate(invalid="ignore", divide="ignore"):
        if stack.shape == "planar":
            return np.where(d[:, 2] > 0, (stack.front - p[:, 2]) / d[:, 2], np.nan)
        a, b = d[:, 0] ** 2 + d[:, 1] ** 2, p[:, 0] * d[:, 0] + p[:, 1] * d[:, 1]
        c = p[:, 0] ** 2 + p[:, 1] ** 2 - stack.front**2
        return np.where(a > 0, (np.sqrt(b * b - a * c) - b) / a, np.nan)


def _later(particles: Particles, start: NDArray[np.float64]) -> Particles:
    """The particles, with the time that light takes from where their primary particles started."""
    path = np.linalg.norm(particles.position - start, axis=1)
    return Particles(**{**particles.columns, "time": particles.time + path / LIGHT})
