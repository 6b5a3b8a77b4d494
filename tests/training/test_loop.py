"""Training: the best weights of an honest loop, the same after a kill, and clear refusals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastv._version import __version__
from fastv.cli.assignments import assignments
from fastv.detector.detector import Detector
from fastv.detector.mesh import LayerBlock, ReadoutMesh
from fastv.errors import (
    GeometryError,
    MissingExtraError,
    OutputError,
    SettingsError,
    TrainingDataWarning,
    TrainingError,
)
from fastv.model import Model, load
from fastv.models.contract import Batch, Objective
from fastv.models.vae import VAE
from fastv.showers import Showers
from fastv.training import loop as module
from fastv.training.data import TrainingData
from fastv.training.loop import learning_rate, train
from fastv.training.recipe import TrainingSettings, load_recipe

Make = Callable[..., Showers]

VAE_SMALL = {"model.hidden": [12, 6], "model.latent": 3, "training.batch_size": 16}
FASTV_SMALL = {"model.width": 8, "model.hidden": 16, "model.encoder_width": 12, "training.batch_size": 16}


def small_settings(family: str) -> dict[str, Any]:
    return VAE_SMALL if family == "vae" else FASTV_SMALL


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data(make_showers: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 showers of the tiny detector."""
    path = tmp_path_factory.mktemp("data") / "tiny.h5"
    make_showers(150).write(path)
    return path


def small(data: Path, output: Path, *settings: str, **options: Any) -> Model:
    return train("vae", [data], output, settings={**VAE_SMALL, **assignments(settings)}, **options)


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]


def losses(folder: Path) -> list[float]:
    return [record["validation"]["loss"] for record in log_of(folder)]


def assert_same_weights(first: Path, second: Path) -> None:
    a, b = (load(path).generator.state_dict() for path in (first, second))
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        assert torch.equal(tensor, b[name]), name


def without_times(folder: Path) -> list[dict[str, Any]]:
    return [{key: value for key, value in record.items() if key != "seconds"} for record in log_of(folder)]


def test_scales_that_cannot_be_computed_are_told(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        torch.linalg.cholesky(torch.zeros(2, 2))

    monkeypatch.setattr(VAE, "fit", failing)
    with pytest.raises(TrainingError, match=r"the showers do not determine the scales of the family 'vae' \(linalg"):
        small(data, tmp_path / "model")
    assert not (tmp_path / "model").exists()


class TestResult:
    def test_model_directory_tells_how_it_was_made(self, data: Path, tmp_path: Path) -> None:
        settings = ("training.epochs=3", "training.seed=7", "training.rotate=true")
        model = small(data, tmp_path / "model", *settings)
        told = load(tmp_path / "model").description
        assert told == model.description
        assert told.family == "vae"
        assert told.settings == {
            "conditions": ["energy"],
            "hidden": [12, 6],
            "negative_slope": 0.01,
            "latent": 3,
            "covariance": "diagonal",
            "kl_weight": 1.0,
            "kl_warmup_epochs": 0.0,
            "prior": "gaussian",
            "importance_samples": 0,
            "network": None,
        }
        resolved = TrainingSettings(epochs=3, seed=7, rotate=True, batch_size=16).model_dump(mode="json")
        assert told.training["settings"] == resolved
        assert told.training["files"] == ["tiny.h5"]
        with TrainingData([data], None, validation_fraction=0.1, seed=7, memory=1) as showers:
            assert told.training["data_sha256"] == showers.digest()
            assert told.training["files_sha256"] == showers.file_digests
        assert told.training["showers"] == {"training": 135, "validation": 15}
        assert told.training["epochs"] == 3
        assert told.training["code_version"] == told.code_version == __version__
        assert told.detector.name == "tiny"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]

    def test_log_has_one_line_of_json_an_epoch(self, data: Path, tmp_path: Path) -> None:
        model = small(data, tmp_path / "model", "training.epochs=4")
        records = log_of(tmp_path / "model")
        assert [record["epoch"] for record in records] == [0, 1, 2, 3]
        for record in records:
            assert set(record["training"]) == set(record["validation"]) == {"loss", "reconstruction", "kl"}
            assert np.isfinite([*record["training"].values(), *record["validation"].values()]).all()
        best = model.description.training["best_epoch"]
        assert records[best]["best"]
        assert min(losses(tmp_path / "model")) == model.description.training["validation_loss"]
        running = np.minimum.accumulate(losses(tmp_path / "model"))
        assert [record["best"] for record in records] == [True, *(running[1:] < running[:-1])]

    @pytest.mark.parametrize("family", ["vae", "fastv"])
    def test_best_weights_are_the_best_and_not_the_last(
        self, family: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Three steps down the hill, then up again.
        monkeypatch.setattr(module, "learning_rate", lambda _, epoch: 0.003 if epoch < 3 else -0.003)
        settings = {**small_settings(family), "training.epochs": 5}
        model = train(family, [data], tmp_path / "model", settings=settings)
        told = model.description.training
        history = losses(tmp_path / "model")
        assert told["best_epoch"] == int(np.argmin(history)) == 2
        with TrainingData([data], None, validation_fraction=0.1, seed=1, memory=2**20) as showers:
            generator = load(tmp_path / "model").generator
            (batch,) = showers.batches("validation", 16, generator.conditions_of)
            module._seed(1, 1)
            with torch.no_grad():
                recomputed = float(generator.loss(batch)["loss"])
        assert recomputed == pytest.approx(told["validation_loss"], rel=1e-6)
        assert recomputed == pytest.approx(min(history), rel=1e-6)

    def test_training_learns(self, data: Path, tmp_path: Path) -> None:
        small(data, tmp_path / "model", "training.epochs=12", "training.learning_rate=0.02")
        history = losses(tmp_path / "model")
        assert min(history) < 0.9 * history[0]

    def test_same_seed_same_weights_other_seed_other_weights(self, data: Path, tmp_path: Path) -> None:
        for name, seed in (("a", 1), ("b", 1), ("c", 2)):
            small(data, tmp_path / name, "training.epochs=2", f"training.seed={seed}")
        assert_same_weights(tmp_path / "a", tmp_path / "b")
        assert losses(tmp_path / "a") == losses(tmp_path / "b") != losses(tmp_path / "c")

    def test_huge_seeds_work(self, data: Path, tmp_path: Path) -> None:
        model = small(data, tmp_path / "model", "training.epochs=1", f"training.seed={2**62}")
        assert model.description.training["settings"]["seed"] == 2**62

    def test_streamed_data_train_as_well(self, make_showers: Make, tmp_path: Path) -> None:
        make_showers(2300).write(tmp_path / "many.h5")
        with TrainingData([tmp_path / "many.h5"], None, validation_fraction=0.1, seed=1, memory=1) as showers:
            assert showers._blocks_in_memory == 1
        model = small(tmp_path / "many.h5", tmp_path / "model", "training.epochs=2", "training.batch_size=64")
        assert model.description.training["showers"] == {"training": 2070, "validation": 230}

    def test_one_path_stands_for_a_list(self, data: Path, tmp_path: Path) -> None:
        train("vae", str(data), tmp_path / "model", settings={**VAE_SMALL, "training.epochs": 1})
        assert load(tmp_path / "model").description.training["files"] == ["tiny.h5"]

    @pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
    @pytest.mark.parametrize("family", ["vae", "fastv"])
    def test_precisions_have_an_effect_and_give_single_precision_weights(
        self, family: str, precision: str, data: Path, tmp_path: Path
    ) -> None:
        settings = {**small_settings(family), "training.epochs": 1, "training.accelerator": "cpu"}
        train(family, [data], tmp_path / "single", settings=settings)
        other = train(family, [data], tmp_path / "other", settings={**settings, "training.precision": precision})
        assert losses(tmp_path / "other") != losses(tmp_path / "single")
        # Random numbers of double precision are others, so the losses of one short epoch agree to some percent only.
        assert losses(tmp_path / "other") == pytest.approx(losses(tmp_path / "single"), rel=0.15)
        assert {p.dtype for p in other.generator.parameters()} == {torch.float32}
        made = [model.generate(energy=5e4, n=3).energies for model in (other, load(tmp_path / "other"))]
        np.testing.assert_array_equal(made[0], made[1])


class TestSettings:
    def test_early_stopping_stops(self, data: Path, tmp_path: Path) -> None:
        # A learning rate that harms: no epoch after the first few is better.
        model = small(data, tmp_path / "model", "training.epochs=40", "training.patience=3", "training.learning_rate=1")
        told = model.description.training
        history = losses(tmp_path / "model")
        assert told["epochs"] == len(history) == told["best_epoch"] + 4 < 40

    def test_optimisers_clipping_and_decay_have_an_effect(self, data: Path, tmp_path: Path) -> None:
        seen = set()
        for i, setting in enumerate(
            (
                "seed=1",
                "optimizer=adamw",
                "gradient_clip=0.001",
                "weight_decay=0.5",
                "rotate=true",
                "mirror=true",
                "schedule=cosine",
                "warmup_epochs=2",
            )
        ):
            more = ["training.weight_decay=0.5"] if "adamw" in setting else []
            small(data, tmp_path / f"{i}", "training.epochs=2", f"training.{setting}", *more)
            seen.add(losses(tmp_path / f"{i}")[-1])
        assert len(seen) == 8

    def test_learning_rate_warms_up_and_falls(self) -> None:
        how = TrainingSettings(learning_rate=0.1, epochs=10, warmup_epochs=2, schedule="cosine")
        rates = [learning_rate(how, epoch) for epoch in np.linspace(0, 10, 101)]
        assert 0 < rates[0] < 0.001
        assert max(rates) == pytest.approx(0.1, rel=0.1)
        assert rates[-1] == pytest.approx(0.0, abs=1e-12)
        peak = int(np.argmax(rates))
        assert peak == 20
        assert rates[:peak] == sorted(rates[:peak])
        assert rates[peak:] == sorted(rates[peak:], reverse=True)
        constant = TrainingSettings(learning_rate=0.1)
        assert {learning_rate(constant, epoch) for epoch in (0.0, 5.0, 100.0)} == {0.1}

    def test_recipe_objects_work_without_overrides(self, data: Path, tmp_path: Path) -> None:
        recipe = load_recipe("vae", {**VAE_SMALL, "training.epochs": 1})
        train(recipe, [data], tmp_path / "model")
        with pytest.raises(SettingsError, match="give overrides by name only"):
            train(recipe, [data], tmp_path / "other", settings={"training.epochs": 2})

    @pytest.mark.parametrize("cells", [(4, 8), (5, 7)])
    def test_layers_are_rotated_by_what_fits_all(
        self, make_showers: Make, tiny_detector: Detector, tmp_path: Path, cells: tuple[int, int]
    ) -> None:
        edges = (0.0, 1.0, 2.0)
        blocks = tuple(LayerBlock(layers=1, alpha_cells=each, r_edges=edges) for each in cells)
        detector = tiny_detector.model_copy(update={"mesh": ReadoutMesh(blocks=blocks)})
        make_showers(50, detector=detector).write(tmp_path / "irregular.h5")
        asked = ("training.rotate=true", "training.mirror=true", "training.epochs=1")
        if cells == (5, 7):
            message = "not rotated, because the numbers of alpha cells .* no common divisor"
            with pytest.warns(TrainingDataWarning, match=message):
                rotated = small(tmp_path / "irregular.h5", tmp_path / "m", *asked)
            plain = small(tmp_path / "irregular.h5", tmp_path / "plain", *asked[1:])
            assert rotated.digest() == plain.digest()
        else:
            small(tmp_path / "irregular.h5", tmp_path / "m", *asked)

    @pytest.mark.parametrize("conditions", ["[energy]", "[energy, theta]"])
    def test_inclined_showers_are_not_rotated(self, make_showers: Make, tmp_path: Path, conditions: str) -> None:
        """What the file says decides: the weights are those without rotation, and the user is told."""
        make_showers(50, theta=np.linspace(0.5, 1.5, 50)).write(tmp_path / "angles.h5")
        asked = (f"model.conditions={conditions}", "training.epochs=2")
        with pytest.warns(TrainingDataWarning, match="showers are not rotated, because some are inclined$"):
            rotated = small(tmp_path / "angles.h5", tmp_path / "rotated", "training.rotate=true", *asked)
        assert rotated.digest() == small(tmp_path / "angles.h5", tmp_path / "plain", *asked).digest()

    def test_conditional_training_end_to_end(self, make_showers: Make, tmp_path: Path) -> None:
        rng = np.random.default_rng(1)
        make_showers(60, theta=rng.uniform(0.5, 1.5, 60), phi=rng.uniform(-1, 1, 60)).write(tmp_path / "angles.h5")
        conditions = "model.conditions=[energy, theta, phi]"
        small(tmp_path / "angles.h5", tmp_path / "m", "training.epochs=1", conditions)
        model = load(tmp_path / "m")
        assert model.domain.theta is not None
        assert len(model.generate(energy=5e4, theta="60deg", phi=0.2, n=3)) == 3

    @pytest.mark.skipif(find_spec("tensorboard") is not None, reason="tensorboard is installed")
    def test_two_detectors_end_to_end(self, make_showers: Make, tiny_detector: Detector, tmp_path: Path) -> None:
        """The showers of both are the same on the scale of one: so are those that the model generates."""
        other = tiny_detector.model_copy(update={"name": "other", "energy_scale": 0.066})
        paths = [tmp_path / "tiny.h5", tmp_path / "other.h5"]
        showers = make_showers(200, seed=1)
        showers.write(paths[0])
        Showers.of(showers.conditions, showers.energies / 2, other).write(paths[1])
        with pytest.raises(GeometryError, match=r"make it conditional on the detector: model.conditions="):
            train("pca", paths, tmp_path / "refused")
        assert not (tmp_path / "refused").exists()
        train("pca", paths, tmp_path / "model", settings={"model.conditions": ["energy", "detector"]})
        model = load(tmp_path / "model")
        assert model.detectors == (tiny_detector, other)
        means = {
            name: model.generate(energy="1-1000GeV", detector=name, n=400, seed=2).energies.sum(1, dtype=float)
            / model.generate(energy="1-1000GeV", detector=name, n=400, seed=2).incident_energies
            for name in ("tiny", "other")
        }
        assert np.median(means["tiny"]) == pytest.approx(0.95, rel=0.05)
        assert np.median(means["other"]) == pytest.approx(0.475, rel=0.05)

    def test_a_missing_extra_is_named_before_the_training(self, data: Path, tmp_path: Path) -> None:
        with pytest.raises(MissingExtraError, match=r"tensorboard is not installed; pip install 'tens"):
            small(data, tmp_path / "model", "training.tensorboard=true")
        assert not list(tmp_path.iterdir())


class TestDivergence:
    def test_ends_clearly_with_the_best_weights_kept(
        self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loss = VAE.loss

        def diverging(self: VAE, batch: Batch) -> dict[str, torch.Tensor]:
            terms = loss(self, batch)
            return {name: term * float("nan") for name, term in terms.items()} if 2 <= batch.epoch < 99 else terms

        monkeypatch.setattr(VAE, "loss", diverging)
        with pytest.raises(TrainingError, match=r"infinite or NaN in epoch 2; .*holds the best .* of epoch 1; lower"):
            small(data, tmp_path / "model", "training.epochs=5")
        monkeypatch.setattr(VAE, "loss", loss)
        small(data, tmp_path / "shorter", "training.epochs=2")
        assert_same_weights(tmp_path / "model", tmp_path / "shorter")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "shorter"]

    def test_absurd_learning_rate_ends_in_one_line(self, data: Path, tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match="lower training.learning_rate") as caught:
            small(data, tmp_path / "model", "training.epochs=5", "training.learning_rate=1e30")
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "model").exists()

    def test_nothing_to_keep_does_not_stand_in_the_way(
        self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(VAE, "loss", lambda self, _: {"loss": self.intensity.bias.sum() * float("nan")})
            with pytest.raises(TrainingError, match="epoch 0; no model was written"):
                small(data, tmp_path / "model", "training.epochs=5")
        small(data, tmp_path / "model", "training.epochs=1")


class Duel(VAE):
    """Two objectives: the encoder minimises a term of its own, at every third batch."""

    @property
    def objectives(self) -> tuple[Objective, ...]:
        return (
            Objective(parameters=("decoder", "intensity")),
            Objective("kl", ("encoder", "posterior"), every=3, learning_rate=0.5),
        )


class TestObjectives:
    def test_each_parameter_follows_its_own_objective(
        self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []
        loss = VAE.loss

        def told(self: VAE, batch: Batch) -> dict[str, torch.Tensor]:
            asked.append(batch.objective)
            return loss(self, batch)

        monkeypatch.setattr(VAE, "loss", told)
        monkeypatch.setattr(module, "family_class", lambda _: Duel)
        model = small(data, tmp_path / "model", "training.epochs=1")
        training = [name for name in asked if name == "kl"]
        assert len(training) == 3  # of nine batches of 16 in 135 showers
        record = log_of(tmp_path / "model")[0]
        assert set(record["gradient_norm"]) == {"loss", "kl"}
        assert model.description.training["epochs"] == 1

    def test_resumed_training_of_several_objectives_is_the_same(
        self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "family_class", lambda _: Duel)
        settings = ("training.epochs=4", "training.average=0.9")
        small(data, tmp_path / "straight", *settings)
        with monkeypatch.context() as patch:
            checkpoint = module._Run._checkpoint

            def killed(self: Any, optimizers: Any, record: Any) -> None:
                checkpoint(self, optimizers, record)
                if record["epoch"] == 1:
                    raise KeyboardInterrupt

            patch.setattr(module._Run, "_checkpoint", killed)
            with pytest.raises(KeyboardInterrupt):
                small(data, tmp_path / "model", *settings)
        small(data, tmp_path / "model", *settings, resume=True)
        assert_same_weights(tmp_path / "model", tmp_path / "straight")


class TestAverage:
    def test_written_weights_are_the_moving_average(
        self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[torch.Tensor] = []
        average = module._Run._average

        def watched(self: Any, step: int) -> None:
            seen.append(self.generator.state_dict()["intensity.bias"].clone())
            average(self, step)

        monkeypatch.setattr(module._Run, "_average", watched)
        model = small(data, tmp_path / "model", "training.epochs=1", "training.average=0.5")
        expected = seen[0]
        for step, weights in enumerate(seen):
            expected = torch.lerp(expected, weights, 1 - min(0.5, (1 + step) / (10 + step)))
        torch.testing.assert_close(model.generator.state_dict()["intensity.bias"], expected)
        assert not torch.equal(expected, seen[-1])


class TestInterrupted:
    @pytest.fixture
    def interrupt(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
        """``interrupt(epoch)``: press Ctrl-C in the middle of an epoch."""

        def press(when: int) -> None:
            batches = TrainingData.batches

            def interrupted(
                self: TrainingData, part: Any, size: int, conditions: Any, epoch: int = 0, seed: int = 0
            ) -> Iterator[Batch]:
                for step, batch in enumerate(batches(self, part, size, conditions, epoch, seed)):
                    if (part, epoch, step) == ("training", when, 3):
                        raise KeyboardInterrupt
                    yield batch

            monkeypatch.setattr(TrainingData, "batches", interrupted)

        return press

    @pytest.mark.parametrize("when", [0, 1, 3])
    def test_ctrl_c_and_resume(
        self, when: int, data: Path, tmp_path: Path, interrupt: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = ("training.epochs=4", "training.rotate=true", "training.schedule=cosine")
        small(data, tmp_path / "straight", *settings)
        interrupt(when)
        with pytest.raises(KeyboardInterrupt):
            small(data, tmp_path / "model", *settings)
        assert not (tmp_path / "model").exists()
        monkeypatch.undo()
        small(data, tmp_path / "model", *settings, resume=True)
        assert_same_weights(tmp_path / "model", tmp_path / "straight")
        assert without_times(tmp_path / "model") == without_times(tmp_path / "straight")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "straight"]

    def test_an_interrupted_training_is_not_forgotten_by_accident(
        self, data: Path, tmp_path: Path, interrupt: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        interrupt(1)
        with pytest.raises(KeyboardInterrupt):
            small(data, tmp_path / "model", "training.epochs=3")
        monkeypatch.undo()
        with pytest.raises(OutputError, match="interrupted training; `resume=True` continues it, `force=True` starts"):
            small(data, tmp_path / "model", "training.epochs=3")
        small(data, tmp_path / "model", "training.epochs=2", force=True)
        assert len(log_of(tmp_path / "model")) == 2

    def test_resume_refuses_another_recipe_and_other_data(
        self,
        data: Path,
        tmp_path: Path,
        make_showers: Make,
        interrupt: Callable[[int], None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        interrupt(1)
        with pytest.raises(KeyboardInterrupt):
            small(data, tmp_path / "model", "training.epochs=3")
        monkeypatch.undo()
        for setting in ("training.epochs=4", "model.latent=2", "training.learning_rate=0.1"):
            with pytest.raises(TrainingError, match="the interrupted training had other recipe; use the same"):
                small(data, tmp_path / "model", "training.epochs=3", setting, resume=True)
        make_showers(150, seed=5).write(tmp_path / "other.h5")
        with pytest.raises(TrainingError, match="the interrupted training had other data; use the same"):
            small(tmp_path / "other.h5", tmp_path / "model", "training.epochs=3", resume=True)
        small(data, tmp_path / "model", "training.epochs=3", resume=True)

    @pytest.mark.parametrize("content", [b"", b"garbage", b"\x02\x00\x00\x00\x00\x00\x00\x00{}", None])
    def test_a_damaged_checkpoint_is_not_used(
        self,
        content: bytes | None,
        data: Path,
        tmp_path: Path,
        interrupt: Callable[[int], None],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """The state of the epoch before serves, if there is one."""
        small(data, tmp_path / "straight", "training.epochs=4")
        interrupt(3)
        with pytest.raises(KeyboardInterrupt):
            small(data, tmp_path / "model", "training.epochs=4")
        monkeypatch.undo()
        folder = tmp_path / ".model.training"
        states = [folder / "checkpoint.safetensors", folder / "previous.safetensors"]

        def damage(path: Path) -> None:
            held = bytearray(path.read_bytes())
            held[-10] ^= 1  # a weight
            path.write_bytes(held if content is None else content)

        shutil.copytree(folder, tmp_path / "kept")
        for path in states:
            damage(path)
        with pytest.raises(
            TrainingError, match=r"checkpoint\.\w+: the state .* training is damaged .*`force=True` starts over"
        ):
            small(data, tmp_path / "model", "training.epochs=4", resume=True)
        shutil.copy(tmp_path / "kept" / states[1].name, states[1])
        small(data, tmp_path / "model", "training.epochs=4", resume=True)
        assert "is damaged" in capsys.readouterr().err
        assert_same_weights(tmp_path / "model", tmp_path / "straight")
        assert without_times(tmp_path / "model") == without_times(tmp_path / "straight")

    def test_the_log_of_an_interrupted_training_is_part_of_its_state(
        self, data: Path, tmp_path: Path, interrupt: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        interrupt(2)
        with pytest.raises(KeyboardInterrupt):
            small(data, tmp_path / "model", "training.epochs=3")
        monkeypatch.undo()
        (tmp_path / ".model.training" / "training.jsonl").write_text("null")
        small(data, tmp_path / "model", "training.epochs=3", resume=True)
        assert [record["epoch"] for record in log_of(tmp_path / "model")] == [0, 1, 2]

    @pytest.mark.skipif(sys.platform == "win32", reason="needs locks of files")
    @pytest.mark.parametrize("options", [{}, {"resume": True}, {"force": True}])
    def test_a_second_training_of_the_same_output_is_refused(
        self, options: dict[str, bool], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        checkpoint = module._Run._checkpoint
        refused: list[str] = []

        def meanwhile(self: Any, *arguments: Any) -> None:
            checkpoint(self, *arguments)
            with pytest.raises(OutputError) as told:
                small(data, tmp_path / "model", "training.epochs=2", **options)
            refused.append(str(told.value))

        monkeypatch.setattr(module._Run, "_checkpoint", meanwhile)
        small(data, tmp_path / "model", "training.epochs=2")
        assert refused == [f"{tmp_path / 'model'}: another program is writing it"] * 2
        assert [path.name for path in tmp_path.iterdir()] == ["model"]

    @pytest.mark.skipif(sys.platform == "win32", reason="needs limits of file sizes")
    def test_a_full_disk_is_one_line_and_the_last_state_stays(self, data: Path, tmp_path: Path) -> None:
        """A limit on file sizes stands for the full disk: the system refuses in the same places."""
        program = f"""
import resource, signal, sys
from fastv import cli
from fastv.training import loop
checkpoint = loop._Run._checkpoint
def limited(self, *arguments):
    if self.epoch == 2:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
    checkpoint(self, *arguments)
loop._Run._checkpoint = limited
settings = [word for setting in ("model.hidden=[12]", "training.epochs=3") for word in ("--set", setting)]
sys.exit(cli.main(["train", "vae", "--data", {str(data)!r}, "-o", "model", *settings, *sys.argv[1:]]))
"""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env={**environment, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (2, "fastv train: cannot write model: File too large\n")
        names = {path.name for path in (tmp_path / ".model.training").iterdir()}
        assert names == {".fastv-unfinished", "checkpoint.safetensors", "training.jsonl"}
        assert len(log_of(tmp_path / ".model.training")) == 2

    def test_resume_of_nothing_starts(self, data: Path, tmp_path: Path) -> None:
        small(data, tmp_path / "model", "training.epochs=1", resume=True)
        with pytest.raises(OutputError, match="exists already"):
            small(data, tmp_path / "model", "training.epochs=1", resume=True)

    def test_an_existing_output_is_refused_before_any_work(
        self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "thesis.txt").write_text("years of work")
        monkeypatch.setattr(module, "TrainingData", None)
        with pytest.raises(OutputError, match="exists already"):
            small(data, tmp_path / "mine")
        with pytest.raises(OutputError, match="FastV did not write it"):
            small(data, tmp_path / "mine", force=True)
        with pytest.raises(OutputError, match="does not exist"):
            small(data, tmp_path / "nowhere" / "model")
        assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"

    def test_a_replaced_model_stays_until_the_new_one_is_complete(
        self, data: Path, tmp_path: Path, interrupt: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        small(data, tmp_path / "model", "training.epochs=1")
        digest = load(tmp_path / "model").digest()
        interrupt(1)
        with pytest.raises(KeyboardInterrupt):
            small(data, tmp_path / "model", "training.epochs=3", force=True)
        assert load(tmp_path / "model").digest() == digest
        monkeypatch.undo()
        small(data, tmp_path / "model", "training.epochs=3", force=True, resume=True)
        assert load(tmp_path / "model").digest() != digest

    def test_an_older_model_is_not_taken_for_a_finished_one(
        self, data: Path, tmp_path: Path, interrupt: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        small(data, tmp_path / "model", "training.epochs=1")
        digest = load(tmp_path / "model").digest()
        interrupt(1)
        with pytest.raises(KeyboardInterrupt):
            small(data, tmp_path / "model", "training.epochs=3", force=True)
        monkeypatch.undo()
        with pytest.raises(OutputError, match="exists already"):
            small(data, tmp_path / "model", "training.epochs=3", resume=True)
        assert load(tmp_path / "model").digest() == digest
        small(data, tmp_path / "model", "training.epochs=3", resume=True, force=True)

    @pytest.mark.parametrize("family", ["vae", "fastv"])
    def test_a_killed_program_resumes_to_the_same_weights(self, family: str, data: Path, tmp_path: Path) -> None:
        """A real SIGKILL in the middle of the second epoch."""
        settings = {**small_settings(family), "training.epochs": 3, "training.rotate": True}
        program = f"""
import os, signal, torch
from fastv.training.data import TrainingData
from fastv.training.loop import train
torch.set_num_threads(1)
batches = TrainingData.batches
def killed(self, part, size, conditions, epoch=0, seed=0):
    for step, batch in enumerate(batches(self, part, size, conditions, epoch, seed)):
        if (part, epoch, step) == ("training", 1, 1):
            os.kill(os.getpid(), signal.SIGKILL)
        yield batch
TrainingData.batches = killed
train({family!r}, [{str(data)!r}], "model", settings={settings!r})
"""
        ended = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            check=False,
        )
        assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
        assert not (tmp_path / "model").exists()
        assert len(log_of(tmp_path / ".model.training")) == 1
        train(family, [data], tmp_path / "model", settings=settings, resume=True)
        train(family, [data], tmp_path / "straight", settings=settings)
        assert_same_weights(tmp_path / "model", tmp_path / "straight")
        assert load(tmp_path / "model").digest() == load(tmp_path / "straight").digest()
        assert without_times(tmp_path / "model") == without_times(tmp_path / "straight")


class TestSeedsOfEpochs:
    """What an epoch draws depends on the seed and on the number of the epoch."""

    @pytest.fixture
    def drawn(self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
        """``drawn(seed)``: of each of three epochs the first random number that the loss sees."""
        loss = VAE.loss

        def run(name: str, seed: int) -> list[float]:
            found: dict[int, float] = {}

            def noted(self: VAE, batch: Batch) -> dict[str, torch.Tensor]:
                if self.training:
                    found.setdefault(int(batch.epoch), float(torch.rand(())))
                return loss(self, batch)

            monkeypatch.setattr(VAE, "loss", noted)
            small(data, tmp_path / name, "training.epochs=3", f"training.seed={seed}")
            return [found[epoch] for epoch in range(3)]

        return run

    def test_noise_is_new_in_every_epoch_and_with_every_seed(self, drawn: Callable[..., list[float]]) -> None:
        first, again, other = drawn("first", 1), drawn("again", 1), drawn("other", 2)
        assert first == again
        assert len({*first, *other}) == 6

    def test_showers_come_in_an_order_of_the_epoch_and_the_seed(
        self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The seed also divides the showers, so its use for the order is seen in what is asked for."""
        batches = TrainingData.batches
        asked: list[tuple[Any, ...]] = []
        met: list[list[float]] = []

        def noted(self: TrainingData, part: Any, size: int, conditions: Any, epoch: int = 0, seed: int = 0) -> Any:
            made = list(batches(self, part, size, conditions, epoch, seed))
            if part == "training":
                asked.append((epoch, seed))
                met.append([float(value) for batch in made for value in batch.conditions[:, 0]])
            return iter(made)

        monkeypatch.setattr(TrainingData, "batches", noted)
        small(data, tmp_path / "model", "training.epochs=3", "training.seed=5")
        assert asked == [(0, 5), (1, 5), (2, 5)]
        assert len({tuple(each) for each in met}) == 3


def test_showers_are_turned_in_the_training_and_not_in_the_validation(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every batch of the training differs from what is in the file, and only by its order around the axis."""
    with TrainingData([data], None, validation_fraction=0.1, seed=1, memory=2**30) as showers:
        known = {
            tuple(row.tolist())
            for part in ("training", "validation")
            for batch in showers.batches(part, 16, lambda c: torch.from_numpy(c.energy)[:, None])  # type: ignore[arg-type]
            for row in batch.energies
        }
    loss = VAE.loss
    same: dict[bool, list[bool]] = {True: [], False: []}

    def noted(self: VAE, batch: Batch) -> dict[str, torch.Tensor]:
        same[self.training] += [tuple(row.tolist()) in known for row in batch.energies]
        return loss(self, batch)

    monkeypatch.setattr(VAE, "loss", noted)
    small(data, tmp_path / "model", "training.epochs=1", "training.rotate=true", "training.mirror=true")
    assert np.mean(same[True]) < 0.5
    assert all(same[False])
    assert same[False]


def test_validation_is_without_dropout_and_updates_of_averages(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validation = VAE.validation
    modes: list[bool] = []

    def noted(self: VAE, batch: Batch) -> dict[str, torch.Tensor]:
        modes.append(self.training)
        return validation(self, batch)

    monkeypatch.setattr(VAE, "validation", noted)
    small(data, tmp_path / "model", "training.epochs=2")
    assert modes
    assert not any(modes)


def test_a_trained_model_is_calibrated(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the best weights, on training showers, before it is written."""
    given: list[Batch] = []
    monkeypatch.setattr(VAE, "calibrate", lambda _, batch: given.append(batch))
    small(data, tmp_path / "model", "training.epochs=1")
    [batch] = given
    assert len(batch.energies) == 135


def test_a_trained_model_generates_as_many_empty_showers_as_there_were(make_showers: Make, tmp_path: Path) -> None:
    showers = make_showers(400)
    energies = showers.energies.copy()
    energies[::5] = 0
    replace(showers, energies=energies).write(tmp_path / "data.h5")
    model = small(tmp_path / "data.h5", tmp_path / "model", "training.epochs=1")
    made = model.generate(energy="1-1000GeV", n=2000, seed=1)
    assert np.mean(made.energies.sum(axis=1) == 0) == pytest.approx(0.2, abs=0.06)


def test_objectives_have_learning_rates_of_their_own(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rate of an objective multiplies that of the training: its first step of Adam is as large as the rate."""
    loss = VAE.loss
    seen: list[torch.Tensor] = []

    def noted(self: VAE, batch: Batch) -> dict[str, torch.Tensor]:
        if self.training:
            seen.append(self.intensity.weight.detach().clone())
        return loss(self, batch)

    monkeypatch.setattr(VAE, "loss", noted)
    moved = []
    for factor in (1.0, 0.1):
        monkeypatch.setattr(VAE, "objectives", (Objective(learning_rate=factor),))
        seen.clear()
        settings = ("training.epochs=1", "training.warmup_epochs=0", "training.learning_rate=0.01")
        small(data, tmp_path / str(factor), *settings)
        moved.append(float((seen[1] - seen[0]).abs().max()))
    assert moved[1] == pytest.approx(0.1 * moved[0], rel=0.01)
