"""Mirror images of showers: exact on the mesh, as in Geant4, and refused where there are none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fastv.detector.mesh import ReadoutMesh
from fastv.domain import Domain
from fastv.errors import DomainError
from fastv.mirror import Mirror
from fastv.model import Model, load
from fastv.representation.estimation import estimate
from fastv.showers import Showers, ShowersFile
from fastv.simulation.production import simulate
from helpers import MIRRORED, model_of


def domain(low: float = 45, high: float = 90) -> Domain:
    return Domain(energy=(1e3, 1e5), theta=(np.radians(low), np.radians(high)), detectors=("par04-siw",))


def mirror_of(known: Domain, mesh: ReadoutMesh) -> Mirror:
    found = Mirror.of(known, ("energy", "theta"), mesh)
    assert found.column == 1
    return found


@pytest.mark.parametrize("mesh", MIRRORED.values(), ids=MIRRORED)
def test_the_reflection_turns_x_around(mesh: ReadoutMesh) -> None:
    mirror = mirror_of(domain(), mesh)
    expected = mesh.voxel_centres * [-1, 1, 1]
    ring = np.concatenate([np.full(each.alpha_cells * each.r_cells, each.alpha_cells == 1) for each in mesh.layers])
    expected[ring] = mesh.voxel_centres[ring]  # a whole ring is its own image
    np.testing.assert_allclose(mesh.voxel_centres[mirror.cells], expected, atol=1e-12)
    np.testing.assert_array_equal(mirror.cells[mirror.cells], np.arange(mesh.n_voxels))


def test_only_showers_beyond_the_right_angle_are_images() -> None:
    mesh = MIRRORED["regular"]
    mirror = mirror_of(domain(), mesh)
    theta = np.float32(np.radians([60, 90, 120, 135]))
    conditions = np.stack([np.full(4, 5e3, np.float32), theta], axis=1)
    folded = mirror.folded(conditions)
    np.testing.assert_allclose(np.degrees(folded[:, 1]), [60, 90, 60, 45], rtol=1e-6)
    np.testing.assert_array_equal(folded[:, 0], 5e3)
    np.testing.assert_array_equal(conditions[:, 1], theta)
    energies = np.random.default_rng(1).random((4, mesh.n_voxels), dtype=np.float32)
    found = mirror.image(energies.copy(), conditions)
    np.testing.assert_array_equal(found[:2], energies[:2])
    np.testing.assert_array_equal(found[2:], energies[2:][:, mirror.cells])
    mirror.domain.check("theta", theta)
    with pytest.raises(DomainError, match=r"theta 136 deg \(2\.3736 rad\) is outside .*, 45 to 135 deg"):
        mirror.domain.check("theta", np.radians([136.0]))


@pytest.mark.parametrize(
    ("known", "mesh"),
    [
        (domain(90, 90), MIRRORED["regular"]),  # nothing else than normal incidence
        (domain(45, 80), MIRRORED["regular"]),  # a gap
        (domain(45, 120), MIRRORED["regular"]),  # both sides were learnt
        (domain().model_copy(update={"right_angle": 0.0}), MIRRORED["regular"]),  # planes
        (domain().model_copy(update={"theta": None}), MIRRORED["regular"]),
        (domain(), ReadoutMesh.cylinder(layers=1, alpha_cells=5, r_cells=1, layer_thickness=1, r_size=1)),
    ],
)
def test_other_models_have_no_images(known: Domain, mesh: ReadoutMesh) -> None:
    found = Mirror.of(known, ("energy", "theta"), mesh)
    assert (found.column, found.domain) == (None, known)
    conditions = np.array([[5e3, 2.0]], np.float32)
    energies = np.arange(mesh.n_voxels, dtype=np.float32)[None]
    assert found.folded(conditions) is conditions
    np.testing.assert_array_equal(found.image(energies.copy(), conditions), energies)


def test_a_model_that_takes_no_angle_has_no_images() -> None:
    assert Mirror.of(domain(), ("energy",), MIRRORED["regular"]).column is None


def test_generated_showers_are_the_images_of_those_with_the_same_noise() -> None:
    model = load("par04-siw-wide")
    asked = {"n": 3, "energy": 5e3, "particle": "gamma", "detector": "par04-siw", "seed": 4}
    theta = float(np.float32(np.radians(120)))
    there, here = (model.generate(theta=each, **asked) for each in (theta, np.pi - theta))
    assert np.degrees(there.conditions.columns["theta"]) == pytest.approx(120)
    mirror = mirror_of(model.domain, model.detector.mesh)
    np.testing.assert_array_equal(there.energies, here.energies[:, mirror.cells])
    assert not np.array_equal(there.energies, here.energies)
    with pytest.raises(DomainError, match=r"theta 136 deg \(2\.3736 rad\) is outside"):
        model.generate(theta=np.radians(136), **asked)


@pytest.fixture(scope="module")
def known(make_showers: Callable[..., Showers]) -> Showers:
    """Showers at 45 to 90 degrees, one without energy, more than a batch."""
    theta = np.linspace(np.pi / 4, np.pi / 2, 130).astype(np.float32).astype(np.float64)
    made = make_showers(130, theta=theta)
    made.energies[5] = 0
    return made


def images_of(showers: Showers, model: Model) -> Showers:
    """Their images in odd rows; even rows stay as they are, so that batches are mixed."""
    theta, energies = np.asarray(showers.theta).copy(), showers.energies.copy()
    odd = np.arange(1, len(showers), 2)
    odd = odd[theta[odd] < 1.57]
    theta[odd] = np.float32(np.pi - theta[odd])
    energies[odd] = energies[np.ix_(odd, model.generator.mirror.cells)]
    energies.flags.writeable = False
    return replace(showers, theta=theta, energies=energies)


def conditions_of(model: Model, showers: Showers) -> NDArray[np.float32]:
    found: NDArray[np.float32] = model.generator.conditions_of(showers.conditions).numpy()
    return found


@pytest.mark.parametrize("family", ["vae", "caloflow"])
def test_codes_and_scores_of_images_are_those_of_the_showers(known: Showers, family: str) -> None:
    model = model_of(family, known[known.energies.any(axis=1)], conditions=("energy", "theta"))
    images = images_of(known, model)
    mirror = model.generator.mirror
    # The angle of an image, to the last bit.
    known = replace(known, theta=mirror.folded(conditions_of(model, images))[:, 1].astype(np.float64))
    before = images.energies.copy()
    scores = model.score(known), model.score(images)
    assert scores[0]
    for name, each in scores[0].items():
        np.testing.assert_array_equal(scores[1][name], each)
        assert np.isfinite(each).sum() == 129
    if family == "vae":
        codes, of_images = model.encode(known), model.encode(images)
        np.testing.assert_array_equal(of_images.matrix, codes.matrix)
        conditions = conditions_of(model, images)
        for made, of_image in (
            (model.reconstruct(known), model.reconstruct(images)),
            (model.decode(codes[6:].means, known.conditions[6:]), model.decode(codes[6:].means, images.conditions[6:])),
        ):
            expected = mirror.image(made.energies, conditions[-len(made) :])
            np.testing.assert_array_equal(of_image.energies, expected)
            assert not np.array_equal(of_image.energies, made.energies)
    np.testing.assert_array_equal(images.energies, before)
    with pytest.raises(DomainError, match=r"theta 136 deg .2\.3736 rad. is outside .*, 45 to 135 deg"):
        model.score(replace(images, theta=np.full(130, np.radians(136))))


def test_conditions_are_not_estimated_of_images(known: Showers) -> None:
    """Only its angle tells that a shower is an image, and the angle is what is asked for."""
    model = model_of("embedding", known[known.energies.any(axis=1)], conditions=("energy", "theta"))
    images = images_of(known, model)
    with pytest.raises(DomainError, match=r"theta 45 to .* rad. is outside the domain of the model, 45 to 90 deg"):
        estimate(model, images)
    told = estimate(model, images, extrapolate=True).columns
    unknown = estimate(model, replace(images, theta=np.asarray(known.theta))).columns
    for name, each in unknown.items():
        np.testing.assert_array_equal(told[name], each)


@pytest.mark.geant4
def test_geant4_has_the_same_reflection(tmp_path: Path) -> None:
    """An inclined shower leans to one side in each layer, and beyond 90 degrees to the other."""
    leaning = []
    for theta in (60, 120):
        simulate("par04-siw", tmp_path / f"{theta}.h5", energy="5GeV", theta=f"{theta}deg", n=80, seed=theta)
        with ShowersFile(tmp_path / f"{theta}.h5") as file:
            showers, mesh = file[:], file.mesh
        x = np.add.reduceat(showers.energies * np.cos(mesh.voxel_alpha), mesh.layer_boundaries[:-1], axis=1)
        fraction = x / showers.incident_energies[:, None]
        leaning.append(fraction.mean(axis=0) / (fraction.std(axis=0) / np.sqrt(80)).clip(min=1e-9))
    # Of unrelated numbers the sum of 45 products of pulls would be 0 +- 7, of the same ones as far above.
    assert (leaning[0] * leaning[1]).sum() < -25
