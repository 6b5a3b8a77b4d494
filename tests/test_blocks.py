"""Blocks of generated showers are the same on a cluster, and what fails there is told in one line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fastv import blocks, cluster, generation
from fastv.cli import main
from fastv.detector.detector import Detector
from fastv.errors import ClusterError, ModelError
from fastv.model import Model, ModelDescription
from fastv.models import build
from fastv.models.contract import Domain
from fastv.showers import writer

distributed = pytest.importorskip("distributed", reason="needs the extra [cluster]")


@pytest.fixture
def model(tiny_detector: Detector, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A model of two particles, angles and detectors; blocks have 100 showers instead of 1000."""
    monkeypatch.setattr(generation, "BLOCK_ROWS", 100)
    monkeypatch.setattr(writer, "BLOCK_ROWS", 100)
    torch.manual_seed(1)
    domain = Domain(energy=(1e3, 1e6), theta=(1.0, 1.6), particles=("e-", "gamma"), detectors=("tiny", "other"))
    other = tiny_detector.model_copy(update={"name": "other", "energy_scale": 0.066})
    settings = {"hidden": (8,), "latent": 3, "conditions": ("energy", "theta", "particle", "detector")}
    generator = build("vae", settings, tiny_detector, domain, (tiny_detector, other)).eval()
    settings = generator.settings.model_dump(mode="json")
    description = ModelDescription(
        family="vae", settings=settings, domain=domain, detector=tiny_detector, other_detectors=(other,)
    )
    return Model(generator, description, "m")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A scheduler with one worker of two threads, in this process."""
    options = {"n_workers": 1, "threads_per_worker": 2, "processes": False, "dashboard_address": None}
    with distributed.LocalCluster(**options, protocol="tcp", host="127.0.0.1") as scheduler:
        yield scheduler.scheduler_address


ASKED: dict[str, Any] = {
    "n": 450,
    "energy": "1-1000GeV",
    "theta": "60-90deg",
    "particle": "gamma,e-",
    "detector": "other",
    "seed": 3,
}


def test_the_file_is_that_of_one_process(model: Model, address: str, tmp_path: Path) -> None:
    model.generate_file(tmp_path / "here.h5", **ASKED)
    model.generate_file(tmp_path / "cluster.h5", scheduler=address, **ASKED)
    assert (tmp_path / "cluster.h5").read_bytes() == (tmp_path / "here.h5").read_bytes()


def test_a_run_that_was_interrupted_continues_on_a_cluster(
    model: Model, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.generate_file(tmp_path / "whole.h5", **ASKED)
    made = generation.block_energies

    def interrupted(*arguments: Any) -> Any:
        if arguments[-1] == 2:  # the number of the block
            raise KeyboardInterrupt
        return made(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(generation, "block_energies", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.generate_file(tmp_path / "out.h5", **ASKED)
    model.generate_file(tmp_path / "out.h5", scheduler=address, resume=True, **ASKED)
    assert (tmp_path / "out.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_showers_that_are_no_numbers_are_refused(model: Model, address: str, tmp_path: Path) -> None:
    with torch.no_grad():
        for parameter in model.generator.parameters():
            parameter.fill_(torch.nan)
    with pytest.raises(ModelError, match="the model gave shower 0 a voxel energy that is negative or not finite"):
        model.generate_file(tmp_path / "out.h5", scheduler=address, **ASKED)
    assert not (tmp_path / "out.h5").exists()


def test_workers_that_fail(model: Model, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> bytes:
        msg = "No module named 'fastv'"
        raise ModuleNotFoundError(msg)

    monkeypatch.setattr(blocks, "_block_on_worker", broken)
    with pytest.raises(ClusterError, match=rf"a worker of {address} failed: ModuleNotFoundError: No module named"):
        model.generate_file(tmp_path / "out.h5", scheduler=address, **ASKED)


@pytest.mark.parametrize("nobody", ["tcp://127.0.0.1:1", "tcp://127.0.0.1", "here"])
def test_an_unreachable_scheduler(
    nobody: str, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    model.save(tmp_path / "model")
    asked = ["-n", "4", "--energy", "5GeV", "--theta", "70deg", "--particle", "photon", "-o", str(tmp_path / "out.h5")]
    asked += ["--detector", "tiny"]
    assert main(["generate", str(tmp_path / "model"), *asked, "--scheduler", nobody]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"fastv generate: no Dask scheduler answers at {nobody} (")
    assert told.endswith("start one, or leave --scheduler out\n")
    assert not (tmp_path / "out.h5").exists()
