"""Gaussian posteriors against the distributions of PyTorch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from fastv.models.posterior import Covariance, GaussianPosterior

BOTH: tuple[Covariance, ...] = ("diagonal", "full")


def random_posterior(latent: int, covariance: Covariance, seed: int, n: int = 5) -> tuple[Tensor, Tensor]:
    """Means and scales as an encoder gives them, from random features and weights of random size."""
    torch.manual_seed(seed)
    posterior = GaussianPosterior(6, latent, covariance).double()
    features = 3 * torch.rand(()).double() * torch.randn(n, 6, dtype=torch.float64)
    mean, scale = posterior(features)
    return mean.detach(), scale.detach()


@given(latent=st.integers(1, 12), seed=st.integers(0, 2**31))
def test_divergence_of_diagonal_is_that_of_normals(latent: int, seed: int) -> None:
    mean, scale = random_posterior(latent, "diagonal", seed)
    expected = kl_divergence(Normal(mean, scale), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(GaussianPosterior(6, latent).kl(mean, scale), expected)


@given(latent=st.integers(1, 12), seed=st.integers(0, 2**31))
def test_divergence_of_full_is_that_of_multivariate_normals(latent: int, seed: int) -> None:
    mean, scale = random_posterior(latent, "full", seed)
    unit = MultivariateNormal(torch.zeros(latent).double(), scale_tril=torch.eye(latent).double())
    expected = kl_divergence(MultivariateNormal(mean, scale_tril=scale), unit)
    torch.testing.assert_close(GaussianPosterior(6, latent, "full").kl(mean, scale), expected)


@given(latent=st.integers(1, 12), seed=st.integers(0, 2**31))
def test_full_with_empty_triangle_is_the_diagonal(latent: int, seed: int) -> None:
    mean, deviations = random_posterior(latent, "diagonal", seed)
    noise = torch.randn_like(mean)
    diagonal, full = GaussianPosterior(6, latent), GaussianPosterior(6, latent, "full")
    scale = torch.diag_embed(deviations)
    torch.testing.assert_close(full.kl(mean, scale), diagonal.kl(mean, deviations))
    torch.testing.assert_close(full.sample(mean, scale, noise), diagonal.sample(mean, deviations, noise))


@given(latent=st.integers(2, 8), seed=st.integers(0, 2**31))
def test_cholesky_factor_is_a_lower_triangle_with_positive_diagonal(latent: int, seed: int) -> None:
    _, scale = random_posterior(latent, "full", seed)
    assert torch.equal(scale, scale.tril())
    assert bool((torch.diagonal(scale, dim1=1, dim2=2) > 0).all())
    assert bool((scale.tril(-1) != 0).any())


@pytest.mark.parametrize("covariance", BOTH)
def test_draws_have_the_claimed_mean_and_covariance(covariance: Covariance) -> None:
    mean, scale = random_posterior(3, covariance, seed=4, n=1)
    n = 200_000
    noise = torch.randn(n, 3, dtype=torch.float64, generator=torch.manual_seed(1))
    posterior = GaussianPosterior(6, 3, covariance)
    draws = posterior.sample(mean.expand(n, -1), scale.expand(n, *scale.shape[1:]), noise)
    factor = torch.diag_embed(scale)[0] if covariance == "diagonal" else scale[0]
    expected = factor @ factor.T
    deviations = torch.sqrt(torch.diagonal(expected))
    # Five standard errors: of a mean, and of a covariance, whose variance is (C_ii C_jj + C_ij^2) / n.
    assert bool(((draws.mean(0) - mean[0]).abs() < 5 * deviations / n**0.5).all())
    error = torch.sqrt((deviations[:, None] ** 2 * deviations[None] ** 2 + expected**2) / n)
    assert bool(((torch.cov(draws.T) - expected).abs() < 5 * error).all())


@pytest.mark.parametrize("covariance", BOTH)
def test_draws_pass_gradients_to_mean_and_scale(covariance: Covariance) -> None:
    posterior = GaussianPosterior(6, 4, covariance)
    mean, scale = posterior(torch.randn(7, 6))
    posterior.sample(mean, scale, torch.randn(7, 4)).square().sum().backward()  # type: ignore[no-untyped-call]
    for name, parameter in posterior.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
        assert bool((parameter.grad != 0).any()), name


@pytest.mark.parametrize("covariance", BOTH)
@pytest.mark.parametrize("size", [1e3, 1e6])
def test_wild_features_give_finite_divergence(covariance: Covariance, size: float) -> None:
    posterior = GaussianPosterior(6, 4, covariance)
    mean, scale = posterior(size * torch.randn(20, 6, generator=torch.manual_seed(1)))
    divergence = posterior.kl(mean, scale)
    assert bool(divergence.isfinite().all())
    assert bool((divergence >= 0).all())


@pytest.mark.parametrize("covariance", BOTH)
def test_unit_gaussian_has_no_divergence(covariance: Covariance) -> None:
    scale = torch.ones(2, 5) if covariance == "diagonal" else torch.eye(5).expand(2, 5, 5)
    divergence = GaussianPosterior(6, 5, covariance).kl(torch.zeros(2, 5), scale)
    torch.testing.assert_close(divergence, torch.zeros(2))


def test_latent_of_one_works_with_full_covariance() -> None:
    posterior = GaussianPosterior(6, 1, "full")
    mean, scale = posterior(torch.randn(3, 6))
    assert (mean.shape, scale.shape) == ((3, 1), (3, 1, 1))
    assert bool(posterior.kl(mean, scale).isfinite().all())


def test_full_covariance_in_mixed_precision() -> None:
    posterior = GaussianPosterior(6, 4, "full")
    with torch.autocast("cpu", torch.bfloat16):
        mean, scale = posterior(torch.randn(3, 6))
        divergence = posterior.kl(mean, scale)
    assert bool(divergence.isfinite().all())
