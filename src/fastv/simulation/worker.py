"""The process in which Geant4 runs, and only here: ``python -m fastv.simulation.worker PARENT IDLE_SECONDS``.

It reads a request and then tasks, one JSON text a line, from standard input, and answers on standard output as
:mod:`fastv.simulation.messages` describes. A crash of Geant4 ends this process and no other. What Geant4 prints goes to
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
from fastv.simulation.messages import packed_showers, packed_tracks, told_error
from fastv.simulation.request import SimulationRequest
from fastv.simulation.tracks import Tracks
from fastv.simulation.transport import Transport

Send = Callable[..., None]


def main() -> None:
    """Serve the process that started this one until it closes its end, ends, or asks for nothing for long."""
    parent, idle_seconds = int(sys.argv[1]), float(sys.argv[2])
    _end_with(parent)
    # Ctrl-C reaches all processes of a terminal; it is for the parent to decide.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    send = partial(messages.send, os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)

    transport = None
    try:
        request = SimulationRequest.model_validate_json(sys.stdin.buffer.readline())
        transport = Transport(request)
        send("ready")
        while task := _next_task(idle_seconds):
            _do(task, transport, send)
    except BaseException as error:  # a panic of calzone is no Exception
        # What Geant4 refuses for one event it may do for another, or in another process.
        passing = transport is not None and isinstance(error, SimulationError)
        if isinstance(error, FastVError) and not passing:
            send("refused", told_error(error))
        else:
            send("failed", str(error) if passing else f"{type(error).__name__}: {error}")


def _do(task: dict[str, Any], transport: Transport, send: Send) -> None:
    """Answer a task: ``{"events": [...]}`` with showers, ``{"tracks": event}`` with its tracks."""
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
    """The next task; None when the parent has closed its end, or none comes in time."""
    # The parent waits for the answer before it sends more, so nothing is left in the buffer that select cannot see.
    if sys.platform != "win32" and not select.select([sys.stdin.buffer], [], [], seconds)[0]:
        return None
    line = sys.stdin.buffer.readline()
    task: dict[str, Any] | None = json.loads(line) if line else None
    return task


def _end_with(parent: int) -> None:
    """Have this process end when its parent does, in whatever way."""
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
