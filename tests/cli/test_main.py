"""The command line as a whole: help, version, exit codes, and never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastv import __version__, cli
from fastv.errors import FastVError
from fastv.sample import sample_path


def fastv(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fastv", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)  # type: ignore[call-overload,no-any-return]


def test_python_m_fastv_is_fastv() -> None:
    done = fastv("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"fastv {__version__}\n", "")


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, "1000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, None),
    ],
)
def test_threads_do_not_wait_actively_for_long(own: dict[str, str], expected: str | None) -> None:
    """OpenMP reads this when PyTorch is imported, which therefore comes later."""
    script = "import os, sys, fastv.cli; assert 'torch' not in sys.modules; fastv.cli.main(['models']); "
    script += "print(os.environ.get('GOMP_SPINCOUNT'), file=sys.stderr)"
    inherited = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**inherited, **own},
    )
    assert done.stderr.split()[-1] == str(expected)


def test_the_installed_command() -> None:
    command = Path(sys.executable).with_name("fastv")
    if not command.exists():
        pytest.skip("the package is not installed as a command")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == f"fastv {__version__}\n"


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--help"])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    names = [verb.__name__.rpartition(".")[2].replace("_", "-") for verb in cli.VERBS]
    assert "info" in names
    assert all(name in out for name in names)


@pytest.mark.parametrize("verb", [verb.__name__.rpartition(".")[2].replace("_", "-") for verb in cli.VERBS])
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main([verb, "--help"])
    assert stopped.value.code == 0
    assert f"usage: fastv {verb}" in capsys.readouterr().out


def test_help_needs_none_of_the_heavy_packages() -> None:
    code = (
        "import sys, fastv\nfrom fastv import cli\n"
        "try: cli.main(['--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'numpy', 'torch', 'h5py', 'scipy', 'matplotlib', 'pydantic', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "fastv: the following arguments are required: VERB (see 'fastv --help')"),
        (["evalute"], "fastv: unknown verb 'evalute'; did you mean evaluate? (see 'fastv --help')"),
        (["zzz"], "fastv: unknown verb 'zzz' (see 'fastv --help')"),
        (["info"], "fastv info: the following arguments are required: FILE|NAME (see 'fastv info --help')"),
        (
            ["info", "a", "--mseh=b"],
            "fastv info: unknown option --mseh; did you mean --mesh? (see 'fastv info --help')",
        ),
        (["info", "a", "--colour"], "fastv info: unknown option --colour (see 'fastv info --help')"),
        (["info", "a", "b"], "fastv info: unexpected argument 'b' (see 'fastv info --help')"),
        (
            ["bench", "m", "--threads", "two"],
            "fastv bench: argument --threads: a whole number is needed, as in 1000, not 'two' "
            "(see 'fastv bench --help')",
        ),
    ],
)
def test_wrong_words_are_one_line_with_a_suggestion(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr() == ("", line + "\n")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (FastVError("what came and what is allowed"), 2, "fastv info: what came and what is allowed\n"),
        (KeyboardInterrupt(), 130, "fastv info: interrupted\n"),
    ],
)
def test_errors_are_one_line(
    error: BaseException,
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def failing(_: object) -> None:
        raise error

    monkeypatch.setattr("fastv.cli.info.run", failing)
    assert cli.main(["info", "anything"]) == code
    assert capsys.readouterr() == ("", line)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes differ there")
def test_a_reader_that_leaves_early_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "fastv", "info", str(sample_path("train"))]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
