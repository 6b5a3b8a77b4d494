"""The verbs for codes, scores, components and discriminants, as a user runs them; good input and bad."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fastv import cli
from fastv.representation.codes_file import CodesFile
from fastv.showers import Showers
from helpers import refused

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def data(make_showers: Callable[..., Showers], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "showers.h5"
    make_showers(200, provenance={"engine": "random numbers", "particle": "e-"}).write(path)
    return path


@pytest.fixture(scope="module")
def models(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for family, setting in (("pca", "model.components=4"), ("library", "model.size=40")):
        assert cli.main(["train", family, "--data", str(data), "-o", str(folder / family), "--set", setting]) == 0
    return folder


def test_encode_and_reconstruct(run: Run, models: Path, data: Path, tmp_path: Path) -> None:
    codes = tmp_path / "codes.h5"
    code, out, _ = run("encode", models / "pca", data, "-o", codes)
    assert code == 0
    assert "codes of 200 showers by pca" in out
    assert "components (4)" in out
    with CodesFile(codes) as file:
        assert len(file) == 200
    refused(run("encode", models / "pca", data, "-o", codes), "exists already", "--force")
    code, out, _ = run("encode", models / "pca", data, "-o", codes, "--force", "--json")
    assert json.loads(out)["groups"] == {"components": 4}
    back = tmp_path / "back.h5"
    code, out, _ = run("reconstruct", models / "pca", data, "-o", back, "--json")
    assert (code, json.loads(out)["showers"]) == (0, 200)
    assert run("evaluate", data, back, "--quick")[0] == 0
    refused(
        run("encode", models / "library", data, "-o", tmp_path / "n.h5"),
        "'library' has no encoder",
        "bottleneck, embedding, fastv, hashing, pca, vae",
    )
    refused(run("encode", "par04-siw-vae", data, "-o", tmp_path / "n.h5"), "differ in the cells")
    refused(run("encode", models / "pca", codes, "-o", tmp_path / "n.h5"), "it holds codes of showers")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back.h5", "codes.h5"]


def test_explore(run: Run, models: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("explore", models / "pca", data, "--showers", 40)
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("codes of 40 showers by pca in pca-explore.html (0.")
    assert [line.split()[:3] for line in lines[2:]] == [["components", line.split()[1], "-"] for line in lines[2:]]
    assert len(lines) == 6
    code, out, _ = run("explore", models / "pca", data, "-o", "page.html", "--showers", 20, "--json")
    told = json.loads(out)
    assert (told["showers"], told["groups"], told["walked"]) == (20, {"components": 4}, 4)
    assert told["bytes"] == (tmp_path / "page.html").stat().st_size
    assert set(told["dimensions"][0]["spearman"]) >= {"incident energy", "layer of maximum", "lateral width"}
    refused(run("explore", models / "pca", data), "exists already", "--force")
    refused(run("explore", models / "library", data, "-o", "n.html"), "'library' has no encoder", "fastv, hashing")
    refused(run("explore", models / "pca", "-o", "n.html"), "shipped showers are none that", "give others, FILE")
    refused(run("explore", models / "pca", data, "-o", "n.html", "--showers", 5), "10 to 5000", "--showers N")
    refused(run("explore", models / "pca", data, "-o", "no/n.html"), "the folder no does not exist")
    refused(run("explore", "par04-siw-vae", data, "-o", "n.html"), "differ in the cells")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "pca-explore.html"]


def test_score(run: Run, models: Path, data: Path, tmp_path: Path) -> None:
    code, out, _ = run("score", models / "pca", data, "-o", tmp_path / "scores", "--planted")
    assert code == 0
    for word in ("reconstruction_error", "doubled energy", "wrong particle: not planted", "of them with --against"):
        assert word in out
    code, out, _ = run("score", models / "pca", data, "-o", tmp_path / "scores", "--force", "--json")
    assert json.loads(out)["showers"] == 200
    refused(run("score", models / "library", data, "-o", tmp_path / "n"), "has no decoder, density or anomaly score")
    refused(run("score", models / "pca", data, "-o", data), "exists already")


def test_components_and_discriminants(run: Run, data: Path, tmp_path: Path) -> None:
    code, out, _ = run("components", data, "-o", tmp_path / "pca", "-n", 3)
    assert code == 0
    assert len(out.splitlines()) == 5
    names = "components.h5, components.json, components.png, projections.png, variance.png"
    assert out.splitlines()[-1] == f"in {tmp_path / 'pca'}: {names}"
    refused(run("components", data, "-o", tmp_path / "n", "-n", 300), "300 components of 200 showers", "-n N")
    refused(run("components", data, "-o", tmp_path / "n", "--showers", 1), "--showers must be at least 2")
    code, out, _ = run("discriminate", data, "--by", "energy", "-o", tmp_path / "lda", "--json")
    assert (code, json.loads(out)["accuracy_by_chance"]) == (0, 1 / 3)
    refused(run("discriminate", data, "-o", tmp_path / "n"), "by file there is one")
    refused(run("discriminate", data, "--by", "angle", "-o", tmp_path / "n"), "unknown class 'angle'")
    refused(
        run("discriminate", data, data, "--on", "pixels", "-o", tmp_path / "n"), "unknown kind of features 'pixels'"
    )
    refused(run("discriminate", data, data, "-o", tmp_path / "n"), "is given twice; give each file once")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lda", "pca"]


def test_manifold(run: Run, data: Path, tmp_path: Path) -> None:
    code, out, _ = run("manifold", data, data, "-o", tmp_path / "dimension", "--bins", 2, "--on", "voxels")
    assert code == 0
    lines = out.splitlines()
    assert len(lines) == 6
    assert lines[1].endswith("showers (1)")
    assert "+0.0  showers (2)" in lines[2]
    assert {path.name for path in (tmp_path / "dimension").glob("m*")} == {"manifold.json", "manifold.png"}
    refused(run("manifold", data, "-o", tmp_path / "dimension"), "exists already", "--force")
    refused(run("manifold", data, "-o", tmp_path / "n"), "take fewer bins, see --bins N, or")
    refused(run("manifold", data, "-o", tmp_path / "n", "--showers", 5), "--showers must be at least 50")
    refused(run("manifold", data, "par04-siw", "-o", tmp_path / "n"), "par04-siw")
    assert not (tmp_path / "n").exists()


def test_bottleneck(run: Run, data: Path, tmp_path: Path) -> None:
    model, codes = tmp_path / "model", tmp_path / "codes.h5"
    small = ("--set", "training.epochs=1", "--set", "model.hidden=[8]", "--set", "model.code=3")
    assert run("train", "bottleneck", "--data", data, "-o", model, *small)[0] == 0
    assert "relevance_energy" in (model / "training.jsonl").read_text()
    code, out, _ = run("encode", model, data, "-o", codes, "--json")
    assert (code, json.loads(out)["groups"]) == (0, {"code": 3})
    refused(
        run("train", "bottleneck", "--data", data, "-o", tmp_path / "n", "--set", "model.relevant=[particle]"),
        "cannot tell the particle: all training showers have 'e-'",
    )
    assert not (tmp_path / "n").exists()
