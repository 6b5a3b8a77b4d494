"""The law of a division is a probability, its draws have it, and no part is below the threshold."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fastv.models.division_law import DivisionLaw

THRESHOLD = 0.015


def some_parameters(law: DivisionLaw, n: int, seed: int = 1, size: float = 1.0) -> Tensor:
    return law.initial() + size * torch.randn(n, law.parameters_each, generator=torch.manual_seed(seed))


@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize("energy", [0.5, 40.0])
def test_the_probabilities_add_up_to_one(components: int, energy: float) -> None:
    law = DivisionLaw(components, THRESHOLD).double()
    parameters = some_parameters(law, 1).double()
    # Fine at the ends, where the density in MeV has peaks.
    share = torch.sigmoid(torch.linspace(-25.0, 25.0, 20_001, dtype=torch.float64))
    first = THRESHOLD + share * (energy - 2 * THRESHOLD)
    whole = torch.full_like(first, energy)
    density = law.log_prob(parameters.expand(len(first), -1), whole, first) + law.log_slope(whole, first)
    inside = float(torch.trapezoid(density.exp(), first))
    alone = law.log_prob(
        parameters.expand(2, -1), torch.full((2,), energy).double(), torch.tensor([0.0, energy]).double()
    )
    assert inside + float(alone.exp().sum()) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("components", [1, 2, 3])
def test_draws_have_the_density(components: int) -> None:
    law = DivisionLaw(components, THRESHOLD)
    parameters = some_parameters(law, 1, seed=3)
    n, energy = 200_000, 3.0
    u = (torch.arange(n) + 0.5) / n
    whole = torch.full((n,), energy)
    first = law.divide(parameters.expand(n, -1), whole, u)
    chance = torch.softmax(parameters[0, : law.outcomes], 0)
    assert float((first == energy).float().mean()) == pytest.approx(float(chance[-2]), abs=1e-4)
    assert float((first == 0).float().mean()) == pytest.approx(float(chance[-1]), abs=1e-4)
    edges = torch.linspace(THRESHOLD, energy - THRESHOLD, 41)
    counts = torch.histogram(first, edges)[0] / n
    fine = torch.linspace(THRESHOLD, energy - THRESHOLD, 40 * 500 + 1)
    whole = torch.full_like(fine, energy)
    density = (law.log_prob(parameters.expand(len(fine), -1), whole, fine) + law.log_slope(whole, fine)).exp()
    expected = torch.stack(
        [torch.trapezoid(d, x) for d, x in zip(density.unfold(0, 501, 500), fine.unfold(0, 501, 500), strict=True)]
    )
    torch.testing.assert_close(counts[1:-1], expected[1:-1], atol=2e-4, rtol=2e-3)


@given(
    energy=st.floats(THRESHOLD, 1e6),
    uniform=st.floats(0, 1, width=32, exclude_max=True),
    seed=st.integers(0, 50),
    size=st.sampled_from([0.1, 3.0, 30.0]),
)
def test_parts_are_zero_or_above_the_threshold(energy: float, uniform: float, seed: int, size: float) -> None:
    law = DivisionLaw(3, THRESHOLD)
    whole = torch.tensor([energy])
    first = law.divide(some_parameters(law, 1, seed, size), whole, torch.tensor([uniform]))
    second = whole - first
    assert bool(torch.isfinite(first))
    for part in (first, second):
        # The second part has the rounding of the whole.
        assert float(part) == 0 or float(part) >= THRESHOLD - 2e-7 * energy
    if energy < 2 * THRESHOLD:
        assert 0 in (float(first), float(second))


@pytest.mark.parametrize("components", [1, 3])
def test_scores_of_draws_are_normal(components: int) -> None:
    """With all energy in one part, the range of scores has the probability of this outcome."""
    law, n, energy = DivisionLaw(components, THRESHOLD), 40_000, 3.0
    parameters = some_parameters(law, 1, seed=3).expand(n, -1)
    whole = torch.full((n,), energy)
    first = law.divide(parameters, whole, (torch.arange(n) + 0.5) / n)
    low, high = law.scores(parameters, whole, first)
    second_only, both = first == 0, low == high
    chance = torch.softmax(parameters[0, : law.outcomes], 0)
    assert bool(torch.isinf(low[second_only]).all())
    assert float(torch.special.ndtr(high[second_only][0])) == pytest.approx(float(chance[-1]), abs=1e-6)
    assert float(torch.special.ndtr(low[first == energy][0])) == pytest.approx(1 - float(chance[-2]), abs=1e-6)
    # Quantiles of all scores, those of the outcomes of one part below and above the others.
    found = torch.special.ndtr(low[both].sort().values)
    expected = float(chance[-1]) + (torch.arange(len(found)) + 0.5) / n
    torch.testing.assert_close(found, expected.double(), atol=4e-3, rtol=0)  # tiny parts count as alike
    assert bool((low[both][first[both].argsort()].diff() >= -1e-5).all())


def test_the_first_part_increases_with_the_noise_where_components_do_not_overlap() -> None:
    law = DivisionLaw(3, THRESHOLD)
    steps = torch.tensor([[0.3, -0.2, 0.1, -1.0, 0.5, -4.0, 6.0, 6.0, -1.0, -1.0, -1.0]])
    u = torch.linspace(0.001, 0.999, 2000)
    first = law.divide(steps.expand(2000, -1), torch.full((2000,), 9.0), u)
    assert float(first[0]) == 0
    assert float(first[-1]) == 9.0
    assert float((first.diff() < 0).float().mean()) < 0.005


def test_negative_steps_between_locations_count_as_none() -> None:
    law = DivisionLaw(2, THRESHOLD)
    below = torch.tensor([[0.0, 0.0, -9.0, -9.0, 0.5, -3.0, 0.0, 0.0]])
    at = below.clone()
    at[0, 5] = 0.0
    energy, first = torch.full((1,), 4.0), torch.full((1,), 1.5)
    torch.testing.assert_close(law.log_prob(below, energy, first), law.log_prob(at, energy, first))
    u = torch.tensor([0.4])
    torch.testing.assert_close(law.divide(below, energy, u), law.divide(at, energy, u))


def test_nothing_to_divide_gives_nothing() -> None:
    law = DivisionLaw(2, THRESHOLD)
    parameters = some_parameters(law, 100)
    assert not law.divide(parameters, torch.zeros(100), torch.linspace(0, 1, 100)).any()


def test_there_is_nothing_to_divide_however_sure_a_network_is_that_there_is() -> None:
    """Blocks without energy get parameters that no training showers have determined."""
    law = DivisionLaw(2, THRESHOLD)
    sure = torch.tensor([[1e4, 1e4, -20.0, -20.0, 0.0, 0.0, 0.0, 0.0]]).expand(100, -1)
    u = torch.linspace(0, 1, 100)
    assert not law.divide(sure, torch.zeros(100), u).any()
    # Rounding may leave a little less than nothing.
    assert not law.divide(sure, torch.full((100,), -1e-6), u).any()
    alone = law.divide(sure, torch.full((100,), 1.5 * THRESHOLD), u)
    assert alone.unique().tolist() == pytest.approx([0.0, 1.5 * THRESHOLD])


def test_moved_parameters_are_those_of_the_moved_variable() -> None:
    law = DivisionLaw(3, THRESHOLD)
    parameters, energy = some_parameters(law, 50), torch.full((50,), 8.0)
    location, scale = torch.linspace(-1, 1, 50)[:, None], torch.linspace(0.1, 2, 50)[:, None]
    y = torch.linspace(-2, 2, 50)

    def first(y: Tensor) -> Tensor:
        return THRESHOLD + torch.sigmoid(y) * (energy - 2 * THRESHOLD)

    moved = law.log_prob(law.moved(parameters, location, scale), energy, first(location[:, 0] + scale[:, 0] * y))
    torch.testing.assert_close(
        moved + torch.log(scale[:, 0]), law.log_prob(parameters, energy, first(y)), atol=2e-4, rtol=0
    )


def test_gradients_are_finite_at_the_ends() -> None:
    law = DivisionLaw(3, THRESHOLD)
    energy = torch.tensor([0.02, 0.03, 1.0, 1e6, 1e6, 5.0])
    first = torch.tensor([0.02, 0.015, 0.015, 0.015, 1e6 - 0.05, 0.0])
    parameters = some_parameters(law, 6, size=5.0).requires_grad_()
    law.log_prob(parameters, energy, first).sum().backward()
    assert parameters.grad is not None
    assert bool(parameters.grad.isfinite().all())


def test_the_ends_of_a_wide_range_are_resolved() -> None:
    """A part of 20 keV of 1 GeV is told from one of 30 keV."""
    law = DivisionLaw(1, THRESHOLD)
    energy = torch.full((2,), 1000.0)
    parameters = torch.tensor([[20.0, 0.0, 0.0, -11.0, -2.0]]).expand(2, -1)
    near, far = law.log_prob(parameters, energy, torch.tensor([0.0315, 0.06]))
    assert near > far + 1
