"""Python imports this first in every process that the tests start: it puts a stand-in in the place of Geant4.

The stand-in draws voxels at random from seed and event, at once. FAKE_GEANT4, a JSON text, makes it misbehave.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import types
from pathlib import Path
from typing import Any


class Transport:
    """As :class:`fastv.simulation.transport.Transport`, without Geant4."""

    def __init__(self, request: Any) -> None:
        self.request = request
        self.faults = json.loads(os.environ.get("FAKE_GEANT4", "{}"))
        if said := self.faults.get("refuse"):
            from fastv.errors import SettingsError

            raise SettingsError(said)

    def showers(self, events: list[int]) -> Any:
        import numpy as np

        from fastv.showers import Showers

        asked = self.request.events(np.asarray(events))
        rows = []
        for event in events:
            self._misbehave(event)
            rng = np.random.default_rng((self.request.seed, event))
            rows.append(rng.random(self.request.detector.mesh.n_voxels, dtype=np.float32))
        return Showers.of(
            asked.conditions,
            np.stack(rows),
            self.request.detector,
            extra={"event": asked.numbers, "cpu_seconds": np.full(len(events), time.process_time())},
            provenance=self.request.provenance(),
        )

    def _misbehave(self, event: int) -> None:
        time.sleep(self.faults.get("seconds", 0.0))
        if event == self.faults.get("refuse_event"):
            from fastv.errors import SettingsError

            msg = "no more"
            raise SettingsError(msg)
        if event not in self.faults.get("events", []):
            return
        marker = self.faults.get("once")
        if marker is not None:
            if Path(marker).exists():
                return
            Path(marker).touch()
        kind = self.faults["kind"]
        if kind == "abort":
            print("G4Something(had014): Data file </a/b> is not opened!\n\n*** G4Exception: Aborting execution ***\n")
            sys.stdout.flush()
            os.abort()
        elif kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif kind == "raise":
            msg = "no such luck"
            raise RuntimeError(msg)
        elif kind == "fail":
            from fastv.errors import SimulationError

            msg = f"event {event}: Geant4 fails: stuck"
            raise SimulationError(msg)

    def tracks(self, event: int, *, above: float = 0.0) -> list[Any]:
        import numpy as np

        self._misbehave(event)
        rng = np.random.default_rng(event)
        tracks = []
        for number in range(1, 6):
            corners = number + 1
            energies = rng.random(corners) * number
            track = types.SimpleNamespace(
                pdg=11 if number > 1 else 22,
                energy=float(energies[0]),
                process="eBrem" if number > 1 else "Primary",
                number=number,
                parent=number - 1,
                points=rng.random((corners, 3)),
                detector_points=rng.random((corners, 3)),
                energies=energies,
                times=np.arange(corners),
            )
            if track.energy >= above:
                tracks.append(track)
        return tracks


calzone: Any = types.ModuleType("calzone")
calzone.GEANT4_VERSION, calzone.VERSION = "11.4.0", "1.2.2"
transport: Any = types.ModuleType("fastv.simulation.transport")
transport.Transport = Transport
sys.modules[calzone.__name__] = calzone
sys.modules[transport.__name__] = transport
