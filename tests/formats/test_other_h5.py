"""Files of other codes, built by hand: every voxel arrives at its place, or the message names the option."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from fastv.detector.detector import PRESETS, Detector
from fastv.errors import FastVError, FileFormatError, GeometryError, SettingsError
from fastv.formats.conversion import convert, recognise
from fastv.formats.other_h5 import parse_axes
from fastv.showers import Showers, ShowersFile

N, LAYERS, ALPHAS, RADII = 7, 45, 16, 9
INCIDENT = np.array([1e3, 2e3, 4e3, 8e3, 1e4, 2e4, 4e4])
Write = Callable[..., Path]


def energy(layer: int, alpha: int, r: int, shower: int = 0) -> float:
    """Visible energy of one voxel in MeV, different in each; all together 3 % of 10 GeV at most."""
    return 1e-6 * (1 + r + 10 * alpha + 1000 * layer) * (1 + shower)


@pytest.fixture(scope="module")
def grid() -> NDArray[np.float32]:
    """Visible energies (N, layer, alpha, r), built without any code of FastV."""
    cells = [
        [[[energy(z, a, r, shower) for r in range(RADII)] for a in range(ALPHAS)] for z in range(LAYERS)]
        for shower in range(N)
    ]
    return np.array(cells, dtype=np.float32)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write data sets to a file."""

    def write(**columns: Any) -> Path:
        with h5py.File(tmp_path / "theirs.h5", "w") as file:
            for name, column in columns.items():
                file.create_dataset(name, data=column)
        return tmp_path / "theirs.h5"

    return write


def converted(source: Path, **options: Any) -> Showers:
    """What the file holds after conversion, on the scale of visible energy."""
    out = source.with_name("ours.h5")
    convert(source, out, **{"mesh": "par04-siw", "threshold": "none", "output_scale": 1.0, "force": True, **options})
    with ShowersFile(out) as file:
        return file[:]


@pytest.mark.parametrize(
    ("axes", "order"),
    [
        ("layer,alpha,r", (0, 1, 2, 3)),
        ("z,phi,rho", (0, 1, 2, 3)),
        ("alpha,layer,r", (0, 2, 1, 3)),
        ("r,layer,alpha", (0, 3, 1, 2)),
        ("r,alpha,layer", (0, 3, 2, 1)),
    ],
)
@pytest.mark.parametrize("extra_axis", [None, 1, 4])
def test_any_order_of_axes(
    write: Write, grid: NDArray[np.float32], axes: str, order: tuple[int, ...], extra_axis: int | None
) -> None:
    cells = grid.transpose(order)
    if extra_axis is not None:
        cells = np.expand_dims(cells, extra_axis)
    path = write(incident_energies=INCIDENT[:, None], showers=cells)
    read = converted(path, axes=axes)
    np.testing.assert_array_equal(read.grid, grid)
    np.testing.assert_array_equal(read.incident_energies, INCIDENT)
    assert read.energies[3, (2 * ALPHAS + 5) * RADII + 7] == np.float32(energy(2, 5, 7, 3))


@pytest.mark.parametrize("shape", [(N, LAYERS, ALPHAS, RADII), (N, 1, LAYERS, ALPHAS, RADII)])
@pytest.mark.parametrize("mesh", ["par04-siw", None])
def test_axes_that_nobody_named(write: Write, grid: NDArray[np.float32], shape: tuple[int, ...], mesh: str) -> None:
    """The message holds the option that works."""
    path = write(incident_energies=INCIDENT, showers=grid.reshape(shape))
    with pytest.raises(FastVError, match=r"`axes='layer,alpha,r'`") as error:
        converted(path, mesh=mesh)
    assert "45 x 16 x 9" in str(error.value)
    np.testing.assert_array_equal(converted(path, axes="layer,alpha,r").grid, grid)


@pytest.mark.parametrize("flat", [True, False])
def test_flattened_showers(write: Write, grid: NDArray[np.float32], flat: bool) -> None:
    """(N, V) is (layer, alpha, r), unless the user names another order."""
    path = write(energy=INCIDENT, voxels=grid.reshape(N, -1) if flat else grid.reshape(N, 1, -1))
    np.testing.assert_array_equal(converted(path).grid, grid)
    path = write(energy=INCIDENT, showers=grid.transpose(0, 3, 1, 2).reshape(N, -1))
    np.testing.assert_array_equal(converted(path, axes="r,layer,alpha").grid, grid)


def test_incident_energies_in_a_table_with_a_unit(write: Write, grid: NDArray[np.float32]) -> None:
    table = np.stack([INCIDENT / 1000, np.full(N, 0.3), np.arange(N)], axis=1)
    path = write(gen_info=table, showers=grid.reshape(N, -1))
    with pytest.raises(SettingsError, match="'gen_info' does not tell the unit .*`energy_unit='GeV'` or"):
        converted(path)
    read = converted(path, energy_unit="GeV")
    np.testing.assert_array_equal(read.incident_energies, INCIDENT)
    np.testing.assert_array_equal(read.grid, grid)
    np.testing.assert_array_equal(read.extra["gen_info"], table)


@pytest.mark.parametrize("name", ["layer_{}", "layer{}"])
@pytest.mark.parametrize("axes", [None, "r,alpha", "layer,r,alpha"])
def test_one_data_set_a_layer(write: Write, grid: NDArray[np.float32], name: str, axes: str | None) -> None:
    """Layer 10 comes after layer 9, not after layer 1."""
    layers = {name.format(z): grid[:, z] if axes is None else grid[:, z].transpose(0, 2, 1) for z in range(LAYERS)}
    path = write(energy=INCIDENT[:, None], **layers)
    assert recognise(path).name == "other-h5"
    np.testing.assert_array_equal(converted(path, axes=axes).grid, grid)
    if axes is not None:
        with pytest.raises(GeometryError, match=r"9 x 16 cells; .* alpha x r = 16 x 9; is the order `axes='r,alpha'`"):
            converted(path)


def test_layers_of_different_cells(tmp_path: Path, write: Write, uneven_detector: Detector) -> None:
    mesh = uneven_detector.mesh
    whole = np.arange(N * mesh.n_voxels, dtype=np.float32).reshape(N, -1) / 1000
    layers = {
        f"layer_{number}": whole[:, mesh.layer_slice(z)].reshape(N, layer.alpha_cells, layer.r_cells)
        for z, (number, layer) in enumerate(zip(mesh.layer_ids, mesh.layers, strict=True))
    }
    path = write(energies=INCIDENT, **layers)
    convert(path, tmp_path / "out.h5", mesh=uneven_detector)
    with ShowersFile(tmp_path / "out.h5") as file:
        np.testing.assert_array_equal(file[:].energies, whole)
    with pytest.raises(GeometryError, match="4 layers; the mesh of par04-siw has 45"):
        converted(write(energies=INCIDENT, **{f"layer_{z}": np.ones((N, 1620)) for z in range(4)}))


def test_one_compound_data_set(write: Write, grid: NDArray[np.float32]) -> None:
    kinds = [("incident_energy", "f8"), ("showers", "f4", (RADII, ALPHAS, LAYERS)), ("theta", "f4"), ("run", "i4")]
    table = np.zeros(N, kinds)
    table["incident_energy"], table["theta"], table["run"] = INCIDENT / 1000, 1.25, np.arange(N)
    table["showers"] = grid.transpose(0, 3, 2, 1)
    path = write(events=table)
    with pytest.raises(SettingsError, match=r"9 x 16 x 45 cells; .*`axes='r,alpha,layer'` .which fits par04-siw."):
        converted(path)
    read = converted(path, axes="r,alpha,layer", energy_unit="GeV")
    np.testing.assert_array_equal(read.grid, grid)
    np.testing.assert_array_equal(read.incident_energies, INCIDENT)
    assert read.theta is not None
    assert set(read.theta) == {1.25}
    assert read.extra["run"].tolist() == list(range(N))


class TestUnits:
    def test_energies_in_gev_are_told_and_nothing_is_written(self, write: Write, grid: NDArray[np.float32]) -> None:
        path = write(incident_energies=INCIDENT[:, None] / 1000, showers=1000 * grid.reshape(N, -1))
        words = "times the incident energy; incident energies seem to be in GeV .*`energy_unit='GeV'`, or"
        with pytest.raises(FileFormatError, match=words):
            converted(path)
        assert not path.with_name("ours.h5").exists()
        np.testing.assert_allclose(converted(path, energy_unit="GeV", input_scale=1.0).incident_energies, INCIDENT)
        # Who states the unit is believed, and told all the same.
        out = path.with_name("ours.h5")
        result = convert(path, out, mesh="par04-siw", energy_unit="MeV", force=True)
        assert "incident energies seem to be in GeV" in result.doubts[0]
        assert any("please check: voxel energies add up to" in line for line in result.lines())

    def test_both_in_gev(self, write: Write, grid: NDArray[np.float32]) -> None:
        path = write(incident_energies=INCIDENT / 1000, showers=grid.transpose(0, 3, 2, 1) / np.float32(1000))
        read = converted(path, energy_unit="GeV", voxel_unit="GeV")
        np.testing.assert_allclose(read.grid, grid, rtol=1e-6)
        np.testing.assert_array_equal(read.incident_energies, INCIDENT)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"energy_unit": "gev"}, "`energy_unit` must be one of keV, MeV, GeV, TeV, got 'gev'; did you mean GeV"),
            ({"voxel_unit": "J"}, "`voxel_unit` must be one of keV, MeV, GeV, TeV, got 'J'$"),
            ({"axes": "layer,alpha"}, "`axes` 'layer,alpha' must name layer, alpha and r once each"),
            ({"axes": "r,alpha"}, "`axes` must name layer, alpha and r here, got r,alpha"),
            ({"to_format": "other-h5"}, "other-h5 is only read; choose another format with `to_format`"),
        ],
    )
    def test_options_that_are_wrong(
        self, write: Write, grid: NDArray[np.float32], options: dict[str, str], words: str
    ) -> None:
        path = write(incident_energies=INCIDENT, showers=grid)
        with pytest.raises(SettingsError, match=words):
            converted(path, **options)

    def test_formats_that_fix_units_and_axes(self, tmp_path: Path) -> None:
        path = tmp_path / "ours.h5"
        Showers(INCIDENT, np.ones((N, 6480), np.float32), PRESETS["par04-siw"]).write(path)
        with pytest.raises(SettingsError, match="fastv fixes the order of its axes; leave `axes` out"):
            convert(path, tmp_path / "out.h5", to_format="par04-h5", axes="layer,alpha,r")
        convert(path, tmp_path / "points.h5", to_format="showerdata")
        with pytest.raises(SettingsError, match="showerdata fixes its units; leave `energy_unit` out"):
            convert(tmp_path / "points.h5", tmp_path / "out.h5", energy_unit="GeV")


def test_an_energy_scale_that_nobody_named_is_told(write: Write, grid: NDArray[np.float32]) -> None:
    """Files of data set 2 in another layout hold visible energies divided by 0.033."""
    share = (INCIDENT / grid.sum(axis=(1, 2, 3)))[:, None, None, None]
    path = write(incident_energies=INCIDENT, showers=(0.9 * share * grid).astype("f4"))
    out = path.with_name("out.h5")
    options: dict[str, Any] = {"mesh": "par04-siw", "axes": "layer,alpha,r", "force": True}
    told = convert(path, out, **options).doubts
    assert len(told) == 1
    assert "0.9 of the incident energy is visible, but par04-siw samples about 0.033" in told[0]
    assert "`input_scale=0.033`" in told[0]
    result = convert(path, out, **options, input_scale=0.033)
    assert result.doubts == ()
    assert result.response == pytest.approx(0.9, rel=1e-3)  # the threshold takes the smallest voxels


def test_empty_showers_are_counted(write: Write, grid: NDArray[np.float32]) -> None:
    empty = grid.copy()
    empty[2:5] = 0
    path = write(energy=INCIDENT, showers=empty.reshape(N, -1))
    result = convert(path, path.with_name("out.h5"), mesh="par04-siw")
    assert result.empty == 3
    assert any("empty: 3 of 7 showers" in line for line in result.lines())


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"voxels": np.ones((N, 6480)), "energy": np.ones((N, 2))}, "'energy' must have one number for each of 7"),
        ({"voxels": np.ones((N + 1, 6480)), "energy": INCIDENT}, "'voxels' must be numbers of 7 showers"),
        ({"voxels": np.ones((N, 2, 6480)), "energy": INCIDENT}, r"has the shape \(7, 2, 6480\), not \(N, three axes\)"),
        ({"events": np.zeros(N, [("a", "f4")])}, "no incident energies incident_energies or .*contains: a"),
        ({"events": np.zeros(N, [("energy", "f4")])}, "no showers showers or shower or voxels or layer_0"),
    ],
)
def test_files_that_lack_something(write: Write, columns: dict[str, Any], words: str) -> None:
    with pytest.raises(FileFormatError, match=words):
        converted(write(**columns))


def test_axes() -> None:
    assert parse_axes(" Z , phi, R") == ("layer", "alpha", "r")
    assert math.prod((LAYERS, ALPHAS, RADII)) == PRESETS["par04-siw"].mesh.n_voxels
    for text in ("", "layer", "layer,alpha,alpha", "x,y,z"):
        with pytest.raises(SettingsError, match="must name layer, alpha and r once each"):
            parse_axes(text)
