"""``fastv estimate`` and ``fastv retrieve``, as a user runs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fastv import cli
from fastv.showers import Showers, ShowersFile
from helpers import refused

Run = Callable[..., tuple[int, str, str]]
SMALL = ("training.epochs=1", "model.hidden=[16]", "model.head=[16]", "model.size=8", "model.others=20")


@pytest.fixture(scope="module")
def data(make_showers: Callable[..., Showers], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "showers.h5"
    make_showers(150, provenance={"engine": "random numbers", "particle": "e-"}).write(path)
    return path


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "space"
    settings = [word for setting in SMALL for word in ("--set", setting)]
    assert cli.main(["train", "embedding", "--data", str(data), "-o", str(path), *settings]) == 0
    return path


def test_estimate(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "estimates.h5"
    code, out, _ = run("estimate", model, data, "-o", output)
    assert code == 0
    assert out.splitlines()[0] == f"estimates of 150 showers by space in {output}"
    assert "in the interval" in out
    assert any(line.startswith("energy ") and line.count("%") == 2 for line in out.splitlines())
    refused(run("estimate", model, data, "-o", output), "exists already", "--force")
    told = json.loads(run("estimate", model, data, "-o", output, "--force", "--json")[1])
    assert told["showers"] == 150
    assert "log-uniform in energy" in told["prior"]
    assert {each["condition"] for each in told["performance"]} == {"energy"}
    refused(run("estimate", "par04-siw-vae", data, "-o", output, "--force"), "families that have one: embedding")


def test_retrieve(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "found.h5"
    code, out, _ = run("retrieve", model, data, "--energy", "20GeV", "-k", 3, "-o", output)
    assert code == 0
    assert out.splitlines()[0].startswith("energy 20GeV: the best 3 of 150 showers")
    assert out.splitlines()[1].split()[:3] == ["row", "log", "odds"]
    assert out.splitlines()[-1] == f"3 showers in {output}"
    with ShowersFile(output) as file:
        assert len(file) == 3
    told = json.loads(run("retrieve", model, data, "--energy", "20GeV", "-k", 3, "--json")[1])
    assert [str(each["row"]) for each in told["matches"]] == [line.split()[0] for line in out.splitlines()[2:5]]
    refused(run("retrieve", model, data), "give one or more of: energy, as in --energy 20GeV")
    refused(run("retrieve", model, data, "--particle", "gamma"), "not trained on particle; leave it out")
    refused(run("retrieve", model, data, "--energy", "9TeV"), "outside the domain", "--extrapolate")
    refused(run("retrieve", model, data, "--energy", "20GeV", "-k", 0), "-k must be at least 1, got 0")


def test_what_draws_showers_says_what_the_model_is_for(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    words = ("'embedding' draws no showers: it finds showers by their conditions (fastv retrieve)", "(fastv estimate)")
    refused(run("generate", model, "-n", 3, "--energy", "20GeV", "-o", tmp_path / "n.h5"), *words)
    refused(run("export", model, "-o", tmp_path / "n.onnx"), *words)
    refused(run("bench", model), *words)
    refused(
        run("reconstruct", model, data, "-o", tmp_path / "n.h5"), "has no decoder; families that have one: autoencoder"
    )
    assert not list(tmp_path.iterdir())
