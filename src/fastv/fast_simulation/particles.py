"""Particles with their places and directions, as a few arrays, and the energy that they bring along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

ELECTRON_MASS = 0.51099895
"""MeV."""
LIGHT = 299.792458
"""Speed of light in mm/ns."""


PARTICLE_TYPES: Mapping[str, Any] = {
    "event": np.int64,
    "primary": np.int32,
    "pdg": np.int32,
    "energy": np.float64,
    "position": np.float64,
    "direction": np.float64,
    "time": np.float64,
}
"""The columns of particles and their types."""


@dataclass(frozen=True)
class Particles:
    """N particles, in the frame of the detector.

    Attributes:
        event: number (N,) of the event of each.
        primary: number (N,) of the primary particle that it is or comes from, in its event.
        pdg: codes (N,) of the Particle Data Group.
        energy: kinetic energies (N,) in MeV.
        position: places (N, 3) in mm.
        direction: unit vectors (N, 3) of the momenta.
        time: times (N,) in ns.

    Example:
        >>> particles = Particles.of(event=[0, 0], primary=[0, 1], pdg=[11, -11], energy=[10.0, 10.0],
        ...                          position=[[0, 0, 0]] * 2, direction=[[1, 0, 0]] * 2, time=[0, 0])
        >>> particles[1:].available.round(3).tolist()
        [11.022]
    """

    event: NDArray[np.int64]
    primary: NDArray[np.int32]
    pdg: NDArray[np.int32]
    energy: NDArray[np.float64]
    position: NDArray[np.float64]
    direction: NDArray[np.float64]
    time: NDArray[np.float64]

    @classmethod
    def of(cls, **columns: Any) -> Particles:
        """Particles from anything that numpy makes arrays of."""
        made = {name: np.asarray(columns[name], dtype) for name, dtype in PARTICLE_TYPES.items()}
        for name in ("position", "direction"):
            made[name] = made[name].reshape(-1, 3)
        return cls(**made)

    @classmethod
    def none(cls) -> Particles:
        """No particles."""
        return cls.of(**dict.fromkeys(PARTICLE_TYPES, ()))

    def __len__(self) -> int:
        return len(self.event)

    def __getitem__(self, rows: slice | NDArray[Any]) -> Particles:
        """Selected particles, by slice, mask or indices."""
        return Particles(**{name: column[rows] for name, column in self.columns.items()})

    @property
    def columns(self) -> dict[str, NDArray[Any]]:
        """The arrays by name."""
        return {name: getattr(self, name) for name in PARTICLE_TYPES}

    @property
    def available(self) -> NDArray[np.float64]:
        """Energies (N,) in MeV that they can deposit, see :func:`available_energy`."""
        return available_energy(self.pdg, self.energy)

    @property
    def theta(self) -> NDArray[np.float64]:
        """Polar angles (N,) of the momenta in rad."""
        return np.arctan2(np.hypot(self.direction[:, 0], self.direction[:, 1]), self.direction[:, 2])

    @property
    def phi(self) -> NDArray[np.float64]:
        """Azimuthal angles (N,) of the momenta in rad."""
        return np.arctan2(self.direction[:, 1], self.direction[:, 0])


def joined_particles(parts: Sequence[Particles]) -> Particles:
    """Particles one after another."""
    return Particles(**{name: np.concatenate([part.columns[name] for part in parts]) for name in PARTICLE_TYPES})


def available_energy(pdg: NDArray[Any], energy: NDArray[Any]) -> NDArray[np.float64]:
    """The energy that particles can deposit, in MeV: kinetic, for positrons with the mass of the pair.

    A pair that a photon makes has less kinetic energy than the photon, and what is missing comes back when the positron
    annihilates. So this energy is conserved in electromagnetic showers.

    Args:
        pdg: codes (N,).
        energy: kinetic energies (N,) in MeV.
    """
    return np.where(pdg == -11, energy + 2 * ELECTRON_MASS, energy).astype(np.float64)
