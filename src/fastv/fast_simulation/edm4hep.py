"""Hits as columns of EDM4hep, the event data model of Key4hep, in a ROOT file.

The tree ``events`` has a row an event and branches with the names that podio gives to the members of a collection,
such as ``CalorimeterHits.energy``. Source of the types: ``edm4hep.yaml``, schema version 2, of
https://github.com/key4hep/EDM4hep.

* ``EventHeader``: ``eventNumber``, ``runNumber``, ``timeStamp``, ``weight``.
* ``MCParticles``: the primary particles. Charge and mass are NaN where they are not known here.
* ``CalorimeterHits`` of full simulation and ``CalorimeterHitsFast`` of the model (SimCalorimeterHit): EDM4hep has no
  place in a hit that says how it was made, so they are two collections. ``cellID`` is the number of the particle in its
  event, among those that enter the calorimeter, in the upper 32 bits, and the voxel of its mesh in the lower ones.
  ``energy`` is deposited energy in GeV.
* ``CalorimeterHitContributions`` and ``CalorimeterHitFastContributions`` (CaloHitContribution): one a hit, with the
  code of the particle that entered; the branch ``_..._particle.index`` is the row of its primary in ``MCParticles``.

The text ``fastv`` is that of the attribute of a file of hits: version, detector and provenance.

uproot writes lists as C arrays with a counter, not as vectors of podio's classes. uproot and ``RDataFrame`` read
that; podio's own readers need vectors of its classes and do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastv.errors import FileFormatError
from fastv.fast_simulation.hits import Hits, note_of, read_in_spans
from fastv.formats.contract import needs_extra
from fastv.storage.documents import DocumentError, parse_json
from fastv.storage.guard import check_regular
from fastv.storage.hdf5 import damage_named
from fastv.storage.output import check_ending, written_whole

ROOT_ENDINGS = (".root",)
_EVENTS = 500
"""Events that are in memory at a time."""
NOTE = "fastv"
"""The text in a file that tells how its hits were made."""
_ERRORS = (Exception,)
"""uproot parses bytes without checks, so that damage may raise almost any exception."""
_GEV = 1e-3
"""Factor from MeV to GeV."""
_HITS = {"fast": "CalorimeterHitsFast", "full": "CalorimeterHits"}
"""The collections of hits."""
_KNOWN = {
    11: (-1.0, 0.51099895),
    13: (-1.0, 105.6583755),
    22: (0.0, 0.0),
    111: (0.0, 134.9768),
    211: (1.0, 139.57039),
    2112: (0.0, 939.5654205),
    2212: (1.0, 938.2720882),
}
"""Charge and mass in MeV by code. Source: Particle Data Group, 2024."""


def check_edm4hep(output: str | Path) -> None:
    """Check before a simulation that its hits can be written.

    Raises:
        MissingExtraError: uproot is not installed.
        SettingsError: the name does not end in ``.root``.
    """
    check_ending(output, ROOT_ENDINGS, "EDM4hep collections")
    _libraries()


def _libraries() -> tuple[Any, Any]:
    with needs_extra("EDM4hep", "uproot and awkward", "root"):
        import awkward
        import uproot
    return uproot, awkward


def write_edm4hep(hits: str | Path, output: str | Path, *, force: bool = False) -> None:
    """Write a file of hits as columns of EDM4hep.

    Args:
        hits: file of hits.
        output: the ROOT file.
        force: replace an existing file.

    Raises:
        FileFormatError: the file of hits is missing or damaged.
        OutputError: the output exists and ``force`` is false, or the disk is full.
        MissingExtraError: uproot is not installed.
    """
    check_edm4hep(output)
    uproot, awkward = _libraries()
    with written_whole(output, force=force, kind="hits") as temporary:
        file = uproot.recreate(temporary)
        try:
            tree, first = None, 0
            for span in read_in_spans(hits, _EVENTS):
                columns = {
                    name: awkward.unflatten(awkward.zip(members), counts)
                    for name, (counts, members) in _collections(span, first).items()
                }
                if tree is None:
                    # How the hits were made, as in the attribute of a file of hits.
                    file[NOTE] = note_of(span.detector, span.provenance)
                    types = {name: awkward.type(column).content for name, column in columns.items()}
                    tree = file.mktree(
                        "events",
                        types,
                        counter_name=lambda name: f"n{name}",
                        field_name=lambda outer, inner: f"{outer}.{inner}",
                    )
                tree.extend(columns)
                first += len(span.events["incident"])
        except BaseException:
            with suppress(Exception):  # only the first error is reported
                file.close()
            raise
        file.close()


@dataclass(frozen=True)
class Content:
    """What a file of :func:`write_edm4hep` holds.

    Attributes:
        events: number of events.
        primaries: PDG codes of all primary particles.
        hits: number of hits and their energy in MeV, of ``fast`` and of ``full`` simulation.
        detector, provenance: how they were made, as JSON data; None and empty if the file does not tell it.
    """

    events: int
    primaries: NDArray[np.int64]
    hits: Mapping[str, tuple[int, float]]
    detector: Any
    provenance: Mapping[str, Any]


def read_content(path: str | Path) -> Content:
    """Read what a file of :func:`write_edm4hep` holds, a few events at a time.

    Raises:
        FileFormatError: the file is missing, damaged, or holds something else.
        MissingExtraError: uproot is not installed.
    """
    path, (uproot, _) = Path(path), _libraries()
    check_regular(path)
    with damage_named(path, _ERRORS), uproot.open(path) as file:
        tree = file.get("events")
        branches = ("MCParticles.PDG", *(f"{name}.energy" for name in _HITS.values()))
        if not isinstance(tree, uproot.TTree) or not set(branches) <= set(tree.keys()):
            others = "ROOT files of Par04 are read by `fastv.convert`"
            msg = f"{path}: it is a ROOT file without hits of `fastv.fastsim`; {others}"
            raise FileFormatError(msg)
        codes: list[NDArray[np.int64]] = []
        found = dict.fromkeys(_HITS, (0, 0.0))
        for part in tree.iterate(branches, step_size=_EVENTS, library="np"):
            codes += [np.asarray(each, dtype=np.int64) for each in part[branches[0]]]
            for name, collection in _HITS.items():
                energies = [np.asarray(each, dtype=np.float64) for each in part[f"{collection}.energy"]]
                number, energy = found[name]
                number += sum(map(len, energies))
                found[name] = number, energy + float(sum(each.sum() for each in energies)) / _GEV
        try:
            note = parse_json(str(file[NOTE])) if NOTE in file else {}
        except DocumentError as error:
            msg = f"{path}: the text {NOTE!r} is damaged: {error}"
            raise FileFormatError(msg) from error
        note = note if isinstance(note, dict) else {}
        provenance = note.get("provenance")
        return Content(
            events=int(tree.num_entries),
            primaries=np.concatenate([np.empty(0, dtype=np.int64), *codes]),
            hits=found,
            detector=note.get("detector"),
            provenance=provenance if isinstance(provenance, dict) else {},
        )


_Collection = tuple[NDArray[np.int64], dict[str, NDArray[Any]]]


def _collections(span: Hits, first: int) -> dict[str, _Collection]:
    """The numbers of objects in each event and their members, by the name of the collection."""
    events = len(span.events["incident"])
    primaries, particles, hits = span.primaries, span.particles, span.hits
    numbers = first + np.arange(events)
    one = np.ones(events, dtype=np.int64)
    found: dict[str, _Collection] = {
        "EventHeader": (
            one,
            {
                "eventNumber": numbers.astype(np.int32),
                "runNumber": np.zeros(events, dtype=np.int32),
                "timeStamp": np.zeros(events, dtype=np.uint64),
                "weight": np.ones(events),
            },
        ),
        "MCParticles": (np.bincount(primaries["event"] - first, minlength=events), _particles(primaries)),
    }
    row = hits["particle"]
    event = particles["event"][row] - first
    in_event = row - span.events["first_particle"][event]
    cell_id = (in_event.astype(np.uint64) << np.uint64(32)) | hits["cell"].astype(np.uint64)
    energy = (hits["energy"] * span.detector.energy_scale * _GEV).astype(np.float32)
    for name, mine in (("CalorimeterHit", hits["fast"] == 0), ("CalorimeterHitFast", hits["fast"] == 1)):
        counts = np.bincount(event[mine], minlength=events)
        starts = np.cumsum(counts) - counts
        inside = np.arange(int(counts.sum())) - np.repeat(starts, counts)
        hit = {"cellID": cell_id[mine], "energy": energy[mine], **_vector("position", hits["position"][mine])}
        hit |= {"contributions_begin": inside.astype(np.uint32), "contributions_end": (inside + 1).astype(np.uint32)}
        collection = f"{name}s" if name == "CalorimeterHit" else "CalorimeterHitsFast"
        found[collection] = counts, hit
        part = {"PDG": particles["pdg"][row][mine], "energy": energy[mine], "time": hits["time"][mine]}
        found[f"{name}Contributions"] = counts, {**part, **_vector("stepPosition", hits["position"][mine])}
        link = {"index": particles["primary"][row][mine]}
        found[f"_{name}Contributions_particle"] = counts, link
    return found


def _particles(primaries: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The members of MCParticles."""
    pdg, energy = primaries["pdg"], primaries["energy"]
    known = np.array([_KNOWN.get(abs(code), (np.nan, np.nan)) for code in pdg.tolist()]).reshape(-1, 2)
    charge, mass = known[:, 0] * np.sign(pdg), known[:, 1]
    momentum = np.sqrt(energy * (energy + 2 * mass))[:, None] * primaries["direction"]
    return {
        "PDG": pdg,
        "generatorStatus": np.ones(len(pdg), dtype=np.int32),
        "simulatorStatus": np.zeros(len(pdg), dtype=np.int32),
        "charge": charge.astype(np.float32),
        "time": primaries["time"].astype(np.float32),
        "mass": mass * _GEV,
        **_vector("vertex", primaries["position"]),
        **_vector("momentum", momentum * _GEV),
    }


def _vector(name: str, values: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The members of a vector (n, 3)."""
    return {f"{name}.{axis}": values[:, i] for i, axis in enumerate("xyz")}
