"""Pools of workers that simulate events: processes on this machine, or the workers of a Dask cluster.

A pool takes events and returns futures of their showers. Both kinds run Geant4 in a :class:`GeantProcess`, replace
processes that die, and simulate failed events again.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from fastv.cluster import ATTEMPTS, Cluster, check_version
from fastv.errors import SimulationError
from fastv.simulation.messages import packed_showers, packed_tracks, unpacked_showers, unpacked_tracks
from fastv.simulation.process import GeantProcess, ShowerError
from fastv.simulation.request import SimulationRequest

if TYPE_CHECKING:
    from fastv.showers import Showers
    from fastv.simulation.tracks import Tracks


class Pool(Protocol):
    """The interface of pools."""

    def provenance(self) -> dict[str, Any]:
        """Provenance of the showers, as determined where they are simulated."""

    def showers(self, events: Sequence[int]) -> Future[Showers]:
        """Simulate events; the future has their showers.

        It raises a ``ShowerError`` if the events failed :data:`ATTEMPTS` times, and a ``FastVError`` if the request
        cannot be simulated.
        """

    def tracks(self, event: int, above: float) -> Future[Tracks]:
        """Simulate one event; the future has its tracks that start above ``above`` in MeV. Errors as for showers."""

    def close(self) -> None:
        """End all processes and cancel unfinished tasks."""


class LocalPool:
    """A pool of processes on this machine.

    Args:
        request: what to simulate.
        workers: number of processes.
        on_event: called, from any thread, with the number of each finished event.
    """

    def __init__(self, request: SimulationRequest, workers: int, on_event: Callable[[int], None] | None = None) -> None:
        self._request = request
        self._on_event = on_event
        # Each thread controls a process of its own.
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="geant4")
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._processes: list[GeantProcess] = []
        self._closing = False

    def provenance(self) -> dict[str, Any]:
        """Provenance of the showers."""
        return self._request.provenance()

    def showers(self, events: Sequence[int]) -> Future[Showers]:
        """Simulate events; the future has their showers."""
        return self._threads.submit(self._tried, lambda process: process.showers(events, self._on_event))

    def tracks(self, event: int, above: float) -> Future[Tracks]:
        """Simulate one event; the future has its tracks."""
        return self._threads.submit(self._tried, lambda process: process.tracks(event, above))

    def close(self) -> None:
        """End all processes and cancel unfinished tasks."""
        with self._lock:
            self._closing = True
            for process in self._processes:
                process.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for process in self._processes:
            process.close()

    def _tried(self, task: Callable[[GeantProcess], Any]) -> Any:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return task(self._process())
            except ShowerError as error:
                self._drop()
                if attempt == ATTEMPTS or self._closing:
                    msg = f"{error} (tried {attempt} times)"
                    raise ShowerError(msg) from error
        raise AssertionError  # the last attempt returns or raises

    def _process(self) -> GeantProcess:
        """The process of this thread; a new one if it has none that is running."""
        mine: GeantProcess | None = getattr(self._mine, "process", None)
        if mine is not None and not mine.alive:
            self._drop()
            mine = None
        if mine is None:
            with self._lock:
                if self._closing:
                    msg = "the simulation was stopped"
                    raise SimulationError(msg)
                mine = self._mine.process = GeantProcess(self._request)
                self._processes.append(mine)
        return mine

    def _drop(self) -> None:
        process: GeantProcess | None = self._mine.__dict__.pop("process", None)
        if process is not None:
            with self._lock:
                self._processes.remove(process)
            process.close()


class ClusterPool:
    """A pool of workers of a Dask cluster, on which FastV and the data sets of Geant4 must be installed.

    Args:
        request: what to simulate.
        address: address of the scheduler, such as ``tcp://host:8786``.

    Raises:
        ClusterError: the scheduler does not answer, or asks for a certificate that is not set.
        MissingExtraError: Dask is not installed.
    """

    def __init__(self, request: SimulationRequest, address: str) -> None:
        self._cluster = Cluster(address, ShowerError)
        self._request = self._cluster.shared(request.model_dump_json())
        self._detector = request.detector

    @property
    def workers(self) -> int:
        """Number of threads of the workers that are connected now."""
        return self._cluster.workers

    def provenance(self) -> dict[str, Any]:
        """Provenance of the showers; waits for a worker."""
        provenance: dict[str, Any] = self._cluster.submit(json.loads, _provenance, self._request).result()
        return provenance

    def showers(self, events: Sequence[int]) -> Future[Showers]:
        """Simulate events; the future has their showers."""
        unpack = partial(unpacked_showers, detector=self._detector)
        return self._cluster.submit(unpack, _showers, self._request, list(events))

    def tracks(self, event: int, above: float) -> Future[Tracks]:
        """Simulate one event; the future has its tracks."""
        return self._cluster.submit(unpacked_tracks, _tracks, self._request, event, above)

    def close(self) -> None:
        """Cancel unfinished tasks; workers finish those that they are running."""
        self._cluster.close()


# The functions below run in threads of Dask's workers. Each thread keeps its process for further events. The request is
# sent as JSON, results as JSON or bytes, so that Dask transfers only strings, numbers and bytes.
_worker = threading.local()


def _provenance(version: str, request: str) -> str:
    check_version(version)
    return json.dumps(SimulationRequest.model_validate_json(request).provenance())


def _showers(version: str, request: str, events: Sequence[int]) -> bytes:
    check_version(version)
    return packed_showers(_on_worker(request, lambda process: process.showers(events)))


def _tracks(version: str, request: str, event: int, above: float) -> bytes:
    check_version(version)
    return packed_tracks(_on_worker(request, lambda process: process.tracks(event, above)))


def _on_worker(request: str, task: Callable[[GeantProcess], Any]) -> Any:
    mine: tuple[str, GeantProcess] | None = getattr(_worker, "mine", None)
    if mine is None or mine[0] != request or not mine[1].alive:
        if mine is not None:
            mine[1].close()
        mine = _worker.mine = (request, GeantProcess(SimulationRequest.model_validate_json(request)))
    try:
        return task(mine[1])
    except ShowerError as error:
        mine[1].close()
        del _worker.mine
        msg = f"{error} (on {socket.gethostname()}, tried {ATTEMPTS} times)"
        raise ShowerError(msg) from error
