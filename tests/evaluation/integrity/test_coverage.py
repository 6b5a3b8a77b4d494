"""Coverage against its definition and expectation; planted missing modes must be found and named."""

from __future__ import annotations

import numpy as np
import pytest

from fastv.evaluation.integrity.coverage import (
    FEATURES,
    Features,
    coverage,
    covered,
    dropped_modes,
    expected_coverage,
    features,
)
from fastv.evaluation.observables.observe import Observables, observe
from fastv.sample import sample_path
from fastv.showers import Showers, ShowersFile


@pytest.fixture(scope="module")
def samples() -> tuple[Observables, Observables]:
    """Two halves of 1400 Geant4 showers."""
    with ShowersFile(sample_path("test")) as file:
        both = observe(file[:])
    return both[:700], both[700:]


def gaussian(n: int, seed: int, d: int = 9) -> Features:
    rng = np.random.default_rng(seed)
    return Features(rng.normal(size=(n, d)), rng.uniform(np.log(1e3), np.log(1e6), n))


def test_covered_equals_its_definition() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(60, 3)), rng.normal(0.5, 1, size=(40, 3))
    within = np.sort(np.linalg.norm(a[:, None] - a[None], axis=2), axis=1)[:, 5]
    across = np.linalg.norm(a[:, None] - b[None], axis=2).min(axis=1)
    np.testing.assert_array_equal(covered(a, b), across <= within)


@pytest.mark.parametrize(("n", "m"), [(200, 200), (300, 100), (100, 400)])
def test_expected_coverage_of_one_distribution(n: int, m: int) -> None:
    rng = np.random.default_rng(n + m)
    values = [covered(rng.normal(size=(n, 4)), rng.normal(size=(m, 4))).mean() for _ in range(60)]
    error = np.std(values) / np.sqrt(60)
    assert np.mean(values) == pytest.approx(expected_coverage(n, m), abs=4 * error)


def test_errors_of_the_coverage_hold() -> None:
    pulls = []
    for seed in range(30):
        found = coverage(gaussian(400, 2 * seed), gaussian(400, 2 * seed + 1), energy_bins=2)
        assert found.value is not None
        assert found.floor is not None
        assert found.error is not None
        pulls.append((found.value - found.floor) / found.error)
    assert 0.5 < np.std(pulls) < 1.4
    assert abs(np.mean(pulls)) < 0.5


def test_geant4_covers_geant4_and_drops_nothing(samples: tuple[Observables, Observables]) -> None:
    reference, other = (features(sample, samples[0]) for sample in samples)
    found, modes = coverage(reference, other), dropped_modes(reference, other)
    assert found.status == modes.status == "agrees"
    assert found.value == pytest.approx(found.floor, abs=0.04)
    assert modes.missing == ()
    assert modes.different is not None
    assert modes.different < 0.25


def test_features_are_deviations_from_the_reference(samples: tuple[Observables, Observables]) -> None:
    own = features(samples[0], samples[0])
    assert own.deviations.shape == (700, len(FEATURES))
    np.testing.assert_allclose(own.deviations.mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(own.deviations.std(axis=0), 1, atol=0.1)
    for feature in own.deviations.T:
        assert abs(np.corrcoef(feature, own.log_energies)[0, 1]) < 0.1


def test_late_showers_that_are_missing_are_named(samples: tuple[Observables, Observables]) -> None:
    reference, other = (features(sample, samples[0]) for sample in samples)
    start = other.deviations[:, list(FEATURES).index("shower start")]
    early = start < np.quantile(start, 0.8)
    modes = dropped_modes(reference, Features(other.deviations[early], other.log_energies[early]))
    assert modes.status == "differs"
    assert any("late start" in mode.name for mode in modes.missing)
    assert "late start" in modes.words
    assert modes.value is not None
    assert modes.value < 0.3


def test_a_missing_class_is_named_and_uncovered() -> None:
    """One shower in five is of a second class, which the generator does not make."""
    reference, generated = gaussian(1500, 0), gaussian(1500, 1)
    second = np.arange(1500) % 5 == 0
    shift = 4 * np.eye(9)[list(FEATURES).index("radius")]
    reference.deviations[second] += shift
    modes, found = dropped_modes(reference, generated), coverage(reference, generated)
    assert modes.status == found.status == "differs"
    assert "wide" in modes.words
    assert sum(mode.share for mode in modes.missing if "extreme" not in mode.name) == pytest.approx(0.2, abs=0.05)
    generated.deviations[second] += shift
    assert dropped_modes(reference, generated).status == "agrees"


def test_a_hole_at_high_energy_is_located() -> None:
    reference, generated = gaussian(3000, 0), gaussian(3000, 1)
    high = generated.log_energies > np.log(250e3)
    generated.deviations[high] *= 0.2
    found = coverage(reference, generated)
    assert found.status == "differs"
    assert found.worst == 4
    assert "GeV to 1e+03 GeV" in found.words
    assert found.bins[0].value == pytest.approx(found.bins[0].floor, abs=0.05)


def test_empty_showers_and_irregular_meshes(irregular: Showers) -> None:
    observables = observe(irregular)
    own = features(observables, observables)
    assert np.isfinite(own.deviations).all()
    assert coverage(own, own).status == "agrees"
    assert dropped_modes(own, own).status == "agrees"


def test_too_few_showers_are_no_number() -> None:
    for finding in (coverage(gaussian(90, 0), gaussian(90, 1)), dropped_modes(gaussian(90, 0), gaussian(500, 1))):
        assert finding.status == "not judged"
        assert finding.value is None
        assert "showers" in finding.words
