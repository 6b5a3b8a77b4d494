"""Who wants what: generators high scores, critics high scores of true showers; and the values of both losses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fastv.models import build
from fastv.models.adversarial import CriticInputs
from fastv.models.contract import Domain
from fastv.showers import Showers
from helpers import GAME, batch_of

Make = Callable[..., Showers]
FAMILIES = ("gan", "wgan", "calogan")


def scores(*values: float) -> Tensor:
    return torch.tensor(values)[:, None].requires_grad_()


def made(family: str, showers: Showers, **settings: Any) -> Any:
    torch.manual_seed(1)
    generator = build(family, {**GAME, **settings}, showers.detector, Domain.of(showers.conditions))
    generator.fit(batch_of(generator, showers))
    return generator


@pytest.mark.parametrize("family", FAMILIES)
def test_a_generator_wants_high_scores_and_a_critic_those_of_true_showers(family: str, make_showers: Make) -> None:
    generator = made(family, make_showers(40))
    fake = scores(-1.0, 0.0, 2.0)
    generator.generator_term(fake).backward()
    assert fake.grad is not None
    assert bool((fake.grad < 0).all())
    real, fake = scores(-1.0, 0.0, 2.0), scores(-1.0, 0.0, 2.0)
    generator.critic_term(real, fake).backward()
    assert real.grad is not None
    assert fake.grad is not None
    assert bool((real.grad < 0).all())
    assert bool((fake.grad > 0).all())


def test_the_losses_are_those_of_the_formulae(make_showers: Make) -> None:
    gan, wgan = (made(family, make_showers(40)) for family in ("gan", "wgan"))
    real, fake = torch.tensor([[0.3], [-1.0]]), torch.tensor([[0.5], [2.0]])
    true, generated = torch.sigmoid(real), torch.sigmoid(fake)
    torch.testing.assert_close(gan.critic_term(real, fake), -true.log().mean() - (1 - generated).log().mean())
    torch.testing.assert_close(gan.generator_term(fake), -generated.log().mean())
    assert float(wgan.critic_term(real, fake)) == pytest.approx(1.25 + 0.35)
    assert float(wgan.generator_term(fake)) == pytest.approx(-1.25)


def test_a_discriminator_is_right_about_high_scores_of_true_and_low_ones_of_generated_showers(
    make_showers: Make,
) -> None:
    terms = made("gan", make_showers(40)).convergence_terms(
        "x", torch.tensor([[1.0], [2.0], [-1.0], [3.0]]), torch.tensor([[-1.0], [-2.0], [-1.0], [-3.0]])
    )
    assert (float(terms["x_right_real"]), float(terms["x_right_fake"])) == (0.75, 1.0)


class Square(nn.Module):
    """A critic whose gradient at z is z."""

    def forward(self, seen: tuple[Tensor, ...], context: Tensor) -> Tensor:
        return seen[0].square().sum(1, keepdim=True) / 2 + 0 * context


def test_the_penalty_of_a_wasserstein_critic_is_taken_between_true_and_generated_showers(make_showers: Make) -> None:
    """Uniformly: the mean of (|z| - 1)^2 for z from 0 to 2 is 1/3."""
    n = 20_000
    far = torch.tensor([[2.0, 0.0]]).expand(n, -1)
    inputs = CriticInputs((torch.zeros(n, 2),), (far,), torch.zeros(n, 1))
    penalty = made("wgan", make_showers(40)).penalty(Square(), inputs).detach()
    assert float(penalty) == pytest.approx(1 / 3, abs=0.01)


def test_the_constraint_punishes_energies_that_are_too_well_known_as_well(make_showers: Make) -> None:
    """Generated showers whose energy can be reconstructed better than that of true ones are as wrong as worse ones."""
    showers = make_showers(40)
    gains = np.random.default_rng(1).uniform(0.8, 1.0, (40, 1)).astype(np.float32)
    showers = replace(showers, energies=gains * showers.energies)
    generator = made("wgan", showers, constraint=2.0)
    batch = batch_of(generator, showers)
    layers = generator.grid(batch.energies).sum((2, 3))
    mean, incident = generator.constrainer.mean, batch.conditions[:, :1]
    exact = layers / layers.sum(1, keepdim=True) * incident * mean
    true = generator.loss(batch_of(generator, showers, objective="constrainer"))["constrainer"]
    too_good = generator.constraints(batch, type("Made", (), {"layers": exact})())["constraint"]
    torch.testing.assert_close(too_good, 2 * true, rtol=1e-3, atol=0)


@pytest.mark.parametrize("energy", [1e3, 1.6e4])
def test_a_constrainer_counts_in_units_of_the_resolution_at_the_energy(energy: float, make_showers: Make) -> None:
    """A response of m exp(a/(m sqrt(E/GeV))), with the stochastic term a, is one deviation above."""
    constrainer = made("wgan", make_showers(40)).constrainer
    constrainer.fit(torch.tensor(0.8), torch.tensor(0.04))
    incident = torch.full((1, 1), energy)
    layers = incident * 0.8 * torch.exp(torch.tensor(0.04 / 0.8) / (incident / 1000).sqrt()) / 3
    assert float(constrainer(layers.expand(1, 3), incident).detach()) == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_voxels_are_made_for_their_layers(family: str, make_showers: Make) -> None:
    """The network of the voxels is told the energy of each layer."""
    generator = made(family, make_showers(40))
    conditions = torch.full((2, 1), 5e4)
    layers = torch.tensor([[100.0, 20.0, 0.0], [100.0, 20.0, 3.0]])
    context = generator._context(layers, conditions, generator.scaler(conditions))
    assert torch.equal(context[0, :2], context[1, :2])
    assert float(context[1, 2] - context[0, 2]) > 0.3
