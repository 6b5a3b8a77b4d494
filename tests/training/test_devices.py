"""What a machine cannot do is said in one line, before any work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fastv.errors import SettingsError
from fastv.model import load
from fastv.sample import sample_path
from fastv.training import devices
from fastv.training.devices import accelerators, fabric_of
from fastv.training.loop import train
from fastv.training.recipe import TrainingSettings


@pytest.mark.parametrize("name", ["gpu", "cuda", "mps"])
def test_an_accelerator_that_is_not_there(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(devices, "accelerators", lambda: {"cpu": 2})
    with pytest.raises(SettingsError) as caught:
        train("vae", sample_path("test"), tmp_path / "m", settings={"training.accelerator": name})
    expected = f"training.accelerator={name}: this machine has none that PyTorch can use; possible here: auto, cpu"
    assert str(caught.value) == expected
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_more_than_lightning_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that loses its GPU between the two looks at it."""
    monkeypatch.setattr(devices, "accelerators", lambda: {"cpu": 2, "cuda": 1})
    with pytest.raises(
        SettingsError, match=r"do not go together on this machine, which has 2 cpu, 1 cuda \("
    ) as caught:
        fabric_of(TrainingSettings(accelerator="cuda"))
    assert "\n" not in str(caught.value)


def test_what_is_there() -> None:
    assert accelerators()["cpu"] >= 1
    assert fabric_of(TrainingSettings(accelerator="auto", devices=1)).world_size == 1


@pytest.mark.parametrize("size", [10**11, 10**30])
def test_a_network_that_does_not_fit_into_memory(size: int, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"numbers, too many to train in the .* GB of memory of this machine"):
        train("vae", sample_path("test"), tmp_path / "m", settings={"model.latent": size})
    assert not list(tmp_path.iterdir())


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """Each takes half of every batch; losses are nearly those of one process, with other noise."""
    given = {
        "model.hidden": [16],
        "model.latent": 4,
        "training.epochs": 3,
        "training.batch_size": 60,
        "training.validation_fraction": 0.3,
        "training.accelerator": "cpu",
    }
    options = [f"--set={name}={value}" for name, value in {**given, "training.devices": 2}.items()]
    command = [sys.executable, "-m", "fastv", "train", "vae", "--data", str(sample_path("test")), "-o", "two", *options]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    train("vae", sample_path("test"), tmp_path / "one", settings=given)
    one, two = (
        [json.loads(line) for line in (tmp_path / name / "training.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    for mine, its in zip(one, two, strict=True):
        for part in ("training", "validation"):
            assert its[part]["loss"] == pytest.approx(mine[part]["loss"], rel=0.02)
    assert load(tmp_path / "two").digest() != load(tmp_path / "one").digest()
