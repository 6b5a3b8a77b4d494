"""A reference among the training showers: found by its rows or by digests, told, and then quality is not judged."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from fastv.evaluation import evaluate, evaluator, floor
from fastv.evaluation.integrity.overlap import overlap_by_digest
from fastv.evaluation.metrics.measure import Metrics
from fastv.evaluation.ranking import compare_generators
from fastv.evaluation.report.markdown import markdown
from fastv.showers import Showers


def test_a_reference_that_shares_rows_with_the_training_file_is_told_and_not_judged(
    geant4: Showers, geant4_other: Showers
) -> None:
    """Ten showers of four hundred; also in a quick evaluation, which reads the training file for this only."""
    rows = np.arange(400)
    rows[:10] += 400
    both = Showers(
        np.concatenate([geant4.incident_energies, geant4_other.incident_energies]),
        np.concatenate([geant4.energies, geant4_other.energies]),
        geant4.detector,
    )
    found = evaluate(both[rows], geant4, train=geant4_other, quick=True)
    verdict = found.verdict
    assert verdict.status == "not judged"
    assert "10 of 400 reference showers are in the training file" in verdict.overlap
    assert verdict.overlap in verdict.words
    assert verdict.overlap in markdown(found, "Title")
    assert {line.status for line in verdict.lines if line.kind != "integrity"} == {"not judged"}
    assert "trained on" in verdict["response"].words
    assert not found.passed
    assert evaluate(geant4, both[:400], train=geant4_other, quick=True).verdict.overlap == ""


def test_faults_that_do_not_depend_on_the_reference_are_still_faults(geant4: Showers, geant4_other: Showers) -> None:
    damaged = replace(geant4_other, energies=geant4_other.energies.copy())
    damaged.energies[3, 5] = -1
    verdict = evaluate(geant4, damaged, train=geant4, quick=True).verdict
    assert verdict.status == "differs"
    assert "the reference sample is the training file" in verdict.words
    assert "unphysical showers" in verdict.words
    assert verdict["response"].status == "not judged"


def test_a_whole_evaluation_judges_neither_metrics_nor_blames_the_sample(
    geant4: Showers, geant4_other: Showers, monkeypatch: pytest.MonkeyPatch
) -> None:
    skipped = Metrics(skipped={"boosted": "no time"})
    for module in (evaluator, floor):
        monkeypatch.setattr(module, "measure", lambda *_, **__: skipped)
    found = evaluate(geant4[:150], geant4_other[:150], train=geant4[100:300])
    assert "50 of 150 reference showers" in found.verdict.overlap
    assert {line.status for line in found.verdict.lines if line.kind != "integrity"} == {"not judged"}
    assert found.integrity is not None
    assert not [each for each in found.integrity.faults if "reference showers in" in each.check]
    assert found.as_dict()["verdict"]["overlap"] == found.verdict.overlap


@pytest.mark.parametrize("key", ["training_files_sha256", "training_data_sha256"])
def test_a_reference_file_that_the_provenance_names_is_told(
    key: str, geant4: Showers, geant4_other: Showers, tmp_path: Path
) -> None:
    """Without a training file: the generated file says on which files its model was trained."""
    geant4.write(tmp_path / "reference.h5")
    digest = hashlib.sha256((tmp_path / "reference.h5").read_bytes())
    told = [digest.hexdigest()] if key == "training_files_sha256" else hashlib.sha256(digest.digest()).hexdigest()
    generated = replace(geant4_other, provenance={"model": "m", key: told})
    found = evaluate(tmp_path / "reference.h5", generated, quick=True)
    assert "equal SHA-256" in found.verdict.overlap
    assert found.verdict.status == "not judged"
    with h5py.File(tmp_path / "reference.h5", "r+") as file:
        file.attrs["other"] = 1
    assert evaluate(tmp_path / "reference.h5", generated, quick=True).verdict.overlap == ""
    ranking = compare_generators(geant4, {"a": generated, "b": geant4_other}, quick=True)
    assert all(each.verdict.overlap == "" for each in ranking.evaluations.values())


@pytest.mark.parametrize("strange", [None, 5, "ab", {"ab": 1}, [["ab"]]])
def test_any_content_of_a_provenance_is_survived(strange: object) -> None:
    provenance = {"training_files_sha256": strange, "training_data_sha256": strange}
    assert overlap_by_digest(provenance, "ab" * 32) == ""
    assert overlap_by_digest(provenance, None) == ""
