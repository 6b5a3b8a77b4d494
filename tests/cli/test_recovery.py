"""A kill after the output has its final name and before the working files are gone: the same verb finishes the job."""

from __future__ import annotations

import hashlib
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fastv import cli
from fastv.showers import Showers

if sys.platform == "win32":
    pytest.skip("needs POSIX signals", allow_module_level=True)

SMALL = ["--set", "training.epochs=2", "--set", "training.batch_size=32"]
TINY = ["--set", "model.hidden=[16]"]
NETWORK = "{kind: transformer, width: 16, blocks: 1, heads: 2}"
FLOW = ["--set", f"model.network={NETWORK}", "--set", "model.layer_hidden=[16]", "--set", "model.steps=1"]


@pytest.fixture(scope="module")
def made(make_showers: Callable[..., Showers], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with showers, a model, and a teacher."""
    folder = tmp_path_factory.mktemp("made")
    make_showers(100, provenance={"engine": "random numbers", "particle": "e-"}).write(folder / "data.h5")
    for family, settings in {"vae": TINY, "flow-matching": FLOW}.items():
        verb = ["train", family, "--data", folder / "data.h5", "-o", folder / family, *SMALL, *settings]
        assert cli.main([str(word) for word in verb]) == 0
    return folder


def arguments(verb: str, made: Path, output: Path) -> list[str]:
    words = {
        "generate": [made / "vae", "-n", 20, "--energy", "50GeV", "-o", output],
        "train": ["vae", "--data", made / "data.h5", "-o", output, *SMALL, *TINY],
        "distill": [made / "flow-matching", "-n", 40, "-o", output, *SMALL],
        "convert": [made / "data.h5", output, "--to", "par04-h5"],
    }[verb]
    return [verb, *map(str, words)]


def digest(path: Path) -> str:
    file = path / "weights.safetensors" if path.is_dir() else path
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("verb", ["generate", "train", "distill"])
def test_resume_finishes_what_was_killed_before_the_clean_up(
    verb: str, made: Path, tmp_path: Path, kill_after_rename: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.h5"
    command = arguments(verb, made, output)
    assert kill_after_rename(command, output) == -signal.SIGKILL
    before = digest(output)
    assert len(list(tmp_path.iterdir())) > 1
    assert cli.main(command) == 2
    assert "exists already" in capsys.readouterr().err
    assert cli.main([*command, "--resume"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5"]
    assert digest(output) == before
    assert cli.main([*command, "--resume"]) == 2  # nothing is left to continue
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(("verb", "removed"), [("train", 1), ("distill", 1), ("distill", 2)])
def test_a_kill_in_the_midst_of_the_clean_up(
    verb: str, removed: int, made: Path, tmp_path: Path, kill_after_rename: Callable[..., int]
) -> None:
    output = tmp_path / "out"
    command = arguments(verb, made, output)
    assert kill_after_rename(command, output, removed) == -signal.SIGKILL
    before = digest(output)
    assert cli.main([*command, "--resume"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert digest(output) == before


def test_a_killed_conversion_is_complete(
    made: Path, tmp_path: Path, kill_after_rename: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.h5"
    command = arguments("convert", made, output)
    assert kill_after_rename(command, output) == -signal.SIGKILL
    before = digest(output)
    assert cli.main(command) == 2
    assert "exists already" in capsys.readouterr().err
    assert cli.main([*command, "--force"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5"]
    assert digest(output) == before
