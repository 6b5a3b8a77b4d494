"""Hits as columns of EDM4hep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastv.errors import OutputError, SettingsError
from fastv.fast_simulation import edm4hep
from fastv.fast_simulation.hits import read_hits
from fastv.fast_simulation.process import Geant4
from fastv.fast_simulation.run import fastsim
from fastv.model import load


@pytest.fixture
def mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of Geant4: every particle hits two voxels."""

    def run(_: Geant4, particles: Any, __: object) -> dict[str, Any]:
        n = len(particles)
        hits = {"row": np.repeat(np.arange(n), 2), "cell": np.tile([5, 6], n)}
        hits |= {"energy": np.full(2 * n, 100.0), "time": np.full(2 * n, 0.1)}
        return {**hits, "visible": np.full(n, 200.0), "leaked": np.zeros(n)}

    monkeypatch.setattr(Geant4, "run", run)


@pytest.mark.usefixtures("mixed")
def test_collections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uproot = pytest.importorskip("uproot")
    monkeypatch.setattr(edm4hep, "_EVENTS", 2)
    path, root = tmp_path / "hits.h5", tmp_path / "hits.root"
    fastsim(load("par04-siw-vae"), path, energy="2GeV", particle="e-,gamma,e+", n=5, edm4hep=root)
    hits = read_hits(path)
    with uproot.open(root) as file:
        events = file["events"].arrays()
    assert events["EventHeader.eventNumber"].tolist() == [[0], [1], [2], [3], [4]]
    assert events["MCParticles.PDG"].tolist() == [[11], [22], [-11], [11], [22]]
    assert events["MCParticles.charge"].tolist() == [[-1], [0], [1], [-1], [0]]
    momentum = events["MCParticles.momentum.x"].tolist()
    assert momentum[1][0] == pytest.approx(2)
    assert momentum[0][0] == pytest.approx(2.000511)
    full, fast = (events[f"{name}.energy"].tolist() for name in ("CalorimeterHits", "CalorimeterHitsFast"))
    assert [len(each) for each in full] == [0, 2, 2, 0, 2]
    # Deposited energy in GeV.
    assert full[1] == pytest.approx([100 * 0.033e-3] * 2)
    generated = hits.events["generated"] * 0.033e-3
    np.testing.assert_allclose([sum(each) for each in fast], generated, rtol=1e-5)
    assert events["CalorimeterHits.cellID"].tolist()[1] == [5, 6]
    assert events["CalorimeterHitContributions.PDG"].tolist() == [[], [22, 22], [-11, -11], [], [22, 22]]
    assert events["_CalorimeterHitContributions_particle.index"].tolist()[1] == [0, 0]
    begin, end = (events[f"CalorimeterHitsFast.contributions_{name}"].tolist()[3] for name in ("begin", "end"))
    assert begin == list(range(len(fast[3])))
    assert end == list(range(1, len(fast[3]) + 1))
    where = np.array([events[f"CalorimeterHitsFast.position.{axis}"].tolist()[0] for axis in "xyz"]).T
    np.testing.assert_array_equal(where.astype(np.float32), hits.hits["position"][hits.hits["particle"] == 0])


def test_names_are_checked_first(tmp_path: Path) -> None:
    model = load("par04-siw-vae")
    with pytest.raises(SettingsError, match=r"ends in \.root"):
        fastsim(model, tmp_path / "hits.h5", energy="2GeV", n=1, edm4hep=tmp_path / "hits.txt")
    (tmp_path / "hits.root").touch()
    with pytest.raises(OutputError, match="exists already"):
        fastsim(model, tmp_path / "hits.h5", energy="2GeV", n=1, edm4hep=tmp_path / "hits.root")
    assert not (tmp_path / "hits.h5").exists()
