"""The linear Gaussian model of numbers given conditions."""

from __future__ import annotations

import torch

from fastv.models.linear import LinearGaussian


def correlated(n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Values of a known model, their conditions, and the noise they come from; correlations rise with u."""
    generator = torch.Generator().manual_seed(3)
    u = 2 * torch.rand(n, 1, generator=generator) - 1
    noise = torch.randn(n, 2, generator=generator)
    r = 0.8 * u.clamp(min=0.0)[:, 0]
    second = r * noise[:, 0] + (1 - r.square()).sqrt() * noise[:, 1]
    unit = torch.stack([noise[:, 0], second], dim=1)
    return torch.cat([1 + u, u.square()], dim=1) + torch.exp(0.5 * u) * unit, u, noise


def fitted(n: int = 20_000) -> tuple[LinearGaussian, torch.Tensor, torch.Tensor, torch.Tensor]:
    values, u, noise = correlated(n)
    linear = LinearGaussian(2, 1)
    linear.fit(values, u)
    return linear, values, u, noise


def test_mean_and_spread_are_those_of_the_model() -> None:
    linear, _, _, _ = fitted()
    u = torch.tensor([[-0.8], [0.0], [0.7]])
    expected = torch.cat([1 + u, u.square()], dim=1)
    torch.testing.assert_close(linear.stretched(torch.zeros(3, 2), u), expected, atol=0.04, rtol=0)
    spread = linear.stretched(torch.ones(3, 2), u) - expected
    torch.testing.assert_close(spread, torch.exp(0.5 * u).expand(3, 2), atol=0.06, rtol=0.04)


def test_noise_gets_the_correlation_of_its_energies() -> None:
    linear, values, u, noise = fitted()
    made = linear(noise, u)
    for low, high in ((-1.0, -0.5), (-0.25, 0.25), (0.5, 1.0)):
        there = ((u >= low) & (u < high))[:, 0]
        expected, found = (float(torch.corrcoef(x[there].T)[0, 1]) for x in (values, made))
        # Triangles of neighbouring knots overlap, which draws them together; one for all energies would be 0.4 off.
        assert abs(found - expected) < 0.2, (low, high)


def test_whitening_goes_back_and_leaves_no_correlation() -> None:
    linear, values, u, noise = fitted()
    white = linear.whitened(values, u)
    torch.testing.assert_close(linear(white, u), values, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(linear.whitened(linear(noise, u), u), noise, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(white.T @ white / len(white), torch.eye(2), atol=0.05, rtol=0)
