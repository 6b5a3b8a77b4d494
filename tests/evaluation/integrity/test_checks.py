"""All integrity checks in one call: Geant4 passes, every planted fault is found under its name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from fastv.errors import GeometryError
from fastv.evaluation.integrity.checks import Integrity, check_integrity
from fastv.sample import sample_path
from fastv.showers import Showers, ShowersFile

AGAINST_TRAINING = {
    "copies of training showers",
    "nearness to training showers",
    "generated showers in the training file",
    "reference showers in the training file",
    "reference showers like training showers",
}


@pytest.fixture(scope="module")
def passed(geant4: Showers, geant4_other: Showers) -> Integrity:
    with ShowersFile(sample_path("train")) as train:
        return check_integrity(geant4, geant4_other, train=train)


def test_geant4_passes_every_check(passed: Integrity) -> None:
    assert [f.check for f in passed.findings if f.status != "agrees"] == []
    assert passed.status == "agrees"
    assert passed.faults == ()
    assert {finding.check for finding in passed.findings} >= AGAINST_TRAINING
    assert passed.to_train is not None
    assert passed.to_reference is not None


def test_results_are_json_without_nan(passed: Integrity) -> None:
    text = json.dumps(passed.as_dict(), allow_nan=False)
    found = json.loads(text)
    assert found["status"] == "agrees"
    assert len(found["findings"]) == len(passed.findings)
    assert all(record["words"] and record["check"] for record in found["findings"])
    with pytest.raises(KeyError, match="damaged voxels"):
        passed.finding("beauty")


def test_every_planted_fault_has_its_name(geant4: Showers, geant4_other: Showers, tmp_path: Path) -> None:
    """One file with all of them, damaged voxels included: it is read, and nothing crashes."""
    with ShowersFile(sample_path("train")) as file:
        train = file[:200]
    energies, incident = geant4_other.energies.copy(), geant4_other.incident_energies.copy()
    energies[:100], incident[:100] = (
        np.roll(train.grid[:100], 3, axis=2).reshape(100, -1),
        train.incident_energies[:100],
    )
    energies[100:130] = 0
    energies[130] = energies[131]
    energies[132] = geant4.energies[7]
    energies[133] *= 3
    energies[134, 11:13] = np.inf, 0.001
    replace(geant4_other, energies=np.where(np.isfinite(energies), energies, 0), incident_energies=incident).write(
        tmp_path / "bad.h5"
    )
    with h5py.File(tmp_path / "bad.h5", "r+") as file:
        file["showers"][134, :] = energies[134]
        file["showers"][135, 4] = -1.0
        file["showers"][136, 0:2] = 0.001, 0.002
    with ShowersFile(tmp_path / "bad.h5") as bad:
        found = check_integrity(geant4, bad, train=train)
    assert found.status == "differs"
    failed = {finding.check: finding.words for finding in found.faults if finding.status == "differs"}
    assert "2 of 400 showers are damaged, the first is shower 134" in failed["damaged voxels"]
    assert "in 2 showers" in failed["energies below the readout threshold"]
    assert "30 showers of 400 are empty" in failed["empty showers"]
    assert "shower 131 is shower 130" in failed["duplicates within the generated sample"]
    assert "shower 132 is its shower 7" in failed["generated showers in the reference file"]
    assert "100 of 368 generated showers are copies" in failed["copies of training showers"]
    assert "nearness to training showers" in failed
    assert found.finding("coverage").status != "not judged"
    assert found.finding("reference showers in the training file").status == "agrees"
    json.dumps(found.as_dict(), allow_nan=False)


def test_a_reference_that_is_the_training_file(geant4: Showers, geant4_other: Showers) -> None:
    found = check_integrity(geant4, geant4_other, train=geant4)
    shared = found.finding("reference showers in the training file")
    assert shared.status == "differs"
    assert "the reference sample is the training file" in shared.words
    for check in ("copies of training showers", "nearness to training showers"):
        assert found.finding(check).status == "not judged"
        assert "no floor" in found.finding(check).words


def test_a_reference_drawn_from_training_showers(geant4: Showers, geant4_other: Showers) -> None:
    """Not bit for bit: rounded to half precision, as some other program may have written them."""
    rounded = replace(geant4, energies=geant4.energies.astype(np.float16).astype(np.float32))
    found = check_integrity(rounded, geant4_other[:150], train=geant4, most=150)
    assert found.finding("reference showers in the training file").status == "agrees"
    assert found.finding("reference showers like training showers").status == "differs"
    assert found.finding("copies of training showers").status == "not judged"


def test_few_showers_are_skipped_with_reasons(geant4: Showers, geant4_other: Showers) -> None:
    found = check_integrity(geant4[:30], geant4_other[:30])
    skipped = [finding for finding in found.findings if finding.status == "not judged"]
    assert {"copies of reference showers", "coverage", "dropped modes", "energy sums"} <= {f.check for f in skipped}
    assert all(finding.value is None and "not judged" in finding.words for finding in skipped)
    assert not {finding.check for finding in found.findings} & AGAINST_TRAINING
    nothing = check_integrity(geant4, geant4_other[:0])
    assert nothing.finding("coverage").status == "not judged"


def test_other_meshes_are_refused(geant4: Showers, irregular: Showers) -> None:
    with pytest.raises(GeometryError, match="generated sample has the mesh of irregular"):
        check_integrity(geant4, irregular)
    with pytest.raises(GeometryError, match="training file"):
        check_integrity(geant4, geant4, train=irregular)


def test_irregular_meshes(irregular: Showers) -> None:
    found = check_integrity(irregular[:150], irregular[150:])
    assert found.finding("damaged voxels").status == "agrees"
    assert found.finding("evenness in alpha").status == "agrees"
