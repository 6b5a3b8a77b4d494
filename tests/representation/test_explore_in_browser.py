"""The page of codes in a real browser: points, showers, neighbours, walks and the table; on a desk and on a phone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastv.detector.detector import Detector
from fastv.detector.mesh import LayerBlock, ReadoutMesh
from fastv.display import Event
from fastv.display.scene import colour_range
from fastv.evaluation.observables.observe import observe
from fastv.model import Model
from fastv.representation.explore import Explored, explore
from fastv.representation.explore_page import packed_hits
from fastv.showers import Showers
from helpers import model_of


@pytest.fixture(scope="module")
def showers(make_showers: Callable[..., Showers]) -> Showers:
    """At angles and of two particles, which the page has colours for."""
    rng = np.random.default_rng(2)
    pdg = rng.choice([11, 22], 40).astype(np.int32)
    return replace(make_showers(40, seed=2), theta=rng.uniform(0.8, 1.5, 40), pdg=pdg)


@pytest.fixture(scope="module")
def model(showers: Showers) -> Model:
    return model_of("vae", showers, conditions=("energy", "theta", "particle"))


@pytest.fixture(scope="module")
def explored(model: Model, showers: Showers, tmp_path_factory: pytest.TempPathFactory) -> Explored:
    folder = tmp_path_factory.mktemp("page")
    showers.write(folder / "showers.h5")
    return explore(model, folder / "showers.h5", folder / "page.html")


READY = "await window.fastvExplore.ready; window.ex = document.querySelector('#explore').explorer;"


@pytest.fixture
def opened(browser: Any, explored: Explored) -> Iterator[Any]:
    """The browser with the page, as after loading; it has complained about nothing in the end."""
    if browser.js("return location.href") != explored.output.as_uri():
        browser.open(explored.output)
    browser.js(f"{READY} ex.choose(0)")
    yield browser
    assert browser.problems() == []


def shown(browser: Any, scene: int) -> np.ndarray[Any, Any]:
    """The voxel energies of one scene."""
    voxels, energies = browser.js(
        f"const e = view.scenes[{scene}].event; return [Array.from(e.voxels), Array.from(e.energies)]"
    )
    found = np.zeros(24)
    found[voxels] = energies
    return found


def test_a_click_on_a_point_shows_its_shower(opened: Any, showers: Showers, model: Model) -> None:
    x, y = opened.js(
        "document.querySelector('#scatter').scrollIntoView({block: 'center'});"
        "await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));"
        "const box = ex.canvas.getBoundingClientRect(); return [box.x + ex.places[7][0], box.y + ex.places[7][1]]"
    )
    opened.mouse("mouseMoved", x, y)
    assert "shower 7" in opened.js("return document.querySelector('#tip').textContent")
    opened.mouse("mousePressed", x, y, button="left", clickCount=1, buttons=1)
    opened.mouse("mouseReleased", x, y, button="left", clickCount=1)
    assert opened.js("return ex.chosen") == 7
    opened.drawn()
    np.testing.assert_allclose(shown(opened, 0), showers.energies[7], rtol=0.03)
    made = model.reconstruct(showers[7:8]).energies[0]
    np.testing.assert_allclose(shown(opened, 1), made, rtol=0.04)
    titles = opened.js("return Array.from(document.querySelectorAll('.fastv-title'), (e) => e.textContent)")
    assert titles == ["shower 7", "shower 7, reconstructed"]
    low, high = colour_range([Event("", "", "", np.arange(24), e[e > 0]) for e in (shown(opened, 0), shown(opened, 1))])
    assert opened.js("return view.range") == pytest.approx([low, high], rel=1e-4)
    assert "theta" in opened.js("return document.querySelector('#told').textContent")


def test_profiles_are_those_of_the_shower(opened: Any, showers: Showers) -> None:
    profile = opened.js("const p = ex.shownProfiles[0]; return [Array.from(p.layers), Array.from(p.rings)]")
    seen = observe(showers[:1])
    np.testing.assert_allclose(profile[0], seen.layer_energies[0], rtol=0.03, atol=1e-3)
    np.testing.assert_allclose(profile[1], seen.ring_energies[0], rtol=0.03, atol=1e-3)


def test_hits_are_unpacked(opened: Any) -> None:
    """Those with more than 255 empty voxels before them too."""
    energies = np.zeros((4, 3000), np.float32)
    energies[0, [0, 255, 256, 900, 2999]] = [1.0, 30.0, 2.0, 4.0, 1000.0]
    energies[2, 2999] = 5.0
    energies[3, [254, 510, 1021]] = 1.0
    arrays = {name: values.tolist() for name, values in packed_hits(energies).items()}
    found = opened.js(
        f"const arrays = {json.dumps(arrays)}, own = [ex.data.arrays, ex.hits];"
        "ex.data.arrays = arrays; ex.hits = ex.starts(arrays.hits, arrays.gaps);"
        "const all = arrays.hits.map((_, k) => ex.shower(k)).map((s) => [[...s.voxels], [...s.energies]]);"
        "[ex.data.arrays, ex.hits] = own; return all"
    )
    for row, (voxels, values) in enumerate(found):
        assert voxels == np.flatnonzero(energies[row]).tolist()
        np.testing.assert_allclose(values, energies[row, voxels], rtol=0.03)
        assert sum(values) == pytest.approx(float(energies[row].sum()), rel=1e-5)


def test_neighbours_are_shown_and_chosen(opened: Any, showers: Showers, model: Model) -> None:
    codes = model.encode(showers).matrix
    away = np.linalg.norm(codes - codes[0], axis=1)
    nearest = np.argsort(away)[1:7]
    names = opened.js("return Array.from(document.querySelectorAll('#neighbours tr[data-number]'), (e) => e.innerText)")
    assert [name.split()[1] for name in names] == [str(row) for row in nearest]
    opened.js("document.querySelector('#neighbours td button').click()")
    np.testing.assert_allclose(shown(opened, 1), showers.energies[nearest[0]], rtol=0.03)
    opened.js("document.querySelector('#neighbours td + td button').click()")
    assert opened.js("return ex.chosen") == nearest[0]


def test_a_slider_walks_a_dimension(opened: Any, model: Model, showers: Showers, explored: Explored) -> None:
    row = opened.js(
        "const { input } = ex.sliders.get(1); input.value = 12;"
        "input.dispatchEvent(new Event('input')); return ex.chosen"
    )
    codes = model.encode(showers)
    group = codes.groups["latent"]
    place = int(explored.dimensions[1].name.split()[1]) - 1
    assert group.scale is not None
    spread = np.sqrt(group.mean.var(axis=0) + np.square(group.scale).mean(axis=0))
    moved = group.mean[row : row + 1].copy()
    moved[0, place] += 3 * spread[place]
    made = model.decode({"latent": moved}, showers.conditions[np.array([row])]).energies[0]
    np.testing.assert_allclose(shown(opened, 1), made, rtol=0.04)
    np.testing.assert_allclose(shown(opened, 0), model.reconstruct(showers[row : row + 1]).energies[0], rtol=0.04)
    told, others = opened.js(
        "return [ex.sliders.get(1).output.textContent, [...ex.sliders.values()].map((s) => s.input.valueAsNumber)]"
    )
    assert told == "+3 σ"
    assert others == [6, 12, 6, 6]
    # The mark is where the code is.
    marked, place_there = opened.js("const y = ex.axis('y'); return [ex.alongWalk(y), ex.walked !== null && y.name]")
    assert place_there == explored.dimensions[1].name
    assert marked == pytest.approx(float(moved[0, place]), rel=1e-4)
    opened.js("document.querySelector('#home').click()")
    assert opened.js("return ex.beside.kind") == "reconstruction"


def test_keys_step_along_the_axes(opened: Any) -> None:
    opened.js("ex.canvas.focus()")
    for kind in ("keyDown", "keyUp"):
        opened.call("Input.dispatchKeyEvent", type=kind, key="ArrowRight", code="ArrowRight", windowsVirtualKeyCode=39)
    before, after = opened.js("const v = ex.axis('x').values; return [v[0], v[ex.chosen]]")
    rest = opened.js("return Array.from(ex.axis('x').values)")
    assert after == min((value for value in rest if value > before), default=before)


def test_colours_and_the_table(opened: Any, explored: Explored) -> None:
    names = opened.js("return ex.quantities.map((q) => q.name)")
    assert {"incident energy", "theta", "particle", "layer of maximum", "reconstruction error"} <= set(names)
    pick = "const s = document.querySelector('#colour'); s.value = {}; s.onchange();"
    opened.js(pick.format(names.index("particle")))
    assert opened.js("return document.querySelector('#legend').innerText").split() == ["e-", "gamma"]
    opened.js(pick.format(0))
    head = opened.js("return [...document.querySelectorAll('#table thead th')].map((e) => e.innerText)")
    read = "return [...document.querySelectorAll('#table tbody tr')].map((r) => [...r.cells].map((c) => c.innerText))"
    for expected in ("at_energy", "correlations"):
        rows = opened.js(read)
        assert len(rows) == len(explored.dimensions) == 4
        for row, one in zip(rows, explored.dimensions, strict=True):
            told = dict(zip(head, row, strict=True))
            assert told[""] == one.name
            assert told["active"] == ("yes" if one.active else "no")
            for name, value in getattr(one, expected).items():
                assert told[name] == ("–" if value is None else f"{value:.2f}".replace("-0.00", "0.00"))
        opened.js("document.querySelector('#fixed').click()")


@pytest.mark.parametrize("width", [380, 1300])
def test_fits_a_phone_and_a_desk(browser: Any, explored: Explored, width: int) -> None:
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 500)
    try:
        browser.open(explored.output)
        browser.js(READY)
        assert browser.js("return document.documentElement.scrollWidth") <= width
        wide = browser.js(
            "return [...document.querySelectorAll('body *')].filter((e) => !e.closest('.scroll, svg')"
            f" && e.getBoundingClientRect().right > {width} + 1).map((e) => e.outerHTML.slice(0, 99))"
        )
        assert wide == []
        beside = browser.js(
            "return [...document.querySelectorAll('.codes, .fastv-view')].map((e) => e.getBoundingClientRect().x)"
        )
        assert (beside[0] < beside[1]) is (width > 500)
        assert browser.problems() == []
    finally:
        browser.call("Emulation.clearDeviceMetricsOverride")


def test_layers_of_different_cells(
    browser: Any, make_showers: Callable[..., Showers], tiny_detector: Detector, tmp_path: Path
) -> None:
    """Voxels of the wide rings are shared among the narrow ones."""
    rings = LayerBlock(layers=1, alpha_cells=1, r_edges=(0.0, 5.0, 10.0, 40.0))
    fine = LayerBlock(layers=3, alpha_cells=7, r_edges=(0.0, 2.0, 10.0, 20.0), first_id=3)
    detector = tiny_detector.model_copy(update={"mesh": ReadoutMesh(blocks=(rings, fine))})
    energies = np.random.default_rng(3).gamma(0.5, 100.0, (12, 66)).astype(np.float32)
    sample = replace(make_showers(12), detector=detector, energies=energies)
    sample.write(tmp_path / "showers.h5")
    explore(model_of("vae", sample), tmp_path / "showers.h5", tmp_path / "page.html")
    browser.open(tmp_path / "page.html")
    browser.js(f"{READY} ex.choose(5)")
    test_profiles_are_those_of_the_shower(browser, sample[5:6])
    assert browser.problems() == []


def test_without_webgl_the_rest_is_there(browser: Any, explored: Explored) -> None:
    source = """const get = HTMLCanvasElement.prototype.getContext;
        HTMLCanvasElement.prototype.getContext = function (kind) {
            return kind === "2d" ? get.call(this, kind) : null;
        }"""
    script = browser.call("Page.addScriptToEvaluateOnNewDocument", source=source)["identifier"]
    try:
        browser.open(explored.output)
        browser.js(f"{READY} ex.walk(1, 2)")
        assert "WebGL 2" in browser.js("return document.body.innerText")
        assert browser.js("return document.querySelectorAll('#profiles path').length") == 4
        assert browser.problems() == []
    finally:
        browser.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)
        browser.call("Page.navigate", url="about:blank")
