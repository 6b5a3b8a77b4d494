"""Speed of the 3D view in a headless browser, compared with the same cells as one plotly mesh; prints JSON.

    python benchmarks/view.py

Three cases: the shower with the highest energy in the shipped sample, the mean of the sample (all 6480 voxels), and all
40,500 voxels of par04-siw-fine. The browser is that of the tests and draws in software, without a graphics card. The
time of a frame ends when its pixels can be read back.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from fastv.detector.detector import Detector
from fastv.display import Panel, mean_panel, page, picture, shower_panel
from fastv.display.camera import on_screen
from fastv.display.cells import cell_bounds
from fastv.display.picture import _faces
from fastv.sample import sample_path
from fastv.showers import Showers, ShowersFile

HERE = Path(__file__).resolve().parent

MEASURE = """
  const scene = view.scenes[0], gl = scene.gl, pixel = new Uint8Array(4);
  const frame = (quality) => {
    view.quality = quality;
    view.look.azimuth += 1;
    const start = performance.now();
    scene.render();
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);
    return performance.now() - start;
  };
  const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
  const repeat = (action) => median([1, 2, 3, 4, 5].map(action));
  const order = repeat(() => {
    const start = performance.now();
    scene.order(scene.seen.eyeOnMesh);
    return performance.now() - start;
  });
  const cells = scene.sorted.length;
  const [full, coarse] = [repeat(() => frame(1)), repeat(() => frame(0.3))];
  const slider = repeat((i) => {
    const start = performance.now();
    view.threshold = view.range[0] * i;
    scene.countAbove();
    return performance.now() - start + frame(1);
  });
  return { cells_drawn: cells, order_ms: order, frame_ms: full, coarse_frame_ms: coarse, slider_ms: slider };
"""

PLOTLY = """
  const graph = document.querySelector('.plotly-graph-div');
  const painted = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const gl = graph.querySelector('canvas').getContext('webgl2') || graph.querySelector('canvas').getContext('webgl');
  const timed = async (action) => {
    const start = performance.now();
    await action();
    await painted();
    if (gl) gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
    return performance.now() - start;
  };
  const slider = await timed(() => Plotly.restyle(graph, { cmin: -1 }));
  let frame = 0;
  for (let i = 0; i < 3; i++) {
    frame += await timed(() => Plotly.relayout(graph, { 'scene.camera.eye': { x: 1.2 + i / 10, y: 1.5, z: 0.8 } }));
  }
  return { frame_ms: frame / 3, recolour_ms: slider };
"""


def main() -> None:
    specification = importlib.util.spec_from_file_location("browser", HERE.parent / "tests" / "browser.py")
    assert specification is not None
    assert specification.loader is not None
    tools = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(tools)
    program = tools.program()
    results: dict[str, Any] = {"machine": f"{platform.machine()}, {os.cpu_count()} processors", "cases": {}}
    for name, panel in cases().items():
        start = time.perf_counter()
        html = page(panel)
        seconds = time.perf_counter() - start
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            picture(panel).savefig(Path(folder) / "picture.png", dpi=160)
            drawn = time.perf_counter() - start
            browser = tools.Browser(program, Path(folder))
            try:
                ours = timed_page(browser, Path(folder) / "view.html", html, MEASURE)
                theirs = None
                if importlib.util.find_spec("plotly"):
                    theirs = timed_page(browser, Path(folder) / "plotly.html", plotly_page(panel), PLOTLY)
            finally:
                browser.close()
        results["cases"][name] = {
            "hits": len(panel.events[0].voxels),
            "page_python_s": round(seconds, 3),
            "picture_s": round(drawn, 2),
            "view": ours,
            "plotly": theirs,
        }
    print(json.dumps(results, indent=1))


def cases() -> dict[str, Panel]:
    with ShowersFile(sample_path("test")) as file:
        highest = file[np.array([file.incident_energies.argmax()])]
        mean = mean_panel(file)
    fine = Detector.preset("par04-siw-fine")
    centre = fine.mesh.voxel_centres
    full = np.exp(-np.hypot(centre[:, 0], centre[:, 1]) / 6 - np.abs(centre[:, 2] - 55) / 25)[None].astype(np.float32)
    return {
        "shower of 1 TeV": shower_panel(highest),
        "mean": mean,
        "all voxels of par04-siw-fine": shower_panel(Showers(np.array([1e5]), 1e3 * full, fine)),
    }


def timed_page(browser: Any, path: Path, html: str, script: str) -> dict[str, Any]:
    path.write_text(html, encoding="utf-8")
    start = time.perf_counter()
    browser.open(path)
    loaded = time.perf_counter() - start
    numbers = {name: round(value, 1) for name, value in browser.js(script).items()}
    return {"megabytes": round(path.stat().st_size / 1e6, 2), "load_s": round(loaded, 2), **numbers}


def plotly_page(panel: Panel) -> str:
    """A page with the same cells as one mesh, coloured by cell, including the script of plotly."""
    import plotly.graph_objects as go

    event = panel.events[0]
    bounds = cell_bounds(panel.detector.mesh)[event.voxels]
    faces = on_screen(_faces(bounds, 1))[..., :4, :]  # quads: arcs as straight lines
    n = faces.shape[0] * faces.shape[1]
    corners = faces.reshape(-1, 3).astype(np.float32)
    first = 4 * np.arange(n)
    triangles = np.concatenate([first[:, None] + [0, 1, 2], first[:, None] + [0, 2, 3]]).astype(np.int32)
    colour = np.tile(np.repeat(np.log10(event.energies), faces.shape[1]), 2).astype(np.float32)
    x, y, z = corners.T
    i, j, k = triangles.T
    mesh = go.Mesh3d(x=x, y=y, z=z, i=i, j=j, k=k, intensity=colour, intensitymode="cell", flatshading=True)
    html: str = go.Figure(mesh).to_html(include_plotlyjs=True)
    return html


if __name__ == "__main__":
    main()
