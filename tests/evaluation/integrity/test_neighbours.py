"""Nearest showers against brute force, and the symmetries that must not matter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastv.errors import SettingsError
from fastv.evaluation.integrity import neighbours
from fastv.evaluation.integrity.neighbours import ShapeSpace, nearest, read_shapes
from fastv.showers import Showers, ShowersFile

Make = Callable[..., Showers]


Layers = list[np.ndarray]


def slow_shape(showers: Showers, energies: np.ndarray) -> Layers:
    """Square roots of the shares of the energy, (alpha, r) layer by layer."""
    cut = np.where(energies >= np.float32(showers.detector.threshold), energies, 0).astype(np.float64)
    return [
        np.sqrt(cut[showers.mesh.layer_slice(i)].reshape(block.alpha_cells, block.r_cells) / max(cut.sum(), 1e-9))
        for i, block in enumerate(showers.mesh.layers)
    ]


def slow_distance(a: Layers, b: Layers) -> float:
    """All turns and mirror images of a, one by one."""
    best = 0.0
    for image in (a, [layer[::-1] for layer in a]):
        for turn in range(max(map(len, a))):
            turned = [np.roll(layer, turn, axis=0) if len(layer) > 1 else layer for layer in image]
            best = max(best, sum(float((x * y).sum()) for x, y in zip(turned, b, strict=True)))
    return float(np.sqrt(max(0.0, 2 - 2 * best)))


@pytest.mark.parametrize("sample", ["tiny", "irregular"])
def test_fast_equals_slow(sample: str, make_showers: Make, irregular: Showers) -> None:
    showers = make_showers(40) if sample == "tiny" else irregular[:40]
    bank, queries = showers[:30], showers[30:]
    space = ShapeSpace(showers.mesh)
    [found] = nearest([read_shapes(queries, space)], bank, candidates=30, window=1.5)
    for i in range(len(found)):
        query = queries[found.rows[i : i + 1]]
        near = np.abs(np.log(bank.incident_energies / query.incident_energies)) <= 1.5
        near &= bank.energies.sum(axis=1) > 0
        shape = slow_shape(showers, query.energies[0])
        distances = np.array([slow_distance(shape, slow_shape(showers, other)) for other in bank.energies])
        distances[~near] = np.inf
        order = np.argsort(distances)
        assert found.distance[i] == pytest.approx(distances[order[0]], abs=2e-4)
        assert found.second[i] == pytest.approx(distances[order[1]], abs=2e-4)
        assert found.index[i] == order[0]
    assert len(found) >= 8


def test_amplitudes_bound_the_distance_from_below(geant4: Showers, irregular: Showers) -> None:
    for showers in (geant4[:25], irregular[:7]):
        space = ShapeSpace(showers.mesh)
        shapes = space.shapes(showers.energies)
        amplitudes = space.amplitudes(shapes)
        np.testing.assert_allclose(np.linalg.norm(amplitudes, axis=1), 1, atol=1e-5)
        a, b = np.triu_indices(len(shapes))
        similarity, _, _ = space.similarity(shapes[a], shapes[b])
        assert ((amplitudes[a] * amplitudes[b]).sum(axis=1) >= similarity - 1e-5).all()


def test_copies_are_found_however_they_are_turned(geant4: Showers) -> None:
    rng = np.random.default_rng(0)
    few = geant4[:50]
    turns = rng.integers(16, size=50)
    mirrored = rng.random(50) < 0.5
    grids = [
        np.roll(grid[:, ::-1] if m else grid, t, axis=1) for grid, t, m in zip(few.grid, turns, mirrored, strict=True)
    ]
    scale = 1.3
    copies = replace(
        few,
        energies=(scale * np.stack(grids).reshape(50, -1)).astype(np.float32),
        incident_energies=1.5 * few.incident_energies,
    )
    space = ShapeSpace(geant4.mesh)
    [found] = nearest([read_shapes(copies, space)], geant4)
    np.testing.assert_array_equal(found.index, np.arange(50))
    assert (found.distance < 2e-3).all()
    assert (found.second > 0.1).all()
    np.testing.assert_allclose(found.scale, scale, rtol=1e-4)
    # What turns the copy into the original, applied to the copy, gives the original.
    for i in range(50):
        grid = copies.grid[i, :, ::-1] if found.mirrored[i] else copies.grid[i]
        np.testing.assert_allclose(np.roll(grid, found.turn[i], axis=1) / scale, few.grid[i], rtol=1e-4)


def test_distances_of_noisy_copies_are_half_the_noise(geant4: Showers) -> None:
    few = geant4[geant4.incident_energies > 1e5][:40]
    noise = np.random.default_rng(1).normal(1, 0.1, few.energies.shape)
    copies = replace(few, energies=(few.energies * noise).astype(np.float32))
    [found] = nearest([read_shapes(copies, ShapeSpace(geant4.mesh))], few)
    np.testing.assert_array_equal(found.index, np.arange(40))
    np.testing.assert_allclose(found.distance, 0.05, rtol=0.2)


def test_only_similar_energies_are_compared(geant4: Showers) -> None:
    space = ShapeSpace(geant4.mesh)
    queries = read_shapes(geant4[:60], space)
    [found] = nearest([queries], geant4[60:], window=0.1)
    energies = geant4[60:].incident_energies[found.index]
    assert (np.abs(np.log(energies) - found.log_energies) <= 0.1).all()
    assert found.alone == len(queries) - len(found)
    far = replace(geant4[60:], incident_energies=geant4[60:].incident_energies * 1e6)
    [nothing] = nearest([queries], far)
    assert len(nothing) == 0
    assert nothing.alone == 60


def test_a_shower_is_no_neighbour_of_itself(geant4: Showers) -> None:
    shapes = read_shapes(geant4[:80], ShapeSpace(geant4.mesh))
    [found] = nearest([shapes], shapes, same_sample=True)
    assert (found.index != found.rows).all()
    assert (found.distance > 0.05).all()


def test_files_memory_and_shapes_agree(geant4: Showers, tmp_path: Path) -> None:
    geant4 = geant4[:200]
    geant4.write(tmp_path / "bank.h5")
    space = ShapeSpace(geant4.mesh)
    queries = [read_shapes(geant4[:20], space), read_shapes(geant4[190:], space)]
    with ShowersFile(tmp_path / "bank.h5") as file:
        results = [
            nearest(queries, file),
            nearest(queries, geant4),
            nearest(queries, read_shapes(geant4, space)),
        ]
    for one, two, three in zip(*results, strict=True):
        for other in (two, three):
            np.testing.assert_array_equal(one.index, other.index)
            np.testing.assert_allclose(one.distance, other.distance, atol=2e-3)
            np.testing.assert_allclose(one.second, other.second, atol=1e-4)


def test_a_bank_in_many_pieces_gives_the_same_neighbours(geant4: Showers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Candidates of a piece that later ones surpass leave no trace."""
    space = ShapeSpace(geant4.mesh)
    queries = [read_shapes(geant4[:20], space), read_shapes(geant4[190:], space)]
    whole = nearest(queries, geant4)
    monkeypatch.setattr(neighbours, "_piece", lambda _: 37)
    for bank in (geant4, read_shapes(geant4, space)):
        for one, other in zip(whole, nearest(queries, bank), strict=True):
            for name in ("rows", "index", "turn", "mirrored", "alone"):
                np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
            for name in ("distance", "second", "scale"):
                np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=2e-3)


def test_empty_and_damaged_showers_have_no_shape(geant4: Showers) -> None:
    energies = geant4.energies[:10].copy()
    energies[2] = 0
    energies[4, 7] = np.nan
    incident = geant4.incident_energies[:10].copy()
    incident[6] = -1
    few = replace(geant4[:10], energies=energies, incident_energies=incident)
    shapes = read_shapes(few, ShapeSpace(geant4.mesh))
    assert shapes.rows.tolist() == [0, 1, 3, 5, 7, 8, 9]


def test_samples_are_thinned_evenly(geant4: Showers) -> None:
    shapes = read_shapes(geant4[:100], ShapeSpace(geant4.mesh), most=10)
    assert shapes.rows.tolist() == list(range(0, 100, 10))


def test_two_candidates_at_least(geant4: Showers) -> None:
    shapes = read_shapes(geant4[:10], ShapeSpace(geant4.mesh))
    with pytest.raises(SettingsError, match="candidates must be at least 2"):
        nearest([shapes], shapes, candidates=1)
