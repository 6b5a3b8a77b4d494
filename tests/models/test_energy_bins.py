"""Bins of incident energy hold equal numbers of showers."""

from __future__ import annotations

import torch

from fastv.models.energy_bins import EnergyBins


def test_each_bin_has_as_many_showers() -> None:
    incident = torch.exp(torch.randn(1000, generator=torch.manual_seed(1)))
    bins = EnergyBins(4, 1e6)
    bins.fit(incident)
    members = bins(incident[:, None])
    assert members.sum(0).tolist() == [250, 250, 250, 250]
    assert bool((members.sum(1) == 1).all())


def test_one_bin_has_all() -> None:
    bins = EnergyBins(1, 1e6)
    bins.fit(torch.tensor([1.0, 2.0]))
    assert bins(torch.tensor([[1.0], [5e6]])).tolist() == [[1.0], [1.0]]


def test_before_the_fit_all_showers_are_in_the_first_bin() -> None:
    assert EnergyBins(3, 100.0)(torch.tensor([[1.0], [99.0]])).tolist() == [[1.0, 0.0, 0.0]] * 2
