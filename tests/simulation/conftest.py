"""A folder of Geant4 data sets as far as anybody can see from the outside."""

from __future__ import annotations

import json
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


def own(path: Path) -> None:
    """Replace the link to a folder that tests share by a copy of it."""
    if path.is_symlink():
        shared = path.resolve()
        path.unlink()
        shutil.copytree(shared, path)


@pytest.fixture(scope="session")
def fill() -> Fill:
    """``fill(sets, name, file, content)``: put a file into a data set; with content None, take it away."""

    def write(sets: DataSets, name: str, file: str, content: str | None = "1") -> None:
        path = sets[name].folder / file
        for folder in reversed(path.relative_to(sets.folder).parents[:-1]):
            own(sets.folder / folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        if content is not None:
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
    """The same in a folder that a test may change, to which the environment points: links to files and folders."""
    folder = tmp_path / "data sets"
    for data_set in minimal_data_sets.iterdir():
        (folder / data_set.name).mkdir(parents=True)
        for entry in data_set.iterdir():
            (folder / data_set.name / entry.name).symlink_to(entry)
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
