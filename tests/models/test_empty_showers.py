"""Every family generates as many empty showers as the training sample has at each energy, and no others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import fastv
from fastv.export.onnx import export
from fastv.export.runtime import OnnxGenerator
from fastv.models.empty_showers import EmptyShowers
from fastv.showers import Showers
from fastv.training.loop import train
from fastv.training.recipe import recipe_of
from helpers import GENERATIVE, SMALL

pytestmark = pytest.mark.usefixtures("operators_read_once")

Make = Callable[..., Showers]


def planted(showers: Showers, n: int = 1200) -> Showers:
    """Showers of which 10 % above and 60 % below 30 GeV are empty."""
    repeated = showers[np.arange(n) % len(showers)]
    chance = np.where(repeated.incident_energies < 3e4, 0.6, 0.1)
    empty = np.random.default_rng(3).random(n) < chance
    return replace(repeated, energies=np.where(empty[:, None], 0, repeated.energies).astype(np.float32))


@pytest.mark.parametrize("family", GENERATIVE)
def test_every_family_learns_how_many_are_empty(family: str, coarse_showers: Showers, tmp_path: Path) -> None:
    showers = planted(coarse_showers)
    showers.write(tmp_path / "showers.h5")
    training = {"epochs": 1, "batch_size": 200, "learning_rate": 1e-4}
    recipe = recipe_of({"family": family, "model": SMALL.get(family, {}), "training": training})
    model = train(recipe, [tmp_path / "showers.h5"], tmp_path / "model")
    low = showers.incident_energies < 3e4
    model = fastv.load(tmp_path / "model")
    made = model.generate(like=showers, n=len(showers), seed=1)
    share = [float((made.energies[side].sum(axis=1) == 0).mean()) for side in (low, ~low)]
    wanted = [float((showers.energies[side].sum(axis=1) == 0).mean()) for side in (low, ~low)]
    # Four deviations of both samples.
    for came, want, side in zip(share, wanted, (low, ~low), strict=True):
        assert came == pytest.approx(want, abs=4 * np.sqrt(2 * want * (1 - want) / side.sum()))
    response = showers.energies.sum(axis=1) / showers.incident_energies
    if family != "vae":  # whose intensities are free of any scale before the training
        assert (made.energies.sum(axis=1) / made.incident_energies).max() < 2 * response.max()
        filled = made.energies.sum(axis=1) > 0
        mean = response[response > 0].mean()
        assert (made.energies.sum(axis=1) / made.incident_energies)[filled].mean() == pytest.approx(mean, rel=0.1)
    assert model.description.training["left_out"] == {"empty": int((response == 0).sum()), "outliers": 0}


def test_without_empty_showers_nothing_is_drawn_for_them(coarse_showers: Showers, tmp_path: Path) -> None:
    coarse_showers.write(tmp_path / "showers.h5")
    recipe = recipe_of({"family": "fastv", "model": SMALL["fastv"], "training": {"epochs": 1}})
    generator = train(recipe, [tmp_path / "showers.h5"], tmp_path / "model").generator
    assert generator.noise == generator.shower_noise
    assert not any("empty" in name for name in generator.state_dict())


def test_an_exported_graph_draws_the_same_empty_showers(coarse_showers: Showers, tmp_path: Path) -> None:
    planted(coarse_showers).write(tmp_path / "showers.h5")
    recipe = recipe_of({"family": "fastv", "model": SMALL["fastv"], "training": {"epochs": 1}})
    model = train(recipe, [tmp_path / "showers.h5"], tmp_path / "model")
    export(model, tmp_path / "model.onnx")
    runner = OnnxGenerator(tmp_path / "model.onnx")
    conditions = torch.full((50, 1), 5e3)
    noise = model.generator.noise.draw(50, seed=1)
    with torch.inference_mode():
        expected = model.generator.sample(conditions, noise).numpy()
    np.testing.assert_allclose(runner.run(conditions.numpy(), noise.numpy()), expected, rtol=1e-3, atol=1e-2)
    assert 0.3 < (expected.sum(axis=1) == 0).mean() < 0.9


def test_probability_follows_two_conditions() -> None:
    scaled = 2 * torch.rand(8_000, 2, generator=torch.manual_seed(1)) - 1
    chance = torch.sigmoid(2 * scaled[:, 0] - 3 * scaled[:, 0] * scaled[:, 1])
    empty = torch.rand(8_000, generator=torch.manual_seed(2)) < chance
    network = EmptyShowers(2)
    network.fit(scaled, empty)
    assert float((network(scaled)[:, 0] - chance).abs().mean()) < 0.03
    assert not list(network.parameters())


@pytest.mark.parametrize("empty", [False, True])
def test_no_or_only_empty_showers_are_finite(empty: bool) -> None:
    network = EmptyShowers(1)
    network.fit(torch.zeros(99, 1), torch.full((99,), empty))
    assert float(network(torch.zeros(1, 1))) == pytest.approx(0.995 if empty else 0.005, abs=1e-3)
