"""Codes of layer energies: normal number by number, and back without loss, whatever the factor."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastv.layer_coding import LayerCoding
from fastv.sample import sample_path
from fastv.showers import Showers, ShowersFile


@pytest.fixture(scope="module")
def showers() -> Showers:
    with ShowersFile(sample_path("train")) as file:
        return file[:]


def energies_of(showers: Showers) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(showers.grid.sum((2, 3))), torch.from_numpy(showers.incident_energies)[:, None].float()


@pytest.fixture(scope="module")
def coding(showers: Showers) -> LayerCoding:
    layers, incident = energies_of(showers)
    coding = LayerCoding(showers.detector)
    factors = torch.exp(0.2 * torch.rand(len(layers), 1, generator=torch.Generator().manual_seed(1)))
    coding.fit(layers, factors * layers, incident)
    return coding


def test_comes_back_whatever_the_factor(coding: LayerCoding, showers: Showers) -> None:
    layers, incident = energies_of(showers)
    for factor in (1.0, 1.1):
        codes = coding.encode(layers, factor * layers, incident, torch.rand_like(layers))
        back = coding.decode(codes, incident)
        assert torch.equal(back > 0, layers > 0)
        torch.testing.assert_close(back.sum(1), layers.sum(1), rtol=1e-5, atol=1e-2)
        # Codes far out are cut.
        inside = codes[:, 1:].amax(1) < 5.4
        assert float(inside.float().mean()) > 0.98
        torch.testing.assert_close(back[inside], layers[inside], rtol=1e-2, atol=1e-4)


def test_codes_are_standard_normal_at_every_energy(coding: LayerCoding, showers: Showers) -> None:
    layers, incident = energies_of(showers)
    torch.manual_seed(1)
    codes = coding.encode(layers, layers, incident, torch.rand_like(layers))
    for third in incident[:, 0].argsort().chunk(3):
        assert float(codes[third, 1:].mean().abs()) < 0.12
        assert float(codes[third, 1:].std()) == pytest.approx(1, abs=0.05)
        assert float(codes[third, 1:].mean(0).abs().max()) < 0.35
    assert float(codes[:, 0].mean()) == pytest.approx(0, abs=0.05)
    assert float(codes[:, 0].std()) == pytest.approx(1, abs=0.1)


def test_a_layer_is_empty_where_its_code_is_below_the_edge(coding: LayerCoding, showers: Showers) -> None:
    layers, incident = energies_of(showers)
    torch.manual_seed(1)
    codes = coding.encode(layers, 1.1 * layers, incident, torch.rand_like(layers))
    assert torch.equal(codes[:, 1:] > coding.edges(incident), layers > 0)


def test_independent_codes_give_the_right_occupancies(coding: LayerCoding, showers: Showers) -> None:
    layers, incident = energies_of(showers)
    drawn = coding.decode(torch.randn(len(layers), 46, generator=torch.Generator().manual_seed(1)), incident)
    for third in incident[:, 0].argsort().chunk(3):
        expected, found = ((e[third] > 0).float().mean(0) for e in (layers, drawn))
        torch.testing.assert_close(found, expected, atol=0.08, rtol=0)


def test_a_shower_is_never_empty(coding: LayerCoding) -> None:
    incident = torch.tensor([[1e3], [1e6]])
    assert bool((coding.decode(torch.full((2, 46), -6.0), incident).sum(1) > 0).all())
