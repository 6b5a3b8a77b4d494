"""Wrong and damaged input, a full disk, and whatever interrupts: one clear line, and nothing half-written."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastv.detector.detector import PRESETS, Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.errors import (
    FastVError,
    FileFormatError,
    GeometryError,
    MissingExtraError,
    OutputError,
    SettingsError,
)
from fastv.formats import FORMATS, conversion, named
from fastv.formats.conversion import convert, recognise
from fastv.installation import how_to_install
from fastv.showers import Showers

uproot = pytest.importorskip("uproot")
showerdata = pytest.importorskip("showerdata")
ak = pytest.importorskip("awkward")

Make = Callable[..., Showers]
Write = Callable[..., Path]

HDF5 = [name for name, each in FORMATS.items() if ".h5" in each.suffixes]


@pytest.fixture
def ours(tmp_path: Path, make_on: Make) -> Path:
    """A showers file that every format can hold."""
    mesh = ReadoutMesh.cylinder(layers=45, alpha_cells=16, r_cells=9, layer_thickness=3.4, r_size=4.65)
    showers = make_on(Detector(name="par04-siw", mesh=mesh), 6, phi=np.zeros(6))
    showers.write(tmp_path / "ours.h5")
    return tmp_path / "ours.h5"


def refused(kind: type[FastVError], source: Path, output: Path, *words: str, **options: Any) -> None:
    """One line with these words, and no trace of an output."""
    before = sorted(output.parent.iterdir())
    with pytest.raises(kind) as error:
        convert(source, output, **options)
    text = str(error.value)
    assert "\n" not in text
    for word in words:
        assert word in text, text
    assert sorted(output.parent.iterdir()) == before


class TestWhichFormat:
    @pytest.mark.parametrize("name", FORMATS)
    def test_found_from_the_content(self, ours: Path, tmp_path: Path, name: str) -> None:
        suffix = {"par04-root": ".root", "zenodo-vae": ""}.get(name, ".h5")
        convert(ours, tmp_path / f"foreign{suffix}", to_format=name)
        assert recognise(tmp_path / f"foreign{suffix}").name == name
        # Without our note it is found all the same.
        for path in [tmp_path / f"foreign{suffix}", *(tmp_path / "foreign").rglob("*.h5")]:
            if path.suffix == ".h5" and name != "fastv":
                with h5py.File(path, "r+") as file:
                    del file.attrs["fastv_conversion"]
                    if name == "par04-h5":
                        del file["incident_phi"]  # with both angles it is a file of LEMURS
                assert recognise(path).name == name

    def test_unknown(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["cells"], file["energy"] = np.zeros((5, 3, 96)), np.zeros((5, 1))
        refused(FileFormatError, tmp_path / "x.h5", tmp_path / "y.h5", "cells (5, 3, 96), energy (5, 1)", "par04-h5")
        (tmp_path / "x.txt").write_text("1 2 3")
        refused(FileFormatError, tmp_path / "x.txt", tmp_path / "y.h5", "neither HDF5 nor ROOT")
        (tmp_path / "empty.h5").touch()
        refused(FileFormatError, tmp_path / "empty.h5", tmp_path / "y.h5", "neither HDF5 nor ROOT")
        (tmp_path / "folder").mkdir()
        refused(FileFormatError, tmp_path / "folder", tmp_path / "y.h5", "SiW_angle_<degrees>.h5")
        refused(FileFormatError, tmp_path / "none.h5", tmp_path / "y.h5", "no such file")

    @pytest.mark.parametrize("name", FORMATS)
    def test_named_and_wrong(self, tmp_path: Path, name: str) -> None:
        """A file of none of the formats is refused by each, with what it holds."""
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["wrong_name"] = np.zeros(3)
        words = [] if name == "par04-root" else ["wrong_name"]
        refused(
            FileFormatError, tmp_path / "x.h5", tmp_path / "y.root", "x.h5", *words, from_format=name, mesh="par04-siw"
        )

    def test_of_the_output(self, ours: Path, tmp_path: Path) -> None:
        refused(
            SettingsError, ours, tmp_path / "y.h5", "several formats have the suffix '.h5'", "`to_format`", "lemurs"
        )
        refused(SettingsError, ours, tmp_path / "y.dat", "no format has the suffix '.dat'", "`to_format`", "zenodo-vae")
        refused(SettingsError, ours, tmp_path / "y.h5", ".root", to_format="par04-root")
        refused(SettingsError, ours, tmp_path / "y.root", "the name of a folder", to_format="zenodo-vae")
        refused(SettingsError, ours, tmp_path / "y.h5", "unknown format 'par4'", "par04-h5", to_format="par4")
        refused(SettingsError, ours, tmp_path / "y.root", "unknown format", from_format="root")

    def test_unknown_name(self) -> None:
        with pytest.raises(SettingsError, match="fastv, calochallenge, par04-root"):
            named("csv")

    def test_every_module_keeps_the_contract(self) -> None:
        for each in FORMATS.values():
            module = each.load()
            assert all(callable(getattr(module, part)) for part in ("recognises", "read", "written"))


class TestGrids:
    """Par04's HDF5 and LEMURS."""

    @pytest.fixture
    def mesh(self, grid_detector: Detector) -> Detector:
        return grid_detector

    def test_mesh_not_named(self, par04_h5: Write, tmp_path: Path) -> None:
        refused(GeometryError, par04_h5(), tmp_path / "y.h5", "`mesh`", "no preset has r x alpha x z = 2 x 3 x 4")
        refused(GeometryError, par04_h5(shape=(2, 9, 16, 45)), tmp_path / "y.h5", "`mesh`", "16 x 45 cells: par04-siw")

    def test_mesh_of_another_shape(self, par04_h5: Write, tmp_path: Path) -> None:
        words = ("2 x 3 x 4 cells", "the mesh of par04-siw has r x alpha x z = 9 x 16 x 45 cells")
        refused(GeometryError, par04_h5(), tmp_path / "y.h5", *words, mesh="par04-siw")
        words = ("45 x 16 x 9 cells (name the order of its axes with `axes='layer,alpha,r'`)", "9 x 16 x 45")
        refused(GeometryError, par04_h5(shape=(2, 45, 16, 9)), tmp_path / "y.h5", *words, mesh="par04-siw")
        refused(GeometryError, par04_h5(), tmp_path / "y.h5", "unknown detector", mesh="par05")

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"incident_energy": None}, ("'incident_energy' or 'incident_energies'", "showers (5, 2, 3, 4)")),
            ({"incident_energy": None, "energy": np.ones(5)}, ("'incident_energy'", "energy (5,), showers")),
            ({"incident_energies": np.ones(5)}, ("contains both 'incident_energy' and 'incident_energies'",)),
            ({"incident_energy": np.ones(4)}, ("'incident_energy'", "each of 5 showers", "(4,)")),
            ({"incident_energy": np.ones((5, 2))}, ("'incident_energy'", "(5, 2)")),
            ({"incident_energy": np.array([1.0, 0, 1, 1, 1])}, ("incident energy of shower 1 is 0.0",)),
            ({"incident_theta": np.full(5, 90.0)}, ("theta of shower 0 is 90.0", "rad")),
            ({"incident_phi": np.array([0, 1, 2, 3, np.nan])}, ("phi of shower 4 is nan",)),
            ({"incident_pdg": np.ones((5, 3))}, ("'incident_pdg'",)),
            ({"incident_pdg": np.array([11, 22, 11.5, 11, 11])}, ("particle of shower 2 is 11.5",)),
        ],
    )
    def test_columns(
        self, par04_h5: Write, tmp_path: Path, mesh: Detector, changes: dict[str, Any], words: tuple[str, ...]
    ) -> None:
        refused(FileFormatError, par04_h5(**changes), tmp_path / "y.h5", *words, mesh=mesh)

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -1e-3, 1e300])
    def test_voxels_that_are_not_physical(self, par04_h5: Write, tmp_path: Path, mesh: Detector, bad: float) -> None:
        grid = np.ones((5, 2, 3, 4))
        grid[3, 1, 2, 0] = bad
        words = ("voxel 5 of shower 3", "finite and not negative")
        refused(FileFormatError, par04_h5(showers=grid), tmp_path / "y.h5", *words, mesh=mesh)

    def test_showers_that_are_none(self, par04_h5: Write, tmp_path: Path, mesh: Detector) -> None:
        path = par04_h5(showers=np.ones((5, 24)))
        refused(FileFormatError, path, tmp_path / "y.h5", "(N, r, alpha, z)", from_format="par04-h5", mesh=mesh)
        path = par04_h5("empty.h5", shape=(0, 2, 3, 4))
        refused(FileFormatError, path, tmp_path / "y.h5", "no showers", mesh=mesh)
        path = par04_h5("angles.h5")
        refused(FileFormatError, path, tmp_path / "y.h5", "'incident_theta'", from_format="lemurs", mesh=mesh)

    def test_what_lemurs_cannot_hold(self, tmp_path: Path, grid_detector: Detector, make_on: Make) -> None:
        make_on(grid_detector, 3).write(tmp_path / "a.h5")
        refused(GeometryError, tmp_path / "a.h5", tmp_path / "y.h5", "9 x 16 x 45", "par04-h5", to_format="lemurs")

    def test_layers_that_differ(self, tmp_path: Path, uneven_detector: Detector, make_on: Make) -> None:
        make_on(uneven_detector, 3).write(tmp_path / "a.h5")
        for name in ("par04-h5", "par04-root", "zenodo-vae"):
            output = tmp_path / {"par04-root": "y.root", "zenodo-vae": "y"}.get(name, "y.h5")
            refused(GeometryError, tmp_path / "a.h5", output, "different segmentation", to_format=name)

    def test_a_damaged_note(self, par04_h5: Write, tmp_path: Path) -> None:
        path = par04_h5()
        for text, word in (("{", "not valid JSON"), ('{"format": "par04-h5"}', "energy_scale"), (3, "valid")):
            with h5py.File(path, "r+") as file:
                file.attrs["fastv_conversion"] = text
            refused(FileFormatError, path, tmp_path / "y.h5", "fastv_conversion", word)


class TestZenodo:
    def write(self, folder: Path, name: str = "SiW_angle_90.h5", **content: Any) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        with h5py.File(folder / name, "w") as file:
            for key, data in (content or {"8": np.ones((2, 2, 3, 4))}).items():
                file[key] = data
        return folder / name

    def test_two_detectors(self, tmp_path: Path) -> None:
        for name in ("SiW", "SciPb"):
            self.write(tmp_path / "data" / name, f"{name}_angle_50.h5")
        words = ("SciPb and SiW", f"{tmp_path}/data/SciPb or {tmp_path}/data/SiW")
        refused(FileFormatError, tmp_path / "data", tmp_path / "y.h5", *words)

    def test_names_and_shapes(self, tmp_path: Path, grid_detector: Detector) -> None:
        options: dict[str, Any] = {"mesh": grid_detector, "from_format": "zenodo-vae"}
        output = tmp_path / "y.h5"
        path = self.write(tmp_path / "a", **{"8": np.ones((2, 2, 3, 4)), "1.5": np.ones((2, 2, 3, 4))})
        refused(FileFormatError, path, output, "'1.5' is not an integer energy in GeV", **options)
        path = self.write(tmp_path / "b", **{"8": np.ones((2, 24))})
        refused(FileFormatError, path, output, "'8' must be numbers (N, r, alpha, z)", **options)
        path = self.write(tmp_path / "c", **{"8": np.ones((2, 2, 3, 4)), "16": np.ones((2, 2, 4, 4))})
        refused(FileFormatError, path, output, "'8'", "'16'", "2 x 4 x 4", **options)
        (tmp_path / "d").mkdir()
        refused(FileFormatError, tmp_path / "d", output, "no file SiW_angle_<degrees>.h5", **options)
        path = self.write(tmp_path / "e", **{"8": np.full((2, 2, 3, 4), -1.0)})
        refused(FileFormatError, path, output, "voxel 0 of shower 0", **options)

    def test_an_angle_that_the_name_does_not_tell(self, tmp_path: Path, grid_detector: Detector) -> None:
        path = self.write(tmp_path / "a", "events.h5")
        assert convert(path, tmp_path / "x.h5", mesh=grid_detector).source == "zenodo-vae"
        assert convert(path, tmp_path / "y.h5", mesh=grid_detector, theta="70deg").filled["theta"] > 1.2
        path = self.write(tmp_path / "a")
        words = ("contains theta", "`theta`")
        refused(SettingsError, path, tmp_path / "z.h5", *words, mesh=grid_detector, theta="70deg")

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"incident_energies": np.array([1e3, 1.5e3])}, ("incident energy is 1.5 GeV", "par04-h5")),
            ({"incident_energies": np.array([1e3, 0.2])}, ("incident energy is 0.0002 GeV",)),
            ({"theta": np.radians([50.0, 50.5])}, ("theta is 50.5 degrees",)),
            ({"theta": None}, ("`theta`",)),
        ],
    )
    def test_what_the_layout_cannot_hold(
        self, tmp_path: Path, grid_detector: Detector, make_on: Make, fields: dict[str, Any], words: tuple[str, ...]
    ) -> None:
        make_on(grid_detector, 2, **fields).write(tmp_path / "a.h5")
        refused(OutputError, tmp_path / "a.h5", tmp_path / "y", *words, to_format="zenodo-vae")

    def test_a_detector_that_the_layout_does_not_know(
        self, tmp_path: Path, grid_detector: Detector, make_on: Make
    ) -> None:
        other = grid_detector.model_copy(update={"name": "par04-pbwo4"})
        make_on(other, 2).write(tmp_path / "a.h5")
        words = ("SiW and SciPb", "par04-pbwo4")
        refused(GeometryError, tmp_path / "a.h5", tmp_path / "y", *words, to_format="zenodo-vae")


class TestRoot:
    def write(self, path: Path, **changes: Any) -> Path:
        trees: dict[str, dict[str, Any]] = {
            "global": {"EnergyMC": np.full(3, 1e3)},
            "virtualReadout": {
                "EnergyCell": [[1.0], [], [0.5, 2.0]],
                **{name: [[0], [], [1, 1]] for name in ("rhoCell", "phiCell", "zCell")},
            },
        }
        with uproot.recreate(path) as file:
            for tree, content in {**trees, **changes}.items():
                if content is None:
                    continue
                arrays = {name: ak.Array(data) for name, data in content.items()}
                file.mktree(tree, {name: array.type.content for name, array in arrays.items()}).extend(arrays)
        return path

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"virtualReadout": None}, ("no tree 'virtualReadout'", "global (TTree)")),
            ({"global": None, "events": {"EnergyMC": [1.0]}}, ("no tree 'global'", "events (TTree)")),
            ({"global": {"Energy": [1.0, 2.0, 3.0]}}, ("no branch 'EnergyMC' in 'global'", "it has: Energy")),
            ({"global": {"EnergyMC": [1.0, 2.0]}}, ("'global' has 2 events, 'virtualReadout' has 3",)),
            ({"global": {"EnergyMC": [[1.0], [2.0], [3.0, 4.0]]}}, ("'EnergyMC' must have one number per event",)),
            ({"global": {"EnergyMC": [1.0, -2.0, 3.0]}}, ("incident energy of shower 1 is -2.0",)),
            (
                {"virtualReadout": {"EnergyCell": [[1.0]] * 3, "rhoCell": [[0]] * 3, "phiCell": [[0]] * 3}},
                ("no branch 'zCell'",),
            ),
            (
                {
                    "virtualReadout": {
                        "EnergyCell": [[-1.0]] * 3,
                        **dict.fromkeys(("rhoCell", "phiCell", "zCell"), [[0]] * 3),
                    }
                },
                ("voxel 0 of shower 0 is -1.0",),
            ),
            (
                {
                    "virtualReadout": {
                        "EnergyCell": [[1.0, 1.0]] * 3,
                        **dict.fromkeys(("rhoCell", "phiCell", "zCell"), [[0]] * 3),
                    }
                },
                ("'rhoCell' and 'EnergyCell' have different numbers of cells",),
            ),
        ],
    )
    def test_trees_and_branches(
        self, tmp_path: Path, grid_detector: Detector, changes: dict[str, Any], words: tuple[str, ...]
    ) -> None:
        path = self.write(tmp_path / "a.root", **changes)
        refused(FileFormatError, path, tmp_path / "y.h5", *words, mesh=grid_detector)

    def test_mesh(self, tmp_path: Path, uneven_detector: Detector) -> None:
        path = self.write(tmp_path / "a.root")
        refused(GeometryError, path, tmp_path / "y.h5", "does not name its detector", "`mesh`", "par04-siw")
        refused(GeometryError, path, tmp_path / "y.h5", "different segmentation", mesh=uneven_detector)

    def test_all_cells_outside(self, tmp_path: Path, grid_detector: Detector) -> None:
        cells = {"EnergyCell": [[1.0]] * 3, **dict.fromkeys(("rhoCell", "phiCell", "zCell"), [[99]] * 3)}
        path = self.write(tmp_path / "a.root", virtualReadout=cells)
        refused(GeometryError, path, tmp_path / "y.h5", "all 3 deposits lie outside", "`mesh`", mesh=grid_detector)


class TestClouds:
    def write(self, path: Path, points: Any, **fields: Any) -> Path:
        values = {"energies": np.ones(len(points)), "pdg": 11, **fields}
        showerdata.save(showerdata.Showers(np.asarray(points, np.float32), **values), path)
        return path

    def test_what_the_library_does_not_check(self, tmp_path: Path, grid_detector: Detector) -> None:
        points = [[[1.0, 1.0, 0.0, 0.5], [1.0, 1.0, 1.0, np.nan]]]
        path = self.write(tmp_path / "nan.h5", points)
        words = ("point 1 of shower 0 has nan GeV",)
        refused(FileFormatError, path, tmp_path / "y.h5", *words, mesh=grid_detector)
        path = self.write(tmp_path / "a.h5", [[[1.0, 1.0, 0.0, 0.5]]], directions=np.zeros((1, 3)))
        refused(FileFormatError, path, tmp_path / "y.h5", "'directions' of shower 0", mesh=grid_detector)
        path = self.write(tmp_path / "b.h5", [[[900.0, 1.0, 0.0, 0.5]]])
        refused(GeometryError, path, tmp_path / "y.h5", "all 1 deposits lie outside", "`mesh`", mesh=grid_detector)
        refused(GeometryError, path, tmp_path / "y.h5", "does not name its detector")

    @pytest.mark.parametrize(
        ("name", "data", "words"),
        [
            ("pdg", None, ("no data set 'pdg'", "energies (2, 1)")),
            ("energies", np.ones((3, 1)), ("'energies' has the shape (3, 1); it must be (2, 1)",)),
            ("energies", np.array([[1.0], [-1.0]]), ("incident energy of shower 1",)),
            ("shape", np.array([2, 0, 4]), ("longest shower has 1",)),
            ("shape", np.array([2, 1, 7]), ("4 or 5",)),
            ("shape", np.array([2, 1]), ("(showers, points, numbers per point)",)),
            ("num_points", np.ones(2), ("'num_points' is float64",)),
        ],
    )
    def test_data_sets(
        self, tmp_path: Path, grid_detector: Detector, name: str, data: Any, words: tuple[str, ...]
    ) -> None:
        path = self.write(tmp_path / "a.h5", [[[1.0, 1.0, 0.0, 0.5]]] * 2)
        with h5py.File(path, "r+") as file:
            del file[name]
            if data is not None:
                file[name] = data
        refused(FileFormatError, path, tmp_path / "y.h5", *words, mesh=grid_detector)


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"input_scale": 0.0}, ("`input_scale`", "above zero")),
            ({"output_scale": float("nan")}, ("`output_scale`", "above zero")),
            ({"input_scale": 0.5}, ("contains its energy scale", "`input_scale`")),
            ({"threshold": "5"}, ("no unit",)),
            ({"threshold": -1.0}, ("threshold", "MeV")),
            ({"theta": "50,60deg"}, ("`theta` is one angle",)),
            ({"theta": 7.0}, ("`theta` must be from 0 to 180 deg",)),
            ({"theta": "90deg"}, ("contains theta", "`theta`")),
            ({"particle": "photom"}, ("unknown particle 'photom'", "did you mean gamma?")),
        ],
    )
    def test_values(self, ours: Path, tmp_path: Path, options: dict[str, Any], words: tuple[str, ...]) -> None:
        refused(SettingsError, ours, tmp_path / "y.root", *words, **options)

    def test_a_foreign_file_that_tells_its_scale(self, ours: Path, tmp_path: Path, grid_detector: Detector) -> None:
        convert(ours, tmp_path / "a.h5", to_format="par04-h5")
        words = ("contains its energy scale, 1",)
        refused(SettingsError, tmp_path / "a.h5", tmp_path / "y.h5", *words, input_scale=2.0)
        words = ("is of par04-siw, whose mesh is not that of small-siw",)
        refused(GeometryError, tmp_path / "a.h5", tmp_path / "y.h5", *words, mesh=grid_detector)

    @pytest.mark.parametrize(
        ("name", "packages", "extra"),
        [
            ("par04-root", ("uproot", "awkward"), "root"),
            ("showerdata", ("showerdata",), "pointclouds"),
        ],
    )
    def test_a_missing_extra(
        self,
        ours: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
        packages: tuple[str, ...],
        extra: str,
    ) -> None:
        suffix = FORMATS[name].suffixes[0]
        convert(ours, tmp_path / f"foreign{suffix}", to_format=name)
        for package in packages:
            with monkeypatch.context() as patch:
                patch.setitem(sys.modules, package, None)
                words = (name, how_to_install(extra))
                refused(MissingExtraError, ours, tmp_path / f"y{suffix}", *words, to_format=name)
                refused(MissingExtraError, tmp_path / f"foreign{suffix}", tmp_path / "y.h5", *words)

    def test_the_output_is_in_the_way(self, ours: Path, tmp_path: Path) -> None:
        (tmp_path / "y.root").write_text("old")
        refused(OutputError, ours, tmp_path / "y.root", "exists already", "`force=True`")
        convert(ours, tmp_path / "y.root", force=True)
        assert recognise(tmp_path / "y.root").name == "par04-root"
        refused(OutputError, ours, ours, "would replace", to_format="fastv", force=True)
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "thesis.tex").write_text("text")
        refused(OutputError, ours, tmp_path / "mine", "is not replaced", to_format="zenodo-vae", force=True)
        with pytest.raises(OutputError, match="the folder .*none does not exist"):
            convert(ours, tmp_path / "none" / "y.root")

    def test_a_folder_of_ours_is_replaced(self, ours: Path, tmp_path: Path) -> None:
        convert(ours, tmp_path / "vae", to_format="zenodo-vae")
        refused(OutputError, ours, tmp_path / "vae", "exists already", to_format="zenodo-vae")
        convert(ours, tmp_path / "vae", to_format="zenodo-vae", force=True)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, FileFormatError("damaged")])
def test_an_interruption_leaves_the_old_output(
    ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: Any
) -> None:
    """Whatever ends a conversion, what was there before is still there, and nothing else is."""
    output = tmp_path / {"par04-root": "y.root", "zenodo-vae": "y"}.get(name, "y.h5")
    convert(ours, output, to_format=name)
    before = sorted(tmp_path.rglob("*"))
    content = {path: path.read_bytes() for path in before if path.is_file()}
    monkeypatch.setattr(conversion, "_BATCH_BYTES", 4 * 6480 * 2)
    original = conversion._Work._converted
    batches = []

    def interrupted(self: Any, batch: Showers) -> Showers:
        batches.append(batch)
        if len(batches) == 2:
            raise error
        return original(self, batch)

    monkeypatch.setattr(conversion._Work, "_converted", interrupted)
    with pytest.raises(error if isinstance(error, type) else type(error)):
        convert(ours, output, to_format=name, force=True)
    assert sorted(tmp_path.rglob("*")) == before
    assert {path: path.read_bytes() for path in content} == content


@pytest.mark.parametrize("name", HDF5)
def test_space_that_was_taken_and_is_not_used_is_given_back(
    tmp_path: Path, grid_detector: Detector, make_on: Make, name: str
) -> None:
    if name == "lemurs":
        mesh = ReadoutMesh.cylinder(layers=45, alpha_cells=16, r_cells=9, layer_thickness=1, r_size=1)
        grid_detector = grid_detector.model_copy(update={"mesh": mesh})
    make_on(grid_detector, 3, phi=np.zeros(3)).write(tmp_path / "a.h5")
    assert convert(tmp_path / "a.h5", tmp_path / "b.h5", to_format=name).bytes < 100_000


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on the size of files")
def test_a_full_disk_is_one_line(tmp_path: Path, make_on: Make) -> None:
    """A limit on file sizes stands for the full disk: the system refuses in the same places.

    HDF5 brings the process down when a write fails under it, so that the exit code is part of the test.
    """
    code = """
import resource, shutil, sys
from pathlib import Path
from fastv.errors import OutputError
from fastv.formats import FORMATS, conversion
folder = Path(sys.argv[1])
conversion._BATCH_BYTES = 4 * 6480 * 25
for size in (2_000, 4_000_000, 100_000_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    for name in FORMATS:
        output = folder / {"par04-root": "y.root", "zenodo-vae": "y"}.get(name, "y.h5")
        before = sorted(folder.iterdir())
        try:
            conversion.convert(folder / "many.h5", output, to_format=name)
            files = list(output.rglob("*.h5")) if output.is_dir() else [output]
            print(name, size, "written", max(file.stat().st_size for file in files))
            shutil.rmtree(output) if output.is_dir() else output.unlink()
        except OutputError as error:
            assert str(error) == f"cannot write {output}: File too large", error
            print(name, size, "refused", 0)
        assert sorted(folder.iterdir()) == before, sorted(folder.iterdir())
"""
    make_on(PRESETS["par04-siw"], 300, phi=np.zeros(300), theta=np.full(300, np.pi / 2)).write(tmp_path / "many.h5")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    results = {(name, int(limit)): (what, int(size)) for name, limit, what, size in map(str.split, lines)}
    assert len(results) == 3 * len(FORMATS)
    for name in FORMATS:
        written, size = results[name, 100_000_000]
        assert (written, size > 4_000_000) == ("written", True)
        # Below the size of the file, wherever that is reached, the end is one line.
        assert all(what == "refused" for (each, limit), (what, _) in results.items() if each == name and limit < size)


class TestDamage:
    """Files cut short, and bytes changed at random: a result, or one line that names the file."""

    def attempt(self, path: Path) -> None:
        output = path.with_name("out-of-damaged.h5")
        output.unlink(missing_ok=True)
        before = sorted(path.parent.iterdir())
        try:
            convert(path, output, force=True, to_format="calochallenge")
        except FastVError as error:
            assert "damaged.bin" in str(error), error
            assert "\n" not in str(error)
            assert sorted(path.parent.iterdir()) == before

    def foreign(self, folder: Path, name: str, make_on: Make, detector: Detector) -> bytes:
        path = folder / f"whole-{name}{'.root' if name == 'par04-root' else '.h5'}"
        if not path.exists():
            (folder / "ours").mkdir(exist_ok=True)
            if name == "lemurs":
                mesh = ReadoutMesh.cylinder(layers=45, alpha_cells=16, r_cells=9, layer_thickness=3.4, r_size=4.65)
                detector = detector.model_copy(update={"mesh": mesh})
            source = folder / "ours" / f"{name}.h5"
            make_on(detector, 20, phi=np.zeros(20)).write(source)
            if name == "zenodo-vae":
                convert(source, folder / "ours" / "vae", to_format=name)
                path.write_bytes((folder / "ours" / "vae" / "SiW" / "SiW_angle_90.h5").read_bytes())
            else:
                convert(source, path, to_format=name)
        return path.read_bytes()

    @pytest.mark.parametrize("name", FORMATS)
    @settings(max_examples=15)
    @given(keep=st.floats(0, 1, exclude_max=True))
    def test_cut_short(self, tmp_path: Path, make_on: Make, grid_detector: Detector, name: str, keep: float) -> None:
        content = self.foreign(tmp_path, name, make_on, grid_detector)
        damaged = tmp_path / "damaged.bin"
        damaged.write_bytes(content[: int(keep * len(content))])
        self.attempt(damaged)

    # HDF5 follows the references of lists without checking them: a changed one can end the process in any program.
    @pytest.mark.parametrize("name", [name for name in FORMATS if name != "showerdata"])
    @settings(max_examples=25)
    @given(seed=st.integers(0, 2**32), flips=st.integers(1, 6))
    def test_changed_bytes(
        self, tmp_path: Path, make_on: Make, grid_detector: Detector, name: str, seed: int, flips: int
    ) -> None:
        content = bytearray(self.foreign(tmp_path, name, make_on, grid_detector))
        chance = random.Random(seed)
        for _ in range(flips):
            # Half of the damage hits the head of the file, where its structure is.
            end = len(content) if chance.random() < 0.5 else min(len(content), 4096)
            content[chance.randrange(end)] = chance.randrange(256)
        damaged = tmp_path / "damaged.bin"
        damaged.write_bytes(content)
        self.attempt(damaged)
