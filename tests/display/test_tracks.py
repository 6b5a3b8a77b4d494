"""Tracks that a simulation wrote: drawn where they run, cut at the box, and only with the showers they are of."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest

from fastv.detector.detector import Detector
from fastv.display import shower_panel, tracks
from fastv.display.tracks import OTHER_COLOUR, TRACK_COLOURS, clipped_path, load_tracks, track_lines, with_tracks
from fastv.errors import FileFormatError, GeometryError, SettingsError
from fastv.showers import Showers, ShowersFile
from fastv.simulation.tracks import Tracks, read_tracks

Make = Callable[..., Showers]


@pytest.fixture
def paths() -> Tracks:
    """An electron along the axis, a photon out of the scene, a positron of low energy, a proton."""
    points = [
        [[0, 0, 0], [0, 0, 4], [1, 0, 8]],
        [[0, 0, 4], [1000, 0, 4]],
        [[1, 0, 8], [2, 1, 9]],
        [[-500, 0, 0], [-400, 0, 0]],
    ]
    first = np.cumsum([0, *map(len, points)])
    corners = np.concatenate([np.array(p, dtype=np.float32) for p in points])
    n = len(corners)
    return Tracks(
        {
            "pdg": np.array([11, 22, -11, 2212], dtype=np.int32),
            "energy": np.array([50, 20, 1, 30], dtype=np.float32),
            "process": np.array([b"Primary", b"eBrem", b"conv", b"x"]),
            "number": np.arange(1, 5),
            "parent": np.array([0, 1, 2, 2]),
            "first": first,
            "points": corners,
            "detector_points": corners,
            "energies": np.ones(n, dtype=np.float32),
            "times": np.ones(n, dtype=np.float32),
        }
    )


def test_lines_follow_the_tracks(paths: Tracks, tiny_detector: Detector) -> None:
    lines, legend = track_lines(paths, tiny_detector.mesh)
    by_colour = {line.colour: line.points for line in lines}
    np.testing.assert_allclose(by_colour[TRACK_COLOURS[11]], [[0, 0, 0], [0, 0, 4], [1, 0, 8]])
    np.testing.assert_allclose(by_colour[TRACK_COLOURS[-11]], [[1, 0, 8], [2, 1, 9]])
    np.testing.assert_allclose(by_colour[TRACK_COLOURS[22]], [[0, 0, 4], [1.2 * 9.3, 0, 4]], rtol=1e-6)
    assert OTHER_COLOUR not in by_colour  # the proton is outside
    assert legend == [
        (TRACK_COLOURS[11], "1 e-"),
        (OTHER_COLOUR, "1 proton"),
        (TRACK_COLOURS[22], "1 gamma"),
        (TRACK_COLOURS[-11], "1 e+"),
    ]


def test_the_lowest_energies_are_left_out_of_too_many(
    paths: Tracks, tiny_detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracks, "MOST_CORNERS", 7)
    lines, legend = track_lines(paths, tiny_detector.mesh)
    assert TRACK_COLOURS[-11] not in {line.colour for line in lines}
    assert legend[-1][1] == "1 of lower energy left out"


def test_clipped_path_against_fine_steps() -> None:
    """The length inside the box is that of the small steps whose middles are inside."""
    rng = np.random.default_rng(2)
    low, high = np.full(3, -1.0), np.array([1.0, 0.5, 2.0])
    for _ in range(20):
        path = rng.normal(scale=1.5, size=(8, 3))
        parts = clipped_path(path, low, high)
        length = sum(float(np.linalg.norm(np.diff(part, axis=0), axis=1).sum()) for part in parts)
        shares = np.linspace(0, 1, 2001)[:, None]
        expected = 0.0
        for a, b in pairwise(path):
            middles = a + (shares[1:] + shares[:-1]) / 2 * (b - a)
            expected += ((middles >= low) & (middles <= high)).all(axis=1).mean() * float(np.linalg.norm(b - a))
        assert length == pytest.approx(expected, abs=0.02)
        for part in parts:
            assert len(part) >= 2
            assert (part >= low - 1e-9).all()
            assert (part <= high + 1e-9).all()


def test_tracks_join_their_shower(paths: Tracks, make_showers: Make, tmp_path: Path) -> None:
    provenance = {"engine": "random numbers", "seed": 4}
    showers = make_showers(1, provenance=provenance)
    showers.write(tmp_path / "s.h5")
    paths.write(tmp_path / "t.h5", showers.detector, 7, provenance)
    with ShowersFile(tmp_path / "s.h5") as file:
        loaded, event = load_tracks(tmp_path / "t.h5", file)
        assert event == 7
        (shown,) = with_tracks(shower_panel(file[:]), loaded).events
    assert TRACK_COLOURS[11] in {line.colour for line in shown.lines}
    assert len(shown.legend) == 4
    with pytest.raises(SettingsError, match="one shower"):
        with_tracks(shower_panel(make_showers(2)), loaded)


def test_tracks_of_something_else(paths: Tracks, make_showers: Make, tmp_path: Path) -> None:
    showers = make_showers(1, provenance={"engine": "random numbers", "seed": 4})
    showers.write(tmp_path / "s.h5")
    paths.write(tmp_path / "seed.h5", showers.detector, 0, {"engine": "random numbers", "seed": 5})
    paths.write(tmp_path / "mesh.h5", Detector.preset("par04-siw"), 0, {})
    with ShowersFile(tmp_path / "s.h5") as file:
        with pytest.raises(SettingsError, match="seed"):
            load_tracks(tmp_path / "seed.h5", file)
        with pytest.raises(GeometryError, match="a different mesh"):
            load_tracks(tmp_path / "mesh.h5", file)
        with pytest.raises(FileFormatError):
            load_tracks(tmp_path / "s.h5", file)
        with pytest.raises(FileFormatError, match=r"nowhere\.h5"):
            load_tracks(tmp_path / "nowhere.h5", file)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("energy", np.array([b"a"] * 4), r"'energy' is \|S1 of shape \(4,\), not float32 of shape \(N,\)"),
        ("energy", np.ones((4, 2), dtype=np.float32), "not float32"),
        ("pdg", np.array([11, 22], dtype=np.int32), "'energy' has 4 rows where 2 are needed"),
        ("first", np.array([0, 3, 2, 7, 9]), "'first' must rise from 0 to the number of points, 9"),
        ("first", np.array([0, 3, 5, 7, 2**62]), "'first' must rise"),
        ("first", np.zeros((3, 3)), "'first' is float64"),
        ("points", np.full((9, 3), np.nan, dtype=np.float32), "'points' contains NaN or infinite values"),
        ("times", np.ones(3, dtype=np.float32), "'times' has 3 rows where 9 are needed"),
        ("fastv", '{"format_version": 9}', "has no format version 1"),
        ("fastv", "[" * 5000, "nested more than 64 levels"),
        ("fastv", "{", "the attribute 'fastv' of the tracks is damaged: not valid JSON"),
    ],
)
def test_damaged_tracks(
    paths: Tracks, make_showers: Make, tmp_path: Path, name: str, values: object, message: str
) -> None:
    path = tmp_path / "t.h5"
    paths.write(path, make_showers(1).detector, 0, {})
    with h5py.File(path, "r+") as file:
        if isinstance(values, str):
            file.attrs[name] = np.bytes_(values)
        else:
            del file[name]
            file[name] = values
    with pytest.raises(FileFormatError, match=message) as caught:
        read_tracks(path)
    assert "\n" not in str(caught.value)


def test_tracks_of_terabytes_are_not_believed(paths: Tracks, make_showers: Make, tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    paths.write(path, make_showers(1).detector, 0, {})
    with h5py.File(path, "r+") as file:
        del file["times"]
        file.create_dataset("times", (10**12,), np.float32, chunks=(10,))
    with pytest.raises(FileFormatError, match="'times' claims the shape"):
        read_tracks(path)
