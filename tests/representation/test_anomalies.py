"""Anomaly scores: relative to usual showers of the same energy, and what they find of planted anomalies."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from fastv.errors import DomainError, ModelError, SettingsError
from fastv.inference import score
from fastv.model import Model, ModelDescription
from fastv.models import build
from fastv.models.contract import Domain
from fastv.representation.anomalies import Usual, doubled_energy, score_file, two_showers, wrong_particle
from fastv.sample import sample_path
from fastv.showers import Showers, ShowersFile
from helpers import batch_of


def model_of(family: str, showers: Showers, **settings: object) -> Model:
    domain = Domain.of(showers.conditions, particles=("e-",))
    generator = build(family, settings, showers.detector, domain)
    generator.fit(batch_of(generator, showers))
    described = ModelDescription(family=family, settings=settings, domain=domain, detector=showers.detector)
    return Model(generator, described, "small")


@pytest.fixture(scope="module")
def showers() -> Showers:
    with ShowersFile(sample_path("train")) as file:
        return file[:120]


@pytest.fixture(scope="module")
def model(showers: Showers) -> Model:
    return model_of("pca", showers, components=10)


def test_planted_anomalies_are_found(model: Model, showers: Showers, tmp_path: Path) -> None:
    empty = showers.energies.copy()
    empty[3] = 0
    replace(showers, energies=empty).write(tmp_path / "showers.h5")
    against = replace(showers[:30], energies=3 * showers.energies[:30], pdg=np.full(30, 22, np.int32))
    against.write(tmp_path / "others.h5")
    scored = score_file(model, tmp_path / "showers.h5", tmp_path / "out", planted=True, against=tmp_path / "others.h5")
    found = {(each.score, each.kind): each for each in scored.separations}
    assert {kind for _, kind in found} == {"dead layer", "doubled energy", "two showers", "others"}
    assert list(scored.left_out) == ["wrong particle"]
    assert found["anomaly", "doubled energy"].auc > 0.7
    # Numbers that are standardised at the energy of their layer hardly notice that it is dead; reconstructions do.
    assert found["reconstruction_error", "dead layer"].auc > 0.6
    for each in found.values():
        assert each.true_positive[-1] == each.false_positive[-1] == 1
        assert 0 <= each.found <= 1
    assert np.flatnonzero(np.isnan(scored.scores["anomaly"])).tolist() == [3]
    summary = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert summary["without_energy"] == 1
    assert len(summary["planted"]) == 8
    with h5py.File(tmp_path / "out" / "scores.h5") as file:
        np.testing.assert_allclose(file["anomaly"][:], model.score(replace(showers, energies=empty))["anomaly"])
        middle = np.nanmedian(file["relative_anomaly"][:])
        assert abs(middle) < 0.3
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"roc.png", "scores.png"}


def test_usual_depends_on_the_energy() -> None:
    rng = np.random.default_rng(1)
    energies = np.exp(rng.uniform(7, 14, 5000))
    scores = np.log(energies) ** 2 + np.log(energies) * rng.normal(size=5000)
    relative = Usual(scores, energies)(scores, energies)
    for low, high in ((7, 9), (9, 12), (12, 14)):
        rows = (np.log(energies) > low) & (np.log(energies) < high)
        assert abs(np.median(relative[rows])) < 0.15
        assert np.std(relative[rows]) == pytest.approx(1, abs=0.1)


def test_what_is_planted(model: Model, showers: Showers) -> None:
    doubled = doubled_energy(showers, model.generator)
    np.testing.assert_array_equal(doubled.energies, 2 * showers.energies)
    summed = two_showers(showers, model.generator)
    assert 0 < len(summed) < len(showers)
    assert summed.incident_energies.max() <= model.domain.energy[1]
    response = summed.energies.sum(1) / summed.incident_energies
    assert response.mean() == pytest.approx((showers.energies.sum(1) / showers.incident_energies).mean(), rel=0.02)
    with pytest.raises(DomainError, match="not told the particle"):
        wrong_particle(showers, model.generator)
    labelled = replace(showers, pdg=np.where(np.arange(120) % 2, 11, 22).astype(np.int32))
    domain = Domain.of(labelled.conditions)
    told = build("pca", {"conditions": ["energy", "particle"]}, showers.detector, domain)
    assert set(np.abs(wrong_particle(labelled, told).pdg - labelled.pdg)) == {11}  # type: ignore[operator]


def test_a_bound_is_the_same_in_a_file_and_in_memory(showers: Showers) -> None:
    few = showers[:110]
    settings = {"width": 12, "hidden": 24, "encoder_width": 16, "profile_latent": 4, "lateral_latent": 3}
    model = model_of("fastv", few, **settings)
    first, second = (model.score(few)["negative_log_evidence"] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_refusals_write_nothing(model: Model, showers: Showers, tmp_path: Path) -> None:
    showers[:1].write(tmp_path / "one.h5")
    with pytest.raises(SettingsError, match="a score for 1 shower; at least 2"):
        score_file(model, tmp_path / "one.h5", tmp_path / "out")
    library = model_of("library", showers, size=40)
    with pytest.raises(
        ModelError, match=r"'library' has no decoder, density or anomaly score; .*: autoencoder, bottleneck, caloflow"
    ):
        score_file(library, tmp_path / "one.h5", tmp_path / "out")
    high = showers[showers.incident_energies > 3e5]
    high.write(tmp_path / "high.h5")
    showers[showers.incident_energies < 1e5].write(tmp_path / "low.h5")
    with pytest.raises(SettingsError, match="not of the energies of"):
        score_file(model, tmp_path / "low.h5", tmp_path / "out", against=tmp_path / "high.h5")
    assert not (tmp_path / "out").exists()


def test_particles_that_are_said_to_be_others(showers: Showers, tmp_path: Path) -> None:
    few = replace(showers[:90], pdg=np.where(np.arange(90) % 3, 11, 22).astype(np.int32))
    settings = {"conditions": ["energy", "particle"], "width": 12, "hidden": 24, "encoder_width": 16}
    generator = build("fastv", settings, few.detector, Domain.of(few.conditions))
    generator.fit(batch_of(generator, few))
    # A network that is not trained is told the particle all the same: what it says of both is opposite.
    told, swapped = (score(generator, each)["particle_log_ratio"] for each in (few, wrong_particle(few, generator)))
    np.testing.assert_allclose(told, -swapped, rtol=1e-5, atol=1e-2)
    assert np.abs(told).max() > 0.1
    described = ModelDescription(
        family="fastv", settings=settings, domain=Domain.of(few.conditions), detector=few.detector
    )
    few.write(tmp_path / "showers.h5")
    scored = score_file(Model(generator, described, "small"), tmp_path / "showers.h5", tmp_path / "out", planted=True)
    sizes = {each.kind: each.showers for each in scored.separations if each.score == "particle_log_ratio"}
    assert list(sizes)[-3:] == ["wrong particle", "e- as gamma", "gamma as e-"]
    assert (sizes["e- as gamma"], sizes["gamma as e-"], sizes["wrong particle"]) == (60, 30, 90)
    # Photons that are said to be electrons are compared with the electrons.
    rows = np.flatnonzero(few.pdg == 22)
    [found] = [one for one in scored.separations if (one.kind, one.score) == ("gamma as e-", "particle_log_ratio")]
    assert len(np.unique(found.false_positive)) <= 61
    assert np.isfinite(scored.scores["particle_log_ratio"][rows]).all()
