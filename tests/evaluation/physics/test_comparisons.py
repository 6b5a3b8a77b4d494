"""All physics comparisons together: faults planted into real showers are found and named, full simulation passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fastv.evaluation.observables.observe import Observables, observe
from fastv.evaluation.physics.comparisons import Physics, _makers, compare_physics
from fastv.evaluation.physics.condition_bins import residuals
from fastv.sample import sample_path
from fastv.showers import Showers, ShowersFile

Plant = Callable[[Showers], Showers]


@pytest.fixture(scope="module")
def samples() -> tuple[Showers, Showers]:
    """A thousand Geant4 showers, and a thousand others."""
    with ShowersFile(sample_path("test")) as test, ShowersFile(sample_path("train")) as train:
        first, second, third = test[:1000], test[1000:], train[:]
    other = Showers(
        np.concatenate([second.incident_energies, third.incident_energies]),
        np.concatenate([second.energies, third.energies]),
        first.detector,
    )
    return first, other


@pytest.fixture(scope="module")
def reference(samples: tuple[Showers, Showers]) -> Observables:
    return observe(samples[0])


@pytest.fixture(scope="module")
def compare_with(samples: tuple[Showers, Showers], reference: Observables) -> Callable[[Plant], Physics]:
    return lambda plant: compare_physics(reference, observe(plant(samples[1]), like=reference))


def with_grid(showers: Showers, grid: np.ndarray) -> Showers:
    return replace(showers, energies=grid.reshape(len(grid), -1).astype(np.float32))


def names(found: Physics) -> list[str]:
    return [each.name for each in found.standing_out]


def test_full_simulation_agrees_with_itself(compare_with: Callable[[Plant], Physics]) -> None:
    found = compare_with(lambda showers: showers)
    assert found.agrees, [each.words for each in found.standing_out]
    left_out = {name for name, each in found.comparisons.items() if each.p_value is None}
    assert left_out == {"alpha profile"}  # the showers are at normal incidence
    assert {found.status(name) for name in found.comparisons.keys() - left_out} == {"agrees"}
    assert Physics.model_validate_json(found.model_dump_json()) == found


def test_many_halves_of_full_simulation_agree(samples: tuple[Showers, Showers], reference: Observables) -> None:
    """No comparison of any of four random divisions stands out."""
    other = observe(samples[1], like=reference)
    rng = np.random.default_rng(0)
    for seed in range(2):
        rows = rng.permutation(1000)
        for sample in (reference, other):
            found = compare_physics(sample[np.sort(rows[:500])], sample[np.sort(rows[500:])], seed=seed)
            assert found.agrees, [each.words for each in found.standing_out]


def test_energy_shift_of_one_percent(compare_with: Callable[[Plant], Physics]) -> None:
    found = compare_with(lambda showers: replace(showers, energies=showers.energies * np.float32(1.01)))
    assert names(found)[0] == "response"
    worst = found["response"].worst
    assert worst is not None
    assert worst.difference.value == pytest.approx(0.01, abs=0.004)
    assert not {"resolution, std/mean", "layer energies", "coarse cell correlations"} & set(names(found))


@pytest.mark.parametrize(("layer", "gain"), [(12, 0.95), (7, 1.1), (20, 0.0)])
def test_one_broken_layer(compare_with: Callable[[Plant], Physics], layer: int, gain: float) -> None:
    def broken(showers: Showers) -> Showers:
        grid = showers.grid.copy()
        grid[:, layer] *= gain
        return with_grid(showers, grid)

    found = compare_with(broken)
    assert "layer steps" in names(found)[:3]
    worst = found["layer steps"].worst
    assert worst is not None
    assert worst.where == f"layer {layer}"
    assert worst.difference.value == pytest.approx(gain - 1, abs=0.03)


@pytest.mark.parametrize("kept", ["late", "early"])
def test_dropped_mode(compare_with: Callable[[Plant], Physics], reference: Observables, kept: str) -> None:
    """No showers that are deep (or shallow) for their energy: one in six is missing."""

    def dropped(showers: Showers) -> Showers:
        observables = observe(showers, like=reference)
        energies = observables.incident_energies
        depth, _ = residuals(observables.longitudinal_mean, observables.longitudinal_mean, energies, energies)
        return showers[depth > -1] if kept == "late" else showers[depth < 1]

    found = compare_with(dropped)
    assert names(found)[0] == "tails of longitudinal mean"
    worst = found["tails of longitudinal mean"].worst
    assert worst is not None
    assert worst.where == ("5 % quantile" if kept == "late" else "95 % quantile")


def test_dropped_energies(compare_with: Callable[[Plant], Physics]) -> None:
    found = compare_with(lambda showers: showers[showers.incident_energies < 3e5])
    assert "population" in names(found)
    worst = found["population"].worst
    assert worst is not None
    assert worst.where.endswith(" to 995 GeV")
    assert worst.difference.value < -0.1


def test_smeared_resolution(compare_with: Callable[[Plant], Physics]) -> None:
    rng = np.random.default_rng(1)

    def smeared(showers: Showers) -> Showers:
        factors = rng.normal(1, 0.03, len(showers)).astype(np.float32)
        return replace(showers, energies=showers.energies * factors[:, None])

    found = compare_with(smeared)
    assert {"resolution, std/mean", "resolution terms"} <= set(names(found)[:3])
    terms = {entry.where: entry for entry in found["resolution terms"].differences}
    assert terms["c, constant"].generated.value == pytest.approx(0.03, abs=0.005)


def test_layers_shuffled_between_showers_of_one_energy(compare_with: Callable[[Plant], Physics]) -> None:
    rng = np.random.default_rng(2)

    def shuffled(showers: Showers) -> Showers:
        share = showers.grid / showers.incident_energies[:, None, None, None]
        mixed = share.copy()
        for group in np.array_split(np.argsort(showers.incident_energies), 100):
            for layer in range(45):
                mixed[group, layer] = share[rng.permutation(group), layer]
        return with_grid(showers, mixed * showers.incident_energies[:, None, None, None])

    found = compare_with(shuffled)
    expected = {"layer fraction correlations", "layer correlations", "coarse cell correlations", "voxel correlations"}
    assert expected <= set(names(found))
    assert not {"layer energies", "response", "ring energies"} & set(names(found))


def test_layers_turned_against_each_other(compare_with: Callable[[Plant], Physics]) -> None:
    """Each layer is right on its own, but not in line with the next."""
    rng = np.random.default_rng(3)

    def turned(showers: Showers) -> Showers:
        grid = showers.grid.copy()
        for shower in grid:
            for layer in range(45):
                shower[layer] = np.roll(shower[layer], rng.integers(16), axis=0)
        return with_grid(showers, grid)

    found = compare_with(turned)
    assert "distributions" in names(found)
    worst = found["distributions"].worst
    assert worst is not None
    assert worst.where == "axis offset"


def test_irregular_mesh_has_all_comparisons_it_can(irregular: Showers) -> None:
    observables = observe(irregular)
    found = compare_physics(observables, observables[::-1])
    assert found.agrees
    assert found["two showers"].skipped
    assert found["response"].p_value is not None


def test_few_showers_are_no_error_and_every_comparison_says_why(reference: Observables) -> None:
    found = compare_physics(reference[:20], reference[:30])
    assert found.agrees
    for each in found.comparisons.values():
        assert each.skipped or each.p_value is not None
    assert found.status("response") == "not judged"
    assert found["response"].skipped


def test_every_comparison_goes_by_its_name(reference: Observables) -> None:
    small = reference[:150]
    assert all(make().name == name for name, make in _makers(small, small, 10, 0).items())
    assert list(compare_physics(small, small, only=["sparsity", "response"]).comparisons) == ["response", "sparsity"]
