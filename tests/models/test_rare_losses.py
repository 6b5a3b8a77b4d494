"""Rare losses: two numbers that are found again, drawn as they were fitted, and absent where there are none."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fastv.models.rare_losses import RareLosses

N = 400_000


def planted(probability: float, mean: float, seed: int) -> Tensor:
    """The parts kept of the visible energy, (N, 1)."""
    generator = torch.Generator().manual_seed(seed)
    losses = torch.empty(N, 1).exponential_(1 / mean, generator=generator)
    rare = torch.rand(N, 1, generator=generator) < probability
    return torch.exp(-torch.where(rare, losses, 0.0))


@given(st.floats(0.002, 0.02), st.floats(0.03, 0.2), st.floats(0.5, 2.0), st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_is_found_whatever_the_least_loss(probability: float, mean: float, reach: float, seed: int) -> None:
    """Also where the resolution, and so the least loss, differs between showers; infinite for some."""
    least = mean * reach * torch.rand(N, 1, generator=torch.Generator().manual_seed(seed + 1))
    least[::3] = torch.inf
    losses = RareLosses()
    losses.fit(planted(probability, mean, seed), least)
    found = N * 2 / 3 * probability * 0.4
    assert float(losses.mean) == pytest.approx(mean, rel=5 / found**0.5)
    assert float(losses.probability) == pytest.approx(probability, rel=10 / found**0.5)


def test_resolution_around_the_loss_moves_nothing() -> None:
    generator = torch.Generator().manual_seed(2)
    kept = planted(0.005, 0.07, 3) * (1 + 0.005 * torch.randn(N, 1, generator=generator))
    losses = RareLosses()
    losses.fit(kept, torch.full((N, 1), 0.04))
    assert float(losses.mean) == pytest.approx(0.07, rel=0.1)
    assert float(losses.probability) == pytest.approx(0.005, rel=0.15)


def test_draws_what_was_fitted() -> None:
    losses = RareLosses()
    losses.fit(planted(0.005, 0.07, 4), torch.full((N, 1), 0.01))
    kept = losses.kept(torch.rand(N, 1, generator=torch.Generator().manual_seed(5)))
    again = RareLosses()
    again.fit(kept, torch.full((N, 1), 0.05))
    assert float(again.mean) == pytest.approx(float(losses.mean), rel=0.15)
    assert float((kept < 1).float().mean()) == pytest.approx(float(losses.probability), rel=0.15)


def test_density_integrates_to_the_probability() -> None:
    losses = RareLosses()
    losses.fit(planted(0.005, 0.07, 6), torch.full((N, 1), 0.01))
    axis = torch.linspace(-0.5, 3.0, 200_001).double()
    total = torch.trapezoid(losses.double().log_prob(axis).exp(), axis)
    assert float(total) == pytest.approx(float(losses.probability), rel=1e-3)


def test_without_losses_all_is_kept() -> None:
    losses = RareLosses()
    losses.fit(torch.ones(100, 1), torch.full((100, 1), 0.05))
    assert float(losses.probability) == 0
    assert bool((losses.kept(torch.rand(1000, 1)) == 1).all())
    assert bool(torch.isneginf(losses.log_prob(torch.tensor([0.1]))).all())


def test_losses_of_all_showers_are_not_rare() -> None:
    losses = RareLosses()
    losses.fit(torch.full((100, 1), 0.5), torch.full((100, 1), 0.05))
    assert float(losses.probability) == pytest.approx(0.05)
