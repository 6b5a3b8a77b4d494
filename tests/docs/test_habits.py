"""Files in the root of the repository that speak of the package, against the package."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from fastv import __version__
from fastv.cli import VERBS
from fastv.model import shipped_models

ROOT = Path(__file__).parents[2]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def script(name: str) -> ModuleType:
    """A script of the repository as a module."""
    spec = importlib.util.spec_from_file_location(Path(name).stem, ROOT / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load(read("CITATION.cff"))
    assert str(citation["version"]) == __version__
    assert citation["license"] == tomllib.loads(read("pyproject.toml"))["project"]["license"]


def test_the_change_log_has_this_version() -> None:
    assert re.search(rf"^## .*\b{re.escape(__version__)}\b", read("CHANGELOG.md"), re.MULTILINE)


def test_pre_commit_runs_what_make_lint_runs() -> None:
    (repo,) = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    (hook,) = repo["hooks"]
    assert repo["repo"] == "local"
    assert hook["language"] == "system"
    assert hook["entry"].split()[0] == "make"
    assert hook["entry"].split()[-1] == "lint"


def test_targets_of_make_that_are_spoken_of_are_there() -> None:
    targets = set(re.findall(r"^([\w-]+):", read("Makefile"), re.MULTILINE))
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    named = {target for page in pages for target in re.findall(r"\bmake ([\w-]+)`", page.read_text(encoding="utf-8"))}
    assert named - {"lint`"} <= targets


def test_every_package_of_an_extra_is_pinned() -> None:
    def plain(name: str) -> str:
        return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=;]", name)[0]).lower()

    project = tomllib.loads(read("pyproject.toml"))["project"]
    asked = {plain(name) for names in project["optional-dependencies"].values() for name in names}
    asked |= {plain(name) for name in project["dependencies"]}
    pinned = {plain(line) for line in read("constraints.txt").splitlines() if "==" in line}
    assert asked - pinned - {"fastv-hep", "tensorboard"} == set()


def test_the_index_names_every_verb() -> None:
    table = read("docs/index.md")
    for verb in VERBS:
        name = verb.__name__.rpartition(".")[2]
        assert f"| `fastv {name}" in table, name


@pytest.mark.parametrize("name", shipped_models())
def test_the_card_of_a_shipped_model_tells_its_description(name: str) -> None:
    card = read(f"docs/cards/{name}.md")
    assert script("docs/model_cards.py").written(card, name) == card
