"""The detector of a file: what it describes itself, what the user names, or the only preset that fits."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastv.detector.detector import PRESETS, Detector
from fastv.detector.of_file import resolve_detector
from fastv.errors import GeometryError

PATH = Path("a.h5")


def test_what_the_file_describes_goes_first(tiny_detector: Detector) -> None:
    same_mesh = tiny_detector.model_copy(update={"name": "other"})
    assert resolve_detector(PATH, same_mesh, stored=tiny_detector) is tiny_detector
    assert resolve_detector(PATH, None, stored=tiny_detector, cells=(3, 4, 2)) is tiny_detector


def test_a_preset_is_found_from_cells_and_hint() -> None:
    assert resolve_detector(PATH, "par04-siw", cells=(6480,)) is PRESETS["par04-siw"]
    assert resolve_detector(PATH, None, cells=(45, 50, 18), hint="SciPb") is PRESETS["par04-scipb-fine"]


@pytest.mark.parametrize(
    ("named", "cells", "parameter", "message"),
    [
        (None, None, "mesh", r"a\.h5 does not name its detector; name it with `mesh` \(par04-siw or "),
        (None, (40500,), "detector", r"with `detector` \(40500 voxels: par04-siw-fine or par04-scipb-fine\)"),
        (None, (45, 16, 9), "mesh", "r x alpha x z = 9 x 16 x 45 cells: par04-siw or"),
        (None, (7,), "mesh", "no preset has 7 voxels; a detector FILE.yaml or a binning FILE.xml describes a mesh"),
        (
            None,
            (368,),
            "mesh",
            "368 voxels are those of .* data set 1, photons: its binning binning_dataset_1_ph",
        ),
        (
            None,
            (533,),
            "mesh",
            "533 voxels are those of .* data set 1, pions: its binning binning_dataset_1_pi",
        ),
        ("par04-siw", (24,), "mesh", "a shower has 24 voxels; the mesh of par04-siw has 6480 voxels"),
        (
            "par04-siw",
            (9, 16, 45),
            "mesh",
            "= 45 x 16 x 9 cells .name the order of its axes with `axes='layer,alpha,r'`.; the mesh",
        ),
        ("par05", None, "mesh", "unknown detector or mesh 'par05'"),
    ],
)
def test_errors(named: str | None, cells: tuple[int, ...] | None, parameter: str, message: str) -> None:
    with pytest.raises(GeometryError, match=message):
        resolve_detector(PATH, named, cells=cells, parameter=parameter)


def test_another_mesh_than_that_of_the_file(tiny_detector: Detector) -> None:
    with pytest.raises(GeometryError, match="the file is of tiny, whose mesh is not that of par04-siw"):
        resolve_detector(PATH, "par04-siw", stored=tiny_detector)
