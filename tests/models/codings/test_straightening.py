"""Straightened spectra are smooth, and the map is exact: monotonic, invertible, with the slope that it says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastv.models.codings.straightening import Straightening

THRESHOLD = 0.015


def layers_with_single_particles(n: int = 20_000) -> Tensor:
    """Energies of two layers: few particles of 3 MeV each, with tails, or a broad spectrum; some layers are empty."""
    random = torch.manual_seed(1)
    particles = torch.randint(0, 4, (n, 1), generator=random)
    single = 2.0 + torch.distributions.Exponential(1.0).sample((n, 3))
    few = (single * (torch.arange(3) < particles)).sum(1)
    broad = torch.exp(5 + torch.randn(n, generator=random))
    return torch.stack([few, broad], dim=1)


def fitted() -> tuple[Straightening, Tensor]:
    layers = layers_with_single_particles()
    straight = Straightening(2, THRESHOLD)
    straight.fit(layers, layers[:, 0])
    return straight, layers


def test_the_map_is_inverted_and_monotonic() -> None:
    straight, layers = fitted()
    mapped = straight(layers)
    torch.testing.assert_close(straight.inverse(mapped), layers, rtol=3e-5, atol=0)
    for column in range(2):
        order = layers[:, column].argsort()
        rounding = 3e-5 * mapped[order, column][1:]
        assert bool((mapped[order, column].diff() >= -rounding).all())


def test_empty_layers_the_threshold_and_high_energies_stay() -> None:
    straight, _ = fitted()
    energies = torch.tensor([[0.0, 0.0], [THRESHOLD, THRESHOLD], [1e3, 1e3], [1e6, 1e6]])
    torch.testing.assert_close(straight(energies), energies, rtol=3e-5, atol=0)
    assert not straight(energies)[0].any()


def test_edges_in_the_spectrum_are_taken_out() -> None:
    """The largest step between the densities of neighbouring tenths of a decade."""
    straight, layers = fitted()

    def step(energies: Tensor) -> float:
        counts = torch.histogram(torch.log10(energies[energies > 0]), torch.arange(-0.5, 1.4, 0.1))[0] + 100
        return float(torch.log(counts).diff().abs().max())

    before, after = step(layers[:, 0]), step(straight(layers)[:, 0])
    assert before > 2.5
    assert after < 0.6 * before


def test_a_smooth_spectrum_hardly_changes() -> None:
    straight, layers = fitted()
    torch.testing.assert_close(straight(layers)[:, 1], layers[:, 1], rtol=0.25, atol=0)


def test_the_slope_is_that_of_the_map() -> None:
    straight, layers = fitted()
    energies = layers[:200].clone().requires_grad_()
    mapped = straight(energies)
    (slope,) = torch.autograd.grad(mapped.sum(), energies)
    hit = energies > 0
    torch.testing.assert_close(straight.log_slope(energies)[hit], torch.log(slope)[hit], atol=2e-3, rtol=0)
    assert not straight.log_slope(energies)[~hit].any()


@pytest.mark.parametrize("energies", [torch.zeros(5, 2), torch.full((5, 2), THRESHOLD)])
def test_showers_without_a_spectrum_change_nothing(energies: Tensor) -> None:
    straight = Straightening(2, THRESHOLD)
    straight.fit(energies, energies)
    some = torch.tensor([[0.0, 3.0], [0.5, 90.0]])
    torch.testing.assert_close(straight(some), some)
