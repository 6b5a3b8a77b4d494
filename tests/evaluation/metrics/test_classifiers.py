"""The challenge's classifiers: their networks, what they find, and how a run is kept and resumed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from fastv.errors import FileFormatError, SettingsError, TooFewShowersError
from fastv.evaluation.metrics import classifiers as module
from fastv.evaluation.metrics.classifier_networks import ConvolutionalClassifier, DenseClassifier
from fastv.evaluation.metrics.classifier_records import ClassifierSettings
from fastv.evaluation.metrics.classifiers import classify
from fastv.evaluation.metrics.voxels import low_level_inputs
from fastv.showers import Showers

SMALL = ClassifierSettings(
    trainings=2,
    epochs=8,
    width=16,
    hidden_layers=1,
    batch=50,
    learning_rate=1e-2,
    cnn_widths=(2, 2, 4, 4),
    device="cpu",
)


def test_defaults_are_those_of_the_challenge() -> None:
    settings = ClassifierSettings()
    assert (settings.trainings, settings.epochs, settings.batch, settings.learning_rate) == (10, 50, 1000, 2e-4)
    assert settings.differences == ()
    with pytest.raises(ValidationError):
        ClassifierSettings(epoch=3)  # type: ignore[call-arg]


def test_dense_network_is_that_of_the_challenge() -> None:
    network = DenseClassifier(362, 2048, 3)
    weights = 362 * 2048 + 2 * 2048**2 + 2048 + 3 * 2048 + 1
    assert sum(p.numel() for p in network.parameters()) == weights
    assert [layer.negative_slope for layer in network if isinstance(layer, nn.LeakyReLU)] == [0.01] * 3


def test_convolutional_network_is_that_of_the_challenge() -> None:
    """Sizes along the way for data set 2, and the number of weights, counted from the description."""
    network = ConvolutionalClassifier((45, 16, 9), (32, 64, 64, 128))
    x = torch.randn(2, 1 + 6480)
    stem = network.stem(x[:, 1:].reshape(-1, 1, 45, 16, 9))
    assert stem.shape == (2, 32, 12, 4, 3)
    assert network.stages(stem).shape == (2, 128, 2, 1, 1)
    assert network(x).shape == (2, 1)
    convolutions = 7**3 * 32 + 27 * (32 * 32 * 4 + 32 * 64 + 64 * 64 * 3 + 64 * 64 * 4 + 64 * 128 + 128 * 128 * 3)
    shortcuts = 32 * 64 + 64 * 64 + 64 * 128
    norms = 2 * (32 * 5 + 64 * 5 + 64 * 5 + 128 * 5 + 1)
    assert sum(p.numel() for p in network.parameters()) == convolutions + shortcuts + norms + 129 + 1
    strides = [block.first.stride[0] for block in network.stages]
    assert strides == [1, 1, 2, 1, 2, 1, 2, 1]


def test_one_distribution_is_not_told_apart() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 600, 4))
    found = classify("high", a, b, settings=SMALL)
    assert abs(found.auc.value - 0.5) < 4 * found.auc.error
    assert found.p_value > 1e-3
    assert abs(found.jsd) < 0.1
    assert len(found.trainings) == 2
    assert found.trainings[0].seed != found.trainings[1].seed


def test_distinct_samples_are_told_apart_and_the_record_says_reduced() -> None:
    rng = np.random.default_rng(1)
    found = classify("high", rng.normal(0, 1, (300, 4)), rng.normal(5, 1, (400, 4)), settings=SMALL)
    assert found.classifier == "high-level DNN"
    assert found.auc.value > 0.99
    assert found.jsd > 0.9
    assert found.showers_reference == found.showers_generated == 300
    assert any("trainings 2, not 10" in words for words in found.reduced)
    assert any("300 showers a sample, not 100000" in words for words in found.reduced)


def test_auc_of_the_best_possible_classifier_is_reached() -> None:
    """Two normal distributions 1.5 standard deviations apart: no classifier can do better than Phi(1.5/sqrt 2)."""
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 3000, 1))
    found = classify("high", a, b + 1.5, settings=SMALL.model_copy(update={"trainings": 1}))
    assert found.auc.value == pytest.approx(0.8556, abs=4 * found.auc.error + 0.005)
    assert found.trainings[0].auc_uncalibrated == pytest.approx(found.auc.value, abs=0.02)
    assert found.quoted == found.auc, "one training has no spread, and is not exact"
    assert found.model_copy(update={"std": 0.1}).quoted.error == 0.1


def test_voxels_tell_scrambled_showers(geant4: Showers) -> None:
    """Voxels shuffled within layers keep every layer's energy: both low-level classifiers see it at once."""
    cells, layers = 144, 12
    inputs = low_level_inputs(geant4)[:, : 1 + layers * cells]
    order = np.concatenate([np.random.default_rng(layer).permutation(cells) + layer * cells for layer in range(layers)])
    scrambled = inputs.copy()
    scrambled[:, 1:] = inputs[:, 1:][:, order]
    settings = SMALL.model_copy(
        update={"trainings": 1, "epochs": 10, "width": 64, "batch": 20, "cnn_widths": (4, 4, 8, 8)}
    )
    assert classify("low", inputs[:200], scrambled[200:], settings=settings).auc.value > 0.8
    found = classify("cnn", inputs[:200], scrambled[200:], settings=settings, mesh=(layers, 16, 9))
    assert found.classifier == "3D residual CNN"
    assert found.auc.value > 0.8


def test_repeats_exactly_and_leaves_the_callers_random_numbers_alone() -> None:
    a, b = np.random.default_rng(3).normal(size=(2, 200, 3))
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = classify("high", a, b, settings=SMALL)
    assert torch.equal(torch.rand(3), expected)
    again = classify("high", a, b, settings=SMALL)
    assert [t.auc for t in first.trainings] == [t.auc for t in again.trainings]


def test_the_three_parts_share_no_shower() -> None:
    samples = torch.arange(100.0)[:, None], torch.arange(100.0, 200.0)[:, None]
    parts = module._split(samples, 5, torch.device("cpu"))
    assert [len(part) for part in parts] == [120, 40, 40]
    taken = torch.cat([part.take(torch.arange(len(part)))[0] for part in parts]).flatten()
    assert sorted(taken.tolist()) == list(range(200))
    inputs, labels = parts[0].take(torch.randperm(120))
    assert torch.equal(labels.flatten() == 1, inputs.flatten() < 100)


def test_finished_trainings_are_kept_and_only_missing_ones_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = np.random.default_rng(4).normal(size=(2, 200, 3))
    keep = tmp_path / "trainings.json"
    made: list[int] = []
    train = module._train

    def stop_at_second(*arguments: object) -> object:
        made.append(arguments[3])  # type: ignore[arg-type]
        if len(made) == 2:
            raise KeyboardInterrupt
        return train(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_train", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        classify("high", a, b, settings=SMALL, keep=keep)
    resumed = classify("high", a, b, settings=SMALL, keep=keep)
    assert made == [1, 2, 2]
    more = classify("high", a, b, settings=SMALL.model_copy(update={"trainings": 3}), keep=keep)
    assert made == [1, 2, 2, 3]
    assert more.trainings[:2] == resumed.trainings
    monkeypatch.undo()
    straight = classify("high", a, b, settings=SMALL)
    assert [t.auc for t in straight.trainings] == [t.auc for t in resumed.trainings]
    # Other showers or settings share nothing with what is kept.
    other = classify("high", a, b + 5, settings=SMALL, keep=keep)
    assert other.auc.value > 0.95


def test_a_file_that_holds_no_trainings_is_not_replaced(tmp_path: Path) -> None:
    a, b = np.random.default_rng(4).normal(size=(2, 60, 3))
    keep = tmp_path / "notes.json"
    keep.write_text('{"mine": 1}')
    with pytest.raises(FileFormatError, match="not a file of classifier trainings"):
        classify("high", a, b, settings=SMALL, keep=keep)
    assert keep.read_text() == '{"mine": 1}'


def test_requests_that_cannot_be_met() -> None:
    a, b = np.random.default_rng(4).normal(size=(2, 60, 3))
    with pytest.raises(SettingsError, match="available: low, high, cnn"):
        classify("deep", a, b)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="needs a mesh"):
        classify("cnn", a, b)
    with pytest.raises(TooFewShowersError, match="at least 50 showers"):
        classify("high", a[:49], b)
    if not torch.cuda.is_available():
        with pytest.raises(SettingsError, match="use cpu or auto"):
            classify("high", a, b, settings=ClassifierSettings(device="cuda"))
