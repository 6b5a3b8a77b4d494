"""What part of a ring lies in front of an inclined calorimeter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fastv.detector.detector import Detector
from fastv.domain import Domain
from fastv.models.condition_scaler import ConditionScaler
from fastv.models.slant import Slant

MESH = Detector.preset("par04-siw").mesh


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("names", [("energy", "theta"), ("theta", "particle", "energy")])
def test_it_is_the_reach_of_a_ring_against_the_depth_of_its_layer(names: tuple[str, ...], apart: bool) -> None:
    domain = Domain(
        energy=(1e3, 1e5), theta=(0.8, np.pi / 2), particles=("e-", "gamma"), detectors=("a",), normal_apart=apart
    )
    scaler = ConditionScaler(names, domain)
    thetas = torch.tensor([0.8, 1.2, 1.56, np.pi / 2], dtype=torch.float32)
    values = {"energy": torch.full((4,), 1e4), "theta": thetas, "particle": torch.tensor([0.0, 1.0, 0.0, 1.0])}
    found = Slant(scaler, MESH)(scaler(torch.stack([values[name] for name in names], dim=1)))
    for ring, layer in ((0, 0), (4, 2), (8, 44)):
        reach = 4.65 * (ring + 0.5) * np.tan(np.pi / 2 - thetas.numpy().astype(np.float64))
        expected = reach / (3.4 * (layer + 0.5) + reach)
        np.testing.assert_allclose(found[:, ring, layer], expected, atol=1e-5)
    # The further out and the less deep, the more of a ring is in front.
    assert bool((found[:3].diff(dim=1) > 0).all())
    assert bool((found[:3].diff(dim=2) < 0).all())


def test_normal_incidence_on_planes_is_zero_degrees() -> None:
    domain = Domain(energy=(1e3, 1e5), theta=(0.0, 0.6), detectors=("a",), right_angle=0.0)
    scaler = ConditionScaler(("energy", "theta"), domain)
    found = Slant(scaler, MESH)(scaler(torch.tensor([[1e4, 0.0], [1e4, 0.6]])))
    assert float(found[0].abs().max()) < 1e-6
    assert float(found[1].min()) > 0
