"""The information bottleneck: both bounds, what a code keeps and forgets, and what cannot be asked of it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch

from fastv.errors import SettingsError
from fastv.models import build
from fastv.models.bottleneck import Bottleneck, IntervalDensity, entropy_of
from fastv.models.contract import Batch, Domain
from fastv.showers import Showers
from helpers import batch_of

QUICK = {"hidden": (32,), "decoder_hidden": (16,), "code": 4, "dropout": 0.0}


@pytest.fixture(scope="module")
def labelled(real_showers: Showers) -> Showers:
    """Electrons, and "photons" that begin two layers later."""
    later = real_showers.energies.copy()
    later[1::2, 288:] = later[1::2, :-288]
    particles = np.where(np.arange(len(later)) % 2, 22, 11).astype(np.int32)
    return replace(real_showers, energies=later, pdg=particles)


def fitted(showers: Showers, **settings: Any) -> Bottleneck:
    torch.manual_seed(1)
    made = build("bottleneck", {**QUICK, **settings}, showers.detector, Domain.of(showers.conditions))
    assert isinstance(made, Bottleneck)
    made.fit(batch_of(made, showers))
    return made


def trained(showers: Showers, steps: int = 50, **settings: Any) -> tuple[Bottleneck, dict[str, float]]:
    """A model of the showers, and its terms on them."""
    showers = showers[:120]
    generator = fitted(showers, **settings).train()
    batch = batch_of(generator, showers)
    optimizer = torch.optim.Adam(generator.parameters(), lr=1e-2)
    # What it sees of the showers takes longer than all the rest of a step.
    with patch.object(generator, "_seen", return_value=generator._seen(batch.energies)):
        for _ in range(steps):
            optimizer.zero_grad()
            generator.loss(batch)["loss"].backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        generator.eval()
        with torch.inference_mode():
            terms = [generator.loss(batch) for _ in range(5)]
    return generator, {name: float(torch.stack([each[name] for each in terms]).mean()) for name in terms[0]}


def test_a_code_is_not_told_the_conditions(real_showers: Showers) -> None:
    generator = fitted(real_showers).eval()
    energies = torch.from_numpy(real_showers.energies[:20])
    codes = [generator.encode(Batch(energies, torch.full((20, 1), e)))["code"] for e in (1e3, 1e6)]
    for one, other in zip(*codes, strict=True):
        assert torch.equal(one, other)
    assert codes[0].mean.shape == codes[0].scale.shape == (20, 4)


def test_a_weight_of_the_rate_decides_how_much_a_code_keeps(real_showers: Showers) -> None:
    (_, much), (_, none) = (trained(real_showers, rate_weight=weight) for weight in (0.1, 3.0))
    assert much["rate"] > 1
    assert none["rate"] < 0.3
    assert much["relevance"] > 0.5
    assert abs(none["relevance"]) < 0.15
    for terms in (much, none):
        assert terms["relevance"] < terms["rate"] + 0.05
        assert terms["relevance_energy"] == pytest.approx(terms["relevance"])
    assert much["loss"] == pytest.approx(0.1 * much["rate"] - much["relevance"], abs=1e-4)


def test_a_code_of_the_particle_forgets_the_energy(labelled: Showers) -> None:
    generator, terms = trained(labelled, relevant=("particle",), rate_weight=0.15)
    assert generator.entropy.tolist() == pytest.approx([math.log(2)], abs=1e-3)
    assert 0.2 < terms["relevance"] <= math.log(2)
    energies, _ = trained(labelled, relevant=("energy",), rate_weight=0.1)
    batch = batch_of(generator, labelled)
    explained = []
    for each in (generator, energies):
        conditions = batch.conditions if each is generator else batch.conditions[:, :1]
        with torch.inference_mode():
            code = each.encode(Batch(batch.energies, conditions))["code"].mean
        inputs = torch.cat([torch.ones(len(code), 1), code, code**2], dim=1).double()
        target = batch.conditions[:, :1].log().double()
        rest = target - inputs @ torch.linalg.lstsq(inputs, target).solution
        explained.append(1 - float(rest.var() / target.var()))
    assert explained[1] > 0.9
    assert explained[0] < 0.75 * explained[1]


def test_the_relevance_of_several_conditions_is_their_sum(labelled: Showers) -> None:
    generator, terms = trained(labelled, steps=5, relevant=("energy", "particle"))
    assert generator.condition_names == ("energy", "particle")
    assert terms["relevance"] == pytest.approx(terms["relevance_energy"] + terms["relevance_particle"], abs=1e-4)


@pytest.mark.parametrize("sharp", [1.0, 30.0])
def test_a_density_is_normalised_on_the_domain(sharp: float) -> None:
    torch.manual_seed(3)
    density = IntervalDensity(3, (8,), parts=4)
    with torch.no_grad():
        *_, weight, _ = density.network.parameters()
        weight.mul_(sharp)
    values = torch.linspace(-1, 1, 40001)[:, None]
    for code in torch.randn(4, 3):
        found = density(code.expand(len(values), 3), values).detach().double().exp()
        assert float(torch.trapezoid(found, dx=2 / 40000)) == pytest.approx(1, abs=2e-3)


def test_entropy_of_numbers() -> None:
    rng = np.random.default_rng(1)
    uniform = torch.from_numpy(rng.uniform(-1, 1, (5000, 1)))
    assert entropy_of(uniform) == pytest.approx(math.log(2), abs=0.02)
    assert entropy_of(0.5 * uniform) == pytest.approx(0, abs=0.02)
    # Nothing can be learned of what does not vary.
    density = IntervalDensity(2, (8,), parts=3)
    with torch.no_grad():
        *_, weight, bias = density.network.parameters()
        weight.zero_()
        bias.copy_(torch.tensor([0.0] * 3 + [0.0] * 3 + [-20.0] * 3))
    best = float(density(torch.zeros(1, 2), torch.zeros(1, 1)).detach())
    assert best + entropy_of(torch.zeros(100, 1)) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"relevant": ["colour"]}, "unknown condition 'colour'; known: energy"),
        ({"relevant": ["theta"]}, "the condition 'theta', but the training showers do not have it"),
        ({"relevant": ["energy", "energy"]}, "relevant must name each condition once"),
        ({"relevant": []}, r"model\.relevant"),
        ({"relevant": ["detector"]}, "cannot tell the detector: all training showers have 'par04-siw'"),
        ({"rate_weight": -1}, r"model\.rate_weight"),
    ],
)
def test_what_cannot_be_asked(settings: dict[str, Any], words: str, real_showers: Showers) -> None:
    with pytest.raises(SettingsError, match=words):
        fitted(real_showers, **settings)
