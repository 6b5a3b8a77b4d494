"""Pools of workers that simulate events: processes on this machine, or the workers of a Dask cluster.

A pool takes events and returns futures of their showers. Both kinds run Geant4 in a :class:`GeantProcess`, replace
processes that die, and simulate failed events again.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

from fastv._version import __version__
from fastv.errors import FastVError, MissingExtraError, SimulationError
from fastv.installation import how_to_install
from fastv.simulation.messages import packed_showers, packed_tracks, unpacked_showers, unpacked_tracks
from fastv.simulation.process import GeantProcess, ShowerError
from fastv.simulation.request import SimulationRequest

if TYPE_CHECKING:
    from fastv.showers import Showers
    from fastv.simulation.tracks import Tracks

ATTEMPTS = 3
"""Number of attempts to simulate events."""

CONNECT_SECONDS = 20.0
"""Time in s within which a scheduler must answer."""


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


def usable_processors() -> int:
    """Number of processors that this process may use; batch systems often grant only some of them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
        SimulationError: the scheduler does not answer, or asks for a certificate that is not set.
        MissingExtraError: Dask is not installed.
    """

    def __init__(self, request: SimulationRequest, address: str) -> None:
        try:
            from distributed import Client
            from distributed.security import Security
        except ImportError as error:
            msg = f"`scheduler` needs Dask; {how_to_install('cluster')}"
            raise MissingExtraError(msg) from error
        how = cast(Any, Security)().get_connection_args("client")
        if address.startswith("tls://") and how.get("ssl_context") is None:
            msg = (
                f"{address} asks for a certificate, and none is set: set DASK_DISTRIBUTED__COMM__TLS__CA_FILE, and "
                "..._TLS__CLIENT__KEY and ..._TLS__CLIENT__CERT, as for the scheduler"
            )
            raise SimulationError(msg)
        # A lost scheduler is reported as an error of FastV, not by a traceback from Dask.
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
        try:
            client: Any = cast(Any, Client)(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            msg = f"no Dask scheduler answers at {address} ({_first_line(error)}); start one, or leave `scheduler` out"
            raise SimulationError(msg) from error
        self._client, self.address = client, address
        # Unlike scattered data, the result of a task is recomputed if the worker that holds it is lost.
        self._task = self._client.submit(str, request.model_dump_json(), pure=False)
        self._detector = request.detector
        self._executor: Executor = self._client.get_executor(pure=False, retries=ATTEMPTS - 1)

    @property
    def workers(self) -> int:
        """Number of threads of the workers that are connected now."""
        return sum(self._client.nthreads().values())

    def provenance(self) -> dict[str, Any]:
        """Provenance of the showers; waits for a worker."""
        provenance: dict[str, Any] = self._submit(json.loads, _provenance).result()
        return provenance

    def showers(self, events: Sequence[int]) -> Future[Showers]:
        """Simulate events; the future has their showers."""
        return self._submit(partial(unpacked_showers, detector=self._detector), _showers, list(events))

    def tracks(self, event: int, above: float) -> Future[Tracks]:
        """Simulate one event; the future has its tracks."""
        return self._submit(unpacked_tracks, _tracks, event, above)

    def close(self) -> None:
        """Cancel unfinished tasks; workers finish those that they are running."""
        with suppress(Exception):  # the scheduler may be gone
            self._client.close(timeout=5)

    def _submit(self, unpack: Callable[[Any], Any], task: Callable[..., str | bytes], *arguments: Any) -> Future[Any]:
        """Submit a task and unpack its result; exceptions of Dask become errors of FastV."""
        translated: Future[Any] = Future()

        def finish(future: Future[Any]) -> None:
            if future.cancelled():
                msg = f"the scheduler {self.address} was lost; finished showers are kept, the same command continues"
                translated.set_exception(SimulationError(msg))
            elif (error := future.exception()) is None:
                translated.set_result(unpack(future.result()))
            elif isinstance(error, FastVError | ShowerError):
                translated.set_exception(error)
            elif type(error).__name__ == "KilledWorker":
                translated.set_exception(ShowerError("the workers that simulated these events died one after another"))
            else:
                msg = f"a worker of {self.address} failed: {type(error).__name__}: {_first_line(error)}"
                translated.set_exception(SimulationError(msg))

        self._executor.submit(task, self._task, __version__, *arguments).add_done_callback(finish)
        return translated


# The functions below run in threads of Dask's workers. Each thread keeps its process for further events. The request is
# sent as JSON, results as JSON or bytes, so that Dask transfers only strings, numbers and bytes.
_worker = threading.local()


def _provenance(request: str, version: str) -> str:
    _check_version(version)
    return json.dumps(SimulationRequest.model_validate_json(request).provenance())


def _showers(request: str, version: str, events: Sequence[int]) -> bytes:
    _check_version(version)
    return packed_showers(_on_worker(request, lambda process: process.showers(events)))


def _tracks(request: str, version: str, event: int, above: float) -> bytes:
    _check_version(version)
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


def _check_version(version: str) -> None:
    if version != __version__:
        msg = f"{socket.gethostname()} has FastV {__version__}, this is FastV {version}; install the same on both"
        raise SimulationError(msg)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
