"""Events of generators in files."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastv.cli import main
from fastv.errors import FileFormatError, SettingsError
from fastv.fast_simulation.hepmc import HepMCFile
from fastv.fast_simulation.hits import read_hits
from fastv.fast_simulation.run import fastsim
from fastv.model import load

HEAD = "HepMC::Version 3.02.05\nHepMC::Asciiv3-START_EVENT_LISTING\n"
END = "HepMC::Asciiv3-END_EVENT_LISTING\n"


def event(number: int, *particles: tuple[float, ...], vertex: str = "0 0 0 0") -> str:
    """An event of a proton whose vertex gives particles: (momentum in GeV, code, status)."""
    lines = [f"E {number} 1 {len(particles) + 1}", "U GEV MM", "P 1 0 2212 0 0 7000 7000 0.938 4"]
    lines.append(f"V -1 0 [1] @ {vertex}")
    for i, (px, py, pz, code, status) in enumerate(particles):
        mass = {11: 0.000511}.get(abs(int(code)), 0)
        energy = (px * px + py * py + pz * pz + mass * mass) ** 0.5
        lines.append(f"P {i + 2} -1 {code:.0f} {px:.17g} {py:.17g} {pz:.17g} {energy:.17g} {mass} {status:.0f}")
    return "\n".join(lines) + "\n"


EVENTS = (
    event(0, (10, 0, 0, 11, 1), (0, 20, 0, 11, 1), (0, 0, 3, 22, 2)),
    event(1, (0, -50, 0, 11, 1), vertex="0 0 10 3"),
    event(2, (0, 0, 10, 22, 1)),
)


@pytest.fixture
def events(tmp_path: Path) -> Path:
    pytest.importorskip("pyhepmc", reason="needs pyhepmc")
    path = tmp_path / "events.hepmc"
    path.write_text(HEAD + "".join(EVENTS) + END)
    return path


def test_particles_of_status_1_with_their_vertices(events: Path) -> None:
    file = HepMCFile(events)
    first, second, third = file.events()
    assert (len(file), file.codes) == (3, (11, 22))
    assert (first.pdg.tolist(), first.primary.tolist(), first.event.tolist()) == ([11, 11], [0, 1], [0, 0])
    np.testing.assert_allclose(first.energy, [10e3 - 0.511, 20e3 - 0.511], atol=1e-3)
    np.testing.assert_allclose(first.direction, [[1, 0, 0], [0, 1, 0]], atol=1e-12)
    assert second.position.tolist() == [[0, 0, 10]]
    assert second.time[0] == pytest.approx(3 / 299.792458)
    assert third.event.tolist() == [2]


def test_events_through_a_model(events: Path, tmp_path: Path) -> None:
    done = fastsim(load("par04-siw-vae"), tmp_path / "hits.h5", events=events)
    hits = read_hits(tmp_path / "hits.h5")
    # The photon along the beam misses the barrel.
    assert (done.events, done.fates) == (3, {"fast": 3})
    assert hits.events["missed"].round(3).tolist() == [0, 0, 10e3]
    assert hits.events["first_particle"].tolist() == [0, 2, 3, 3]
    assert hits.particles["primary"].tolist() == [0, 1, 0]
    assert len(hits.primaries["pdg"]) == 4
    mine = hits.hits["position"][hits.hits["particle"] == 2]
    assert np.degrees(np.arctan2(*mine[:, [1, 0]].mean(axis=0))) == pytest.approx(-90, abs=1)
    assert mine[:, 2].mean() == pytest.approx(10, abs=3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEAD + EVENTS[0] + EVENTS[1][:90], "ends in the middle of event 1"),
        (HEAD + END, "has no events"),
        ("", "not a file of events in HepMC3's ASCII format"),
        ("{}\n" * 1000, "not a file of events"),
    ],
)
def test_damaged_files(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "events.hepmc"
    path.write_text(content)
    with pytest.raises(FileFormatError, match=message):
        HepMCFile(path)


def test_compressed_files(tmp_path: Path) -> None:
    (tmp_path / "events.hepmc.gz").write_bytes(gzip.compress(HEAD.encode()))
    with pytest.raises(FileFormatError, match="it is compressed: unpack it with gunzip"):
        HepMCFile(tmp_path / "events.hepmc.gz")


def test_more_events_than_there_are(events: Path) -> None:
    with pytest.raises(FileFormatError, match="has 3 events, not 4"):
        HepMCFile(events, 4)
    assert len(HepMCFile(events, 2)) == 2


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (event(3, (1, 0, 0, 11, 1), vertex="900 0 0 0"), r"event 3, particle 0 starts at \(900, 0, 0\) mm, inside or"),
        (event(3, (1, 0, 0, 11, 1), vertex="0 0 1e6 0"), "outside of what is built"),
        (event(3, (1, 0, 0, 11, 1), (1e-8, 0, 0, 22, 1)), "event 3, particle 1 has 1e-05 MeV"),
    ],
)
def test_particles_that_cannot_be_simulated(last: str, message: str, events: Path, tmp_path: Path) -> None:
    events.write_text(HEAD + "".join(EVENTS) + last + END)
    with pytest.raises(SettingsError, match=message):
        fastsim(load("par04-siw-vae"), tmp_path / "hits.h5", events=events)
    assert not (tmp_path / "hits.h5").exists()


def test_the_command_line(events: Path, tmp_path: Path, capsys: pytest.CaptureFixture[Any]) -> None:
    arguments = ["fastsim", "par04-siw-vae", "--events", str(events), "-o", str(tmp_path / "hits.h5"), "-q"]
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert "3 events" in told
    assert "3 generated" in told
    assert "missed 10 GeV" in told
    assert main(arguments) == 2
    assert "pass --force" in capsys.readouterr().err
