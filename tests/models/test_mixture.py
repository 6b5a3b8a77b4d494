"""The conditional mixture: its density is a density, its draws have it, and it finds what it is fitted to."""

from __future__ import annotations

import numpy as np
import torch

from fastv.models.mixture import ConditionalMixture


def bimodal(n: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """z = +-2 + u with equal odds, narrow; u uniform."""
    generator = torch.Generator().manual_seed(seed)
    u = 2 * torch.rand(n, 1, generator=generator) - 1
    sign = torch.where(torch.rand(n, 1, generator=generator) < 0.5, 2.0, -2.0)
    return torch.cat([sign + u, u**2], dim=1) + 0.1 * torch.randn(n, 2, generator=generator), u


def test_both_modes_follow_the_condition() -> None:
    z, u = bimodal(3000)
    mixture = ConditionalMixture(2, 1, parts=8)
    mixture.fit(z, u)
    generator = torch.Generator().manual_seed(2)
    for condition in (-0.8, 0.0, 0.8):
        n = 4000
        draws = mixture.sample(
            torch.full((n, 1), condition), torch.randn(n, 2, generator=generator), torch.rand(n, 1, generator=generator)
        )
        upper = draws[:, 0] > condition
        assert 0.42 < float(upper.float().mean()) < 0.58
        assert abs(float(draws[upper, 0].median()) - (2 + condition)) < 0.1
        assert abs(float(draws[:, 1].mean()) - condition**2) < 0.1


def test_density_integrates_to_one_and_is_that_of_the_draws() -> None:
    z, u = bimodal(2000)
    mixture = ConditionalMixture(2, 1, parts=6)
    mixture.fit(z, u)
    axis_x, axis_y = np.linspace(-4, 4, 161), np.linspace(-1.5, 2.5, 121)
    grid = torch.from_numpy(np.stack(np.meshgrid(axis_x, axis_y, indexing="ij"), -1).reshape(-1, 2)).float()
    density = mixture.log_prob(grid, torch.full((len(grid), 1), 0.3)).exp()
    cell = (axis_x[1] - axis_x[0]) * (axis_y[1] - axis_y[0])
    assert np.isclose(float(density.sum()) * cell, 1.0, atol=0.02)
    generator = torch.Generator().manual_seed(3)
    n = 20_000
    draws = mixture.sample(
        torch.full((n, 1), 0.3), torch.randn(n, 2, generator=generator), torch.rand(n, 1, generator=generator)
    )
    expected = (density[:, None] * grid).sum(0) * cell
    torch.testing.assert_close(draws.mean(0), expected, atol=0.05, rtol=0)


def test_what_the_condition_tells_is_no_spread() -> None:
    # z = 2 u + noise with deviations 1 and 0.05: given u, one normal component has the noise's deviation alone.
    generator = torch.Generator().manual_seed(4)
    u = torch.randn(4000, 1, generator=generator)
    mixture = ConditionalMixture(1, 1, parts=1)
    mixture.fit(2 * u + 0.05 * torch.randn(4000, 1, generator=generator), u)
    draws = mixture.sample(torch.ones(4000, 1), torch.randn(4000, 1, generator=generator), torch.full((4000, 1), 0.5))
    torch.testing.assert_close(draws.mean(), torch.tensor(2.0), atol=0.01, rtol=0)
    torch.testing.assert_close(draws.std(), torch.tensor(0.05), atol=0.005, rtol=0)


def test_few_or_constant_values_are_fitted_too() -> None:
    mixture = ConditionalMixture(3, 2, parts=5)
    mixture.fit(torch.ones(6, 3), torch.zeros(6, 2))
    draws = mixture.sample(torch.zeros(50, 2), torch.randn(50, 3), torch.rand(50, 1))
    torch.testing.assert_close(draws, torch.ones(50, 3), atol=0.1, rtol=0)
