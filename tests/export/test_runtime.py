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

pytestmark = pytest.mark.usefixtures("operators_read_once")

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


HEADERS = (
    *(Path(root) / "include" for root in [os.environ.get("ONNXRUNTIME_ROOT")] if root),
    *(Path(prefix) / "include" / "onnxruntime" for prefix in ("/usr", "/usr/local", "/opt/homebrew")),
)


@pytest.fixture(scope="module")
def shower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of the example in C++."""
    if shutil.which("cmake") is None or not any(any(each.rglob("onnxruntime_cxx_api.h")) for each in HEADERS):
        pytest.skip("no cmake, or no headers of onnxruntime: set ONNXRUNTIME_ROOT, or install libonnxruntime-dev")
    build = tmp_path_factory.mktemp("build")
    warnings = "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror"
    source = Path(__file__).parents[2] / "examples" / "cpp"
    subprocess.run(["cmake", "-S", source, "-B", build, warnings], check=True)
    subprocess.run(["cmake", "--build", build], check=True)
    return build / "shower"


def run(program: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *map(str, arguments)], check=False, capture_output=True, text=True)


def test_the_example_in_cpp(exported: tuple[Model, Path], shower: Path) -> None:
    def lines(energy: float) -> list[str]:
        return run(shower, exported[1], energy, 3, 1).stdout.splitlines()

    assert [line.split()[0] for line in lines(5e4)] == ["0", "1", "2"]
    assert len({line.split()[1] for line in lines(5e4)}) == 3
    assert lines(5e4) == lines(5e4)
    for outside in (5.0, 1e9, float("nan"), float("inf")):
        assert lines(outside) == ["0 handed back", "1 handed back", "2 handed back"]


def test_the_example_in_cpp_has_the_profiles_of_the_model(
    exported: tuple[Model, Path], tiny_detector: Detector, shower: Path, tmp_path: Path
) -> None:
    model, path = exported
    assert run(shower, path, 5e4, N, 1, tmp_path / "voxels").returncode == 0
    shape = tiny_detector.mesh.shape
    one = np.fromfile(tmp_path / "voxels", np.float32).reshape(N, *shape)
    two = model.generate(energy=5e4, n=N, seed=1).energies.reshape(N, *shape)
    for axes in ((2, 3), (1, 3), (1, 2)):  # profiles in layer, alpha, r
        first, second = one.sum(axis=axes), two.sum(axis=axes)
        error = np.hypot(first.std(axis=0), second.std(axis=0)) / np.sqrt(N)
        assert np.abs(first.mean(axis=0) - second.mean(axis=0)).max() < (5 * error).max()
        assert np.ptp(second.mean(axis=0)) > 0


def test_the_example_in_cpp_says_what_is_wrong(exported: tuple[Model, Path], shower: Path, tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no graph")
    for arguments, message in [
        ([tmp_path / "none.onnx", 5e4, 1, 1], "File doesn't exist"),
        ([tmp_path / "text.onnx", 5e4, 1, 1], "Protobuf parsing failed"),
        ([exported[1], "50GeV", 1, 1], "ENERGY_MEV must be a number, got 50GeV"),
        ([exported[1], 5e4, -1, 1], "EVENTS must be a whole number from 0 to 4294967295, got -1"),
        ([exported[1], 5e4, 1, "x"], "SEED must be a whole number"),
        ([exported[1], 5e4, 1, 1, tmp_path / "none" / "voxels"], "cannot write"),
    ]:
        done = run(shower, *arguments)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert message in done.stderr
