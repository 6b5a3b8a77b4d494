"""The page holds all it needs, and nothing in it loads from elsewhere."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from fastv.display import fragment, page, shared_assets, shower_panel
from fastv.display.cells import cell_bounds
from fastv.showers import Showers

Make = Callable[..., Showers]


class Elements(HTMLParser):
    """Counts elements, collects what they refer to, and sees that all are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.count: dict[str, int] = {}
        self.references: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        self.references += [value or "" for name, value in attrs if name in {"src", "href", "action", "data"}]
        if tag not in {"meta", "link"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def data_of(html: str) -> dict[str, Any]:
    match = re.search(r'<script type="application/json">(.*?)</script>', html)
    assert match
    data: dict[str, Any] = json.loads(match[1])
    return data


def unpacked(text: str, dtype: str) -> np.ndarray[Any, Any]:
    return np.frombuffer(base64.b64decode(text), dtype=dtype)


def test_nothing_is_loaded(geant4: Showers) -> None:
    html = page(shower_panel(geant4, "Geant4"), title="A <b> & C")
    elements = Elements(html)
    assert elements.open == []
    assert all(reference.startswith("data:") for reference in elements.references)
    addresses = set(re.findall(r"https?://[^\"'\s)]*", html))
    assert addresses == {"http://www.w3.org/2000/svg"}  # the name of a language, not loaded
    assert not re.search(r"\b(fetch|import|XMLHttpRequest|WebSocket|eval|Function)\s*\(|@import|url\(", html)
    assert "<title>A &lt;b&gt; &amp; C</title>" in html
    assert "b" not in elements.count
    assert len(html) < 400_000


def test_page_holds_the_energies_of_all_voxels(geant4: Showers) -> None:
    (panel,) = data_of(fragment(shower_panel(geant4)))["panels"]
    for event, energies in zip(panel["events"], geant4.energies, strict=True):
        voxels = unpacked(event["voxels"], "<u4")
        np.testing.assert_array_equal(voxels, np.flatnonzero(energies))
        np.testing.assert_array_equal(unpacked(event["energies"], "<f4"), energies[voxels])
    edges = np.array(panel["z"])
    bounds = cell_bounds(geant4.mesh)
    np.testing.assert_allclose(np.unique(bounds[:, 4:]), edges)
    assert [layer[0] for layer in panel["layers"]] == [16] * 45
    assert panel["layers"][0][1] == list(geant4.mesh.blocks[0].r_edges)


def test_one_script_serves_many_fragments(geant4: Showers) -> None:
    one, two = shower_panel(geant4[:1], "Geant4"), shower_panel(geant4[1:2], "generated")
    html = f"<!DOCTYPE html><html><body>{shared_assets()}{fragment([one, two])}{fragment(one)}</body></html>"
    elements = Elements(html)
    assert elements.open == []
    assert elements.count["script"] == 3  # the shared one, and the data of each view
    assert len(shared_assets()) < 60_000
    assert "viewer" not in fragment(one)
    data = data_of(html)
    assert [panel["title"] for panel in data["panels"]] == ["Geant4", "generated"]
    top = max(geant4.energies[0].max(), geant4.energies[1].max())
    assert data["ranges"][0][1] == float(top)


def test_words_of_a_file_cannot_end_the_data(make_showers: Make) -> None:
    showers = make_showers(1, provenance={"particle": "</script><img src=x>"})
    html = page(shower_panel(showers, "</script><b>"))
    elements = Elements(html)
    assert elements.open == []
    assert not {"img", "b"} & set(elements.count)
    (panel,) = data_of(html)["panels"]
    assert panel["title"] == "</script><b>"
    assert panel["events"][0]["heading"].startswith("</script><img src=x>")


def test_data_are_in_the_package() -> None:
    room = Path(__import__("fastv.display").__file__).parent / "display"
    assert {path.name for path in room.iterdir()} >= {"viewer.js", "viewer.css"}
