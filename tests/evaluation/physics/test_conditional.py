"""A fault at one energy or angle is found there and named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastv.evaluation.observables.observe import Observables, observe
from fastv.evaluation.physics.condition_bins import angle_bins, energy_bins
from fastv.evaluation.physics.conditional import conditional, population
from fastv.sample import sample_path
from fastv.showers import Showers, ShowersFile


@pytest.fixture(scope="module")
def showers() -> Showers:
    """1400 showers to which angles are given; nothing depends on them."""
    with ShowersFile(sample_path("test")) as file:
        whole = file[:]
    return replace(whole, theta=np.random.default_rng(0).uniform(1.0, 1.57, len(whole)))


@pytest.fixture(scope="module")
def reference(showers: Showers) -> Observables:
    return observe(showers[:700])


def scaled(showers: Showers, rows: np.ndarray, by: float) -> Showers:
    gains = np.where(rows, by, 1.0)[:, None].astype(np.float32)
    return replace(showers, energies=showers.energies * gains)


def test_the_energy_of_the_fault_is_named(showers: Showers, reference: Observables) -> None:
    part = showers[700:]
    bad = scaled(part, (part.incident_energies > 2e4) & (part.incident_energies < 5e4), 0.9)
    generated = observe(bad, like=reference)
    bins = energy_bins(reference, generated, most=5)
    found = conditional(reference, generated, bins)
    assert found.worst is not None
    assert (found.worst.low or 0) < 3e4 < (found.worst.high or 0)
    assert found.worst.where.endswith(": E_tot/E_inc")
    assert found.worst.pull < -4
    assert found.p_value is not None
    assert found.p_value < 1e-3


def test_the_angle_of_the_fault_is_named(showers: Showers, reference: Observables) -> None:
    part = showers[700:]
    assert part.theta is not None
    generated = observe(scaled(part, part.theta < 1.1, 0.9), like=reference)
    bins = [*energy_bins(reference, generated), *angle_bins(reference, generated)]
    found = conditional(reference, generated, bins)
    assert found.worst is not None
    assert found.worst.where.startswith("theta 57.")
    assert found.p_value is not None
    assert found.p_value < 1e-3


def test_full_simulation_agrees_in_every_bin(showers: Showers, reference: Observables) -> None:
    generated = observe(showers[700:], like=reference)
    bins = [*energy_bins(reference, generated), *angle_bins(reference, generated)]
    for found in (conditional(reference, generated, bins), population(reference, generated, bins)):
        assert found.compared == len(bins)
        assert found.p_value is not None
        assert found.p_value > 1e-3, found.words


def test_missing_energies_and_angles_are_found(showers: Showers, reference: Observables) -> None:
    part = showers[700:]
    assert part.theta is not None
    for rows, name in (
        (part.incident_energies < 3e5, "GeV"),
        (part.theta > 1.15, "theta 57."),
    ):
        generated = observe(part[rows], like=reference)
        bins = [*energy_bins(reference, generated), *angle_bins(reference, generated)]
        found = population(reference, generated, bins)
        assert found.worst is not None
        assert name in found.worst.where
        assert found.worst.difference.value < 0
        assert found.p_value is not None
        assert found.p_value < 1e-6


def test_no_filled_bin(reference: Observables) -> None:
    few = reference[:30]
    assert conditional(few, few, energy_bins(few, few)).skipped
