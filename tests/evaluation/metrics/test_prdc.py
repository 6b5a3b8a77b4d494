"""Precision, recall, density and coverage against a naive implementation and in known geometries."""

from __future__ import annotations

import numpy as np
import pytest

from fastv.errors import TooFewShowersError
from fastv.evaluation.metrics import prdc as module
from fastv.evaluation.metrics.prdc import prdc
from fastv.evaluation.metrics.voxels import log_voxels
from fastv.evaluation.statistics.chance import shuffled_labels
from fastv.showers import Showers

FIGURES = ("precision", "recall", "density", "coverage")


def naive(x: np.ndarray, y: np.ndarray, k: int) -> list[float]:
    """All distances, as sums of squares in double precision."""

    def squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.array([((b.astype(float) - row.astype(float)) ** 2).sum(axis=1) for row in a])

    radius_x, radius_y = (np.sort(squared(z, z), axis=1)[:, k] for z in (x, y))
    xy = squared(x, y)
    in_reference, in_generated = xy < radius_x[:, None], xy < radius_y
    return [
        float(in_reference.any(axis=0).mean()),
        float(in_generated.any(axis=1).mean()),
        float(in_reference.sum(axis=0).mean() / k),
        float(in_reference.any(axis=1).mean()),
    ]


def values(result: module.Prdc) -> list[float]:
    return [getattr(result, name).value for name in FIGURES]


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TILE", 64)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize(
    ("n", "m", "v", "shift", "k"), [(300, 250, 5, 0, 5), (200, 333, 40, 0.3, 3), (90, 64, 2, 1, 1)]
)
def test_equals_the_naive_implementation(n: int, m: int, v: int, shift: float, k: int) -> None:
    rng = np.random.default_rng(n)
    x = rng.normal(size=(n, v)).astype(np.float32)
    y = rng.normal(shift, 1, size=(m, v)).astype(np.float32)
    assert values(prdc(x, y, neighbours=k, relabellings=0, threads=2)) == naive(x, y, k)
    assert values(prdc(x, y, neighbours=k, relabellings=4, threads=1)) == naive(x, y, k)


def test_equals_the_naive_implementation_for_showers(geant4: Showers, geant4_other: Showers) -> None:
    x, y = log_voxels(geant4)[0][:120], log_voxels(geant4_other)[0][:130]
    assert values(prdc(x, y, relabellings=0)) == naive(x, y, 5)


@pytest.mark.usefixtures("small_tiles")
def test_rounding_of_single_precision_changes_nothing() -> None:
    """Far from zero, and with distances that differ in their last digits only."""
    rng = np.random.default_rng(1)
    x, y = (1000 + rng.integers(0, 3, size=(2, 200, 30)) / 8).astype(np.float32)
    assert values(prdc(x, y, relabellings=0)) == naive(x, y, 5)


@pytest.mark.usefixtures("small_tiles")
def test_copies_are_tied_with_their_originals() -> None:
    """The k-th neighbour's copy lies on the ball, not in it: balls are open."""
    x = np.random.default_rng(2).normal(size=(200, 6)).astype(np.float32)
    assert values(prdc(x, x.copy(), relabellings=0)) == naive(x, x, 5)
    repeated = x[:40].repeat(8, axis=0)  # a generator that knows 40 showers
    found = prdc(x, repeated)
    assert values(found) == naive(x, repeated, 5)
    assert found.recall.value == 0
    assert found.chance is not None
    assert found.chance["recall"].p_value < 0.02


def test_known_geometry() -> None:
    """Reference at 0, 1, ..., 9 with k = 1: balls of radius 1, open. Generated at 2.5 and far away."""
    x = np.arange(10, dtype=np.float32)[:, None]
    y = np.concatenate([np.full(4, 2.5), 100 + np.arange(8)]).astype(np.float32)[:, None]
    found = prdc(x, y, neighbours=1, relabellings=0)
    assert found.precision.value == pytest.approx(4 / 12)  # the four between 2 and 3
    assert found.density.value == pytest.approx(4 * 2 / 12)  # each in the balls of 2 and 3
    assert found.coverage.value == pytest.approx(2 / 10)
    assert found.recall.value == 0  # the four coincide, so their balls are empty


def test_a_dropped_mode_is_seen() -> None:
    """Half of the reference lies where nothing is generated: coverage and recall fall by half, precision stays."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(600, 3)).astype(np.float32)
    x[300:] += 50
    y = rng.normal(size=(600, 3)).astype(np.float32)
    found = prdc(x, y, relabellings=30)
    assert found.coverage.value < 0.51
    assert found.recall.value < 0.51
    assert found.precision.value > 0.9
    assert found.chance is not None
    assert found.chance["coverage"].pull is not None
    assert found.chance["coverage"].pull < -10


@pytest.mark.usefixtures("small_tiles")
def test_relabelled_figures_equal_the_naive_ones() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(2, 150, 4)).astype(np.float32)
    pool = np.concatenate([x, y])
    labels = shuffled_labels(150, 150, 6, seed=42)
    expected = np.array([naive(pool[row], pool[~row], 5) for row in labels])
    chance = prdc(x, y, relabellings=6).chance
    assert chance is not None
    for i, name in enumerate(FIGURES):
        assert chance[name].expected == pytest.approx(expected[:, i].mean(), rel=1e-12)
        assert chance[name].spread == pytest.approx(expected[:, i].std(ddof=1), rel=1e-9)


def test_one_distribution_passes() -> None:
    x, y = np.random.default_rng(6).normal(size=(2, 500, 20)).astype(np.float32)
    chance = prdc(x, y).chance
    assert chance is not None
    assert all(each.p_value > 0.01 for each in chance.values())


def test_too_few_showers_are_refused() -> None:
    with pytest.raises(TooFewShowersError, match="more than 10 showers"):
        prdc(np.zeros((10, 2), dtype=np.float32), np.zeros((50, 2), dtype=np.float32))
