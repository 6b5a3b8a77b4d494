"""The terms of FastV's loss by their formulae, and what a layer without energy means."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from fastv.models import build
from fastv.models.contract import Domain
from fastv.models.likelihoods import skew_logistic_log_prob
from fastv.models.splines import normal_log_prob
from fastv.showers import Showers
from helpers import SMALL, batch_of

Make = Callable[..., Showers]


def made(showers: Showers, **settings: Any) -> Any:
    """A fitted generator with random weights, and no dropout."""
    torch.manual_seed(1)
    settings = {**SMALL["fastv"], "dropout": 0.0, **settings}
    generator = build("fastv", settings, showers.detector, Domain.of(showers.conditions))
    generator.fit(batch_of(generator, showers))
    return generator


@pytest.fixture(scope="module")
def showers(make_showers: Make) -> Showers:
    """Showers of which every second one has an empty first layer."""
    some = make_showers(60)
    grid = some.grid.copy()
    grid[::2, 0] = 0
    return replace(some, energies=grid.reshape(len(grid), -1))


def silence(*modules: nn.Module) -> None:
    """Weights and biases of zero."""
    with torch.no_grad():
        for module in modules:
            for parameter in module.parameters():
                parameter.zero_()


def test_the_loss_is_the_sum_of_its_terms(showers: Showers) -> None:
    generator = made(showers, kl_weight=3.0, kl_warmup_epochs=4.0)
    for epoch, weight in ((1.0, 0.75), (4.0, 3.0)):
        terms = generator.loss(batch_of(generator, showers, epoch=epoch))
        expected = terms["response"] + terms["profile"] + terms["lateral"]
        expected = expected + weight * (terms["profile_kl"] + terms["lateral_kl"])
        torch.testing.assert_close(terms["loss"], expected)


def test_layers_are_a_coin_each_and_a_normal_number_if_filled(showers: Showers) -> None:
    """With a decoder that gives zeros: log 2 for each layer, and the normal density of each standardised energy."""
    generator = made(showers)
    profile = generator.profile
    silence(profile.decoder, profile.linear)
    batch = batch_of(generator, showers)
    layers = batch.energies.view(-1, 3, 8).sum(2)
    y = profile.scale(layers, batch.conditions, generator.scaler(batch.conditions))
    own = normal_log_prob(y.flatten()[:, None]).view_as(y)
    expected = (math.log(2) - torch.where(layers > 0, own, 0.0)).sum(1).mean()
    torch.testing.assert_close(generator.loss(batch)["profile"], expected)


def test_voxels_count_in_layers_with_energy_only(showers: Showers) -> None:
    """With heads that give zeros: log 2 for each voxel of a layer with energy, and the density of each score."""
    generator = made(showers)
    lateral = generator.lateral
    silence(lateral.occupancy, lateral.location, lateral.log_scale, lateral.log_shape)
    batch = batch_of(generator, showers)
    voxels = batch.energies.view(-1, 3, 8)
    zero, one = torch.zeros(()), torch.ones(())
    densities = skew_logistic_log_prob(lateral.score(voxels[voxels > 0]), zero, one, one)
    filled = int((voxels.sum(2) > 0).sum())
    expected = (filled * 8 * math.log(2) - densities.sum()) / len(voxels)
    torch.testing.assert_close(generator.loss(batch)["lateral"], expected)


def test_the_occupancy_of_empty_layers_is_never_learned(showers: Showers) -> None:
    """That a layer is empty is part of the profile: voxels of a layer that is always empty have no gradient."""
    grid = showers.grid.copy()
    grid[:, 0] = 0
    empty = replace(showers, energies=grid.reshape(len(grid), -1))
    # Without convolutions along the depth the layers do not see each other.
    generator = made(empty, depth_blocks=0)
    generator.loss(batch_of(generator, empty))["lateral"].backward()
    gradient = generator.lateral.layer.grad.abs().sum(1)
    assert float(gradient[0]) == 0
    assert bool((gradient[1:] > 0).all())


@pytest.mark.parametrize("size", [1, 2])
def test_the_divergences_of_all_layers_of_a_shower_add_up(size: int, showers: Showers) -> None:
    generator = made(showers, layer_latent=size)
    lateral = generator.lateral
    silence(lateral.posterior, lateral.layer_posterior)
    with torch.no_grad():
        lateral.layer_posterior.mean.bias.fill_(1.5)
        lateral.layer_posterior.log_scale.bias.fill_(-0.4)
    if hasattr(lateral.posterior, "triangle"):
        silence(lateral.posterior.triangle)
    one = 0.5 * (1.5**2 + math.exp(-0.8) - 1) + 0.4
    for part in (showers, showers[:7]):
        terms = generator.loss(batch_of(generator, part))
        assert float(terms["lateral_kl"].detach()) == pytest.approx(3 * size * one, rel=1e-4)


def test_a_layer_that_is_never_filled_gets_no_energy_and_the_others_all(showers: Showers) -> None:
    generator = made(showers).eval()
    with torch.no_grad():
        last = generator.profile.decoder[-1]
        last.weight[:3] = 0
        last.bias[:3] = torch.tensor([30.0, -30.0, 30.0])
        conditions = torch.full((50, 1), 1e5)
        noise = generator.noise.draw(50, seed=1)
        parts = torch.split(noise, generator._columns, dim=1)
        layers, _ = generator._sample_layers(conditions, generator.scaler(conditions), (*parts[:3], *parts[5:7]))
        drawn = generator.sample(conditions, noise).view(50, 3, 8).sum(2)
    assert not layers[:, 1].any()
    assert bool((layers[:, [0, 2]] > 0).all())
    # Voxels add up to their own layer.
    torch.testing.assert_close(drawn, layers, rtol=1e-4, atol=1e-3)
