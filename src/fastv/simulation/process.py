"""Geant4 in a separate process, controlled by a Python object: a crash of Geant4 becomes an exception."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, Self

from fastv.simulation.data_sets import OVERRIDES, VARIABLE, data_folder
from fastv.simulation.messages import receive, unpacked_error, unpacked_showers, unpacked_tracks

if TYPE_CHECKING:
    from fastv.detector.detector import Detector
    from fastv.showers import Showers
    from fastv.simulation.tracks import Tracks

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
"""Each worker uses one thread; the number of workers is chosen by the user."""


class ShowerError(Exception):
    """Geant4 failed in a way that another attempt may avoid; the message says where, with Geant4's last output."""


class Request(Protocol):
    """What is to be simulated, such as a :class:`fastv.simulation.request.SimulationRequest`."""

    @property
    def detector(self) -> Detector:
        """The detector."""

    def model_dump_json(self) -> str:
        """The request as JSON."""


class GeantProcess:
    """A process that runs Geant4 for one request.

    The process starts when the object is created. It ends with :meth:`close`, with the thread that created it, or after
    ``idle_seconds`` without work.

    Args:
        request: what to simulate.
        idle_seconds: time without work after which the process ends.

    Raises:
        ShowerError: the system cannot start another process.
    """

    module = "fastv.simulation.worker"
    """The module that runs in the process."""

    def __init__(self, request: Request, idle_seconds: float = 120.0) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115, it lives as long as the process
        environment = {name: value for name, value in os.environ.items() if name not in OVERRIDES}
        environment |= {**dict.fromkeys(_THREADS, "1"), VARIABLE: str(data_folder())}
        # -P: a random.py in the user's folder must not be imported instead of Python's.
        command = [sys.executable, "-P", "-m", self.module, str(os.getpid()), str(idle_seconds)]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, env=environment
            )
        except OSError as error:  # no memory, or too many processes
            self._log.close()
            msg = f"cannot start a process for Geant4: {error.strerror or error}"
            raise ShowerError(msg) from error
        self._detector = request.detector
        self._request: str | None = request.model_dump_json()

    def showers(self, events: Sequence[int], on_event: Callable[[int], None] | None = None) -> Showers:
        """Simulate events.

        Args:
            events: numbers of the events.
            on_event: called with the number of each finished event.

        Raises:
            ShowerError: Geant4 failed; the message names the event.
            FastVError: the request cannot be simulated, so another attempt would fail too.
        """
        for kind, content, data in self._answers({"events": [int(event) for event in events]}, events):
            if kind == "showers":
                return unpacked_showers(data, self._detector)
            if on_event is not None:
                on_event(content)
        raise AssertionError  # the answers end with showers or with an exception

    def tracks(self, event: int, above: float = 0.0) -> Tracks:
        """Simulate one event and return its tracks that start with a kinetic energy above ``above`` in MeV.

        Raises:
            ShowerError: Geant4 failed.
            FastVError: the request cannot be simulated.
        """
        _, _, data = next(self._answers({"tracks": event, "above": above}, [event]))
        return unpacked_tracks(data)

    @property
    def alive(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End the process at once, from any thread; its current task fails."""
        self._process.kill()

    def close(self) -> None:
        """End the process and release its resources; to be called by the thread that uses it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            with suppress(OSError):  # the other end of a pipe may be closed
                pipe.close()  # type: ignore[union-attr]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_process"):  # it was started
            self.close()

    def _answers(self, task: dict[str, Any], events: Sequence[int]) -> Iterator[tuple[str, Any, bytes]]:
        """Send a task and yield the answers: kind, content and bytes of each message."""
        where = "Geant4 does not start"
        try:
            if self._request is not None:
                self._write(self._request)
                self._read(where)
                self._request = None
            where = _event(events, 0)
            self._write(json.dumps(task))
            finished = 0
            while True:
                kind, content, data = self._read(where)
                finished += kind == "event"
                where = _event(events, finished)
                yield kind, content, data
        except (EOFError, OSError) as error:
            msg = f"{where}: {self._last_words()}"
            raise ShowerError(msg) from error
        except ValueError as error:
            self._process.kill()
            self._process.wait()
            msg = f"{where}: the answer of its process cannot be read ({error})"
            raise ShowerError(msg) from error

    def _write(self, line: str) -> None:
        pipe = self._process.stdin
        assert pipe is not None  # requested when the process was started
        pipe.write(line.encode() + b"\n")
        pipe.flush()

    def _read(self, where: str) -> tuple[str, Any, bytes]:
        pipe = self._process.stdout
        assert pipe is not None
        kind, content, data = receive(pipe)
        if kind in ("refused", "failed"):
            # This was its last answer: it must not be used again.
            self._process.kill()
            self._process.wait()
        if kind == "refused":
            raise unpacked_error(content)
        if kind == "failed":
            raise ShowerError(content if content.startswith(where) else f"{where}: {content}")
        return kind, content, data

    def _last_words(self) -> str:
        """How the process ended, with its last output."""
        code = self._process.wait()
        if code == -9:
            how = "it was killed, perhaps because memory ran out"
        else:
            how = f"it was ended by {signal.Signals(-code).name}" if code < 0 else f"it ended with code {code}"
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - 4000))
        lines = self._log.read().decode(errors="replace").splitlines()
        # Geant4 ends its output with a line of stars.
        said = [line.strip() for line in lines if line.strip() and not line.startswith("***")]
        return f"{how}: {said[-1][:500]}" if said else how


def _event(events: Sequence[int], finished: int) -> str:
    return f"event {events[min(finished, len(events) - 1)]}"
