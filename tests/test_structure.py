"""The plan of the house: ``docs/map.md`` lists every module from the top floor down, and imports point downwards."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest

import fastv

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "fastv"
MAP = (ROOT / "docs" / "map.md").read_text(encoding="utf-8")
FILES = {path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py")}


def section(title: str) -> str:
    """The text of one section of the map."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", MAP, re.MULTILINE | re.DOTALL)
    assert found is not None, f"docs/map.md has no section {title!r}"
    return found.group(1)


LISTED = re.findall(r"^\| \[`[^`]*`\]\(\.\./src/fastv/([^)]+)\)", section("Every module"), re.MULTILINE)
PLACE = {name: place for place, name in enumerate(LISTED)}


def file_of(module: str) -> str | None:
    """The file of a module of ours, None for a name that is none."""
    parts = module.split(".")
    if parts[0] != "fastv":
        return None
    inside = "/".join(parts[1:])
    return next((name for name in (f"{inside}.py", f"{inside}/__init__.py".lstrip("/")) if name in FILES), None)


def imported(source: str) -> Iterator[str]:
    """The files that a module imports: at once, inside a function, or for the type checker alone."""
    for node in ast.walk(ast.parse((SOURCE / source).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found = [file_of(alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}: relative import"
            found = [file_of(f"{node.module}.{alias.name}") or file_of(node.module or "") for alias in node.names]
        else:
            continue
        yield from (name for name in found if name is not None)


def test_the_map_lists_every_module_once() -> None:
    assert sorted(LISTED) == sorted(FILES)


def test_a_room_is_in_one_place_of_the_map() -> None:
    def room(name: str) -> str:
        return name.partition("/")[0]

    rooms = [key for key, _ in groupby(LISTED, room)]
    assert sorted(rooms) == sorted(set(rooms))


@pytest.mark.parametrize("source", sorted(FILES))
def test_imports_point_downwards_only(source: str) -> None:
    upwards = {name for name in imported(source) if PLACE[name] <= PLACE[source] and name != source}
    assert not upwards


def test_public_names_are_those_of_the_map() -> None:
    documented = re.findall(r"^\| `fastv\.(\w+)", section("Public names"), re.MULTILINE)
    assert sorted(documented) == sorted(set(fastv.__all__) - {"__version__"})
    assert len(documented) == 16


def test_long_files_have_a_reason() -> None:
    long = {name for name in FILES if len((SOURCE / name).read_text(encoding="utf-8").splitlines()) > 500}
    explained = set(re.findall(r"^\* `([^`]+)`: \S", section("Long files"), re.MULTILINE))
    assert explained == long
