"""Commands as a user in a hurry types them: one line, exit code 2, and what to write instead."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from fastv import cli
from fastv.sample import sample_path
from fastv.training.recipe import load_recipe

Run = Callable[..., tuple[int, str, str]]
TRAIN = ["train", "vae", "--data", "a.h5", "-o", "m"]
GENERATE = ["generate", "par04-siw", "-n", "2", "--energy", "50GeV", "-o", "g.h5"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([*TRAIN, "--epochs", "3"], "unknown option --epochs; to change this setting, write --set training.epochs=3 ("),
        ([*TRAIN, "--lr=1e-3"], "write --set training.learning_rate=1e-3 ("),
        ([*TRAIN, "--batch-size", "64"], "write --set training.batch_size=64 ("),
        ([*TRAIN, "--latent", "4"], "write --set model.latent=4 ("),
        (["distill", "t", "-o", "m", "--seed", "4"], "write --set training.seed=4 ("),
        ([*TRAIN, "b.h5", "--json", "c.h5"], "unexpected argument 'b.h5'; showers files come after --data ("),
        (["train", "vae"], "the following arguments are required: --data, -o/--output ("),
        ([*GENERATE, "--steps", "8"], "unknown option --steps"),
        ([*GENERATE, "-e", "5GeV"], "unknown option -e; did you mean --energy or --extrapolate? ("),
        ([*GENERATE, "GeV"], "unexpected argument 'GeV'; write a number and its unit in one word, as in 50GeV ("),
        (["generate", "par04-siw", "-n", "many"], "a whole number is needed, as in 1000, not 'many' ("),
        (["help", "trian"], "unknown verb 'trian'; did you mean train? ("),
    ],
)
def test_what_the_parser_says(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    err = capsys.readouterr().err
    assert (stopped.value.code, err.count("\n")) == (2, 1)
    assert told in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["generate", "par04-siw", "-n", "2", "--energy", "5GeV", "-o", "g.root"], "g.root: showers are written to"),
        (["generate", "par04-siw", "-n", "2", "--energy", "5GeV", "-o", "g"], "a file that ends in .h5 or .hdf5"),
        (["simulate", "par04-siw", "-n", "2", "--energy", "5GeV", "-o", "g.txt"], "as g.h5"),
        (
            ["simulate", "par04-siw", "-n", "2", "--energy", "5GeV", "-o", "g.h5", "--event", "2"],
            "no event 2 among",
        ),
        (
            ["export", "par04-siw", "-o", "g.onx"],
            "graphs are written to a file that ends in .onnx, as g.onnx",
        ),
        (["convert", str(sample_path("test")), "o.txt"], "known endings are .h5, .hdf5"),
        (["info", "fastw"], "did you mean fastv?"),
        (["info", "none.h5"], "none.h5: no such file"),
    ],
)
def test_what_the_library_says(
    run: Run, arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert told in err
    assert not list(tmp_path.iterdir())


def test_whole_numbers_as_users_write_them() -> None:
    parser, _ = cli.command_line()
    options = parser.parse_args(["generate", "m", "-n", "1e4", "-o", "g.h5"])
    assert options.n == 10_000


def test_help_of_a_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["help", "train"]) == 0
    assert capsys.readouterr().out.startswith("usage: fastv train ")
    assert cli.main(["help"]) == 0
    assert capsys.readouterr().out.startswith("usage: fastv ")


def test_a_preset_is_shown_and_can_be_trained_from(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("info", "fastv")
    assert code == 0
    (tmp_path / "mine.yaml").write_text(out)
    assert load_recipe(str(tmp_path / "mine.yaml")).training == load_recipe("fastv").training
    code, printed, _ = run("train", tmp_path / "mine.yaml", "--print-config", "--set", "model.width=32")
    assert code == 0
    assert yaml.safe_load(printed)["model"] == {**yaml.safe_load(out)["model"], "width": 32}
    code, as_json, _ = run("info", "fastv", "--json")
    assert json.loads(as_json)["training"]["epochs"] == 250


def test_a_model_shows_its_quality_and_settings_as_tables(run: Run) -> None:
    code, out, _ = run("info", "par04-siw-vae")
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "quality worst value target Geant4 floor status where" in lines
    assert any(line.startswith("response -1.48 ± 0.93 % 1 % +0.28 ± 0.59 % undecided") for line in lines)
    assert "training.learning_rate 0.002" in lines
    assert "model.network null" in lines
