"""The verbs together, as a user runs them: train, info, generate, evaluate, export, bench; good input and bad."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from fastv import cli
from fastv.showers import Showers, ShowersFile
from helpers import refused

pytestmark = pytest.mark.usefixtures("operators_read_once")

Run = Callable[..., tuple[int, str, str]]

SMALL = ["--set", "training.epochs=2", "--set", "training.batch_size=32", "--set", "model.hidden=[16]"]


@pytest.fixture(scope="module")
def data(make_showers: Callable[..., Showers], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "showers.h5"
    make_showers(200, provenance={"engine": "random numbers", "particle": "e-"}).write(path)
    return path


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "small"
    assert cli.main(["train", "vae", "--data", str(data), "-o", str(path), *SMALL]) == 0
    return path


def test_train_says_what_came_out(run: Run, data: Path, tmp_path: Path) -> None:
    code, out, _ = run("train", "vae", "--data", data, "-o", tmp_path / "m", "--json", *SMALL)
    summary = json.loads(out)
    assert code == 0
    assert summary["training"]["epochs"] == 2
    assert summary["settings"]["hidden"] == [16]
    assert summary["domain"]["particles"] == ["e-"]


def test_train_refuses(run: Run, data: Path, model: Path, tmp_path: Path) -> None:
    new = tmp_path / "m"
    refused(run("train", "gan9", "--data", data, "-o", new), "gan9", "fastv-original", "vae")
    refused(run("train", "vae", "--data", data, "-o", new, "--set", "model.latnt=3"), "model.latnt", "latent")
    refused(run("train", "vae", "--data", data, "-o", new, "--set", "training.epochs=none"), "training.epochs")
    refused(run("train", "vae", "--data", tmp_path / "none.h5", "-o", new), "no such file")
    refused(run("train", "vae", "--data", data, "-o", model), "exists", "--force")
    assert not list(tmp_path.iterdir())


def test_info_of_a_model(run: Run, model: Path) -> None:
    code, out, _ = run("info", model)
    assert code == 0
    assert "vae" in out
    assert "1 GeV to 1 TeV" in out


def test_generate_evaluate_and_back(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    showers = tmp_path / "generated.h5"
    code, out, _ = run("generate", model, "--like", data, "-o", showers, "--seed", 3, "--json")
    assert code == 0
    assert json.loads(out)["showers"] == 200
    with ShowersFile(showers) as file, ShowersFile(data) as reference:
        np.testing.assert_array_equal(file.incident_energies, reference.incident_energies)
        assert file.provenance["seed"] == 3
    code, out, _ = run("evaluate", data, showers, "--json")
    assert code == 0
    assert {line["question"] for line in json.loads(out)["verdict"]["lines"]} >= {"sparsity", "voxel spectrum"}


def test_generated_files_are_calochallenge_files(run: Run, model: Path, tmp_path: Path) -> None:
    showers = tmp_path / "generated.h5"
    assert run("generate", model, "-n", 5, "--energy", "10,50GeV", "-o", showers)[0] == 0
    with h5py.File(showers) as file:
        assert file["incident_energies"].shape == (5, 1)
        assert file["showers"].shape == (5, 24)
        assert set(np.unique(file["incident_energies"][:])) == {1e4, 5e4}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-n", 3, "--energy", "50"], ["50", "GeV"]),
        (["-n", 3, "--energy", "5TeV"], ["domain", "--extrapolate"]),
        (["-n", 0, "--energy", "5GeV"], ["at least 1"]),
        (["--energy", "5GeV"], ["-n"]),
        (["-n", 3], ["--energy"]),
        (["-n", 3, "--energy", "5GeV", "--theta", "90deg"], ["theta"]),
        (["-n", 3, "--energy", "5GeV", "--seed", -1], ["seed"]),
        (["--like", "nowhere.h5"], ["no such file"]),
    ],
)
def test_generate_refuses(run: Run, model: Path, tmp_path: Path, arguments: list[object], words: list[str]) -> None:
    refused(run("generate", model, *arguments, "-o", tmp_path / "x.h5"), *words)
    assert not list(tmp_path.iterdir())


def test_a_model_that_is_none(run: Run, tmp_path: Path) -> None:
    refused(run("generate", "nothing", "-n", 1, "--energy", "5GeV", "-o", tmp_path / "x.h5"), "nothing", "par04-siw")
    refused(run("export", tmp_path, "-o", tmp_path / "x.onnx"), "model.json")


def test_export_and_bench(run: Run, model: Path, tmp_path: Path) -> None:
    graph = tmp_path / "m.onnx"
    code, out, _ = run("export", model, "-o", graph, "--json")
    assert code == 0
    assert json.loads(out)["inputs"]["noise"] == ["N", 10]
    refused(run("export", model, "-o", graph), "exists", "--force")
    refused(run("export", model, "-o", tmp_path / "y.onnx", "--contract", "none"), "none", "fastv")
    code, out, _ = run("bench", graph, "--batch", "1,60", "--seconds", 0.05, "--threads", 2, "--json")
    assert code == 0
    assert [row["batch"] for row in json.loads(out)["timings"]] == [1, 60]
    refused(run("bench", graph, "--batch", "1,x"), "1,x")
    refused(run("bench", graph, "--threads", 0), "at least 1")
    refused(run("bench", tmp_path / "none.onnx"), "none.onnx")


def test_models_lists_what_ships(run: Run) -> None:
    code, out, _ = run("models", "--json")
    lists = json.loads(out)
    assert code == 0
    assert "par04-siw" in lists["shipped"]
    assert {"fastv", "fastv-original"} <= set(lists["presets"])


def test_demo_refuses_an_existing_folder(run: Run, tmp_path: Path) -> None:
    refused(run("demo", "-o", tmp_path), "exists", "--force")
