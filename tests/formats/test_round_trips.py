"""Ours, foreign, ours: nothing changes but what a format cannot hold, and that is told."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastv.detector.detector import Detector
from fastv.detector.mesh import LayerBlock, ReadoutMesh
from fastv.formats import FORMATS, conversion
from fastv.formats.conversion import convert
from fastv.showers import Showers, ShowersFile, joined

pytest.importorskip("uproot")
pytest.importorskip("showerdata")

FOREIGN = [name for name in FORMATS if name != "fastv"]
HOLDS_ANGLES = {"fastv", "par04-h5", "par04-root", "lemurs", "showerdata"}
SUFFIX = {"par04-root": ".root", "zenodo-vae": ""}
_numbers = itertools.count()


def out(folder: Path, format_name: str) -> Path:
    """A new name that suits a format."""
    return folder / f"{next(_numbers)}{SUFFIX.get(format_name, '.h5')}"


def through(folder: Path, showers: Showers, format_name: str, **options: Any) -> Showers:
    """Showers after the way to a format and back."""
    first, foreign, last = (out(folder, name) for name in ("fastv", format_name, "fastv"))
    showers.write(first)
    convert(first, foreign, to_format=format_name, **options)
    result = convert(foreign, last)
    assert result.source == format_name
    with ShowersFile(last) as file:
        return file[:]


def assert_kept(back: Showers, showers: Showers, format_name: str) -> None:
    """Energies to the rounding of float32, zeros as zeros, and every column that the format has."""
    assert back.detector == showers.detector
    np.testing.assert_array_equal(back.energies == 0, showers.energies == 0)
    np.testing.assert_allclose(back.energies, showers.energies, rtol=2.5e-7, atol=0)
    np.testing.assert_allclose(back.incident_energies, showers.incident_energies, rtol=2.5e-7)
    told = {name: value for name, value in back.provenance.items() if name != "converted"}
    assert told == showers.provenance
    assert [step["to"] for step in back.provenance["converted"]] == [format_name, "fastv"]
    if format_name in HOLDS_ANGLES:
        for name in ("theta", "phi", "pdg"):
            before, after = getattr(showers, name), getattr(back, name)
            if before is not None:
                np.testing.assert_allclose(after, before, rtol=2.5e-7, atol=1e-7)
        for name, column in showers.extra.items():
            if column.ndim == 1 or format_name != "par04-root":
                np.testing.assert_array_equal(back.extra[name], column)


@st.composite
def detectors(draw: st.DrawFn, *, regular: bool) -> Detector:
    """Small meshes: regular ones for arrays, of any rising edges; or with layers that differ."""
    edges = st.lists(st.floats(0, 500, width=32), min_size=2, max_size=5, unique=True).map(sorted)
    blocks = []
    for _ in range(1 if regular else draw(st.integers(1, 3))):
        wide = draw(edges.filter(lambda one: min(np.diff(one)) > 1e-3 * max(one)))
        blocks.append(
            LayerBlock(layers=draw(st.integers(1, 4)), alpha_cells=draw(st.integers(1, 6)), r_edges=tuple(wide))
        )
    return Detector(
        name="drawn-siw",
        mesh=ReadoutMesh(blocks=tuple(blocks)),
        energy_scale=draw(st.sampled_from([1.0, 0.033, 0.3])),
        readout_threshold=draw(st.sampled_from([0.0, 0.5e-3])),
    )


@st.composite
def drawn_showers(draw: st.DrawFn, format_name: str) -> Showers:
    """A few showers that a format can hold, with or without each optional column."""
    if format_name == "lemurs":
        mesh = ReadoutMesh.cylinder(layers=45, alpha_cells=16, r_cells=9, layer_thickness=1, r_size=1)
        detector = Detector(name="drawn-siw", mesh=mesh, energy_scale=0.2)
    else:
        detector = draw(detectors(regular=format_name not in ("calochallenge", "showerdata")))
    n = draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    filled = rng.random((n, detector.mesh.n_voxels)) < draw(st.sampled_from([0.0, 0.2, 1.0]))
    energies = 10 ** rng.uniform(-6, 6, filled.shape) * filled
    whole = format_name == "zenodo-vae"
    incident = rng.integers(1, 2000, n) * 1000.0 if whole else np.exp(rng.uniform(1, 15, n))
    theta = np.radians(rng.integers(0, 181, n)) if whole else rng.uniform(0, np.pi, n)
    angles = draw(st.booleans()) or format_name in ("lemurs", "zenodo-vae")
    return Showers(
        incident_energies=incident.astype(np.float32).astype(np.float64),
        energies=energies.astype(np.float32),
        detector=detector,
        theta=theta if angles else None,
        phi=rng.uniform(-np.pi, np.pi, n) if angles else None,
        pdg=rng.choice(np.array([11, 22, -211], np.int32), n) if draw(st.booleans()) else None,
        extra=draw(st.sampled_from([{}, {"cpu_seconds": rng.random(n)}, {"vertex": rng.random((n, 3))}])),
        provenance=draw(st.sampled_from([{}, {"engine": "random numbers", "seed": [1, 2]}])),
    )


@pytest.mark.parametrize("format_name", FOREIGN)
@settings(max_examples=12)
@given(data=st.data())
def test_ours_foreign_ours(data: st.DataObject, tmp_path: Path, format_name: str) -> None:
    showers = data.draw(drawn_showers(format_name))
    back = through(tmp_path, showers, format_name)
    if format_name == "zenodo-vae":
        # The layout sorts showers by angle and energy, and keeps their order within.
        assert showers.theta is not None
        degrees = np.rint(np.degrees(showers.theta))
        showers = showers[np.lexsort((showers.incident_energies, degrees))]
        np.testing.assert_allclose(back.theta, showers.theta, rtol=1e-6, atol=1e-7)  # type: ignore[arg-type]
    assert_kept(back, showers, format_name)


@pytest.mark.parametrize("format_name", FOREIGN)
def test_batches_change_nothing(
    tmp_path: Path,
    grid_detector: Detector,
    make_on: Callable[..., Showers],
    monkeypatch: pytest.MonkeyPatch,
    format_name: str,
) -> None:
    """However small the batches are, the output is the same; and no batch is larger than asked for."""
    if format_name == "lemurs":
        mesh = ReadoutMesh.cylinder(layers=45, alpha_cells=16, r_cells=9, layer_thickness=1, r_size=1)
        grid_detector = grid_detector.model_copy(update={"mesh": mesh})
    showers = make_on(grid_detector, 61, phi=np.zeros(61))
    whole = through(tmp_path, showers, format_name)
    sizes: list[int] = []
    original = conversion._Work._converted

    def watched(self: Any, batch: Showers) -> Showers:
        sizes.append(len(batch))
        return original(self, batch)

    monkeypatch.setattr(conversion._Work, "_converted", watched)
    monkeypatch.setattr(conversion, "_BATCH_BYTES", 4 * 7 * grid_detector.mesh.n_voxels)
    monkeypatch.setattr("fastv.formats.showerdata._REOPEN_ROWS", 10)
    pieces = through(tmp_path, showers, format_name)
    assert max(sizes) <= 7
    assert sum(sizes) == 2 * 61
    np.testing.assert_array_equal(pieces.energies, whole.energies)
    np.testing.assert_array_equal(pieces.incident_energies, whole.incident_energies)


def test_a_chain_through_all_formats(tmp_path: Path, grid_detector: Detector, make_on: Callable[..., Showers]) -> None:
    """Every format reads what every other one wrote, without a word on mesh or scale; each step is recorded."""
    showers = make_on(grid_detector, 9)
    chain = ["calochallenge", "par04-h5", "showerdata", "par04-root", "calochallenge", "fastv", "showerdata", "fastv"]
    path = out(tmp_path, "fastv")
    showers.write(path)
    for name in chain:
        following = out(tmp_path, name)
        convert(path, following, to_format=name)
        path = following
    with ShowersFile(path) as file:
        back = file[:]
    np.testing.assert_allclose(back.energies, showers.energies, rtol=2e-6, atol=0)
    assert back.detector == showers.detector
    steps = back.provenance["converted"]
    assert [step["to"] for step in steps] == chain
    assert [step["from"] for step in steps] == ["fastv", *chain[:-1]]
    assert steps[1]["input_scale"] == 0.033
    assert steps[1]["output_scale"] == 1.0


@pytest.mark.parametrize("format_name", FOREIGN)
def test_a_long_description(tmp_path: Path, make_on: Callable[..., Showers], format_name: str) -> None:
    """Longer than the attributes that HDF5 keeps in one piece."""
    lemurs = format_name == "lemurs"
    cells = (45, 16, 9) if lemurs else (2, 2, 2)
    mesh = ReadoutMesh.cylinder(layers=cells[0], alpha_cells=cells[1], r_cells=cells[2], layer_thickness=1, r_size=1)
    showers = make_on(
        Detector(name="siw", mesh=mesh), 2, phi=np.zeros(2), theta=np.zeros(2), provenance={"log": "w" * 100_000}
    )
    assert through(tmp_path, showers, format_name).provenance["log"] == "w" * 100_000


def test_what_is_not_kept_is_told(tmp_path: Path, grid_detector: Detector, make_on: Callable[..., Showers]) -> None:
    columns = {"phi": np.zeros(4), "pdg": np.full(4, 11, np.int32), "extra": {"vertex": np.zeros((4, 3))}}
    make_on(grid_detector, 4, **columns).write(tmp_path / "a.h5")
    lost = {}
    for name in FOREIGN:
        if name != "lemurs":
            lost[name] = set(convert(tmp_path / "a.h5", out(tmp_path, name), to_format=name).not_kept)
    assert lost == {
        "calochallenge": {"incident_theta", "incident_phi", "incident_pdg", "vertex"},
        "par04-root": {"vertex"},
        "par04-h5": set(),
        "zenodo-vae": {"incident_phi", "incident_pdg", "vertex"},
        "showerdata": set(),
    }


def test_blocks_are_joined_from_any_pieces(
    tmp_path: Path, grid_detector: Detector, make_on: Callable[..., Showers], monkeypatch: pytest.MonkeyPatch
) -> None:
    """2300 showers come in pieces of 70 and go out in blocks of 1000."""
    showers = make_on(grid_detector, 2300)
    showers.write(tmp_path / "a.h5")
    monkeypatch.setattr(conversion, "_BATCH_BYTES", 4 * 70 * grid_detector.mesh.n_voxels)
    convert(tmp_path / "a.h5", tmp_path / "b.h5", to_format="fastv")
    with ShowersFile(tmp_path / "b.h5") as file:
        np.testing.assert_array_equal(file[:].energies, showers.energies)
    pieces = [showers[:5], showers[5:6], showers[6:20]]
    np.testing.assert_array_equal(joined(pieces).theta, showers[:20].theta)  # type: ignore[arg-type]


class TestScaleAndThreshold:
    """Visible energies of 0.1, 0.4999 and 0.5 keV, and 1 MeV, in a file of Par04."""

    VISIBLE = np.array([1e-4, 4.999e-4, 5e-4, 1.0])

    @pytest.fixture
    def path(self, par04_h5: Callable[..., Path]) -> Path:
        grid = np.zeros((2, 2, 3, 4))
        grid[:, 0, 0, :] = self.VISIBLE
        return par04_h5(showers=grid, incident_energy=np.array([1e3, 2e3]))

    def converted(self, path: Path, mesh: Detector, **options: Any) -> tuple[Any, Showers]:
        result = convert(path, path.with_name("ours.h5"), mesh=mesh, **options)
        with ShowersFile(path.with_name("ours.h5")) as file:
            return result, file[:]

    def voxels(self, showers: Showers) -> list[float]:
        return [float(showers.grid[1, z, 0, 0]) for z in range(4)]

    def test_the_threshold_of_the_detector_by_default(self, path: Path, grid_detector: Detector) -> None:
        result, showers = self.converted(path, grid_detector)
        assert self.voxels(showers) == pytest.approx([0, 0, 5e-4 / 0.033, 1 / 0.033], rel=1e-6)
        assert (result.threshold, result.below_threshold) == (5e-4, 4)
        assert result.below_threshold_energy == pytest.approx(self.VISIBLE[:2].sum() / self.VISIBLE.sum(), rel=1e-5)
        step = showers.provenance["converted"][0]
        assert (step["input_scale"], step["output_scale"], step["threshold"]) == (1.0, 0.033, 5e-4)

    @pytest.mark.parametrize("none", ["none", "0", "0keV", 0.0])
    def test_no_threshold(self, path: Path, grid_detector: Detector, none: Any) -> None:
        result, showers = self.converted(path, grid_detector, threshold=none)
        assert self.voxels(showers) == pytest.approx(list(self.VISIBLE / 0.033), rel=1e-6)
        assert result.below_threshold == 0
        assert showers.detector.readout_threshold == 0

    def test_a_threshold_of_ones_own_is_that_of_the_new_detector(self, path: Path, grid_detector: Detector) -> None:
        _, showers = self.converted(path, grid_detector, threshold="0.2keV")
        assert self.voxels(showers) == pytest.approx([0, *(self.VISIBLE[1:] / 0.033)], rel=1e-6)
        assert showers.detector.readout_threshold == pytest.approx(2e-4)

    def test_energies_that_were_scaled_before(self, path: Path, grid_detector: Detector) -> None:
        """Some converters divide by a sampling fraction: the threshold is of visible energy all the same."""
        _, showers = self.converted(path, grid_detector, input_scale=0.5)
        assert self.voxels(showers) == pytest.approx([0, 0, 0, 0.5 / 0.033], rel=1e-6)

    def test_a_scale_of_ones_own(self, path: Path, grid_detector: Detector) -> None:
        result, showers = self.converted(path, grid_detector, output_scale=0.25)
        assert self.voxels(showers) == pytest.approx([0, 0, 5e-4 / 0.25, 4.0], rel=1e-6)
        assert result.output_scale == showers.detector.energy_scale == 0.25
        assert showers.detector.threshold == pytest.approx(5e-4 / 0.25)

    def test_our_showers_keep_what_is_below_the_threshold(
        self, tmp_path: Path, grid_detector: Detector, make_on: Callable[..., Showers]
    ) -> None:
        showers = make_on(grid_detector, 3)
        low = replace(showers, energies=showers.energies * np.float32(1e-6))
        back = through(tmp_path, low, "par04-h5")
        assert np.count_nonzero(back.energies) == np.count_nonzero(low.energies)

    def test_a_scaled_output_is_read_back(
        self, tmp_path: Path, grid_detector: Detector, make_on: Callable[..., Showers]
    ) -> None:
        showers = make_on(grid_detector, 3)
        back = through(tmp_path, showers, "par04-h5", output_scale=0.2)
        np.testing.assert_allclose(back.energies, showers.energies, rtol=2.5e-7)
        assert back.detector == showers.detector

    def test_plain_calochallenge_with_a_scale_of_its_own(
        self, tmp_path: Path, uneven_detector: Detector, make_on: Callable[..., Showers]
    ) -> None:
        """A binning tells no scale: the user does, and the energies stay as they are."""
        showers = make_on(uneven_detector, 3)
        showers.write(tmp_path / "a.h5")
        convert(tmp_path / "a.h5", tmp_path / "plain.h5", to_format="calochallenge")
        import h5py

        with h5py.File(tmp_path / "plain.h5", "r+") as file:
            del file.attrs["fastv_conversion"]
        convert(tmp_path / "plain.h5", tmp_path / "b.h5", mesh=uneven_detector, input_scale=0.1)
        with ShowersFile(tmp_path / "b.h5") as ours:
            assert ours.detector.energy_scale == 0.1
            np.testing.assert_array_equal(ours[:].energies, showers.energies)


def test_columns_that_the_input_lacks(tmp_path: Path, par04_h5: Callable[..., Path], grid_detector: Detector) -> None:
    result = convert(
        par04_h5(), tmp_path / "a.h5", mesh=grid_detector, theta="90deg", phi=-1.0, particle="gamma", threshold="none"
    )
    assert result.filled == {"theta": pytest.approx(np.pi / 2), "phi": -1.0, "pdg": 22}
    with ShowersFile(tmp_path / "a.h5") as file:
        showers = file[:]
    assert showers.theta is not None
    assert showers.phi is not None
    assert showers.pdg is not None
    np.testing.assert_allclose(showers.theta, np.pi / 2)
    np.testing.assert_allclose(showers.phi, -1)
    assert set(showers.pdg) == {22}
    assert showers.provenance["particle"] == "gamma"
