"""Readouts: voxel energies of several detectors on one scale, and back without loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastv.detector.detector import Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.errors import GeometryError
from fastv.models.readouts import Readouts, check_cells, factor_between


def detector(name: str, scale: float = 0.033, threshold: float = 0.5e-3) -> Detector:
    mesh = ReadoutMesh.cylinder(layers=3, alpha_cells=4, r_cells=2, layer_thickness=3.4, r_size=4.65)
    return Detector(name=name, mesh=mesh, energy_scale=scale, readout_threshold=threshold)


@given(st.floats(0.01, 1.0), st.floats(1e-5, 1e-2), st.integers(0, 2**31))
def test_own_is_the_inverse_of_the_factor(scale: float, threshold: float, seed: int) -> None:
    inside, other = detector("inside"), detector("other", scale, threshold)
    rng = np.random.default_rng(seed)
    energies = rng.exponential(10 * other.threshold, (50, 24)).astype(np.float32)
    energies[energies < other.threshold] = 0
    within = torch.from_numpy(energies * np.float32(factor_between(other, inside)))
    back = Readouts(inside, (inside, other)).own(within, torch.ones(50)).numpy()
    np.testing.assert_allclose(back, energies, rtol=1e-5)
    # No voxel is lost to rounding at the threshold.
    assert ((back > 0) == (energies > 0)).all()
    assert back[back > 0].min() >= np.float32(other.threshold)


def test_each_shower_has_the_scale_of_its_detector() -> None:
    inside, other = detector("inside"), detector("other", 0.066)
    readouts = Readouts(inside, (inside, other))
    energies = torch.tensor([[0.2, 0.0], [0.2, 0.0], [inside.threshold, 0.0]])
    found = readouts.own(energies, torch.tensor([0.0, 1.0, 1.0]))
    assert found[:, 0].tolist() == pytest.approx([0.2, 0.1, other.threshold])
    assert not found[:, 1].any()
    assert Readouts(inside, (other,)).own(energies[:1], None)[0, 0].item() == pytest.approx(0.1)


def test_equal_thresholds_cost_nothing() -> None:
    readouts = Readouts(detector("one"), (detector("one"), detector("two", 0.066, 1e-3)))
    energies = torch.ones(2, 24)
    assert readouts.own(energies, torch.tensor([0.0, 1.0])) is energies


def test_which_detectors_one_model_can_know() -> None:
    coarse = detector("coarse").model_copy(
        update={"mesh": ReadoutMesh.cylinder(layers=3, alpha_cells=4, r_cells=2, layer_thickness=9, r_size=9)}
    )
    check_cells(coarse, detector("one"))
    with pytest.raises(GeometryError, match="'one' .* and 'par04-siw' .* differ in the cells"):
        check_cells(Detector.preset("par04-siw"), detector("one"))
    with pytest.raises(GeometryError, match="'none' has no readout threshold, and 'one' has one"):
        factor_between(detector("none", threshold=0.0), detector("one"))
    assert factor_between(detector("a", 0.5, 0.0), detector("b", 1.0, 0.0)) == 1


def test_a_detector_that_is_not_described_has_the_readout_of_the_others() -> None:
    readouts = Readouts(detector("one"), (detector("one"), detector("two", 0.066)))
    assert readouts.named("two").energy_scale == 0.066
    assert readouts.named("three") == detector("three")
