"""Conditions estimated from showers, and showers found by conditions: posteriors on a grid, and who is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from fastv.errors import DomainError, FastVError, GeometryError, ModelError, OutputError, SettingsError
from fastv.model import Model, ModelDescription
from fastv.models import build
from fastv.models.contract import Domain
from fastv.representation.condition_grid import Axis, ConditionGrid
from fastv.representation.estimation import estimate, estimate_file, performance
from fastv.representation.matching import retrieve
from fastv.showers import Conditions, Showers, ShowersFile
from helpers import SMALL, batch_of

Make = Callable[..., Showers]
CONDITIONS = ("energy", "theta", "particle")


@pytest.fixture(scope="module")
def showers(make_showers: Make) -> Showers:
    """Showers whose energy grows with the incident one, at some angles, of two particles; two of them are empty."""
    made = make_showers(300)
    incident = np.geomspace(1e3, 1e6, 300)[np.random.default_rng(1).permutation(300)]
    energies = made.energies * (incident / np.maximum(made.energies.sum(axis=1), 1e-9))[:, None]
    energies[[3, 200]] = 0
    return replace(
        made,
        incident_energies=incident,
        energies=energies.astype(np.float32),
        theta=np.linspace(1.0, 1.5, 300),
        pdg=np.where(np.arange(300) % 2, 11, 22).astype(np.int32),
    )


@pytest.fixture(scope="module")
def model(showers: Showers) -> Model:
    """A model that was trained for some steps."""
    torch.manual_seed(1)
    settings: dict[str, Any] = {**SMALL["embedding"], "conditions": CONDITIONS, "dropout": 0.0}
    domain = Domain.of(showers.conditions)
    generator = build("embedding", settings, showers.detector, domain)
    batch = batch_of(generator, showers[showers.energies.any(axis=1)])
    generator.fit(batch)
    optimizer = torch.optim.Adam(generator.parameters(), lr=1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        generator.loss(batch)["loss"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    description = ModelDescription(
        family="embedding", settings=settings, domain=domain, detector=showers.detector, weights_sha256="0" * 64
    )
    return Model(generator, description, "small")


@pytest.fixture
def file(showers: Showers, tmp_path: Path) -> Path:
    showers.write(tmp_path / "showers.h5")
    return tmp_path / "showers.h5"


def test_quantiles_are_those_of_the_density_in_the_cells() -> None:
    axis = Axis.over("theta", 0.0, 2.0, 4)
    np.testing.assert_allclose(axis.values, [0.25, 0.75, 1.25, 1.75])
    probability = np.array([[0.25, 0.25, 0.25, 0.25], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    np.testing.assert_allclose(axis.quantiles(probability, 0.5), [1.0, 0.75, 1.75])
    np.testing.assert_allclose(axis.quantiles(probability, 0.1), [0.2, 0.55, 1.55])
    # Energies are equally probable in their logarithm.
    energy = Axis.over("energy", 1e3, 1e5, 10)
    np.testing.assert_allclose(energy.quantiles(np.full((1, 10), 0.1), 0.5), [1e4])
    assert Axis.over("theta", 1.5, 1.5, 10).quantiles(np.ones((2, 1)), 0.16).tolist() == [1.5, 1.5]


def test_marginals_are_sums_of_the_posterior(model: Model, showers: Showers) -> None:
    grid = ConditionGrid(model.generator, {"energy": Axis("energy", np.array([2e3, 3e4, 5e5]))})
    assert grid.shape[0] == 3
    assert grid.shape[2] == 2
    codes = model.encode(showers[:3]).matrix
    weights = np.exp(codes.astype(float) @ grid.places.numpy().T.astype(float)).reshape(3, *grid.shape)
    marginals = grid.marginals(codes)
    for place, name in enumerate(CONDITIONS):
        others = tuple(each for each in (1, 2, 3) if each != place + 1)
        expected = weights.sum(others) / weights.sum((1, 2, 3))[:, None]
        np.testing.assert_allclose(marginals[name], expected, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(grid.log_mean(codes), np.log(weights.mean((1, 2, 3))), rtol=1e-3, atol=1e-3)


def test_energies_are_found_again_and_what_a_file_tells_of_them_is_not_used(model: Model, showers: Showers) -> None:
    found = estimate(model, showers)
    energy, filled = found.intervals["energy"], showers.energies.any(axis=1)
    assert np.flatnonzero(np.isnan(energy.mean)).tolist() == np.flatnonzero(~filled).tolist() == [3, 200]
    ratio = energy.mean[filled] / showers.incident_energies[filled]
    assert np.median(np.abs(ratio - 1)) < 0.2
    assert (energy.low[filled] < energy.high[filled]).all()
    chances = found.probabilities["particle"]
    np.testing.assert_allclose((chances["gamma"] + chances["e-"])[filled], 1, rtol=1e-5)
    shuffled = replace(showers, incident_energies=showers.incident_energies[::-1], theta=None, pdg=None)
    for name, values in estimate(model, shuffled).columns.items():
        np.testing.assert_array_equal(values, found.columns[name], err_msg=name)


def test_performance_is_that_of_each_bin(model: Model, showers: Showers) -> None:
    found = estimate(model, showers)
    true = found.intervals["energy"].mean / 1.1
    known = np.isfinite(true)
    true = np.where(known, true, 1e4)
    told = performance(found, Conditions.of(energy=true, particle=np.full(len(showers), 22)))
    assert {each.condition for each in told} == {"energy", "particle"}
    for each in told:
        rows = known & (true >= each.low) & (true < each.high)
        assert each.showers == rows.sum() >= 20
        if each.condition == "energy":
            assert (each.bias, each.resolution) == (pytest.approx(0.1), pytest.approx(0.0, abs=1e-9))
        else:
            share = (found.probabilities["particle"]["gamma"] > 0.5)[rows].mean()
            assert (each.bias, each.covered) == (None, pytest.approx(share))


def test_a_file_of_estimates(model: Model, showers: Showers, file: Path, tmp_path: Path) -> None:
    output = tmp_path / "estimates.h5"
    told = estimate_file(model, file, output)
    assert (told.showers, told.empty, told.model) == (300, 2, "small")
    here = estimate(model, showers)
    with h5py.File(output) as opened:
        np.testing.assert_array_equal(opened["row"], np.arange(300))
        np.testing.assert_allclose(opened["incident_energies"], showers.incident_energies, rtol=1e-6)
        assert set(here.columns) < set(opened)
        for name, values in here.columns.items():
            np.testing.assert_allclose(opened[name], values, rtol=1e-4, err_msg=name)
    with pytest.raises(OutputError, match="exists already"):
        estimate_file(model, file, output)
    with pytest.raises(OutputError, match="is not replaced by a file of estimates"):
        estimate_file(model, file, file, force=True)


def test_showers_of_an_energy_are_found(model: Model, showers: Showers, file: Path, tmp_path: Path) -> None:
    found = retrieve(model, file, tmp_path / "found.h5", energy="30GeV", k=5)
    assert (found.size, len(found.matches), found.asked) == (298, 5, {"energy": "30GeV"})
    energies = np.array([each.conditions["energy"] for each in found.matches], float)
    assert np.median(np.abs(np.log(energies / 3e4))) < 0.4
    odds = [each.log_odds for each in found.matches]
    assert odds == sorted(odds, reverse=True)
    assert odds[0] > 1
    with ShowersFile(tmp_path / "found.h5") as written:
        rows = [each.row for each in found.matches]
        np.testing.assert_array_equal(written[:].energies, showers.energies[rows])
        assert written.provenance["retrieved_by"] == {"energy": "30GeV"}
    # What a file tells of its showers has no part in it.
    assert [each.row for each in retrieve(model, showers_without(showers, tmp_path), energy=3e4, k=5).matches] == rows


def showers_without(showers: Showers, folder: Path) -> Path:
    """The showers in a file that tells nothing true of them."""
    flat = replace(showers, incident_energies=np.full(len(showers), 5e3), theta=None, pdg=None)
    flat.write(folder / "flat.h5")
    return folder / "flat.h5"


def test_a_range_counts_as_the_mean_of_its_values(model: Model) -> None:
    codes = model.generator.encode(batch_of(model.generator, _one(model)))["embedding"].mean.detach().numpy()
    low, high = (ConditionGrid(model.generator, {"theta": Axis("theta", np.array([t]))}) for t in (1.1, 1.4))
    both = ConditionGrid(model.generator, {"theta": Axis("theta", np.array([1.1, 1.4]))})
    expected = np.log((np.exp(low.log_mean(codes)) + np.exp(high.log_mean(codes))) / 2)
    np.testing.assert_allclose(both.log_mean(codes), expected, rtol=1e-4, atol=1e-4)


def _one(model: Model) -> Showers:
    energies = np.full((1, model.detector.mesh.n_voxels), 3e2, np.float32)
    return Showers(np.array([1e4]), energies, model.detector, theta=np.array([1.2]), pdg=np.array([11], np.int32))


@pytest.mark.parametrize(
    ("error", "words", "asked"),
    [
        (SettingsError, "which conditions", {}),
        (SettingsError, "`k` must be at least 1", {"energy": "20GeV", "k": 0}),
        (SettingsError, "not trained on phi; leave it out, it knows: energy, theta, particle", {"phi": "10deg"}),
        (SettingsError, "unknown condition 'energi'", {"energi": "20GeV"}),
        (SettingsError, "has no unit", {"energy": "20"}),
        (SettingsError, "values, not ranges", {"energy": ["1-2GeV"]}),
        (SettingsError, "energy must be finite and above zero", {"energy": -3.0}),
        (SettingsError, "energy must be a number or a text", {"energy": {}}),
        (DomainError, "energy 2 TeV is outside the domain .* `extrapolate=True`", {"energy": "2TeV"}),
        (DomainError, "theta 30 to 80 deg .0.5236 to 1.3963 rad. is outside", {"theta": "30-80deg"}),
        (DomainError, "does not know the particle 'pi-'; it was trained on: e-, gamma", {"particle": "pi-"}),
    ],
)
def test_questions_that_are_refused(
    error: type[FastVError], words: str, asked: dict[str, Any], model: Model, file: Path
) -> None:
    with pytest.raises(error, match=words):
        retrieve(model, file, **asked)


def test_showers_and_models_that_are_refused(model: Model, showers: Showers, tmp_path: Path) -> None:
    few, output = showers[:5], tmp_path / "estimates.h5"

    def told(error: type[FastVError], words: str, one: Model, name: str, made: Showers) -> None:
        made.write(tmp_path / name)
        with pytest.raises(error, match=words):
            estimate_file(one, tmp_path / name, output)
        assert not output.exists()

    pca = build("pca", SMALL["pca"], showers.detector, model.domain)
    other = Model(pca, ModelDescription(family="pca", domain=model.domain, detector=showers.detector), "other")
    told(
        ModelError,
        "'pca' has no joint embedding of showers and conditions; families that have one: em",
        other,
        "a.h5",
        few,
    )
    told(DomainError, "outside the domain", model, "b.h5", replace(few, incident_energies=np.full(5, 5e6)))
    told(DomainError, "know the particle 'pi-'", model, "c.h5", replace(few, pdg=np.full(5, -211, np.int32)))
    told(SettingsError, "the file has no showers", model, "d.h5", showers[:0])
    blocks = tuple(block.model_copy(update={"layers": 2}) for block in few.detector.mesh.blocks)
    mesh = few.detector.mesh.model_copy(update={"blocks": blocks})
    shorter = few.detector.model_copy(update={"mesh": mesh})
    told(
        GeometryError,
        "differ in the cells",
        model,
        "e.h5",
        replace(few, detector=shorter, energies=few.energies[:, :16]),
    )
    empty = replace(few, energies=np.zeros_like(few.energies))
    assert np.isnan(estimate(model, empty).intervals["theta"].mean).all()
    empty.write(tmp_path / "f.h5")
    found = retrieve(model, tmp_path / "f.h5", energy="20GeV")
    assert (found.matches, found.size) == ((), 0)
