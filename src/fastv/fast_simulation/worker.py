"""The process in which Geant4 transports given particles: ``python -m fastv.fast_simulation.worker PARENT SECONDS``.

It reads a :class:`~fastv.fast_simulation.request.TransportRequest` and then tasks, as
:mod:`fastv.simulation.worker` does: ``{"particles": {...}, "random_indices": [...]}`` for one event.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastv.fast_simulation.particles import Particles
from fastv.fast_simulation.request import TransportRequest
from fastv.fast_simulation.transport import Transport
from fastv.simulation.messages import packed_arrays
from fastv.simulation.worker import Send, serve


def _opened(request: bytes) -> Callable[[dict[str, Any], Send], None]:
    transport = Transport(TransportRequest.model_validate_json(request))

    def do(task: dict[str, Any], send: Send) -> None:
        arrays = transport.run(Particles.of(**task["particles"]), np.array(task["random_indices"], dtype=np.uint64))
        send("particles", data=packed_arrays(arrays))

    return do


if __name__ == "__main__":
    serve(_opened)
