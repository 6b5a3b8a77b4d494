"""Messages of the library speak of parameters and functions; flags and verbs are the command line's alone."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastv import cli
from fastv.errors import FastVError, ModelError, TrainingError
from fastv.runtime import Runtime

SOURCE = Path(__file__).parents[1] / "src" / "fastv"
FILES = [path for path in sorted(SOURCE.rglob("*.py")) if "cli" not in path.relative_to(SOURCE).parts]

VERBS = "|".join(cli.command_line()[1])
OF_THE_COMMAND_LINE = re.compile(rf"(?<![\w<!-])--(?=[a-z\0])|(?<![\w.])-[no]\b|\bfastv (?:{VERBS})\b")
ALLOWED = {
    ("evaluation/report/reproduction.py", "-o"): "the command line that makes a report again",
    ("evaluation/report/reproduction.py", "--train"): "the same",
    ("evaluation/report/reproduction.py", "--\0"): "the same",
    ("simulation/data_sets.py", "--force"): "calzone's command line",
}
NOT_MESSAGES = {"display/page.py"}
"""Templates, whose style sheets name variables as flags are named."""


def texts(path: Path) -> Iterator[str]:
    """The strings of a module that are no docstrings, with a null character for each value that is put in."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not {id(node)} & (alone | parts):
            yield node.value


def test_no_message_names_a_flag_or_a_verb() -> None:
    found = {
        (path.relative_to(SOURCE).as_posix(), text)
        for path in FILES
        for text in texts(path)
        if OF_THE_COMMAND_LINE.search(text)
    }
    assert {(name, text) for name, text in found if name not in NOT_MESSAGES} == set(ALLOWED)


@pytest.mark.parametrize("text", ["pass --force", "--\0 is", "give -n N", "as fastv generate does", "[--mesh M]"])
def test_flags_and_verbs_are_recognised(text: str) -> None:
    assert OF_THE_COMMAND_LINE.search(text)


def test_every_reference_is_one_that_the_command_line_knows() -> None:
    parameters = {action.dest for parser in cli.command_line()[1].values() for action in parser._actions}
    # Which is for programs, and has no verb.
    parameters |= {name for call in (Runtime, Runtime.generate) for name in inspect.signature(call).parameters}
    references = {
        (path.name, reference)
        for path in FILES
        for text in texts(path)
        for reference in re.findall(r"`([^`]+)`", text)
        if not reference.startswith("\0")
    }
    assert len(references) > 30
    for name, reference in references:
        known = reference in cli.functions() or reference.partition("=")[0] in parameters
        assert known, f"{name}: {reference}"


@pytest.mark.parametrize("kind", [FastVError, ModelError, TrainingError])
def test_a_message_is_one_line_whatever_it_quotes(kind: type[FastVError]) -> None:
    """A file may hold any text where a name or a digest is expected."""
    assert str(kind("unknown 'a\nb\x1b[1m\u2028'; known: ±, é")) == "unknown 'a\\nb\\x1b[1m\\u2028'; known: ±, é"
