"""The law of a division with steps: a density that its draws have, humps, and the threshold as an exact limit."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fastv.models.plain_division import level_of
from fastv.models.stepped_division import PARAMETERS, STEPS, divide, log_prob

LAWS = torch.tensor(
    [
        [0.3, -0.2, -0.2, -1.4, -2.0, -0.8, -1.5, -0.6, -2.0],
        [-0.5, 0.1, -0.3, -1.5, -3.0, -3.0, -3.0, -3.0, -3.0],
        [0.0, 0.0, -1.0, -3.0, -9.0, -1.0, 0.3, -1.0, -9.0],
    ]
)


def drawn(law: Tensor, energy: float, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """First and second parts of n divisions of an energy, and the noise."""
    half = torch.full((n, 1), 0.5 * energy)
    z = torch.randn(n, 1, generator=torch.Generator().manual_seed(1))
    parts = divide(half, level_of(half), law.expand(n, -1), 2 * z, torch.tensor(STEPS)[:, None])
    return parts[:, 0], parts[:, 1], z[:, 0]


def found(law: Tensor, energy: float, first: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    whole = torch.full_like(first, energy)
    return log_prob(whole, first, level_of(0.5 * whole), law.expand(len(first), -1))


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("energy", [1.5, 2.5, 40.0, 1e5])
def test_the_probabilities_of_all_outcomes_add_up_to_one(law: Tensor, energy: float) -> None:
    total = float(found(law, energy, torch.tensor([0.0, energy]))[0].double().exp().sum())
    if energy > 2:
        # As far out as an excess is told from none.
        reach = math.log((energy - 2) / 1.01e-3)
        y = torch.linspace(-reach, reach, 8001, dtype=torch.float64)
        first = 1 + torch.sigmoid(y) * (energy - 2)
        total += float(torch.trapezoid(found(law.double(), energy, first)[0].exp(), y))
    assert total == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("law", LAWS[:2])
def test_draws_have_the_density(law: Tensor) -> None:
    """Fractions of outcomes, and the mean of q / p over draws of p, with the law q slightly changed."""
    energy, n = 40.0, 40_000
    first, second, _ = drawn(law, energy, n)
    torch.testing.assert_close(first + second, torch.full((n,), energy))
    before = found(law, energy, first)[0]
    expected = found(law, energy, torch.tensor([energy]))[0].exp()
    assert float((second == 0).float().mean()) == pytest.approx(float(expected), abs=5 * math.sqrt(0.25 / n))
    ratio = (found(law + 0.1, energy, first)[0] - before).double().exp()
    assert float(ratio.std()) > 0.02
    assert float(ratio.mean()) == pytest.approx(1.0, abs=5 * float(ratio.std()) / math.sqrt(n))


def test_a_high_step_makes_two_humps() -> None:
    law = torch.tensor([0.0, 0.0, 2.0, -2.0, -7.0, -7.0, 0.7, -7.0, -7.0])
    first = drawn(law, 1000.0, 20_000)[0]
    outer = ((first > 20) & (first < 250)).float().mean(), ((first > 750) & (first < 980)).float().mean()
    assert min(float(each) for each in outer) > 3 * float(((first > 400) & (first < 600)).float().mean())


@pytest.mark.parametrize("law", LAWS[:2])
def test_the_noise_of_an_outcome_is_found_again(law: Tensor) -> None:
    first, second, z = drawn(law, 40.0, 2000)
    _, low, high = found(law, 40.0, first)
    both = (first > 0) & (second > 0)
    assert 0 < int((~both).sum()) < 2000
    # Excesses of a thousandth of the threshold are not told apart.
    clear = both & (first > 1.01) & (second > 1.01)
    torch.testing.assert_close(low[clear], z[clear], rtol=0, atol=2e-3)
    assert torch.equal(low[both], high[both])
    assert bool(((low <= z + 1e-4) & (z <= high + 1e-4))[~both].all())


def test_the_likelihood_has_the_gradient_of_its_differences() -> None:
    """The noise of an energy is found by iteration; its derivatives must not be lost in it."""
    law = LAWS[0].double().requires_grad_()
    first = torch.tensor([5.0, 20.0, 33.0, 0.0, 40.0], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(found(law, 40.0, first)[0].sum(), law)
    for number in range(PARAMETERS):
        step = torch.zeros(PARAMETERS, dtype=torch.float64)
        step[number] = 1e-5
        with torch.no_grad():
            change = (found(law + step, 40.0, first)[0] - found(law - step, 40.0, first)[0]).sum() / 2e-5
        assert float(gradient[number]) == pytest.approx(float(change), rel=1e-4, abs=1e-6)
