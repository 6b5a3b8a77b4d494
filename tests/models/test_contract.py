"""Domain, noise, conditions and settings: what every family relies on."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from fastv.detector.detector import Detector
from fastv.errors import DomainError, ModelError, SettingsError
from fastv.models import FAMILIES, build, family_class, validated
from fastv.models.contract import Batch, ConditionScaler, Domain, Generator, GeneratorSettings, NoiseSpec
from fastv.models.noise import EXACT
from fastv.showers import Conditions, Showers

Make = Callable[..., Showers]
without_density = [name for name in FAMILIES if family_class(name).log_prob is Generator.log_prob]


def domain(**changes: object) -> Domain:
    return Domain.model_validate({"energy": (1e3, 1e6), "detectors": ("tiny",), **changes})


class TestDomain:
    @given(st.lists(st.floats(0.011, 1e8), min_size=1, max_size=5))
    def test_holds_the_showers_it_was_made_of(self, energies: list[float]) -> None:
        detector = Detector.preset("par04-siw")
        values = np.array(energies, np.float32).astype(np.float64)
        empty = np.broadcast_to(np.float32(0), (len(values), detector.mesh.n_voxels))
        made = Domain.of(Showers(values, empty, detector).conditions)
        made.check("energy", values)
        assert made.energy[0] == pytest.approx(values.min(), rel=0.11)
        assert made.energy[1] == pytest.approx(values.max(), rel=0.11)

    def test_takes_angles_and_detector_from_showers(self, make_showers: Make) -> None:
        made = Domain.of(make_showers(3, theta=np.radians([45.0, 80.0, 60.0]), phi=np.zeros(3)).conditions, ("e-",))
        assert made.theta == pytest.approx(np.radians([45.0, 80.0]))
        assert made.phi == (0.0, 0.0)
        assert (made.particles, made.detectors) == (("e-",), ("tiny",))

    def test_joined_holds_both(self) -> None:
        first = domain(theta=(1.0, 1.5), phi=(0.0, 1.0), particles=("gamma",))
        second = domain(energy=(1e2, 1e5), theta=(0.5, 1.2), particles=("e-",), detectors=("other", "tiny"))
        both = first.joined(second)
        assert both.energy == (1e2, 1e6)
        assert both.theta == (0.5, 1.5)
        assert both.phi is None
        assert both.particles == ("e-", "gamma")
        assert both.detectors == ("tiny", "other")
        assert first.joined(first) == first

    def test_joining_holds_in_any_order(self) -> None:
        first, second = domain(energy=(1.0, 2.0)), domain(energy=(10.0, 20.0))
        assert first.joined(second) == second.joined(first)

    def test_bounds_are_inside(self) -> None:
        domain().check("energy", np.array([1e3, 5e4, 1e6]))

    def test_one_bad_value_is_refused_with_range_and_way_out(self) -> None:
        with pytest.raises(DomainError) as caught:
            domain().check("energy", np.array([2e6]))
        assert str(caught.value) == (
            "energy 2e+06 MeV is outside the domain of the model, 1000 to 1e+06 MeV; "
            "stay inside it, or pass `extrapolate=True` to take the risk"
        )

    def test_bad_values_are_told_as_a_range(self) -> None:
        with pytest.raises(DomainError, match="energy 10 to 50000 MeV is outside"):
            domain().check("energy", np.array([5e4, 10.0]))
        with pytest.raises(DomainError, match=r"theta 2 rad is outside the domain of the model, 0\.5 to 1\.5 rad"):
            domain(theta=(0.5, 1.5)).check("theta", np.array([2.0]))

    def test_an_angle_that_is_not_recorded_is_not_checked(self) -> None:
        domain().check("theta", np.array([99.0]))

    def test_rounding_of_single_precision_is_no_extrapolation(self) -> None:
        stored = float(np.float32(math.pi / 2))
        domain(theta=(stored, stored)).check("theta", np.array([math.pi / 2]))

    @pytest.mark.parametrize(
        "energy", [(2.0, 1.0), (0.0, 1.0), (-5.0, 1.0), (1.0, math.inf), (math.nan, 1.0), (1.0, math.nan)]
    )
    def test_an_impossible_range_is_refused(self, energy: tuple[float, float]) -> None:
        with pytest.raises(ValidationError, match="energy"):
            domain(energy=energy)

    def test_needs_a_detector_and_knows_its_keys(self) -> None:
        with pytest.raises(ValidationError, match="detectors"):
            domain(detectors=())
        with pytest.raises(ValidationError, match="unknown condition 'energies'; known: energy, theta, phi"):
            domain(energies=(1.0, 2.0))


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


class TestConditions:
    def test_energy_spans_minus_one_to_one_in_its_logarithm(self) -> None:
        scaled = ConditionScaler(("energy",), domain())(torch.tensor([[1e3], [31622.777], [1e6]]))
        torch.testing.assert_close(scaled, torch.tensor([[-1.0], [0.0], [1.0]]), atol=1e-5, rtol=0)

    def test_linear_energy_is_the_fraction_of_the_highest(self) -> None:
        scaler = ConditionScaler(("energy",), domain(), linear_energy=True)
        torch.testing.assert_close(scaler(torch.tensor([[1e3], [1e6]])), torch.tensor([[1e-3], [1.0]]))

    def test_angles_span_minus_one_to_one(self) -> None:
        scaler = ConditionScaler(("phi", "energy", "theta"), domain(theta=(0.5, 1.5), phi=(-3.0, 3.0)))
        scaled = scaler(torch.tensor([[-3.0, 1e6, 1.5], [0.0, 1e3, 1.0]]))
        torch.testing.assert_close(scaled, torch.tensor([[-1.0, 1.0, 1.0], [0.0, -1.0, 0.0]]), atol=1e-5, rtol=0)

    def test_detector_is_one_hot(self) -> None:
        scaler = ConditionScaler(("energy", "detector"), domain(detectors=("a", "b", "c")))
        assert scaler.size == 4
        scaled = scaler(torch.tensor([[1e6, 0.0], [1e6, 2.0]]))
        assert scaled[:, 1:].tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]

    def test_a_domain_of_one_value_gives_finite_numbers(self) -> None:
        scaler = ConditionScaler(("energy", "theta"), domain(energy=(5e4, 5e4), theta=(1.5, 1.5)))
        torch.testing.assert_close(scaler(torch.tensor([[5e4, 1.5]])), torch.zeros(1, 2), atol=1e-5, rtol=0)

    def test_columns_come_in_the_order_of_the_settings_and_in_physical_units(self, make_showers: Make) -> None:
        showers = make_showers(3, theta=np.array([0.5, 1.0, 1.5]), phi=np.array([-1.0, 0.0, 1.0]))
        asked = {"conditions": ("phi", "energy", "detector", "theta"), "hidden": (4,)}
        where = domain(theta=(0.5, 1.5), phi=(-1.0, 1.0), detectors=("other", "tiny"))
        columns = build("vae", asked, showers.detector, where).conditions_of(showers.conditions)
        assert columns.dtype == torch.float32
        np.testing.assert_allclose(columns[:, 0], [-1.0, 0.0, 1.0])
        np.testing.assert_allclose(columns[:, 1], showers.incident_energies, rtol=1e-6)
        assert columns[:, 2].tolist() == [1.0, 1.0, 1.0]
        np.testing.assert_allclose(columns[:, 3], [0.5, 1.0, 1.5])

    @pytest.mark.parametrize(
        ("sampled", "expected"),
        [
            ((45.02, 89.998), (45.0, 90.0)),
            ((60.3, 60.3), (60.3, 60.3)),
            ((90.0, 90.0), (90.0, 90.0)),
            ((44.5, 50.0), (44.5, 50.0)),
        ],
    )
    def test_ends_of_angles_are_whole_degrees_if_near(
        self, sampled: tuple[float, float], expected: tuple[float, float]
    ) -> None:
        # Single precision, as files have it: 90 deg is a little more.
        theta = np.radians([sampled[0], sampled[1], sampled[1]]).astype(np.float32)
        made = Domain.of(Conditions.of(energy=np.full(3, 1e4), detector="tiny", theta=theta))
        assert made.theta is not None
        assert np.degrees(made.theta) == pytest.approx(expected, abs=1e-5)

    def test_particles_are_those_of_the_showers(self) -> None:
        conditions = Conditions.of(energy=np.full(4, 1e4), detector="tiny", particle=np.array([22, 11, 431, 22]))
        made = Domain.of(conditions, ("e+",))
        assert made.particles == ("431", "e-", "gamma")
        assert made.choices("particle") == [431, 11, 22]

    def test_missing_angles_and_unknown_detectors_are_named(self, make_showers: Make) -> None:
        showers = make_showers(3)
        generator = build("vae", {"conditions": ("energy", "theta")}, showers.detector, domain(theta=(0.0, 1.0)))
        with pytest.raises(SettingsError, match="the model needs the condition 'theta'"):
            generator.conditions_of(showers.conditions)
        elsewhere = domain(detectors=("first", "second"))
        generator = build("vae", {"conditions": ("energy", "detector")}, showers.detector, elsewhere)
        with pytest.raises(DomainError, match="does not know the detector 'tiny'; it was trained on: first, second"):
            generator.conditions_of(showers.conditions)


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


def test_drawn_conditions_are_uniform_in_the_logarithm_of_the_energy_and_in_angles() -> None:
    where = domain(theta=(1.0, 1.5))
    energy, theta = where.draw(("energy", "theta"), 20_000, np.random.default_rng(1)).T.astype(np.float64)
    low, high = where.energy
    for values in (np.log(energy / low) / np.log(high / low), (theta - 1.0) / 0.5):
        assert values.min() >= -1e-6
        assert values.max() <= 1 + 1e-6
        assert np.mean(values) == pytest.approx(0.5, abs=0.01)
        assert np.mean(values < 0.2) == pytest.approx(0.2, abs=0.015)
