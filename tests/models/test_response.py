"""The response as a density, whatever its shape."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fastv.models.response import FreeResponse, PeakedResponse


def humps(n: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Responses at 1 to 50 GeV: half of the particles pass through and leave 0.2 GeV, half shower; (n, 1) each."""
    rng = np.random.default_rng(seed)
    incident = np.exp(rng.uniform(np.log(1e3), np.log(5e4), n))
    through = rng.random(n) < 0.5
    shower = 0.9 + 0.1 / np.sqrt(incident / 1000) * rng.standard_normal(n)
    passing = 200 / incident * np.exp(0.1 * rng.standard_normal(n))
    fraction = np.where(through, passing, shower)
    return torch.from_numpy(fraction)[:, None], torch.from_numpy(incident)[:, None]


@pytest.fixture
def free() -> FreeResponse:
    response = FreeResponse(1).double()
    response.fit(*humps(20_000))
    return response


@pytest.mark.parametrize("energy", [1.5e3, 1e4, 4e4])
def test_two_humps_are_drawn_at_every_energy(free: FreeResponse, energy: float) -> None:
    incident, normal = torch.full((20_000, 1), energy).double(), torch.randn(20_000, 1).double()
    with torch.no_grad():
        drawn = free.sample(normal, normal[:, :0], torch.zeros_like(incident), incident)[0][:, 0].numpy()
    low = drawn < 0.45
    # About 1300 showers lie near a level of the table.
    assert low.mean() == pytest.approx(0.5, abs=0.06)
    # The table is linear between its levels, where the hump moves as 1/E.
    assert np.median(drawn[low]) == pytest.approx(200 / energy, rel=0.1, abs=0.003)
    assert np.median(drawn[~low]) == pytest.approx(0.9, rel=0.02)


def test_free_response_is_a_density_and_its_sampling_follows_it(free: FreeResponse) -> None:
    """Also where the network has changed the shape."""
    torch.manual_seed(1)
    torch.nn.init.normal_(free.flow[-1].weight, std=0.1)
    scaled = torch.full((400_001, 1), 0.7).double()
    incident = torch.full_like(scaled, 2e4)
    # Some of the changed density lies below zero, where a drawn response is zero.
    fraction = torch.linspace(-2, 4, len(scaled)).double()[:, None]
    y = free.coding.scale(fraction, incident)
    with torch.no_grad():
        density = free.log_prob(fraction, scaled, incident).exp()
        normal = torch.randn(400_001, 1).double()
        drawn = free.coding.scale(free.sample(normal, normal[:, :0], scaled, incident)[0], incident)
    cumulative = torch.cumulative_trapezoid(density, y[:, 0])
    assert float(cumulative[-1]) == pytest.approx(1.0, abs=2e-3)
    for share in (0.5, 0.7, 0.9):
        place = int(torch.searchsorted(cumulative, share))
        if fraction[place] > 0:
            assert float((drawn < y[place]).double().mean()) == pytest.approx(share, abs=0.01)


def test_training_finds_a_condition_that_the_table_does_not_have(free: FreeResponse) -> None:
    """The response of one particle is a third lower; the table mixes both."""
    fraction, incident = humps(4000, seed=2)
    particle = (torch.arange(4000) % 2).double()[:, None]
    fraction = fraction * (1 - particle / 3)
    free.fit(fraction, incident)
    optimizer = torch.optim.Adam(free.flow.parameters(), lr=0.01)
    losses = []
    for _ in range(200):
        optimizer.zero_grad()
        loss = -free.log_prob(fraction, particle, incident).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.detach())
    # Gradients with respect to quantiles of a table would make the likelihood worse.
    assert losses[-1] < losses[0] - 0.5
    with torch.no_grad():
        normal = torch.randn(4000, 1).double()
        means = [
            float(free.sample(normal, normal[:, :0], torch.full_like(incident, p), incident)[0].mean())
            for p in (0.0, 1.0)
        ]
    # So few steps leave 2 to 6 %, whatever the first weights; without the condition the ratio is 1.
    assert means[1] / means[0] == pytest.approx(2 / 3, rel=0.1)


def with_rare_losses() -> PeakedResponse:
    """A response of 0.95 at 200 GeV; five showers of a hundred have a loss l, exponential with mean 0.1."""
    response = PeakedResponse(1).double()
    fraction = 0.95 + 0.13 / np.sqrt(200) * torch.randn(2000, 1, generator=torch.manual_seed(1)).double()
    response.fit(fraction, torch.full_like(fraction, 2e5))
    response.losses.probability.fill_(0.05)
    response.losses.mean.fill_(0.1)
    return response


def test_peaked_response_is_a_density() -> None:
    """Also with rare losses; what they add near the mean is not smeared by the resolution."""
    response, incident = with_rare_losses(), torch.full((20_001, 1), 2e5).double()
    lowest = float(response.scale(torch.full((1, 1), 0.002).double(), incident[:1]))
    y = torch.linspace(lowest, 8.0, 20_001).double()[:, None]
    with torch.no_grad():
        density = response.log_prob(response.scale.fraction(y, incident), torch.zeros_like(incident), incident).exp()
    assert float(torch.trapezoid(density, y[:, 0])) == pytest.approx(1.0, abs=2e-3)


@pytest.mark.parametrize("log_tail", [0.0, 0.4, -0.3])
def test_peaked_response_is_a_density_with_all_its_outliers(log_tail: float) -> None:
    """Up to a million resolutions on either side, with tails that are short, normal and long."""
    response = with_rare_losses()
    torch.nn.init.zeros_(response.shape[-1].weight)
    with torch.no_grad():
        response.shape[-1].bias.copy_(torch.tensor([0.3, 0.1, -0.4, log_tail]))
    far = torch.logspace(np.log10(8), 6, 20_001).double()
    y = torch.cat([-far.flip(0)[:-1], torch.linspace(-8, 8, 20_001).double(), far[1:]])[:, None]
    incident = torch.full_like(y, 2e5)
    fraction = response.scale.mean + y * response.scale.slope(incident)
    with torch.no_grad():
        density = response.log_prob(fraction, torch.zeros_like(incident), incident).exp()
    assert float(torch.trapezoid(density, y[:, 0])) == pytest.approx(1.0, abs=2e-3)


def test_outliers_move_the_bulk_of_a_response_no_more_the_further_they_are() -> None:
    response, incident = PeakedResponse(1).double(), torch.full((2, 1), 1e3).double()
    gradients = []
    for y in (9.0, 900.0):
        response.zero_grad()
        fraction = 1 + torch.tensor([[y], [0.3]]).double()
        response.log_prob(fraction, torch.zeros_like(incident), incident).sum().backward()  # type: ignore[no-untyped-call]
        gradients.append(response.shape[-1].bias.grad.clone())
    torch.testing.assert_close(*gradients)


def test_peaked_response_is_drawn_with_its_rare_losses() -> None:
    """Five showers of a hundred keep exp(-l) of their energy, l exponential with mean 0.1."""
    response, incident = with_rare_losses(), torch.full((20_000, 1), 2e5).double()
    nothing, uniform = torch.zeros_like(incident), torch.rand(20_000, 1, generator=torch.manual_seed(2)).double()
    with torch.no_grad():
        drawn, _ = response.sample(nothing, uniform, nothing, incident)
        without, _ = response.sample(nothing, torch.ones_like(uniform), nothing, incident)
    assert float(without[0]) == pytest.approx(0.95, rel=0.01)
    loss = torch.log(without / drawn)[:, 0]
    assert float((loss > 0).double().mean()) == pytest.approx(0.05, abs=0.005)
    assert float(loss[loss > 0].mean()) == pytest.approx(0.1, rel=0.1)
