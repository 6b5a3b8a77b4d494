"""Observables against a slow and obvious reference, and their invariances."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastv.detector.detector import Detector
from fastv.errors import FileFormatError
from fastv.evaluation.observables import observe as observables_module
from fastv.evaluation.observables import streaming
from fastv.evaluation.observables.observe import (
    Observables,
    alpha_layers,
    default_voxel_edges,
    hottest_voxels,
    observe,
    ring_edges,
)
from fastv.evaluation.observables.streaming import UncheckedBatch
from fastv.showers import Showers, ShowersFile

PER_LAYER = ("layer_energies", "centre_x", "centre_y", "centre_r", "width_x", "width_y", "width_r", "sparsity")


def slow(showers: Showers) -> dict[str, np.ndarray]:
    """The definitions, one shower and one layer at a time, in double precision."""
    mesh = showers.mesh
    result = {name: np.zeros((len(showers), mesh.n_layers)) for name in PER_LAYER}
    for i, shower in enumerate(showers.energies):
        for layer in range(mesh.n_layers):
            voxels = mesh.layer_slice(layer)
            e = np.array([float(x) if x >= np.float32(showers.detector.threshold) else 0.0 for x in shower[voxels]])
            total = e.sum()
            result["layer_energies"][i, layer] = total
            result["sparsity"][i, layer] = np.mean(e == 0)
            r, alpha = mesh.voxel_r[voxels], mesh.voxel_alpha[voxels]
            for name, q in {"x": r * np.cos(alpha), "y": r * np.sin(alpha), "r": r}.items():
                if name != "r" and mesh.layers[layer].alpha_cells == 1:
                    continue
                centre = (q * e).sum() / (total + 1e-16)
                square = (q**2 * e).sum() / (total + 1e-16)
                result[f"centre_{name}"][i, layer] = centre
                result[f"width_{name}"][i, layer] = np.sqrt(max(0.0, square - centre**2))
    return result


@pytest.mark.parametrize("sample", ["geant4", "irregular"])
def test_fast_equals_slow(sample: str, request: pytest.FixtureRequest) -> None:
    showers: Showers = request.getfixturevalue(sample)[:25]
    fast, expected = observe(showers), slow(showers)
    for name in PER_LAYER:
        # A width of zero is a difference of equal numbers: rounding leaves about sqrt(1e-16) times the radius.
        scale = 2e-5 if name.startswith("width") else 1e-6
        np.testing.assert_allclose(getattr(fast, name), expected[name], rtol=1e-5, atol=scale, err_msg=name)


def test_totals_and_profiles_agree(geant4: Showers) -> None:
    observables = observe(geant4)
    cut = np.where(geant4.energies >= np.float32(geant4.detector.threshold), geant4.energies, 0).astype(np.float64)
    np.testing.assert_allclose(observables.total_energy, cut.sum(axis=1), rtol=1e-6)
    np.testing.assert_allclose(observables.ring_energies.sum(axis=1), cut.sum(axis=1), rtol=1e-5)
    grid = cut.reshape(-1, *geant4.mesh.shape)
    assert observables.image is not None
    np.testing.assert_allclose(observables.image, grid.sum(axis=2).mean(axis=0), rtol=1e-9)
    z, r = geant4.mesh.layer_z, geant4.mesh.voxel_r
    mean_z = (grid.sum(axis=(2, 3)) @ z) / cut.sum(axis=1)
    mean_r = (cut @ r) / cut.sum(axis=1)
    np.testing.assert_allclose(observables.longitudinal_mean, mean_z, rtol=1e-5)
    np.testing.assert_allclose(observables.lateral_mean, mean_r, rtol=1e-5)
    width_r = np.sqrt(((r - mean_r[:, None]) ** 2 * cut).sum(axis=1) / cut.sum(axis=1))
    np.testing.assert_allclose(observables.lateral_width, width_r, rtol=1e-4)


def test_showers_grow_deeper_with_energy(geant4: Showers) -> None:
    """The shower maximum moves with log E: about one radiation length (4.2 mm) per factor e."""
    observables = observe(geant4)
    slope = np.polyfit(np.log(observables.incident_energies), observables.longitudinal_mean, 1)[0]
    assert 3.0 < slope < 6.0


def test_voxel_counts_equal_numpy(geant4: Showers) -> None:
    observables = observe(geant4)
    hit = geant4.energies[geant4.energies >= np.float32(geant4.detector.threshold)].astype(np.float64)
    expected, _ = np.histogram(hit, observables.voxel_edges)
    np.testing.assert_array_equal(observables.voxel_counts.sum(axis=0), expected)
    assert observables.voxel_edges[-1] == pytest.approx(geant4.energies.max(), rel=1e-6)
    assert len(observables.voxel_edges) == 50


@pytest.mark.parametrize("rows", [1, 7, 64, 1000])
def test_batch_size_changes_nothing(irregular: Showers, rows: int) -> None:
    assert_equal(observe(irregular, batch_rows=rows), observe(irregular))


def test_shuffling_only_reorders(geant4: Showers) -> None:
    order = np.random.default_rng(0).permutation(len(geant4))
    assert_equal(observe(geant4[order]), observe(geant4)[order], image=False)


def test_file_and_memory_agree(geant4: Showers, tmp_path: Path) -> None:
    geant4.write(tmp_path / "a.h5")
    with ShowersFile(tmp_path / "a.h5") as file:
        assert_equal(observe(file), observe(file[:]))


def test_threshold_cuts_first(geant4: Showers) -> None:
    """Energy below threshold, however much of it, is as if it were not there."""
    few = geant4[:50]
    below = np.where(few.energies == 0, np.float32(0.99 * few.detector.threshold), few.energies)
    assert_equal(observe(replace(few, energies=below)), observe(few))


def test_empty_showers_stay_in(irregular: Showers) -> None:
    observables = observe(irregular)
    assert observables.total_energy[7] == 0
    assert (observables.sparsity[7] == 1).all()
    assert (observables.centre_r[7] == 0).all()
    assert (observables.width_r[7] == 0).all()


def test_rotation_by_one_cell_rotates_centres(geant4: Showers) -> None:
    few = geant4[:50]
    turned = observe(replace(few, energies=np.roll(few.grid, 4, axis=2).reshape(len(few), -1)))
    before = observe(few)
    np.testing.assert_allclose(turned.centre_x, -before.centre_y, atol=1e-4)
    np.testing.assert_allclose(turned.width_y, before.width_x, atol=1e-4)
    np.testing.assert_allclose(turned.centre_r, before.centre_r, atol=1e-5)


def test_irregular_mesh(irregular_detector: Detector) -> None:
    assert alpha_layers(irregular_detector.mesh).tolist() == [1, 2]
    edges = ring_edges(irregular_detector.mesh)
    assert edges[0] == 0
    assert edges[-1] == 2000


def test_without_threshold_the_spectrum_has_a_start() -> None:
    edges = default_voxel_edges(0.0, 100.0)
    assert edges[0] == pytest.approx(1e-5)
    assert np.all(np.diff(default_voxel_edges(0.0, 0.0)) > 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_bad_voxels_in_memory_are_refused(geant4: Showers, bad: float) -> None:
    energies = geant4.energies[:10].copy()
    energies[4, 17] = bad
    with pytest.raises(FileFormatError, match="shower 4"):
        observe(replace(geant4[:10], energies=energies))


def test_edges_of_the_sample_itself_need_no_second_pass(geant4: Showers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hits wait in memory for the largest voxel; when they would take too much, the sample is read again."""
    reads: list[int] = []
    original = streaming.unchecked_batches

    def counting(source: Showers, rows: int | None) -> Iterator[UncheckedBatch]:
        reads.append(len(source))
        return original(source, rows)

    monkeypatch.setattr(streaming, "unchecked_batches", counting)
    once = observe(geant4, batch_rows=100)
    assert reads == [400]
    monkeypatch.setattr(observables_module, "_KEPT_BYTES", 1000)
    twice = observe(geant4, batch_rows=100)
    assert reads == [400] * 3
    largest = float(geant4.energies.max())
    given = observe(geant4, voxel_edges=default_voxel_edges(geant4.detector.threshold, largest))
    for other in (twice, given):
        np.testing.assert_array_equal(once.voxel_edges, other.voxel_edges)
        np.testing.assert_array_equal(once.voxel_counts, other.voxel_counts)


def test_observed_like_the_reference(geant4: Showers, geant4_other: Showers) -> None:
    reference = observe(geant4)
    other = observe(geant4_other, like=reference)
    np.testing.assert_array_equal(other.voxel_edges, reference.voxel_edges)
    np.testing.assert_array_equal(other.hot_voxels, reference.hot_voxels)
    np.testing.assert_array_equal(other.hot_energies, geant4_other.energies[:, reference.hot_voxels])
    largest = geant4_other.energies.max(axis=1)
    np.testing.assert_array_equal(other.largest_voxels, largest)
    inside = geant4_other.energies <= reference.voxel_edges[-1]
    hits = geant4_other.energies >= np.float32(geant4.detector.threshold)
    np.testing.assert_array_equal(other.voxel_counts.sum(axis=1), (inside & hits).sum(axis=1))


def test_hottest_voxels_hold_most_energy(geant4: Showers) -> None:
    shares = (geant4.energies / geant4.incident_energies[:, None]).mean(axis=0)
    hot = hottest_voxels(geant4, 20)
    assert len(hot) == 20
    assert (np.diff(hot) > 0).all()
    assert shares[hot].min() >= np.delete(shares, hot).max() * (1 - 1e-5)


def test_lateral_map_sums_the_layers(geant4: Showers, irregular: Showers) -> None:
    lateral = observe(geant4).lateral_map
    assert lateral is not None
    np.testing.assert_allclose(lateral, geant4.grid.sum(axis=1), rtol=1e-5)
    assert observe(irregular).lateral_map is None


def test_hit_multiplicity(geant4: Showers, irregular: Showers) -> None:
    for showers in (geant4, irregular):
        hits = showers.energies >= np.float32(showers.detector.threshold)
        np.testing.assert_array_equal(observe(showers).hit_multiplicity, hits.sum(axis=1))


def test_angles_are_kept_and_cut(make_showers: Callable[..., Showers], geant4: Showers) -> None:
    theta = np.linspace(1.0, 2.0, 60)
    observables = observe(make_showers(60, theta=theta, phi=-theta), batch_rows=25)
    assert observables.theta is not None
    np.testing.assert_array_equal(observables[10:20].theta, theta[10:20])
    np.testing.assert_array_equal(observables[::-1].phi, -theta[::-1])
    assert sorted(observables.conditions.columns) == ["detector", "energy", "phi", "theta"]
    assert observe(geant4[:5]).theta is None


def test_no_shower_at_all(geant4: Showers) -> None:
    observables = observe(geant4[:0])
    assert len(observables) == 0
    assert observables.layer_energies.shape == (0, 45)
    assert observables.voxel_counts.shape == (0, 49)


def assert_equal(a: Observables, b: Observables, *, image: bool = True) -> None:
    names = (*PER_LAYER, "incident_energies", "ring_energies", "voxel_counts", "radial_mean", "radial_width")
    for name in (*names, "image") if image else names:
        # Matrix products of other sizes may round differently in the last bit.
        atol = 2e-5 if "width" in name else 1e-6
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-5, atol=atol, err_msg=name)
