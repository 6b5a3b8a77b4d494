"""Transport of given particles with Geant4, in this process: to the calorimeter, or through it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastv.fast_simulation.particles import Particles, available_energy
from fastv.fast_simulation.request import CATCHER, TransportRequest
from fastv.simulation.data_sets import DataSets, geant4_version
from fastv.simulation.transport import off_surfaces, readable
from fastv.simulation.voxelisation import Voxeliser, shower_frame

_MM = 10.0
"""Factor from calzone's cm to mm."""
_NS = 1e9
"""Factor from calzone's s to ns."""
_BEFORE = 1e-6
"""Distance in mm in front of the calorimeter at which particles start that enter it."""
_ON_FRONT = 1e-3
"""Largest distance in mm from the front face at which a particle has entered through it, and not from the side."""
_IONS = 10**9
"""Codes above are those of nuclei."""

Arrays = dict[str, NDArray[Any]]


class Transport:
    """Geant4 with the geometry of one part.

    Args:
        request: the part, and its physics.

    Raises:
        MissingExtraError: calzone is not installed.
        SimulationError: Geant4 lacks data sets, or refuses the geometry.
    """

    def __init__(self, request: TransportRequest) -> None:
        self.request = request
        version, _ = geant4_version()
        DataSets(version).check(request.physics.em_model, request.physics.had_model)
        self._voxelise = Voxeliser(request.detector)

    @cached_property
    def _simulation(self) -> Any:
        import calzone

        physics = self.request.physics
        with readable("Geant4 refuses to start"):
            return calzone.Simulation(
                self.request.geometry(),
                physics=calzone.Physics(physics.em_model, default_cut=physics.cut / _MM, had_model=physics.had_model),
                random=calzone.Random(self.request.geant4_seed),
                sample_deposits="detailed",
                sample_particles=True,
            )

    def run(self, particles: Particles, random_indices: NDArray[np.uint64]) -> Arrays:
        """Transport the particles of one event.

        Args:
            particles: N particles.
            random_indices: where in Geant4's random number stream each starts, (N, 2).

        Returns:
            Of ``front``: ``row`` (the particle that it comes from), ``pdg``, ``energy``, ``position`` and ``direction``
            of the k particles that enter the calorimeter; ``missed`` (N,), the available energy of those that leave and
            never enter it; ``deposited`` (N,), the energy that stays in the plate. Of ``calorimeter``: ``row``,
            ``cell``, ``energy`` (on the scale of voxel energies) and ``time`` (ns after the entrance) of the k voxels
            that are hit; ``visible`` (N,), the energy of all deposits in active slabs on that scale, and ``leaked``
            (N,), the available energy of all particles that leave. Energies are in MeV, lengths in mm.

        Raises:
            SimulationError: Geant4 fails.
        """
        import calzone

        start = particles.position
        if self.request.part == "calorimeter":
            start = start - _BEFORE * particles.direction
        given = calzone.particles(len(particles))
        given["pid"], given["energy"] = particles.pdg, particles.energy
        given["position"], given["direction"] = start / _MM, particles.direction
        with readable(f"event {int(particles.event[0])}: Geant4 fails"):
            result = self._simulation.run(given, random_indices=random_indices)
        caught = {name.rpartition(".")[2]: sample for name, sample in result.particles.items()}
        if self.request.part == "front":
            return self._entered(len(particles), caught, result.deposits)
        return self._voxels(particles, caught, result.deposits)

    def _entered(self, n: int, caught: Mapping[str, Any], deposits: Mapping[str, Any]) -> Arrays:
        none = np.empty(0, dtype=_CAUGHT)
        ahead = caught.get(CATCHER, none)
        ahead = ahead[np.argsort(ahead["event"], kind="stable")]
        position = _MM * ahead["position"].reshape(-1, 3)
        stack = self.request.stack
        depth = np.hypot(position[:, 0], position[:, 1]) if stack.shape == "barrel" else position[:, 2]
        # Nuclei cannot be started again; they come from photonuclear reactions, with a few MeV.
        enters = (np.abs(depth - stack.front) < _ON_FRONT) & (ahead["pid"] < _IONS)
        missed = np.zeros(n)
        for sample in (ahead[~enters], *(each for name, each in caught.items() if name != CATCHER)):
            missed += _summed(sample["event"], available_energy(sample["pid"], sample["energy"]), n)
        deposited = np.zeros(n)
        for volume in deposits.values():
            for part in (volume.line, volume.point):
                deposited += _summed(part["event"], part["value"], n)
        return {
            "row": ahead["event"][enters].astype(np.int64),
            "pdg": ahead["pid"][enters],
            "energy": ahead["energy"][enters],
            "position": position[enters],
            "direction": ahead["direction"].reshape(-1, 3)[enters],
            "missed": missed,
            "deposited": deposited,
        }

    def _voxels(self, particles: Particles, caught: Mapping[str, Any], deposits: Mapping[str, Any]) -> Arrays:
        n, stack, scale = len(particles), self.request.stack, self.request.detector.energy_scale
        events, points, energies, times = [np.empty(0, np.int64)], [np.empty((0, 3))], [np.empty(0)], [np.empty(0)]
        for name, volume in deposits.items():
            for part, ends in ((volume.line, volume.line["end"]), (volume.point, volume.point["position"])):
                events.append(part["event"].astype(np.int64))
                points.append(ends if stack.shape == "barrel" else off_surfaces(stack, name, ends))
                energies.append(part["value"])
                # A line has the times of both of its ends.
                times.append(part["time"] if part["time"].ndim == 1 else part["time"][:, -1])
        event, point, energy = np.concatenate(events), _MM * np.concatenate(points), np.concatenate(energies)
        time = _NS * np.concatenate(times)
        order = np.argsort(event, kind="stable")
        bounds = np.searchsorted(event[order], np.arange(n + 1))
        theta, phi = particles.theta, particles.phi
        found: dict[str, list[NDArray[Any]]] = {"row": [], "cell": [], "energy": [], "time": []}
        for row in range(n):
            mine = order[bounds[row] : bounds[row + 1]]
            frame = shower_frame(point[mine], particles.position[row], float(theta[row]), float(phi[row]))
            voxels = self._voxelise(frame, energy[mine])
            cells = np.flatnonzero(voxels)
            where = self._voxelise.voxels(frame)
            inside, size = where >= 0, len(voxels)
            # The mean time of the deposits of a voxel, weighted with their energies.
            weighted = np.bincount(where[inside], weights=(energy[mine] * time[mine])[inside], minlength=size)
            total = np.bincount(where[inside], weights=energy[mine][inside], minlength=size)
            found["row"].append(np.full(len(cells), row))
            found["cell"].append(cells)
            found["energy"].append(voxels[cells])
            found["time"].append(weighted[cells] / total[cells])
        leaked = np.zeros(n)
        for sample in caught.values():
            leaked += _summed(sample["event"], available_energy(sample["pid"], sample["energy"]), n)
        return {
            **{name: np.concatenate(parts) for name, parts in found.items()},
            "visible": _summed(event, energy, n) / scale,
            "leaked": leaked,
        }


_CAUGHT = [
    ("event", np.uint64),
    ("pid", np.int32),
    ("energy", np.float64),
    ("position", np.float64, 3),
    ("direction", np.float64, 3),
]
"""What is used of calzone's record of a particle."""


def _summed(rows: NDArray[Any], values: NDArray[Any], n: int) -> NDArray[np.float64]:
    """Sums of values by row, (n,)."""
    return np.bincount(rows.astype(np.int64), weights=values, minlength=n).astype(np.float64)
