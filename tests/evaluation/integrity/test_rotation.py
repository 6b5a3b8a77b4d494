"""Evenness in alpha: planted slices, ellipses and broken layers are found; Geant4 and the shipped model pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import fastv
from fastv.detector.stack import Stack
from fastv.errors import SettingsError
from fastv.evaluation import evaluate
from fastv.evaluation.integrity.checks import check_integrity
from fastv.evaluation.integrity.rotation import (
    AlphaFlatness,
    AlphaHarmonics,
    alpha_flatness,
    alpha_harmonics,
    modulation,
)
from fastv.evaluation.observables.observe import observe
from fastv.sample import sample_path
from fastv.showers import Showers, ShowersFile

Make = Callable[..., Showers]


@pytest.fixture(scope="module")
def showers() -> Showers:
    with ShowersFile(sample_path("test")) as file:
        return file[:]


@pytest.fixture(scope="module")
def reference() -> AlphaHarmonics:
    with ShowersFile(sample_path("train")) as file:
        return alpha_harmonics(file)


def scaled(showers: Showers, factors: np.ndarray) -> AlphaHarmonics:
    """Energies times factors (layer or 1, alpha)."""
    grid = showers.grid * factors[None, :, :, None].astype(np.float32)
    return alpha_harmonics(replace(showers, energies=grid.reshape(len(grid), -1)))


def test_geant4_is_even(showers: Showers, reference: AlphaHarmonics) -> None:
    found = alpha_flatness(alpha_harmonics(showers), reference)
    assert found.status == "agrees"
    assert found.p_value is not None
    assert found.p_value > 0.01


def test_the_shipped_model_is_even(showers: Showers, reference: AlphaHarmonics) -> None:
    generated = fastv.load("par04-siw").generate(like=showers[:500], seed=3)
    assert alpha_flatness(alpha_harmonics(generated), reference).status == "agrees"


def test_a_slice_with_three_percent_less(showers: Showers, reference: AlphaHarmonics) -> None:
    factors = np.ones((1, 16))
    factors[0, 5] = 0.97
    found = alpha_flatness(scaled(showers, factors), reference)
    assert (found.status, found.alpha_cell, found.layer) == ("differs", 5, None)
    assert found.value is not None
    assert found.error is not None
    assert found.value == pytest.approx(-0.03 * 15 / 16, abs=4 * found.error)
    assert found.error < 0.003
    assert "alpha slice 5 of the sum over layers has" in found.words
    assert "% less than the mean" in found.words


def test_a_broken_layer_is_named_by_its_number(showers: Showers, reference: AlphaHarmonics) -> None:
    factors = np.ones((45, 16))
    factors[12, 3] = 1.2
    ids = tuple(range(100, 145))
    found = alpha_flatness(scaled(showers, factors), reference, layer_ids=ids)
    assert (found.status, found.alpha_cell, found.layer) == ("differs", 3, 112)
    assert found.value == pytest.approx(0.2 * 15 / 16, abs=0.03)
    assert "% more" in found.words


@pytest.mark.parametrize("harmonic", [1, 2])
def test_a_shift_and_an_ellipse(showers: Showers, reference: AlphaHarmonics, harmonic: int) -> None:
    cells = np.arange(16)
    found = alpha_flatness(scaled(showers, 1 + 0.03 * np.cos(2 * np.pi * harmonic * cells[None] / 16)), reference)
    assert found.status == "differs"
    size, error = ((found.first, found.first_error), (found.second, found.second_error))[harmonic - 1]
    assert size is not None
    assert error is not None
    assert size == pytest.approx(0.03, abs=4 * error)


def test_an_uneven_reference_is_said(showers: Showers, reference: AlphaHarmonics) -> None:
    factors = np.ones((1, 16))
    factors[0, 5] = 0.95
    uneven = scaled(showers, factors)
    both = alpha_flatness(uneven, scaled(showers, factors))
    assert both.status == "undecided"
    assert "like the reference" in both.words
    alone = alpha_flatness(reference, uneven)
    assert alone.status == "undecided"
    assert "the reference is not" in alone.words


def test_harmonics_equal_the_definition(make_showers: Make) -> None:
    few = make_showers(6)
    found = alpha_harmonics(few)
    assert (found.cells, found.layers, found.harmonics.shape) == (4, (0, 1, 2), (6, 4, 2))
    slices = few.grid.sum(axis=3).astype(np.float64) / few.incident_energies[:, None, None]
    for k in (1, 2):
        expected = (slices * np.exp(-2j * np.pi * k * np.arange(4) / 4)).sum(axis=2)
        np.testing.assert_allclose(found.harmonics[:, :3, k - 1], expected, atol=1e-5)
        np.testing.assert_allclose(found.harmonics[:, 3, k - 1], expected.sum(axis=1), atol=1e-5)


def test_slices_undo_the_harmonics(make_showers: Make) -> None:
    """A modulation that all showers share comes back slice by slice."""
    pattern = np.array([0.3, -0.1, -0.4, 0.2])
    grid = np.ones((150, 3, 4, 2)) * (1 + pattern)[:, None]
    energies = (grid * 100).reshape(150, -1).astype(np.float32)
    found = modulation(alpha_harmonics(make_showers(150, energies=energies)), turns=19)
    values, errors = found.slices(4)
    np.testing.assert_allclose(values, np.tile(pattern, (4, 1)), atol=1e-4)
    assert (errors > 0).all()
    assert found.p_value == pytest.approx(1 / 20)


def test_p_values_are_uniform_for_turned_showers(reference: AlphaHarmonics) -> None:
    """Showers turned at random are even by construction."""
    rng = np.random.default_rng(1)
    k = np.arange(1, 9)
    p_values, chi2_p = [], []
    for _ in range(40):
        turn = rng.integers(16, size=(300, 1))
        pick = rng.permutation(len(reference))[:300]
        harmonics = reference.harmonics[pick] * np.exp(-2j * np.pi * k * turn / 16)[:, None].astype(np.complex64)
        sample = replace(
            reference,
            harmonics=harmonics,
            energies=reference.energies[pick],
            log_energies=reference.log_energies[pick],
        )
        found = modulation(sample, turns=99)
        p_values.append(found.p_value)
        chi2_p.append(found.p_values[-1])
    for p in (p_values, chi2_p):
        assert 0.3 < np.mean(p) < 0.7
        assert np.mean(np.array(p) < 0.1) < 0.3


def test_irregular_meshes(irregular: Showers) -> None:
    found = alpha_harmonics(irregular)
    assert found.layers == (1, 2)
    assert found.harmonics.shape == (300, 3, 5)
    assert alpha_flatness(found, found).status == "agrees"


def test_reasons_to_skip(showers: Showers, reference: AlphaHarmonics) -> None:
    few = alpha_flatness(alpha_harmonics(showers[:50]), reference)
    assert few.status == "not judged"
    assert few.value is None


def test_no_alpha_cells() -> None:
    from fastv.detector.detector import Detector
    from fastv.detector.mesh import ReadoutMesh

    mesh = ReadoutMesh.cylinder(layers=3, alpha_cells=1, r_cells=2, layer_thickness=1.0, r_size=1.0)
    flat = Showers(np.full(200, 1e3), np.ones((200, 6), dtype=np.float32), Detector(name="rings", mesh=mesh))
    found = alpha_harmonics(flat)
    assert alpha_flatness(found, found).status == "not judged"
    with pytest.raises(SettingsError, match="alpha cells"):
        modulation(found)


@pytest.fixture(scope="module")
def inclined(make_showers: Make) -> tuple[Showers, Showers]:
    """Two samples of showers at 45 to 80 degrees that lean to one side in their first layer, the more the flatter."""
    samples = []
    for seed in (1, 2):
        showers = make_showers(600, seed=seed)
        theta = np.random.default_rng(seed).uniform(np.radians(45), np.radians(80), 600)
        grid = showers.grid.copy()
        alpha = -np.pi + (np.arange(4) + 0.5) * np.pi / 2
        grid[:, 0] *= (1 - np.cos(theta)[:, None] * np.cos(alpha)).astype(np.float32)[:, :, None]
        samples.append(replace(showers, energies=grid.reshape(600, -1), theta=theta, phi=np.zeros(600)))
    return samples[0], samples[1]


def symmetric(showers: Showers) -> Showers:
    """Each shower turned by a random number of cells, its labels kept."""
    turns = np.random.default_rng(5).integers(4, size=len(showers))
    grid = np.stack([np.roll(each, turn, axis=1) for each, turn in zip(showers.grid, turns, strict=True)])
    return replace(showers, energies=grid.reshape(len(grid), -1))


def test_at_an_angle_symmetric_showers_differ_from_the_reference(inclined: tuple[Showers, Showers]) -> None:
    reference, other = inclined
    for generated, expected in ((other, "agrees"), (symmetric(other), "differs")):
        found = check_integrity(reference, generated).finding("evenness in alpha")
        assert found.status == expected, found.words
        assert "showers at an angle" in found.words
    assert isinstance(found, AlphaFlatness)
    assert found.layer == 0
    assert found.value == pytest.approx(0, abs=0.15)
    # <cos(alpha)> of 1 - c cos(alpha) in four cells is -c/2.
    assert found.floor == pytest.approx(-np.cos(reference.theta).mean() / 2, abs=0.15)
    assert "cosine 1 of layer 0 is" in found.words


def test_other_angles_are_an_explanation(inclined: tuple[Showers, Showers]) -> None:
    reference, other = inclined
    steeper = replace(symmetric(other), theta=np.full(600, np.radians(85)))
    found = check_integrity(reference, steeper).finding("evenness in alpha")
    assert found.status == "undecided"
    assert "the angles of the samples differ too" in found.words


def test_a_quick_evaluation_finds_symmetric_showers_at_an_angle(inclined: tuple[Showers, Showers]) -> None:
    reference, other = inclined
    verdict = evaluate(reference, symmetric(other), quick=True).verdict
    line = verdict["alpha profile"]
    assert (line.status, line.where, line.target) == ("differs", "layer 0, cos alpha", 0.02)
    assert line.value is not None
    assert line.value.value == pytest.approx(np.cos(other.theta).mean() / 2, abs=0.1)
    assert line.floor is not None
    assert evaluate(reference, other, quick=True).verdict["alpha profile"].status != "differs"
    without = evaluate(reference, replace(symmetric(other), theta=None, phi=None), quick=True).verdict
    assert without["alpha profile"].status == "differs"


def test_at_normal_incidence_the_profile_in_alpha_is_left_out(make_showers: Make) -> None:
    showers = make_showers(200, theta=np.full(200, np.pi / 2), phi=np.zeros(200))
    found = evaluate(showers, showers, quick=True)
    assert "alpha profile" not in {line.question for line in found.verdict.targets}
    assert "no shower is known to enter at an angle" in (found.physics["alpha profile"].skipped or "")


def test_normal_incidence_depends_on_the_shape_of_the_detector(make_showers: Make) -> None:
    """Theta = 0 is along the beam: normal to planes, not to a barrel."""
    barrel = fastv.Detector.preset("par04-siw")
    assert barrel.stack is not None
    stack = Stack(shape="planar", distance=1000.0, groups=barrel.stack.groups)
    planes = barrel.model_copy(update={"stack": stack})
    along = observe(make_showers(10, theta=np.zeros(10), phi=np.zeros(10)))
    assert not along.inclined
    assert not replace(along, detector=planes).inclined
    assert replace(along, detector=barrel).inclined
    assert not observe(make_showers(10)).inclined
