"""What ``fastv info`` tells of a file, against straightforward sums over the whole array."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from fastv.detector.detector import Detector
from fastv.errors import FileFormatError
from fastv.records import finite
from fastv.sample import sample_path
from fastv.showers import Showers, ShowersFile
from fastv.summary import FileSummary, print_summary, summarise_file
from fastv.summary import showers as module

Make = Callable[..., Showers]


@pytest.fixture
def summarise(tmp_path: Path, make_showers: Make) -> Callable[..., FileSummary]:
    def write_and_summarise(n: int = 300, **fields: object) -> FileSummary:
        make_showers(n, **fields).write(tmp_path / "a.h5", force=True)
        return summarise_file(tmp_path / "a.h5")

    return write_and_summarise


@pytest.fixture(scope="module")
def summary() -> FileSummary:
    return summarise_file(sample_path("train"))


@pytest.fixture(scope="module")
def showers() -> Showers:
    with ShowersFile(sample_path("train")) as file:
        return file[:]


class TestSample:
    def test_against_the_whole_array(self, summary: FileSummary, showers: Showers) -> None:
        fraction = showers.energies.sum(axis=1, dtype=np.float64) / showers.incident_energies
        assert summary.visible_fraction.mean == pytest.approx(fraction.mean())
        assert summary.visible_fraction.std == pytest.approx(fraction.std())
        assert summary.visible_fraction.min == pytest.approx(fraction.min())
        assert summary.sparsity == pytest.approx((showers.energies == 0).mean())
        row, voxel = np.unravel_index(showers.energies.argmax(), showers.energies.shape)
        assert summary.highest_voxel.energy == showers.energies[row, voxel]
        assert (summary.highest_voxel.shower, summary.highest_voxel.layer) == (row, voxel // 144)
        assert summary.extra["cpu_seconds"].mean == pytest.approx(showers.extra["cpu_seconds"].mean())

    def test_physics_of_par04(self, summary: FileSummary) -> None:
        # About 3.15 % of the energy of an electron is visible in the silicon of Par04.
        assert summary.sampling_fraction == pytest.approx(0.0315, abs=0.0005)
        assert summary.visible_fraction.std == pytest.approx(0.046, abs=0.006)
        assert summary.spectrum == "log-uniform"
        assert 1e3 < summary.incident_min < summary.incident_max < 1e6
        assert summary.below_threshold == 0
        assert summary.empty_showers == 0
        # The maximum of a shower of hundreds of GeV lies some 10 to 20 layers deep.
        assert 8 < summary.highest_voxel.layer < 22

    def test_table(self, summary: FileSummary) -> None:
        rows = dict(summary.rows())
        assert rows["mesh"] == "45 layers x 16 alpha x 9 r, 6480 voxels"
        assert rows["incident energy"] == "1.013 GeV to 989.6 GeV, log-uniform"
        assert rows["threshold"] == "15.15 keV (0.5 keV visible), no voxel below it"
        assert "3.145 %" in rows["sampling fraction"]
        assert "Geant4" in rows["made: engine"]

    @pytest.mark.parametrize("size", [1, 17 * 4 * 6480, 10**9])
    def test_batches_do_not_matter(self, summary: FileSummary, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
        monkeypatch.setattr(module, "_BATCH_BYTES", size)
        again = summarise_file(sample_path("train"))
        assert again.visible_fraction.std == pytest.approx(summary.visible_fraction.std)
        assert (again.sparsity, again.highest_voxel) == (summary.sparsity, summary.highest_voxel)


class TestCounts:
    def test_empty_showers_and_voxels_below_the_threshold(self, summarise: Callable[..., FileSummary]) -> None:
        energies = np.zeros((6, 24), np.float32)
        energies[0, :5] = 1e-3  # below 15 keV
        energies[1, 3] = np.float32(0.5e-3 / 0.033)  # at the threshold: not below it
        energies[2] = 100.0
        summary = summarise(6, energies=energies)
        assert summary.empty_showers == 3
        assert summary.below_threshold == 5
        assert summary.sparsity == pytest.approx(1 - 30 / 144)
        assert dict(summary.rows())["showers"] == "6, 3 of which empty"

    def test_directions_and_particles(self, summarise: Callable[..., FileSummary]) -> None:
        angles, pdg = np.linspace(1.0, 1.5, 300), np.where(np.arange(300) < 100, 22, 11).astype(np.int32)
        summary = summarise(theta=angles, phi=np.full(300, np.pi / 2), pdg=pdg)
        theta = summary.conditions["theta"]
        assert theta is not None
        assert theta.mean == pytest.approx(1.25)
        assert summary.particles == {11: 200, 22: 100}
        rows = dict(summary.rows())
        assert rows["phi"] == "90 deg (1.5708 rad)"
        assert rows["theta"] == "57.296 to 85.944 deg (1 to 1.5 rad)"
        assert rows["particles"] == "e-: 200, gamma: 100"
        content = summary.as_dict()
        assert content["theta"]["max"] == pytest.approx(1.5)
        assert "conditions" not in content
        assert summarise().as_dict()["theta"] is None

    def test_odd_extra_columns(self, summarise: Callable[..., FileSummary]) -> None:
        extra = {
            "infinite": np.full(300, np.inf),
            "huge": np.full(300, 1e300) * (-1.0) ** np.arange(300),
            "late": np.arange(300) < 150,
            "vertex": np.zeros((300, 3)),
        }
        summary = summarise(extra=extra)
        assert summary.extra["late"].mean == 0.5
        assert "vertex" not in summary.extra
        assert json.loads(json.dumps(finite(summary.as_dict())))["extra"]["infinite"]["mean"] is None


class TestSpectrum:
    @pytest.mark.parametrize(
        ("incident", "kind", "text"),
        [
            (np.full(300, 5e4), "single energy", "50 GeV"),
            (np.repeat([1e4, 5e4, 1e5], 100), "discrete", "10 GeV, 50 GeV, 100 GeV"),
            (np.repeat(2.0 ** np.arange(15) * 1e3, 20), "discrete", "1 GeV to 16.38 TeV, 15 values"),
            (np.linspace(1e3, 1e5, 300), "uniform", "1 GeV to 100 GeV, uniform"),
            (np.geomspace(1e3, 1e6, 300), "log-uniform", "1 GeV to 1 TeV, log-uniform"),
            (1e3 + 9e4 * np.linspace(0, 1, 300) ** 8, "other", "1 GeV to 91 GeV"),
            (np.geomspace(1e3, 1e6, 10), "other", "1 GeV to 1 TeV"),
            (np.array([1e3]), "single energy", "1 GeV"),
        ],
    )
    def test_kinds(self, summarise: Callable[..., FileSummary], incident: np.ndarray, kind: str, text: str) -> None:
        summary = summarise(len(incident), incident_energies=incident)
        assert summary.spectrum == kind
        assert dict(summary.rows())["incident energy"] == text

    @pytest.mark.parametrize("seed", range(5))
    def test_drawn_spectra_are_recognised(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        assert module._spectrum(np.exp(rng.uniform(np.log(1e3), np.log(1e6), 5000)))[0] == "log-uniform"
        assert module._spectrum(rng.uniform(1e3, 1e6, 5000))[0] == "uniform"
        assert module._spectrum(rng.exponential(1e4, 5000))[0] == "other"

    def test_numbers_with_the_same_logarithm(self) -> None:
        energies = 1e3 + 1e-13 * np.arange(100).repeat(30)
        assert module._spectrum(energies)[0] in ("single energy", "discrete", "uniform", "other")


class TestPrinting:
    def test_json_is_complete_and_strict(self, capsys: pytest.CaptureFixture[str]) -> None:
        summary = summarise_file(sample_path("train"))
        print_summary(summary, as_json=True)
        content = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
        assert content == json.loads(json.dumps(summary.as_dict()))
        assert content["showers"] == 600
        assert content["shape"] == [45, 16, 9]

    def test_a_file_cannot_move_the_cursor(
        self, summarise: Callable[..., FileSummary], capsys: pytest.CaptureFixture[str]
    ) -> None:
        print_summary(summarise(provenance={"engine": "\x1b[2Jgone\r\n", "list": [1, 2]}))
        out = capsys.readouterr().out
        assert out.replace("\n", "").isprintable()
        assert "made: list" in out

    def test_columns_are_aligned(
        self, summarise: Callable[..., FileSummary], capsys: pytest.CaptureFixture[str]
    ) -> None:
        summary = summarise()
        print_summary(summary)
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == len(summary.rows())
        assert {line.index(value) for line, (_, value) in zip(lines, summary.rows(), strict=True)} == {
            max(len(label) for label, _ in summary.rows()) + 2
        }


def test_a_plain_file(tmp_path: Path, make_showers: Make, tiny_detector: Detector) -> None:
    showers = make_showers(50)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["incident_energies"], file["showers"] = showers.incident_energies, showers.energies
    summary = summarise_file(tmp_path / "a.h5", tiny_detector)
    assert summary.format_version is None
    assert "CaloChallenge" in dict(summary.rows())["file"]


def test_a_file_without_showers(tmp_path: Path, make_showers: Make) -> None:
    make_showers(0).write(tmp_path / "a.h5")
    with pytest.raises(FileFormatError, match="contains no showers"):
        summarise_file(tmp_path / "a.h5")


def test_an_irregular_mesh(tmp_path: Path) -> None:
    layers = ((1, (0.0, 5.0)), (4, (0.0, 2.0, 5.0)))
    text = "".join(
        f'<Layer id="{12 * i}" r_edges="{",".join(map(str, edges))}" n_bin_alpha="{alpha}"/>'
        for i, (alpha, edges) in enumerate(layers)
    )
    (tmp_path / "binning.xml").write_text(f'<Bins><Bin name="photon">{text}</Bin></Bins>')
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["incident_energies"] = np.full(3, 1e3)
        file["showers"] = np.eye(3, 9, 1, dtype=np.float32)
    summary = summarise_file(tmp_path / "a.h5", str(tmp_path / "binning.xml"))
    assert (summary.shape, summary.layers, summary.voxels) == (None, 2, 9)
    # By its number in the binning file.
    assert summary.highest_voxel.layer == 12
    assert dict(summary.rows())["threshold"] == "none"


def test_incident_energies_in_gev_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ShowersFile(sample_path("test")) as file:
        showers = file[:50]
    replace(showers, incident_energies=showers.incident_energies / 1000).write(tmp_path / "gev.h5")
    summary = summarise_file(tmp_path / "gev.h5")
    assert summary.doubt is not None
    assert "incident energies seem to be in GeV rather than MeV" in summary.doubt
    print_summary(summary)
    assert "please check" in capsys.readouterr().out
    # A shower in a thousand of any size changes nothing, nor do empty ones.
    showers.energies[0] *= 1e6
    showers.energies[10:] = 0
    showers.write(tmp_path / "wild.h5")
    assert summarise_file(tmp_path / "wild.h5").doubt is None
