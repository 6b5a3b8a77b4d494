"""What extras install."""

from __future__ import annotations

import importlib.metadata
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from fastv.installation import how_to_install, packages_of_extras

ROOT = Path(__file__).parents[1]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
SINGLE = sorted(name for name, packages in EXTRAS.items() if not any("fastv-hep" in each for each in packages))


@pytest.mark.parametrize("extra", SINGLE)
def test_the_command_names_every_package_of_an_extra(extra: str) -> None:
    def plain(text: str) -> str:
        return re.sub(r"[-_.]+", "-", text).lower()

    pip, install, *asked = shlex.split(how_to_install(extra))
    assert (pip, install) == ("pip", "install")
    assert {plain(each) for each in asked} == {plain(each) for each in EXTRAS[extra]}


def test_no_message_asks_for_a_package_that_no_index_has() -> None:
    told = [path.name for path in (ROOT / "src").rglob("*.py") if re.search(r"install '?fastv", path.read_text())]
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    told += [path.name for path in pages if re.search(r"install '?fastv", path.read_text(encoding="utf-8"))]
    assert told == []


def test_a_source_tree_without_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: str) -> None:
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr("importlib.metadata.requires", none)
    assert packages_of_extras() == {}
    assert how_to_install("geant4") == "install FastV with its extra 'geant4'"
