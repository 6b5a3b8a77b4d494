"""Domain: what a model knows is taken from showers, and refused beyond it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fastv.detector.detector import Detector
from fastv.detector.stack import Stack
from fastv.domain import Domain, not_rotated
from fastv.errors import DomainError
from fastv.showers import Conditions, Showers

Make = Callable[..., Showers]


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
            "energy 2 TeV is outside the domain of the model, 1 GeV to 1 TeV; "
            "stay inside it, or pass `extrapolate=True` to take the risk"
        )

    def test_bad_values_are_told_as_a_range(self) -> None:
        with pytest.raises(DomainError, match="energy 10 MeV to 50 GeV is outside"):
            domain().check("energy", np.array([5e4, 10.0]))
        with pytest.raises(
            DomainError,
            match=r"theta 114\.5916 deg \(2 rad\) is outside .*, 28\.6479 to 85\.9437 deg \(0\.5 to 1\.5 rad\)",
        ):
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


def test_drawn_conditions_are_uniform_in_the_logarithm_of_the_energy_and_in_angles() -> None:
    where = domain(theta=(1.0, 1.5))
    energy, theta = where.draw(("energy", "theta"), 20_000, np.random.default_rng(1)).T.astype(np.float64)
    low, high = where.energy
    for values in (np.log(energy / low) / np.log(high / low), (theta - 1.0) / 0.5):
        assert values.min() >= -1e-6
        assert values.max() <= 1 + 1e-6
        assert np.mean(values) == pytest.approx(0.5, abs=0.01)
        assert np.mean(values < 0.2) == pytest.approx(0.2, abs=0.015)


@pytest.mark.parametrize(
    ("detector", "degrees", "said"),
    [
        ("barrel", 90, ""),
        ("barrel", 0, "some are inclined"),
        ("planes", 0, ""),
        ("planes", 90, "some are inclined"),
        ("planes", 30, "some are inclined"),
        ("unknown", 0, ""),
        ("unknown", 90, ""),
        ("unknown", 30, "some are inclined"),
        ("unknown", None, ""),
    ],
)
def test_normal_incidence_is_that_of_the_stack(detector: str, degrees: float | None, said: str) -> None:
    barrel = Detector.preset("par04-siw")
    assert barrel.stack is not None
    planes = Stack(shape="planar", distance=1000.0, groups=barrel.stack.groups)
    stack = {"barrel": barrel.stack, "planes": planes, "unknown": None}[detector]
    theta = None if degrees is None else (np.radians(degrees), np.radians(degrees))
    faced = barrel.model_copy(update={"stack": stack})
    assert not_rotated(faced, domain(theta=theta).facing(faced)) == said


def test_detectors_of_different_normal_incidence_are_never_rotated() -> None:
    barrel, planes = Detector.preset("par04-siw"), Detector.preset("cld-endcap")
    one = domain(theta=(np.pi / 2, np.pi / 2)).facing(barrel)
    other = domain(theta=(0.0, 0.0)).facing(planes)
    assert not one.inclined
    assert not other.inclined
    assert one.joined(one) == one
    assert one.joined(other).right_angle is None
    assert one.joined(other).inclined


@pytest.mark.parametrize(
    ("normal", "inclined", "apart"),
    [(0, 50, False), (50, 0, False), (1, 1999, False), (40, 1960, True), (50, 50, True)],
)
def test_normal_incidence_among_inclined_showers_is_a_kind_of_its_own(normal: int, inclined: int, apart: bool) -> None:
    barrel = Detector.preset("par04-siw")
    theta = np.concatenate([np.full(normal, np.float32(np.pi / 2)), np.linspace(0.8, 1.5, inclined)]).astype(np.float64)
    span = domain(theta=(float(theta.min()), float(theta.max())))
    assert span.facing(barrel, theta).normal_apart is apart
    # Whether they are in one file or in several.
    files = [each for each in (theta[:normal], theta[normal:]) if len(each)]
    spans = [domain(theta=(float(each.min()), float(each.max()))).facing(barrel, each) for each in files]
    joined = spans[0] if len(spans) == 1 else spans[0].joined(spans[1])
    assert joined.normal_apart is (len(spans) == 2)
    assert joined.joined(spans[0]).normal_apart is joined.normal_apart


def test_a_model_from_before_does_not_tell_normal_incidence_apart() -> None:
    stored = domain(theta=(0.8, np.pi / 2)).model_dump(mode="json")
    del stored["normal_apart"]
    assert not Domain.model_validate(stored).normal_apart
