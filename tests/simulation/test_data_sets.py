"""Data sets: what is found, what is filled, and refusals in place of an abort of Geant4."""

from __future__ import annotations

import itertools
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fastv.errors import MissingExtraError, SettingsError, SimulationError
from fastv.simulation import data_sets as module
from fastv.simulation.data_sets import CONTENTS, EM_MODELS, HADRON_MODELS, VARIABLE, DataSets, data_folder

Fill = Callable[..., None]

GEANT4 = "11.4.0"
ELECTROMAGNETIC = (11, -11, 22, 13, -13, 111)


def again(sets: DataSets) -> DataSets:
    """The same folder, looked at again."""
    return DataSets(sets.geant4, sets.folder)


@pytest.fixture
def complete(data_sets: DataSets, fill: Fill, tmp_path: Path) -> DataSets:
    """What an official download fills."""
    sets = DataSets(GEANT4, tmp_path / "official")
    shutil.copytree(data_sets.folder, sets.folder, symlinks=True)
    for name in ("fluor/binding.dat", "livermore/a", "penelope/a", "msc_GS/a", "dna/a"):
        fill(sets, "G4EMLOW", name)
    fill(sets, "G4PARTICLEXS", "neutron/inel1")
    fill(sets, "G4ENSDFSTATE", "ENSDFSTATE.dat")
    for name in ("G4SAIDDATA", "PhotonEvaporation", "G4NDL"):
        fill(sets, name, "z/a.z")
    return again(sets)


class TestStates:
    def test_an_empty_folder_is_not_filled(self, data_sets: DataSets) -> None:
        assert data_sets["G4NDL"].state == "empty"
        assert data_sets["G4NDL"].found
        assert not data_sets["G4NDL"].filled

    def test_hidden_and_empty_files_are_no_data(self, data_sets: DataSets, fill: Fill) -> None:
        fill(data_sets, "G4NDL", "Inelastic/.hidden")
        fill(data_sets, "G4NDL", ".git/objects")
        fill(data_sets, "G4NDL", "Capture/empty", "")
        assert again(data_sets)["G4NDL"].state == "empty"
        fill(data_sets, "G4NDL", "Capture/full")
        assert again(data_sets)["G4NDL"].state == "complete"

    def test_the_provenance_tells_what_was_cut_down(self, data_sets: DataSets, complete: DataSets) -> None:
        assert data_sets["G4EMLOW"].state == data_sets["G4PARTICLEXS"].state == "partial"
        assert data_sets.versions() == {"G4EMLOW": "8.8 (partial)", "G4PARTICLEXS": "4.2 (partial)"}
        assert complete.versions() == {
            "G4EMLOW": "8.8",
            "G4PARTICLEXS": "4.2",
            "G4ENSDFSTATE": "3.0",
            "PhotonEvaporation": "6.1.2",
            "G4SAIDDATA": "2.0",
            "G4NDL": "4.7.1",
        }

    def test_another_version_is_named_but_not_taken(self, data_sets: DataSets) -> None:
        folder = data_sets["G4EMLOW"].folder
        folder.rename(folder.with_name("G4EMLOW8.5"))
        sets = again(data_sets)
        assert (sets["G4EMLOW"].state, sets["G4EMLOW"].other_versions) == ("missing", ("8.5",))
        with pytest.raises(SimulationError, match=r"G4EMLOW8\.8 is missing in .* \(other versions found: 8\.5\)"):
            sets.check()

    def test_a_geant4_that_is_not_known_takes_the_newest(self, data_sets: DataSets) -> None:
        folder = data_sets["G4EMLOW"].folder
        folder.rename(folder.with_name("G4EMLOW8.10"))
        (folder.with_name("G4EMLOW8.9")).mkdir()
        sets = DataSets("12.0.1", data_sets.folder)
        assert sets["G4EMLOW"].version == "8.10"
        assert sets["PhotonEvaporation"].version == "6.1.2"
        sets.check(particles=ELECTROMAGNETIC)

    def test_g4ndl_is_not_taken_for_another_name(self, data_sets: DataSets) -> None:
        (data_sets.folder / "G4NDLx9").mkdir()
        assert again(data_sets)["G4NDL"].other_versions == ()


class TestCheck:
    @pytest.mark.parametrize("model", ["standard", "option1", "option2"])
    def test_the_minimal_folder_does_for_electromagnetic_showers(self, data_sets: DataSets, model: str) -> None:
        data_sets.check(model, None, ELECTROMAGNETIC)

    @pytest.mark.parametrize("model", ["option3", "option4", "livermore", "penelope", "dna"])
    def test_but_not_for_models_with_atomic_shells(self, data_sets: DataSets, model: str) -> None:
        with pytest.raises(SimulationError, match=rf"physics {model}: .*G4EMLOW8\.8 has no fluor/binding\.dat"):
            data_sets.check(model)

    @pytest.mark.parametrize("model", HADRON_MODELS)
    def test_nor_for_hadrons(self, data_sets: DataSets, model: str) -> None:
        with pytest.raises(SimulationError, match=rf"physics standard \+ {model}: .* has no neutron/inel1") as raised:
            data_sets.check("standard", model, [211])
        assert ("G4NDL" in str(raised.value).split("download")[1]) == model.endswith("_HP")

    def test_official_data_do_for_all(self, complete: DataSets) -> None:
        for em_model, had_model in itertools.product(EM_MODELS, (None, *HADRON_MODELS)):
            complete.check(em_model, had_model, (*ELECTROMAGNETIC, 211, 2112) if had_model else ELECTROMAGNETIC)

    @pytest.mark.parametrize(("code", "name"), [(-211, "pi-"), (2212, "proton"), (1000060120, "1000060120")])
    def test_a_hadron_without_hadronic_physics(
        self, data_sets: DataSets, complete: DataSets, code: int, name: str
    ) -> None:
        with pytest.raises(
            SettingsError, match=rf"^{name}: .* add one to `physics`, as in standard\+FTFP_BERT .* G4PARTICLEXS"
        ):
            data_sets.check(particles=[11, code])
        with pytest.raises(SettingsError, match=r"known: FTFP_BERT, .*QGSP_BIC_HP\)$"):
            complete.check(particles=[code])

    @pytest.mark.parametrize(
        "file",
        [
            "G4EMLOW8.8/brem_SB/br57",
            "G4EMLOW8.8/epics2017/phot/pe-cs-1.dat",
            "G4EMLOW8.8/epics2017/rayl/re-cs-92.dat",
            "G4PARTICLEXS4.2/gamma/inel43",
            "G4ENSDFSTATE3.0/ENSDFSTATE.dat",
        ],
    )
    def test_a_download_that_was_interrupted(self, data_sets: DataSets, fill: Fill, file: str) -> None:
        fill(data_sets, file.split("/")[0].rstrip("0123456789."), file.partition("/")[2], None)
        with pytest.raises(SimulationError, match=rf"has no {file.split('/', 1)[1]}, needed for ") as raised:
            again(data_sets).check()
        name = file.split("/")[0].rstrip("0123456789.")
        assert f"calzone download --force -i {name} " in str(raised.value)

    def test_a_file_without_content(self, data_sets: DataSets, fill: Fill) -> None:
        fill(data_sets, "G4EMLOW", "brem_SB/br82", "")
        with pytest.raises(SimulationError, match=r"br82, needed for bremsstrahlung, is empty"):
            again(data_sets).check()

    @pytest.mark.parametrize("name", CONTENTS)
    def test_calzone_wants_every_folder(self, data_sets: DataSets, name: str) -> None:
        shutil.rmtree(data_sets[name].folder)
        with pytest.raises(SimulationError, match=rf"the data set {name}[\d.]+ is missing in .* -i {name} "):
            again(data_sets).check()

    @pytest.mark.parametrize("made", [False, True])
    def test_no_data_sets_at_all(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: bool) -> None:
        folder = tmp_path / "nothing"
        if made:
            folder.mkdir()
        monkeypatch.setenv(VARIABLE, str(folder))
        with pytest.raises(SimulationError, match=rf"no Geant4 data sets in {folder}, where GEANT4_DATA_DIR points"):
            DataSets(GEANT4).check()

    @pytest.mark.parametrize(("em_model", "had_model"), [("standart", None), ("standard", "FTFP")])
    def test_unknown_models(self, data_sets: DataSets, em_model: str, had_model: str | None) -> None:
        with pytest.raises(SettingsError, match=r"unknown (electromagnetic|hadronic) model .*; known: (standard|FTFP)"):
            data_sets.check(em_model, had_model)


class TestWhere:
    def test_calzones_own_place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(VARIABLE, raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        if sys.platform != "win32":
            assert data_folder() == tmp_path / ".local/share/calzone/data"
        command = shlex.split(DataSets(GEANT4).download_command())
        assert command == [sys.executable, "-m", "calzone", "download"]

    def test_an_empty_variable_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(VARIABLE, "")
        assert data_folder() == module.calzone_folder()

    def test_the_command_names_the_folder(self, data_sets: DataSets) -> None:
        words = shlex.split(data_sets.download_command(["G4EMLOW"]))
        assert words[1:] == ["-m", "calzone", "download", "--force", "-i", "G4EMLOW", str(data_sets.folder)]

    def test_a_folder_of_somebody_else(self, data_sets: DataSets, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module.os, "access", lambda *_: False)
        command = data_sets.download_command(["G4EMLOW"])
        assert command.endswith("-m calzone download, then unset GEANT4_DATA_DIR")

    def test_without_calzone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "calzone", None)
        with pytest.raises(MissingExtraError, match=r"pip install 'calzone>="):
            module.geant4_version()


@pytest.mark.geant4
def test_the_versions_are_those_that_calzone_asks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """calzone tells which folder it misses; give it one after another."""
    calzone = pytest.importorskip("calzone", reason="needs calzone")
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    simulation = calzone.Simulation({"World": {"box": [1.0] * 3, "material": "G4_Pb"}})
    expected = {each.folder.name for each in DataSets(calzone.GEANT4_VERSION)}
    asked = set()
    for _ in range(len(expected) - 1):  # with all of them it would start, and abort
        with pytest.raises(FileNotFoundError, match="missing folder: ") as raised:
            simulation.run(calzone.particles(1, pid="e-", energy=1.0))
        missing = Path(str(raised.value).partition("missing folder: ")[2].rstrip(")"))
        missing.mkdir()
        asked.add(missing.name)
    assert asked < expected
