"""``evaluate``: verdict, floor, warnings, and one clear line for what cannot be evaluated."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from fastv._version import __version__
from fastv.detector.detector import Detector
from fastv.errors import FileFormatError, GeometryError, OutputError, SettingsError
from fastv.evaluation import evaluate, evaluator, floor
from fastv.evaluation.floor import QUICK, ReferenceAndFloor, half_rows, halves
from fastv.evaluation.metrics.classifier_records import classifier_settings
from fastv.evaluation.observables.observe import observe
from fastv.evaluation.observables.streaming import Reading
from fastv.evaluation.physics.comparisons import compare_physics
from fastv.evaluation.ranking import compare_generators
from fastv.evaluation.report import plots, reproduction
from fastv.sample import sample_path
from fastv.showers import Showers, ShowersFile

quick = partial(evaluate, quick=True)


def test_identical_samples_pass(geant4: Showers) -> None:
    evaluation = quick(geant4, geant4)
    assert all(line.value and line.value.value == 0 for line in evaluation.verdict.targets)
    # 400 showers are too few for the targets of some layers, even without any difference.
    undecided = [line for line in evaluation.verdict.targets if line.status != "agrees"]
    assert not evaluation.passed
    assert [line.status for line in undecided] == ["undecided"] * len(undecided)
    assert all("larger than the target" in line.words for line in undecided)


def test_geant4_never_fails_against_itself(geant4: Showers, geant4_other: Showers) -> None:
    evaluation = quick(geant4, geant4_other)
    assert all(line.status != "differs" for line in evaluation.verdict.lines)


def test_scaled_energies_miss_their_target(geant4: Showers) -> None:
    evaluation = quick(geant4, replace(geant4, energies=geant4.energies * np.float32(1.03)))
    verdict = evaluation.verdict
    assert verdict["response"].status == "differs"
    assert verdict["resolution, std/mean"].status == "agrees"
    assert verdict["sparsity"].status == "agrees"
    assert not evaluation.passed


def test_broken_layer_misses_its_target_and_is_named(geant4: Showers) -> None:
    grid = geant4.grid.copy()
    grid[:, 10] *= 1.2
    evaluation = quick(geant4, replace(geant4, energies=grid.reshape(len(grid), -1)))
    line = evaluation.verdict["layer energies"]
    assert (line.status, line.where) == ("differs", "layer 10")
    assert line.value is not None
    assert line.value.value == pytest.approx(0.2, abs=0.003)


def test_floor_of_halves_matches_energies(geant4: Showers) -> None:
    first, second = halves(observe(geant4))
    assert len(first) == len(second) == 200
    energies = [np.sort(half.incident_energies) for half in (first, second)]
    assert np.abs(np.log(energies[0] / energies[1])).max() < 0.2
    assert abs(np.mean(np.log(energies[0] / energies[1]))) < 5e-3
    both = np.sort(np.concatenate(energies))
    np.testing.assert_array_equal(both, np.sort(geant4.incident_energies))


def test_floor_sample_is_used_and_named(geant4: Showers, geant4_other: Showers, tmp_path: Path) -> None:
    geant4_other.write(tmp_path / "second.h5")
    evaluation = quick(geant4, geant4, floor=tmp_path / "second.h5")
    assert evaluation.physics_floor.showers_generated == len(geant4_other)
    assert "second.h5, 400 showers" in evaluation.floor_samples
    # One function makes both: the floor is what the second sample would get as a generated one.
    observables = [
        observe(sample, voxel_edges=evaluation.reference_observables.voxel_edges) for sample in (geant4, geant4_other)
    ]
    assert evaluation.physics_floor == compare_physics(*observables, edges=evaluation.edges, only=QUICK)


def test_floor_is_not_the_sample(geant4: Showers) -> None:
    """A bad sample moves its own figures and leaves the floor."""
    good = quick(geant4, geant4)
    bad = quick(geant4, replace(geant4, energies=geant4.energies * np.float32(1.2)))
    assert good.physics_floor == bad.physics_floor
    assert good.physics != bad.physics


def test_different_incident_energies_are_a_warning(geant4: Showers) -> None:
    high = geant4[geant4.incident_energies > 2e4]
    evaluation = quick(geant4, high)
    assert any(
        "incident energies differ" in warning and "energies of the reference" in warning
        for warning in evaluation.warnings
    )
    # As many showers as the reference has, none of them at low energies: bins that could be filled are not.
    many = quick(geant4, geant4[np.tile(np.flatnonzero(geant4.incident_energies > 2e4), 2)])
    assert any("not judged" in warning and "100 of each" in warning for warning in many.warnings)
    outside = quick(high, geant4)
    assert any("outside" in warning for warning in outside.warnings)
    assert not any("incident energies" in warning for warning in quick(geant4[:200], geant4[:200]).warnings)


def test_the_first_showers_of_each_file_are_those_alone(geant4: Showers, geant4_other: Showers, tmp_path: Path) -> None:
    """Of files, of showers in memory, and of the second sample of the floor, which may be smaller."""
    for name, sample in (("reference", geant4), ("generated", geant4_other)):
        sample.write(tmp_path / f"{name}.h5")
    files = tmp_path / "reference.h5", tmp_path / "generated.h5"
    found = quick(*files, showers=150, floor=files[1])
    wanted = quick(geant4[:150], geant4_other[:150], floor=geant4_other[:150])
    assert found.physics == wanted.physics == quick(geant4, geant4_other, showers=150).physics
    assert found.physics_floor == wanted.physics_floor
    assert quick(*files, showers=150, floor=geant4[:120]).physics_floor.showers_generated == 120
    assert found.generated.size == "150 showers, the first of 400"
    assert found.verdict.words.startswith("On 150 showers of each: ")
    assert "--showers 150" in reproduction.command(found)
    assert found.warnings == wanted.warnings


@pytest.mark.parametrize(
    ("showers", "words"),
    [
        (401, r"`showers=401`: there are fewer showers \(reference 400\); ask for at most 400"),
        (501, r"\(reference 400, generated 500\); ask for at most 400"),
        (99, r"`showers=99`: at least 100 of each"),
        (-5, r"`showers=-5`: at least 100 of each"),
    ],
)
def test_more_showers_than_there_are_is_one_line(
    showers: int, words: str, geant4: Showers, geant4_other: Showers
) -> None:
    with pytest.raises(SettingsError, match=words):
        quick(geant4, geant4_other[np.arange(500) % 400], showers=showers)
    with pytest.raises(SettingsError, match="`showers="):
        compare_generators(geant4, {"a": geant4_other, "b": geant4_other}, quick=True, showers=showers)


def test_the_first_showers_of_a_sorted_file_are_told(geant4: Showers, tmp_path: Path) -> None:
    geant4[np.argsort(geant4.incident_energies)].write(tmp_path / "sorted.h5")
    geant4.write(tmp_path / "random.h5")
    told = quick(tmp_path / "sorted.h5", tmp_path / "random.h5", showers=200).warnings
    assert [each for each in told if "first 200 of 400 reference showers" in each and "sorted" in each]
    assert not [each for each in told if "generated showers have other" in each]


def test_a_sample_of_another_version_is_told(geant4: Showers, geant4_other: Showers) -> None:
    def told(**provenance: str) -> list[str]:
        warnings = quick(geant4, replace(geant4_other, provenance=provenance)).warnings
        return [each for each in warnings if "this is FastV" in each]

    assert len(told(engine="FastV 0.0.1", model="m")) == 1
    assert told(engine=f"FastV {__version__}", model="m") == told(engine="Geant4 11.4.0") == []
    assert told(engine=f"FastV {__version__}, with Geant4 through calzone", model="m") == []
    assert len(told(engine=f"FastV {__version__}1, with Geant4 through calzone", model="m")) == 1


def test_json_has_no_nan(geant4: Showers) -> None:
    grid = geant4.grid.copy()
    grid[:, 30:] = 0
    evaluation = quick(replace(geant4, energies=grid.reshape(len(grid), -1)), geant4)
    text = json.dumps(evaluation.as_dict(), allow_nan=False)
    layer = json.loads(text)["physics"]["comparisons"]["layer energies"]["differences"][40]
    assert (layer["where"], layer["difference"]["value"]) == ("layer 40", None)


def test_irregular_mesh(irregular: Showers) -> None:
    evaluation = quick(irregular, irregular)
    assert evaluation.verdict.status in ("agrees", "undecided")


def test_nothing_generated(geant4: Showers) -> None:
    evaluation = quick(geant4, replace(geant4, energies=np.zeros_like(geant4.energies)))
    verdict = evaluation.verdict
    for question in ("response", "layer energies", "voxel spectrum", "sparsity"):
        assert verdict[question].status == "differs", question
    assert verdict["resolution, std/mean"].status == "not judged"
    json.dumps(evaluation.as_dict(), allow_nan=False)


def test_too_few_showers(geant4: Showers) -> None:
    with pytest.raises(FileFormatError, match="generated sample has 99 showers; at least 100"):
        quick(geant4, geant4[:99])


def test_other_mesh(geant4: Showers, irregular: Showers) -> None:
    with pytest.raises(GeometryError, match="generated sample has the mesh of irregular"):
        quick(geant4, irregular)
    with pytest.raises(GeometryError, match="floor sample"):
        quick(geant4, geant4, floor=irregular)


@pytest.mark.parametrize("quantity", ["energy_scale", "readout_threshold"])
def test_other_scale_or_threshold(geant4: Showers, quantity: str) -> None:
    detector = geant4.detector.model_copy(update={quantity: 1.1 * getattr(geant4.detector, quantity)})
    with pytest.raises(GeometryError, match=quantity):
        quick(geant4, replace(geant4, detector=detector))


def test_missing_file(geant4: Showers, tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="no such file"):
        quick(geant4, tmp_path / "nothing.h5")


def test_existing_output_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="exists already"):
        quick("nothing.h5", "nothing.h5", tmp_path)


def test_preset_names_the_mesh_of_plain_files(geant4: Showers, tmp_path: Path) -> None:
    geant4 = geant4[:150]
    geant4.write(tmp_path / "plain.h5")
    with h5py.File(tmp_path / "plain.h5", "r+") as file:
        del file.attrs["fastv"]
    with pytest.raises(GeometryError, match="`mesh`"):
        quick(geant4, tmp_path / "plain.h5")
    for mesh in ("par04-siw", Detector.preset("par04-siw")):
        assert quick(geant4, tmp_path / "plain.h5", mesh=mesh).verdict.status != "differs"


@pytest.mark.parametrize("further", [(), ("floor", "train")])
def test_every_shower_is_read_once(
    geant4: Showers,
    geant4_other: Showers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    further: tuple[str, ...],
) -> None:
    """By observables, metrics and checks together, the first look included; the report looks up four to show them."""
    samples = {"reference": geant4[:200], "generated": geant4_other[:180], "floor": geant4[200:], "train": geant4_other}
    paths = {name: tmp_path / f"{name}.h5" for name in ("reference", "generated", *further)}
    for name, path in paths.items():
        samples[name].write(path)
    reads = {name: np.zeros(len(samples[name]), dtype=int) for name in paths}
    original = ShowersFile._read

    def counting(file: ShowersFile, name: str, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        if name == "showers":
            reads[file.path.stem][rows] += 1
        return original(file, name, rows)

    monkeypatch.setattr(ShowersFile, "_read", counting)
    monkeypatch.setattr(plots, "PLOTS", plots.PLOTS[:2])  # none of which reads showers
    options = {name: paths[name] for name in further}
    output = None if further else tmp_path / "report"
    looks: list[str] = []
    evaluate(paths["reference"], paths["generated"], output, **options, announce=looks.append)
    assert len(looks) == 1
    for count in reads.values():
        assert count.min() == 1
        assert (count > 1).sum() <= (4 if output else 0)


def test_classifiers_of_halves_take_what_was_read(geant4: Showers, monkeypatch: pytest.MonkeyPatch) -> None:
    """The voxels of a small reference are in memory; those of a large one are read again for its halves."""
    tiny = classifier_settings(["trainings=1", "epochs=1", "width=4", "cnn_widths=[1, 1, 1, 1]", "device=cpu"])
    against = ReferenceAndFloor(Reading(geant4[:300]), classifiers=tiny)
    first, _ = half_rows(against.observables)
    held = against._showers(first).showers
    monkeypatch.setattr(floor, "MOST_VOXELS", 250)
    monkeypatch.setattr(floor, "MOST_NEIGHBOURS", 250)
    few = ReferenceAndFloor(Reading(geant4[:300]), classifiers=tiny)
    assert few.reference.voxels is not None
    assert len(few.reference.voxels.rows) == 250
    np.testing.assert_array_equal(few._showers(first).showers.energies, held.energies)
    np.testing.assert_array_equal(held.energies, geant4.energies[first])


def test_damaged_showers_are_counted_and_left_out(geant4: Showers, geant4_other: Showers, tmp_path: Path) -> None:
    bad = [3, 7, 399]
    geant4_other.write(tmp_path / "bad.h5")
    with h5py.File(tmp_path / "bad.h5", "r+") as file:
        file["showers"][3, 100] = np.nan
        file["showers"][7, 5] = -1.0
        file["showers"][399, 0] = np.inf
    others = np.delete(np.arange(400), bad)
    damaged, whole = quick(geant4, tmp_path / "bad.h5"), quick(geant4, geant4_other[others])
    assert damaged.physics == whole.physics
    assert "3 of 400 generated showers are damaged" in damaged.warnings[0]
    assert damaged.generated.showers == 400
    with pytest.raises(FileFormatError, match=r"bad\.h5: voxel 100 of shower 3 is nan"):
        quick(tmp_path / "bad.h5", geant4)
    against = ReferenceAndFloor(Reading(geant4))
    collected = against.collect(Reading(geant4_other))
    with ShowersFile(tmp_path / "bad.h5") as file:
        found = against.collect(reading := Reading(file))
        shown, _ = evaluator._undamaged(reading)
    assert reading.damaged.tolist() == bad
    np.testing.assert_array_equal(shown.incident_energies, geant4_other.incident_energies[others])
    for sample, rows in ((collected, np.arange(400)), (found, others)):
        assert sample.contents is not None
        assert sample.voxels is not None
        np.testing.assert_array_equal(sample.voxels.rows, rows)
        np.testing.assert_array_equal(sample.contents.shapes.rows, rows)
        assert len(sample.contents.scan) == 400
        assert len(sample.contents.harmonics) == len(rows)


def test_the_reproducing_command_has_every_option(geant4: Showers, geant4_other: Showers) -> None:
    evaluation = evaluate(geant4[:200], geant4[200:], floor=geant4_other[:200], quick=True)
    command = reproduction.command(evaluation)
    assert command.endswith("--floor 'showers in memory' --quick")
    settings = classifier_settings(["trainings=2", "device=cpu", "cnn_widths=[4, 8, 8, 8]"])
    options = evaluator._options(None, settings, 5, None, quick=False)
    assert "--energy-bins 5" in reproduction.command(replace(evaluation, options=options))
    *_, flag, trainings, device, widths = shlex.split(reproduction.command(replace(evaluation, options=options)))
    assert flag == "--classifiers"
    assert classifier_settings([trainings, device, widths]) == settings


@pytest.mark.parametrize("whose", ["generated", "reference"])
def test_gev_for_mev_is_told(geant4: Showers, whose: str) -> None:
    low = geant4[geant4.incident_energies > 3e3]
    gev = replace(low, incident_energies=low.incident_energies / 1e3, energies=low.energies / np.float32(1e3))
    samples = (low, gev) if whose == "generated" else (gev, low)
    who = "the generated sample" if whose == "generated" else "the reference"
    with pytest.raises(FileFormatError, match=rf"no energy in common.*looks as if {who} is in GeV.*convert") as told:
        quick(*samples)
    assert "\n" not in str(told.value)
    with pytest.raises(FileFormatError, match="the other unit sample has incident energies"):
        compare_generators(samples[0], {"same unit": samples[0], "other unit": samples[1]}, quick=True)


def test_other_energies_are_told_without_a_guess(make_showers: Callable[..., Showers]) -> None:
    ten, thirty = (make_showers(150, incident_energies=np.full(150, energy)) for energy in (1e4, 3e4))
    with pytest.raises(FileFormatError, match="energies of 30 GeV, the reference of 10 GeV; they have no") as told:
        quick(ten, thirty)
    assert "it looks as if" not in str(told.value)


def test_energies_partly_in_common_are_compared_with_a_warning(make_showers: Callable[..., Showers]) -> None:
    reference, low = make_showers(400), make_showers(400, seed=1)
    found = quick(reference, replace(low, incident_energies=low.incident_energies / 300))
    assert any("outside the reference's range" in warning for warning in found.warnings)


def test_discrete_energies_are_judged_one_by_one(make_showers: Callable[..., Showers]) -> None:
    energies = np.repeat([1e3, 2e3, 1e5], 120)
    samples = [make_showers(360, seed=seed, incident_energies=energies) for seed in (1, 2)]
    places = quick(*samples).physics["response"].differences
    assert [each.where for each in places] == ["1 GeV", "2 GeV", "100 GeV"]
    assert [(each.low or 0) * (each.high or 0) for each in places] == pytest.approx([1e6, 4e6, 1e10])


@pytest.mark.parametrize(("asked", "expected"), [(None, 7), (3, 3), (1, 1), (50, 7)])
def test_bins_as_asked_or_as_the_samples_allow(
    make_showers: Callable[..., Showers], asked: int | None, expected: int
) -> None:
    samples = make_showers(1000, seed=1), make_showers(1000, seed=2)
    found = quick(*samples, energy_bins=asked).physics["response"]
    assert abs(len(found.differences) - expected) <= (1 if asked in (None, 50) else 0)


def test_no_bin_at_all_is_refused(geant4: Showers) -> None:
    with pytest.raises(SettingsError, match="`energy_bins=0`: at least 1"):
        quick(geant4, geant4, energy_bins=0)


def test_errors_above_the_target_leave_it_undecided(geant4: Showers, geant4_other: Showers) -> None:
    """150 showers know the resolution to 30 %: within a target of 15 % by chance is no agreement."""
    for line in quick(geant4[:150], geant4_other[:150]).verdict.targets:
        found = line.value
        assert found is None or line.status != "agrees" or found.error <= (line.target or 0), line.question
    few = quick(geant4[:150], geant4[:150]).verdict["resolution, std/mean"]
    assert few.value is not None
    assert few.value.value == 0
    assert few.status == "undecided"
    assert "larger than the target" in few.words


def test_incident_energies_in_gev_are_told() -> None:
    with ShowersFile(sample_path("test")) as file:
        showers = file[:300]
    wrong = replace(showers, incident_energies=showers.incident_energies / 1000)
    told = evaluate(wrong, wrong, quick=True).warnings
    assert any(words.startswith("reference: voxel energies add up to 9") for words in told)
    assert any(words.startswith("generated sample: voxel energies add up to 9") for words in told)
    assert not any("add up to" in words for words in evaluate(showers, showers, quick=True).warnings)
