"""Codes of layer energies: normal number by number, and back without loss, whatever the factor."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastv.models.codings.layers import LayerCoding
from fastv.sample import sample_path
from fastv.showers import Showers, ShowersFile


@pytest.fixture(scope="module")
def showers() -> Showers:
    with ShowersFile(sample_path("train")) as file:
        return file[:]


@pytest.fixture(scope="module")
def layers(showers: Showers) -> Tensor:
    return torch.from_numpy(showers.grid.sum((2, 3)))


@pytest.fixture(scope="module")
def incident(showers: Showers) -> Tensor:
    return torch.from_numpy(showers.incident_energies)[:, None].float()


@pytest.fixture(scope="module", params=[None, 0.2], ids=["as they are", "random factors"])
def scaled(request: pytest.FixtureRequest, layers: Tensor) -> Tensor | None:
    """What is coded in the place of the layer energies."""
    if request.param is None:
        return None
    return torch.exp(request.param * torch.rand(len(layers), 1, generator=torch.Generator().manual_seed(1))) * layers


@pytest.fixture(scope="module")
def coding(showers: Showers, layers: Tensor, incident: Tensor, scaled: Tensor | None) -> LayerCoding:
    coding = LayerCoding(showers.detector)
    coding.fit(layers, incident, scaled)
    return coding


@pytest.fixture(scope="module")
def codes(coding: LayerCoding, layers: Tensor, incident: Tensor, scaled: Tensor | None) -> Tensor:
    torch.manual_seed(1)
    return coding.encode(layers, incident, scaled)


def test_comes_back_whatever_the_factor(coding: LayerCoding, layers: Tensor, incident: Tensor) -> None:
    torch.manual_seed(1)
    for scaled in (None, layers, 1.1 * layers):
        codes = coding.encode(layers, incident, scaled)
        back = coding.decode(codes, incident)
        assert torch.equal(back > 0, layers > 0)
        torch.testing.assert_close(back.sum(1), layers.sum(1), rtol=1e-5, atol=1e-2)
        # Codes far out are cut.
        inside = codes[:, 1:].amax(1) < 5.4
        assert float(inside.float().mean()) > 0.98
        torch.testing.assert_close(back[inside], layers[inside], rtol=1e-2, atol=1e-4)


def test_unscaled_layers_need_no_scaling_back(coding: LayerCoding, layers: Tensor, incident: Tensor) -> None:
    """Before it is decoded to the response, each layer is what it was."""
    torch.manual_seed(1)
    codes = coding.encode(layers, incident)
    energies = coding.shares.energies(codes[:, None, None, 1:], incident)[:, 0]
    inside = codes[:, 1:].amax(1) < 5.4
    torch.testing.assert_close(energies[inside], layers[inside], rtol=1e-2, atol=1e-4)


def test_codes_are_standard_normal_at_every_energy(codes: Tensor, incident: Tensor) -> None:
    for third in incident[:, 0].argsort().chunk(3):
        assert float(codes[third, 1:].mean().abs()) < 0.12
        assert float(codes[third, 1:].std()) == pytest.approx(1, abs=0.05)
        assert float(codes[third, 1:].mean(0).abs().max()) < 0.35
    assert float(codes[:, 0].mean()) == pytest.approx(0, abs=0.05)
    assert float(codes[:, 0].std()) == pytest.approx(1, abs=0.1)


def test_a_layer_is_empty_where_its_code_is_below_the_edge(
    coding: LayerCoding, codes: Tensor, layers: Tensor, incident: Tensor
) -> None:
    assert torch.equal(codes[:, 1:] > coding.edges(incident), layers > 0)


def test_random_codes_of_empty_layers_are_those_given(coding: LayerCoding, layers: Tensor, incident: Tensor) -> None:
    uniform = torch.rand(layers.shape, generator=torch.Generator().manual_seed(2))
    first, again, other = (coding.encode(layers, incident, uniform=u) for u in (uniform, uniform, 1 - uniform))
    assert torch.equal(first, again)
    moved = first[:, 1:] != other[:, 1:]
    assert not bool(moved[layers > 0].any())
    assert float(moved[layers == 0].float().mean()) > 0.99


def test_independent_codes_give_the_right_occupancies(coding: LayerCoding, layers: Tensor, incident: Tensor) -> None:
    drawn = coding.decode(torch.randn(len(layers), 46, generator=torch.Generator().manual_seed(1)), incident)
    for third in incident[:, 0].argsort().chunk(3):
        expected, found = ((e[third] > 0).float().mean(0) for e in (layers, drawn))
        torch.testing.assert_close(found, expected, atol=0.08, rtol=0)


def test_a_shower_is_never_empty(coding: LayerCoding) -> None:
    incident = torch.tensor([[1e3], [1e6]])
    assert bool((coding.decode(torch.full((2, 46), -6.0), incident).sum(1) > 0).all())
