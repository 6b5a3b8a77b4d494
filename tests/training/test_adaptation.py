"""Adaptation: a model of another detector from few showers, on its own scale, and refusals in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastv.detector.detector import Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.errors import DomainError, GeometryError, ModelError, SettingsError, TrainingError
from fastv.export.onnx import export
from fastv.model import Model, load
from fastv.models.contract import ConditionScaler, Domain
from fastv.showers import Showers
from fastv.training import loop
from fastv.training.adaptation import adapt, adaptation_recipe
from fastv.training.loop import train

pytestmark = pytest.mark.usefixtures("operators_read_once")

Make = Callable[..., Showers]
SMALL: dict[str, Any] = {
    "model.width": 8,
    "model.hidden": 16,
    "model.encoder_width": 12,
    "training.batch_size": 16,
    "training.epochs": 2,
}


@pytest.fixture(scope="module")
def other(tiny_detector: Detector) -> Detector:
    """Cells of another size, half the energy scale and three times the threshold."""
    mesh = ReadoutMesh.cylinder(layers=3, alpha_cells=4, r_cells=2, layer_thickness=5.0, r_size=10.0)
    return tiny_detector.model_copy(
        update={"name": "other", "mesh": mesh, "energy_scale": 0.0165, "readout_threshold": 1.5e-3}
    )


@pytest.fixture(scope="module")
def start(make_showers: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two particles and one detector."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("start")
    pdg = np.resize(np.array([11, 22], np.int32), 200)
    make_showers(200, seed=1, pdg=pdg).write(folder / "showers.h5")
    settings = {**SMALL, "model.conditions": ["energy", "particle", "detector"]}
    train("fastv", folder / "showers.h5", folder / "model", settings=settings)
    return folder / "model"


@pytest.fixture(scope="module")
def few(make_showers: Make, other: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 showers of electrons in the other detector, of lower energies."""
    path = tmp_path_factory.mktemp("few") / "few.h5"
    like = make_showers(60, seed=2, pdg=np.full(60, 11, np.int32))
    energies = np.where(like.energies * 2 < other.threshold, 0, like.energies * 2)
    Showers.of(like.conditions.changed(detector=None), energies, other).write(path)
    return path


@pytest.fixture(scope="module")
def adapted(start: Path, few: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    output = tmp_path_factory.mktemp("adapted") / "model"
    adapt(start, few, output, settings={"training.epochs": 2})
    return load(output)


def test_the_new_model_knows_the_new_detector_and_its_conditions_only(adapted: Model, other: Detector) -> None:
    assert adapted.detectors == (other,)
    assert adapted.domain.detectors == ("other",)
    assert adapted.domain.particles == ("e-",)
    showers = adapted.generate(energy=5e4, n=40, particle="e-", detector="other")
    assert showers.detector == other
    assert showers.energies[showers.energies > 0].min() >= np.float32(other.threshold)
    # Twice the visible energies of the first detector.
    assert np.median(showers.energies.sum(1) / 5e4) == pytest.approx(1.9, rel=0.1)
    with pytest.raises(DomainError, match="does not know the particle 'gamma'; it was trained on: e-"):
        adapted.generate(energy=5e4, n=1, particle="gamma", detector="other")
    with pytest.raises(DomainError, match="does not know the detector 'tiny'; it was trained on: other"):
        adapted.generate(energy=5e4, n=1, particle="e-", detector="tiny")


def test_it_says_what_it_was_adapted_from(adapted: Model, start: Path) -> None:
    record = adapted.description.training["adapted_from"]
    assert record == {"name": "model", "detectors": ["tiny"], "weights_sha256": load(start).digest()}
    assert adapted.description.threshold_inside == pytest.approx(load(start).detector.threshold)


def test_a_graph_of_it_agrees(adapted: Model, tmp_path: Path) -> None:
    assert export(adapted, tmp_path / "adapted.onnx").outliers < 1e-5


def test_an_adapted_model_can_be_adapted(adapted: Model, start: Path, few: Path, tmp_path: Path) -> None:
    Model(adapted.generator, adapted.description).save(tmp_path / "first")
    again = adapt(tmp_path / "first", few, tmp_path / "second", settings={"training.epochs": 1})
    assert again.domain.told_as == adapted.domain.told_as == load(start).domain


def test_the_preprocessing_is_that_of_the_new_showers_from_the_start(start: Path, few: Path, tmp_path: Path) -> None:
    """With a vanishing learning rate the mean response is right already."""
    rate = {"training.epochs": 1, "training.learning_rate": 1e-12, "training.weight_decay": 0.0}
    model = adapt(start, few, tmp_path / "model", settings=rate)
    made = model.generate(energy=5e4, n=40, particle="e-", detector="other")
    assert np.median(made.energies.sum(1) / 5e4) == pytest.approx(1.9, rel=0.1)


def test_a_killed_adaptation_resumes_to_the_same_weights(
    start: Path, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"training.epochs": 3}
    whole = adapt(start, few, tmp_path / "whole", settings=settings)
    checkpoint, left = loop._Run._checkpoint, [2]

    def killed(run: Any, *arguments: Any) -> None:
        checkpoint(run, *arguments)
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop._Run, "_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        adapt(start, few, tmp_path / "parts", settings=settings)
    monkeypatch.undo()
    with pytest.raises(TrainingError, match="the interrupted training had"):
        adapt(tmp_path / "whole", few, tmp_path / "parts", settings=settings, resume=True)
    parts = adapt(start, few, tmp_path / "parts", settings=settings, resume=True)
    for (name, one), two in zip(
        whole.generator.state_dict().items(), parts.generator.state_dict().values(), strict=True
    ):
        assert torch.equal(one, two), name


def test_what_cannot_be_adapted_is_one_line(
    start: Path, few: Path, make_showers: Make, tiny_detector: Detector, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=r"only settings of the training change, not model\.width"):
        adapt(start, few, tmp_path / "m", settings={"model.width": 4})
    mesh = ReadoutMesh.cylinder(layers=4, alpha_cells=3, r_cells=2, layer_thickness=1.0, r_size=1.0)
    another = tiny_detector.model_copy(update={"name": "another", "mesh": mesh})
    Showers.of(make_showers(50).conditions, make_showers(50).energies, another).write(tmp_path / "another.h5")
    with pytest.raises(GeometryError, match=r"'tiny' \(3 .*\) and 'another' \(4 .*\) differ in the cells"):
        adapt(start, tmp_path / "another.h5", tmp_path / "m")
    make_showers(50).write(tmp_path / "plain.h5")
    with pytest.raises(SettingsError, match="condition 'particle', but the training showers do not have it"):
        adapt(start, tmp_path / "plain.h5", tmp_path / "m")
    make_showers(50, theta=np.full(50, 1.0), pdg=np.full(50, 11, np.int32)).write(tmp_path / "inclined.h5")
    with pytest.raises(DomainError, match="are inclined, and model was trained at normal incidence only"):
        adapt(start, tmp_path / "inclined.h5", tmp_path / "m")
    strangers = np.resize(np.array([211, 13], np.int32), 50)
    make_showers(50, pdg=strangers).write(tmp_path / "strangers.h5")
    with pytest.raises(DomainError, match=r"cannot tell mu-, pi\+ from each other.*one new particle at a time"):
        adapt(start, tmp_path / "strangers.h5", tmp_path / "m")
    train("pca", few, tmp_path / "pca")
    with pytest.raises(ModelError, match="the family 'pca' has no weights to adapt; train it on the new showers"):
        adapt(tmp_path / "pca", few, tmp_path / "m")
    student = load(start)
    student.description = student.description.model_copy(update={"training": {"teacher": {"name": "t"}}})
    with pytest.raises(ModelError, match="model learnt from a teacher: adapt its teacher"):
        adaptation_recipe(student, 100)
    without = load(start)
    without.description = without.description.model_copy(update={"training": {}})
    with pytest.raises(ModelError, match=r"model\.json does not tell the settings of its training"):
        adaptation_recipe(without, 100)
    assert not (tmp_path / "m").exists()


def test_few_showers_are_in_small_batches_and_settings_can_be_changed(start: Path) -> None:
    model = load(start)
    trained = model.description.training["settings"]
    few, many = (adaptation_recipe(model, n).training for n in (100, 100_000))
    assert few.batch_size < many.batch_size == trained["batch_size"]
    assert many.learning_rate < trained["learning_rate"]
    assert adaptation_recipe(model, 1000, {"training.epochs": 7}).training.epochs == 7


@pytest.mark.parametrize("least", [10, 1000])
def test_with_few_showers_only_the_response_is_fitted_anew(
    start: Path, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least: int
) -> None:
    monkeypatch.setattr(loop, "LEAST_FOR_PREPROCESSING", least)
    rate = {"training.epochs": 1, "training.learning_rate": 1e-12, "training.weight_decay": 0.0}
    before, after = (
        each.generator.state_dict() for each in (load(start), adapt(start, few, tmp_path / "m", settings=rate))
    )
    kept = {name for name in before if torch.allclose(before[name].float(), after[name].float(), rtol=1e-4, atol=1e-6)}
    changed = before.keys() - kept
    assert any(name.startswith("response.") for name in changed)
    assert any(not name.startswith(("response.", "correction")) for name in changed) == (least == 10), changed


def test_unknown_choices_are_told_as_the_mean_of_the_known_ones() -> None:
    before = Domain(energy=(1e3, 1e6), particles=("e-", "gamma"), detectors=("a", "b"))
    domain = Domain(energy=(1e2, 1e4), particles=("gamma", "pi+"), detectors=("c",), told_as=before)
    scaler = ConditionScaler(("energy", "particle", "detector"), domain)
    found = scaler(torch.tensor([[1e3, 0.0, 0.0], [1e6, 1.0, 0.0]]))
    torch.testing.assert_close(found, torch.tensor([[-1.0, 0, 1, 0.5, 0.5], [1.0, 0.5, 0.5, 0.5, 0.5]]))


def test_networks_of_inclined_showers_can_be_adapted_to_normal_incidence(make_showers: Make, tmp_path: Path) -> None:
    """Divisions in alpha of a `copula` at an angle have laws of their own, which the new model keeps."""
    make_showers(200, theta=np.linspace(0.8, 1.57, 200)).write(tmp_path / "inclined.h5")
    make_showers(60, seed=2, theta=np.full(60, np.pi / 2)).write(tmp_path / "normal.h5")
    small = {"width": 8, "ring_hidden": 8, "alpha_context": 8, "alpha_hidden": 4, "factors": 2, "layer_hidden": 16}
    settings = {f"model.{name}": value for name, value in small.items()}
    settings |= {"model.conditions": ["energy", "theta"], "training.epochs": 1, "training.rotate": False}
    train("copula", tmp_path / "inclined.h5", tmp_path / "start", settings=settings)
    model = adapt(tmp_path / "start", tmp_path / "normal.h5", tmp_path / "model", settings={"training.epochs": 1})
    assert not model.domain.inclined
    assert load(tmp_path / "model").generate(energy=5e4, theta="90deg", n=5).energies.any()
