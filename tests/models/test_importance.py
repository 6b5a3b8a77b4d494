"""The bound by importance sampling against models whose likelihood is known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fastv.errors import ModelError
from fastv.models import FAMILIES, build, family_class
from fastv.models.contract import Batch, Domain, Generator
from fastv.models.fastv import FastV
from fastv.models.importance import importance_bound
from fastv.models.posterior import GaussianPosterior
from fastv.models.splines import normal_log_prob
from fastv.models.vae import VAE
from fastv.showers import Showers

Make = Callable[..., Showers]
with_latent = [name for name in FAMILIES if family_class(name).log_likelihood is not Generator.log_likelihood]


DRAWS = ((1, 10), (5, 6), (40, 2))
"""How many draws of latent variables, and how often."""


def of(family: str, showers: Showers, **settings: Any) -> tuple[Generator, Batch]:
    """A generator in double precision with weights that make a difference, and its batch."""
    torch.manual_seed(1)
    generator = build(family, settings, showers.detector, Domain.of(showers.conditions))
    batch = Batch(torch.from_numpy(showers.energies), generator.conditions_of(showers.conditions))
    generator.fit(batch)
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            # Much in the flows, little elsewhere; and wide posteriors, or the weights would have heavy tails.
            parameter.add_((0.2 if "prior" in name else 0.02) * torch.randn_like(parameter))
            if name.endswith("log_scale.bias"):
                parameter.add_(1.0)
    return generator.double().eval(), Batch(batch.energies.double(), batch.conditions.double())


class TestLinearGaussian:
    """x = W z + s n, so x is normal of covariance W W^T + s^2, and the posterior is known, too."""

    weight = torch.tensor([[1.0, 0.5], [-0.3, 0.8], [0.6, 0.2]]).double()
    noise = 0.7

    def log_prob(self, x: Tensor) -> Tensor:
        covariance = self.weight @ self.weight.T + self.noise**2 * torch.eye(3)
        return torch.distributions.MultivariateNormal(torch.zeros(3).double(), covariance).log_prob(x)

    def log_weight(self, x: Tensor, widen: float) -> Callable[[], Tensor]:
        """Draws from the posterior, or from one that is wider and off its place."""
        posterior = GaussianPosterior(1, 2, "full").double()
        precision = torch.eye(2) + self.weight.T @ self.weight / self.noise**2
        covariance = torch.linalg.inv(precision)
        mean = x @ self.weight @ covariance / self.noise**2 + 0.5 * (widen - 1)
        scale = widen * torch.linalg.cholesky(covariance).expand(len(x), 2, 2)

        def draw() -> Tensor:
            noise = torch.randn_like(mean)
            z = posterior.sample(mean, scale, noise)
            rest = (x - z @ self.weight.T) / self.noise
            log_joint = normal_log_prob(z) + normal_log_prob(rest) - 3 * math.log(self.noise)
            return log_joint - posterior.log_prob(noise, scale)

        return draw

    @pytest.fixture
    def x(self) -> Tensor:
        torch.manual_seed(1)
        return 1.5 * torch.randn(400, 3).double()

    def test_one_draw_of_the_right_posterior_is_exact(self, x: Tensor) -> None:
        torch.testing.assert_close(importance_bound(self.log_weight(x, widen=1.0), 1), self.log_prob(x))

    def test_rises_with_the_draws_to_the_likelihood(self, x: Tensor) -> None:
        draw, exact = self.log_weight(x, widen=1.6), self.log_prob(x)
        gaps = [float((exact - importance_bound(draw, k)).mean()) for k in (1, 4, 16, 64, 1000)]
        assert gaps[0] > 0.3
        assert all(first > 1.5 * second for first, second in itertools.pairwise(gaps[:4]))
        assert gaps[-1] == pytest.approx(0, abs=0.01)
        torch.testing.assert_close(importance_bound(draw, 4000), exact, atol=0.15, rtol=0)

    def test_density_of_the_posterior_is_that_of_the_normal_distribution(self) -> None:
        for covariance in ("diagonal", "full"):
            posterior = GaussianPosterior(4, 3, covariance).double()
            mean, scale = posterior(torch.randn(5, 4).double())
            noise = torch.randn(5, 3).double()
            triangle = torch.diag_embed(scale) if covariance == "diagonal" else scale
            normal = torch.distributions.MultivariateNormal(mean, scale_tril=triangle)
            expected = normal.log_prob(posterior.sample(mean, scale, noise))
            torch.testing.assert_close(posterior.log_prob(noise, scale), expected)


def integral(log_integrand: Callable[[Tensor], Tensor], n: int) -> Tensor:
    """log of the integral over one latent number, for each of n showers, by the trapezoidal rule."""
    axis = torch.linspace(-7, 7, 113).double()
    with torch.no_grad():
        values = torch.stack([log_integrand(z.expand(n, 1)) for z in axis])
    return torch.logsumexp(values, dim=0) + torch.log(axis[1] - axis[0])


@pytest.mark.parametrize(
    ("prior", "covariance"), [("gaussian", "diagonal"), ("gaussian", "full"), ("flow", "diagonal")]
)
def test_vae_against_quadrature(prior: str, covariance: str, make_showers: Make) -> None:
    vae, batch = of("vae", make_showers(20), hidden=[8], latent=1, prior=prior, covariance=covariance)
    assert isinstance(vae, VAE)
    scaled, target, _, _ = vae._encode(batch)
    exact = integral(lambda z: vae.prior.log_prob(z, scaled) - vae._reconstruction(target, z, scaled), 20)
    with torch.no_grad():
        torch.testing.assert_close(vae.log_likelihood(batch, 600), exact, atol=0.15, rtol=0)


@pytest.mark.parametrize("prior", ["gaussian", "flow"])
def test_fastv_against_quadrature(prior: str, make_showers: Make) -> None:
    small = {"profile_latent": 1, "lateral_latent": 1, "layer_latent": 0, "width": 8, "hidden": 8, "encoder_width": 8}
    fastv, batch = of("fastv", make_showers(10), prior=prior, response="sinh-arcsinh", **small)
    assert isinstance(fastv, FastV)
    scaled, response, context, voxels, layers, profile = fastv._standardised(batch)
    features = fastv.lateral._features(layers, profile)

    def of_profile(z: Tensor) -> Tensor:
        reconstruction = fastv.profile._reconstruction(z, profile, layers > 0, context)
        return fastv.profile.prior.log_prob(z, context) - reconstruction

    def of_voxels(z: Tensor) -> Tensor:
        return fastv.lateral.prior.log_prob(z, context) - fastv.lateral._reconstruction(
            z, None, voxels, features, context
        )

    with torch.no_grad():
        exact = (
            fastv.response.log_prob(response, scaled, batch.conditions[:, :1])
            + integral(of_profile, 10)
            + integral(of_voxels, 10)
        )
        torch.testing.assert_close(fastv.log_likelihood(batch, 400), exact, atol=0.3, rtol=0)


@pytest.mark.parametrize("prior", ["gaussian", "flow"])
@pytest.mark.parametrize("family", with_latent)
def test_is_above_the_bound_of_the_loss_and_rises(family: str, prior: str, make_showers: Make) -> None:
    generator, batch = of(family, make_showers(30), prior=prior, importance_samples=5)
    with torch.no_grad():
        losses = torch.stack([-generator.loss(batch)["loss"] for _ in range(10)])
        bounds = [torch.stack([generator.log_likelihood(batch, k).mean() for _ in range(n)]) for k, n in DRAWS]
        validation = generator.validation(batch)
    # One draw is the bound whose negative is the loss.
    error = math.hypot(float(losses.std()) / math.sqrt(len(losses)), float(bounds[0].std()) / math.sqrt(DRAWS[0][1]))
    first, second, third = (float(bound.mean()) for bound in bounds)
    assert first == pytest.approx(float(losses.mean()), abs=4 * error)
    assert first < second < third
    assert float(validation["log_likelihood"]) == pytest.approx(second, abs=6 * float(bounds[1].std()))


@pytest.mark.parametrize("family", with_latent)
def test_is_logged_only_where_it_is_asked_for(family: str, make_showers: Make) -> None:
    generator, batch = of(family, make_showers(20))
    with torch.no_grad():
        assert set(generator.validation(batch)) == set(generator.loss(batch))


def test_other_families_refuse(make_showers: Make) -> None:
    assert with_latent == ["fastv", "vae"]
    generator, batch = of("pca", make_showers(40))
    with pytest.raises(ModelError, match="'pca' has no importance-sampling bound"):
        generator.log_likelihood(batch, 5)
