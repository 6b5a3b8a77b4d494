"""Showers unlike any of full simulation are found, however few they are; Geant4 itself passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fastv.evaluation.integrity.outliers import Outliers, outlying_showers
from fastv.evaluation.observables.observe import Observables, observe
from fastv.showers import Showers


@pytest.fixture(scope="module")
def reference(geant4: Showers) -> Observables:
    return observe(geant4)


@pytest.fixture(scope="module")
def other(geant4_other: Showers) -> Observables:
    return observe(geant4_other)


def changed(showers: Showers, change: Callable[[np.ndarray], None], like: Observables) -> Observables:
    """Observables of showers of which the grid (N, L, A, R) was changed."""
    grid = showers.grid.copy()
    change(grid)
    return observe(replace(showers, energies=grid.reshape(len(showers), -1)), like=like)


def test_geant4_passes_in_both_directions(reference: Observables, other: Observables) -> None:
    for generated, truth in ((other, reference), (reference, other)):
        found = outlying_showers(generated, truth)
        assert (found.status, found.far) == ("agrees", 0)
        assert found.floor == pytest.approx(1 / (50 + 1)), "four bins of 100 showers, of which half are the floor"
        assert found.p_value is not None
        assert found.p_value > 0.01
        assert "compatible with full simulation" in found.words


def in_last_layer(grid: np.ndarray) -> None:
    grid[7, -1], grid[7, :-1] = grid[7].sum(0), 0


def in_outer_ring(grid: np.ndarray) -> None:
    grid[7, :, :, -1], grid[7, :, :, :-1] = grid[7].sum(2), 0


def in_one_voxel(grid: np.ndarray) -> None:
    grid[7, 10, 0, 0] = grid[7].sum()


@pytest.mark.parametrize(
    ("change", "place"), [(in_last_layer, "layer 44"), (in_outer_ring, "ring 8"), (in_one_voxel, "one voxel")]
)
def test_one_shower_that_cannot_be_a_fluctuation(
    change: Callable[[np.ndarray], None], place: str, reference: Observables, geant4_other: Showers
) -> None:
    found = outlying_showers(changed(geant4_other, change, reference), reference)
    assert (found.status, found.far, found.extreme_shower) == ("differs", 1, 7)
    assert found.extreme_place == place
    assert found.extreme_share is not None
    assert found.reference_shares is not None
    low, high = found.reference_shares
    assert not low <= found.extreme_share <= high
    assert f"{100 * found.extreme_share:.3g} % of its energy in {found.extreme_place}" in found.words


def test_a_hole_in_each_of_some_showers(reference: Observables, geant4_other: Showers) -> None:
    """One layer of 45 without energy: no single one is impossible, but so many are."""

    def hole(grid: np.ndarray) -> None:
        peak = grid[:60].sum((2, 3)).argmax(1)
        grid[np.arange(60), peak] = 0

    found = outlying_showers(changed(geant4_other, hole, reference), reference)
    assert found.status == "differs"
    assert found.p_value is not None
    assert found.p_value < 1e-3
    assert found.outlying >= 20
    assert found.value == found.outlying / found.showers


def test_rows_are_those_of_the_file(reference: Observables, geant4_other: Showers) -> None:
    def backwards(grid: np.ndarray) -> None:
        grid[5] = 0
        in_last_layer(grid)

    generated = changed(geant4_other, backwards, reference)
    rows = np.arange(len(generated)) + 1000
    found = outlying_showers(generated, reference, rows)
    assert found.extreme_shower == 1007
    assert found.showers <= len(generated) - 1, "an empty shower has no shares"


def test_few_showers_are_skipped_with_the_reason(
    reference: Observables, other: Observables, geant4_other: Showers
) -> None:
    found = outlying_showers(other[:50], reference)
    assert isinstance(found, Outliers)
    assert (found.status, found.value) == ("not judged", None)
    assert "200 showers of each sample are needed" in found.words
    far = observe(replace(geant4_other, incident_energies=1e4 * geant4_other.incident_energies), like=reference)
    assert "there are 0 and" in outlying_showers(far, reference).words


def test_irregular_meshes_and_layers_that_are_always_empty(irregular: Showers) -> None:
    energies = irregular.energies.copy()
    energies[:, irregular.detector.mesh.layer_slice(0)] = 0
    showers = observe(replace(irregular, energies=energies))
    found = outlying_showers(showers, showers)
    assert found.status in ("agrees", "not judged")
