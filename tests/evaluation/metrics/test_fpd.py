"""Fréchet physics distance: known distances, jetnet's own numbers, and faults that it must see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import sqrtm

from fastv.errors import NotMeasuredError, TooFewShowersError
from fastv.evaluation.metrics.features import feature_matrix
from fastv.evaluation.metrics.fpd import barely_filled, challenge_like_sizes, fpd, frechet_distance, normalised
from fastv.evaluation.metrics.kpd import kpd
from fastv.evaluation.observables.observe import observe
from fastv.evaluation.statistics.chance import matched_halves
from fastv.sample import sample_path
from fastv.showers import ShowersFile
from helpers import skewed_samples

# jetnet 0.2.5 with numpy 2.4.6 and scipy 1.17.1: jetnet.evaluation.fpd(a, b, min_samples=..., max_samples=...) for
# a, b = skewed_samples(...); the means are what it hands to its fit.
JETNET = {
    (1500, 1300, 8, 1, 300, 900): (
        (0.00899949448654623, 0.0010011225517643082),
        (
            0.011733278313875462,
            0.01349668572380549,
            0.013562486525737211,
            0.010864265701838561,
            0.011024406574284445,
            0.01247557306126168,
            0.010443765825479661,
            0.011257047518695084,
            0.010191598177439826,
            0.010379729589460396,
        ),
    ),
    (1200, 1200, 40, 2, 400, 2000): (
        (0.02248501053492268, 0.0010013460586652452),
        (
            0.0728338997257488,
            0.0696134467663517,
            0.06472424589634614,
            0.05969848361770169,
            0.056255898425093334,
            0.0505166528909482,
            0.045862815806002245,
            0.044694792898351744,
            0.03634265077030881,
            0.03163238532766601,
        ),
    ),
}


@pytest.mark.parametrize("case", JETNET)
def test_agrees_with_jetnet(case: tuple[int, int, int, int, int, int]) -> None:
    (value, error), means = JETNET[case]
    result = fpd(*skewed_samples(*case[:4]), sizes=case[4:], relabellings=0, threads=2)
    np.testing.assert_allclose(result.means, means, rtol=1e-9)
    # The fit iterates until it changes by less than 1e-8.
    np.testing.assert_allclose((result.fpd.value, result.fpd.error), (value, error), rtol=1e-6)


def by_roots(mean_a: np.ndarray, a: np.ndarray, mean_b: np.ndarray, b: np.ndarray) -> float:
    """The definition with the matrix root."""
    return float(((mean_a - mean_b) ** 2).sum() + np.trace(a + b - 2 * np.real(sqrtm(a @ b))))


@pytest.mark.parametrize("columns", [1, 3, 60])
def test_equals_the_definition_with_matrix_roots(columns: int) -> None:
    rng = np.random.default_rng(columns)
    x, y = rng.normal(size=(2, 4 * columns, columns)) * np.geomspace(1, 1e-3, columns)
    arguments = x.mean(axis=0), np.atleast_2d(np.cov(x.T)), y.mean(axis=0), np.atleast_2d(np.cov(y.T))
    assert frechet_distance(*arguments) == pytest.approx(by_roots(*arguments), rel=1e-9)


def test_known_distances() -> None:
    zero, one = np.zeros(3), np.eye(3)
    assert frechet_distance(zero, one, zero, one) == pytest.approx(0, abs=1e-12)
    assert frechet_distance(zero, one, np.array([1.0, 2.0, 2.0]), one) == pytest.approx(9)
    # Diagonal covariances: sum of (sigma_a - sigma_b)^2.
    a, b = np.diag([1.0, 4.0, 9.0]), np.diag([4.0, 4.0, 1.0])
    assert frechet_distance(zero, a, zero, b) == pytest.approx(1 + 0 + 4)
    # Turning both samples changes nothing.
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    assert frechet_distance(zero, turn @ a @ turn.T, zero, turn @ b @ turn.T) == pytest.approx(5)


def test_singular_covariances() -> None:
    """Constant and repeated columns, as empty layers give: where a matrix root fails, the distance is still exact."""
    zero = np.zeros(3)
    a, b = np.diag([1.0, 0.0, 0.0]), np.diag([4.0, 0.0, 1.0])
    assert frechet_distance(zero, a, zero, b) == pytest.approx(1 + 0 + 1, rel=1e-12)
    ones = np.ones((3, 3))
    assert frechet_distance(zero, ones, zero, 4 * ones) == pytest.approx(3, rel=1e-12)


def test_a_known_distance_is_found_above_the_bias() -> None:
    """20 columns, two of them shifted by 0.5 standard deviations: 2 x 0.25 before normalisation."""
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 8000, 20))
    b[:, :2] += 0.5
    expected = float((0.25 / np.abs(a).max(axis=0)[:2] ** 2).sum())
    result = fpd(a, b, relabellings=20)
    assert result.sizes == tuple((1 / np.linspace(1 / 800, 1 / 4000, 10)).astype(int))
    assert result.chance is not None
    # What shuffled labels give is the bias that the extrapolation leaves.
    assert 0.02 * expected < result.chance.expected < 0.3 * expected
    assert result.fpd.value - result.chance.expected == pytest.approx(expected, rel=0.05)
    assert result.chance.observed - result.chance.expected == pytest.approx(expected, rel=0.05)
    assert result.chance.p_value == pytest.approx(1 / 21)


def test_samples_of_one_distribution_are_not_told_apart() -> None:
    a, b = np.random.default_rng(5).normal(size=(2, 2000, 10))
    chance = fpd(a, b, relabellings=50).chance
    assert chance is not None
    assert chance.pull is not None
    assert abs(chance.pull) < 3
    assert chance.p_value > 0.02


def test_halves_of_real_showers_pass_and_lost_hits_do_not() -> None:
    """Two halves of Geant4 showers with matched energies; then without the 4 % weakest hits, below 2 MeV, in one."""
    with ShowersFile(sample_path("test")) as file:
        showers = file[:]
    first, second = (showers[rows] for rows in matched_halves(showers.incident_energies))
    wrong = replace(second, energies=np.where(second.energies < 2, np.float32(0), second.energies))
    near = first.incident_energies, second.incident_energies
    columns = slice(227, 272)  # the sparsity of the layers: 700 showers a half suffice for these
    features = [feature_matrix(observe(sample))[:, columns] for sample in (first, second, wrong)]
    floor = fpd(features[0], features[1], energies=near).chance
    found = fpd(features[0], features[2], energies=near).chance
    assert floor is not None
    assert found is not None
    assert floor.p_value > 0.02
    assert found.p_value == pytest.approx(1 / 51)


def test_sizes_shrink_with_the_samples_and_it_is_said() -> None:
    assert challenge_like_sizes(100_000, 362) == challenge_like_sizes(10**6, 362) == (10_000, 50_000)
    assert challenge_like_sizes(10_000, 362) == (1086, 5430)
    result = fpd(*skewed_samples(400, 300, 4, 1), relabellings=0)
    assert not result.as_in_challenge
    assert result.note is not None
    assert "300" in result.note
    assert result.chance is None


def test_too_few_showers_are_refused() -> None:
    a, b = skewed_samples(100, 80, 40, 1)
    with pytest.raises(TooFewShowersError, match="40 columns needs more than 80 showers"):
        fpd(a, b)


def test_threads_change_nothing() -> None:
    a, b = skewed_samples(500, 400, 6, 1)
    energies = np.abs(a[:, 0]) + 1, np.abs(b[:, 0]) + 1
    one, three = (fpd(a, b, energies=energies, relabellings=10, threads=n) for n in (1, 3))
    np.testing.assert_allclose(one.means, three.means, rtol=1e-12)
    assert one.chance is not None
    assert three.chance is not None
    assert one.chance.expected == pytest.approx(three.chance.expected, rel=1e-12)


def test_a_column_of_zeros_is_left_as_it_is() -> None:
    a, b = normalised(np.array([[0.0, 2.0]]), np.array([[5.0, 1.0]]))
    np.testing.assert_array_equal(a, [[0, 1]])
    np.testing.assert_array_equal(b, [[5, 0.5]])


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_the_fit_gets_away_from_its_start(scale: float) -> None:
    """A column that is zero in the reference is not divided: distances far from 1, where an iterative fit stays put."""
    rng = np.random.default_rng(0)
    reference = np.zeros((200, 2))
    generated = scale * rng.normal(1, 0.1, (200, 2))
    found = fpd(reference, generated, draws=3, relabellings=0)
    whole = frechet_distance(np.zeros(2), np.zeros((2, 2)), generated.mean(axis=0), np.cov(generated.T))
    assert found.fpd.value == pytest.approx(whole, rel=0.02)
    assert found.fpd.error < 0.02 * whole


def test_equal_showers_have_no_distance() -> None:
    same = np.repeat(np.random.default_rng(0).normal(size=(1, 5)), 100, axis=0)
    found = fpd(same, same, draws=3, relabellings=10)
    assert found.fpd.value == pytest.approx(0, abs=1e-12)
    assert found.chance is not None
    assert (found.chance.pull, found.chance.p_value) == (0.0, 1.0)


def test_one_shower_of_the_reference_does_not_set_the_scale() -> None:
    rng = np.random.default_rng(0)
    reference, generated = (np.stack([rng.normal(size=300), np.zeros(300)], axis=1) for _ in range(2))
    reference[0, 1] = 1e-6
    generated[::10, 1] = 0.3
    np.testing.assert_array_equal(barely_filled(reference, generated), [False, True])
    assert np.abs(normalised(reference, generated)[1]).max() <= 10
    found = fpd(reference, generated, draws=3, relabellings=0)
    assert found.note is not None
    assert "1 columns that the reference hardly fills" in found.note


@pytest.mark.parametrize("value", [1e200, np.inf, np.nan])
def test_what_is_no_number_is_not_measured(value: float) -> None:
    generated = np.random.default_rng(0).normal(size=(100, 2))
    generated[3, 0] = value
    for measure in (fpd, kpd):
        with pytest.raises(NotMeasuredError, match="is not a number"):
            measure(np.zeros((100, 2)), generated, relabellings=0)
