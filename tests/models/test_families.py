"""One battery of properties that every family must have, and what each family promises beyond."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastv.errors import SettingsError, TrainingDataWarning, TrainingError
from fastv.model import Model, ModelDescription, load
from fastv.models import FAMILIES, build, family_class
from fastv.models.contract import Batch, Domain, Generator
from fastv.models.fastv import FastV
from fastv.models.two_stages import TwoStages
from fastv.models.vae import warmup
from fastv.showers import Showers
from fastv.training.loop import train
from fastv.training.recipe import recipe_of
from helpers import GENERATIVE, SMALL, batch_of, drawn

Make = Callable[..., Showers]

TRAINED = [name for name in FAMILIES if name not in ("library", "pca")]
every_family = pytest.mark.parametrize("family", GENERATIVE)
with_covariance = [name for name in FAMILIES if "covariance" in family_class(name).Settings.model_fields]


_FITTED: dict[str, tuple[Showers, Generator]] = {}


def untrained(family: str, showers: Showers, domain: Domain | None = None, **settings: Any) -> Generator:
    """A generator with fitted preprocessing and random weights."""
    plain = domain is None and not settings
    kept, generator = _FITTED.get(family, (None, None))
    if not (plain and kept is showers and generator is not None):
        torch.manual_seed(1)
        made = build(
            family, {**SMALL.get(family, {}), **settings}, showers.detector, domain or Domain.of(showers.conditions)
        )
        made.fit(batch_of(made, showers))
        generator = made.eval()
        if plain:
            # Most tests want this one again; each gets a copy of its own.
            _FITTED[family] = showers, deepcopy(generator)
    torch.manual_seed(2)
    return deepcopy(generator)


@pytest.mark.parametrize("family", TRAINED)
def test_a_training_that_diverges_says_what_to_change(family: str, coarse_showers: Showers, tmp_path: Path) -> None:
    coarse_showers.write(tmp_path / "showers.h5")
    training = {"learning_rate": 1e12, "epochs": 2, "batch_size": 40}
    recipe = recipe_of({"family": family, "model": SMALL.get(family, {}), "training": training})
    with pytest.raises(TrainingError, match=r"infinite or NaN in epoch .*; lower training\.learning_rate"):
        train(recipe, [tmp_path / "showers.h5"], tmp_path / "model")


def validation_loss(generator: Generator, batch: Batch) -> float:
    torch.manual_seed(2)
    generator.eval()
    with torch.no_grad():
        return float(generator.validation(batch)["loss"])


def backward(generator: Generator, batch: Batch) -> None:
    """Gradients of every objective; each parameter belongs to exactly one. None for a family without parameters."""
    named = dict(generator.named_parameters())
    if not named:
        assert bool(generator.loss(batch)["loss"].isfinite())
        return
    owners = [[name for name in named if name.startswith(o.parameters)] for o in generator.objectives]
    assert sorted(chain.from_iterable(owners)) == sorted(named)
    gradients: dict[str, Tensor | None] = {}
    for objective, names in zip(generator.objectives, owners, strict=True):
        generator.zero_grad()
        term = generator.loss(replace(batch, objective=objective.term))[objective.term]
        term.backward()  # type: ignore[no-untyped-call]
        gradients |= {name: named[name].grad for name in names}
    for name, gradient in gradients.items():
        named[name].grad = gradient


@every_family
class TestEveryFamily:
    def test_shapes_and_declared_noise(self, family: str, coarse_showers: Showers) -> None:
        generator = untrained(family, coarse_showers)
        assert generator.family == family
        assert generator.noise.size > 0
        energies = drawn(generator, coarse_showers[:7])
        assert energies.shape == (7, 540)
        assert energies.dtype == torch.float32
        assert generator.conditions_of(coarse_showers[:7].conditions).shape == (7, 1)

    def test_loss_terms_are_finite_scalars(self, family: str, coarse_showers: Showers) -> None:
        generator = untrained(family, coarse_showers)
        terms = generator.loss(batch_of(generator, coarse_showers[:20]))
        assert "loss" in terms
        for name, term in terms.items():
            assert term.shape == (), name
            assert bool(term.isfinite()), name

    def test_every_parameter_gets_a_finite_gradient(self, family: str, coarse_showers: Showers) -> None:
        generator = untrained(family, coarse_showers).train()
        backward(generator, batch_of(generator, coarse_showers[:20]))
        for name, parameter in generator.named_parameters():
            assert parameter.grad is not None, name
            assert bool(parameter.grad.isfinite().all()), name

    def test_sampling_is_a_pure_function_of_conditions_and_noise(self, family: str, coarse_showers: Showers) -> None:
        generator = untrained(family, coarse_showers)
        state = torch.get_rng_state()
        first, again, other = (drawn(generator, coarse_showers[:9], seed) for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert torch.equal(torch.get_rng_state(), state)

    def test_a_shower_does_not_depend_on_its_neighbours(self, family: str, coarse_showers: Showers) -> None:
        # In double precision, where the order of additions cannot move a voxel across the threshold.
        generator = untrained(family, coarse_showers).double()
        conditions = generator.conditions_of(coarse_showers[:12].conditions).double()
        noise = generator.noise.draw(12, seed=3).double()
        with torch.inference_mode():
            together = generator.sample(conditions, noise)
            alone = torch.cat([generator.sample(conditions[i : i + 1], noise[i : i + 1]) for i in range(12)])
            backwards = generator.sample(conditions.flip(0), noise.flip(0)).flip(0)
        torch.testing.assert_close(alone, together, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(backwards, together, rtol=1e-9, atol=1e-9)

    def test_save_and_load_give_the_same_showers(self, family: str, coarse_showers: Showers, tmp_path: Path) -> None:
        generator = untrained(family, coarse_showers)
        generator.train()
        generator.loss(batch_of(generator, coarse_showers[:20]))  # moves running means, where there are any
        generator.eval()
        settings = generator.settings.model_dump(mode="json")
        description = ModelDescription(
            family=family, settings=settings, domain=generator.domain, detector=generator.detector
        )
        Model(generator, description).save(tmp_path / "model")
        loaded = load(tmp_path / "model").generator
        assert loaded.settings == generator.settings
        assert torch.equal(drawn(loaded, coarse_showers[:9]), drawn(generator, coarse_showers[:9]))

    def test_energies_are_physical(self, family: str, coarse_showers: Showers) -> None:
        generator = untrained(family, coarse_showers)
        energies = drawn(generator, coarse_showers)
        assert bool(energies.isfinite().all())
        positive = energies[energies > 0]
        assert bool((energies >= 0).all())
        assert len(positive) > 0
        assert float(positive.min()) >= np.float32(coarse_showers.detector.threshold)

    def test_extreme_noise_gives_finite_showers(self, family: str, coarse_showers: Showers) -> None:
        generator = untrained(family, coarse_showers)
        conditions = generator.conditions_of(coarse_showers[:4].conditions)
        noise = torch.zeros(4, generator.noise.size)
        normal = generator.noise.normal
        noise[:2, :normal], noise[2:, :normal] = 6.0, -6.0
        noise[1::2, normal:] = 1.0 - 2.0**-24
        with torch.inference_mode():
            energies = generator.sample(conditions, noise)
        assert bool(energies.isfinite().all())
        assert bool((energies >= 0).all())

    def test_energy_matters(self, family: str, coarse_showers: Showers) -> None:
        generator = untrained(family, coarse_showers)
        noise = generator.noise.draw(20, seed=1)
        with torch.inference_mode():
            low, high = (generator.sample(torch.full((20, 1), e), noise).sum() for e in (1e3, 1e6))
        assert high > 100 * low

    def test_a_short_training_lowers_the_loss(self, family: str, coarse_showers: Showers) -> None:
        generator = untrained(family, coarse_showers)
        held_out = batch_of(generator, coarse_showers[150:])
        before = validation_loss(generator, held_out)
        if not list(generator.parameters()):
            # Complete after its fit: fewer showers must do worse.
            assert validation_loss(untrained(family, coarse_showers[:10]), held_out) > before
            return
        named = dict(generator.named_parameters())
        # A game between several players is not to be hurried.
        rate = 5e-3 if len(generator.objectives) == 1 else 2e-4
        optimizers = [
            torch.optim.Adam(
                [p for name, p in named.items() if name.startswith(o.parameters)],
                lr=rate * o.learning_rate,
                betas=o.betas,
            )
            for o in generator.objectives
        ]
        generator.train()
        for step in range(18):
            start = 50 * (step % 3)
            batch = batch_of(generator, coarse_showers[start : start + 50])
            for objective, optimizer in zip(generator.objectives, optimizers, strict=True):
                if step % objective.every:
                    continue
                optimizer.zero_grad()
                term = generator.loss(replace(batch, objective=objective.term))[objective.term]
                term.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        # Most of the loss of a flow is noise that nobody can foresee.
        least = 0.005 if issubclass(family_class(family), TwoStages) else 0.02
        assert validation_loss(generator, held_out) < before - least * abs(before)

    def test_angles_and_detector_by_settings(self, family: str, make_showers: Make) -> None:
        rng = np.random.default_rng(1)
        showers = make_showers(60, theta=rng.uniform(0.5, 1.5, 60), phi=rng.uniform(-3, 3, 60))
        domain = Domain.of(showers.conditions).joined(
            Domain(energy=(1e3, 1e6), detectors=("other",), theta=(1, 1), phi=(0, 0))
        )
        generator = untrained(family, showers, domain, conditions=("energy", "theta", "phi", "detector"))
        conditions = generator.conditions_of(showers.conditions)
        assert conditions.shape == (60, 4)
        generator.train()
        assert bool(generator.loss(batch_of(generator, showers))["loss"].isfinite())
        generator.eval()
        noise = generator.noise.draw(60, seed=1)
        with torch.inference_mode():
            before = generator.sample(conditions, noise)
            # What a library stores here is of one detector.
            columns = ((1, 0.6), (2, 2.0)) if family == "library" else ((1, 0.6), (2, 2.0), (3, 1.0))
            for column, value in columns:
                changed = conditions.clone()
                changed[:, column] = value
                after = generator.sample(changed, noise)
                assert bool(after.isfinite().all())
                assert not torch.equal(after, before), f"condition {column} has no effect"

    def test_one_energy_only(self, family: str, make_showers: Make) -> None:
        showers = make_showers(60, incident_energies=np.full(60, 5e4))
        generator = untrained(family, showers)
        generator.train()
        assert bool(generator.loss(batch_of(generator, showers))["loss"].isfinite())
        generator.eval()
        assert bool(drawn(generator, showers).isfinite().all())

    def test_empty_showers_in_training(self, family: str, make_showers: Make) -> None:
        showers = make_showers(60)
        showers.energies[:30] = 0.0
        generator = untrained(family, showers).train()
        backward(generator, batch_of(generator, showers))
        assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in generator.parameters())
        showers.energies[:] = 0.0
        generator = untrained(family, showers)
        assert bool(generator.loss(batch_of(generator, showers))["loss"].isfinite())
        assert bool(drawn(generator, showers).isfinite().all())

    def test_calibration_keeps_samples_physical(self, family: str, coarse_showers: Showers) -> None:
        generator = untrained(family, coarse_showers)
        generator.calibrate(batch_of(generator, coarse_showers))
        energies = drawn(generator, coarse_showers)
        assert bool((energies.isfinite() & (energies >= 0)).all())


@pytest.mark.parametrize("family", with_covariance)
@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_both_posterior_covariances(family: str, covariance: str, make_showers: Make) -> None:
    showers = make_showers(60)
    generator = untrained(family, showers, covariance=covariance).train()
    generator.loss(batch_of(generator, showers))["loss"].backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in generator.parameters())
    triangles = [name for name in generator.state_dict() if "triangle" in name]
    assert bool(triangles) == (covariance == "full")


class TestVAE:
    def test_intensities_are_fractions_of_the_incident_energy(self, real_showers: Showers) -> None:
        generator = untrained("vae", real_showers)
        with torch.inference_mode():
            energies = generator.sample(torch.full((50, 1), 5e4), generator.noise.draw(50, 1))
        assert float(energies.max()) <= 5e4

    def test_divergence_warms_up(self, real_showers: Showers) -> None:
        generator = untrained("vae", real_showers, kl_warmup_epochs=4.0, kl_weight=2.0)
        for epoch, weight in ((0.0, 0.0), (1.0, 0.5), (4.0, 2.0), (float("inf"), 2.0)):
            torch.manual_seed(1)
            terms = generator.loss(batch_of(generator, real_showers[:10], epoch=epoch))
            torch.testing.assert_close(terms["loss"], terms["reconstruction"] + weight * terms["kl"])

    def test_warmup_rises_linearly(self) -> None:
        assert [warmup(epoch, 10.0) for epoch in (0.0, 2.5, 10.0, 50.0, float("inf"))] == [0.0, 0.25, 1.0, 1.0, 1.0]
        assert warmup(0.0, 0.0) == 1.0


class TestFastV:
    def test_visible_energy_follows_the_response_of_real_showers(self, real_showers: Showers) -> None:
        generator = untrained("fastv", real_showers)
        visible = drawn(generator, real_showers).double().sum(1).numpy() / real_showers.incident_energies
        real = real_showers.energies.sum(axis=1, dtype=np.float64) / real_showers.incident_energies
        # The scale is fitted even before the training: equal medians, and an equal stochastic term.
        assert np.median(visible) == pytest.approx(np.median(real), rel=0.03)
        root = np.sqrt(real_showers.incident_energies / 1000)
        spread = [np.median(np.abs(values - np.median(values)) * root) for values in (visible, real)]
        assert spread[0] == pytest.approx(spread[1], rel=0.3)

    def test_rare_losses_are_generated(self, real_showers: Showers) -> None:
        """3 % of the showers keep half: above 50 GeV no resolution hides it."""
        repeated = real_showers[np.tile(np.arange(len(real_showers)), 10)]
        lost = np.random.default_rng(1).random(len(repeated)) < 0.03
        planted = replace(repeated, energies=np.where(lost[:, None], 0.5, 1.0).astype(np.float32) * repeated.energies)
        high = planted[planted.incident_energies > 5e4]
        visible = drawn(untrained("fastv", planted), high).double().sum(1).numpy() / high.incident_energies
        found = visible < 0.75 * np.median(visible)
        assert found.mean() == pytest.approx(0.03, abs=4 * (0.03 / len(high)) ** 0.5)
        # Of some thirty showers, whose losses are exponential.
        assert np.median(visible[found]) == pytest.approx(0.5 * np.median(visible), rel=0.2)

    def test_no_shower_has_more_energy_than_physics_allows(self, real_showers: Showers) -> None:
        generator = untrained("fastv", real_showers)
        visible = drawn(generator, real_showers).double().sum(1).numpy()
        # Five deviations of a resolution of 13 %/sqrt(E/GeV), and 10 % for the fitted scale.
        limit = 1.1 * (1 + 5 * 0.13 / np.sqrt(real_showers.incident_energies / 1000))
        assert bool((visible < limit * real_showers.incident_energies).all())

    def test_occupancy_starts_from_that_of_real_showers(self, real_showers: Showers) -> None:
        generator = untrained("fastv", real_showers)
        generated = (drawn(generator, real_showers).view(-1, 45, 16, 9) > 0).float().mean((0, 1, 2))
        real = torch.from_numpy(real_showers.grid > 0).float().mean((0, 1, 2))
        torch.testing.assert_close(generated, real, rtol=0.5, atol=0.03)

    def test_calibration_brings_mean_layer_energies_together(self, real_showers: Showers) -> None:
        generator = untrained("fastv", real_showers)
        assert isinstance(generator, FastV)
        generator.profile.scale.mean[0, ::2] += 0.4  # every second layer is off by half
        repeated = real_showers[np.tile(np.arange(200), 8)]
        real = torch.from_numpy(repeated.grid).double().sum((0, 2, 3))
        core = real > 0.01 * real.sum()

        def worst() -> float:
            layers = drawn(generator, repeated).view(-1, 45, 16 * 9).double().sum((0, 2))
            return float((layers / real - 1)[core].abs().max())

        before = worst()
        generator.calibrate(batch_of(generator, real_showers))
        assert worst() < 0.6 * before

    def test_calibration_does_not_touch_the_loss(self, real_showers: Showers) -> None:
        generator = untrained("fastv", real_showers)
        batch = batch_of(generator, real_showers[:50])
        before = validation_loss(generator, batch)
        generator.calibrate(batch)
        assert validation_loss(generator, batch) == before

    @pytest.mark.parametrize("settings", [{"layer_latent": 0}, {"depth_blocks": 0}, {"depth_kernel": 1, "dropout": 0}])
    def test_parts_can_be_switched_off(self, settings: dict[str, Any], make_showers: Make) -> None:
        showers = make_showers(60)
        generator = untrained("fastv", showers, **settings).train()
        generator.loss(batch_of(generator, showers))["loss"].backward()  # type: ignore[no-untyped-call]
        assert bool(drawn(generator.eval(), showers).isfinite().all())


def all_alike(kind: str, make_showers: Make) -> Showers:
    """Showers that leave some scale undetermined."""
    showers = make_showers(60)
    incident, energies = showers.incident_energies, showers.energies
    if kind == "identical":
        incident, energies = np.full_like(incident, incident[0]), np.repeat(energies[:1], len(energies), axis=0)
    elif kind == "one energy":
        incident, energies = np.full_like(incident, 1e4), energies * (1e4 / incident).astype(np.float32)[:, None]
    elif kind == "all empty":
        energies = np.zeros_like(energies)
    elif kind == "one voxel":
        energies = np.zeros_like(energies)
        energies[:, 5] = 0.9 * incident
    return replace(showers, incident_energies=incident, energies=energies)


@pytest.mark.parametrize("kind", ["identical", "one energy", "all empty", "one voxel"])
@pytest.mark.parametrize("family", FAMILIES)
def test_showers_that_are_all_alike_are_no_obstacle(family: str, kind: str, make_showers: Make) -> None:
    showers = all_alike(kind, make_showers)
    generator = build(family, SMALL.get(family, {}), showers.detector, Domain.of(showers.conditions))
    batch = batch_of(generator, showers)
    torch.manual_seed(1)
    generator.fit(batch)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in generator.state_dict().values())
    assert all(bool(torch.isfinite(term)) for term in generator.validation(batch).values())
    generator.eval().calibrate(batch)
    if family in GENERATIVE:
        energies = drawn(generator, showers)
        assert bool(torch.isfinite(energies).all())
        assert bool((energies >= 0).all())


class TestShowerLibrary:
    def test_gives_stored_showers_at_their_own_energy(self, real_showers: Showers) -> None:
        generator = untrained("library", real_showers, size=200, neighbours=1)
        drawn_again = drawn(generator, real_showers).double().numpy()
        np.testing.assert_allclose(drawn_again, real_showers.energies, rtol=1e-5)

    def test_rescales_to_the_energy_asked_for_and_turns(self, real_showers: Showers) -> None:
        generator = untrained("library", real_showers, size=200, neighbours=3, rotate=True)
        conditions = torch.full((300, 1), 5e4)
        with torch.inference_mode():
            energies = generator.sample(conditions, generator.noise.draw(300, seed=1))
        near = np.argsort(np.abs(np.log(real_showers.incident_energies / 5e4)))[:3]
        layers = real_showers.grid[near].sum((2, 3)) * (5e4 / real_showers.incident_energies[near])[:, None]
        sums = energies.view(300, 45, -1).sum(2).numpy()
        distance = np.abs(sums[:, None] - layers).max(2) / layers.max()
        # Each is one of the three, but for voxels that scaling takes below threshold, and all three occur.
        assert (distance.min(1) < 1e-3).all()
        assert set(distance.argmin(1)) == {0, 1, 2}
        first = energies[distance.argmin(1) == 0]
        assert len(np.unique(first.view(len(first), 45, 16, 9).sum((1, 3)).argmax(1))) > 3

    def test_a_library_that_is_not_full_gives_what_it_has(self, real_showers: Showers) -> None:
        generator = untrained("library", real_showers[:3], size=40, neighbours=5)
        assert bool((drawn(generator, real_showers[:20]).sum(1) > 100).all())

    def test_contradicting_settings_are_refused(self, real_showers: Showers) -> None:
        with pytest.raises(
            SettingsError, match=r"model\.neighbours 50 exceeds the showers in the library, model\.size 40"
        ):
            untrained("library", real_showers, neighbours=50)

    def test_inclined_showers_are_not_turned(self, real_showers: Showers) -> None:
        """The preset turns showers; what the file says decides, and the user is told."""
        inclined = replace(real_showers, theta=np.linspace(0.5, 1.5, 200))
        with pytest.warns(TrainingDataWarning, match="stored showers are not rotated, because some are inclined"):
            turned = untrained("library", inclined, size=200, rotate=True)
        plain = untrained("library", inclined, size=200, rotate=False)
        assert torch.equal(drawn(turned, inclined), drawn(plain, inclined))


class TestPCA:
    @pytest.mark.parametrize("density", ["gaussian", "kernel"])
    def test_response_and_profile_are_those_of_the_training(self, density: str, real_showers: Showers) -> None:
        generator = untrained("pca", real_showers, components=40, density=density, kernels=200)
        repeated = real_showers[np.tile(np.arange(200), 8)]
        energies = drawn(generator, repeated).numpy()
        fraction = energies.sum(1) / repeated.incident_energies
        expected = real_showers.energies.sum(1) / real_showers.incident_energies
        assert np.isclose(fraction.mean(), expected.mean(), atol=0.01)
        high = repeated.incident_energies > 1e5
        layers = energies.reshape(-1, 45, 144).sum(2)[high].mean(0)
        real = repeated.energies.reshape(-1, 45, 144).sum(2)[high].mean(0)
        np.testing.assert_allclose(layers[5:30], real[5:30], rtol=0.15)

    def test_components_hold_as_much_as_those_of_an_exact_decomposition(self, real_showers: Showers) -> None:
        generator = untrained("pca", real_showers, components=10)
        components = generator.state_dict()["components"]
        torch.testing.assert_close(components @ components.T, torch.eye(10), atol=1e-4, rtol=0)
        batch = batch_of(generator, real_showers)
        scaled = generator.scaler(batch.conditions)
        rest = generator._rest(batch, scaled)
        exact = torch.linalg.svdvals(rest).square()
        held = (rest @ components.T).square().sum()
        assert float(held / exact[:10].sum()) > 0.9

    def test_more_components_leave_less(self, real_showers: Showers) -> None:
        held_out = real_showers[150:]
        losses = []
        for components in (1, 5, 20):
            generator = untrained("pca", real_showers[:150], components=components)
            losses.append(validation_loss(generator, batch_of(generator, held_out)))
        assert losses[0] > losses[1] > losses[2]


class TestAutoencoder:
    @pytest.mark.parametrize("regulariser", ["top-k", "l1", "contractive", "denoising"])
    @pytest.mark.parametrize("network", ["dense", "layerwise"])
    def test_each_regulariser_trains_and_generates(self, regulariser: str, network: str, real_showers: Showers) -> None:
        # 160 numbers for the 146 of a layer: overcomplete.
        settings = {"network": network, "code": 160 if network == "layerwise" else 8, "regulariser": regulariser}
        generator = untrained("autoencoder", real_showers, **settings).train()
        batch = batch_of(generator, real_showers[:40])
        optimizer = torch.optim.Adam(generator.parameters(), lr=3e-3)
        losses = []
        for _ in range(12):
            terms = generator.loss(batch)
            optimizer.zero_grad()
            terms["loss"].backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(float(terms["loss"].detach()))
        assert losses[-1] < losses[0]
        generator.eval()
        generator.calibrate(batch_of(generator, real_showers))
        energies = drawn(generator, real_showers)
        assert bool((energies.isfinite() & (energies >= 0)).all())
        fraction = energies.sum(1).numpy() / real_showers.incident_energies
        assert np.isclose(
            fraction.mean(), (real_showers.energies.sum(1) / real_showers.incident_energies).mean(), atol=0.03
        )

    def test_anomaly_finds_what_no_training_shower_looks_like(self, real_showers: Showers) -> None:
        generator = untrained("autoencoder", real_showers, code=16, hidden=(64,)).train()
        batch = batch_of(generator, real_showers[:150])
        optimizer = torch.optim.Adam(generator.parameters(), lr=3e-3)
        for _ in range(60):
            optimizer.zero_grad()
            generator.loss(batch)["loss"].backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        generator.eval()
        usual = batch_of(generator, real_showers[150:])
        # Backwards in depth: no shower.
        odd = Batch(usual.energies.view(-1, 45, 144).flip(1).flatten(1), usual.conditions)
        torch.manual_seed(1)
        # Each against itself, for the error grows with the energy.
        assert bool((generator.anomaly(odd) > generator.anomaly(usual)).all())

    def test_a_code_too_large_without_regulariser_is_refused(self, real_showers: Showers) -> None:
        with pytest.raises(SettingsError, match=r"model\.code 200 is not smaller than the 146 numbers it codes"):
            untrained("autoencoder", real_showers, network="layerwise", code=200)
