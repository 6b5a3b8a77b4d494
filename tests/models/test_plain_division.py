"""The law of a division: a density that its draws have, with the threshold as an exact limit."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fastv.models.plain_division import divide, level_of, log_prob

PARAMETERS = torch.tensor([[-1.2, -0.4, 0.3, -0.2], [0.2, -1.0, -0.1, 0.4], [-2.0, -0.3, 0.0, 0.0]])


def drawn(parameters: Tensor, energy: float, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """First and second parts of n divisions of an energy, and the noise."""
    half = torch.full((n, 1), 0.5 * energy)
    z = torch.randn(n, 1, generator=torch.Generator().manual_seed(1))
    first, second = divide(half, level_of(half), parameters.repeat(n, 1), z)
    return first[:, 0], second[:, 0], z[:, 0]


def found(parameters: Tensor, energy: float, first: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    whole = torch.full_like(first, energy)
    return log_prob(whole, first, level_of(0.5 * whole), parameters.expand(len(first), 4))


@pytest.mark.parametrize("parameters", PARAMETERS)
@pytest.mark.parametrize("energy", [1.5, 2.5, 40.0, 1e5])
def test_the_probabilities_of_all_outcomes_add_up_to_one(parameters: Tensor, energy: float) -> None:
    alone = found(parameters, energy, torch.tensor([0.0, energy]))[0].double().exp().sum()
    total = float(alone)
    if energy > 2:
        # As far out as an excess is told from none.
        reach = math.log((energy - 2) / 1.01e-3)
        y = torch.linspace(-reach, reach, 4001, dtype=torch.float64)
        first = 1 + torch.sigmoid(y) * (energy - 2)
        total += float(torch.trapezoid(found(parameters.double(), energy, first)[0].exp(), y))
    assert total == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("parameters", PARAMETERS)
def test_draws_have_the_density(parameters: Tensor) -> None:
    """Fractions of outcomes, and the mean of q / p over draws of p, with the law q slightly changed."""
    energy, n = 40.0, 40_000
    first, second, _ = drawn(parameters, energy, n)
    before = found(parameters, energy, first)[0]
    only = (second == 0).float().mean()
    expected = found(parameters, energy, torch.tensor([energy]))[0].exp()
    assert float(only) == pytest.approx(float(expected), abs=5 * math.sqrt(0.25 / n))
    ratio = (found(parameters + torch.tensor([0.1, 0.1, 0.1, 0.1]), energy, first)[0] - before).double().exp()
    assert float(ratio.std()) > 0.02
    assert float(ratio.mean()) == pytest.approx(1.0, abs=5 * float(ratio.std()) / math.sqrt(n))


@pytest.mark.parametrize("parameters", PARAMETERS)
def test_the_noise_of_an_outcome_is_found_again(parameters: Tensor) -> None:
    first, _, z = drawn(parameters, 40.0, 1000)
    _, low, high = found(parameters, 40.0, first)
    known = low == high
    assert float(known.float().mean()) > 0.1
    torch.testing.assert_close(low[known], z[known], rtol=1e-3, atol=2e-3)
    assert bool(((low[~known] <= z[~known]) & (z[~known] <= high[~known])).all())


@pytest.mark.parametrize("energy", [0.0, 1.0, 1.9, 2.1, 3.0, 1e6])
def test_parts_add_up_and_are_zero_or_above_the_threshold(energy: float) -> None:
    for parameters in PARAMETERS:
        first, second, _ = drawn(parameters, energy, 2000)
        torch.testing.assert_close(first + second, torch.full_like(first, energy))
        least = torch.stack([first, second]).amin(0)
        # Rounding leaves up to 1e-7 of an energy in an empty part.
        assert bool(((least >= 1 - 1e-6 * max(energy, 1.0)) | (least.abs() <= 1e-6 * energy)).all())
        if energy < 2:
            assert float(least.abs().max()) == pytest.approx(0.0, abs=1e-6)


def test_the_first_part_increases_with_the_noise() -> None:
    z = torch.linspace(-5, 5, 1001)[:, None]
    half = torch.full_like(z, 20.0)
    for parameters in PARAMETERS:
        first, _ = divide(half, level_of(half), parameters.repeat(len(z), 1), z)
        assert bool((first.diff(dim=0) >= 0).all())
