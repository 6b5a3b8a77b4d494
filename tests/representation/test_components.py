"""Principal components and linear discriminants: against exact ones, and with what showers are known to differ in."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from fastv.errors import GeometryError, OutputError, SettingsError
from fastv.representation.components import components, roots
from fastv.representation.discriminants import discriminate
from fastv.sample import sample_path
from fastv.showers import Showers, ShowersFile

Make = Callable[..., Showers]


@pytest.fixture(scope="module")
def real() -> Showers:
    with ShowersFile(sample_path("train")) as file:
        return file[:300]


def test_components_are_those_of_an_exact_decomposition(make_showers: Make, tmp_path: Path) -> None:
    showers = make_showers(1500)
    showers.write(tmp_path / "showers.h5")
    # With those that are followed in addition there are as many as voxels, and nothing is cut off.
    found = components(tmp_path / "showers.h5", tmp_path / "out", n=8)
    x = roots(showers).astype(np.float64)
    _, singular, directions = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    variances = singular**2 / (len(x) - 1)
    np.testing.assert_allclose(found.shares, (variances / variances.sum())[:8], rtol=1e-3)
    cosines = np.abs((found.components * directions[:8]).sum(axis=1))
    np.testing.assert_allclose(cosines, 1, atol=1e-2)
    np.testing.assert_allclose(found.projections.var(axis=0, ddof=1), found.variances, rtol=1e-3)
    np.testing.assert_allclose(found.projections, (x - x.mean(axis=0)) @ found.components.T, atol=1e-5)
    with h5py.File(tmp_path / "out" / "components.h5") as file:
        assert file["projections"].shape == (1500, 8)
        np.testing.assert_allclose(file["components"][:], found.components)


def test_the_first_component_of_showers_is_their_depth(real: Showers, tmp_path: Path) -> None:
    real.write(tmp_path / "showers.h5")
    found = components(tmp_path / "showers.h5", tmp_path / "out", n=4)
    assert abs(found.correlations["longitudinal mean"][0]) > 0.9
    assert abs(found.correlations["log incident energy"][0]) > 0.9
    told = json.loads((tmp_path / "out" / "components.json").read_text())
    assert told["cumulative"][-1] == pytest.approx(found.shares.sum())
    pictures = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert pictures == {"components.png", "projections.png", "variance.png"}


def test_components_that_cannot_be_had(make_showers: Make, tmp_path: Path) -> None:
    showers = make_showers(10)
    showers.write(tmp_path / "showers.h5")
    with pytest.raises(SettingsError, match="11 components of 10 showers of 24 voxels cannot be had; 1 to 10"):
        components(tmp_path / "showers.h5", tmp_path / "out", n=11)
    alike = showers[np.zeros(10, dtype=np.int64)]
    alike.write(tmp_path / "alike.h5")
    with pytest.raises(SettingsError, match="all showers are alike"):
        components(tmp_path / "alike.h5", tmp_path / "out", n=2)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(OutputError, match="FastV did not write it"):
        components(tmp_path / "showers.h5", tmp_path / "mine", n=2, force=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("on", ["observables", "voxels"])
def test_files_that_differ_are_told_apart_and_halves_are_not(on: str, real: Showers, tmp_path: Path) -> None:
    first, second = real[:150], real[150:]
    first.write(tmp_path / "first.h5")
    second.write(tmp_path / "second.h5")
    replace(second, energies=second.energies * np.float32(1.3)).write(tmp_path / "more.h5")
    same = discriminate([tmp_path / "first.h5", tmp_path / "second.h5"], tmp_path / "same", on=on)  # type: ignore[arg-type]
    assert same.classes == ("first", "second")
    assert abs(same.accuracy - 0.5) < 0.1
    other = discriminate([tmp_path / "first.h5", tmp_path / "more.h5"], tmp_path / "other", on=on)  # type: ignore[arg-type]
    assert other.accuracy > 0.7
    assert other.fisher[0] > 5 * same.fisher[0]
    # Between two classes that are alike, each fold is free to find either direction.
    paths = [tmp_path / f"{name}.h5" for name in ("first", "more", "second")]
    three = discriminate(paths, tmp_path / "three", on=on)  # type: ignore[arg-type]
    apart = three.projections[three.labels == 1, 0] > three.projections[three.labels != 1, 0].mean()
    assert apart.mean() < 0.3 or apart.mean() > 0.7


def test_classes_of_particle_detector_and_energy(real: Showers, tmp_path: Path) -> None:
    # "Photons" that begin one layer later than "electrons".
    later = real.energies.copy()
    later[1::2, 144:] = later[1::2, :-144]
    labelled = replace(real, energies=later, pdg=np.where(np.arange(300) % 2, 22, 11).astype(np.int32))
    labelled.write(tmp_path / "both.h5")
    found = discriminate([tmp_path / "both.h5"], tmp_path / "particle", by="particle")
    assert found.classes == ("e-", "gamma")
    assert found.counts == (150, 150)
    assert found.accuracy > 0.8
    energies = discriminate([tmp_path / "both.h5"], tmp_path / "energy", by="energy")
    assert len(energies.classes) == 3
    assert energies.classes[0].startswith("1.0")
    assert energies.projections.shape == (300, 2)
    assert not any("E_inc" in name for name in energies.loadings)
    named = real.detector.model_copy(update={"name": "other"})
    replace(real, detector=named).write(tmp_path / "named.h5")
    detectors = discriminate([tmp_path / "both.h5", tmp_path / "named.h5"], tmp_path / "detector", by="detector")
    assert detectors.classes == ("par04-siw", "other")


def test_classes_that_there_are_not(real: Showers, make_showers: Make, tmp_path: Path) -> None:
    real.write(tmp_path / "real.h5")
    real[:10].write(tmp_path / "few.h5")
    make_showers(50).write(tmp_path / "tiny.h5")
    out = tmp_path / "out"
    for files, by, error, words in (
        (["real"], "file", SettingsError, "by file there is one, real"),
        (["real"], "detector", SettingsError, "by detector there is one, par04-siw"),
        (["real"], "particle", SettingsError, "does not tell the particle"),
        (["real"], "angle", SettingsError, "unknown class 'angle'"),
        (["real", "few"], "file", SettingsError, "the class 'few' has 10 showers; at least 20"),
        (["real", "tiny"], "file", GeometryError, "differ in the cells"),
    ):
        with pytest.raises(error, match=words):
            discriminate([tmp_path / f"{name}.h5" for name in files], out, by=by)  # type: ignore[arg-type]
    assert not out.exists()
