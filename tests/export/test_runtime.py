"""The runner without PyTorch: slices of a large request have their own noise and their own conditions."""

from __future__ import annotations

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
from fastv.models.noise import noise_stream

N = 2 * SLICE_ROWS + 7


@pytest.fixture(scope="module")
def runner(tiny_detector: Detector, tmp_path_factory: pytest.TempPathFactory) -> OnnxGenerator:
    torch.manual_seed(1)
    domain = Domain(energy=(1e3, 1e6), detectors=("tiny",))
    generator = build("vae", {"hidden": (8,), "latent": 3}, tiny_detector, domain).eval()
    path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PARITY_ROWS", 100)
        export(Model(generator, ModelDescription(family="vae", domain=domain, detector=tiny_detector), "tiny"), path)
    return OnnxGenerator(path)


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
