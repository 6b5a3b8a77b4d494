"""The joint embedding: what it is told, what its training lowers, and that a product is a likelihood."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fastv.errors import ModelError
from fastv.fast_simulation.generating import source
from fastv.model import Model, ModelDescription
from fastv.models import build
from fastv.models.contract import Batch, Domain
from fastv.models.embedding import Embedding, _best_power, _powers_of, _quantile
from fastv.showers import Showers
from helpers import SMALL, batch_of


def fitted(showers: Showers, **settings: Any) -> Embedding:
    torch.manual_seed(1)
    domain = Domain.of(showers.conditions, ("e-",))
    made = build("embedding", {**SMALL["embedding"], **settings}, showers.detector, domain)
    assert isinstance(made, Embedding)
    made.fit(batch_of(made, showers))
    return made.eval()


def told_more(showers: Showers) -> Showers:
    """The same showers with angles and particles."""
    n = len(showers)
    pdg = np.where(np.arange(n) % 2, 11, 22).astype(np.int32)
    return replace(showers, theta=np.linspace(1.0, 1.5, n), pdg=pdg)


def test_a_place_depends_on_the_energies_alone(coarse_showers: Showers) -> None:
    generator = fitted(coarse_showers)
    energies = torch.from_numpy(coarse_showers.energies[:20])
    places = [generator.encode(Batch(energies, torch.full((20, 1), e)))["embedding"].mean for e in (1e3, 1e6)]
    assert torch.equal(*places)
    assert places[0].shape == (20, 12)
    torch.testing.assert_close(places[0].norm(dim=1), torch.ones(20))


def test_places_of_conditions_are_as_long_as_the_inverse_temperature(coarse_showers: Showers) -> None:
    showers = told_more(coarse_showers)
    generator = fitted(showers, conditions=("energy", "theta", "particle"), sharpness=30.0)
    conditions = generator.conditions_of(showers.conditions)
    generator.temperature.fill_(1.5)
    places = generator.embed(conditions)
    torch.testing.assert_close(places.norm(dim=1), torch.full((len(conditions),), 20.0))
    other = conditions.clone()
    for column in range(3):
        other[:, column] = conditions[:, column].flip(0)
        assert bool((generator.embed(other) - places).norm(dim=1).median() > 0.1)


def test_the_losses_are_those_of_both_directions(coarse_showers: Showers) -> None:
    generator = fitted(coarse_showers)
    batch = batch_of(generator, coarse_showers[:30])
    with torch.no_grad():
        terms = generator.loss(batch)
        products = generator.encode(batch)["embedding"].mean @ generator.embed(batch.conditions).T
    own = products.diagonal()
    assert float(terms["conditions_found"]) == pytest.approx(float((products.logsumexp(1) - own).mean()), rel=1e-4)
    assert float(terms["showers_found"]) == pytest.approx(float((products.logsumexp(0) - own).mean()), rel=1e-4)
    assert float(terms["loss"]) == pytest.approx(0.5 * float(terms["conditions_found"] + terms["showers_found"]))


def test_in_training_there_are_more_conditions_than_in_the_batch(coarse_showers: Showers) -> None:
    batch = batch_of(fitted(coarse_showers), coarse_showers[:30])
    losses = {}
    for others in (0, 300):
        generator = fitted(coarse_showers, others=others, dropout=0.0).train()
        losses[others] = float(generator.loss(batch)["conditions_found"].detach())
    assert losses[300] > losses[0] + 1


def test_training_finds_the_conditions_and_the_temperature_is_calibrated(coarse_showers: Showers) -> None:
    generator = fitted(coarse_showers, dropout=0.0).train()
    batch = batch_of(generator, coarse_showers[:120])
    optimizer = torch.optim.Adam(generator.parameters(), lr=6e-3)
    for _ in range(30):
        optimizer.zero_grad()
        generator.loss(batch)["loss"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    generator.eval()
    held = batch_of(generator, coarse_showers[120:])
    with torch.no_grad():
        # By chance it is the logarithm of their number.
        before = float(generator.loss(held)["conditions_found"])
        assert before < math.log(len(held.conditions)) - 0.7
        generator.calibrate(held)
        products = generator.encode(held)["embedding"].mean @ generator.embed(held.conditions).T
        after = float((products.logsumexp(1) - products.diagonal()).mean())
    # Few showers say little of the temperature.
    few = fitted(coarse_showers)
    few.calibrate(batch_of(few, coarse_showers[:20]))
    assert float(few.temperature) == 1
    # 120 showers learnt by heart are believed too much.
    assert float(generator.temperature) > 1
    assert after < before


def test_it_draws_no_showers_and_says_what_it_is_for(coarse_showers: Showers) -> None:
    generator = fitted(coarse_showers)
    description = ModelDescription(family="embedding", domain=generator.domain, detector=coarse_showers.detector)
    for ask in (
        generator.check_draws,
        lambda: source(Model(generator, description, "space")),
        lambda: generator.sample(torch.ones(1, 1), torch.zeros(1, generator.noise.size)),
    ):
        with pytest.raises(ModelError, match=r"'embedding' draws no showers: it finds showers by their conditions \("):
            ask()
    with pytest.raises(ModelError, match="the family 'embedding' has no decoder"):
        generator.decode({}, torch.ones(1, 1))
    with pytest.raises(ModelError, match="the family 'pca' has no joint embedding"):
        build("pca", {}, coarse_showers.detector, generator.domain).embed(torch.ones(1, 1))


def test_the_power_of_the_energy_gives_intervals_that_hold_what_they_promise() -> None:
    # Posteriors of the right width below the middle of the domain, and of twice the width at its end.
    torch.manual_seed(1)
    n, cells = 3000, 400
    v = torch.rand(n) * 1.8 - 0.9
    told = v + 0.05 * torch.randn(n)
    too_wide = 0.05 * (1 + v.clamp(min=0.0))
    middles = (2 * torch.arange(cells) + 1) / cells - 1
    logs = -0.5 * ((middles - told[:, None]) / too_wide[:, None]).square()
    terms = _powers_of(told)
    found = torch.exp(terms @ _best_power(logs, terms, v))
    assert float(found[v < -0.3].mean()) == pytest.approx(1.0, abs=0.12)
    assert 1.9 < float(found[v > 0.6].mean()) < 3.1
    for chosen in (v < 0, (v > 0) & (v < 0.5), v > 0.5):
        sharper = torch.softmax(found[:, None] * logs, dim=1)[chosen]
        low, high = (_quantile(sharper, q) for q in (0.16, 0.84))
        inside = (low <= v[chosen]) & (v[chosen] <= high)
        assert float(inside.float().mean()) == pytest.approx(0.68, abs=0.06)


def test_a_quantile_is_inside_its_cell() -> None:
    posterior = torch.tensor([[0.0, 0.5, 0.5, 0.0], [1.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(_quantile(posterior, 0.5), torch.tensor([0.0, -0.75]))
    torch.testing.assert_close(_quantile(posterior, 0.25), torch.tensor([-0.25, -0.875]))
