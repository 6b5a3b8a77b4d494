"""Search: what is found is what is nearest, and every mistake is told."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastv
from fastv.errors import DomainError, FastVError, FileFormatError, GeometryError, OutputError, SettingsError
from fastv.evaluation.observables.observe import observe
from fastv.retrieval.hamming import HammingSearch
from fastv.retrieval.index_folder import Index
from fastv.retrieval.likeness import distances, moments_of
from fastv.retrieval.looking import spread_of
from fastv.retrieval.reading import SearchWarning
from fastv.sample import sample_path
from fastv.showers import Showers, ShowersFile

Make = Callable[..., Showers]
Save = Callable[..., Path]


@pytest.fixture
def index(model: Path, files: list[Path], tmp_path: Path) -> Path:
    fastv.index(model, files, tmp_path / "i")
    return tmp_path / "i"


def read(path: Path) -> Showers:
    with ShowersFile(path) as file:
        return file[:]


def test_a_shower_finds_itself_and_then_the_nearest(index: Path, files: list[Path]) -> None:
    found = fastv.search(index, files[0], event=20, k=5, candidates=159, radius=20)
    first = found.matches[0]
    assert (first.file, first.row, first.bits, first.distance) == (str(files[0]), 20, 0, 0.0)
    both = [read(path) for path in files]
    query, spread = both[0][20:21], spread_of(Index(index).model.generator)
    exact = np.concatenate([distances(query, showers, spread) for showers in both])
    exact[7] = np.inf  # it has no energy
    places = [(str(files[int(n >= 110)]), int(n - 110 * (n >= 110))) for n in np.argsort(exact)[:5]]
    assert [(match.file, match.row) for match in found.matches] == places
    np.testing.assert_allclose([match.distance for match in found.matches], np.sort(exact)[:5])
    assert found.compared == 159
    assert found.matches[1].energy == pytest.approx(
        both[files.index(Path(found.matches[1].file))].incident_energies[found.matches[1].row]
    )


def test_the_distance_is_of_standardised_moments(make_showers: Make) -> None:
    showers = make_showers(30)
    moments = moments_of(observe(showers))
    spread = np.arange(1.0, 9.0)
    by_hand = [
        sum(((a - b) / s) ** 2 for a, b, s in zip(row, moments[4], spread, strict=True)) ** 0.5 for row in moments
    ]
    np.testing.assert_allclose(distances(showers[4:5], showers, spread), by_hand, rtol=1e-6, atol=1e-6)


def test_all_within_the_radius(index: Path, files: list[Path]) -> None:
    opened = Index(index)
    bits = np.unpackbits(np.asarray(opened.codes), axis=1)
    away = (bits != bits[19]).sum(axis=1)  # shower 20: one before it is empty
    for radius in (0, 10, 25):
        found = fastv.search(opened, files[0], event=20, radius=radius, candidates=1, k=1)
        assert [match.bits for match in found.within] == away[away <= radius].tolist()
        assert [match.bits for match in found.same_code] == [0] * int((away == 0).sum())
        assert found.compared == max(1, int((away <= radius).sum()))


def test_by_default_one_in_a_hundred_is_compared_and_ten_for_each_asked(index: Path, files: list[Path]) -> None:
    assert fastv.search(index, files[0], event=20, k=3, radius=0).compared == 30
    assert fastv.search(index, files[0], event=20, k=30, radius=0).compared == 159


def test_the_showers_found_are_written(index: Path, files: list[Path], tmp_path: Path) -> None:
    found = fastv.search(index, files[1], event=3, k=4, output=tmp_path / "found.h5")
    written = read(tmp_path / "found.h5")
    assert len(written) == 4
    np.testing.assert_array_equal(written.energies[0], read(files[1]).energies[3])
    for match, shower in zip(found.matches, written.energies, strict=True):
        np.testing.assert_array_equal(shower, read(Path(match.file)).energies[match.row])
    assert written.provenance["similar_to"] == f"{files[1]}, shower 3"
    with pytest.raises(OutputError, match="exists already"):
        fastv.search(index, files[1], event=3, output=tmp_path / "found.h5")
    fastv.search(index, files[1], event=3, k=2, output=tmp_path / "found.h5", force=True)
    assert len(read(tmp_path / "found.h5")) == 2


def test_showers_in_memory(index: Path, files: list[Path]) -> None:
    one = read(files[0])[20:21]
    assert fastv.search(index, one).matches == fastv.search(index, files[0], event=20).matches


def test_real_showers_are_found_again(save_model: Save, tmp_path: Path) -> None:
    """Most of the nearest showers are among a tenth of the showers by code, even before the code is trained."""
    train = read(sample_path("train"))
    model = save_model(tmp_path / "m", showers=train)
    fastv.index(model, sample_path("train"), tmp_path / "i")
    opened, shares = Index(tmp_path / "i"), []
    search = HammingSearch(opened.codes)
    moments, spread = moments_of(observe(train)), spread_of(opened.model.generator)
    for event in range(0, 100, 5):
        exact = np.sqrt((((moments - moments[event]) / spread) ** 2).sum(axis=1))
        near, _ = search.nearest(opened.codes[event], 60)
        shares.append(np.isin(np.argsort(exact)[:10], near).mean())
    assert np.mean(shares) > 0.8


class TestDrawing:
    """Showers drawn at random from those with near codes."""

    def drawn(self, index: Path, query: Path, output: Path, n: int, seed: int | None) -> list[tuple[str, int]]:
        found = fastv.search(index, query, event=20, radius=28, sample=n, seed=seed, output=output, force=True)
        assert (found.compared, found.showers, found.seed) == (n, None, seed or 0)
        return [(match.file, match.row) for match in found.matches]

    def test_real_showers_within_the_radius(
        self, index: Path, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("fastv.showers.writer.BLOCK_ROWS", 8)
        bucket = fastv.search(index, files[0], event=20, radius=28).within
        assert len(bucket) > 40
        places = self.drawn(index, files[0], tmp_path / "d.h5", 30, 1)
        assert len(set(places)) == 30
        assert set(places) < {(match.file, match.row) for match in bucket}
        written = read(tmp_path / "d.h5")
        own = {str(path): read(path).energies for path in files}
        np.testing.assert_array_equal(written.energies, [own[file][row] for file, row in places])
        assert (written.provenance["radius"], written.provenance["seed"]) == (28, 1)
        assert sorted(each.name for each in tmp_path.iterdir()) == ["a.h5", "b.h5", "d.h5", "i"]

    def test_by_its_seed(self, index: Path, files: list[Path], tmp_path: Path) -> None:
        first, again, other, default = (
            self.drawn(index, files[0], tmp_path / "d.h5", 20, seed) for seed in (0, 0, 5, None)
        )
        assert first == again == default != other

    def test_fewer_than_asked(self, index: Path, files: list[Path], tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="^within `radius=0` the index has 1 shower, fewer than 3; .*") as told:
            fastv.search(index, files[0], event=20, radius=0, sample=3, output=tmp_path / "d.h5")
        enough = int(str(told.value).split("`radius=")[-1].strip("`"))
        assert len(fastv.search(index, files[0], event=20, radius=enough).within) >= 3
        assert len(fastv.search(index, files[0], event=20, radius=enough - 1).within) < 3
        with pytest.raises(SettingsError, match="fewer than 200; .* none reaches that many"):
            fastv.search(index, files[0], event=20, radius=64, sample=200, output=tmp_path / "d.h5")
        assert not (tmp_path / "d.h5").exists()

    def test_what_does_not_belong_together(self, index: Path, files: list[Path], tmp_path: Path) -> None:
        output = tmp_path / "d.h5"
        mistakes: list[tuple[dict[str, Any], str]] = [
            ({"sample": 3}, "say where with `output`"),
            ({"seed": 3}, "`seed` belongs to `sample`"),
            ({"sample": 3, "k": 10, "output": output}, "and `k` takes the most similar ones"),
            ({"sample": 3, "candidates": 10, "output": output}, "and `candidates` takes the most"),
            ({"sample": 0, "output": output}, "`sample` must be at least 1, got 0"),
            ({"sample": 1, "seed": -1, "output": output}, "`seed` must be at least 0, got -1"),
        ]
        for given, told in mistakes:
            with pytest.raises(SettingsError, match=told):
                fastv.search(index, files[0], event=0, **given)


class TestFilesThatHaveChanged:
    def test_a_missing_file_is_left_out_and_told(self, index: Path, files: list[Path]) -> None:
        files[0].rename(files[0].with_suffix(".away"))
        with pytest.warns(SearchWarning, match=r"a\.h5: indexed in .* and now missing; .*; its showers are left out"):
            found = fastv.search(index, files[1], event=0, candidates=159)
        assert {match.file for match in found.matches} == {str(files[1])}
        assert found.compared == 50
        assert len(found.left_out) == 1

    def test_a_changed_file_is_left_out_and_told(self, index: Path, files: list[Path], make_showers: Make) -> None:
        make_showers(110, seed=9).write(files[0], force=True)
        with pytest.warns(SearchWarning, match=r"a\.h5: changed since it was indexed in .*; build the index anew"):
            fastv.search(index, files[1], event=0, candidates=159)

    def test_none_is_left(self, index: Path, files: list[Path], tmp_path: Path) -> None:
        query = shutil.copy(files[1], tmp_path / "query.h5")
        for path in files:
            path.unlink()
        with pytest.raises(FileFormatError, match=r"a\.h5: indexed in .* and now missing"):
            fastv.search(index, query, event=0, candidates=159)

    def test_a_file_that_was_touched_is_the_same(self, index: Path, files: list[Path]) -> None:
        os.utime(files[0], ns=(1, 1))
        assert fastv.search(index, files[0], event=20).matches[0].distance == 0

    def test_an_index_that_was_moved_with_its_files(self, index: Path, files: list[Path], tmp_path: Path) -> None:
        moved = tmp_path / "moved"
        moved.mkdir()
        for path in (index, *files):
            path.rename(moved / path.name)
        assert fastv.search(moved / "i", moved / "a.h5", event=20).matches[0].distance == 0


class TestRefused:
    def test_several_showers(self, index: Path, files: list[Path]) -> None:
        with pytest.raises(SettingsError, match=r"a\.h5: 110 showers; choose one with `event=...`, 0 to 109$"):
            fastv.search(index, files[0])
        for event in (-1, 110):
            with pytest.raises(SettingsError, match=f"no shower {event}; choose `event` from 0 to 109"):
                fastv.search(index, files[0], event=event)

    def test_a_shower_without_energy(self, index: Path, files: list[Path]) -> None:
        with pytest.raises(SettingsError, match="shower 7 has no energy, and so no code"):
            fastv.search(index, files[0], event=7)

    def test_another_kind_of_showers(self, index: Path, make_showers: Make) -> None:
        one = make_showers(1)
        pion = replace(one, pdg=np.array([211], np.int32))
        with pytest.raises(DomainError, match=r"particle 'pi\+'; the model was trained on: e-"):
            fastv.search(index, pion)
        assert fastv.search(index, pion, extrapolate=True).matches
        mesh = fastv.ReadoutMesh.cylinder(layers=2, alpha_cells=4, r_cells=3, layer_thickness=3.4, r_size=4.65)
        other = replace(one, detector=one.detector.model_copy(update={"name": "other", "mesh": mesh}))
        with pytest.raises(
            GeometryError, match=r"'other' has another mesh \(2 layers .* than the showers of .*tiny: 3 layers"
        ):
            fastv.search(index, other)
        thick = fastv.ReadoutMesh.cylinder(layers=3, alpha_cells=4, r_cells=2, layer_thickness=9.9, r_size=4.65)
        other = replace(one, detector=one.detector.model_copy(update={"name": "thick", "mesh": thick}))
        with pytest.raises(GeometryError, match="the detector 'thick' has cells of other sizes than"):
            fastv.search(index, other)
        scale = replace(one, detector=one.detector.model_copy(update={"energy_scale": 0.05}))
        with pytest.raises(GeometryError, match="another energy scale or threshold"):
            fastv.search(index, scale)

    @pytest.mark.parametrize("bad", [{"k": 0}, {"radius": -1}, {"candidates": 0}])
    def test_numbers_that_are_too_small(self, bad: dict[str, int], index: Path, files: list[Path]) -> None:
        with pytest.raises(SettingsError, match=f"`{next(iter(bad))}` must be at least"):
            fastv.search(index, files[0], event=0, **bad)

    def test_before_any_work(self, index: Path, files: list[Path], tmp_path: Path) -> None:
        with pytest.raises(FastVError, match=r"showers are written to a file that ends in"):
            fastv.search(index, files[0], event=0, output=tmp_path / "found.root")
