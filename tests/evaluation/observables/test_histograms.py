"""Binning and separation power."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fastv.evaluation.observables.histograms import (
    binning,
    counts_histogram,
    energy_edges,
    expected_separation,
    expected_voxel_separation,
    histogram,
    padded_edges,
    separation_power,
    voxel_spectrum,
)
from fastv.evaluation.observables.observe import observe
from fastv.showers import Showers

EDGES = np.linspace(0, 1, 13)
COUNTS = arrays(np.int64, 12, elements=st.integers(0, 10_000))


@given(COUNTS, COUNTS)
def test_separation_is_symmetric_and_bounded(a: np.ndarray, b: np.ndarray) -> None:
    h, k = counts_histogram(a, EDGES), counts_histogram(b, EDGES)
    assert 0 <= separation_power(h, k) <= 1 + 1e-12
    assert separation_power(h, k) == pytest.approx(separation_power(k, h), abs=1e-15)


@given(COUNTS, st.integers(1, 9))
def test_separation_sees_shape_only(a: np.ndarray, factor: int) -> None:
    h, scaled = counts_histogram(a, EDGES), counts_histogram(factor * a, EDGES)
    assert separation_power(h, h) == 0
    assert separation_power(h, scaled) == pytest.approx(0, abs=1e-15)


def test_separation_of_disjoint_and_empty_histograms() -> None:
    left, right = (counts_histogram(np.eye(12, dtype=int)[i], EDGES) for i in (0, 11))
    empty = counts_histogram(np.zeros(12, dtype=int), EDGES)
    assert separation_power(left, right) == pytest.approx(1)
    assert separation_power(left, empty) == 1
    assert separation_power(empty, empty) == 0


@given(arrays(np.float64, 50, elements=st.floats(-0.5, 1.5)))
def test_histogram_equals_numpy(values: np.ndarray) -> None:
    values[:3] = 0.0, 0.5, 1.0
    np.testing.assert_array_equal(histogram(values, EDGES).values(), np.histogram(values, EDGES)[0])


@pytest.mark.parametrize(("n", "m"), [(1000, 1000), (400, 2000)])
def test_expected_separation_is_what_chance_gives(n: int, m: int) -> None:
    rng = np.random.default_rng(4)
    found, expected = [], []
    for _ in range(300):
        h, k = (histogram(rng.beta(2, 2, size), EDGES) for size in (n, m))
        found.append(separation_power(h, k))
        expected.append(expected_separation(h, k))
    assert np.mean(expected) == pytest.approx(np.mean(found), rel=0.1)
    if n == m:
        assert expected[0] == pytest.approx(11 / (2 * n), rel=0.1)


def test_expected_voxel_separation_knows_that_voxels_of_a_shower_are_correlated() -> None:
    rng = np.random.default_rng(5)
    found, expected, naive = [], [], []
    for _ in range(200):
        spectra = []
        for _ in range(2):
            # Each shower has its own slope, so its 300 voxels are no independent draws.
            shares = rng.dirichlet(np.full(12, 4.0), 200)
            spectra.append(rng.poisson(300 * shares))
        h, k = (counts_histogram(s.sum(axis=0), EDGES) for s in spectra)
        found.append(separation_power(h, k))
        expected.append(expected_voxel_separation(*spectra))
        naive.append(expected_separation(h, k))
    assert np.mean(expected) == pytest.approx(np.mean(found), rel=0.1)
    assert np.mean(naive) < 0.5 * np.mean(found)


def test_binning_of_the_challenge(geant4: Showers) -> None:
    observables = observe(geant4)
    edges = binning(observables)
    np.testing.assert_array_equal(edges.per_shower["E_tot/E_inc"], np.linspace(0.5, 1.5, 101))
    for layer in (0, 20, 44):
        energies = edges.per_layer["layer energy"][layer]
        assert energies is not None
        assert len(energies) == 40
        assert energies[0] == geant4.detector.threshold
        assert energies[-1] == observables.layer_energies[:, layer].max()
        counts = histogram(observables.layer_energies[:, layer], energies).values()
        assert counts.sum() == (observables.layer_energies[:, layer] > 0).sum()
        np.testing.assert_array_equal(edges.per_layer["EC_eta"][layer], np.linspace(-30, 30, 101))
        np.testing.assert_array_equal(edges.per_layer["width_r"][layer], np.linspace(0, 20, 101))
    assert voxel_spectrum(observables).sum() == observables.voxel_counts.sum()


def test_layers_without_alpha_cells_have_no_alpha_observables(irregular: Showers) -> None:
    edges = binning(observe(irregular))
    assert [e is None for e in edges.per_layer["EC_eta"]] == [True, False, False, True]
    assert [e is None for e in edges.per_layer["EC_r"]] == [False] * 4


def test_uncalibrated_energies_move_the_range(geant4: Showers) -> None:
    observables = observe(geant4)
    few_percent = observables[:]
    few_percent.layer_energies[...] = observables.layer_energies * 0.03
    edges = binning(few_percent).per_shower["E_tot/E_inc"]
    assert edges[0] < np.median(few_percent.visible_fraction) < edges[-1] < 0.1


def test_one_energy_has_one_bin() -> None:
    assert len(energy_edges(np.full(100, 5e4))) == 2


@given(st.floats(-1e6, 1e6), arrays(np.float64, 5, elements=st.floats(-1, 1)), st.floats(0, 1e-6))
def test_edges_rise_and_hold_what_is_equal_up_to_rounding(value: float, noise: np.ndarray, size: float) -> None:
    values = value * (1 + size * noise)
    edges = padded_edges(values, 100)
    assert (np.diff(edges) > 0).all()
    assert histogram(values, edges).values().sum() == 5


def test_layer_energies_at_the_threshold_have_rising_edges(make_showers: Callable[..., Showers]) -> None:
    showers = make_showers(100, energies=np.full((100, 24), 5e-4, dtype=np.float32))
    edges = binning(observe(showers))
    assert all((np.diff(each) > 0).all() for each in edges.per_layer["layer energy"] if each is not None)
