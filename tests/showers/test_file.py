"""The showers file: CaloChallenge layout, lazy reading and damage."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastv.detector.detector import PRESETS, Detector
from fastv.errors import FastVError, FileFormatError, GeometryError
from fastv.sample import sample_path
from fastv.showers import Showers, ShowersFile
from fastv.summary import summarise_file
from helpers import assert_same

Make = Callable[..., Showers]


class TestLayout:
    def test_public_scripts_find_what_they_expect(self, tmp_path: Path, full_showers: Showers) -> None:
        full_showers.write(tmp_path / "a.h5")
        with h5py.File(tmp_path / "a.h5") as file:
            assert file["incident_energies"].shape == (130, 1)
            assert file["showers"].shape == (130, 24)
            assert {file[name].dtype for name in ("incident_energies", "showers", "incident_theta")} == {
                np.dtype(np.float32)
            }
            assert file["incident_theta"].shape == file["incident_phi"].shape == (130, 1)
            assert file["incident_pdg"].shape == (130,)
            content = json.loads(file.attrs["fastv"])
        assert content["format_version"] == 2
        assert content["detector"]["energy_scale"] == 0.033

    def test_round_trip(self, tmp_path: Path, full_showers: Showers) -> None:
        full_showers.write(tmp_path / "a.h5")
        with ShowersFile(tmp_path / "a.h5") as file:
            assert_same(file[:], full_showers)
            assert file.provenance == {"engine": "random numbers"}

    def test_numpy_numbers_and_paths_in_the_provenance(self, tmp_path: Path, make_showers: Make) -> None:
        provenance = {"seed": np.int64(3), "scale": np.float32(0.5), "file": Path("a/b"), "list": np.arange(2)}
        make_showers(2, provenance=provenance).write(tmp_path / "a.h5")
        assert ShowersFile(tmp_path / "a.h5").provenance == {"seed": 3, "scale": 0.5, "file": "a/b", "list": [0, 1]}

    def test_a_plain_file_needs_its_mesh(self, plain: Callable[..., Path], tiny_detector: Detector) -> None:
        path = plain()
        with pytest.raises(GeometryError, match="does not name its detector; name it with `detector`"):
            ShowersFile(path)
        with ShowersFile(path, tiny_detector) as file:
            assert len(file) == 20
            assert file.format_version is None

    def test_a_plain_file_names_the_meshes_that_fit(self, plain: Callable[..., Path]) -> None:
        with pytest.raises(GeometryError, match=r"6480 voxels: par04-siw or par04-scipb or par04-pbwo4\)"):
            ShowersFile(plain(showers=np.zeros((20, 6480), np.float32)))

    def test_incident_energies_without_second_axis(
        self, plain: Callable[..., Path], tiny_detector: Detector, make_showers: Make
    ) -> None:
        incident = make_showers(20).incident_energies
        with ShowersFile(plain(incident_energies=incident), tiny_detector) as file:
            assert_same(file[:], make_showers(20))

    @pytest.mark.parametrize("dtype", ["<f8", ">f4", "<f2"])
    def test_other_floats_are_read(self, plain: Callable[..., Path], tiny_detector: Detector, dtype: str) -> None:
        data = np.linspace(0, 100, 480).reshape(20, 24).astype(dtype)
        with ShowersFile(plain(showers=data), tiny_detector) as file:
            assert file[:].energies.dtype == np.float32
            np.testing.assert_allclose(file[:].energies, data.astype(np.float64), rtol=1e-6)

    def test_data_sets_without_a_row_per_shower_are_left_alone(
        self, plain: Callable[..., Path], tiny_detector: Detector
    ) -> None:
        path = plain(scalar=3.0, edges=np.arange(7), text="abc", names=["a"] * 20, cpu_seconds=np.ones((20, 1)))
        with ShowersFile(path, tiny_detector) as file:
            assert sorted(file.columns) == ["cpu_seconds", "incident_energies"]
            assert file[:3].extra["cpu_seconds"].tolist() == [1, 1, 1]
            assert file.column("cpu_seconds").shape == (20,)
            with pytest.raises(FileFormatError, match=r"no column 'edges'; the file has: cpu_seconds"):
                file.column("edges")

    def test_the_shipped_sample_is_physical(self) -> None:
        with ShowersFile(sample_path("train")) as file:
            showers = file[:]
        fraction = showers.energies.sum(axis=1) / showers.incident_energies
        assert showers.detector == PRESETS["par04-siw"]
        assert fraction.mean() == pytest.approx(0.952, abs=0.01)
        assert showers.energies[showers.energies > 0].min() >= showers.detector.threshold * (1 - 1e-6)
        # Showers deepen with energy: logarithmically, by about one radiation length (4.2 mm here) per factor e.
        depth = (showers.grid.sum(axis=(2, 3)) * showers.mesh.layer_z).sum(axis=1) / showers.energies.sum(axis=1)
        slope, _ = np.polyfit(np.log(showers.incident_energies), depth, 1)
        assert 3.0 < slope < 6.0


class TestLazyReading:
    @given(st.slices(130), st.integers(1, 40))
    def test_any_slice(self, full_file: Path, full_showers: Showers, rows: slice, step: int) -> None:
        for wanted in (rows, slice(rows.start, rows.stop, step)):
            with ShowersFile(full_file) as file:
                assert_same(file[wanted], full_showers[np.arange(130)[wanted]])

    @given(st.lists(st.integers(-130, 129), max_size=40))
    def test_any_indices(self, full_file: Path, full_showers: Showers, rows: list[int]) -> None:
        wanted = np.asarray(rows, dtype=np.int64)
        with ShowersFile(full_file) as file:
            assert_same(file[wanted], full_showers[wanted])

    def test_a_mask(self, full_file: Path, full_showers: Showers) -> None:
        with ShowersFile(full_file) as file:
            mask = file.incident_energies > 1e5
            assert_same(file[mask], full_showers[mask])

    @pytest.mark.parametrize("rows", [[130], [-131], [0.5], [[1]], [True]])
    def test_rows_outside(self, full_file: Path, rows: list[object]) -> None:
        with ShowersFile(full_file) as file, pytest.raises(IndexError):
            file[np.asarray(rows)]

    @pytest.mark.parametrize("chunks", [None, True, (130, 24), (1, 1), (7, 5), (130, 1), (128, 24)])
    @pytest.mark.parametrize("size", [1, 32, 1000])
    def test_batches_of_files_with_odd_chunks(
        self, tmp_path: Path, full_showers: Showers, chunks: object, size: int
    ) -> None:
        with h5py.File(tmp_path / "odd.h5", "w") as file:
            file["incident_energies"] = full_showers.incident_energies
            file.create_dataset("showers", data=full_showers.energies, chunks=chunks)
        with ShowersFile(tmp_path / "odd.h5", full_showers.detector) as file:
            batches = list(file.batches(size))
        assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
        np.testing.assert_array_equal(np.concatenate([b.energies for b in batches]), full_showers.energies)
        np.testing.assert_array_equal(
            np.concatenate([b.incident_energies for b in batches]), full_showers.incident_energies
        )

    def test_a_closed_file_says_so(self, full_file: Path) -> None:
        with ShowersFile(full_file) as file:
            pass
        with pytest.raises(ValueError, match="the file is closed"):
            file[:1]
        with pytest.raises(ValueError, match="the file is closed"):
            next(file.batches())

    @pytest.fixture
    def full_file(self, tmp_path: Path, full_showers: Showers) -> Path:
        full_showers.write(tmp_path / "full.h5", force=True)
        return tmp_path / "full.h5"


class TestDamage:
    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(FileFormatError, match="no such file"):
            ShowersFile(tmp_path / "none.h5")

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(FileFormatError, match="is a folder"):
            ShowersFile(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"hello", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(1000)])
    def test_no_hdf5(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "a.h5").write_bytes(content)
        with pytest.raises(FileFormatError, match="truncated or not an HDF5 file|it is empty"):
            ShowersFile(tmp_path / "a.h5")

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"showers": None}, FileFormatError, "'showers' is missing; the file contains: incident_energies"),
            ({"incident_energies": None}, FileFormatError, "'incident_energies' is missing"),
            ({"showers": None, "showers/data": np.ones(3)}, FileFormatError, "'showers' is a group, not a data set"),
            ({"showers": np.zeros((20, 24), int)}, FileFormatError, "must be floating-point"),
            ({"showers": np.zeros(480)}, FileFormatError, "must be floating-point"),
            ({"showers": np.zeros((20, 3, 8))}, FileFormatError, "must be floating-point"),
            ({"showers": np.zeros((20, 25))}, GeometryError, "a shower has 25 voxels; the mesh of tiny has 24 voxels"),
            ({"showers": h5py.Empty("f")}, FileFormatError, "must be floating-point"),
            ({"incident_energies": np.ones((19, 1))}, FileFormatError, "one number for each of 20 showers"),
            ({"incident_energies": np.ones((20, 2))}, FileFormatError, "one number for each of 20 showers"),
            ({"incident_energies": 5.0}, FileFormatError, "one number for each of 20 showers"),
            ({"incident_energies": ["a"] * 20}, FileFormatError, "one number for each of 20 showers"),
            ({"incident_theta": np.ones(3)}, FileFormatError, "'incident_theta' must have one number"),
            ({"incident_pdg/a": np.ones(20)}, FileFormatError, "'incident_pdg' must have one number"),
        ],
    )
    def test_layout(
        self,
        plain: Callable[..., Path],
        tiny_detector: Detector,
        changes: dict[str, object],
        error: type[FastVError],
        message: str,
    ) -> None:
        with pytest.raises(error, match=message):
            ShowersFile(plain(**changes), tiny_detector)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1e-3, 1e300])
    def test_a_voxel_that_is_not_physical(
        self, plain: Callable[..., Path], tiny_detector: Detector, make_showers: Make, value: float
    ) -> None:
        data = make_showers(20).energies.astype(np.float64)
        data[13, 7] = value
        with ShowersFile(plain(showers=data), tiny_detector) as file:
            assert len(file[:13]) == 13
            for rows in (slice(10, 20), slice(1, None, 3), np.array([2, 13])):
                with pytest.raises(FileFormatError, match=r"voxel 7 of shower 13 is .*; voxel energies must be finite"):
                    file[rows]

    def test_unchecked_batches_hold_what_is_stored(
        self, plain: Callable[..., Path], tiny_detector: Detector, make_showers: Make
    ) -> None:
        data = make_showers(20).energies.astype(np.float64)
        data[13, 7], data[2, 1], data[19, 0] = np.nan, -5.0, 1e300
        incident = make_showers(20).incident_energies[:, None].copy()
        incident[4] = -1
        with ShowersFile(plain(showers=data, incident_energies=incident), tiny_detector) as file:
            parts = list(file.unchecked(6))
        assert [len(energies) for _, energies in parts] == [6, 6, 6, 2]
        data[19, 0] = np.inf  # beyond float32
        np.testing.assert_array_equal(np.concatenate([energies for _, energies in parts]), data.astype(np.float32))
        np.testing.assert_array_equal(np.concatenate([energies for energies, _ in parts]), incident[:, 0])

    def test_infinities_of_both_signs(self, plain: Callable[..., Path], tiny_detector: Detector) -> None:
        data = np.zeros((20, 24))
        data[3, :2] = np.inf, -np.inf
        with ShowersFile(plain(showers=data), tiny_detector) as file, pytest.raises(FileFormatError, match="shower 3"):
            file[:]

    @pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
    def test_an_incident_energy_that_is_not_physical(
        self, plain: Callable[..., Path], tiny_detector: Detector, value: float
    ) -> None:
        incident = np.full((20, 1), 1000.0)
        incident[4] = value
        with ShowersFile(plain(incident_energies=incident), tiny_detector) as file:
            with pytest.raises(FileFormatError, match="incident energy of shower 4 is"):
                _ = file.incident_energies
            with pytest.raises(FileFormatError, match="incident energy of shower 4 is"):
                file[:2]

    @pytest.mark.parametrize(
        ("column", "value"),
        [("incident_theta", 90.0), ("incident_theta", np.nan), ("incident_theta", -0.1), ("incident_phi", 180.0)],
    )
    def test_angles_in_degrees_are_refused(
        self, plain: Callable[..., Path], tiny_detector: Detector, column: str, value: float
    ) -> None:
        path = plain(**{column: np.full((20, 1), value)})
        with (
            ShowersFile(path, tiny_detector) as file,
            pytest.raises(FileFormatError, match=r"must be from \S+ to \S+ deg \(\S+ to \S+ rad\)"),
        ):
            file[:]

    @pytest.mark.parametrize("code", [11.5, np.nan, 1e20])
    def test_particle_codes(self, plain: Callable[..., Path], tiny_detector: Detector, code: float) -> None:
        path = plain(incident_pdg=np.full(20, code))
        with ShowersFile(path, tiny_detector) as file, pytest.raises(FileFormatError, match="must be a particle code"):
            file[:]

    def test_unknown_mesh_lists_the_known_ones(self, plain: Callable[..., Path]) -> None:
        with pytest.raises(GeometryError, match="unknown detector or mesh 'par05'; known: par04-siw, par04-siw-fine"):
            ShowersFile(plain(), "par05")

    def test_a_mesh_that_contradicts_the_file(self, tmp_path: Path, make_showers: Make) -> None:
        make_showers(2).write(tmp_path / "a.h5")
        with pytest.raises(GeometryError, match="the file is of tiny, whose mesh is not that of par04-siw"):
            ShowersFile(tmp_path / "a.h5", "par04-siw")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda c: {**c, "format_version": 3}, "format version 3 is newer than this FastV reads"),
            (lambda c: {**c, "format_version": 0}, "at format_version: "),
            (lambda c: {k: v for k, v in c.items() if k != "format_version"}, "at format_version: is missing"),
            (lambda c: {**c, "provenance": 3}, "at provenance: "),
            (lambda c: {**c, "colour": 3}, "at colour: "),
            (lambda c: {**c, "detector": {**c["detector"], "energy_scale": -1}}, "at detector.energy_scale: "),
            (
                lambda c: {**c, "detector": {**c["detector"], "mesh": {"blocks": [{"layers": "x"}]}}},
                "at detector.mesh.blocks.0.layers: ",
            ),
            (lambda _: [1], "bad attribute 'fastv'"),
        ],
    )
    def test_bad_values_of_the_attribute(
        self, tmp_path: Path, make_showers: Make, change: Callable[[dict[str, object]], object], message: str
    ) -> None:
        make_showers(2).write(tmp_path / "a.h5")
        with h5py.File(tmp_path / "a.h5", "r+") as file:
            file.attrs["fastv"] = json.dumps(change(json.loads(file.attrs["fastv"])))
        with pytest.raises(FileFormatError, match=message):
            ShowersFile(tmp_path / "a.h5")

    @pytest.mark.parametrize("value", ["", "{", "[" * 100_000, 3.0, np.arange(3), h5py.Empty("f"), b"\xff\xfe"])
    def test_an_attribute_that_is_no_json(self, tmp_path: Path, make_showers: Make, value: object) -> None:
        make_showers(2).write(tmp_path / "a.h5")
        with h5py.File(tmp_path / "a.h5", "r+") as file:
            file.attrs["fastv"] = value
        with pytest.raises(FileFormatError, match="fastv"):
            ShowersFile(tmp_path / "a.h5")

    def test_a_size_beyond_all_memory_is_found_before_memory_is_taken(
        self, tmp_path: Path, tiny_detector: Detector
    ) -> None:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file.create_dataset("incident_energies", (2**44, 1), "f4", chunks=(1000, 1))
            file.create_dataset("showers", (2**44, 24), "f4", chunks=(1000, 24))
        with pytest.raises(FileFormatError, match="claims the shape .17592186044416, 24., but nothing of it was ever"):
            ShowersFile(tmp_path / "a.h5", tiny_detector)

    @pytest.mark.parametrize("rows", [0, 10])
    def test_showers_and_columns_that_nobody_wrote(self, plain: Callable[..., Path], rows: int) -> None:
        """A file that was sized first and whose writer was stopped; h5py reads the rest as zeros."""
        path = plain()
        for name, width in (("cpu_seconds", 3), ("showers", 24)):
            with h5py.File(path, "r+") as file:
                file.pop(name, None)
                data = file.create_dataset(name, (20, width), "f4", chunks=(5, width))
                data[:rows] = 1.0
            part = "only 2 of 4 chunks" if rows else "nothing"
            with pytest.raises(FileFormatError, match=f"{name!r} claims the shape .20, {width}., but {part} of it was"):
                summarise_file(path, "par04-siw")

    def test_showers_that_are_empty_and_written(self, plain: Callable[..., Path], tiny_detector: Detector) -> None:
        path = plain()
        with h5py.File(path, "r+") as file:
            del file["showers"]
            file.create_dataset("showers", data=np.zeros((20, 24), "f4"), chunks=(5, 24), compression="gzip")
        assert summarise_file(path, tiny_detector).empty_showers == 20

    @given(seed=st.integers(0, 2**32), flips=st.integers(0, 6), keep=st.one_of(st.just(1.0), st.floats(0, 1)))
    def test_random_damage_gives_a_result_or_one_line(
        self, tmp_path: Path, full_showers: Showers, seed: int, flips: int, keep: float
    ) -> None:
        source = tmp_path / "whole.h5"
        if not source.exists():
            full_showers.write(source)
        content = bytearray(source.read_bytes())
        content = content[: max(1, int(keep * len(content)))]
        chance = random.Random(seed)
        for _ in range(flips):
            # Half of the damage hits the head of the file, where its structure is.
            end = len(content) if chance.random() < 0.5 else min(len(content), 4096)
            content[chance.randrange(end)] = chance.randrange(256)
        (tmp_path / "damaged.h5").write_bytes(content)
        try:
            summary = summarise_file(tmp_path / "damaged.h5")
        except FastVError as error:
            assert "damaged.h5" in str(error)
            assert "\n" not in str(error)
            return
        assert summary.showers == 130
        assert 0 <= summary.sparsity <= 1

    @given(
        shape=st.lists(st.integers(0, 30), max_size=4),
        dtype=st.sampled_from(["f4", "f8", "i4", "u1", "bool", "S3", "c8"]),
        name=st.sampled_from(["showers", "incident_energies", "incident_theta", "incident_pdg", "cpu_seconds"]),
    )
    def test_random_shapes_and_types(
        self, plain: Callable[..., Path], tiny_detector: Detector, shape: list[int], dtype: str, name: str
    ) -> None:
        path = plain(**{name: np.ones(shape, dtype)})
        try:
            with ShowersFile(path, tiny_detector) as file:
                assert len(file[:]) == 20
        except FastVError as error:
            assert "\n" not in str(error)


def test_reading_while_another_process_writes_in_place(tmp_path: Path, make_showers: Make) -> None:
    """A file that another program holds open for writing is refused, not misread."""
    make_showers(3).write(tmp_path / "a.h5")
    code = (
        "import sys; from fastv.showers import ShowersFile; from fastv.errors import FastVError\n"
        "try: ShowersFile(sys.argv[1])\n"
        "except FastVError as error: print(error)"
    )
    with h5py.File(tmp_path / "a.h5", "r+"):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "a.h5")],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "HDF5_USE_FILE_LOCKING": "TRUE"},
        )
    assert "another program is writing it" in done.stdout
