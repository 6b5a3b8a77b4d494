"""Quantities of single showers on showers whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import gamma

from fastv.evaluation.observables.observe import observe
from fastv.evaluation.observables.shower_shape import (
    QUANTITIES,
    containment,
    gamma_parameters,
    quantity,
    quantity_histograms,
    shower_maximum,
)
from fastv.showers import Showers

Z = np.arange(8) + 0.5
ENERGIES = arrays(np.float64, (3, 8), elements=st.floats(0, 1e4))


def test_shower_start_against_interpolation(geant4: Showers) -> None:
    observables = observe(geant4[:50])
    edges = 3.4 * np.arange(46)
    for energies, start in zip(observables.layer_energies, quantity("shower start").of(observables), strict=True):
        cumulative = np.concatenate([[0], np.cumsum(energies, dtype=np.float64)]) / energies.sum(dtype=np.float64)
        assert start == pytest.approx(np.interp(0.05, cumulative, edges), abs=1e-3)


@given(st.floats(1.6, 6.4), st.floats(0.5, 20.0))
def test_maximum_of_a_parabola_is_exact(place: float, height: float) -> None:
    energies = 1000 * height - height * (Z - place) ** 2
    assert shower_maximum(energies[None], Z, np.ones(8))[0] == pytest.approx(place, abs=1e-6)


def test_maximum_of_layers_of_unequal_thickness() -> None:
    thickness = np.array([1.0, 2.0, 1.0, 3.0, 2.0])
    z = np.cumsum(thickness) - thickness / 2
    energies = thickness * (50 - (z - 3.3) ** 2)
    assert shower_maximum(energies[None], z, thickness)[0] == pytest.approx(3.3)


def test_maximum_at_the_ends_and_of_nothing() -> None:
    energies = np.array([[5.0, 1, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1, 5], [0] * 8, [1.0] * 8])
    np.testing.assert_array_equal(shower_maximum(energies, Z, np.ones(8)), [0.5, 7.5, 0.0, 0.5])


@given(ENERGIES)
def test_maximum_stays_beside_the_largest_layer(energies: np.ndarray) -> None:
    found = shower_maximum(energies, Z, np.ones(8))
    there = energies.max(axis=1) > 0
    assert (np.abs(found - Z[energies.argmax(axis=1)])[there] <= 0.5 + 1e-9).all()


def test_gamma_parameters_of_a_gamma_distribution() -> None:
    z = np.linspace(0, 400, 40_001)
    weight = gamma.pdf(z, 5.0, scale=12.0)
    mean = np.array([(z * weight).sum() / weight.sum()])
    width = np.sqrt(((z - mean) ** 2 * weight).sum() / weight.sum())
    shape, scale = gamma_parameters(mean, np.array([width]))
    assert shape[0] == pytest.approx(5.0, rel=1e-3)
    assert scale[0] == pytest.approx(12.0, rel=1e-3)
    assert [float(x[0]) for x in gamma_parameters(np.zeros(1), np.zeros(1))] == [0, 0]


@given(ENERGIES, st.floats(0.05, 0.95))
def test_containment_holds_its_part(energies: np.ndarray, fraction: float) -> None:
    edges = np.array([0.0, 1, 2, 4, 8, 9, 10, 20, 21])
    radius = containment(energies, edges, fraction)
    for row, r in zip(energies, radius, strict=True):
        cumulative = np.concatenate([[0], np.cumsum(row)])
        if cumulative[-1] > 0:
            assert np.interp(r, edges, cumulative) == pytest.approx(fraction * cumulative[-1], rel=1e-6, abs=1e-9)
        else:
            assert r == 0


@pytest.mark.parametrize("sample", ["geant4", "irregular"])
def test_every_quantity_is_a_finite_number_of_every_shower(sample: str, request: pytest.FixtureRequest) -> None:
    observables = observe(request.getfixturevalue(sample)[:100])
    for each in QUANTITIES:
        values = each.of(observables)
        assert values.shape == (100,)
        assert values.dtype == np.float64
        assert np.isfinite(values).all(), each.name
    assert quantity("shower start").unit_on(observables.detector.mesh) == ("mm" if sample == "geant4" else "layers")


def test_maximum_goes_deeper_by_a_radiation_length_per_factor_e(geant4: Showers) -> None:
    """t_max = ln(E/E_c) + C in radiation lengths, 4.22 mm here."""
    observables = observe(geant4)
    slope = np.polyfit(np.log(observables.incident_energies), quantity("shower maximum").of(observables), 1)[0]
    assert slope / 4.22 == pytest.approx(1.0, abs=0.15)


def test_ninety_percent_lie_within_a_moliere_radius_or_so(geant4: Showers) -> None:
    radius = quantity("radius of 90 %").of(observe(geant4[geant4.incident_energies > 1e5]))
    assert 8 < radius.mean() < 20


def test_histograms_have_the_edges_of_the_reference(geant4: Showers, geant4_other: Showers) -> None:
    a, b = observe(geant4), observe(geant4_other)
    first, second = quantity_histograms("longitudinal mean", a, b, bins=20)
    assert first.axes[0] == second.axes[0]
    assert len(first.values()) == 20
    assert first.sum() >= 0.99 * len(a)


def test_the_axis_offset_is_the_distance_of_the_centre_of_energy(geant4: Showers) -> None:
    """Also along y alone."""
    some = geant4[:20]
    x, y = (some.energies.astype(np.float64) @ some.mesh.voxel_centres[:, i] for i in (0, 1))
    expected = np.hypot(x, y) / some.energies.sum(axis=1, dtype=np.float64)
    np.testing.assert_allclose(quantity("axis offset").of(observe(some)), expected, rtol=1e-3)
