"""What a view tells of showers: hits, sums, means, colours; and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastv.detector.detector import Detector
from fastv.display import Event, Panel, fragment, load_panel, mean_panel, shower_panel
from fastv.display.scene import colour_range
from fastv.errors import GeometryError, SettingsError
from fastv.sample import sample_path
from fastv.showers import Showers, ShowersFile

Make = Callable[..., Showers]


def test_hits_are_the_voxels_with_energy(geant4: Showers) -> None:
    panel = shower_panel(geant4, "Geant4")
    for event, energies in zip(panel.events, geant4.energies, strict=True):
        np.testing.assert_array_equal(event.voxels, np.flatnonzero(energies))
        np.testing.assert_allclose(event.energies, energies[energies > 0])
        assert f"{np.count_nonzero(energies)} of 6480 voxels hit" in event.facts
    assert panel.events[0].heading == "e-, 20.1 GeV, normal incidence"
    assert panel.events[0].facts.startswith("visible 619 MeV, scaled 18.8 GeV")  # 0.033 of 18.8 GeV


def test_particle_and_angle_of_each_shower(make_showers: Make) -> None:
    showers = make_showers(
        3, theta=np.radians([90.0, 55.0, 70.0]), pdg=np.array([11, 22, -999], dtype=np.int32), provenance={}
    )
    headings = [event.heading for event in shower_panel(showers).events]
    assert [heading.split(", ")[0] for heading in headings] == ["e-", "gamma", "PDG -999"]
    assert [heading.split(", ")[2] for heading in headings] == ["theta 90°", "theta 55°", "theta 70°"]


def test_text_of_a_file_stays_text(make_showers: Make) -> None:
    nasty = make_showers(1, provenance={"particle": "e-\x1b[2J\n" + 100 * "x", "direction": 5})
    heading = shower_panel(nasty).events[0].heading
    assert heading.startswith(r"e-\x1b[2J\nxxx")
    assert len(heading) < 60
    assert heading.isprintable()


def test_empty_showers_are_named(make_showers: Make) -> None:
    showers = make_showers(2)
    panel = shower_panel(replace(showers, energies=np.zeros_like(showers.energies)))
    assert "empty: none of 24 voxels hit" in panel.events[0].facts
    assert panel.events[0].voxels.size == 0
    assert len(panel.lines) > 5
    low, high = colour_range(panel.events)
    assert 0 < low < high


def test_mean_is_that_of_all_showers(make_showers: Make, tmp_path: Path) -> None:
    showers = make_showers(60)
    showers.write(tmp_path / "showers.h5")
    with ShowersFile(tmp_path / "showers.h5") as file:
        for source in (showers, file):
            for count in (None, 1, 37):
                (event,) = mean_panel(source, count).events
                mean = showers.energies[:count].mean(axis=0, dtype=np.float64)
                np.testing.assert_array_equal(event.voxels, np.flatnonzero(mean))
                np.testing.assert_allclose(event.energies, mean[mean > 0], rtol=1e-6)
                assert event.heading.startswith(f"mean of {count or 60} shower")


def test_mean_tells_the_range_of_angles(make_showers: Make) -> None:
    (mixed,) = mean_panel(make_showers(2, theta=np.radians([50.0, 90.0]))).events
    assert "theta 50° to 90°" in mixed.heading
    (one,) = mean_panel(make_showers(2, theta=np.radians([60.0, 60.0]))).events
    assert one.heading.endswith("theta 60°")
    (several,) = mean_panel(make_showers(3, pdg=np.array([22, 11, 22], dtype=np.int32))).events
    assert "gamma, e-" in several.heading


@pytest.mark.parametrize("count", [0, -1, 61])
def test_mean_of_impossible_numbers(make_showers: Make, count: int) -> None:
    with pytest.raises(SettingsError, match=f"{count} showers.*60"):
        mean_panel(make_showers(60), count)


@pytest.mark.parametrize("row", [-1, 1400])
def test_shower_outside_the_file(row: int) -> None:
    with pytest.raises(SettingsError, match=f"no shower {row}; it has 0 to 1399"):
        load_panel(sample_path("test"), [row])


def test_file_without_mesh(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["incident_energies"] = np.full((1, 1), 1e3)
        file["showers"] = np.ones((1, 6480), dtype=np.float32)
    with pytest.raises(GeometryError, match="`mesh` .*par04-siw"):
        load_panel(tmp_path / "plain.h5", [0])
    assert load_panel(tmp_path / "plain.h5", [0], mesh="par04-siw").events[0].voxels.size == 6480


def test_colour_scale_holds_nearly_all_energy(geant4: Showers) -> None:
    for event in shower_panel(geant4).events:
        low, high = colour_range([event])
        assert high == event.energies.max()
        below = event.energies[event.energies < low].sum() / event.energies.sum()
        assert below <= 0.002
        assert high / low < 1e5
    both = colour_range(shower_panel(geant4).events)
    assert both[1] == geant4.energies.max()
    single = Event("", "", "", np.array([0]), np.array([5.0]))
    assert colour_range([single]) == (0.5, 5.0)


def test_panels_side_by_side_have_events_in_pairs(geant4: Showers) -> None:
    with pytest.raises(SettingsError, match="3 and 2"):
        fragment([shower_panel(geant4), shower_panel(geant4[:2])])
    with pytest.raises(SettingsError, match="none"):
        fragment([])
    with pytest.raises(SettingsError, match="at least one"):
        Panel("", geant4.detector, ())


def test_slabs_are_drawn_where_they_are_known(geant4: Showers, make_showers: Make) -> None:
    assert shower_panel(geant4).events[0].lines
    assert not shower_panel(make_showers(1)).events[0].lines
    unknown = Detector.preset("par04-siw").mesh.blocks[0].model_copy(update={"thickness": None})
    mesh = geant4.mesh.model_copy(update={"blocks": (unknown,)})
    detector = geant4.detector.model_copy(update={"mesh": mesh})
    assert not shower_panel(replace(geant4, detector=detector)).events[0].lines
