"""Duplicates: as by comparing all pairs of showers; exact and near copies are told apart, and mistakes are told."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fastv
from fastv.errors import DomainError, FileFormatError, SettingsError
from fastv.evaluation.integrity.neighbours import ShapeSpace
from fastv.retrieval import Duplicates, duplicates, repeats
from fastv.retrieval.index_folder import Index
from fastv.retrieval.reading import SearchWarning
from fastv.showers import Showers, ShowersFile

Make = Callable[..., Showers]
ALL = 64


def turned(shower: np.ndarray, cells: int) -> np.ndarray:
    return np.roll(shower.reshape(3, 4, 2), cells, axis=1).reshape(-1)


@pytest.fixture(scope="module")
def paths(make_showers: Make, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two files of 40 and 30 showers. Of the second, 2 is 5 of the first, 4 is 6 scaled, 8 is 7 rotated, 12 is 10."""
    first, second = make_showers(40, seed=3), make_showers(30, seed=4)
    first.energies[0] = 0
    second.energies[2] = first.energies[5]
    second.energies[4] = 1.01 * first.energies[6]
    second.energies[8] = turned(first.energies[7], 1)
    second.energies[12] = second.energies[10]
    folder = tmp_path_factory.mktemp("showers")
    paths = [folder / "a.h5", folder / "b.h5"]
    first.write(paths[0])
    second.write(paths[1])
    return paths


@pytest.fixture(scope="module")
def index(model: Path, paths: list[Path]) -> Path:
    fastv.index(model, paths, paths[0].parent / "i")
    return paths[0].parent / "i"


def read(path: Path) -> Showers:
    with ShowersFile(path) as file:
        return file[:]


def told(found: Duplicates) -> list[tuple[str, int, str, int]]:
    return [(Path(p.file).name, p.row, Path(p.of_file).name, p.of_row) for p in found.pairs]


def test_within_an_index(index: Path) -> None:
    found = duplicates(index, radius=ALL)
    assert (found.searched, found.candidates, found.left_out) == (69, 69 * 68 // 2, ())
    assert told(found)[:2] == [("b.h5", 2, "a.h5", 5), ("b.h5", 12, "b.h5", 10)]
    assert [pair.exact for pair in found.pairs[:2]] == [True, True]
    near = {(pair.row, pair.of_row): pair for pair in found.pairs if not pair.exact}
    assert {(4, 6), (8, 7)} <= set(near)
    assert near[4, 6].scale == pytest.approx(1.01, rel=1e-5)
    assert near[8, 7].turned_cells % 4 == 3
    assert max(near[4, 6].distance, near[8, 7].distance) < 1e-3
    assert found.repeats(exact=True) == 2
    assert found.repeats(exact=False) == len({(pair.file, pair.row) for pair in found.pairs}) - 2


def test_the_same_as_comparing_all_pairs(index: Path, paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    both = np.concatenate([read(path).energies for path in paths])
    rows = [("a.h5", row) for row in range(40)] + [("b.h5", row) for row in range(30)]
    space, hits = ShapeSpace(read(paths[0]).mesh), (both > 0).sum(axis=1)
    codes = dict(zip([n for n in range(70) if n], np.unpackbits(np.asarray(Index(index).codes), axis=1), strict=True))
    shapes = space.shapes(np.maximum(both, 1e-30))
    for radius, distance in ((ALL, 0.8), (25, 0.95)):
        expected = set()
        for late, early in itertools.combinations(range(69, 0, -1), 2):
            apart = math.sqrt(
                max(0.0, 2 - 2 * space.similarity(shapes[late : late + 1], shapes[early : early + 1])[0][0])
            )
            enough = min(hits[late], hits[early]) >= repeats.MIN_HITS and apart <= distance
            if (codes[late] != codes[early]).sum() <= radius and (enough or (both[late] == both[early]).all()):
                expected.add((*rows[late], *rows[early]))
        assert len(expected) > 10
        found = duplicates(index, radius=radius, distance=distance)
        assert set(told(found)) == expected
        # In pieces, the result is the same.
        with monkeypatch.context() as patch:
            patch.setattr(repeats, "MEMORY", 8 * 24 * 25)
            patch.setattr(repeats, "_READ", 20)
            patch.setattr(repeats, "_PAIRS", 100)
            assert duplicates(index, radius=radius, distance=distance) == found


def test_copies_in_a_file(index: Path, paths: list[Path], make_showers: Make, tmp_path: Path) -> None:
    new, old = make_showers(20, seed=9), read(paths[0])
    new.energies[0] = 0
    new.energies[3] = old.energies[11]
    new.energies[17] = old.energies[12] * np.float32(1.001)
    new.write(tmp_path / "new.h5")
    found = duplicates(index, tmp_path / "new.h5", distance=0.01)
    assert told(found) == [("new.h5", 3, "a.h5", 11), ("new.h5", 17, "a.h5", 12)]
    assert [pair.exact for pair in found.pairs] == [True, False]
    assert (found.searched, found.size) == (19, 69)


def test_showers_with_few_hits_are_not_near_copies(model: Path, make_showers: Make, tmp_path: Path) -> None:
    showers = make_showers(4)
    showers.energies[:] = 0
    showers.energies[:2, 5] = 30.0  # a single hit: equal by chance
    showers.energies[2:, :4] = 20.0
    showers.energies[3, :4] *= np.float32(1.001)
    showers.write(tmp_path / "few.h5")
    fastv.index(model, tmp_path / "few.h5", tmp_path / "i")
    found = duplicates(tmp_path / "i", radius=ALL)
    assert (found.pairs, found.faint) == ((), 1)
    showers.energies[3] = showers.energies[2]
    showers.write(tmp_path / "few.h5", force=True)
    fastv.index(model, tmp_path / "few.h5", tmp_path / "i", force=True)
    assert told(duplicates(tmp_path / "i")) == [("few.h5", 3, "few.h5", 2)]


def test_a_missing_file_is_left_out_and_told(index: Path, paths: list[Path]) -> None:
    away = [path.with_suffix(".away") for path in paths]
    try:
        paths[0].rename(away[0])
        with pytest.warns(SearchWarning, match=r"a\.h5: indexed in .* and now missing; .*; its showers are left out"):
            found = duplicates(index, radius=ALL, distance=0.01)
        assert told(found) == [("b.h5", 12, "b.h5", 10)]
        assert len(found.left_out) == 1
        paths[1].rename(away[1])
        with pytest.raises(FileFormatError, match="and now missing"):
            duplicates(index, radius=ALL)
    finally:
        for path, here in zip(away, paths, strict=True):
            if path.exists():
                path.rename(here)


class TestRefused:
    @pytest.mark.parametrize("bad", [{"radius": -1}, {"distance": -0.1}, {"distance": 1.5}, {"distance": math.nan}])
    def test_numbers_out_of_range(self, bad: dict[str, float], index: Path) -> None:
        with pytest.raises(SettingsError, match=f"^`{next(iter(bad))}` must be .* got {next(iter(bad.values())):g}$"):
            duplicates(index, **bad)  # type: ignore[arg-type]

    def test_too_many_pairs(self, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(repeats, "MOST_PAIRS", 100)
        with pytest.raises(SettingsError, match="^more than 100 pairs of showers are within `radius=64`; choose a sm"):
            duplicates(index, radius=ALL)

    def test_a_file_of_the_index(self, index: Path, paths: list[Path]) -> None:
        with pytest.raises(
            SettingsError, match=r"a\.h5: this file is in .*i; leave out `source` to find copies within"
        ):
            duplicates(index, paths[0])

    def test_another_kind_of_showers(self, index: Path, make_showers: Make, tmp_path: Path) -> None:
        pions = replace(make_showers(3), pdg=np.full(3, 211, np.int32))
        pions.write(tmp_path / "pions.h5")
        with pytest.raises(DomainError, match=r"pions\.h5: .*'pi\+'; the model was trained on: e-"):
            duplicates(index, tmp_path / "pions.h5")
        assert duplicates(index, tmp_path / "pions.h5", extrapolate=True).searched == 3
