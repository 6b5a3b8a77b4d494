"""A folder of Geant4 data sets as far as anybody can see from the outside."""

from __future__ import annotations

import json
import os
import shutil
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastv.simulation.data_sets import CONTENTS, OVERRIDES, VARIABLE, DataSets

GEANT4 = "11.4.0"

Fill = Callable[..., None]


@pytest.fixture(scope="session")
def fill() -> Fill:
    """``fill(sets, name, file, content)``: put a file into a data set."""

    def write(sets: DataSets, name: str, file: str, content: str = "1") -> None:
        path = sets[name].folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # it may be a link to that of another test
        path.write_text(content)

    return write


@pytest.fixture(scope="session")
def minimal_data_sets(tmp_path_factory: pytest.TempPathFactory, fill: Fill) -> Path:
    """What the electromagnetic standard physics needs; the other folders are empty."""
    sets = DataSets(GEANT4, tmp_path_factory.mktemp("data sets"))
    for name in CONTENTS:
        fill(sets, name, ".keep")
    for z in range(1, 101):
        fill(sets, "G4EMLOW", f"brem_SB/br{z}")
        fill(sets, "G4EMLOW", f"epics2017/phot/pe-cs-{z}.dat")
        fill(sets, "G4EMLOW", f"epics2017/rayl/re-cs-{z}.dat")
        fill(sets, "G4PARTICLEXS", f"gamma/inel{z}")
    fill(sets, "G4ENSDFSTATE", "ENSDFSTATE.dat", "")
    return sets.folder


@pytest.fixture
def data_sets(tmp_path: Path, minimal_data_sets: Path, monkeypatch: pytest.MonkeyPatch) -> DataSets:
    """The same in a folder that a test may change, to which the environment points."""
    folder = tmp_path / "data sets"
    shutil.copytree(minimal_data_sets, folder, copy_function=os.symlink)
    for name in OVERRIDES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(VARIABLE, str(folder))
    return DataSets(GEANT4)


@pytest.fixture
def fake_geant4(minimal_data_sets: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Worker processes have a stand-in for Geant4; ``fake_geant4(...)`` makes it misbehave."""
    calzone: Any = types.ModuleType("calzone")
    calzone.GEANT4_VERSION, calzone.VERSION = GEANT4, "1.2.2"
    monkeypatch.setitem(sys.modules, "calzone", calzone)
    monkeypatch.setenv(VARIABLE, str(minimal_data_sets))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).with_name("fake")))

    def misbehave(**faults: object) -> None:
        monkeypatch.setenv("FAKE_GEANT4", json.dumps(faults))

    misbehave()
    return misbehave
