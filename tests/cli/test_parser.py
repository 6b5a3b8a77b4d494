"""The parsers of the verbs: flags for the parameters of public functions, and what a shell completes."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from fastv import cli
from fastv.conditions.table import CONDITIONS

ONLY_IN_PYTHON = {
    "evaluate": {"announce"},
    "train": {"teacher"},
}
"""Parameters without an option: results and objects that a shell cannot hand over."""

ONLY_OPTIONS = {
    "export": {"check"},
    "fastsim": {"production_cut"},
    "simulate": {"production_cut"},
    "train": {"print_config"},
}
"""The production cut is in ``physics``, a recipe is printed in place of a training, and a file is checked in place of
an export."""


def parameters_of(function: str) -> set[str]:
    """The names of what a public function takes; a method also takes its object, and keywords are conditions."""
    parts = function.split(".")
    depth = next(n for n in range(len(parts) - 1, 0, -1) if find_spec_of(".".join(parts[:n])))
    found: Any = import_module(".".join(parts[:depth]))
    for name in parts[depth:]:
        found = getattr(found, name)
    names = set(inspect.signature(found).parameters)
    if "self" in names:
        names = names - {"self"} | {"model"}
    if "conditions" in names:
        names = names - {"conditions"} | {name for name, condition in CONDITIONS.items() if condition.on_request}
    return names


def find_spec_of(module: str) -> bool:
    """Whether there is a module of this name."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize(("function", "verb"), cli.functions().items())
def test_options_are_the_parameters_of_the_function(function: str, verb: str) -> None:
    parameters = parameters_of(function)
    options = {action.dest for action in cli.command_line()[1][verb]._actions} - {"help", "json", "quiet", "verbose"}
    assert options - ONLY_OPTIONS.get(verb, set()) == parameters - ONLY_IN_PYTHON.get(verb, set())


@pytest.mark.parametrize(
    ("verb", "message", "told"),
    [
        ("generate", "pass `extrapolate=True`", "pass --extrapolate"),
        ("generate", "give `n=...`, or `like=...`", "give -n N, or --like FILE"),
        ("convert", "choose `to_format`, leave `input_scale` out", "choose --to, leave --input-scale out"),
        ("bench", "the `options` of `model`", "the --set of MODEL|FILE.onnx"),
        ("distill", "`settings` of the student, `options` of the teacher", "--set of the student, --teacher-set of"),
        ("view", "`mesh='par04 siw'`", "--mesh 'par04 siw'"),
        ("demo", "`mesh` means nothing here", "`mesh` means nothing here"),
        ("bench", "see `fastv.export.export`, not `fastv.nothing`", "see fastv export, not `fastv.nothing`"),
    ],
)
def test_messages_in_the_words_of_the_command_line(verb: str, message: str, told: str) -> None:
    assert cli.command_line()[1][verb].translated(message, cli.functions()).startswith(told)


def completions(line: str, folder: Path) -> set[str]:
    """What a shell would offer at the end of a line, asked as argcomplete's shell code asks."""
    code = "import os, sys\nsys.argv[0] = 'fastv'\nos.dup2(1, 8)\nfrom fastv.cli import main\nmain()"
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **asked, "_ARGCOMPLETE_SUPPRESS_SPACE": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(done.stdout.split())


def test_a_shell_completes_verbs_options_and_files(tmp_path: Path) -> None:
    pytest.importorskip("argcomplete")
    (tmp_path / "showers.h5").touch()
    assert completions("fastv ev", tmp_path) == {"evaluate"}
    assert completions("fastv evaluate --cl", tmp_path) == {"--classifiers"}
    assert completions("fastv info sho", tmp_path) == {"showers.h5"}
