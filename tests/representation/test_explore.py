"""The page of codes: what it holds is what the model says, and what cannot be explored is refused."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastv.errors import DomainError, GeometryError, ModelError, OutputError, SettingsError
from fastv.model import Model
from fastv.models.contract import Generator
from fastv.representation import explore as module
from fastv.representation.explore import explore
from fastv.representation.explore_page import packed_hits
from fastv.representation.walks import STEPS
from fastv.showers import Showers
from helpers import model_of

Make = Callable[..., Showers]


@pytest.fixture(scope="module")
def showers(make_showers: Make) -> Showers:
    made = make_showers(60)
    response = np.random.default_rng(5).uniform(0.5, 1, 60).astype(np.float32)
    energies = made.energies * response[:, None]
    energies[energies < made.detector.threshold] = 0
    energies[[0, 7]] = 0
    return replace(made, energies=energies)


@pytest.fixture(scope="module")
def file(showers: Showers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("explore") / "showers.h5"
    showers.write(path)
    return path


@pytest.fixture(scope="module")
def model(showers: Showers) -> Model:
    return model_of("fastv", showers[np.flatnonzero(showers.energies.any(axis=1))])


@pytest.fixture(scope="module")
def exact(showers: Showers) -> Model:
    """A model whose code has no posterior."""
    return model_of("pca", showers[np.flatnonzero(showers.energies.any(axis=1))], density="gaussian", components=4)


def content(page: Path) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    """The JSON text of a page and its arrays."""
    (packed,) = re.findall(r'id="packed">([^<]+)<', page.read_text(encoding="utf-8"))
    data = zlib.decompress(base64.b64decode(packed))
    length = int.from_bytes(data[:4], "little")
    told = json.loads(data[4 : 4 + length])
    places = told.pop("arrays").items()
    return told, {n: np.frombuffer(data, f"<{kind}", size, 4 + length + at) for n, (kind, at, size) in places}


def unpacked(arrays: dict[str, np.ndarray[Any, Any]], voxels: int) -> np.ndarray[Any, Any]:
    """The showers (M, V) of a page."""
    found = np.zeros((len(arrays["hits"]), voxels))
    gaps, levels = iter(arrays["gaps"].tolist()), iter(arrays["levels"].tolist())
    for row, number in enumerate(arrays["hits"]):
        voxel, low, high = -1, arrays["lowest"][row], arrays["highest"][row]
        for _ in range(number):
            voxel += 1
            while (gap := next(gaps)) == 255:
                voxel += 255
            voxel += gap
            found[row, voxel] = low * (high / low) ** (next(levels) / 255)
    return found


def test_hits_come_back() -> None:
    rng = np.random.default_rng(1)
    energies = (rng.lognormal(0, 2.5, (6, 3000)) * (rng.random((6, 3000)) < 0.01)).astype(np.float32)
    energies[2] = 0
    energies[3], energies[3, 2999] = 0, 5.0
    energies[4], energies[4, [255, 510, 511, 2999]] = 0, 7.0
    arrays = packed_hits(energies)
    back = unpacked(arrays, 3000)
    np.testing.assert_array_equal(back > 0, energies > 0)
    np.testing.assert_allclose(back, energies, rtol=0.03)
    np.testing.assert_allclose(arrays["sums"], energies.sum(axis=1), rtol=1e-6)


def test_the_page_holds_what_the_model_says(model: Model, showers: Showers, file: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    explored = explore(model, file, page, showers=40, seed=3)
    assert len(explored.rows) + explored.empty == 40
    sample = showers[explored.rows]
    codes = model.encode(sample)
    told, arrays = content(page)
    assert told["names"] == [f"shower {row}" for row in explored.rows]
    places = [[*codes.groups].index(one.name.split()[0]) for one in explored.dimensions]
    assert places[0] == 0  # the exact number first
    kl = [one.kl for one in explored.dimensions[1:]]
    assert kl == sorted(kl, reverse=True)
    for number, one in enumerate(explored.dimensions):
        group, place = one.name.split()
        own = codes.groups[group].mean[:, int(place) - 1]
        np.testing.assert_allclose(arrays["codes"].reshape(len(sample), -1)[:, number], own, rtol=1e-3, atol=1e-4)
        assert one.variance == pytest.approx(own.var(), rel=1e-3, abs=1e-6)
        assert one.active is (None if group == "response" else bool(own.var() > 0.01))
    # Nearest in the whole code.
    away = np.linalg.norm(codes.matrix[:, None] - codes.matrix, axis=2)
    np.fill_diagonal(away, np.inf)
    np.testing.assert_allclose(
        arrays["distances"].reshape(len(sample), -1), np.sort(away, axis=1)[:, :6], rtol=1e-3, atol=1e-3
    )
    # True showers, their reconstructions, and walks that pass through these.
    there = unpacked(arrays, 24)
    made = model.reconstruct(sample).energies
    np.testing.assert_allclose(there[: len(sample)], sample.energies, rtol=0.03)
    np.testing.assert_allclose(there[len(sample) : 2 * len(sample)], made, rtol=0.04)
    walks = told["walks"]
    assert len(walks) == 3 * explored.walked == 3 * 14
    first = 2 * len(sample)
    still = made[walks[0]["row"]]
    np.testing.assert_allclose(there[first + STEPS.index(0)], still, rtol=0.04)
    assert np.abs(there[first] / there[first].sum() - still / still.sum()).sum() > 0
    assert there[first].sum() != pytest.approx(still.sum(), rel=1e-3)  # along the response
    assert len(there) == first + len(walks) * len(STEPS)
    effects = {one.name: one.effect for one in explored.dimensions}
    assert all(value is not None and value >= 0 for value in effects.values())
    assert effects["response 1"] > 0.1  # it moves the energies of all voxels


def test_the_same_seed_gives_the_same_page(exact: Model, file: Path, tmp_path: Path) -> None:
    pages = [tmp_path / f"{k}.html" for k in range(3)]
    for page, seed in zip(pages, (1, 1, 2), strict=True):
        explore(exact, file, page, showers=20, seed=seed)
    first, again, other = (page.read_bytes() for page in pages)
    assert first == again != other
    assert b"http" not in re.sub(rb"http://www.w3.org/2000/svg", b"", first)  # nothing from a network


def test_bits_are_flipped(showers: Showers, file: Path, tmp_path: Path) -> None:
    one = model_of("hashing", showers[np.flatnonzero(showers.energies.any(axis=1))])
    explored = explore(one, file, tmp_path / "page.html")
    told, _ = content(tmp_path / "page.html")
    assert {tuple(walk["steps"]) for walk in told["walks"]} == {(0.0, 1.0)}
    assert explored.active is None
    assert "The code is exact" in (tmp_path / "page.html").read_text()


def test_large_codes_are_cut(exact: Model, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_DIMENSIONS", 3)
    explored = explore(exact, file, tmp_path / "page.html")
    assert len(explored.dimensions) == explored.walked == 3
    assert explored.groups == {"components": 4}
    assert "3 of 4 numbers are shown" in (tmp_path / "page.html").read_text()


def test_an_encoder_without_a_decoder_walks_nothing(
    exact: Model, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(exact.generator), "decode", Generator.decode)
    explored = explore(exact, file, tmp_path / "page.html")
    assert (explored.walked, explored.reconstruction_error) == (0, None)
    told, _ = content(tmp_path / "page.html")
    assert (told["walks"], told["reconstructed"]) == ([], False)
    text = (tmp_path / "page.html").read_text()
    assert "has an encoder but no decoder" in text
    assert "<h2>Walk</h2>" not in text


def test_what_cannot_be_explored(exact: Model, showers: Showers, file: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    filled = showers[np.flatnonzero(showers.energies.any(axis=1))]
    with pytest.raises(ModelError, match="'library' has no encoder; families that have one: autoencoder"):
        explore(model_of("library", filled), file, page)
    for number in (9, 5001):
        with pytest.raises(SettingsError, match=f"10 to 5000 showers, not {number}"):
            explore(exact, file, page, showers=number)
    with pytest.raises(SettingsError, match="small' knows; give others, `source"):
        explore(exact, None, page)
    with pytest.raises(SettingsError, match=r"pages are written to a file that ends in \.html"):
        explore(exact, file, tmp_path / "page.txt")
    few = tmp_path / "few.h5"
    replace(showers[:14], energies=showers.energies[:14] * (np.arange(14) < 11)[:, None]).write(few)
    with pytest.raises(SettingsError, match="showers with energy, and so with a code: 9 of 14"):
        explore(exact, few, page)
    hot = tmp_path / "hot.h5"
    replace(filled, incident_energies=np.full(len(filled), 5e6)).write(hot)
    with pytest.raises(DomainError, match="outside the domain"):
        explore(exact, hot, page)
    assert len(explore(exact, hot, page, extrapolate=True).rows) == len(filled)
    from fastv.sample import sample_path

    with pytest.raises(GeometryError, match="differ in the cells"):
        explore(exact, sample_path("test"), page, force=True)
    with pytest.raises(OutputError, match="exists already"):
        explore(exact, file, page)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few.h5", "hot.h5", "page.html"]


def test_names_of_files_are_no_markup(exact: Model, showers: Showers, tmp_path: Path) -> None:
    odd = tmp_path / "<b>&.h5"
    showers.write(odd)
    explore(exact, odd, tmp_path / "page.html", showers=20)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<b>&." not in text
    assert "&lt;b&gt;&amp;.h5" in text
