"""Kernel physics distance: jetnet's own numbers, the plain double sum, and faults that it must see."""

from __future__ import annotations

import numpy as np
import pytest

from fastv.errors import TooFewShowersError
from fastv.evaluation.metrics import kpd as module
from fastv.evaluation.metrics.kpd import kpd, unbiased_mmd
from helpers import skewed_samples

# jetnet 0.2.5 with numpy 2.4.6 and scipy 1.17.1: jetnet.evaluation.kpd(*skewed_samples(...), batch_size=1000).
JETNET = {
    (1500, 1300, 8, 1): (0.004930532527426035, 0.0018318377579966843),
    (1200, 1200, 40, 2): (0.0003738221968436761, 0.00035620841314692856),
}


@pytest.mark.parametrize("case", JETNET)
def test_agrees_with_jetnet(case: tuple[int, int, int, int]) -> None:
    result = kpd(*skewed_samples(*case), batch=1000, relabellings=0, threads=2)
    np.testing.assert_allclose((result.kpd.value, result.kpd.error), JETNET[case], rtol=1e-8)


def test_both_ways_of_summing_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples much larger than a batch are summed batch by batch; the result is the same."""
    a, b = skewed_samples(900, 700, 5, 3)
    plain = direct(a / np.abs(a).max(axis=0), b / np.abs(a).max(axis=0), 50)
    assert (900 + 700) ** 2 > 10 * 100**2
    np.testing.assert_allclose(kpd(a, b, batch=50, relabellings=0).batches, plain, rtol=1e-9)
    plain = direct(a / np.abs(a).max(axis=0), b / np.abs(a).max(axis=0), 600)
    monkeypatch.setattr(module, "_TILE", 97)
    np.testing.assert_allclose(kpd(a, b, batch=600, relabellings=0).batches, plain, rtol=1e-9)


def direct(a: np.ndarray, b: np.ndarray, size: int) -> list[float]:
    """Batch by batch, with the drawn showers themselves."""
    values = []
    for i in range(10):
        rng = np.random.default_rng(42 + 1000 * i)
        x, y = a[rng.choice(len(a), size)], b[rng.choice(len(b), size)]
        values.append(double_sum(x, y))
    return values


def double_sum(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased estimate as it is written down."""

    def kernel(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        return (p @ q.T / p.shape[1] + 1) ** 4

    n, m = len(x), len(y)
    xx, yy = kernel(x, x), kernel(y, y)
    np.fill_diagonal(xx, 0)
    np.fill_diagonal(yy, 0)
    return float(xx.sum() / (n * (n - 1)) + yy.sum() / (m * (m - 1)) - 2 * kernel(x, y).mean())


def test_mmd_equals_the_double_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TILE", 64)
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(300, 7)), rng.normal(0.2, 1, size=(170, 7))
    assert unbiased_mmd(a, b) == pytest.approx(double_sum(a, b), rel=1e-10)


def test_mmd_of_known_distributions() -> None:
    """In one column, with x of mean 0 and 4th moments: E k(x, x') = sum over powers of binomial(4, p) m_p m'_p.

    For x = +-1 all even moments are 1 and odd ones 0, for y = x + 1 the values are 0 and 2 with moments 1, 2, 4, 8.
    MMD^2 = sum_p binomial(4, p) (m_p - m'_p)^2 = 4 (1)^2 + 6 (1)^2 + 4 (4)^2 + 1 (7)^2.
    """
    x = np.resize([-1.0, 1.0], 4000)[:, None]
    assert unbiased_mmd(x, x + 1) == pytest.approx(4 + 6 + 64 + 49, rel=0.01)


def test_chance_equals_plain_sums_with_those_labels() -> None:
    a, b = skewed_samples(120, 90, 4, 5)
    result = kpd(a, b, relabellings=5)
    scale = np.abs(a).max(axis=0)
    pool = np.concatenate([a, b]) / scale
    labels = module.shuffled_labels(120, 90, 5, seed=42)
    values = [double_sum(pool[row], pool[~row]) for row in labels]
    assert result.chance is not None
    assert result.chance.observed == pytest.approx(double_sum(a / scale, b / scale), rel=1e-9)
    assert result.chance.expected == pytest.approx(np.mean(values), rel=1e-9)
    assert result.chance.spread == pytest.approx(np.std(values, ddof=1), rel=1e-9)


def test_unbiased_for_equal_distributions() -> None:
    """The mean of 60 estimates from small samples is zero within its error, though each has only 40 showers."""
    rng = np.random.default_rng(1)
    values = [unbiased_mmd(*rng.normal(size=(2, 40, 3)), threads=1) for _ in range(60)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(60)


def test_shift_is_found_and_equality_is_not() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 1500, 6))
    same, moved = kpd(a, b).chance, kpd(a, b + 0.15).chance
    assert same is not None
    assert moved is not None
    assert same.p_value > 0.02
    assert moved.p_value == pytest.approx(1 / 101)
    assert moved.pull is not None
    assert moved.pull > 5


def test_paired_energies_sharpen_the_test() -> None:
    """Both samples have the same, widely spread energies; the response differs by 1 %."""
    rng = np.random.default_rng(4)
    energies = 10 ** rng.uniform(3, 6, 1000)
    a, b = (np.log10(energies[:, None] * response * rng.normal(1, 0.05, (1000, 5))) for response in (1.0, 1.01))
    free, within = kpd(a, b).chance, kpd(a, b, energies=(energies, energies)).chance
    assert free is not None
    assert within is not None
    assert free.pull is not None
    assert within.pull is not None
    assert free.pull < 1 < 5 < within.pull
    assert within.within_energies


def test_too_few_showers_are_refused() -> None:
    with pytest.raises(TooFewShowersError, match="at least 10 showers"):
        kpd(np.ones((9, 2)), np.ones((20, 2)))


def test_small_samples_are_said() -> None:
    result = kpd(*skewed_samples(400, 300, 4, 1), relabellings=0)
    assert result.batch == 300
    assert not result.as_in_challenge
    assert result.note is not None
