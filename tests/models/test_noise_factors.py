"""Correlated noise: it has the correlations of what it was fitted to, also if that is known in part only."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastv.models.noise_factors import NoiseFactors


def correlated(rows: int) -> Tensor:
    """Six standard normal columns with correlations of 0.6 and -0.3, by two factors."""
    random = torch.Generator().manual_seed(1)
    loadings = torch.tensor([[0.77, 0.77, 0.77, -0.39, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.71, 0.71]])
    own = (1 - loadings.square().sum(0)).sqrt()
    return torch.randn(rows, 2, generator=random) @ loadings + own * torch.randn(rows, 6, generator=random)


def correlation(noise: NoiseFactors, number: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(2)
    bins = torch.zeros(40_000, len(noise.own))
    bins[:, number] = 1.0
    z = noise(*(torch.randn(40_000, size, generator=random) for size in noise.noise), bins)
    torch.testing.assert_close(z.std(0), torch.ones(6), rtol=0, atol=0.02)
    return torch.corrcoef(z.T)


@pytest.mark.parametrize("known", ["all", "some", "signs"])
def test_correlations_are_found(known: str) -> None:
    z = correlated(6000)
    expected, low, high = torch.corrcoef(z.T), z.clone(), z.clone()
    hidden = torch.rand(z.shape, generator=torch.Generator().manual_seed(3)) < 0.5
    if known == "some":
        low[hidden], high[hidden] = torch.nan, torch.nan
    if known == "signs":
        low[hidden] = torch.where(z > 0, 0.0, -torch.inf)[hidden]
        high[hidden] = torch.where(z > 0, torch.inf, 0.0)[hidden]
    noise = NoiseFactors(6, 2)
    torch.testing.assert_close(correlation(noise), torch.eye(6), rtol=0, atol=0.03)
    noise.fit(low, high)
    torch.testing.assert_close(correlation(noise), expected, rtol=0, atol=0.06)


def test_without_rows_or_factors_columns_stay_independent() -> None:
    z = correlated(6000)
    few, none = NoiseFactors(6, 2), NoiseFactors(6, 0)
    few.fit(z[:5], z[:5])
    none.fit(z, z)
    for noise in (few, none):
        torch.testing.assert_close(correlation(noise), torch.eye(6), rtol=0, atol=0.03)


def test_local_factors_are_found_beside_common_ones() -> None:
    """Columns 0 to 2 and 3 to 5 share a factor each, one of them with both signs, and all share a common one."""
    random = torch.Generator().manual_seed(1)
    local = torch.randn(6000, 2, generator=random)[:, [0, 0, 0, 1, 1, 1]] * torch.tensor([1, 1, -1, 1, 1, 1])
    z = 0.5 * torch.randn(6000, 1, generator=random) + 0.6 * local
    z = z + (1 - 0.25 - 0.36) ** 0.5 * torch.randn(6000, 6, generator=random)
    noise = NoiseFactors(6, 1, [0, 0, 0, 1, 1, 1])
    noise.fit(z, z)
    torch.testing.assert_close(correlation(noise), torch.corrcoef(z.T), rtol=0, atol=0.06)


def test_each_bin_has_correlations_of_its_own() -> None:
    z = correlated(6000)
    noise = NoiseFactors(6, 2, [0, 0, 0, 1, 1, 1], bins=3)
    noise.fit(z, z, 1)
    torch.testing.assert_close(correlation(noise, 1), torch.corrcoef(z.T), rtol=0, atol=0.06)
    for other in (0, 2):
        torch.testing.assert_close(correlation(noise, other), torch.eye(6), rtol=0, atol=0.03)


def test_present_correlations_count_as_rows() -> None:
    """Of few rows alone, correlations are chance; with those that are there already, they are nearer to the truth."""
    z = correlated(6000)
    expected = torch.corrcoef(z.T)
    few, start = -z[:40], NoiseFactors(6, 2)
    few[:, 0] *= -1  # of an opposite sign
    start.fit(z, z)
    errors = []
    for count in (0, 1000):
        noise = NoiseFactors(6, 2)
        noise.load_state_dict(start.state_dict())
        noise.fit(few, few, start=count)
        errors.append(float((correlation(noise) - expected).abs().max()))
    assert errors[1] < 0.2 < 0.8 < errors[0]
