"""Straightened layer energies: lines are gone, nothing else changes, and every energy is found again."""

from __future__ import annotations

import torch

from fastv.models.codings.straightening import Straightening


def lines(n: int = 20_000) -> torch.Tensor:
    """Energies of two layers, one with a line in its spectrum; some are empty."""
    random = torch.Generator().manual_seed(1)
    logs = 8 * torch.rand(n, 2, generator=random)
    at = torch.rand(n, generator=random) < 0.3
    logs[at, 0] = 5.3 + 0.08 * torch.randn(int(at.sum()), generator=random)
    return torch.exp(logs) * (torch.rand(n, 2, generator=random) < 0.8)


def peak(energies: torch.Tensor) -> float:
    """Largest number of entries in a tenth of log E, over that of a flat spectrum."""
    counts = torch.histc(torch.log(energies[energies > 0]), 80, 0.0, 8.0)
    return float(counts.max() / counts.mean())


def test_a_line_is_taken_out_of_its_layer_only() -> None:
    energies = lines()
    straight = Straightening(2)
    straight.fit(energies)
    coded = straight(energies)
    assert peak(energies[:, 0]) > 8
    assert peak(coded[:, 0]) < 0.6 * peak(energies[:, 0])
    assert abs(float(torch.log(coded[:, 1] / energies[:, 1]).nan_to_num().abs().mean())) < 0.05


def test_energies_are_found_again_and_increase() -> None:
    straight = Straightening(2)
    straight.fit(lines())
    energies = torch.exp(torch.linspace(0.0, 14.0, 2000))[:, None].expand(-1, 2).contiguous()
    coded = straight(energies)
    assert bool((coded.diff(dim=0) > 0).all())
    torch.testing.assert_close(straight.energies(coded), energies, rtol=1e-4, atol=0)
    # The threshold stays, and so does what is far above it.
    torch.testing.assert_close(coded[0], torch.ones(2))
    torch.testing.assert_close(coded[-200:], energies[-200:], rtol=1e-4, atol=0)
    nothing = torch.zeros(3, 2)
    assert torch.equal(straight(nothing), nothing)
    assert torch.equal(straight.energies(nothing), nothing)


def test_without_entries_nothing_changes() -> None:
    straight, energies = Straightening(2), torch.exp(8 * torch.rand(50, 2))
    for seen in (torch.zeros(4, 2), torch.full((4, 2), 1e6)):
        straight.fit(seen)
        torch.testing.assert_close(straight(energies), energies, rtol=1e-4, atol=0)
