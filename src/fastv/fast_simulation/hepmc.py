"""Events of generators in files: HepMC3 in ASCII, read with pyhepmc."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fastv.errors import FileFormatError
from fastv.fast_simulation.particles import ELECTRON_MASS, LIGHT, Particles, joined_particles
from fastv.formats.contract import needs_extra
from fastv.storage.guard import check_regular
from fastv.wording import counted

_FIRST, _LAST = b"HepMC::Asciiv3-START_EVENT_LISTING", b"HepMC::Asciiv3-END_EVENT_LISTING"
_STABLE = 1
"""Status of particles that leave the collision."""
_MASSES = {11: ELECTRON_MASS, 22: 0.0}
"""Masses in MeV by the absolute code, where those of a file are rounded too much or absent."""
_MOST_LINE = 10**6
_GZIP = b"\x1f\x8b"
"""How compressed files begin."""


class HepMCFile:
    """The particles of status 1 of the events of a file, in HepMC3's ASCII format.

    Args:
        path: the file.
        n: number of events, from the first on; by default all.

    Raises:
        MissingExtraError: pyhepmc is not installed.
        FileFormatError: the file is missing, is no such file, ends in the middle or has fewer events.
    """

    def __init__(self, path: str | Path, n: int | None = None) -> None:
        self.path = Path(path)
        check_regular(self.path, "a file of events")
        held = _check_whole(self.path)
        if n is not None and n > held:
            msg = f"{self.path}: has {counted(held, 'event')}, not {n}"
            raise FileFormatError(msg)
        self._n = held if n is None else n
        if not self._n:
            msg = f"{self.path}: has no events"
            raise FileFormatError(msg)
        self.codes = tuple(sorted({code for event in self.events() for code in event.pdg.tolist()}))

    def __len__(self) -> int:
        return self._n

    def blocks(self, size: int) -> Iterator[tuple[range, Particles]]:
        """The numbers and the particles of ``size`` events at a time, in order."""
        events = self.events()
        for start in range(0, self._n, size):
            numbers = range(start, min(start + size, self._n))
            yield numbers, joined_particles([next(events) for _ in numbers])

    def events(self) -> Iterator[Particles]:
        """The particles of each event, in order."""
        with needs_extra("`events`", "pyhepmc", "hepmc"):
            import pyhepmc
        number = 0
        with pyhepmc.open(str(self.path), format="HepMC3") as file:
            for event in file:
                if number == self._n:
                    return
                yield self._particles(event, number)
                number += 1
        if number < self._n:
            msg = f"{self.path}: damaged at event {number}"
            raise FileFormatError(msg)

    def _particles(self, event: Any, number: int) -> Particles:
        import pyhepmc

        event.set_units(pyhepmc.Units.MEV, pyhepmc.Units.MM)
        stable = [particle for particle in event.particles if particle.status == _STABLE]
        momentum = np.array([[p.momentum.px, p.momentum.py, p.momentum.pz] for p in stable]).reshape(-1, 3)
        mass = np.array([_MASSES.get(abs(p.pid), p.generated_mass) for p in stable])
        square = (momentum**2).sum(axis=1)
        vertices = [p.production_vertex.position if p.production_vertex else None for p in stable]
        place = np.array([(v.x, v.y, v.z, v.t) if v else (0.0,) * 4 for v in vertices]).reshape(-1, 4)
        if not (np.isfinite(square) & np.isfinite(mass) & (square > 0)).all() or not np.isfinite(place).all():
            msg = f"{self.path}: event {number} has a particle without momentum, or one that is not finite"
            raise FileFormatError(msg)
        return Particles.of(
            event=np.full(len(stable), number),
            primary=np.arange(len(stable)),
            pdg=[p.pid for p in stable],
            # As sqrt(p2 + m2) - m, without the loss of digits.
            energy=square / (np.sqrt(square + mass**2) + mass),
            position=place[:, :3],
            direction=momentum / np.sqrt(square)[:, None],
            time=place[:, 3] / LIGHT,
        )

    def describe(self) -> dict[str, object]:
        """The name and the digest of the file."""
        with self.path.open("rb") as file:
            return {"events": self.path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _check_whole(path: Path) -> int:
    """The number of events of a file that ends as it should.

    Raises:
        FileFormatError: it does not, or is no HepMC3 in ASCII.
    """
    events, begun, ended = 0, False, False
    with path.open("rb") as file:
        while line := file.readline(_MOST_LINE):
            begun = begun or line.startswith(_FIRST)
            ended = ended or line.startswith(_LAST)
            events += begun and not ended and line.startswith(b"E ")
            if not begun and file.tell() > _MOST_LINE:
                break
    if not begun:
        with path.open("rb") as file:
            packed = file.read(2) == _GZIP
        hint = "; it is compressed: unpack it with gunzip" if packed else ""
        msg = f"{path}: not a file of events in HepMC3's ASCII format: it has no line {_FIRST.decode()}{hint}"
        raise FileFormatError(msg)
    if not ended:
        msg = f"{path}: ends in the middle of event {max(0, events - 1)}: it has no line {_LAST.decode()}"
        raise FileFormatError(msg)
    return events
