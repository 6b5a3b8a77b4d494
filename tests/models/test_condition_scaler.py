"""Conditions are told to networks as numbers of order one, and refused outside the domain."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from fastv.errors import DomainError, SettingsError
from fastv.models import build
from fastv.models.contract import ConditionScaler, Domain
from fastv.showers import Showers

Make = Callable[..., Showers]


def domain(**changes: object) -> Domain:
    return Domain.model_validate({"energy": (1e3, 1e6), "detectors": ("tiny",), **changes})


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

    def test_normal_incidence_is_told_apart_if_it_is_a_kind_of_its_own(self) -> None:
        right = np.pi / 2
        asked = torch.tensor([[1e3, right, 1.0], [1e3, right - 1e-3, 0.0], [1e3, right - 0.1, 1.0]])
        where = {"theta": (1.0, right), "phi": (0.0, 1.0)}
        plain = ConditionScaler(("energy", "theta", "phi"), domain(**where))
        apart = ConditionScaler(("energy", "theta", "phi"), domain(**where, normal_apart=True))
        assert (plain.size, apart.size) == (3, 4)
        torch.testing.assert_close(apart(asked)[:, [0, 1, 3]], plain(asked))
        expected = torch.tensor([1.0, np.exp(-1.0), 0.0], dtype=torch.float32)
        torch.testing.assert_close(apart(asked)[:, 2], expected, atol=1e-3, rtol=0)
        # A network that is not told the angle has nothing to tell apart.
        assert ConditionScaler(("energy",), domain(**where, normal_apart=True)).size == 1

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

    def test_missing_angles_and_unknown_detectors_are_named(self, make_showers: Make) -> None:
        showers = make_showers(3)
        generator = build("vae", {"conditions": ("energy", "theta")}, showers.detector, domain(theta=(0.0, 1.0)))
        with pytest.raises(SettingsError, match="the model needs the condition 'theta'"):
            generator.conditions_of(showers.conditions)
        elsewhere = domain(detectors=("first", "second"))
        generator = build("vae", {"conditions": ("energy", "detector")}, showers.detector, elsewhere)
        with pytest.raises(DomainError, match="does not know the detector 'tiny'; it was trained on: first, second"):
            generator.conditions_of(showers.conditions)
