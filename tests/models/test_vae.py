"""The variational autoencoder: what its loss asks for is what it generates, in units of the incident energy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fastv.models import build
from fastv.models.contract import Domain
from fastv.showers import Showers
from fastv.training.recipe import load_recipe
from helpers import batch_of

Make = Callable[..., Showers]


def made(showers: Showers, **settings: Any) -> Any:
    torch.manual_seed(1)
    return build("vae", {"hidden": (8,), "latent": 3, **settings}, showers.detector, Domain.of(showers.conditions))


def test_the_shower_with_the_least_loss_is_the_one_that_is_generated(make_showers: Make) -> None:
    """A decoder that gives each voxel its share of the incident energy has no gradient left, and draws the shower."""
    one = make_showers(1, seed=3)
    showers = one[np.zeros(8, dtype=int)]
    generator = made(replace(showers, incident_energies=np.linspace(1e3, 1e6, 8)))
    batch = batch_of(generator, showers)
    share = (batch.energies / batch.conditions)[0]
    with torch.no_grad():
        generator.intensity.weight.zero_()
        generator.intensity.bias.copy_(torch.logit(share.clamp(1e-9, 1 - 1e-6)))
    generator.loss(batch)["reconstruction"].backward()
    assert float(generator.intensity.bias.grad.abs().max()) < 1e-6
    with torch.no_grad():
        drawn = generator.eval().draw(batch.conditions, torch.zeros(8, 3))
    torch.testing.assert_close(drawn, batch.energies, rtol=1e-4, atol=1e-3)


def test_conditions_are_the_fraction_of_the_highest_energy(make_showers: Make) -> None:
    """As in the machine-learning part of Par04."""
    generator = made(make_showers(20))
    highest = generator.domain.energy[1]
    assert generator.scaler(torch.tensor([[highest], [highest / 4]])).flatten().tolist() == [1.0, 0.25]


@pytest.mark.parametrize("prior", ["gaussian", "flow"])
def test_the_divergence_counts_against_the_model(prior: str, make_showers: Make) -> None:
    showers = make_showers(20)
    generator = made(showers, kl_weight=0.7, prior=prior)
    terms = generator.loss(batch_of(generator, showers))
    torch.testing.assert_close(terms["loss"], terms["reconstruction"] + 0.7 * terms["kl"])


def test_the_published_recipe_has_the_weight_and_the_slope_of_its_code(make_showers: Make) -> None:
    """Its loss is the sum of the cross-entropies of a batch of 128 and the mean of its divergences."""
    recipe = load_recipe("fastv-original")
    assert recipe.model["kl_weight"] * recipe.training.batch_size == 1
    showers = make_showers(16)
    generator = made(showers, **{**recipe.model, "kl_weight": 1 / 16})
    slopes = {layer.negative_slope for layer in generator.modules() if isinstance(layer, torch.nn.LeakyReLU)}
    assert slopes == {0.2}
    batch = batch_of(generator, showers)
    terms = generator.loss(batch)
    theirs = 16 * terms["reconstruction"] + terms["kl"]
    torch.testing.assert_close(16 * terms["loss"], theirs)


def test_models_from_before_the_slope_was_a_setting_keep_theirs(make_showers: Make) -> None:
    showers = make_showers(4)
    slopes = {layer.negative_slope for layer in made(showers).modules() if isinstance(layer, torch.nn.LeakyReLU)}
    assert slopes == {0.01}
