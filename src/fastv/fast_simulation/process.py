"""Geant4 in a separate process that transports given particles, started when needed and replaced when it dies."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fastv.errors import SimulationError
from fastv.fast_simulation.particles import Particles
from fastv.fast_simulation.request import TransportRequest
from fastv.simulation.messages import unpacked_arrays
from fastv.simulation.process import GeantProcess, ShowerError

_ATTEMPTS = 3
_NEVER_IDLE = 1e6
"""Seconds: the process ends with its parent, which may be busy elsewhere for long."""


class _Process(GeantProcess):
    module = "fastv.fast_simulation.worker"

    def run(self, particles: Particles, random_indices: NDArray[np.uint64]) -> dict[str, NDArray[Any]]:
        columns = {name: column.tolist() for name, column in particles.columns.items()}
        task = {"particles": columns, "random_indices": random_indices.tolist()}
        _, _, data = next(self._answers(task, [int(particles.event[0])]))
        return unpacked_arrays(data)


class Geant4:
    """Geant4 for one request; its process starts with the first event.

    Args:
        request: what to transport.
    """

    def __init__(self, request: TransportRequest) -> None:
        self.request = request
        self._process: _Process | None = None

    def run(self, particles: Particles, random_indices: NDArray[np.uint64]) -> dict[str, NDArray[Any]]:
        """Transport the particles of one event, see :meth:`fastv.fast_simulation.transport.Transport.run`.

        Raises:
            SimulationError: Geant4 fails on the event three times, or lacks data sets.
        """
        for attempt in range(_ATTEMPTS):
            try:
                if self._process is None:
                    self._process = _Process(self.request, _NEVER_IDLE)
                return self._process.run(particles, random_indices)
            except ShowerError as error:
                self.close()
                if attempt == _ATTEMPTS - 1:
                    raise SimulationError(str(error)) from error
        raise AssertionError  # the last attempt returns or raises

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
