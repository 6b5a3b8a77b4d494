"""Training data: a split that is disjoint and complete, and epochs that meet each shower once, streamed or held."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from fastv.detector.detector import Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.errors import FileFormatError, GeometryError, TrainingDataWarning, TrainingError, UnitsWarning
from fastv.sample import sample_path
from fastv.showers import Conditions, Showers, ShowersFile
from fastv.training import data as module
from fastv.training.data import Part, TrainingData

Make = Callable[..., Showers]


def numbered(conditions: Conditions) -> Tensor:
    """Conditions for these tests: the incident energy, which numbers the showers."""
    return torch.from_numpy(conditions.energy)[:, None]


@pytest.fixture
def files(tmp_path: Path, make_showers: Make, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two files of 130 and 75 showers, numbered from 1 on by their incident energy, in blocks of 20."""
    monkeypatch.setattr(module, "BLOCK_ROWS", 20)
    paths = []
    for i, (first, n) in enumerate(((1, 130), (131, 75))):
        paths.append(tmp_path / f"{i}.h5")
        make_showers(n, seed=i, incident_energies=np.arange(first, first + n, dtype=np.float64)).write(paths[-1])
    return paths


def opened(files: list[Path], *, seed: int = 1, memory: int = 2**30, fraction: float = 0.2) -> TrainingData:
    return TrainingData(files, None, validation_fraction=fraction, seed=seed, memory=memory)


def numbers(data: TrainingData, part: Part, batch_size: int = 16, epoch: int = 0, seed: int = 0) -> list[int]:
    batches = data.batches(part, batch_size, numbered, epoch, seed)
    return [int(number) for batch in batches for number in batch.conditions[:, 0]]


BLOCK_BYTES = 4 * 20 * 24
MEMORIES = pytest.mark.parametrize(
    "memory", [1, 3 * BLOCK_BYTES, 2**30], ids=["one block at a time", "three blocks at a time", "held"]
)


@MEMORIES
def test_split_is_disjoint_and_complete(files: list[Path], memory: int) -> None:
    with opened(files, memory=memory) as data:
        training, validation = numbers(data, "training", 1), numbers(data, "validation", 1)
        assert data.sizes == {"training": 164, "validation": 41}
    assert len(training) == 164
    assert sorted(training + validation) == list(range(1, 206))


def test_split_depends_on_the_seed_only(files: list[Path]) -> None:
    parts = []
    for seed, memory, epoch in ((1, 1, 0), (1, 2**30, 3), (2, 2**30, 0)):
        with opened(files, seed=seed, memory=memory) as data:
            parts.append(set(numbers(data, "validation", 1, epoch, seed=epoch)))
    assert parts[0] == parts[1] != parts[2]
    # Validation showers come from both files in their proportion.
    assert 15 < sum(number <= 130 for number in parts[0]) < 37


@MEMORIES
@pytest.mark.parametrize("batch_size", [2, 16, 37])
def test_an_epoch_meets_each_training_shower_once(files: list[Path], memory: int, batch_size: int) -> None:
    with opened(files, memory=memory) as data:
        sizes = [len(batch.energies) for batch in data.batches("training", batch_size, numbered, 4, 7)]
        assert sizes == [batch_size] * data.steps("training", batch_size) == [batch_size] * (164 // batch_size)
        met = numbers(data, "training", batch_size, 4, 7)
        assert len(set(met)) == len(met) == 164 // batch_size * batch_size


@MEMORIES
def test_validation_meets_all_showers_in_order(files: list[Path], memory: int) -> None:
    with opened(files, memory=memory) as data:
        met = numbers(data, "validation", 16)
        assert met == sorted(met) == numbers(data, "validation", 16, epoch=5, seed=3)
        assert len(met) == 41
        assert data.steps("validation", 16) == 3


@MEMORIES
def test_epochs_are_shuffled_anew_and_repeat_exactly(files: list[Path], memory: int) -> None:
    with opened(files, memory=memory) as data:
        first, second, again = (numbers(data, "training", 16, epoch, 7) for epoch in (0, 1, 0))
        other = numbers(data, "training", 16, 0, 8)
    with opened(files, memory=memory) as data:
        # An epoch does not depend on which epochs came before: resumed trainings see the same.
        fresh = numbers(data, "training", 16, 1, 7)
    assert first == again
    assert second == fresh
    assert first != second
    assert first != other
    assert abs(np.corrcoef(np.arange(len(first)), first)[0, 1]) < 0.9


@MEMORIES
def test_voxels_stay_with_their_conditions(files: list[Path], memory: int, make_showers: Make) -> None:
    truth = np.concatenate([make_showers(130, seed=0).energies, make_showers(75, seed=1).energies])
    with opened(files, memory=memory) as data:
        for batch in data.batches("training", 16, numbered, 2, 1):
            rows = batch.conditions[:, 0].long().numpy() - 1
            np.testing.assert_array_equal(batch.energies, truth[rows])


def test_a_small_training_part_is_one_batch(files: list[Path]) -> None:
    with opened(files) as data:
        assert data.steps("training", 1000) == 1
        assert len(numbers(data, "training", 1000)) == 164


def test_held_data_are_read_once(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(files) as data:
        numbers(data, "training")
        monkeypatch.setattr(data, "_read", None)
        assert len(numbers(data, "training", epoch=1)) == 160


def test_a_subset_of_held_data_is_read_once_and_the_same_as_a_streamed_one(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Eleven blocks: all but the last fit.
    with opened(files, memory=10 * BLOCK_BYTES) as data:
        streamed = data.subset(100, numbered, seed=1)
    with opened(files) as data:
        held = data.subset(100, numbered, seed=1)
        monkeypatch.setattr(data, "_read", None)
        again = data.subset(100, numbered, seed=1)
        assert len(numbers(data, "training")) == 160
    for batch in (held, again):
        assert torch.equal(batch.energies, streamed.energies)
        assert torch.equal(batch.conditions, streamed.conditions)


def test_subset_has_training_showers_only(files: list[Path]) -> None:
    with opened(files) as data:
        some, everything = (data.subset(n, numbered, seed=1) for n in (50, 10_000))
        training = set(numbers(data, "training", 1))
    assert some.energies.shape == (50, 24)
    assert set(some.conditions[:, 0].long().tolist()) < training
    assert set(everything.conditions[:, 0].long().tolist()) == training


@pytest.mark.parametrize("memory", [10 * BLOCK_BYTES, 2**30])
def test_a_subset_of_the_validation_part(files: list[Path], memory: int) -> None:
    with opened(files, memory=memory) as data:
        found = data.subset(10_000, numbered, seed=1, part="validation").conditions[:, 0].long().tolist()
        assert sorted(found) == sorted(numbers(data, "validation", 1))


def test_domain_spans_all_files(files: list[Path], tmp_path: Path, make_showers: Make) -> None:
    path = tmp_path / "photons.h5"
    make_showers(5, incident_energies=np.full(5, 2000.0), provenance={"particle": "gamma"}).write(path)
    with opened([*files, path]) as data:
        domain = data.domain()
    assert domain.energy == (1.0, 2000.0)
    assert domain.particles == ("gamma",)
    assert domain.detectors == ("tiny",)
    assert domain.theta is None


def test_digest_tells_contents_and_order_apart(files: list[Path], tmp_path: Path, make_showers: Make) -> None:
    copy = tmp_path / "copy.h5"
    copy.write_bytes(files[0].read_bytes())
    other = tmp_path / "other.h5"
    make_showers(130, seed=9).write(other)
    sets = [files, [copy, files[1]], files[::-1], [other, files[1]]]
    digests = []
    for paths in sets:
        with opened(paths) as data:
            digests.append(data.digest())
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def of_another(tiny_detector: Detector, path: Path, **changes: object) -> Path:
    """A file of showers of a detector that differs from the tiny one."""
    other = tiny_detector.model_copy(update={"name": "other", **changes})
    Showers(np.full(5, 1000.0), np.full((5, 24), 0.25, np.float32), other).write(path)
    return path


def test_files_of_other_cells_are_refused(files: list[Path], tmp_path: Path, tiny_detector: Detector) -> None:
    mesh = ReadoutMesh.cylinder(layers=4, alpha_cells=3, r_cells=2, layer_thickness=1, r_size=1)
    path = of_another(tiny_detector, tmp_path / "other.h5", mesh=mesh)
    with pytest.raises(
        GeometryError, match=r"other\.h5: the detectors 'tiny' \(3 .*\) and 'other' \(4 .*\) differ in the"
    ):
        opened([files[0], path])


def test_files_with_and_without_a_threshold_are_refused(
    files: list[Path], tmp_path: Path, tiny_detector: Detector
) -> None:
    path = of_another(tiny_detector, tmp_path / "other.h5", readout_threshold=0.0)
    with pytest.raises(
        GeometryError, match=r"other\.h5: the detector 'other' has no readout threshold, and 'tiny' has"
    ):
        opened([files[0], path])


@pytest.mark.parametrize("change", ["mesh", "threshold", "energy scale"])
def test_detectors_of_another_readout_are_on_one_scale(
    files: list[Path], tmp_path: Path, tiny_detector: Detector, change: str
) -> None:
    mesh = ReadoutMesh.cylinder(layers=3, alpha_cells=4, r_cells=2, layer_thickness=1, r_size=1)
    changes: dict[str, tuple[dict[str, object], float]] = {
        "mesh": ({"mesh": mesh}, 1.0),
        "threshold": ({"readout_threshold": 1e-3}, 0.5),
        "energy scale": ({"energy_scale": 0.066}, 2.0),
    }
    changed, factor = changes[change]
    path = of_another(tiny_detector, tmp_path / "other.h5", **changed)
    for memory in (1, 2**30):
        with opened([files[0], path], memory=memory) as data:
            assert [each.name for each in data.detectors] == ["tiny", "other"]
            assert data.domain().detectors == ("tiny", "other")
            batches = [*data.batches("training", 1, numbered), *data.batches("validation", 1, numbered)]
            others = torch.cat([each.energies for each in batches if each.conditions[0, 0] == 1000])
            seen, responses = data.responses(numbered)
            with pytest.raises(
                GeometryError, match=r"other\.h5 \(other\) and .*0\.h5 \(tiny\) differ in mesh or readout"
            ):
                data.check_one_readout()
        assert (others == 0.25 * factor).all()
        assert others.numel() == 5 * 24
        assert responses[seen[:, 0] == 1000].numpy() == pytest.approx(24 * 0.25 * factor / 1000)


def test_a_name_of_two_detectors_is_refused(files: list[Path], tmp_path: Path, tiny_detector: Detector) -> None:
    path = of_another(tiny_detector, tmp_path / "other.h5", name="tiny", energy_scale=0.066)
    with pytest.raises(GeometryError, match=r"other\.h5 and .*0\.h5 name their detectors 'tiny', but these differ"):
        opened([files[0], path])


def test_too_few_showers_are_refused_and_the_files_closed(tmp_path: Path, make_showers: Make) -> None:
    path = tmp_path / "few.h5"
    make_showers(2).write(path)
    with pytest.raises(TrainingError, match=r"too few to train on: 2 showers, with a validation fraction of 0\.2"):
        opened([path])
    with h5py.File(path, "a"):
        pass  # can be opened for writing: nobody holds it


def test_no_files_missing_files_and_plain_files(tmp_path: Path, make_showers: Make) -> None:
    with pytest.raises(TrainingError, match="name at least one showers file"):
        opened([])
    with pytest.raises(FileFormatError, match="no such file"):
        opened([tmp_path / "missing.h5"])
    path = tmp_path / "plain.h5"
    showers = make_showers(20)
    with h5py.File(path, "w") as file:
        file["incident_energies"] = showers.incident_energies[:, None]
        file["showers"] = showers.energies
    with pytest.raises(GeometryError, match="does not name its detector; name it with `mesh`"):
        opened([path])


class TestEmptyShowersAndOutliers:
    @pytest.fixture
    def mixed(self, tmp_path: Path, make_showers: Make, monkeypatch: pytest.MonkeyPatch) -> Path:
        """100 showers, every third one empty, and one with a million times its incident energy."""
        monkeypatch.setattr(module, "BLOCK_ROWS", 20)
        showers = make_showers(100)
        showers.energies[::3] = 0
        showers.energies[50] *= 1e6
        showers.write(tmp_path / "mixed.h5")
        return tmp_path / "mixed.h5"

    @MEMORIES
    def test_batches_hold_the_others_only(self, mixed: Path, memory: int) -> None:
        with opened([mixed], memory=memory) as data:
            parts = [data.batches(part, 7, numbered) for part in ("training", "validation")]
            visible = torch.cat([batch.energies.sum(1) / batch.conditions[:, 0] for part in parts for batch in part])
            assert data.sizes["training"] + data.sizes["validation"] == 65
            assert data.left_out == {"empty": 34, "outliers": 1}
            assert data.domain().empty_showers
        assert 0 < float(visible.min()) < float(visible.max()) < 2
        assert len(visible) > 55

    def test_the_outlier_is_told(self, mixed: Path) -> None:
        told = "^1 of 100 showers are left out, .* the first is shower 50$"
        with opened([mixed]) as data, pytest.warns(TrainingDataWarning, match=told):
            data.tell_doubts()

    def test_responses_are_those_of_the_training_part_and_tell_the_empty_ones(self, mixed: Path) -> None:
        with opened([mixed]) as data:
            conditions, responses = data.responses(numbered)
            assert len(conditions) == len(responses)
            assert int((responses > 0).sum()) == data.sizes["training"]
            assert 0.2 < float((responses == 0).float().mean()) < 0.5

    def test_nothing_to_learn_from(self, tmp_path: Path, make_showers: Make) -> None:
        make_showers(30, energies=np.zeros((30, 24), np.float32)).write(tmp_path / "empty.h5")
        with pytest.raises(TrainingError, match="only 0 of 30 showers have energy"):
            opened([tmp_path / "empty.h5"])


def test_incident_energies_in_gev_are_told(tmp_path: Path) -> None:
    with ShowersFile(sample_path("test")) as file:
        showers = file[:30]
    replace(showers, incident_energies=showers.incident_energies / 1000).write(tmp_path / "gev.h5")
    with pytest.warns(UnitsWarning, match=r"gev\.h5: voxel energies add up to .* in GeV rather than MeV; if so"):
        TrainingData([tmp_path / "gev.h5"], None, validation_fraction=0.2, seed=1, memory=2**30).tell_doubts()
    # Right units are no warning, which would be an error here.
    TrainingData([sample_path("test")], None, validation_fraction=0.2, seed=1, memory=2**30).tell_doubts()


def test_responses_are_relative_to_the_incident_energy(tmp_path: Path, make_showers: Make) -> None:
    showers = make_showers(120)
    showers.write(tmp_path / "showers.h5")
    with opened([tmp_path / "showers.h5"]) as data:
        conditions, responses = data.responses(lambda c: torch.from_numpy(c.energy)[:, None])
    expected = {
        round(float(energy), 2): total / energy
        for energy, total in zip(showers.incident_energies, showers.energies.sum(axis=1, dtype=np.float64), strict=True)
    }
    assert len(responses) == 96
    for energy, response in zip(conditions[:, 0].tolist(), responses.tolist(), strict=True):
        assert response == pytest.approx(expected[round(energy, 2)], rel=1e-5)
