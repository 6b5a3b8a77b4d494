"""What no detector could have measured is counted and named; full simulation passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fastv.evaluation.integrity.limits import (
    below_threshold,
    damaged_voxels,
    empty_showers,
    energy_sums,
    incident_energies,
)
from fastv.evaluation.integrity.unchecked import UncheckedScan, scan
from fastv.showers import Showers

Make = Callable[..., Showers]


@pytest.fixture(scope="module")
def reference(geant4: Showers) -> UncheckedScan:
    return scan(geant4)


def changed(showers: Showers, change: Callable[[np.ndarray], None]) -> UncheckedScan:
    energies = showers.energies.copy()
    change(energies)
    return scan(replace(showers, energies=energies))


def test_geant4_passes(reference: UncheckedScan, geant4_other: Showers) -> None:
    other = scan(geant4_other)
    findings = [
        damaged_voxels(other, reference),
        below_threshold(other, reference),
        empty_showers(other, reference),
        energy_sums(other, reference),
        incident_energies(other, reference),
    ]
    assert [finding.status for finding in findings] == ["agrees"] * 5


def test_damage_is_counted(reference: UncheckedScan, geant4_other: Showers) -> None:
    def damage(energies: np.ndarray) -> None:
        energies[10, :3] = np.nan
        energies[20, 5] = np.inf
        energies[20, 6:8] = -1

    found = damaged_voxels(changed(geant4_other, damage), reference)
    assert (found.status, found.value, found.first) == ("differs", 2, 10)
    assert (found.not_finite_voxels, found.negative_voxels) == (4, 2)
    assert "4 voxels are NaN or infinite, 2 voxels are negative" in found.words


def test_bad_incident_energies_are_counted(make_showers: Make) -> None:
    incident = make_showers(20).incident_energies.copy()
    incident[[4, 9]] = np.nan, 0
    found = damaged_voxels(scan(make_showers(20, incident_energies=incident)))
    assert (found.bad_incident_energies, found.first) == (2, 4)
    assert "2 incident energies are not finite and positive" in found.words


def test_a_threshold_that_was_not_applied(reference: UncheckedScan, geant4: Showers, geant4_other: Showers) -> None:
    def fill(energies: np.ndarray) -> None:
        energies[:, :10][energies[:, :10] == 0] = 0.001

    bad = changed(geant4_other, fill)
    assert below_threshold(bad, reference).status == "differs"
    assert "in 400 showers" in below_threshold(bad, reference).words
    assert below_threshold(bad, changed(geant4, fill)).status == "undecided"


def test_no_threshold_is_a_reason_to_skip(make_showers: Make) -> None:
    detector = make_showers(5).detector.model_copy(update={"readout_threshold": 0.0})
    found = scan(make_showers(5, detector=detector))
    assert below_threshold(found, found).status == "not judged"


def test_empty_showers_beyond_chance(reference: UncheckedScan, geant4_other: Showers) -> None:
    def empty(n: int) -> Callable[[np.ndarray], None]:
        return lambda energies: energies[:n].__setitem__(slice(None), 0)

    many, one = (empty_showers(changed(geant4_other, empty(n)), reference) for n in (30, 1))
    assert (many.status, many.showers) == ("differs", 30)
    assert "30 showers of 400 are empty" in many.words
    assert one.status == "agrees"


@pytest.mark.parametrize("factor", [1.5, 40.0])
def test_one_shower_with_too_much_energy(reference: UncheckedScan, geant4_other: Showers, factor: float) -> None:
    row = int(np.argsort(geant4_other.incident_energies)[-5])
    found = energy_sums(changed(geant4_other, lambda energies: energies[row].__imul__(factor)), reference)
    assert (found.status, found.extreme_shower, found.far) == ("differs", row, 1)
    fraction = geant4_other.energies[row].sum() / geant4_other.incident_energies[row]
    assert found.extreme == pytest.approx(factor * fraction)
    # 0.033 x 40 x 0.95 > 1: more is seen than came in.
    assert found.impossible == (factor == 40)
    assert f"shower {row}" in found.words


def test_many_showers_with_slightly_too_much(reference: UncheckedScan, geant4_other: Showers) -> None:
    found = energy_sums(changed(geant4_other, lambda energies: energies.__imul__(1.15)), reference)
    assert found.status == "differs"
    assert found.p_value is not None
    assert found.p_value < 1e-6
    assert found.above > 100


def test_rare_losses_are_allowed(reference: UncheckedScan, geant4_other: Showers) -> None:
    """A shower may lose its energy in a nuclear reaction, out of the reference's range, once in a while."""
    found = energy_sums(changed(geant4_other, lambda energies: energies[17].__imul__(0.5)), reference)
    assert found.status == "agrees"
    assert found.below >= 1
    assert found.extreme_shower == 17


def test_showers_of_other_energies_are_left_out(reference: UncheckedScan, geant4_other: Showers) -> None:
    incident = geant4_other.incident_energies * 1e-3
    found = energy_sums(scan(replace(geant4_other, incident_energies=incident)), reference)
    assert found.status == "not judged"
    assert "100 showers of each sample are needed" in found.words


def test_other_incident_energies_are_said(reference: UncheckedScan, geant4_other: Showers) -> None:
    high = geant4_other[geant4_other.incident_energies > 2e4]
    found = incident_energies(scan(high), reference)
    assert found.status == "undecided"
    assert "incident energies of the reference" in found.words
    assert incident_energies(scan(high[:50]), reference).status == "not judged"
