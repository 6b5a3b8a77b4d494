"""The fast pass equals one in plain NumPy that follows the definitions layer by layer."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastv.errors import FileFormatError
from fastv.evaluation.metrics.features import feature_matrix, feature_names
from fastv.evaluation.observables import layer_kernel as module
from fastv.evaluation.observables.layer_kernel import LAYER_OBSERVABLES, centre_and_width, layer_observables
from fastv.evaluation.observables.observe import observe
from fastv.showers import Showers


@pytest.fixture(scope="module")
def plain_features() -> Callable[[Showers], np.ndarray]:
    """The pass that the benchmark measures against."""
    path = Path(__file__).parents[3] / "benchmarks" / "evaluation.py"
    spec = importlib.util.spec_from_file_location("benchmark_evaluation", path)
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    found: Callable[[Showers], np.ndarray] = benchmark.plain_features
    return found


def test_equals_the_plain_pass(geant4: Showers, plain_features: Callable[[Showers], np.ndarray]) -> None:
    fast, plain = feature_matrix(observe(geant4)), plain_features(geant4)
    assert fast.shape == plain.shape == (400, 362)
    for i, name in enumerate(feature_names(geant4.mesh)):
        # A width of zero is the root of a difference of equal numbers; columns are in units of 100 mm.
        atol = 2e-7 if name.startswith("width") else 1e-8
        np.testing.assert_allclose(fast[:, i], plain[:, i], rtol=2e-7, atol=atol, err_msg=name)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_alone_or_with_all_else_and_in_any_number_of_threads(geant4: Showers, workers: int) -> None:
    alone, whole = layer_observables(geant4, workers), observe(geant4, workers=workers, batch_rows=70)
    for name in LAYER_OBSERVABLES:
        np.testing.assert_allclose(alone[name], getattr(whole, name), rtol=1e-6, atol=1e-5, err_msg=name)


def test_size_of_the_pieces_changes_nothing(irregular: Showers, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = layer_observables(irregular)
    monkeypatch.setattr(module, "_PIECE_VOXELS", 3 * irregular.mesh.n_voxels)
    for name, values in layer_observables(irregular).items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-6, atol=2e-4, err_msg=name)


def test_no_shower_at_all(geant4: Showers) -> None:
    assert all(values.shape == (0, 45) for values in layer_observables(geant4[:0]).values())


def test_a_single_hit_has_a_place_and_no_width(geant4: Showers) -> None:
    energies = np.zeros((1, 6480), np.float32)
    voxel = 3 * 144 + 5 * 9 + 8  # layer 3, alpha 5, the outermost ring
    energies[0, voxel] = 0.7
    one = replace(geant4[:1], energies=energies)
    layers = layer_observables(one)
    x, y, _ = geant4.mesh.voxel_centres[voxel]
    found = [float(layers[f"centre_{axis}"][0, 3]) for axis in "xyr"]
    assert found == pytest.approx([x, y, geant4.mesh.voxel_r[voxel]])
    assert max(float(layers[f"width_{axis}"][0, 3]) for axis in "xyr") < 2e-5
    assert layers["sparsity"][0, 3] == pytest.approx(143 / 144)


def test_the_number_of_a_bad_shower_counts_from_the_first_batch(geant4: Showers) -> None:
    energies = geant4.energies.copy()
    energies[321, 17] = np.nan
    with pytest.raises(FileFormatError, match="shower 321"):
        layer_observables(replace(geant4, energies=energies))


def test_centre_and_width_of_nothing() -> None:
    centre, width = centre_and_width(np.zeros(2), np.zeros(2), np.zeros(2))
    assert not centre.any()
    assert not width.any()


def test_a_single_hit_has_no_width_and_an_even_ring_no_centre(make_showers: Callable[..., Showers]) -> None:
    """Differences of equal sums leave 1e-7 mm otherwise, by which a metric would divide."""
    grid = np.zeros((3, 3, 4, 2), dtype=np.float32)
    grid[0, :, 1, 1] = 123.456, 0.7, 3e-2
    grid[1] = 0.1
    grid[2, :, 0, 1], grid[2, :, 2, 1] = 1e5, 0.1  # opposite hits, one of a millionth of the energy
    found = layer_observables(make_showers(3, energies=grid.reshape(3, -1)))
    for name in ("width_x", "width_y", "width_r"):
        np.testing.assert_array_equal(found[name][0], 0.0)
    for name in ("centre_x", "centre_y", "cos_alpha", "sin_alpha"):
        np.testing.assert_array_equal(found[name][1], 0.0)
    np.testing.assert_allclose(found["width_x"][2], 2 * 6.975 * np.sqrt(0.5) * 1e-3, rtol=1e-3)


def test_alpha_moments_equal_their_definition(make_showers: Callable[..., Showers]) -> None:
    showers = make_showers(20)
    found = layer_observables(showers)
    alpha = -np.pi + (np.arange(4) + 0.5) * np.pi / 2
    slices = showers.grid.sum(axis=3).astype(np.float64)
    total = np.maximum(slices.sum(axis=2), 1e-30)
    np.testing.assert_allclose(found["cos_alpha"], slices @ np.cos(alpha) / total, atol=1e-6)
    np.testing.assert_allclose(found["sin_alpha"], slices @ np.sin(alpha) / total, atol=1e-6)
