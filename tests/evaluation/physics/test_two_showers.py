"""Two showers told from one: the curve, the overlay, the comparison."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastv.detector.detector import Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.evaluation.observables.observe import Observables, observe
from fastv.evaluation.physics.two_showers import (
    choose_overlays,
    lateral_features,
    resampling,
    two_showers,
)
from fastv.sample import sample_path
from fastv.showers import Showers, ShowersFile


@pytest.mark.parametrize("shift", [0.0, 2.3, -7.0])
def test_resampling_keeps_energy_and_moves_its_centre(shift: float) -> None:
    mesh = Detector.preset("par04-siw").mesh
    pixels = np.arange(-14, 15) * 4.65
    weights = resampling(mesh, pixels, shift)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    cells = np.random.default_rng(2).exponential(size=144) * np.exp(-mesh.voxel_r[:144] / 5)
    image = (cells @ weights).reshape(28, 28)
    centres = (pixels[1:] + pixels[:-1]) / 2
    x, y = mesh.voxel_centres[:144, 0] @ cells / cells.sum(), mesh.voxel_centres[:144, 1] @ cells / cells.sum()
    assert (image.sum(axis=0) @ centres) / cells.sum() == pytest.approx(x + shift, abs=0.6)
    assert (image.sum(axis=1) @ centres) / cells.sum() == pytest.approx(y, abs=0.6)


def test_energy_beyond_the_pixels_is_lost() -> None:
    mesh = ReadoutMesh.cylinder(layers=1, alpha_cells=8, r_cells=3, layer_thickness=1, r_size=1)
    weights = resampling(mesh, np.linspace(-3, 3, 13), 50.0)
    assert not weights.any()


def test_features_of_a_turned_image_are_the_same() -> None:
    rng = np.random.default_rng(3)
    images = rng.exponential(size=(4, 9, 9))
    pixels = np.linspace(-9, 9, 10)
    a = lateral_features(images.reshape(4, -1), pixels)
    b = lateral_features(np.rot90(images, axes=(1, 2)).reshape(4, -1), pixels)
    np.testing.assert_allclose(a, b)


def test_chosen_showers_have_the_same_energies_and_are_used_once() -> None:
    energies = 10 ** np.random.default_rng(4).uniform(3, 6, 5000)
    chosen = choose_overlays(energies)
    together = energies[chosen.first] + energies[chosen.second]
    assert np.abs(np.log(together / energies[chosen.single])).max() < 0.151
    assert abs(np.log(together / energies[chosen.single]).mean()) < 0.02
    assert np.abs(np.log(energies[chosen.first] / energies[chosen.second])).max() < 0.1
    used = np.concatenate([chosen.single, chosen.first, chosen.second])
    assert len(np.unique(used)) == len(used) == 3 * len(chosen)
    again, other = choose_overlays(energies), choose_overlays(energies, seed=1)
    np.testing.assert_array_equal(chosen.first, again.first)
    assert not np.array_equal(chosen.first, other.first)


@pytest.fixture(scope="module")
def showers() -> Showers:
    with ShowersFile(sample_path("test")) as file:
        return file[:]


@pytest.fixture(scope="module")
def reference(showers: Showers) -> Observables:
    return observe(showers[:700])


def test_pairs_are_easier_to_tell_the_further_they_are_apart(showers: Showers, reference: Observables) -> None:
    generated = observe(showers[700:], like=reference)
    found = two_showers(reference, generated)
    areas = [entry for entry in found.differences if entry.where.endswith("ROC curve")]
    distances = [entry.low for entry in areas]
    assert distances == pytest.approx([4.65 / 4, 4.65 / 2, 4.65, 9.3])
    values = [entry.reference.value for entry in areas]
    assert 0.6 < values[0] < values[1] < values[2] < values[3] <= 1
    fakes = [entry.reference.value for entry in found.differences if "single showers" in entry.where]
    assert np.mean(fakes) == pytest.approx(0.1, abs=0.04)
    assert found.p_value is not None
    assert found.p_value > 1e-3, found.words


def test_the_same_sample_has_no_difference(reference: Observables) -> None:
    assert all(entry.pull == 0 for entry in two_showers(reference, reference).differences)


def test_wider_showers_are_taken_for_two(showers: Showers, reference: Observables) -> None:
    """A twentieth of each ring's energy moved outwards by one cell."""
    grid = showers[700:].grid
    wider = 0.95 * grid
    wider[..., 1:] += 0.05 * grid[..., :-1]
    energies = wider.reshape(len(grid), -1)
    found = two_showers(reference, observe(replace(showers[700:], energies=energies), like=reference))
    assert found.p_value is not None
    assert found.p_value < 1e-6
    assert found.worst is not None
    assert found.worst.where.endswith("taken for two")
    assert found.worst.difference.value > 0.1


def test_what_cannot_be_overlaid_says_why(irregular: Showers, reference: Observables) -> None:
    other = observe(irregular)
    assert "segmentation" in str(two_showers(other, other).skipped)
    assert "pairs" in str(two_showers(reference[:100], reference).skipped)


def test_empty_showers_do_not_stop_it(showers: Showers, reference: Observables) -> None:
    energies = showers.energies[700:].copy()
    energies[::7] = 0
    found = two_showers(reference, observe(replace(showers[700:], energies=energies), like=reference))
    assert found.p_value is not None
