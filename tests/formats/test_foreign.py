"""What other projects read of our files, and what we read of theirs.

The readers here are written from the descriptions of the formats, with plain loops, and know nothing of ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from fastv.detector.detector import Detector
from fastv.formats.conversion import convert
from fastv.sample import sample_path
from fastv.showers import Showers, ShowersFile

uproot = pytest.importorskip("uproot")
showerdata = pytest.importorskip("showerdata")

Array = NDArray[Any]


@pytest.fixture
def ours(tmp_path: Path, grid_detector: Detector, make_on: Callable[..., Showers]) -> tuple[Path, Showers]:
    rng = np.random.default_rng(9)
    showers = make_on(grid_detector, 23, phi=rng.uniform(-3, 3, 23), extra={"sim_seconds": rng.random(23)})
    showers.write(tmp_path / "ours.h5")
    return tmp_path / "ours.h5", showers


def slow_grid(showers: Showers) -> Array:
    """(N, r, alpha, z) of visible energy, voxel by voxel."""
    layers, alphas, radii = showers.mesh.shape
    grid = np.zeros((len(showers), radii, alphas, layers))
    for n in range(len(showers)):
        for z in range(layers):
            for alpha in range(alphas):
                for r in range(radii):
                    voxel = (z * alphas + alpha) * radii + r
                    grid[n, r, alpha, z] = float(showers.energies[n, voxel]) * showers.detector.energy_scale
    return grid


def close(first: Array, second: Array) -> None:
    np.testing.assert_allclose(first, second, rtol=2.5e-7, atol=0)


class TestWhatOthersReadOfOurs:
    def test_calochallenge(self, ours: tuple[Path, Showers], tmp_path: Path) -> None:
        path, showers = ours
        convert(path, tmp_path / "out.hdf5", to_format="calochallenge")
        with h5py.File(tmp_path / "out.hdf5") as file:
            assert set(file) == {"incident_energies", "showers"}
            energies, voxels = file["incident_energies"][:], file["showers"][:]
        assert energies.shape == (23, 1)
        np.testing.assert_array_equal(energies[:, 0], showers.incident_energies)
        np.testing.assert_array_equal(voxels, showers.energies)

    @pytest.mark.parametrize("spelling", ["incident_energy", "incident_energies"])
    def test_par04_h5_by_slices(self, ours: tuple[Path, Showers], tmp_path: Path, spelling: str) -> None:
        path, showers = ours
        convert(path, tmp_path / "out.h5", to_format="par04-h5")
        with h5py.File(tmp_path / "out.h5") as file:
            events, energies = file["showers"][:], file[spelling][:]
        assert (events.dtype, events.shape, energies.shape) == (np.float32, (23, 2, 3, 4), (23,))
        close(events, slow_grid(showers))
        # The order of CaloChallenge, as the public scripts of Par04 turn theirs into it.
        close(events.transpose(0, 3, 2, 1).reshape(23, -1) / 0.033, showers.energies)
        np.testing.assert_array_equal(energies, showers.incident_energies)

    def test_lemurs_by_filling_arrays_of_its_shapes(self, tmp_path: Path) -> None:
        convert(sample_path("train"), tmp_path / "l.h5", to_format="lemurs", theta="80deg", phi="0.5rad")
        with ShowersFile(sample_path("train")) as file:
            showers = file[:]
        n = len(showers)
        events = np.empty((n, 9, 16, 45), dtype=np.float32)
        energy, theta, phi = (np.empty(n, dtype=np.float32) for _ in range(3))
        with h5py.File(tmp_path / "l.h5") as file:
            # These fill arrays in place and fail at any other shape.
            file["showers"].read_direct(events)
            file["incident_energy"].read_direct(energy)
            file["incident_theta"].read_direct(theta)
            file["incident_phi"].read_direct(phi)
        close(events[:5], slow_grid(showers[:5]))
        close(energy, showers.incident_energies)
        np.testing.assert_allclose(theta, math.radians(80), rtol=1e-6)
        np.testing.assert_allclose(phi, 0.5, rtol=1e-6)

    def test_the_original_vae_data(self, ours: tuple[Path, Showers], tmp_path: Path) -> None:
        path, showers = ours
        convert(path, tmp_path / "vae", to_format="zenodo-vae")
        degrees = np.rint(np.degrees(showers.theta)).astype(int)  # type: ignore[arg-type]
        seen = 0
        for angle in range(50, 100, 10):
            energy = 1
            while energy <= 1024:
                rows = (degrees == angle) & (showers.incident_energies == 1000 * energy)
                with h5py.File(f"{tmp_path}/vae/SiW/SiW_angle_{angle}.h5") as file:
                    if rows.any():
                        events = np.array(file[f"{energy}"])
                        assert events.shape[1:] == (2, 3, 4)
                        close(events, slow_grid(showers[rows]))
                        seen += len(events)
                    else:
                        assert f"{energy}" not in file
                energy *= 2
        assert seen == 23

    def test_par04_root_cell_by_cell(self, ours: tuple[Path, Showers], tmp_path: Path) -> None:
        path, showers = ours
        convert(path, tmp_path / "out.root")
        with uproot.open(tmp_path / "out.root") as file:
            energies = file["global"]["EnergyMC"].array(library="np")
            times = file["global"]["SimTime"].array(library="np")
            cells = {
                name: file["virtualReadout"][name].array() for name in ("rhoCell", "phiCell", "zCell", "EnergyCell")
            }
        assert energies.dtype == np.float64
        np.testing.assert_array_equal(energies, showers.incident_energies)
        np.testing.assert_allclose(times, showers.extra["sim_seconds"])
        events = np.zeros((23, 2, 3, 4))
        for event in range(23):
            for r, phi, z, energy in zip(*(cells[name][event].tolist() for name in cells), strict=True):
                assert energy > 0
                events[event][r][phi][z] = energy
        close(events, slow_grid(showers))

    def test_par04_root_knows_its_types(self, ours: tuple[Path, Showers], tmp_path: Path) -> None:
        convert(ours[0], tmp_path / "out.root")
        with uproot.open(tmp_path / "out.root") as file:
            types = {name: branch.typename for name, branch in file["virtualReadout"].items()}
        assert {types[name] for name in ("rhoCell", "phiCell", "zCell")} == {"int32_t[]"}
        assert types["EnergyCell"] == "double[]"

    def test_point_clouds_through_their_library(self, ours: tuple[Path, Showers], tmp_path: Path) -> None:
        path, showers = ours
        convert(path, tmp_path / "cloud.h5", to_format="showerdata")
        clouds = showerdata.load(str(tmp_path / "cloud.h5"))
        assert showerdata.get_file_shape(str(tmp_path / "cloud.h5")) == clouds.points.shape
        assert clouds.points.shape == (23, np.count_nonzero(showers.energies, axis=1).max(), 4)
        close(clouds.energies[:, 0], showers.incident_energies / 1000)
        assert set(clouds.pdg) == {11}  # its provenance tells of electrons
        np.testing.assert_array_equal(clouds.directions, np.tile([0.0, 0.0, 1.0], (23, 1)))
        grid = slow_grid(showers)
        for n in range(23):
            expected = []
            for z in range(4):
                for alpha in range(3):
                    for r in range(2):
                        angle, radius = -math.pi + (alpha + 0.5) * 2 * math.pi / 3, (r + 0.5) * 4.65
                        energy = grid[n, r, alpha, z]
                        if energy > 0:
                            place = radius * math.cos(angle), radius * math.sin(angle)
                            expected.append((*place, z, energy / 1000))
            np.testing.assert_allclose(clouds.points[n, : len(expected)], expected, rtol=1e-6, atol=1e-6)
            assert not clouds.points[n, len(expected) :].any()


class TestWhatWeReadOfTheirs:
    @pytest.mark.parametrize("spelling", ["incident_energy", "incident_energies"])
    @pytest.mark.parametrize("as_column", [False, True])
    def test_par04_h5(
        self, tmp_path: Path, grid_detector: Detector, par04_h5: Callable[..., Path], spelling: str, as_column: bool
    ) -> None:
        incident = np.array([1e3, 5e4, 2e3, 7e3, 1e4])
        changes = {"incident_energy": None, spelling: incident[:, None] if as_column else incident}
        path = par04_h5(**changes)
        result = convert(path, tmp_path / "ours.h5", mesh=grid_detector)
        assert (result.source, result.detected) == ("par04-h5", True)
        with h5py.File(path) as file:
            events = file["showers"][:]
        with ShowersFile(tmp_path / "ours.h5") as file:
            showers = file[:]
        assert showers.detector == grid_detector
        np.testing.assert_allclose(showers.incident_energies, incident, rtol=1e-7)
        flat = events.transpose(0, 3, 2, 1).reshape(5, -1)
        flat[flat < 0.5e-3] = 0
        close(showers.energies, flat / 0.033)

    def test_lemurs(self, tmp_path: Path, par04_h5: Callable[..., Path]) -> None:
        angles = {"incident_theta": np.linspace(0.9, 2.2, 6), "incident_phi": np.linspace(0, 6.2, 6)}
        path = par04_h5(shape=(6, 9, 16, 45), **angles)
        result = convert(path, tmp_path / "ours.h5", mesh="par04-siw")
        assert result.source == "lemurs"
        with ShowersFile(tmp_path / "ours.h5") as file:
            showers = file[:]
        np.testing.assert_allclose(showers.theta, angles["incident_theta"], rtol=1e-6)  # type: ignore[arg-type]
        np.testing.assert_allclose(showers.phi, angles["incident_phi"], rtol=1e-6)  # type: ignore[arg-type]

    def vae_data(self, folder: Path, detector: str, shape: tuple[int, int, int] = (18, 50, 45)) -> dict[Any, Array]:
        """A folder as the public one; the showers by (angle, energy)."""
        rng = np.random.default_rng(3)
        events: dict[Any, Array] = {}
        (folder / detector).mkdir(parents=True)
        for angle in (50, 90):
            with h5py.File(folder / detector / f"{detector}_angle_{angle}.h5", "w") as file:
                for energy in (1, 2, 1024):
                    data = rng.gamma(0.2, 1.0, (2, *shape)) * (rng.random((2, *shape)) < 0.1)
                    file.create_dataset(f"{energy}", data=data, compression="gzip", compression_opts=1)
                    events[angle, energy] = data
        return events

    @pytest.mark.parametrize(("detector", "preset"), [("SiW", "par04-siw-fine"), ("SciPb", "par04-scipb-fine")])
    def test_the_original_vae_data(self, tmp_path: Path, detector: str, preset: str) -> None:
        if preset not in ("par04-siw-fine",):
            pytest.importorskip("fastv.detector.stack", reason="this preset comes with the stack of materials")
        events = self.vae_data(tmp_path, detector)
        result = convert(tmp_path / detector, tmp_path / "ours.h5")
        assert (result.source, result.detector, result.showers) == ("zenodo-vae", preset, 12)
        with ShowersFile(tmp_path / "ours.h5") as file:
            showers = file[:]
            scale = file.detector.energy_scale
        for i, ((angle, energy), data) in enumerate(events.items()):
            rows = slice(2 * i, 2 * i + 2)
            assert set(showers.incident_energies[rows]) == {1000.0 * energy}
            np.testing.assert_allclose(showers.theta[rows], math.radians(angle), rtol=1e-6)  # type: ignore[index]
            flat = data.transpose(0, 3, 2, 1).reshape(2, -1)
            flat = np.where(flat < 0.5e-3, 0, flat)
            close(showers.energies[rows], flat / scale)

    def test_one_file_of_the_original_vae_data(self, tmp_path: Path) -> None:
        events = self.vae_data(tmp_path, "SiW")
        convert(tmp_path / "SiW" / "SiW_angle_90.h5", tmp_path / "ours.h5", threshold="none")
        with ShowersFile(tmp_path / "ours.h5") as file:
            showers = file[:]
            assert file.detector.threshold == 0
        expected = np.concatenate([events[90, energy] for energy in (1, 2, 1024)])
        close(showers.energies, expected.transpose(0, 3, 2, 1).reshape(6, -1) / 0.033)

    @pytest.mark.parametrize("extra_branches", [False, True])
    def test_par04_root(self, tmp_path: Path, grid_detector: Detector, extra_branches: bool) -> None:
        """Cells in any order, one event without any, cells outside the mesh, and whole numbers as doubles."""
        rng = np.random.default_rng(4)
        events = np.zeros((7, 2, 3, 4))
        rows: list[list[tuple[int, int, int, float]]] = []
        for event in range(7):
            cells = []
            for place in rng.permutation(24)[: 0 if event == 3 else 9]:
                r, phi, z = np.unravel_index(place, (2, 3, 4))
                events[event, r, phi, z] = energy = float(rng.uniform(0.001, 3))
                cells.append((int(r), int(phi), int(z), energy))
            # Par04 marks what is outside the mesh by indices that it does not have.
            cells.insert(0, (-1, 0, 0, 0.25))
            cells.append((0, 3, 1, 0.5))
            rows.append(cells)
        names = ("rhoCell", "phiCell", "zCell", "EnergyCell")
        ak = pytest.importorskip("awkward")
        columns = {name: ak.Array([[cell[i] for cell in cells] for cells in rows]) for i, name in enumerate(names)}
        with uproot.recreate(tmp_path / "par04.root") as file:
            head: dict[str, Array] = {"EnergyMC": np.linspace(1e3, 1e5, 7), "SimTime": np.linspace(0.1, 2, 7)}
            if extra_branches:
                head |= {"ThetaMC": np.full(7, 1.5), "PhiMC": np.full(7, -3.0), "run": np.arange(7)}
            for tree, content in {"global": head, "virtualReadout": columns, "physicalReadout": columns}.items():
                file.mktree(
                    tree,
                    {name: getattr(column, "dtype", None) or column.type.content for name, column in content.items()},
                )
                file[tree].extend(content)
        result = convert(tmp_path / "par04.root", tmp_path / "ours.h5", mesh=grid_detector)
        assert (result.source, result.outside_mesh) == ("par04-root", 14)
        assert result.outside_mesh_energy == pytest.approx(7 * 0.75 / (events.sum() + 7 * 0.75))
        with ShowersFile(tmp_path / "ours.h5") as ours:
            showers = ours[:]
        close(showers.energies, events.transpose(0, 3, 2, 1).reshape(7, -1) / 0.033)
        np.testing.assert_allclose(showers.incident_energies, np.linspace(1e3, 1e5, 7), rtol=1e-7)
        np.testing.assert_allclose(showers.extra["sim_seconds"], np.linspace(0.1, 2, 7))
        if extra_branches:
            assert showers.theta is not None
            np.testing.assert_allclose(showers.theta, 1.5)
            np.testing.assert_array_equal(showers.extra["run"], np.arange(7))
        else:
            assert showers.theta is None

    @pytest.mark.parametrize("features", [4, 5])
    def test_raw_point_clouds(self, tmp_path: Path, uneven_detector: Detector, features: int) -> None:
        """Binning against a loop over points, with layers of different cells and points outside."""
        rng = np.random.default_rng(5)
        n, most = 9, 120
        points = np.zeros((n, most, features), dtype=np.float32)
        counts = rng.integers(0, most, n)
        for i, count in enumerate(counts):
            points[i, :count, :2] = rng.normal(0, 8, (count, 2))
            points[i, :count, 2] = rng.integers(-1, 5, count)
            points[i, :count, 3] = rng.gamma(1.0, 0.01, count) + 1e-4
        showerdata.save(
            showerdata.Showers(points=points, energies=np.linspace(1, 90, n), pdg=np.full(n, 22)), tmp_path / "raw.h5"
        )
        result = convert(tmp_path / "raw.h5", tmp_path / "ours.h5", mesh=uneven_detector)
        assert result.not_kept == (("time",) if features == 5 else ())
        expected = np.zeros((n, uneven_detector.mesh.n_voxels))
        outside = 0
        for i in range(n):
            for x, y, layer, energy in points[i, : counts[i], :4].astype(float).tolist():
                r, alpha, voxel = math.hypot(x, y), math.atan2(y, x), 0
                for number, cells in enumerate(uneven_detector.mesh.layers):
                    if number == layer and cells.r_edges[0] <= r < cells.r_edges[-1]:
                        ring = max(k for k, edge in enumerate(cells.r_edges) if edge <= r)
                        slice_ = int((alpha + math.pi) / (2 * math.pi) * cells.alpha_cells)
                        expected[i, voxel + slice_ * cells.r_cells + ring] += 1000 * energy
                        break
                    voxel += cells.alpha_cells * cells.r_cells
                else:
                    outside += 1
        assert 0 < outside == result.outside_mesh
        with ShowersFile(tmp_path / "ours.h5") as file:
            showers = file[:]
        np.testing.assert_allclose(showers.energies, expected, rtol=1e-6, atol=0)
        np.testing.assert_allclose(showers.incident_energies, 1000 * np.linspace(1, 90, n), rtol=1e-6)
        assert showers.pdg is not None
        assert set(showers.pdg) == {22}
        assert showers.theta is None

    def test_directions_of_point_clouds_are_kept_as_angles(self, tmp_path: Path, grid_detector: Detector) -> None:
        directions = np.array([[0.0, 0, 1], [1, 0, 1], [0, -2, 0]])
        points = np.array([[[1.0, 1.0, 0.0, 0.5]]] * 3)
        showerdata.save(showerdata.Showers(points, np.ones(3), 11, directions=directions), tmp_path / "raw.h5")
        convert(tmp_path / "raw.h5", tmp_path / "ours.h5", mesh=grid_detector)
        with ShowersFile(tmp_path / "ours.h5") as file:
            showers = file[:]
        assert showers.theta is not None
        assert showers.phi is not None
        np.testing.assert_allclose(showers.theta, [0, np.pi / 4, np.pi / 2], atol=1e-6)
        np.testing.assert_allclose(showers.phi, [0, 0, -np.pi / 2], atol=1e-6)

    def test_calochallenge(self, tmp_path: Path, grid_detector: Detector, make_on: Callable[..., Showers]) -> None:
        showers = make_on(grid_detector, 11)
        with h5py.File(tmp_path / "dataset.hdf5", "w") as file:
            file["incident_energies"], file["showers"] = showers.incident_energies[:, None], showers.energies
        result = convert(tmp_path / "dataset.hdf5", tmp_path / "ours.h5", mesh=grid_detector)
        assert (result.source, result.threshold) == ("calochallenge", None)
        with ShowersFile(tmp_path / "ours.h5") as ours:
            assert ours.format_version is not None
            np.testing.assert_array_equal(ours[:].energies, showers.energies)
