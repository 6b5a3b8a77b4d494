"""Intrinsic dimensions: those of shapes that are known, with their errors, and of showers of which some are no use."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastv.errors import GeometryError, OutputError, SettingsError
from fastv.representation.intrinsic_dimension import at_scales, distinct, two_nearest
from fastv.representation.manifold import manifold
from fastv.sample import sample_path
from fastv.showers import Showers, ShowersFile

Make = Callable[..., Showers]


@pytest.fixture(scope="module")
def real() -> Showers:
    with ShowersFile(sample_path("train")) as file:
        return file[:300]


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_the_dimension_of_a_curved_surface_in_many_dimensions(dimension: int) -> None:
    rng = np.random.default_rng(3)
    inner = rng.uniform(-1, 1, (1500, dimension))
    # A density that is not constant, and a surface that is not flat.
    points = np.sin(np.concatenate([inner**3, inner], axis=1) @ rng.normal(size=(2 * dimension, 20)))
    found = two_nearest(points.astype(np.float32))
    assert abs(found.value - dimension) < 3 * found.error + 0.04 * dimension
    assert found.error < 0.12 * dimension


def test_the_error_is_no_less_than_the_spread_of_independent_samples() -> None:
    rng = np.random.default_rng(1)
    found = [two_nearest(rng.normal(size=(300, 3)).astype(np.float32)) for _ in range(60)]
    spread = np.std([each.value for each in found])
    # Of 60 values the spread is known to 9 %.
    assert 1 < np.mean([each.error for each in found]) / spread < 2.3


def test_noise_is_seen_on_small_scales_only() -> None:
    rng = np.random.default_rng(2)
    line = np.zeros((2000, 8))
    line[:, 0] = rng.uniform(0, 1, 2000)
    noisy = line + 3e-4 * rng.normal(size=line.shape)
    whole, *_, few = at_scales(noisy.astype(np.float32), 60)
    assert whole.points == 2000
    assert few.points == 62
    assert few.distance > 5 * whole.distance
    assert whole.value > 2
    assert few.value < 1.4


def test_neither_units_nor_order_nor_place_matter() -> None:
    points = np.random.default_rng(4).normal(size=(200, 4))
    first, *others = (two_nearest(each.astype(np.float32)) for each in (points, 1e3 * points[::-1], points + 50))
    for other in others:
        assert other.value == pytest.approx(first.value, rel=1e-3)


def test_distinct_points() -> None:
    points = np.array([[0, 1], [0, 1], [1, 0], [0, 1], [2, 2]], dtype=np.float32)
    assert distinct(points).tolist() == [0, 2, 4]


@pytest.mark.parametrize("on", ["voxels", "observables"])
def test_showers_that_hardly_fluctuate_have_fewer_dimensions(on: str, real: Showers, tmp_path: Path) -> None:
    """Mixtures of two showers at random shares and energies are a surface of two dimensions."""
    rng = np.random.default_rng(1)
    share, energy = rng.uniform(0, 1, (200, 1)), rng.uniform(2e4, 5e4, (200, 1))
    big = np.argsort(-real.incident_energies)[:2]
    unit = real.energies[big] / real.incident_energies[big, None]
    mixed = ((share * unit[0] + (1 - share) * unit[1]) * energy).astype(np.float32)
    replace(real[:200], energies=mixed, incident_energies=energy[:, 0]).write(tmp_path / "mixed.h5")
    real.write(tmp_path / "real.h5")
    found = manifold([tmp_path / "real.h5", tmp_path / "mixed.h5"], tmp_path / "out", bins=1, on=on)  # type: ignore[arg-type]
    (true, *_), (flat, *_) = (scales[0] for scales in found.scales)
    # As many showers of both, though there are more of one.
    assert true.points == flat.points == 200
    assert flat.value < 3
    assert true.value > 10
    assert found.differences(1)[0] < -3
    told = json.loads((tmp_path / "out" / "manifold.json").read_text())
    assert told["files"][1]["name"] == "mixed"
    assert (tmp_path / "out" / "manifold.png").stat().st_size > 5000


def test_empty_and_repeated_showers_are_left_out_and_counted(real: Showers, tmp_path: Path) -> None:
    real.write(tmp_path / "real.h5")
    rows = np.concatenate([np.arange(300), np.arange(30), np.arange(7)])
    energies = real.energies[rows]
    energies[-7:] = 0
    repeated = replace(real[rows], energies=energies)
    repeated.write(tmp_path / "repeated.h5")
    plain, again = (manifold(tmp_path / f"{name}.h5", tmp_path / name, bins=2) for name in ("real", "repeated"))
    assert (plain.empty, plain.repeated) == ((0,), (0,))
    assert (again.empty, again.repeated) == ((7,), (30,))
    assert sum(bins[0].points for bins in again.scales[0]) == 300


def test_showers_of_other_energies_are_not_used(real: Showers, tmp_path: Path) -> None:
    order = np.argsort(real.incident_energies)
    real[order[100:200]].write(tmp_path / "middle.h5")
    real.write(tmp_path / "real.h5")
    found = manifold([tmp_path / "middle.h5", tmp_path / "real.h5"], tmp_path / "out", bins=1)
    (middle, *_), (all_of_it, *_) = (scales[0] for scales in found.scales)
    assert middle.points == all_of_it.points == 100
    assert all_of_it.value == pytest.approx(middle.value)


def test_dimensions_that_cannot_be_had(real: Showers, make_showers: Make, tmp_path: Path) -> None:
    real.write(tmp_path / "real.h5")
    real[:20].write(tmp_path / "few.h5")
    real[np.zeros(60, dtype=np.int64)].write(tmp_path / "alike.h5")
    make_showers(60).write(tmp_path / "tiny.h5")
    empty = replace(real[:60], energies=np.zeros_like(real.energies[:60]))
    empty.write(tmp_path / "empty.h5")
    out = tmp_path / "out"
    for files, settings, error, words in (
        (["few"], {}, SettingsError, r"few\.h5: there are 4 showers .*; at least 50 .* fewer bins, see `bins="),
        (["alike"], {}, SettingsError, r"1 shower with energy from .* GeV besides 59 repeated ones"),
        (["empty"], {"bins": 1}, SettingsError, "there is no shower with energy"),
        (["real", "tiny"], {}, GeometryError, "differ in the cells"),
        (["real"], {"bins": 0}, SettingsError, "`bins` must be at least 1, got 0"),
        (["real"], {"showers": 10}, SettingsError, "`showers` must be at least 50, got 10"),
        (["real"], {"on": "pixels"}, SettingsError, "unknown kind of features 'pixels'"),
    ):
        with pytest.raises(error, match=words):
            manifold([tmp_path / f"{name}.h5" for name in files], out, **settings)  # type: ignore[arg-type]
    assert not out.exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(OutputError, match="FastV did not write it"):
        manifold(tmp_path / "real.h5", tmp_path / "mine", bins=1, force=True)
