"""Links between pages, to files of the repository and to headings lead somewhere."""

from __future__ import annotations

import importlib
import json
import re
from functools import cache
from pathlib import Path

import pytest

import fastv

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "docs").rglob("*.ipynb"))]


@cache
def text(path: Path) -> str:
    """A page without its code."""
    content = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(content)["cells"]
        content = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return re.sub(r"^```(?!\{glossary\}).*?^```$", "", content, flags=re.MULTILINE | re.DOTALL)


@cache
def anchors(path: Path) -> set[str]:
    """Anchors of the headings of a page, as GitHub and MyST make them."""
    found: dict[str, int] = {}
    for title in re.findall(r"^#{1,6} (.+)$", text(path), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", title).strip().lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found[anchor] = found.get(anchor, -1) + 1
    return {f"{name}-{n}" if n else name for name, last in found.items() for n in range(last + 1)}


def links(path: Path) -> list[str]:
    """Targets of the links and pictures of a page, other than addresses."""
    prose = re.sub(r"`[^`\n]*`", "code", text(path))
    targets = re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r'(?:src|href)="([^"]+)"', prose)
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    wrong = []
    for target in links(path):
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            wrong.append(target)
    assert wrong == []


def test_every_page_is_in_the_index() -> None:
    docs = ROOT / "docs"
    listed = set()
    for index in (docs / "index.md", docs / "api" / "index.md"):
        trees = re.findall(r"```\{toctree\}\n(.*?)```", index.read_text(encoding="utf-8"), re.DOTALL)
        names = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]
        listed |= {(index.parent / name).relative_to(docs).as_posix() for name in names}
    pages = {path.relative_to(docs).with_suffix("").as_posix() for path in PAGES if path.is_relative_to(docs)}
    assert listed == pages - {"index"}
    assert not pages & {"search", "genindex"}  # which the site has itself


def test_pictures_are_used_and_small() -> None:
    shown = {(path.parent / target).resolve() for path in PAGES for target in links(path)}
    pictures = [path for path in (ROOT / "docs" / "images").rglob("*") if path.is_file()]
    assert [path.name for path in pictures if path not in shown] == []
    assert sum(path.stat().st_size for path in pictures) < 3e6


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "api").glob("*.md")), ids=lambda p: p.stem)
def test_the_api_reference_names_what_is_there(path: Path) -> None:
    content = path.read_text(encoding="utf-8")
    for name in re.findall(r"auto(?:function|class):: (\S+)", content) + re.findall(r"\{py:\w+\}`([\w.]+)`", content):
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name
    for name in re.findall(r"automodule:: (\S+)", content):
        importlib.import_module(name)


def test_the_api_reference_has_every_public_name() -> None:
    public = {f"fastv.{name}" for name in fastv.__all__ if name != "__version__"}
    described = set()
    for path in (ROOT / "docs" / "api").glob("*.md"):
        described |= set(re.findall(r"auto(?:function|class):: (\S+)", path.read_text(encoding="utf-8")))
    errors = {"fastv.FastVError"}  # in the module of all errors
    assert public - errors <= described
