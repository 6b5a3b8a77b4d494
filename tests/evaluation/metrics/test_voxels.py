"""Voxels in memory: their definitions, the threshold, and which showers are taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fastv.errors import FileFormatError
from fastv.evaluation.metrics import voxels as module
from fastv.evaluation.metrics.voxels import log_voxels, low_level_inputs
from fastv.showers import Showers


def test_classifier_inputs_follow_the_definition(geant4: Showers) -> None:
    few = geant4[:30]
    below = np.where(few.energies == 0, np.float32(0.99 * few.detector.threshold), few.energies)
    for showers in (few, replace(few, energies=below)):
        inputs = low_level_inputs(showers)
        assert inputs.dtype == np.float32
        np.testing.assert_allclose(10 ** inputs[:, 0].astype(float), few.incident_energies, rtol=1e-6)
        np.testing.assert_allclose(inputs[:, 1:], few.energies / few.incident_energies[:, None], rtol=1e-6)


def test_voxels_follow_the_definition(geant4: Showers) -> None:
    few = geant4[:30]
    below = np.where(few.energies == 0, np.float32(0.99 * few.detector.threshold), few.energies)
    for showers in (few, replace(few, energies=below)):
        voxels, energies = log_voxels(showers)
        np.testing.assert_allclose(10 ** voxels.astype(float), np.where(few.energies > 0, few.energies, 0.1), rtol=1e-5)
        np.testing.assert_array_equal(energies, few.incident_energies)


def test_some_showers_of_many_are_spread_over_all(irregular: Showers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RUN", 10)
    voxels, energies = log_voxels(irregular, most=50)
    assert len(voxels) == 50
    at = [int(np.flatnonzero(irregular.incident_energies == e)[0]) for e in energies]
    assert at == sorted(set(at))
    assert at[0] == 0
    assert at[-1] == 299


@pytest.mark.parametrize("read", [log_voxels, low_level_inputs])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_bad_voxels_are_refused(geant4: Showers, bad: float, read: Callable[[Showers], object]) -> None:
    energies = geant4.energies[:10].copy()
    energies[4, 17] = bad
    with pytest.raises(FileFormatError, match="showers 0 to 9"):
        read(replace(geant4[:10], energies=energies))
