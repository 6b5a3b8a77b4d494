"""The runner without PyTorch: slices of a large request have their own noise and their own conditions."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from fastv.detector.detector import Detector
from fastv.export import OnnxGenerator, export
from fastv.export import onnx as module
from fastv.export.runtime import SLICE_ROWS
from fastv.model import Model, ModelDescription
from fastv.models import build
from fastv.models.contract import Domain
from fastv.noise import noise_stream
from fastv.runtime import Runtime

N = 2 * SLICE_ROWS + 7


@pytest.fixture(scope="module")
def exported(tiny_detector: Detector, tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Path]:
    torch.manual_seed(1)
    domain = Domain(energy=(1e3, 1e6), detectors=("tiny",))
    generator = build("vae", {"hidden": (8,), "latent": 3}, tiny_detector, domain).eval()
    path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PARITY_ROWS", 100)
        model = Model(generator, ModelDescription(family="vae", domain=domain, detector=tiny_detector), "tiny")
        export(model, path)
    return model, path


@pytest.fixture(scope="module")
def runner(exported: tuple[Model, Path]) -> OnnxGenerator:
    return OnnxGenerator(exported[1])


def test_the_first_event_of_a_seed_is_the_shower_that_the_model_generates(exported: tuple[Model, Path]) -> None:
    model, path = exported
    for seed in (3, 4):
        shower = model.generate(energy=5e4, n=1, seed=seed).energies
        np.testing.assert_allclose(Runtime(path, seed=seed).generate(0, energy=5e4).energies, shower, rtol=1e-4)


def test_batches_differ_by_rounding_only(exported: tuple[Model, Path]) -> None:
    one, many = (Runtime(exported[1], batch=batch).generate(np.arange(N), energy=5e4) for batch in (1, 64))
    np.testing.assert_allclose(one.energies, many.energies, rtol=1e-4, atol=1e-3)


def test_every_shower_has_noise_of_its_own(runner: OnnxGenerator) -> None:
    conditions = np.full((N, 1), 5e4, dtype=np.float32)
    showers = runner.generate(conditions, noise_stream(1))
    assert len(np.unique(showers, axis=0)) == N
    np.testing.assert_array_equal(showers, runner.generate(conditions, noise_stream(1)))
    other = runner.generate(conditions, noise_stream(2))
    assert not (showers == other).all(axis=1).any()


def test_a_stream_goes_on(runner: OnnxGenerator) -> None:
    stream = noise_stream(1)
    conditions = np.full((N, 1), 5e4, dtype=np.float32)
    first, second = runner.generate(conditions, stream), runner.generate(conditions, stream)
    assert not (first == second).all(axis=1).any()


def test_slices_are_single_runs_with_seeds_from_the_stream(runner: OnnxGenerator) -> None:
    conditions = np.geomspace(1e3, 1e6, N, dtype=np.float32)[:, None]
    showers = runner.generate(conditions, noise_stream(3))
    seeds = noise_stream(3).integers(2**63, size=3)
    for start, seed in zip(range(0, N, SLICE_ROWS), seeds, strict=True):
        part = conditions[start : start + SLICE_ROWS]
        noise = runner.noise.draw_from(noise_stream(int(seed)), len(part))
        np.testing.assert_allclose(showers[start : start + SLICE_ROWS], runner.run(part, noise), rtol=1e-5, atol=1e-4)


@pytest.mark.skipif(
    not os.environ.get("ONNXRUNTIME_ROOT") or shutil.which("cmake") is None,
    reason="no cmake, or no release of onnxruntime with headers in ONNXRUNTIME_ROOT",
)
def test_the_example_in_cpp(exported: tuple[Model, Path], tmp_path: Path) -> None:
    source = Path(__file__).parents[2] / "examples" / "cpp"
    subprocess.run(["cmake", "-S", source, "-B", tmp_path], check=True)
    subprocess.run(["cmake", "--build", tmp_path], check=True)

    def shower(energy: float) -> list[str]:
        command = [tmp_path / "shower", exported[1], str(energy), "3", "1"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    lines = shower(5e4)
    assert [line.split()[0] for line in lines] == ["0", "1", "2"]
    assert len({line.split()[1] for line in lines}) == 3
    assert shower(5e4) == lines
    assert shower(5.0) == ["0 handed back", "1 handed back", "2 handed back"]
