"""Semantic hashing: codes that keep what showers have in common, bits that tell much, and what they are not told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from fastv.errors import SettingsError
from fastv.evaluation.observables.observe import observe
from fastv.models import FAMILIES, build, family_class
from fastv.models.contract import Batch, Domain
from fastv.models.hashing import Hashing
from fastv.models.moments import MOMENTS, ShowerMoments
from fastv.retrieval.likeness import moments_of
from fastv.showers import Showers
from helpers import batch_of, drawn


def fitted(showers: Showers, **settings: object) -> Hashing:
    torch.manual_seed(1)
    made = build("hashing", settings, showers.detector, Domain.of(showers.conditions))
    assert isinstance(made, Hashing)
    made.fit(batch_of(made, showers))
    return made.eval()


def bits_of(generator: Hashing, energies: Tensor) -> Tensor:
    with torch.inference_mode():
        return generator.encode(Batch(energies, torch.ones(len(energies), 1)))["bits"].mean


def hamming(one: Tensor, other: Tensor) -> Tensor:
    return (one != other).sum(-1).float()


def test_moments_are_those_of_an_evaluation(real_showers: Showers) -> None:
    showers = replace(real_showers[:50], energies=real_showers.energies[:50].copy())
    showers.energies[3] = 0
    showers.energies[4] *= showers.energies[4] == showers.energies[4].max()
    own = ShowerMoments(showers.detector)(torch.from_numpy(showers.energies)).numpy()
    np.testing.assert_allclose(own, moments_of(observe(showers)), rtol=1e-4, atol=2e-2)
    assert not own[3].any()
    assert own[4, MOMENTS.index("ln hits")] == 0


def test_energies_below_the_threshold_do_not_count(real_showers: Showers) -> None:
    energies = torch.from_numpy(real_showers.energies[:5])
    noisy = torch.where(energies > 0, energies, 0.9 * real_showers.detector.threshold)
    moments = ShowerMoments(real_showers.detector)
    torch.testing.assert_close(moments(noisy), moments(energies))


def test_only_this_family_has_a_binary_code() -> None:
    assert [family for family in FAMILIES if family_class(family).binary_code] == ["hashing"]


def test_a_code_depends_on_the_energies_alone(real_showers: Showers) -> None:
    generator = fitted(real_showers)
    energies = torch.from_numpy(real_showers.energies[:20])
    codes = [generator.encode(Batch(energies, torch.full((20, 1), e)))["bits"].mean for e in (1e3, 1e6)]
    assert torch.equal(*codes)
    assert codes[0].shape == (20, 64)
    assert set(codes[0].unique().tolist()) == {0.0, 1.0}


def test_similar_showers_differ_in_few_bits(real_showers: Showers) -> None:
    generator = fitted(real_showers)
    energies = torch.from_numpy(real_showers.energies)
    codes = bits_of(generator, energies)
    scaled = hamming(codes, bits_of(generator, 1.02 * energies))
    # The total energy is among what a code keeps.
    doubled = hamming(codes, bits_of(generator, 2 * energies))
    others = hamming(codes, codes.roll(1, 0))
    assert float(scaled.mean()) < 2
    assert float(scaled.mean()) < 0.3 * float(doubled.mean())
    assert float(doubled.mean()) < 0.8 * float(others.mean())
    assert 20 < float(others.mean()) < 36


def test_what_is_logged_is_true_of_the_bits(real_showers: Showers) -> None:
    generator = fitted(real_showers, bits=16)
    batch = batch_of(generator, real_showers[:200])
    with torch.no_grad():
        terms = generator.loss(batch)
    codes = bits_of(generator, batch.energies).double()
    share = codes.mean(0)
    entropy = -(share * share.log2() + (1 - share) * (1 - share).log2())
    correlation = torch.corrcoef(codes.T) - torch.eye(16)
    assert float(terms["entropy"]) == pytest.approx(float(entropy.mean()), abs=1e-4)
    assert float(terms["least_entropy"]) == pytest.approx(float(entropy.min()), abs=1e-4)
    assert float(terms["largest_correlation"]) == pytest.approx(float(correlation.abs().max()), abs=1e-4)
    assert float(terms["balance"]) == pytest.approx(float((2 * share - 1).square().mean()), abs=1e-4)


@pytest.mark.parametrize("term", ["similarity", "reconstruction", "balance", "correlation", "excess"])
def test_a_term_counts_by_its_weight_and_training_lowers_it(term: str, real_showers: Showers) -> None:
    weights = dict.fromkeys(("similarity", "reconstruction", "balance", "correlation", "excess"), 0.0)
    generator = fitted(real_showers, **{**weights, term: 2.0}, hidden=(32,)).train()
    batch = batch_of(generator, real_showers[:150])
    before = {name: float(value.detach()) for name, value in generator.loss(batch).items()}
    assert before["loss"] == pytest.approx(2 * before[term], rel=1e-4)
    optimizer = torch.optim.Adam(generator.parameters(), lr=3e-3)
    for _ in range(15):
        optimizer.zero_grad()
        generator.loss(batch)["loss"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert float(generator.loss(batch)[term].detach()) < 0.95 * before[term]


def test_after_calibration_a_code_gives_its_shower_back(real_showers: Showers) -> None:
    generator = fitted(real_showers)
    batch = batch_of(generator, real_showers)
    generator.calibrate(batch)
    codes = generator.encode(batch)["bits"].mean
    with torch.inference_mode():
        made, of_others = (generator.decode({"bits": each}, batch.conditions) for each in (codes, codes.roll(1, 0)))
    layers = [generator.grid(each).sum((2, 3)) for each in (batch.energies, made, of_others)]
    errors = [(each - layers[0]).abs().sum(1) / layers[0].sum(1) for each in layers[1:]]
    assert float(errors[0].mean()) < 0.75 * float(errors[1].mean())
    share = codes.mean(0)
    torch.testing.assert_close(generator.entropy, -(share * share.log2() + (1 - share) * (1 - share).log2()))


def test_showers_it_generates_have_the_energy_of_the_training(real_showers: Showers) -> None:
    generator = fitted(real_showers)
    generator.calibrate(batch_of(generator, real_showers))
    total, true = drawn(generator, real_showers).sum(1).numpy(), real_showers.energies.sum(1)
    assert np.median(total / true) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("bits", [0, 12, 1024])
def test_a_code_is_packed_into_bytes(bits: int, real_showers: Showers) -> None:
    with pytest.raises(SettingsError, match=r"model\.bits"):
        fitted(real_showers, bits=bits)
