"""A kill after the output has its final name and before the working files are gone: the same verb finishes the job."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fastv import cli
from fastv.showers import Showers
from killed import killed_after_rename

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
    verb: str, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.h5"
    command = arguments(verb, made, output)
    assert killed_after_rename(command, output) == -signal.SIGKILL
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
def test_a_kill_in_the_midst_of_the_clean_up(verb: str, removed: int, made: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    command = arguments(verb, made, output)
    assert killed_after_rename(command, output, removed) == -signal.SIGKILL
    before = digest(output)
    assert cli.main([*command, "--resume"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert digest(output) == before


def test_a_killed_conversion_is_complete(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.h5"
    command = arguments("convert", made, output)
    assert killed_after_rename(command, output) == -signal.SIGKILL
    before = digest(output)
    assert cli.main(command) == 2
    assert "exists already" in capsys.readouterr().err
    assert cli.main([*command, "--force"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5"]
    assert digest(output) == before


INTERRUPTED = """
import os, signal, sys
number, output = int(sys.argv[1]), sys.argv[2]
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs have it ignored
from fastv.models.vae import VAE
from fastv.showers import writer
from fastv.training.working_folder import WorkingFolder
from fastv import cli

class Doomed:
    # Python swallows what is raised in a destructor, as HDF5 does in its callbacks.
    def __del__(self):
        os.kill(os.getpid(), number)
        for _ in range(1000):
            pass

def then_doomed(owner, name):
    original = getattr(owner, name)
    def act(*arguments, **options):
        result = original(*arguments, **options)
        Doomed()
        setattr(owner, name, original)
        return result
    setattr(owner, name, act)

then_doomed(writer, "write_showers")
then_doomed(WorkingFolder, "write")
sys.exit(cli.main(sys.argv[3:]))
"""


@pytest.mark.parametrize(
    ("verb", "number"),
    [("generate", signal.SIGINT), ("train", signal.SIGTERM), ("convert", signal.SIGINT)],
)
def test_a_signal_at_an_unlucky_moment(verb: str, number: int, made: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.h5"
    command = arguments(verb, made, output)
    if verb == "convert":
        command[command.index("par04-h5")] = "fastv"
    if verb == "generate":
        command[command.index("20")] = "1200"  # two blocks
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(int(number)), str(output), *command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 128 + number
    assert done.stdout == ""
    assert not output.exists()
    if verb == "convert":
        assert done.stderr == "fastv convert: interrupted; nothing was written, the same command starts again\n"
        assert list(tmp_path.iterdir()) == []
        return
    told = f"fastv {verb}: interrupted; finished work is kept, continue with: fastv "
    assert done.stderr.startswith(told)
    assert len(done.stderr.splitlines()) == 1
    words = shlex.split(done.stderr.removeprefix(told))
    assert words == [*command, "--resume"]
    assert cli.main(words) == 0
    assert cli.main(arguments_to(command, output, tmp_path / "whole.h5")) == 0
    assert digest(output) == digest(tmp_path / "whole.h5")
    assert {path.name for path in tmp_path.iterdir()} == {"out.h5", "whole.h5"}


def arguments_to(command: list[str], output: Path, other: Path) -> list[str]:
    return [str(other) if word == str(output) else word for word in command]


@pytest.mark.parametrize(("verb", "name"), [("generate", ".out.h5.parts"), ("train", ".out.h5.training")])
@pytest.mark.parametrize("linked", [False, True])
def test_a_folder_that_is_not_ours_is_never_emptied(
    verb: str, name: str, linked: bool, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / ("mine" if linked else name)
    mine.mkdir()
    (mine / "request.json").write_text("thesis")
    (mine / "checkpoint.safetensors").write_text("thesis")
    if linked:
        (tmp_path / name).symlink_to(mine)
    command = arguments(verb, made, tmp_path / "out.h5")
    for more in ([], ["--resume"], ["--force"]):
        assert cli.main([*command, *more]) == 2
        told = capsys.readouterr().err
        assert f"{name} is in the way of out.h5 and is not of FastV; rename or remove it\n" in told
        assert len(told.splitlines()) == 1
    assert {path.name for path in mine.iterdir()} == {"request.json", "checkpoint.safetensors"}
    assert {path.name for path in tmp_path.iterdir()} == {name, mine.name}


def test_force_replaces_only_its_own_kind(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model.h5"
    shutil.copytree(made / "vae", model)
    before = digest(model)
    data = str(made / "data.h5")
    for verb in ("evaluate", "compare"):
        assert cli.main([verb, data, data, "-o", str(model), "--force"]) == 2
        told = capsys.readouterr().err
        assert told.startswith(f"fastv {verb}: {model} is a model and is not replaced by a report, even with --force;")
    shutil.copy(made / "data.h5", tmp_path / "data.onnx")
    assert cli.main(["export", str(model), "-o", str(tmp_path / "data.onnx"), "--force"]) == 2
    assert "data.onnx is an HDF5 file and is not replaced by an ONNX graph" in capsys.readouterr().err
    assert cli.main(["generate", str(model), "-n", "5", "--energy", "50GeV", "-o", str(model), "--force"]) == 2
    assert "is a model and is not replaced by a file of showers" in capsys.readouterr().err
    assert digest(model) == before


def test_quiet_and_verbose(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = arguments("train", made, tmp_path / "out")
    assert cli.main([*command, "--verbose"]) == 0
    told = capsys.readouterr().err.splitlines()
    assert [line.partition("; ")[2].partition(":")[0] for line in told] == ["epoch 0", "epoch 1"]
    assert cli.main([*command, "--force", "-q"]) == 0
    assert capsys.readouterr().err == ""


def test_nothing_finished_is_lost() -> None:
    """The benchmark of kills and of damaged files, at a size that is quick: one family, some damaged files."""
    script = Path(__file__).parents[2] / "benchmarks" / "kills.py"
    small = ["--kills", "0", "--families", "autoencoder", "--every", "3", "--mutations", "15"]
    done = subprocess.run(
        [sys.executable, str(script), *small],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.stderr == ""
    told = json.loads(done.stdout)
    assert {name: part["wrong"] for name, part in told.items()} == {"kills": [], "events": [], "mutations": []}
    assert told["events"]["of"]["autoencoder"] > 6
    assert told["mutations"]["cases"] == 15
    assert done.returncode == 0
