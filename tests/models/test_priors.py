"""Learned priors: densities that fit, noise that becomes latent vectors, and default models that stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from fastv.models import build
from fastv.models.contract import Batch, Domain, Generator
from fastv.models.posterior import GaussianPosterior
from fastv.models.priors import LatentPrior
from fastv.showers import Showers

Make = Callable[..., Showers]
families = pytest.mark.parametrize("family", ["vae", "fastv"])
KINDS: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": [16]},
    "transformer": {"width": 8, "blocks": 1, "heads": 2},
    "convolution": {"channels": 4, "blocks": 1},
}


def of(family: str, showers: Showers, **settings: Any) -> tuple[Generator, Batch]:
    torch.manual_seed(1)
    generator = build(family, settings, showers.detector, Domain.of(showers.conditions))
    batch = Batch(torch.from_numpy(showers.energies), generator.conditions_of(showers.conditions))
    generator.fit(batch)
    return generator, batch


def test_the_unit_gaussian_has_no_parameters_and_leaves_noise_as_it_is() -> None:
    prior = LatentPrior("gaussian", 3, 2)
    z, c = torch.randn(5, 3), torch.randn(5, 2)
    assert not prior.state_dict()
    assert prior.sample(z, c) is z
    torch.testing.assert_close(prior.log_prob(z, c), torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1))
    posterior = GaussianPosterior(4, 3, "full")
    mean, scale = posterior(torch.randn(5, 4))
    torch.testing.assert_close(prior.kl(posterior, mean, scale, z, z, c), posterior.kl(mean, scale))


@pytest.mark.parametrize("latent", [1, 4])
def test_a_flow_draws_from_its_density_and_passes_gradients(latent: int) -> None:
    torch.manual_seed(1)
    prior = LatentPrior("flow", latent, 2)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    prior = prior.double()
    noise, c = torch.randn(50, latent).double().requires_grad_(), torch.randn(50, 2).double()
    z = prior.sample(noise, c)
    slopes = torch.stack([torch.autograd.grad(z[:, i].sum(), noise, retain_graph=True)[0] for i in range(latent)], 1)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(noise).sum(1) - torch.linalg.slogdet(slopes).logabsdet
    torch.testing.assert_close(prior.log_prob(z, c), expected, atol=1e-6, rtol=1e-5)
    z.square().sum().backward()  # type: ignore[no-untyped-call]
    assert noise.grad is not None
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in prior.parameters())


def test_the_divergence_from_a_learned_prior_is_right_in_the_mean() -> None:
    torch.manual_seed(1)
    prior, posterior = LatentPrior("flow", 1, 1).double(), GaussianPosterior(2, 1).double()
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        mean, scale = (t.expand(20_000, 1) for t in (torch.tensor([[0.4]]).double(), torch.tensor([[0.6]]).double()))
        noise, c = torch.randn(20_000, 1).double(), torch.zeros(20_000, 1).double()
        estimate = prior.kl(posterior, mean, scale, noise, posterior.sample(mean, scale, noise), c).mean()
        axis = torch.linspace(-6, 6, 4001).double()[:, None]
        log_q = torch.distributions.Normal(0.4, 0.6).log_prob(axis)[:, 0]
        exact = (log_q.exp() * (log_q - prior.log_prob(axis, torch.zeros_like(axis)))).sum() * (12 / 4000)
    assert float(estimate) == pytest.approx(float(exact), abs=0.02)


def test_a_flow_goes_where_the_posteriors_are() -> None:
    """Two heaps, which depend on the condition: the unit Gaussian cannot follow, the flow can."""
    torch.manual_seed(1)
    prior = LatentPrior("flow", 2, 1)
    optimizer = torch.optim.Adam(prior.parameters(), lr=1e-2)
    for _ in range(120):
        c = torch.rand(256, 1).round()
        z = torch.where(torch.rand(256, 1) < 0.5, 1.5, -1.5) * torch.cat([1 - c, c], dim=1) + 0.3 * torch.randn(256, 2)
        loss = -prior.log_prob(z, c).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    # Entropy: that of two narrow heaps, 2.84 - 2 log(1/0.3) + log 2; the unit Gaussian's cross entropy is 3.05.
    assert float(loss.detach()) < 1.6
    with torch.no_grad():
        drawn = prior.sample(torch.randn(2000, 2), torch.ones(2000, 1))
    assert float(drawn[:, 1].abs().mean()) == pytest.approx(1.5, abs=0.15)
    assert float(drawn[:, 0].abs().mean()) < 0.45


@families
def test_families_train_it_and_generate_with_it(family: str, make_showers: Make) -> None:
    showers = make_showers(60)
    generator, batch = of(family, showers, prior="flow")
    generator.train()
    generator.loss(batch)["loss"].backward()  # type: ignore[no-untyped-call]
    priors = [(name, p) for name, p in generator.named_parameters() if "prior" in name]
    assert priors
    for name, parameter in priors:
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
    assert any(bool((p.grad != 0).any()) for _, p in priors if p.grad is not None)
    generator.eval()
    noise = generator.noise.draw(60, seed=1)
    with torch.inference_mode():
        before = generator.sample(batch.conditions, noise)
        for _, parameter in priors:
            parameter.add_(0.5 * torch.randn_like(parameter))
        after = generator.sample(batch.conditions, noise)
    assert not torch.equal(before, after)
    assert bool(after.isfinite().all())


@families
def test_weights_without_it_are_as_before(family: str, make_showers: Make) -> None:
    generator, _ = of(family, make_showers(20))
    assert not any("prior" in name or "network" in name for name in generator.state_dict())


class TestNetworks:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("family", ["vae", "autoencoder", "fastv"])
    def test_every_kind_trains_and_generates(self, family: str, kind: str, make_showers: Make) -> None:
        showers = make_showers(60)
        extra = {
            "autoencoder": {"hidden": [16], "code": 4, "density_components": 3, "density_parts": 2},
            "fastv": {"hidden": 16, "width": 8, "encoder_width": 12},
            "vae": {"hidden": [16], "latent": 3},
        }
        generator, batch = of(family, showers, network={"kind": kind, **KINDS[kind]}, **extra[family])
        optimizer = torch.optim.Adam(generator.parameters(), lr=5e-3)
        generator.train()
        losses = []
        for _ in range(40):
            optimizer.zero_grad()
            loss = generator.loss(batch)["loss"]
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(float(loss.detach()))
            assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in generator.parameters())
            optimizer.step()
        assert losses[-1] < 0.9 * losses[0]
        generator.eval()
        generator.calibrate(batch)
        with torch.inference_mode():
            energies = generator.sample(batch.conditions, generator.noise.draw(60, seed=1))
        assert energies.shape == (60, 24)
        assert bool((energies.isfinite() & (energies >= 0)).all())
