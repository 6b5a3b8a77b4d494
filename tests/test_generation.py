"""Generation: what was asked for, inside the domain, the same again, and unharmed by a kill."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastv import generation
from fastv.detector.detector import Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.errors import DomainError, FileFormatError, ModelError, OutputError, SettingsError
from fastv.model import Model, ModelDescription, load
from fastv.models import build
from fastv.models.contract import Domain
from fastv.showers import Showers, ShowersFile, writer

Make = Callable[..., Showers]


def tiny_model(detector: Detector, conditions: tuple[str, ...] = ("energy",), **domain: Any) -> Model:
    torch.manual_seed(1)
    where = Domain(**{"energy": (1e3, 1e6), "particles": ("e-",), "detectors": ("tiny",), **domain})
    generator = build("vae", {"hidden": (8,), "latent": 3, "conditions": conditions}, detector, where)
    settings = generator.settings.model_dump(mode="json")
    return Model(generator, ModelDescription(family="vae", settings=settings, domain=where, detector=detector), "tiny")


@pytest.fixture(scope="module")
def directory(tiny_detector: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("models") / "tiny"
    tiny_model(tiny_detector).save(path)
    return path


@pytest.fixture(scope="module")
def model(directory: Path) -> Model:
    return load(directory)


@pytest.fixture(scope="module")
def angular(tiny_detector: Detector) -> Model:
    return tiny_model(tiny_detector, ("energy", "theta", "phi"), theta=(0.5, 1.6), phi=(-1.0, 1.0))


@pytest.fixture(scope="module")
def of_two(tiny_detector: Detector, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model of two detectors, of which one has twice the energy scale, written and loaded."""
    torch.manual_seed(1)
    detectors = tiny_detector, tiny_detector.model_copy(update={"name": "other", "energy_scale": 0.066})
    where = Domain(energy=(1e3, 1e6), particles=("e-",), detectors=("tiny", "other"))
    generator = build("vae", {"hidden": (8,), "latent": 3, "conditions": ("energy", "detector")}, detectors[0], where)
    settings = generator.settings.model_dump(mode="json")
    path = tmp_path_factory.mktemp("models") / "two"
    described = ModelDescription(
        family="vae", settings=settings, domain=where, detector=detectors[0], other_detectors=detectors[1:]
    )
    Model(generator, described).save(path)
    return load(path)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 100 showers instead of 1000."""
    monkeypatch.setattr(generation, "BLOCK_ROWS", 100)
    monkeypatch.setattr(writer, "BLOCK_ROWS", 100)


def assert_equal(first: Showers, second: Showers) -> None:
    for name in ("energies", "theta", "phi", "pdg"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)
    # A file keeps incident energies in single precision.
    np.testing.assert_allclose(first.incident_energies, second.incident_energies, rtol=1e-7)
    assert first.detector == second.detector
    assert json.dumps(dict(first.provenance)) == json.dumps(dict(second.provenance))


def read(path: Path) -> Showers:
    with ShowersFile(path) as file:
        return file[:]


class TestMemory:
    def test_one_energy(self, model: Model) -> None:
        made = model.generate(energy=50_000.0, n=30, seed=1)
        assert made.energies.shape == (30, 24)
        assert made.energies.dtype == np.float32
        assert bool((made.incident_energies == 50_000).all())
        assert bool((made.energies >= 0).all())
        assert made.theta is None
        assert made.phi is None
        assert made.pdg is not None
        assert bool((made.pdg == 11).all())

    def test_a_seed_repeats_and_others_differ(self, model: Model) -> None:
        first, again, other = (model.generate(energy="1-1000GeV", n=30, seed=seed) for seed in (1, 1, 2))
        assert_equal(first, again)
        assert not np.array_equal(first.energies, other.energies)
        assert not np.array_equal(first.incident_energies, other.incident_energies)

    def test_neither_training_mode_nor_global_seeds_matter(self, model: Model) -> None:
        torch.manual_seed(5)
        np.random.seed(5)
        first = model.generate(energy=5e4, n=5)
        torch.manual_seed(6)
        assert_equal(first, model.generate(energy=5e4, n=5))

    def test_seeds_give_the_showers_that_they_always_gave(self) -> None:
        """Stored when noise of voxels first came from a table; sums only, for processors round differently."""
        made = load("par04-siw-vae").generate(energy="1-1000GeV", n=9, seed=3)
        totals = [1639.5403, 5315.1292, 238039.30, 51923.293, 1740.7619, 18977.365, 26121.716, 2691.3997, 151264.89]
        np.testing.assert_allclose(made.energies.sum(axis=1, dtype=np.float64), totals, rtol=1e-4)

    def test_seeds_give_the_conditions_that_they_always_gave(self, tiny_detector: Detector) -> None:
        model = tiny_model(tiny_detector, ("energy", "theta", "phi"), theta=(0.5, 1.6), phi=(-1.0, 1.0))
        made = model.generate(energy="1-100GeV", theta="60-90deg", phi="0.1,0.2rad", n=1105, seed=5)
        digest = hashlib.sha256()
        for column in (made.incident_energies, made.theta, made.phi):
            digest.update(np.asarray(column, np.float32).tobytes())
        assert digest.hexdigest() == "e92a1db51cd5238eec307e66dd1b5f709d23b12c63398bb7449c0d48ebd0cc9d"

    @pytest.mark.usefixtures("small_blocks")
    def test_blocks_have_their_own_noise(self, model: Model) -> None:
        made = model.generate(energy=5e4, n=250)
        assert len(np.unique(made.energies, axis=0)) == 250

    def test_lists_come_in_equal_shares(self, model: Model) -> None:
        made = model.generate(energy="10,50,100GeV", n=30)
        np.testing.assert_array_equal(made.incident_energies, np.repeat([1e4, 5e4, 1e5], 10))

    def test_ranges_are_log_uniform(self, model: Model) -> None:
        logs = np.log10(model.generate(energy="1-1000GeV", n=3000).incident_energies)
        assert bool(((logs >= 3) & (logs <= 6)).all())
        np.testing.assert_allclose(np.histogram(logs, bins=3, range=(3, 6))[0], 1000, atol=120)

    def test_arrays_tell_their_number(self, model: Model) -> None:
        energies = np.array([2e3, 5e5, 7e4])
        np.testing.assert_array_equal(model.generate(energy=energies).incident_energies, energies)

    def test_values_of_showers_come_in_any_form(self, model: Model, tmp_path: Path) -> None:
        energies = np.array([2e3, 5e5, 7e4])
        expected = model.generate(energy=energies, seed=4)
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["incident_energies"] = energies[:, None]
            data = file["incident_energies"]
            forms = [energies[:, None], energies.tolist(), tuple(energies), ["2GeV", 5e5, "70 GeV"], data, data[:]]
            for form in forms:
                assert_equal(expected, model.generate(energy=form, seed=4))
                assert_equal(expected, model.generate(energy=form, n=3, seed=4))

    @pytest.mark.parametrize(
        ("energy", "n", "words"),
        [
            ([1e4, 2e4], 3, "energy has 2 values for 3 showers; give one number or 3, or leave `n` out"),
            (np.full((2, 2), 1e4), None, "how many showers"),
            (np.full((2, 2), 1e4), 2, r"energy has the shape \(2, 2\) for 2 showers"),
            ([], None, "at least 1, got an empty array"),
            (["1-2GeV"], None, "energy '1-2GeV' in a list must be one value, not a list or a range"),
            ([{}], None, "energy must be numbers or a text with its unit, got list"),
        ],
    )
    def test_values_that_do_not_fit(self, model: Model, energy: Any, n: int | None, words: str) -> None:
        with pytest.raises(SettingsError, match=words):
            model.generate(energy=energy, n=n)

    def test_energies_count(self, model: Model) -> None:
        low, high = (model.generate(energy=energy, n=20).energies.sum() for energy in (1e3, 1e6))
        assert high > 100 * low

    def test_provenance_tells_the_speed_where_it_was_measured(self, model: Model) -> None:
        """The report's quality-speed plane reads it; steps chosen now would not be those that were timed."""
        shipped = load("par04-siw")
        told = shipped.generate(energy="10GeV", n=1, seed=1).provenance
        measured = shipped.description.measured["speed"]["batch 1, one thread"]["ms per shower"]
        assert told["ms_per_shower_batch1"] == measured
        assert "ms_per_shower_batch1" not in model.generate(energy="10GeV", n=1, seed=1).provenance

    def test_provenance(self, model: Model) -> None:
        told = model.generate(energy="10,50GeV", n=4, seed=7).provenance
        assert told["engine"].startswith("FastV ")
        assert told["model"] == "tiny"
        assert told["family"] == "vae"
        assert told["model_sha256"] == model.digest() != ""
        assert told["seed"] == 7
        assert told["particle"] == "e-"
        assert told["conditions"] == {"n": 4, "energy": "10GeV,50GeV"}

    def test_several_particles_have_no_code(self, tiny_detector: Detector) -> None:
        assert tiny_model(tiny_detector, particles=("e-", "gamma")).generate(energy=5e4, n=2).pdg is None

    @pytest.mark.usefixtures("small_blocks")
    @pytest.mark.parametrize("energy", ["50GeV", "1-1000GeV"])
    def test_which_showers_a_longer_run_shares(self, model: Model, energy: str) -> None:
        """As the documentation says: full blocks are the same in any case."""
        short, long = (model.generate(energy=energy, n=n, seed=4) for n in (130, 250))
        assert np.array_equal(short.incident_energies, long.incident_energies[:130])
        np.testing.assert_allclose(short.energies[:100], long.energies[:100], rtol=1e-4, atol=1e-3)

    @pytest.mark.usefixtures("small_blocks")
    def test_a_block_that_is_not_full_has_noise_of_its_own(self) -> None:
        """So -n 30 is not the first 30 of -n 100, for families that draw more than a few numbers."""
        shipped = load("par04-siw")
        short, long = (shipped.generate(energy="50GeV", n=n, seed=4).energies.sum(axis=1) for n in (30, 60))
        assert not np.isclose(short, long[:30]).any()


class TestSeveralDetectors:
    def test_each_has_its_own_readout(self, of_two: Model) -> None:
        tiny, other = (of_two.generate(energy=5e4, n=50, detector=name) for name in ("tiny", "other"))
        assert [each.name for each in of_two.detectors] == ["tiny", "other"]
        assert (tiny.detector, other.detector) == of_two.detectors
        for showers in (tiny, other):
            filled = showers.energies[showers.energies > 0]
            assert filled.min() >= np.float32(showers.detector.threshold)
        assert tiny.detector.threshold == 2 * other.detector.threshold

    def test_without_a_name_it_is_asked_for(self, of_two: Model, model: Model) -> None:
        with pytest.raises(SettingsError, match=r"give it, as in `detector='tiny'`; it knows: tiny, other"):
            of_two.generate(energy=5e4, n=1)
        with pytest.raises(DomainError, match="does not know the detector 'third'; it was trained on: tiny, other"):
            of_two.generate(energy=5e4, n=1, detector="third")
        for several in ("tiny,other", ["tiny", "other"]):
            with pytest.raises(SettingsError, match="one name|one detector"):
                of_two.generate(energy=5e4, n=2, detector=several)
        with pytest.raises(SettingsError, match="the model is not conditional on detector; leave it out"):
            model.generate(energy=5e4, n=1, detector="tiny")

    def test_like_takes_that_of_the_file(self, of_two: Model, make_showers: Make, tmp_path: Path) -> None:
        other = of_two.detectors[1]
        Showers.of(make_showers(5).conditions, make_showers(5).energies, other).write(tmp_path / "other.h5")
        of_two.generate_file(tmp_path / "made.h5", like=tmp_path / "other.h5")
        made = read(tmp_path / "made.h5")
        assert made.detector == other
        assert_equal(made, of_two.generate(like=tmp_path / "other.h5"))
        third = other.model_copy(update={"name": "third"})
        with pytest.raises(DomainError, match="does not know the detector 'third'"):
            of_two.generate(like=Showers.of(make_showers(5).conditions, make_showers(5).energies, third))


class TestLike:
    def test_conditions_are_those_of_the_file_in_order(self, model: Model, make_showers: Make, tmp_path: Path) -> None:
        make_showers(12).write(tmp_path / "like.h5")
        wanted = read(tmp_path / "like.h5")
        made = model.generate(like=tmp_path / "like.h5")
        np.testing.assert_array_equal(made.incident_energies, wanted.incident_energies)
        assert_equal(made, model.generate(like=tmp_path / "like.h5"))
        assert made.provenance["conditions"]["like"] == "like.h5"

    def test_more_showers_start_again_and_fewer_stop(self, model: Model, make_showers: Make) -> None:
        like = make_showers(12)
        cycled = model.generate(like=like, n=30).incident_energies
        np.testing.assert_array_equal(cycled, np.resize(like.incident_energies, 30))
        assert len(model.generate(like=like, n=5)) == 5

    def test_angles_come_along(self, angular: Model, make_showers: Make, tmp_path: Path) -> None:
        like = make_showers(6, theta=np.linspace(0.5, 1.6, 6), phi=np.linspace(-1, 1, 6))
        made = angular.generate(like=like)
        np.testing.assert_array_equal(made.theta, like.theta)
        np.testing.assert_array_equal(made.phi, like.phi)
        like.write(tmp_path / "like.h5")
        np.testing.assert_array_equal(angular.generate(like=tmp_path / "like.h5").energies, made.energies)

    def test_plain_files_need_no_mesh(self, model: Model, make_showers: Make, tmp_path: Path) -> None:
        like = make_showers(4)
        with h5py.File(tmp_path / "plain.h5", "w") as file:
            file["incident_energies"] = like.incident_energies[:, None]
            file["showers"] = like.energies
        made = model.generate(like=tmp_path / "plain.h5")
        np.testing.assert_array_equal(made.incident_energies, like.incident_energies)

    def test_the_file_is_opened_once(
        self, model: Model, make_showers: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_showers(4).write(tmp_path / "like.h5")
        opened: list[object] = []

        class Counted(h5py.File):  # type: ignore[misc]
            def __init__(self, *arguments: Any, **options: Any) -> None:
                opened.append(arguments)
                super().__init__(*arguments, **options)

        monkeypatch.setattr(h5py, "File", Counted)
        model.generate(like=tmp_path / "like.h5")
        assert len(opened) == 1

    def test_another_detector_is_refused_or_asked_for(
        self, model: Model, tiny_detector: Detector, tmp_path: Path
    ) -> None:
        mesh = ReadoutMesh.cylinder(layers=2, alpha_cells=3, r_cells=2, layer_thickness=1, r_size=1)
        other = tiny_detector.model_copy(update={"name": "other", "mesh": mesh})
        Showers(np.array([5e4, 6e4]), np.zeros((2, 12), np.float32), other).write(tmp_path / "other.h5")
        with pytest.raises(DomainError, match="of the detector 'other', but the model generates those of 'tiny'"):
            model.generate(like=tmp_path / "other.h5")
        made = model.generate(like=tmp_path / "other.h5", extrapolate=True)
        assert made.incident_energies.tolist() == [5e4, 6e4]
        assert made.detector == tiny_detector

    def test_inclined_showers_are_refused_by_a_model_of_normal_incidence(
        self, model: Model, make_showers: Callable[..., Showers]
    ) -> None:
        inclined = make_showers(3, theta=np.radians([45.0, 80.0, 90.0]))
        with pytest.raises(DomainError, match="theta = 45 to 90 deg; the model was trained at normal incidence"):
            model.generate(like=inclined)
        assert len(model.generate(like=make_showers(3, theta=np.full(3, np.pi / 2)))) == 3

    def test_bad_requests(self, model: Model, make_showers: Make, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="give either the conditions .* or `like=...`, not both"):
            model.generate(like=make_showers(3), energy=5e4)
        with pytest.raises(FileFormatError, match="no such file"):
            model.generate(like=tmp_path / "missing.h5")
        with pytest.raises(SettingsError, match="contains no showers whose conditions could be used"):
            model.generate(like=make_showers(3)[:0])
        with pytest.raises(DomainError, match="energy 10 MeV is outside"):
            model.generate(like=make_showers(3, incident_energies=np.full(3, 10.0)))


class TestRefused:
    @pytest.mark.parametrize(
        ("request_", "message"),
        [
            ({"n": 5}, "which energy"),
            ({"energy": 5e4}, "how many showers"),
            ({"energy": 5e4, "n": 0}, "must be at least 1, got 0"),
            ({"energy": 5e4, "n": -3}, "must be at least 1, got -3"),
            ({"energy": np.array([])}, "must be at least 1, got an empty array"),
            ({"energy": 5e4, "n": 5, "seed": -1}, "the seed must not be negative, got -1"),
            ({"energy": "50", "n": 5}, "has no unit"),
            ({"energy": "lots", "n": 5}, "is not understood"),
            ({"energy": -1.0, "n": 5}, r"energy must be finite and above zero, got -1 MeV"),
            ({"energy": 0.0, "n": 5}, "above zero"),
            ({"energy": float("nan"), "n": 5}, "energy must be finite"),
            ({"energy": np.array([5e4, 6e4]), "n": 3}, "energy has 2 values for 3 showers; give one number or 3"),
            ({"energy": np.full((3, 2), 5e4), "n": 3}, r"energy has the shape \(3, 2\)"),
            ({"energy": 5e4, "n": 5, "theta": 1.0}, "not conditional on theta; leave it out"),
            ({"energy": 5e4, "n": 5, "enrgy": 1.0}, "unknown condition 'enrgy'; known: energy, theta, phi"),
            (
                {"energy": 5e4, "n": 5, "theta": float("nan")},
                "theta must be from 0 to 180 deg .*, got nan",
            ),
            ({"energy": 5e4, "n": 5, "phi": "20deg"}, "not conditional on phi; leave it out"),
        ],
    )
    def test_requests(self, model: Model, request_: dict[str, Any], message: str) -> None:
        with pytest.raises(SettingsError, match=message) as caught:
            model.generate(**request_)
        assert "\n" not in str(caught.value)

    def test_outside_of_the_domain(self, model: Model) -> None:
        for energy in (500.0, 2e6, "500MeV-10GeV", np.array([5e4, 2e6])):
            with pytest.raises(DomainError, match=r"outside the domain of the model, 1 GeV to 1 TeV.*extrapolate=True"):
                model.generate(energy=energy, n=None if isinstance(energy, np.ndarray) else 2)
        assert len(model.generate(energy=2e6, n=2, extrapolate=True)) == 2

    def test_a_range_is_refused_whatever_the_seed_draws(self, model: Model, angular: Model) -> None:
        for seed in range(5):
            with pytest.raises(DomainError, match="energy 999 MeV to 10 GeV is outside"):
                model.generate(energy="999MeV-10GeV", n=1, seed=seed)
            with pytest.raises(DomainError, match=r"theta 2[0-9.]* to [0-9.]* deg .0\.4"):
                angular.generate(energy=5e4, n=1, theta="0.4-1rad", phi=0.0, seed=seed)

    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0])
    def test_a_model_that_gives_nonsense(
        self, model: Model, bad: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def sample(conditions: Tensor, _: Tensor) -> Tensor:
            energies = torch.zeros(len(conditions), 24)
            energies[3, 5] = bad
            return energies

        monkeypatch.setattr(model.generator, "sample", sample)
        message = "the model gave shower 3 a voxel energy that is negative or not finite; nothing is written"
        with pytest.raises(ModelError, match=message):
            model.generate(energy=5e4, n=5)
        with pytest.raises(ModelError, match=message):
            model.generate_file(tmp_path / "out.h5", energy=5e4, n=5)
        assert not (tmp_path / "out.h5").exists()


class TestAngles:
    def test_angles_are_used_and_written(self, angular: Model) -> None:
        made = angular.generate(energy=5e4, n=4, theta="60,90deg", phi=0.5)
        np.testing.assert_allclose(made.theta, np.radians([60, 90, 60, 90]))  # type: ignore[arg-type]
        np.testing.assert_array_equal(made.phi, np.full(4, 0.5))
        other = angular.generate(energy=5e4, n=4, theta="60deg", phi=0.5)
        same = (made.energies == other.energies).all(axis=1)
        assert same.tolist() == [True, False, True, False]

    def test_missing_angles_are_asked_for(self, angular: Model, make_showers: Make) -> None:
        with pytest.raises(SettingsError, match="the model is conditional on phi; give it, as in `phi='0deg'`"):
            angular.generate(energy=5e4, n=4, theta=1.0)
        with pytest.raises(SettingsError, match="conditional on theta"):
            angular.generate(like=make_showers(3))

    def test_angles_have_a_domain(self, angular: Model) -> None:
        with pytest.raises(DomainError, match=r"theta 171\.8873 deg .3 rad. is outside"):
            angular.generate(energy=5e4, n=4, theta=3.0, phi=0.0)
        assert len(angular.generate(energy=5e4, n=4, theta=3.0, phi=0.0, extrapolate=True)) == 4

    def test_degrees_of_a_model_trained_at_one_angle(self, tiny_detector: Detector) -> None:
        stored = float(np.float32(np.pi / 2))
        model = tiny_model(tiny_detector, ("energy", "theta"), theta=(stored, stored))
        assert len(model.generate(energy=5e4, n=2, theta="90deg")) == 2


@pytest.mark.usefixtures("small_blocks")
class TestFiles:
    @pytest.mark.parametrize(
        "request_", [{"energy": "1-1000GeV", "n": 350}, {"energy": 5e4, "n": 100}, {"energy": 5e4, "n": 1}]
    )
    def test_same_as_in_memory(self, model: Model, tmp_path: Path, request_: dict[str, Any]) -> None:
        model.generate_file(tmp_path / "out.h5", seed=3, **request_)
        assert_equal(read(tmp_path / "out.h5"), model.generate(seed=3, **request_))
        assert [path.name for path in tmp_path.iterdir()] == ["out.h5"]

    def test_angles_reach_the_file(self, angular: Model, tmp_path: Path) -> None:
        angular.generate_file(tmp_path / "out.h5", energy=5e4, n=120, theta="60-90deg", phi=0.0)
        made = angular.generate(energy=5e4, n=120, theta="60-90deg", phi=0.0)
        np.testing.assert_allclose(read(tmp_path / "out.h5").theta, made.theta, rtol=1e-6)  # type: ignore[arg-type]

    def test_an_existing_file_is_kept(self, model: Model, tmp_path: Path) -> None:
        path = tmp_path / "out.h5"
        path.write_text("mine")
        with pytest.raises(OutputError, match="exists already"):
            model.generate_file(path, energy=5e4, n=5)
        assert path.read_text() == "mine"
        model.generate_file(path, energy=5e4, n=5, force=True)
        assert len(read(path)) == 5

    def test_an_interrupted_run_resumes(self, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = model.generate(energy="1-1000GeV", n=350, seed=2)
        path = tmp_path / "out.h5"
        blocks = generation.block_energies

        def interrupted(*arguments: Any) -> NDArray[np.float32]:
            if arguments[-1] == 2:  # the number of the block
                raise KeyboardInterrupt
            return blocks(*arguments)

        monkeypatch.setattr(generation, "block_energies", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.generate_file(path, energy="1-1000GeV", n=350, seed=2)
        assert not path.exists()
        done: list[int] = []

        def counted(*arguments: Any) -> NDArray[np.float32]:
            done.append(arguments[-1])
            return blocks(*arguments)

        monkeypatch.setattr(generation, "block_energies", counted)
        with pytest.raises(OutputError, match="`resume=True` continues, `force=True` starts over"):
            model.generate_file(path, energy="1-1000GeV", n=350, seed=2)
        with pytest.raises(OutputError, match="the interrupted run had other settings"):
            model.generate_file(path, energy="1-1000GeV", n=350, seed=3, resume=True)
        model.generate_file(path, energy="1-1000GeV", n=350, seed=2, resume=True)
        assert done == [2, 3]
        assert_equal(read(path), whole)

    def test_other_energies_with_the_same_mean_are_not_mixed_in(
        self, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        energies = np.linspace(1e4, 5e4, 250)
        with monkeypatch.context() as patch:
            patch.setattr(writer.ShowersWriter, "finish", interrupted)
            with pytest.raises(KeyboardInterrupt):
                model.generate_file(tmp_path / "out.h5", energy=energies)
        with pytest.raises(OutputError, match="the interrupted run had other settings"):
            model.generate_file(tmp_path / "out.h5", energy=energies[::-1], resume=True)

    def test_a_killed_program_resumes_to_the_same_file(self, model: Model, directory: Path, tmp_path: Path) -> None:
        program = f"""
import os, signal, torch
from fastv import generation
from fastv.model import load
from fastv.showers import writer
torch.set_num_threads(1)
generation.BLOCK_ROWS = writer.BLOCK_ROWS = 100
blocks = generation.block_energies
def killed(*arguments):
    if arguments[-1] == 2:  # the number of the block
        os.kill(os.getpid(), signal.SIGKILL)
    return blocks(*arguments)
generation.block_energies = killed
load({str(directory)!r}).generate_file("out.h5", energy="1-1000GeV", n=350, seed=2)
"""
        ended = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
        )
        assert ended.returncode == -signal.SIGKILL
        path = tmp_path / "out.h5"
        assert not path.exists()
        assert len(list((tmp_path / ".out.h5.parts").glob("0*.h5"))) == 2
        model.generate_file(path, energy="1-1000GeV", n=350, seed=2, resume=True)
        assert_equal(read(path), model.generate(energy="1-1000GeV", n=350, seed=2))
        assert [left.name for left in tmp_path.iterdir()] == ["out.h5"]
        model.generate_file(tmp_path / "straight.h5", energy="1-1000GeV", n=350, seed=2)
        assert path.read_bytes() == (tmp_path / "straight.h5").read_bytes()


class TestSeeds:
    """Noise, apart from drawn conditions: all showers of these tests have the same fixed energies."""

    ENERGIES = np.geomspace(1e3, 1e6, 250)

    def test_same_seed_same_showers_other_seed_other_showers(self, model: Model) -> None:
        first, again, other = (model.generate(energy=self.ENERGIES, seed=seed).energies for seed in (1, 1, 2))
        np.testing.assert_array_equal(first, again)
        assert not (first == other).all(axis=1).any()

    @pytest.mark.usefixtures("small_blocks")
    def test_all_showers_of_one_energy_differ_within_and_between_blocks(self, model: Model, tmp_path: Path) -> None:
        showers = model.generate(energy=5e4, n=350, seed=1).energies
        assert len(np.unique(showers, axis=0)) == 350
        model.generate_file(tmp_path / "out.h5", energy=5e4, n=350, seed=2)
        other = read(tmp_path / "out.h5").energies
        assert len(np.unique(np.concatenate([showers, other]), axis=0)) == 700

    def test_drawn_energies_follow_the_seed_too(self, model: Model) -> None:
        first, again, other = (
            model.generate(energy="1-1000GeV", n=50, seed=seed).incident_energies for seed in (1, 1, 2)
        )
        np.testing.assert_array_equal(first, again)
        assert not np.intersect1d(first, other).size
