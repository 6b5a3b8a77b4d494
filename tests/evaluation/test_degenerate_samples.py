"""Samples without fluctuations, energy or structure give finite figures or one clear line."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastv.detector.detector import Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.errors import FastVError, FileFormatError
from fastv.evaluation import Evaluation, compare_generators, evaluate
from fastv.evaluation.integrity.coverage import features
from fastv.evaluation.integrity.limits import energy_sums
from fastv.evaluation.integrity.unchecked import scan
from fastv.evaluation.observables.observe import observe
from fastv.evaluation.physics.comparisons import compare_physics
from fastv.showers import Showers

N = 110
MESHES = {
    "layers": (3, 4, 3, 3.4),
    "one layer": (1, 4, 3, 42.7),
    "one layer of 3.4 mm": (1, 4, 3, 3.4),
    "rings": (3, 1, 3, 3.4),
    "halves": (3, 2, 3, 3.4),
    "one voxel a layer": (3, 1, 1, 3.4),
    "one voxel": (1, 1, 1, 3.4),
}


def detector(mesh: str, threshold: float = 5e-4) -> Detector:
    layers, alpha, r, thickness = MESHES[mesh]
    readout = ReadoutMesh.cylinder(layers=layers, alpha_cells=alpha, r_cells=r, layer_thickness=thickness, r_size=4.65)
    return Detector(name="tiny", mesh=readout, energy_scale=0.033, readout_threshold=threshold)


def healthy(where: Detector, n: int, seed: int, one_energy: bool = False) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    incident = np.full(n, 1e4) if one_energy else 10 ** rng.uniform(3, 5, n)
    voxels = rng.gamma(0.5, 1, (n, where.mesh.n_voxels)) * (rng.random((n, where.mesh.n_voxels)) < 0.7)
    voxels *= (rng.normal(0.9, 0.05, n) * incident / np.maximum(voxels.sum(axis=1), 1e-9))[:, None]
    return incident, voxels


def same(_: Any, voxels: Any) -> Any:
    return np.repeat(voxels[:1], len(voxels), axis=0)


def same_shape(incident: Any, voxels: Any) -> Any:
    return voxels[:1] / incident[0] * incident[:, None]


def one_voxel(incident: Any, voxels: Any) -> Any:
    return np.where(np.arange(voxels.shape[1]) == voxels.shape[1] // 2, 0.9 * incident[:, None], 0)


def single_hits(_: Any, voxels: Any) -> Any:
    return np.where(np.arange(voxels.shape[1]) == (np.arange(len(voxels)) % voxels.shape[1])[:, None], voxels, 0)


def empty(_: Any, voxels: Any) -> Any:
    return 0 * voxels


def one_shower(_: Any, voxels: Any) -> Any:
    return np.where(np.arange(len(voxels))[:, None] == 3, voxels, 0)


def even(incident: Any, voxels: Any) -> Any:
    return np.repeat(0.9 * incident[:, None] / voxels.shape[1], voxels.shape[1], axis=1)


def at_threshold(_: Any, voxels: Any) -> Any:
    return np.full_like(voxels, np.nextafter(np.float32(5e-4), np.float32(1)))


def enormous(_: Any, voxels: Any) -> Any:
    return 1e6 * voxels


def beyond_single_precision(_: Any, voxels: Any) -> Any:
    return np.full_like(voxels, 3e38)


KINDS: dict[str, Callable[[Any, Any], Any]] = {
    "healthy": lambda _, voxels: voxels,
    **{
        each.__name__: each
        for each in (
            same,
            same_shape,
            one_voxel,
            single_hits,
            empty,
            one_shower,
            even,
            at_threshold,
            enormous,
            beyond_single_precision,
        )
    },
}


def made(where: Detector, kind: str, seed: int, *, n: int = N, one_energy: bool = False) -> Showers:
    incident, voxels = healthy(where, n, seed, one_energy)
    return Showers(incident, KINDS[kind](incident, voxels).astype(np.float32), where)


def assert_finite(value: Any) -> None:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for each in value:
            assert_finite(each)
    assert not isinstance(value, float) or math.isfinite(value)


def checked(reference: Showers, generated: Showers, **options: Any) -> Evaluation | None:
    """The evaluation, None if a line says why there is none; its JSON is finite."""
    try:
        evaluation = evaluate(reference, generated, **options)
    except FastVError as error:
        assert "\n" not in str(error)
        return None
    assert_finite(json.loads(json.dumps(evaluation.as_dict(), allow_nan=False)))
    return evaluation


@settings(max_examples=20)
@given(
    mesh=st.sampled_from(sorted(MESHES)),
    kinds=st.tuples(st.sampled_from(sorted(KINDS)), st.sampled_from(sorted(KINDS))),
    one_energy=st.tuples(st.booleans(), st.booleans()),
    threshold=st.sampled_from([0.0, 5e-4]),
    seed=st.integers(0, 3),
)
def test_a_quick_evaluation_never_ends_in_a_traceback(
    mesh: str, kinds: tuple[str, str], one_energy: tuple[bool, bool], threshold: float, seed: int
) -> None:
    where = detector(mesh, threshold)
    reference, generated = (
        made(where, kind, 2 * seed + i, one_energy=one)
        for i, (kind, one) in enumerate(zip(kinds, one_energy, strict=True))
    )
    checked(reference, generated, quick=True)


@pytest.mark.parametrize(
    ("reference", "generated", "mesh"),
    [
        ("same", "same", "layers"),
        ("one_voxel", "one_voxel", "one layer"),
        ("single_hits", "healthy", "layers"),
        ("empty", "healthy", "halves"),
        ("one_shower", "empty", "layers"),
        ("even", "even", "layers"),
        ("healthy", "healthy", "one voxel"),
    ],
)
def test_nor_does_a_whole_one(reference: str, generated: str, mesh: str) -> None:
    where = detector(mesh)
    found = checked(made(where, reference, 1), made(where, generated, 2))
    assert found is not None
    assert found.metrics is not None
    for metric in (found.metrics.fpd and found.metrics.fpd.fpd, found.metrics.kpd and found.metrics.kpd.kpd):
        assert metric is None or (0 <= abs(metric.value) < 1e4 and metric.error >= 0)


@pytest.mark.parametrize("mesh", ["one layer", "one layer of 3.4 mm"])
def test_rounding_is_no_difference(mesh: str) -> None:
    """The depth of a single layer is one number, whatever the energy: no pull, no p-value below 1."""
    where = detector(mesh)
    reference = observe(made(where, "healthy", 1, n=300))
    found = compare_physics(reference, observe(made(where, "healthy", 2, n=300), like=reference))
    depths = [each for each in found["shower moments"].differences if each.where.startswith("longitudinal")]
    assert [each.pull for each in depths] == [0.0, 0.0]
    assert np.ptp(reference.longitudinal_mean) == 0
    assert not reference.longitudinal_width.any()
    assert found.agrees, [each.words for each in found.standing_out]


def test_equal_shapes_at_other_energies_agree() -> None:
    """Their fractions differ by the rounding of single precision only."""
    where = detector("layers", threshold=0.0)
    shape = made(where, "healthy", 1, n=1, one_energy=True).energies / 1e4
    samples = []
    for seed in (1, 2):
        incident, _ = healthy(where, 300, seed)
        samples.append(Showers(incident, (shape * incident[:, None]).astype(np.float32), where))
    reference = observe(samples[0])
    found = compare_physics(reference, observe(samples[1], like=reference))
    assert found.agrees, [each.words for each in found.standing_out]
    assert energy_sums(scan(samples[1]), scan(samples[0])).status == "agrees"
    deviations = features(observe(samples[1], like=reference), reference).deviations
    assert not deviations.any()


def test_empty_samples_are_told_and_not_green() -> None:
    where = detector("layers")
    found = checked(made(where, "empty", 1), made(where, "empty", 2), quick=True)
    assert found is not None
    assert found.verdict.status == "undecided"
    assert "not everything could be judged: response" in found.verdict.words
    assert sum("is empty" in warning for warning in found.warnings) == 2


@pytest.mark.parametrize("n", [0, 1, 99])
def test_few_showers_are_told(n: int) -> None:
    where = detector("layers")
    with pytest.raises(FileFormatError, match="the generated sample has (no shower|1 shower|99 showers); at least 100"):
        evaluate(made(where, "healthy", 1), made(where, "healthy", 2)[:n])


@pytest.mark.parametrize("quick", [True, False])
def test_half_of_it_nan_is_no_replacement_for_full_simulation(quick: bool) -> None:
    where = detector("layers")
    bad = made(where, "healthy", 2, n=240)
    bad.energies[::2, 0] = np.nan
    found = checked(made(where, "healthy", 1, n=240), bad, quick=quick)
    assert found is not None
    assert found.verdict.status == "differs"
    assert found.verdict.words.startswith(
        "On 240 reference and 120 generated showers: not a replacement for full simulation yet: unphysical showers"
    )
    line = found.verdict["unphysical showers"]
    assert line.value is not None
    assert (line.value.value, line.compared, line.status) == (120, 240, "differs")
    assert "120 showers (50 %) with voxels that are NaN" in line.words
    assert not found.passed


def test_more_visible_than_incident_energy_is_unphysical_unless_the_reference_has_it_too() -> None:
    where = detector("layers")
    reference, generated = made(where, "healthy", 1), made(where, "healthy", 2)
    generated.energies[7] *= 50  # 50 x 0.9 x 0.033 is 1.5 times the incident energy
    found = checked(reference, generated, quick=True)
    assert found is not None
    line = found.verdict["unphysical showers"]
    assert line.status == "differs"
    assert "1 shower (0.91 %) with more visible than incident energy" in line.words
    reference.energies[3] *= 50
    both = checked(reference, generated, quick=True)
    assert both is not None
    assert both.verdict["unphysical showers"].status == "undecided"


def test_a_sample_of_nan_does_not_lead_a_ranking() -> None:
    where = detector("layers")
    reference = made(where, "healthy", 1, n=400)
    best = replace(reference, energies=reference.energies.copy())
    best.energies[::2, 0] = np.nan  # what is left of it is the reference itself
    worse = made(where, "healthy", 2, n=400)
    ranking = compare_generators(reference, {"half": best, "worse": worse}, quick=True)
    assert ranking.order == ("worse", "half")
    assert ranking.quantities["unphysical showers"]["half"].value.value == 0.5
    assert_finite(json.loads(json.dumps(ranking.as_dict(), allow_nan=False)))
