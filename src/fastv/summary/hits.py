"""Summaries of hits of a fast simulation, of tracks of Geant4, and of hits as columns of EDM4hep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from fastv.conditions.record import Conditions, joined_conditions
from fastv.conditions.words import in_words
from fastv.detector.detector import Detector
from fastv.errors import FileFormatError
from fastv.fast_simulation.choice import FATES, Fate
from fastv.fast_simulation.edm4hep import read_content
from fastv.fast_simulation.hits import ACCOUNTS, read_in_spans
from fastv.fast_simulation.particles import Particles
from fastv.records import first_problem
from fastv.simulation.tracks import read_tracks
from fastv.summary.lines import (
    Facts,
    condition_rows,
    detector_rows,
    energy_text,
    file_text,
    number_of_each,
    particles_text,
    provenance_rows,
    ranges_of,
)
from fastv.wording import counted

_EVENTS = 500
"""Events that are in memory at a time."""


def summarise_hits(path: Path) -> Facts:
    """Summarise a file of hits in one pass; all columns are checked.

    Raises:
        FileFormatError: the file is damaged.
    """
    fates, sums = np.zeros(len(Fate), dtype=np.int64), dict.fromkeys(ACCOUNTS, 0.0)
    numbers, energies = np.zeros(2, dtype=np.int64), np.zeros(2)
    parts: list[Conditions] = []
    events = entered = 0
    for span in read_in_spans(path, _EVENTS):
        detector, provenance = span.detector, span.provenance
        events += len(span.events["incident"])
        entered += len(span.particles["fate"])
        fates += np.bincount(span.particles["fate"], minlength=len(Fate))[: len(Fate)]
        for name in ACCOUNTS:
            sums[name] += float(span.events[name].sum())
        fast = span.hits["fast"] == 1
        for place, mine in enumerate((fast, ~fast)):
            numbers[place] += int(mine.sum())
            energies[place] += float(span.hits["energy"][mine].sum(dtype=np.float64))
        came = Particles.of(**span.primaries)
        parts.append(Conditions.of(energy=came.energy, theta=came.theta, phi=came.phi, particle=came.pdg))
    primaries = joined_conditions(parts)
    fate = {each.name: int(n) for each, n in zip(Fate, fates, strict=True) if n}
    lines = [
        ("file", file_text(path, "hits")),
        *detector_rows(detector),
        ("events", f"{events}"),
        ("primaries", f"{len(primaries)}"),
        *condition_rows(primaries),
        ("entered", f"{counted(entered, 'particle')}: {', '.join(f'{n} {FATES[name]}' for name, n in fate.items())}"),
        *(
            (label, f"{n}, {energy_text(energy, 4)}")
            for label, n, energy in zip(("hits, fast", "hits, full"), numbers.tolist(), energies.tolist(), strict=True)
        ),
        ("energy", ", ".join(f"{name} {energy_text(each, 4)}" for name, each in sums.items() if each)),
        *provenance_rows(provenance),
    ]
    content = {
        "kind": "hits",
        "path": str(path),
        "file_bytes": path.stat().st_size,
        "detector": detector.name,
        "mesh": detector.mesh.describe(),
        "events": events,
        "primaries": len(primaries),
        "conditions": ranges_of(primaries),
        "entered": entered,
        "fates": fate,
        "hits": {"fast": int(numbers[0]), "full": int(numbers[1])},
        "accounts": sums,
        "provenance": dict(provenance),
    }
    return Facts(lines, content)


def summarise_tracks(path: Path) -> Facts:
    """Summarise a file of tracks.

    Raises:
        FileFormatError: the file is damaged.
    """
    tracks, note = read_tracks(path)
    detector, provenance = _detector(path, note.get("detector")), note.get("provenance")
    provenance = provenance if isinstance(provenance, dict) else {}
    codes, energies = tracks.columns["pdg"], tracks.columns["energy"]
    lines = [
        ("file", file_text(path, "tracks")),
        *detector_rows(detector),
        ("event", f"{note.get('event')}"),
        ("tracks", f"{len(tracks)}, {counted(len(tracks.columns['points']), 'point')}"),
        ("particles", _primaries(codes)),
        *([("energy", in_words("energy", float(energies.min()), float(energies.max()), 5))] if len(energies) else []),
        *provenance_rows(provenance),
    ]
    content = {
        "kind": "tracks",
        "path": str(path),
        "file_bytes": path.stat().st_size,
        "detector": detector.name,
        "event": note.get("event"),
        "tracks": len(tracks),
        "points": len(tracks.columns["points"]),
        "particles": number_of_each(codes),
        "energy": [float(energies.min()), float(energies.max())] if len(energies) else None,
        "provenance": provenance,
    }
    return Facts(lines, content)


def summarise_edm4hep(path: Path) -> Facts:
    """Summarise hits in columns of EDM4hep. Files of older versions do not tell detector and provenance.

    Raises:
        FileFormatError: the file is damaged, or holds something else, such as showers of Par04.
        MissingExtraError: uproot is not installed.
    """
    found = read_content(path)
    detector = None if found.detector is None else _detector(path, found.detector)
    lines = [
        ("file", file_text(path, "hits in columns of EDM4hep")),
        *([("detector", "not recorded")] if detector is None else detector_rows(detector)),
        ("events", f"{found.events}"),
        ("primaries", _primaries(found.primaries)),
        *((f"hits, {name}", f"{n}, {energy_text(energy, 4)} deposited") for name, (n, energy) in found.hits.items()),
        *provenance_rows(found.provenance),
    ]
    content = {
        "kind": "EDM4hep",
        "path": str(path),
        "file_bytes": path.stat().st_size,
        "detector": None if detector is None else detector.name,
        "events": found.events,
        "primaries": number_of_each(found.primaries),
        "hits": {name: n for name, (n, _) in found.hits.items()},
        "deposited": {name: energy for name, (_, energy) in found.hits.items()},
        "provenance": dict(found.provenance),
    }
    return Facts(lines, content)


def _detector(path: Path, told: Any) -> Detector:
    try:
        return Detector.model_validate(told)
    except ValidationError as error:
        msg = f"{path}: its description of the detector is damaged: {first_problem(error)}"
        raise FileFormatError(msg) from error


def _primaries(codes: NDArray[Any]) -> str:
    return f"{len(codes)}, {particles_text(codes)}" if len(codes) else "none"
