"""Divergences, activity and rank correlations of codes against independent ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from fastv.inference import CodeGroup
from fastv.representation.information import deviations, divergence, divergences, known, rank_correlations


def test_divergences_of_diagonal_posteriors() -> None:
    rng = np.random.default_rng(1)
    mean, scale = (values.astype(np.float32) for values in (rng.normal(size=(50, 3)), rng.uniform(0.1, 2, (50, 3))))
    group = CodeGroup(mean, scale)
    expected = kl_divergence(Normal(torch.from_numpy(mean), torch.from_numpy(scale)), Normal(0.0, 1.0)).numpy()
    np.testing.assert_allclose(divergences(group), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(divergence(group), expected.sum(axis=1), rtol=1e-4)


def test_divergences_of_full_covariances() -> None:
    """Each number has its marginal; the whole has the correlations in addition."""
    rng = np.random.default_rng(2)
    factor = np.tril(rng.normal(size=(20, 3, 3)), -1) + np.eye(3) * rng.uniform(0.2, 1.5, (20, 1, 3))
    group = CodeGroup(rng.normal(size=(20, 3)).astype(np.float32), factor.astype(np.float32))
    posterior = MultivariateNormal(torch.from_numpy(group.mean), scale_tril=torch.from_numpy(group.scale))
    whole = kl_divergence(posterior, MultivariateNormal(torch.zeros(3), torch.eye(3))).numpy()
    np.testing.assert_allclose(divergence(group), whole, rtol=1e-4)
    covariance = factor @ factor.transpose(0, 2, 1)
    marginal = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    np.testing.assert_allclose(deviations(group), marginal, rtol=1e-5)
    each = divergences(group)
    assert each is not None
    assert (each.sum(axis=1) < whole).all()
    exact = CodeGroup(group.mean)
    assert divergences(exact) is divergence(exact) is deviations(exact) is None


def test_rank_correlations_are_spearmans() -> None:
    rng = np.random.default_rng(3)
    codes, values = rng.normal(size=(80, 4)).round(1), rng.normal(size=(80, 2))
    values[:, 0] += codes[:, 1] ** 3
    expected = [[spearmanr(codes[:, k], values[:, q]).statistic for q in range(2)] for k in range(4)]
    np.testing.assert_allclose(rank_correlations(codes, values), expected, atol=1e-8)
    assert np.isnan(rank_correlations(np.ones((80, 1)), values)).all()


def test_what_depends_on_the_energy_alone_is_uncorrelated_at_fixed_energy() -> None:
    rng = np.random.default_rng(4)
    energy = rng.uniform(1, 100, 4000)
    code, own = np.log(energy) + rng.normal(size=4000), rng.normal(size=4000)
    values = np.stack(
        [energy + 30 * rng.normal(size=4000), energy + 30 * (own + code - np.log(energy)), energy], axis=1
    )
    plain = rank_correlations(code[:, None], values)[0]
    fixed = rank_correlations(code[:, None], values, energy)[0]
    assert plain[0] > 0.3
    assert abs(fixed[0]) < 0.05
    assert fixed[1] > 0.5
    assert np.isnan(fixed[2])
    assert known(["a", "b", "c"], fixed)["c"] is None


@pytest.mark.parametrize("variance", [0.0099, 0.0101])
def test_activity_is_of_the_mean(variance: float) -> None:
    from fastv.inference import Codes
    from fastv.representation.explore import _Told

    mean = np.array([[-1.0], [1.0]], np.float32) * np.float32(np.sqrt(variance))
    told = _Told.of(Codes({"latent": CodeGroup(mean, np.full((2, 1), 3.0, np.float32)), "exact": CodeGroup(10 * mean)}))
    assert told.active.tolist() == [variance > 0.01, False]
    assert told.names == ["latent 1", "exact 1"]
