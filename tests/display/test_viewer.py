"""The page in a real browser: what is drawn, what the controls do, what the mouse tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastv.detector.detector import Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.display import Event, Panel, fragment, page, shared_assets, shower_panel
from fastv.display.camera import Camera
from fastv.display.cells import cell_bounds
from fastv.display.picture import farthest_first
from fastv.showers import Showers


@pytest.fixture(scope="module")
def pair(geant4: Showers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three showers beside the same in another order."""
    path = tmp_path_factory.mktemp("page") / "pair.html"
    other = geant4[np.array([1, 0, 2])]
    path.write_text(page([shower_panel(geant4, "Geant4"), shower_panel(other, "generated")]), encoding="utf-8")
    return path


@pytest.fixture
def opened(browser: Any, pair: Path) -> Any:
    """The browser with the pair of showers, as after loading."""
    if browser.js("return location.href") != pair.as_uri():
        browser.open(pair)
    browser.js("view.lookFrom('3D'); view.showEvent(0); view.setThreshold(0); document.activeElement.blur()")
    browser.mouse("mouseMoved", 2, 2)
    browser.drawn()
    return browser


def hits_above(energies: np.ndarray[Any, Any], threshold: float) -> int:
    return int((energies.astype(np.float64) >= threshold).sum())


def pixels(browser: Any, scene: int) -> np.ndarray[Any, Any]:
    """What one scene shows: (height, width, 3), from the top."""
    browser.drawn()
    x, y, width, height = browser.js(
        f"const box = view.scenes[{scene}].canvas.getBoundingClientRect();"
        "return [box.x, box.y, box.width, box.height].map(Math.round)"
    )
    shot: np.ndarray[Any, Any] = browser.screenshot()[y : y + height, x : x + width]
    return shot


def coloured(image: np.ndarray[Any, Any]) -> float:
    return float((np.ptp(image, axis=-1) > 0.2).mean())


def test_scenes_are_drawn_without_complaint(opened: Any, geant4: Showers) -> None:
    assert opened.problems() == []
    for scene in (0, 1):
        assert opened.js(f"return view.scenes[{scene}].gl instanceof WebGL2RenderingContext")
        assert 0.03 < coloured(pixels(opened, scene)) < 0.6
    words = opened.js("return document.querySelector('.fastv-view').innerText")
    assert "e-, 20.1 GeV, normal incidence" in words
    assert f"{np.count_nonzero(geant4.energies[0])} of 6480 voxels hit" in words
    assert "depth [mm]" in opened.js("return view.scenes[0].overlay.textContent")


def test_every_hit_is_drawn_once(opened: Any, geant4: Showers) -> None:
    opened.js("view.cut.click()")  # closed
    opened.drawn()
    order = opened.js("return Array.from(view.scenes[0].sorted)")
    assert sorted(order) == list(range(np.count_nonzero(geant4.energies[0])))
    opened.js("view.cut.click()")
    opened.drawn()
    alpha = cell_bounds(geant4.mesh)[np.flatnonzero(geant4.energies[0]), 2:4]
    away = (alpha[:, 0] >= np.pi / 2 - 1e-6).sum()  # the quarter above, on the viewer's side
    assert len(opened.js("return Array.from(view.scenes[0].sorted)")) == len(alpha) - away


@pytest.mark.parametrize("camera", [(-38, 20), (50, -30), (-90, 0)])
def test_cells_are_drawn_in_the_order_of_the_picture(opened: Any, geant4: Showers, camera: tuple[int, int]) -> None:
    """Layer by layer as in :func:`farthest_first`, in a layer towards the eye, in a sector ring by ring."""
    opened.js(f"view.cut.click(); [view.look.azimuth, view.look.elevation] = {list(camera)}; view.redraw()")
    opened.drawn()
    drawn, (x, y, z) = opened.js("return [Array.from(view.scenes[0].sorted), view.scenes[0].seen.eyeOnMesh]")
    bounds = cell_bounds(geant4.mesh)[np.flatnonzero(geant4.energies[0])]
    expected = farthest_first(bounds, Camera(0.0, 0.0, (z, y, -x), 0.0))
    np.testing.assert_array_equal(bounds[drawn, 4], bounds[expected, 4])
    alpha = bounds[:, 2:4].mean(axis=1)
    apart = np.abs((alpha - np.arctan2(y, x) + np.pi) % (2 * np.pi) - np.pi)
    same_layer = np.diff(bounds[drawn, 4]) == 0
    assert (np.diff(apart[drawn])[same_layer] < 0.004).all()
    for sector in np.unique(bounds[:, 2]):
        mine, theirs = ([i for i in order if bounds[i, 2] == sector] for order in (drawn, expected))
        assert mine == theirs


def test_cells_lie_where_the_mesh_says(opened: Any, geant4: Showers) -> None:
    chosen = np.random.default_rng(1).choice(geant4.mesh.n_voxels, 50, replace=False)
    cells = opened.js(f"return {chosen.tolist()}.map((voxel) => view.scenes[0].cell(voxel))")
    found = [[*cell["r"], *cell["alpha"], *cell["z"]] for cell in cells]
    np.testing.assert_allclose(found, cell_bounds(geant4.mesh)[chosen], atol=1e-6)
    layers = [cell["layer"] for cell in cells]
    assert layers == geant4.mesh.voxel_layer[chosen].tolist()


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_slider_hides_voxels_below(opened: Any, geant4: Showers, share: float) -> None:
    opened.js(f"view.slider.value = {1000 * share}; view.slider.dispatchEvent(new Event('input'))")
    threshold = opened.js("return view.threshold")
    low, high = opened.js("return view.range")
    assert threshold == pytest.approx(low * (high / low) ** share)
    for scene, row in ((0, 0), (1, 1)):
        energies = geant4.energies[row]
        assert opened.js(f"return view.scenes[{scene}].above") == hits_above(energies, threshold)
        kept = energies[energies.astype(np.float64) >= threshold].sum() / energies.sum()
        words = opened.js(f"return view.scenes[{scene}].shown.textContent")
        assert f"{hits_above(energies, threshold)} of {np.count_nonzero(energies)} hit voxels" in words
        assert f"{float(f'{100 * kept:.3g}'):g} % of the energy" in words
    opened.drawn()
    drawn = opened.js("const s = view.scenes[0]; return Array.from(s.sorted, (p) => s.event.energies[s.event.hits[p]])")
    assert min(drawn) >= threshold


def test_events_are_chosen_together(opened: Any, geant4: Showers) -> None:
    for button in ("next event", "next event", "previous event"):
        opened.js(f"""document.querySelector('[aria-label="{button}"]').click()""")
    assert opened.js("return [view.event, view.chooser.selectedIndex]") == [1, 1]
    for scene, row in ((0, 1), (1, 0)):
        assert opened.js(f"return view.scenes[{scene}].event.voxels.length") == np.count_nonzero(geant4.energies[row])
    opened.js("view.chooser.selectedIndex = 2; view.chooser.dispatchEvent(new Event('change'))")
    assert opened.js("return view.scenes[0].event.voxels.length") == np.count_nonzero(geant4.energies[2])
    assert opened.js("return view.range[1]") == pytest.approx(float(geant4.energies[2].max()))
    opened.js("view.play()")
    opened.js("await new Promise((done) => setTimeout(done, 1400))")
    assert opened.js("view.play(); return [view.event, view.playing]") == [0, None]


def test_cameras_are_linked(opened: Any) -> None:
    before = [pixels(opened, scene) for scene in (0, 1)]
    x, y = opened.js("const box = view.scenes[0].canvas.getBoundingClientRect(); return [box.x + 80, box.y + 80]")
    opened.mouse("mousePressed", x, y, button="left", clickCount=1, buttons=1)
    opened.mouse("mouseMoved", x + 60, y + 20, button="left", buttons=1)
    opened.mouse("mouseReleased", x + 60, y + 20, button="left", clickCount=1)
    assert opened.js("return [view.look.azimuth, view.look.elevation]") == pytest.approx([-38 - 24, 20 + 8])
    for scene in (0, 1):
        assert np.abs(pixels(opened, scene) - before[scene]).mean() > 0.01
    opened.js("view.cameraButtons[0].click()")
    for scene in (0, 1):
        assert np.abs(pixels(opened, scene) - before[scene]).mean() < 0.003


def test_wheel_belongs_to_the_page_until_the_scene_is_used(opened: Any) -> None:
    x, y = opened.js("const box = view.scenes[0].canvas.getBoundingClientRect(); return [box.x + 80, box.y + 80]")
    opened.mouse("mouseWheel", x, y, deltaX=0, deltaY=-100)
    opened.js("await new Promise((done) => setTimeout(done, 100))")
    assert opened.js("return view.look.zoom") == 1
    opened.js("view.scenes[0].canvas.focus()")
    opened.mouse("mouseWheel", x, y, deltaX=0, deltaY=-100)
    opened.js("await new Promise((done) => setTimeout(done, 100))")
    assert opened.js("return view.look.zoom") > 1.05


def test_mouse_tells_the_voxel(opened: Any, geant4: Showers) -> None:
    """The cell that is drawn last is in front: its middle is under the mouse."""
    hit, x, y = opened.js(
        """const s = view.scenes[0], piece = s.sorted.at(-1), hit = s.event.hits[piece];
        const { r, alpha, z } = s.cell(s.event.voxels[hit]), a = (alpha[0] + alpha[1]) / 2, m = (r[0] + r[1]) / 2;
        const [x, y] = s.place(s.seen, [m * Math.cos(a), m * Math.sin(a), z[0]]);
        const box = s.canvas.getBoundingClientRect();
        return [hit, box.x + x, box.y + y]"""
    )
    opened.mouse("mouseMoved", x, y)
    words = opened.js("return view.scenes[0].tip.hidden ? '' : view.scenes[0].tip.textContent").splitlines()
    voxel = np.flatnonzero(geant4.energies[0])[hit]
    r0, r1, a0, _, z0, z1 = cell_bounds(geant4.mesh)[voxel]
    assert words[0] == f"layer {geant4.mesh.voxel_layer[voxel]}, z {z0:.5g} to {z1:.5g} mm"
    assert words[1].startswith(f"alpha cell {round((a0 + np.pi) / (np.pi / 8))} of 16, {np.degrees(a0):.5g}°")
    assert words[2] == f"r {r0:.5g} to {r1:.5g} mm"
    energy = float(geant4.energies[0, voxel])
    assert words[3] == (f"{energy:.3g} MeV" if energy >= 1 else f"{1000 * energy:.3g} keV")
    opened.mouse("mouseMoved", 2, 2)
    assert opened.js("return view.scenes[0].tip.hidden")


def test_the_front_of_a_cell_is_seen(browser: Any, tmp_path: Path) -> None:
    """From the front, a long cell covers as many pixels as its near face, not its far one."""
    mesh = ReadoutMesh.cylinder(layers=1, alpha_cells=4, r_cells=1, layer_thickness=200.0, r_size=40.0)
    event = Event("a", "", "", np.array([0]), np.array([7.0]))  # alpha from -pi to -pi/2
    path = tmp_path / "cell.html"
    path.write_text(page(Panel("", Detector(name="box", mesh=mesh), (event,)), camera="front"), encoding="utf-8")
    browser.open(path)
    areas = browser.js(
        """const s = view.scenes[0];
        const at = (a, r, z) => s.place(s.seen, [r * Math.cos(a), r * Math.sin(a), z]);
        return [0, 200].map((z) => {
          const [x0, y0] = at(0, 0, z), [x1, y1] = at(-Math.PI, 40, z);
          return Math.PI / 4 * ((x1 - x0) ** 2 + (y1 - y0) ** 2);
        })"""
    )
    image = pixels(browser, 0)
    yellow = (image[..., 0] > 0.5) & (image[..., 2] < 0.4)
    assert yellow.sum() == pytest.approx(areas[0], rel=0.06)
    assert areas[1] < 0.8 * areas[0]


@pytest.mark.parametrize("camera", ["3D", "side"])
def test_irregular_mesh(browser: Any, irregular: ReadoutMesh, tmp_path: Path, camera: str) -> None:
    energies = np.random.default_rng(1).gamma(0.5, size=(1, irregular.n_voxels)).astype(np.float32)
    showers = Showers(np.array([1e3]), energies, Detector(name="rings", mesh=irregular))
    path = tmp_path / "irregular.html"
    path.write_text(page(shower_panel(showers), camera=camera), encoding="utf-8")
    browser.open(path)
    assert browser.problems() == []
    assert coloured(pixels(browser, 0)) > 0.02
    cells = browser.js("return Array.from({length: view.scenes[0].first.at(-1)}, (_, i) => view.scenes[0].cell(i))")
    found = [[*cell["r"], *cell["alpha"], *cell["z"]] for cell in cells]
    np.testing.assert_allclose(found, cell_bounds(irregular), atol=1e-6)
    hits = browser.js("view.cut.checked = view.opened = false; view.redraw(); return view.scenes[0].event.hits")
    browser.drawn()
    assert len(browser.js("return Array.from(view.scenes[0].sorted)")) == len(hits) > irregular.n_voxels
    assert set(hits) == set(range(irregular.n_voxels))


def test_empty_shower_shows_the_mesh(browser: Any, geant4: Showers, tmp_path: Path) -> None:
    empty = Showers(np.array([1e3]), np.zeros((1, 6480), dtype=np.float32), geant4.detector)
    path = tmp_path / "empty.html"
    path.write_text(page(shower_panel(empty)), encoding="utf-8")
    browser.open(path)
    assert browser.problems() == []
    assert (pixels(browser, 0) < 0.95).mean() > 0.01
    assert "no voxel has energy" in browser.js("return document.body.innerText")


def test_fits_a_phone(browser: Any, pair: Path) -> None:
    browser.call("Emulation.setDeviceMetricsOverride", width=380, height=800, deviceScaleFactor=2, mobile=True)
    try:
        browser.open(pair)
        assert browser.js("return document.documentElement.scrollWidth") == 380
        heights = browser.js("return view.scenes.map((scene) => scene.canvas.clientHeight)")
        assert all(200 < height < 500 for height in heights)
        assert browser.problems() == []
    finally:
        browser.call("Emulation.clearDeviceMetricsOverride")


def test_views_of_one_page_are_their_own(browser: Any, geant4: Showers, tmp_path: Path) -> None:
    path = tmp_path / "two.html"
    views = fragment(shower_panel(geant4[:1])) + fragment(shower_panel(geant4[1:]))
    path.write_text(f"<!DOCTYPE html><html><head>{shared_assets()}</head><body>{views}</body></html>")
    browser.open(path)
    browser.js("view.lookFrom('front')")
    looks = browser.js("return Array.from(document.querySelectorAll('.fastv-view'), (v) => v.fastvView.look.azimuth)")
    assert looks == [-90, -38]


def test_a_browser_without_webgl_says_so(browser: Any, pair: Path) -> None:
    source = "HTMLCanvasElement.prototype.getContext = () => null"
    script = browser.call("Page.addScriptToEvaluateOnNewDocument", source=source)["identifier"]
    try:
        browser.open(pair)
        assert "WebGL 2" in browser.js("return document.body.innerText")
        assert browser.problems() == []
    finally:
        browser.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)
        browser.call("Page.navigate", url="about:blank")


def test_lost_context_comes_back(opened: Any) -> None:
    before = pixels(opened, 0)
    opened.js(
        """const gl = view.scenes[0].gl, lose = gl.getExtension('WEBGL_lose_context');
        lose.loseContext();
        await new Promise((done) => setTimeout(done, 100));
        lose.restoreContext();
        await new Promise((done) => setTimeout(done, 300))"""
    )
    assert np.abs(pixels(opened, 0) - before).mean() < 0.003
