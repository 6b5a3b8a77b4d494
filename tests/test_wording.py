"""Short texts of values, errors and numbers."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import fastv
from fastv.progress import Bar
from fastv.wording import counted, one_line, shortened

SOURCE = Path(fastv.__file__).parent


@pytest.mark.parametrize(
    ("n", "nouns", "text"),
    [
        (0, ("shower",), "no shower"),
        (1, ("shower",), "1 shower"),
        (2, ("shower",), "2 showers"),
        (1, ("copy", "copies"), "1 copy"),
        (3, ("copy", "copies"), "3 copies"),
    ],
)
def test_numbers_have_their_nouns(n: int, nouns: tuple[str, ...], text: str) -> None:
    assert counted(n, *nouns) == text


def test_a_line_of_progress_of_one() -> None:
    with Bar(total=1, desc="generating", unit="shower", disable=True) as bar:
        assert bar.line().startswith("generating: 0 of 1 shower, 0 %")


def test_plurals_are_not_written_by_hand() -> None:
    """``"s" if n != 1 else ""`` and ``shower(s)`` stand nowhere; :func:`counted` does it."""
    by_hand = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in sorted(SOURCE.rglob("*.py"))
        if path.name != "wording.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.IfExp) and "s" in {getattr(each, "value", None) for each in (node.body, node.orelse)})
        or (isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search(r"[a-z]{4}\(s\)", node.value))
    ]
    assert not by_hand


def test_long_values_are_cut() -> None:
    assert shortened("a" * 200) == f"{'a' * 100}..."
    assert one_line(ValueError("")) == "ValueError"
