"""Simulation of the events of a request with Geant4, one after another, in this process.

Geant4 can abort the process in which it runs; :mod:`fastv.simulation.production` runs it in separate processes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastv.detector.stack import Stack
from fastv.errors import SimulationError
from fastv.showers import Showers
from fastv.simulation.construction import geometry, slab_number
from fastv.simulation.data_sets import DataSets, geant4_version
from fastv.simulation.request import Events, SimulationRequest
from fastv.simulation.voxelisation import Points, Voxeliser, entrance, shower_frame

_MM = 10.0
"""Factor from calzone's cm to mm."""
_OFF_SURFACE = 1e-6
"""Distance in mm that points keep from surfaces; Geant4's own tolerance is 1e-9 mm."""
_WARM_UP = np.array([[2**63, 2**63]], dtype=np.uint64)


@dataclass(frozen=True)
class Track:
    """The track of a particle.

    Attributes:
        pdg: code of the particle.
        energy: initial kinetic energy, MeV.
        process: Geant4's name of the process that produced it; ``Primary`` for the incident particle.
        number, parent: number of the track in its event, and of its parent track (0 if it has none).
        points: points of the track in the frame of the shower, mm, shape (k, 3): the origin is where the incident
            particle enters the calorimeter, z is its direction.
        detector_points: the same points in the frame of the detector.
        energies: kinetic energies at the points, MeV, shape (k,).
        times: times at the points, ns, shape (k,).
    """

    pdg: int
    energy: float
    process: str
    number: int
    parent: int
    points: NDArray[np.float64]
    detector_points: NDArray[np.float64]
    energies: NDArray[np.float64]
    times: NDArray[np.float64]


@dataclass(frozen=True)
class Deposits:
    """Energy deposits in the active slabs of one event.

    Attributes:
        points: end points of the steps in the frame of the shower, mm, shape (n, 3).
        energies: deposited energies, MeV, shape (n,).
        escaped: kinetic energies of particles that left the geometry, by particle code, MeV; empty unless all slabs are
            recorded.
        seconds: processor time of Geant4.
    """

    points: Points
    energies: NDArray[np.float64]
    escaped: dict[int, list[float]]
    seconds: float


class Transport:
    """Geant4 with the geometry and the physics of a request.

    An event depends on the request and its number only, not on events simulated before. Barrels are symmetric in phi,
    so particles are transported at phi = 0; the requested phi is still the one recorded with the shower.

    Args:
        request: what to simulate.
        full: build complete cylinders instead of a sector around the shower; slower, to check that both agree.
        all_active: record deposits in all slabs, to check the conservation of energy; voxels then contain more than the
            visible energy.

    Raises:
        MissingExtraError: calzone is not installed.
        SimulationError: Geant4 lacks data sets, or refuses the geometry.
        SettingsError: a particle needs physics that was not requested.
    """

    def __init__(self, request: SimulationRequest, *, full: bool = False, all_active: bool = False) -> None:
        self.request = request
        version, _ = geant4_version()
        DataSets(version).check(request.physics.em_model, request.physics.had_model, request.particle)
        self._geometry = geometry(request, full=full, all_active=all_active)
        self._all_active = all_active
        self._curved = request.stack.shape == "barrel"
        self._voxelise = Voxeliser(request.detector)

    @cached_property
    def _simulation(self) -> Any:
        """calzone's simulation, with all physics tables computed."""
        import calzone

        physics = self.request.physics
        with readable("Geant4 refuses to start"):
            simulation = calzone.Simulation(
                self._geometry,
                physics=calzone.Physics(physics.em_model, default_cut=physics.cut / _MM, had_model=physics.had_model),
                random=calzone.Random(self.request.geant4_seed),
                sample_deposits="detailed",
                sample_particles=True,  # the result then always has named parts
            )
            # The physics tables are computed for the first particle, so this keeps them out of the time of any event.
            simulation.run(
                calzone.particles(1, pid=22, energy=1e-3, position=[0.0] * 3, direction=[0.0, 0.0, 1.0]),
                random_indices=_WARM_UP,
            )
        return simulation

    @cached_property
    def _provenance(self) -> dict[str, Any]:
        return self.request.provenance()

    def showers(self, events: NDArray[np.int64] | Sequence[int]) -> Showers:
        """Simulate showers, in the order of the given numbers.

        They have angles and particle codes, and extra columns: ``event`` (number), ``cpu_seconds`` (processor time of
        Geant4) and, with a position spread, ``start_position`` (N, 3) in mm.

        Args:
            events: numbers of the events (N,).

        Raises:
            SimulationError: Geant4 fails on an event; the message names it.
        """
        asked = self.request.events(np.asarray(events, dtype=np.int64))
        energies = np.empty((len(asked), self.request.detector.mesh.n_voxels), dtype=np.float32)
        seconds = np.empty(len(asked), dtype=np.float32)
        for row in range(len(asked)):
            deposits = self._deposits(asked, row)
            energies[row] = self._voxelise(deposits.points, deposits.energies)
            seconds[row] = deposits.seconds
        extra: dict[str, NDArray[Any]] = {"event": asked.numbers, "cpu_seconds": seconds}
        if self.request.position_spread:
            extra["start_position"] = asked.position.astype(np.float32)
        return Showers.of(asked.conditions, energies, self.request.detector, extra=extra, provenance=self._provenance)

    def deposits(self, event: int) -> Deposits:
        """Simulate an event and return its single deposits.

        Raises:
            SimulationError: Geant4 fails on it.
        """
        return self._deposits(self.request.events(np.array([event])), 0)

    def tracks(self, event: int, *, above: float = 0.0) -> list[Track]:
        """Simulate an event and return the tracks of all particles that start with at least ``above`` MeV.

        The event is the same as without tracks.

        Raises:
            SimulationError: Geant4 fails on it.
        """
        asked = self.request.events(np.array([event]))
        self._simulation.tracking = True
        try:
            result, _, frame = self._run(asked, 0)
        finally:
            self._simulation.tracking = False
        # A stable sort keeps the points of a track in their order.
        vertices = result.vertices[np.argsort(result.vertices["tid"], kind="stable")]
        numbers, first = np.unique(vertices["tid"], return_index=True)
        ends = np.append(first[1:], len(vertices))
        known = {int(track["tid"]): track for track in result.tracks}
        tracks = []
        for number, start, end in zip(numbers.tolist(), first.tolist(), ends.tolist(), strict=True):
            path = vertices[start:end]
            if path["energy"][0] < above:
                continue
            corners = _MM * path["position"]
            track = known[number]
            tracks.append(
                Track(
                    pdg=int(track["pid"]),
                    energy=float(path["energy"][0]),
                    process=track["creator"].decode(),
                    number=number,
                    parent=int(track["parent"]),
                    points=frame.shower(corners),
                    detector_points=frame.detector(corners),
                    energies=path["energy"].astype(np.float64),
                    times=1e9 * path["time"],
                )
            )
        return tracks

    def _run(self, events: Events, row: int) -> tuple[Any, float, _Frame]:
        """One event: calzone's result, the processor time it took, and its frames."""
        import calzone

        frame = _Frame(self.request, events, row)
        particle = calzone.particles(
            1,
            pid=int(events.conditions.columns["particle"][row]),
            energy=float(events.conditions.energy[row]),
            position=(frame.position / _MM).tolist(),
            direction=frame.direction.tolist(),
        )
        simulation = self._simulation
        started = time.process_time()
        with readable(f"event {int(events.numbers[row])}: Geant4 fails"):
            result = simulation.run(particle, random_indices=events.random_indices[row : row + 1])
        return result, time.process_time() - started, frame

    def _deposits(self, events: Events, row: int) -> Deposits:
        result, seconds, frame = self._run(events, row)
        points, energies = [np.empty((0, 3))], [np.empty(0)]
        for name, volume in result.deposits.items():
            # Energy lost to displaced atoms is recorded at points, the rest along lines.
            ends = [volume.line["end"], volume.point["position"]]
            points += ends if self._curved else [off_surfaces(self.request.stack, name, each) for each in ends]
            energies += [volume.line["value"], volume.point["value"]]
        escaped: dict[int, list[float]] = {}
        if self._all_active:
            for sample in result.particles.values():
                for code, energy in zip(sample["pid"].tolist(), sample["energy"].tolist(), strict=True):
                    escaped.setdefault(code, []).append(energy)
        return Deposits(frame.shower(_MM * np.concatenate(points)), np.concatenate(energies), escaped, seconds)


def off_surfaces(stack: Stack, volume: str, points: Points) -> Points:
    """End points of steps (n, 3) in cm, moved off the surfaces of their planar slab.

    A step often ends on a surface, which is often a boundary of the mesh, too, and rounding must not decide on which
    side the deposit lies. The curved surfaces of a barrel never coincide with those of a mesh.

    Args:
        stack: a planar stack.
        volume: name of the volume of the slab.
        points: the points.
    """
    slab = slab_number(volume)
    front, back = (stack.front + stack.boundaries[slab : slab + 2]) / _MM
    inside = points.copy()
    inside[:, 2] = np.clip(points[:, 2], front + _OFF_SURFACE / _MM, back - _OFF_SURFACE / _MM)
    return inside


class _Frame:
    """The frame in which an event is transported; for a barrel it is rotated so that the direction has phi = 0."""

    def __init__(self, request: SimulationRequest, events: Events, row: int) -> None:
        stack = request.stack
        self._theta, phi = (float(events.conditions.columns[name][row]) for name in ("theta", "phi"))
        self._turn = phi if stack.shape == "barrel" else 0.0
        self._phi = phi - self._turn
        self.position = _turned(events.position[row : row + 1], -self._turn)[0]
        sine = np.sin(self._theta)
        self.direction = np.array([sine * np.cos(self._phi), sine * np.sin(self._phi), np.cos(self._theta)])
        self._entrance = entrance(stack, self.position, self.direction)

    def shower(self, points: Points) -> Points:
        """Points (n, 3) in mm, transformed to the frame of the shower."""
        return shower_frame(points, self._entrance, self._theta, self._phi)

    def detector(self, points: Points) -> Points:
        """Points (n, 3) in mm, transformed to the frame of the detector."""
        return _turned(points, self._turn)


def _turned(points: Points, phi: float) -> Points:
    """Points (n, 3) rotated by phi around the z axis."""
    turned = points.copy()
    turned[:, 0] = np.cos(phi) * points[:, 0] - np.sin(phi) * points[:, 1]
    turned[:, 1] = np.sin(phi) * points[:, 0] + np.cos(phi) * points[:, 1]
    return turned


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Convert any exception of calzone to a :class:`SimulationError` of one line."""
    try:
        yield
    except Exception as error:
        msg = f"{what}: {' '.join(str(error).split()) or type(error).__name__}"
        raise SimulationError(msg) from error
