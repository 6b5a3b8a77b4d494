"""Measure a trained model and copy it to the shipped models, with the measurements in its ``model.json``.

    python benchmarks/ship_model.py MODEL_DIR -o src/fastv/weights/par04-siw [--repeat 10]
        [--scale judge.h5 floor.h5 10000 ...]

Quality: compared with the shipped test sample, with ``--repeat`` generated showers for each of its showers; and, for
each ``--scale``, the complete evaluation of as many showers, one generated for each of the reference, with a second
sample of Geant4 for the floor of the same size; several files of a sample are joined by commas. The model must not have
seen the reference; the floor may be training showers, for the model is not compared with it. Speed: onnxruntime, one
thread at batch 1 and two threads at batch 1000.
``--again quality scale speed`` measures only these and keeps the other figures of the model, if the output is the same
one and has them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from fastv.bench import bench
from fastv.evaluation import evaluate
from fastv.evaluation.result import Evaluation
from fastv.export import export
from fastv.model import DESCRIPTION, Model, load, read_description
from fastv.sample import sample_path
from fastv.showers import ShowersFile, joined
from fastv.training.working_folder import LOG

PARTS = ("quality", "scale", "speed")
KEPT = {"status", "unit", "value", "where", "target", "floor"}
"""What is kept of a line of the verdict."""


def quality(model: Model, repeat: int, folder: Path) -> dict[str, Any]:
    """The lines of the targets: worst deviation, its place, the floor, the status.

    Nothing for a model that does not know all energies of the shipped test sample.
    """
    test = sample_path("test")
    with ShowersFile(test) as file:
        energies = file.incident_energies[:]
    low, high = model.domain.energy
    if energies.min() < low * (1 - 1e-6) or energies.max() > high * (1 + 1e-6):
        return {}
    with ShowersFile(test) as file:
        n = repeat * len(file)
    generated = folder / "generated.h5"
    model.generate_file(generated, like=test, n=n, seed=1, force=True)
    return _targets(evaluate(test, generated, quick=True))


def _targets(evaluation: Evaluation) -> dict[str, Any]:
    return {line.question: line.model_dump(mode="json", include=KEPT) for line in evaluation.verdict.targets}


def at_scale(model: Model, reference: Path, floor: Path, n: int, folder: Path) -> dict[str, Any]:
    """Targets, trees and FPD of ``n`` showers of each, and of Geant4 against Geant4."""
    generated = folder / "generated.h5"
    model.generate_file(generated, like=reference, n=n, seed=2, force=True)
    found = evaluate(reference, generated, floor=floor, showers=n)
    metrics, of_floor = found.metrics, found.metrics_floor
    assert metrics is not None
    assert of_floor is not None
    assert metrics.boosted is not None
    assert of_floor.boosted is not None
    assert metrics.fpd is not None
    assert of_floor.fpd is not None
    assert metrics.prdc is not None
    assert of_floor.prdc is not None
    assert found.integrity is not None
    outliers = found.integrity.finding("outlying showers")
    provenance = found.reference.provenance
    return {
        "showers": [metrics.boosted.showers_reference, metrics.boosted.showers_generated],
        "showers of the floor": of_floor.boosted.showers_generated,
        "detector": found.reference.detector,
        "energy": [found.reference.lowest_energy, found.reference.highest_energy],
        "seed of the reference": provenance.get("seed"),
        "targets": _targets(found),
        "AUC": {
            "value": _pair(metrics.boosted.auc),
            "floor": _pair(of_floor.boosted.auc),
            "groups": {each.group: _pair(each.auc) for each in metrics.boosted.groups},
            "expected": {each.showers: _pair(each.auc) for each in metrics.boosted.growth.expected},
        },
        "FPD x 1000": {
            "value": [1000 * each for each in _pair(metrics.fpd.fpd)],
            "floor": [1000 * each for each in _pair(of_floor.fpd.fpd)],
        },
        "outlying showers": outliers.model_dump(mode="json", include={"value", "floor", "far", "status"}),
        "comparisons that differ": [len(found.physics.standing_out), len(found.physics.made)],
        "coverage": {"value": _pair(metrics.prdc.coverage), "floor": _pair(of_floor.prdc.coverage)},
    }


def _pair(value: Any) -> list[float]:
    return [value.value, value.error]


def speed(model: Model, folder: Path) -> dict[str, Any]:
    """Timings at batch 1 on one thread and batch 1000 on two."""
    graph = folder / "model.onnx"
    export(model, graph)
    one, two = bench(graph, batch=[1], threads=1), bench(graph, batch=[1000], threads=2)
    if not (one["quiet"] and two["quiet"]):
        sys.exit("the machine was not quiet, and its times are not those of the model; repeat when it is idle")
    return {
        "processor": one["processor"],
        "batch 1, one thread": {"ms per shower": one["timings"][0]["ms_per_shower_median"]},
        "batch 1000, two threads": {"showers per second": two["timings"][0]["showers_per_second"]},
    }


def sample_of(files: str, folder: Path) -> Path:
    """One file of all showers of a sample, whose files are joined by commas."""
    first, *others = (Path(name) for name in files.split(","))
    if not others:
        return first
    parts = []
    for path in (first, *others):
        with ShowersFile(path) as file:
            parts.append(file[:])
    output = Path(tempfile.mkdtemp(dir=folder)) / first.name
    joined(parts).write(output)
    return output


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--scale", nargs=3, action="append", default=[], metavar=("REFERENCE", "FLOOR", "N"))
    parser.add_argument("--again", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    model = load(options.model)
    measured = dict(model.description.measured)
    if (options.output / DESCRIPTION).exists():
        shipped = read_description(options.output)
        if shipped.weights_sha256 == model.description.weights_sha256:
            measured |= shipped.measured
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "quality" in options.again:
            measured["quality"] = quality(model, options.repeat, folder)
            measured["repeat"] = options.repeat
        if options.scale and "scale" in options.again:
            measured["scale"] = [
                at_scale(model, sample_of(reference, folder), sample_of(floor, folder), int(n), folder)
                for reference, floor, n in options.scale
            ]
        if "speed" in options.again:
            measured["speed"] = speed(model, folder)
    model.description = model.description.model_copy(update={"measured": measured})
    log = (options.model / LOG).read_bytes()
    model.save(options.output, force=True, files={LOG: log})
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
