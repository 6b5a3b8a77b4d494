"""The built site, where `make docs` has been: it works without a network, and nothing is left over or missing."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

SITE = Path(__file__).parents[2] / "build" / "site"
pytestmark = pytest.mark.skipif(not (SITE / "searchindex.js").is_file(), reason="the site is not built: make docs")


class Page(HTMLParser):
    """Which addresses a page loads, where its links lead, and which places it offers for links."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.places: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if "id" in attributes:
            self.places.add(attributes["id"])
        if tag == "a":
            self.links.append(attributes.get("href", ""))
        elif tag == "link" and attributes.get("rel") in ("stylesheet", "preload", "icon", "shortcut icon"):
            self.loads.append(attributes["href"])
        elif "src" in attributes:
            self.loads.append(attributes["src"])


@pytest.fixture(scope="module")
def pages() -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(SITE.rglob("*.html"))}


def test_nothing_is_loaded_from_the_network(pages: dict[Path, Page]) -> None:
    foreign = [(path.name, url) for path, page in pages.items() for url in page.loads if re.match(r"(https?:)?//", url)]
    assert foreign == []
    for sheet in SITE.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet.name


def test_what_is_loaded_and_linked_is_there(pages: dict[Path, Page]) -> None:
    missing = []
    for path, page in pages.items():
        for url in [*page.loads, *page.links]:
            name, _, place = unquote(url).partition("#")
            if re.match(r"[a-z]+:", name) or (path.name in ("search.html", "genindex.html") and not name):
                continue
            target = (path.parent / name.partition("?")[0]).resolve() if name else path
            if not target.is_file() or (place and target in pages and place not in pages[target].places):
                missing.append((path.relative_to(SITE).as_posix(), url))
    assert missing == []


def test_the_search_knows_the_pages() -> None:
    index = (SITE / "searchindex.js").read_text(encoding="utf-8")
    for word in ("glossary", "tutorial", "cards/par04-siw", "api/evaluation", "howto/calochallenge"):
        assert f'"{word}"' in index
