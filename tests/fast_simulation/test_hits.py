"""Files of hits, and damaged ones."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from fastv.errors import FileFormatError
from fastv.fast_simulation.hits import read_hits, read_in_spans
from fastv.fast_simulation.run import fastsim
from fastv.model import load
from fastv.sample import sample_path
from fastv.showers import ShowersFile


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hits") / "whole.h5"
    fastsim(load("par04-siw-vae"), path, energy="1GeV", n=3)
    return path


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("hits/cell", 6480, "hits/cell must be from 0 to 6479"),
        ("hits/particle", 7, "hits/particle must be from 0 to 2"),
        ("hits/energy", np.nan, "NaN or infinite"),
        ("particles/first_hit", 1, "must rise from 0"),
        ("events/first_particle", 7, "must rise from 0"),
        ("events/incident", None, "not float64"),
        ("hits", None, "not a file of hits"),
    ],
)
def test_damage_is_named(name: str, values: float | None, message: str, whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged.h5"
    path.write_bytes(whole.read_bytes())
    with h5py.File(path, "r+") as file:
        if values is None:
            del file[name]
        else:
            file[name][0] = values
    with pytest.raises(FileFormatError, match=message):
        read_hits(path)


def test_columns_of_different_lengths(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged.h5"
    path.write_bytes(whole.read_bytes())
    with h5py.File(path, "r+") as file:
        file["hits/time"].resize(5, axis=0)
    with pytest.raises(FileFormatError, match="hits/time has 5 rows, not"):
        read_hits(path)


def test_showers_are_no_hits() -> None:
    with pytest.raises(FileFormatError, match="not a file of hits"):
        read_hits(sample_path("test"))


def test_hits_are_no_showers_but_give_some(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"hits of `fastv.fastsim`: .*read_hits\(...\).showers\(\) gives"):
        ShowersFile(whole)
    read_hits(whole).showers().write(tmp_path / "showers.h5")
    with ShowersFile(tmp_path / "showers.h5") as file:
        assert len(file) == 3
        assert np.degrees(file.conditions.columns["theta"]) == pytest.approx(90)


def test_links(whole: Path) -> None:
    hits = read_hits(whole)
    assert hits.particles["event"].tolist() == [0, 1, 2]
    for particle in range(3):
        first, last = hits.particles["first_hit"][particle : particle + 2]
        assert (hits.hits["particle"][first:last] == particle).all()
        assert hits.hits["energy"][first:last].sum() == pytest.approx(hits.events["generated"][particle])
    assert len(hits.showers(fast=False)) == 0
    assert len(hits.showers(fast=True)) == 3


def test_spans_are_parts_of_the_whole(whole: Path) -> None:
    hits = read_hits(whole)
    spans = list(read_in_spans(whole, 2))
    assert [len(span.events["incident"]) for span in spans] == [2, 1]
    assert spans[1].particles["first_hit"][0] == spans[1].events["first_particle"][0] == 0
    assert (spans[1].hits["particle"] == 0).all()
    np.testing.assert_array_equal(np.concatenate([span.hits["cell"] for span in spans]), hits.hits["cell"])
    np.testing.assert_array_equal(np.concatenate([span.showers().energies for span in spans]), hits.showers().energies)
