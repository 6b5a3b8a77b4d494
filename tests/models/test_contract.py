"""Noise, settings and empty showers: what every family relies on."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from fastv.detector.detector import Detector
from fastv.errors import ModelError, SettingsError
from fastv.models import FAMILIES, build, family_class, validated
from fastv.models.contract import Batch, Domain, Generator, GeneratorSettings, NoiseSpec
from fastv.noise import EXACT
from fastv.showers import Showers

Make = Callable[..., Showers]
without_density = [name for name in FAMILIES if family_class(name).log_prob is Generator.log_prob]


def domain(**changes: object) -> Domain:
    return Domain.model_validate({"energy": (1e3, 1e6), "detectors": ("tiny",), **changes})


class TestNoise:
    @given(normal=st.integers(0, 80), uniform=st.integers(0, 20), n=st.integers(0, 20), seed=st.integers(0, 2**40))
    def test_shape_type_and_repetition(self, normal: int, uniform: int, n: int, seed: int) -> None:
        spec = NoiseSpec(normal, uniform)
        noise = spec.draw(n, seed)
        assert noise.shape == (n, normal + uniform) == (n, spec.size)
        assert noise.dtype == torch.float32
        assert torch.equal(noise, spec.draw(n, (seed,)))
        columns = noise[:, normal:]
        assert bool(((columns >= 0) & (columns < 1)).all())

    def test_columns_follow_their_distributions(self) -> None:
        noise = NoiseSpec(2, 3).draw(40_000, seed=1)
        torch.testing.assert_close(noise[:, :2].std(0), torch.ones(2), atol=0.02, rtol=0)
        torch.testing.assert_close(noise.mean(0), torch.tensor([0, 0, 0.5, 0.5, 0.5]), atol=0.02, rtol=0)
        correlation = torch.corrcoef(noise.T) - torch.eye(5)
        assert float(correlation.abs().max()) < 0.02

    def test_columns_from_the_table_are_normal_and_independent(self) -> None:
        noise = NoiseSpec(EXACT + 8).draw(40_000, seed=1).double()
        for column in (0, EXACT - 1, EXACT, EXACT + 7):
            assert stats.kstest(noise[:, column].numpy(), "norm").pvalue > 1e-3
        found = torch.corrcoef(noise[:, EXACT - 2 :].T) - torch.eye(10)
        assert float(found.abs().max()) < 0.025
        # Not only uncorrelated: neither are the squares.
        found = torch.corrcoef(noise[:, EXACT - 2 :].T.square()) - torch.eye(10)
        assert float(found.abs().max()) < 0.025
        assert 4.0 < float(noise[:, EXACT:].abs().max()) < 4.33

    def test_other_seeds_give_other_noise(self) -> None:
        spec = NoiseSpec(3)
        drawn = [spec.draw(2, seed) for seed in (1, 2, (1, 1), (1, 2), (1, 1, 1))]
        for i, first in enumerate(drawn):
            assert not any(torch.equal(first, second) for second in drawn[i + 1 :])


class TestSettings:
    @pytest.mark.parametrize("conditions", [(), ("theta",), ("energy", "energy"), ("energy", "eta")])
    def test_conditions_are_a_set_with_energy(self, conditions: tuple[str, ...]) -> None:
        with pytest.raises(SettingsError, match=r"bad setting model\.conditions|bad setting model"):
            validated(GeneratorSettings, {"conditions": conditions}, "model")

    def test_settings_are_frozen(self) -> None:
        with pytest.raises(ValidationError, match="frozen"):
            GeneratorSettings().conditions = ("energy", "theta")

    @pytest.mark.parametrize("family", FAMILIES)
    def test_a_misspelt_setting_is_an_error_that_lists_the_known_ones(
        self, family: str, tiny_detector: Detector
    ) -> None:
        with pytest.raises(SettingsError, match=r"unknown setting 'model\.hiden'; known: conditions, \w+"):
            build(family, {"hiden": 3}, tiny_detector, domain())

    def test_a_bad_value_comes_with_its_path(self, tiny_detector: Detector) -> None:
        with pytest.raises(SettingsError, match=r"^bad setting model\.hidden\.1 = -2: must be greater than 0$"):
            build("vae", {"hidden": [3, -2]}, tiny_detector, domain())
        with pytest.raises(SettingsError, match=r"model\.kl_warmup_epochs"):
            build("vae", {"kl_warmup_epochs": math.inf}, tiny_detector, domain())

    def test_an_unknown_family_lists_the_known_ones(self) -> None:
        with pytest.raises(SettingsError, match="unknown family 'gam'; known: .*fastv, .*vae"):
            family_class("gam")

    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("angle", ["theta", "phi"])
    def test_a_condition_that_the_training_showers_do_not_tell_is_refused(
        self, family: str, angle: str, tiny_detector: Detector
    ) -> None:
        with pytest.raises(SettingsError, match=f"condition '{angle}', but the training showers do not have it"):
            build(family, {"conditions": ("energy", angle)}, tiny_detector, domain())

    @pytest.mark.parametrize("family", without_density)
    def test_a_family_without_density_says_so(self, family: str, tiny_detector: Detector) -> None:
        generator = build(family, {}, tiny_detector, domain())
        with pytest.raises(ModelError, match=f"the family '{family}' has no tractable density"):
            generator.log_prob(Batch(torch.zeros(1, 24), torch.ones(1, 1)))


class TestEmptyShowers:
    """Which showers are empty, drawn with the last column of the noise; the others are those of the family."""

    @pytest.fixture
    def generator(self, tiny_detector: Detector) -> Generator:
        torch.manual_seed(1)
        with_empty = Domain(energy=(1e3, 1e6), detectors=("tiny",), empty_showers=True)
        return build("vae", {"hidden": (8,), "latent": 3}, tiny_detector, with_empty).eval()

    def odds(self, generator: Generator, logit: float) -> None:
        """The same probability of an empty shower at all energies."""
        assert generator.empty_showers is not None
        generator.empty_showers.get_buffer("bias2").fill_(logit)

    def test_a_shower_is_empty_below_the_probability(self, generator: Generator) -> None:
        self.odds(generator, float(torch.logit(torch.tensor(0.3))))
        noise = generator.noise.draw(1000, seed=1)
        with torch.inference_mode():
            showers = generator.sample(torch.full((1000, 1), 1e5), noise)
        assert torch.equal(showers.sum(1) == 0, noise[:, -1] < 0.3)

    @pytest.mark.parametrize(("logit", "empty"), [(20.0, True), (-20.0, False)])
    def test_all_or_none_are_empty(self, generator: Generator, logit: float, empty: bool) -> None:
        self.odds(generator, logit)
        conditions, noise = torch.full((50, 1), 1e5), generator.noise.draw(50, seed=1)
        with torch.inference_mode():
            showers = generator.sample(conditions, noise)
            # Showers with energy are those of their own columns, whatever the last one is.
            own = generator.draw(conditions, noise[:, :-1])
        torch.testing.assert_close(showers, torch.zeros_like(own) if empty else own)

    def test_they_come_where_they_were_in_training(self, generator: Generator) -> None:
        """Half of the showers below 30 GeV, none above."""
        energies = torch.logspace(3, 6, 4000)[:, None]
        empty = (energies[:, 0] < 3e4) & (torch.rand(4000, generator=torch.manual_seed(1)) < 0.5)
        generator.fit_empty(energies, empty)
        with torch.inference_mode():
            showers = generator.sample(energies, generator.noise.draw(4000, seed=1))
        came = showers.sum(1) == 0
        assert float(came[:1800].float().mean()) == pytest.approx(0.5, abs=0.06)
        assert float(came[-1800:].float().mean()) < 0.02

    def test_a_domain_has_them_if_one_of_its_parts_has(self) -> None:
        some, none = domain(empty_showers=True), domain()
        assert some.joined(none).empty_showers
        assert none.joined(some).empty_showers
        assert not none.joined(none).empty_showers
