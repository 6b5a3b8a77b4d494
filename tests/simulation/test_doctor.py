"""What ``fastv doctor`` tells of machines in different states of health."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fastv import cli, doctor
from fastv.simulation.data_sets import EM_MODELS, HADRON_MODELS, OVERRIDES, VARIABLE, DataSets

Fake = Callable[..., None]


@pytest.fixture(autouse=True)
def no_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OVERRIDES:
        monkeypatch.delenv(name, raising=False)


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(["doctor", *words]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_the_minimal_data_sets(
    minimal_data_sets: Path, fake_geant4: Fake, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_geant4()
    monkeypatch.setenv("G4LEDATA", "/elsewhere")
    found = json.loads(told(capsys, "--json"))
    geant4 = found["geant4"]
    assert (geant4["version"], geant4["folder"], geant4["told_by"]) == ("11.4.0", str(minimal_data_sets), VARIABLE)
    states = {each["name"]: each["state"] for each in geant4["data_sets"]}
    assert (states["G4EMLOW"], states["G4NDL"]) == ("partial", "empty")
    allowed = [each["name"] for each in geant4["physics"] if not each["lacking"]]
    assert allowed == ["standard", "option1", "option2"]
    assert len(geant4["physics"]) == len(EM_MODELS) + len(HADRON_MODELS)
    words = shlex.split(geant4["command"])
    assert words == [sys.executable, "-m", "calzone", "download", "--force", str(minimal_data_sets)]
    assert geant4["runs"]["seconds"] > 0
    assert geant4["overrides"] == ["G4LEDATA"]
    assert found["processors"]["usable"] >= 1
    assert found["free_disk_gb"] > 0
    assert found["torch"]["devices"][0] == "cpu"
    text = told(capsys)
    for line in (
        "G4EMLOW8.8              partial     electromagnetic cross sections",
        "standard                e-, e+, gamma, mu-, mu+, pi0",
        "option3                 no: G4EMLOW is partial",
        "standard+FTFP_BERT      "
        "no: G4PARTICLEXS is partial, G4SAIDDATA is empty, PhotonEvaporation is empty and 1 more",
        f"to install the rest: {geant4['command']}",
    ):
        assert f"\n{line}\n" in text
    assert "G4LEDATA                is set, but fastv simulate does not use it" in text


@pytest.mark.usefixtures("fake_geant4")
def test_a_single_data_set_is_missing(
    data_sets: DataSets, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(data_sets.folder))
    folder = data_sets["G4EMLOW"].folder
    folder.rename(folder.with_name("G4EMLOW8.5"))
    text = told(capsys)
    assert "G4EMLOW8.8              missing (found: 8.5)  electromagnetic" in text
    assert "standard                no: G4EMLOW is missing\n" in text
    assert "one shower" not in text


def test_without_data_sets(
    tmp_path: Path, fake_geant4: Fake, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_geant4()
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("HOME", str(tmp_path))
    geant4 = json.loads(told(capsys, "--json"))["geant4"]
    assert all(each["state"] == "missing" for each in geant4["data_sets"])
    assert (geant4["runs"], geant4["told_by"]) == (None, "calzone")
    if sys.platform != "win32":
        assert shlex.split(geant4["command"]) == [sys.executable, "-m", "calzone", "download"]


def test_without_calzone(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "calzone", None)
    text = told(capsys)
    assert "Geant4                  full simulation needs calzone; pip install 'calzone>=1.2'" in text


def test_geant4_that_does_not_run(fake_geant4: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake_geant4(kind="abort", events=[0])
    assert "one shower              event 0: it was ended by SIGABRT: G4Something(had014)" in told(capsys)


def test_extras_and_what_they_lack(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    original = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "uproot" else original(name))
    monkeypatch.setitem(sys.modules, "calzone", None)
    found = doctor.extras()
    assert {"geant4", "cluster", "root", "pointclouds"} <= set(found)
    assert not {"test", "lint", "dev", "all"} & set(found)
    assert set(found["root"]) == {"awkward", "uproot"}
    assert "missing: uproot; pip install 'awkward>=2.6' 'uproot>=5.3'" in told(capsys)


def test_nothing_is_left_behind(
    tmp_path: Path, fake_geant4: Fake, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_geant4()
    monkeypatch.chdir(tmp_path)
    told(capsys)
    assert list(tmp_path.iterdir()) == []
