"""The only process in which Geant4 runs: ``python -m fastv.simulation.worker PARENT IDLE_SECONDS``.

It reads a request and then tasks from standard input, one line of JSON each, and answers on standard output as
described in :mod:`fastv.simulation.messages`. A crash of Geant4 ends only this process. Output of Geant4 goes to
standard error.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from fastv.errors import FastVError, SimulationError
from fastv.showers import joined
from fastv.simulation import messages
from fastv.simulation.messages import packed_error, packed_showers, packed_tracks
from fastv.simulation.request import SimulationRequest
from fastv.simulation.tracks import Tracks
from fastv.simulation.transport import Transport

Send = Callable[..., None]


def main() -> None:
    """Serve the parent process: showers and tracks of the events of a request."""
    serve(_opened)


def serve(opened: Callable[[bytes], Callable[[dict[str, Any], Send], None]]) -> None:
    """Serve the parent process until it closes the pipe, ends, or sends no task for ``IDLE_SECONDS``.

    Args:
        opened: function of the request, as JSON, that gives the function that answers a task.
    """
    parent, idle_seconds = int(sys.argv[1]), float(sys.argv[2])
    _end_with(parent)
    # Ctrl-C reaches all processes of a terminal; only the parent handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    send = partial(messages.send, os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)

    do = None
    try:
        do = opened(sys.stdin.buffer.readline())
        send("ready")
        while task := _next_task(idle_seconds):
            do(task, send)
    except BaseException as error:  # a panic of calzone is not an Exception
        # A failure of one event may not occur for other events, or in another process.
        passing = do is not None and isinstance(error, SimulationError)
        if isinstance(error, FastVError) and not passing:
            send("refused", packed_error(error))
        else:
            send("failed", str(error) if passing else f"{type(error).__name__}: {error}")


def _opened(request: bytes) -> Callable[[dict[str, Any], Send], None]:
    transport = Transport(SimulationRequest.model_validate_json(request))
    return lambda task, send: _do(task, transport, send)


def _do(task: dict[str, Any], transport: Transport, send: Send) -> None:
    """Answer a task: ``{"events": [...]}`` with showers, ``{"tracks": event, "above": MeV}`` with tracks."""
    if "tracks" in task:
        tracks = Tracks.of(transport.tracks(task["tracks"], above=task["above"]))
        send("tracks", data=packed_tracks(tracks))
        return
    showers = []
    for event in task["events"]:
        showers.append(transport.showers([event]))
        send("event", event)
    send("showers", data=packed_showers(joined(showers)))


def _next_task(seconds: float) -> dict[str, Any] | None:
    """The next task; None if the parent has closed the pipe, or no task arrives in time."""
    # The parent waits for each answer, so no task can be in the buffer, which select does not see.
    if sys.platform != "win32" and not select.select([sys.stdin.buffer], [], [], seconds)[0]:
        return None
    line = sys.stdin.buffer.readline()
    task: dict[str, Any] | None = json.loads(line) if line else None
    return task


def _end_with(parent: int) -> None:
    """Make this process end when its parent ends, however that happens."""
    if sys.platform == "linux":
        import ctypes

        death_signal = 1  # PR_SET_PDEATHSIG
        if ctypes.CDLL(None).prctl(death_signal, signal.SIGKILL) == 0 and os.getppid() == parent:
            return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main()
