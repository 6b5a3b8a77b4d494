"""The still picture shows the cells of the shower, in their colours, and is not blank."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from fastv.detector.detector import Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.display import Event, Panel, mean_panel, picture, shower_panel
from fastv.display.camera import CAMERAS
from fastv.errors import SettingsError
from fastv.showers import Showers

Make = Callable[..., Showers]


def drawn(figure: Figure) -> np.ndarray[Any, Any]:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3] / 255


def cells_of(figure: Figure) -> list[PolyCollection]:
    return [artist for axes in figure.axes for artist in axes.collections if type(artist) is PolyCollection]


def texts_of(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.texts)


@pytest.mark.parametrize("camera", CAMERAS)
def test_picture_is_coloured_and_told(geant4: Showers, camera: str) -> None:
    panel = shower_panel(geant4, "Geant4")
    figure = picture(panel, camera=camera)
    pixels = drawn(figure)
    assert 0.04 < (np.ptp(pixels, axis=-1) > 0.15).mean() < 0.7  # neither blank nor full of colour
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert (edge == 1).all()  # nothing is cut off
    words = texts_of(figure)
    for part in ("Geant4", panel.events[0].heading, panel.events[0].facts, "90 x (1.4 mm W + 0.3 mm Si)"):
        assert part in words


def test_each_visible_cell_has_its_colour(make_showers: Make) -> None:
    """A single hit voxel: all its faces have the hue of its place on the scale, in several shades."""
    showers = make_showers(1)
    panel = shower_panel(showers)
    strongest = int(panel.events[0].energies.argmax())
    (cells,) = cells_of(picture(panel, threshold=float(panel.events[0].energies[strongest]), opened=False))
    colours = cells.get_facecolor()
    top = np.asarray(matplotlib.colormaps["plasma"](1.0))
    shade = colours[:, :3] / top[:3]
    np.testing.assert_allclose(shade, shade[:, :1] * np.ones(3), atol=0.02)
    assert np.ptp(shade[:, 0]) > 0.05
    np.testing.assert_allclose(colours[:, 3], 1)


def test_threshold_and_cut_take_cells_away(geant4: Showers) -> None:
    panel = shower_panel(geant4[:1])
    faces = [
        len(cells.get_facecolor())
        for options in ({"opened": False}, {"opened": True}, {"opened": True, "threshold": 10.0})
        for cells in cells_of(picture(panel, **options))  # type: ignore[arg-type]
    ]
    assert faces[0] > faces[1] > faces[2] > 0
    assert not cells_of(picture(panel, threshold=1e9))


def test_two_panels_share_one_scale(geant4: Showers) -> None:
    left, right = shower_panel(geant4[:1], "Geant4"), shower_panel(geant4[2:], "generated")
    figure = picture([left, right])
    assert len(cells_of(figure)) == 2
    assert "Geant4" in texts_of(figure)
    assert "generated" in texts_of(figure)
    opacities = [cells.get_facecolor()[:, 3].max() for cells in cells_of(figure)]
    assert opacities[0] == 1
    assert opacities[1] < 0.97  # of a much lower energy: nothing of the highest colours


def test_irregular_mesh_mean_and_empty(irregular: ReadoutMesh) -> None:
    rng = np.random.default_rng(1)
    energies = rng.gamma(0.3, size=(2, irregular.n_voxels)).astype(np.float32)
    showers = Showers(np.array([1e3, 2e3]), energies, Detector(name="rings", mesh=irregular))
    for panel in (shower_panel(showers), mean_panel(showers)):
        figure = picture(panel)
        assert (np.ptp(drawn(figure), axis=-1) > 0.15).mean() > 0.02
        labels = {text.get_text() for axes in figure.axes for text in axes.texts}
        assert {"layer", "0", "1", "2", "12"} <= labels
    empty = replace(showers, energies=np.zeros_like(energies))
    figure = picture(shower_panel(empty))
    assert not cells_of(figure)
    assert "empty" in texts_of(figure)


def test_names_are_no_formulas() -> None:
    mesh = ReadoutMesh.cylinder(layers=2, alpha_cells=4, r_cells=2, layer_thickness=3, r_size=5)
    event = Event("", "$\\frac{", "a $ b", np.array([3]), np.array([5.0]), legend=(("#009e73", "$x"),))
    figure = picture(Panel("$\\bad$", Detector(name="$", mesh=mesh), (event,)))
    drawn(figure)
    assert "$\\frac{" in texts_of(figure)


def test_refusals(geant4: Showers) -> None:
    panel = shower_panel(geant4)
    with pytest.raises(SettingsError, match="unknown camera 'top'; known: 3D, side, front"):
        picture(panel, camera="top")
    with pytest.raises(SettingsError, match="no event 3"):
        picture(panel, event=3)
