"""Measure a trained model and copy it to the shipped models, with the measurements in its ``model.json``.

    python benchmarks/ship_model.py MODEL_DIR -o src/fastv/weights/par04-siw [--repeat 10]

Quality: compared with the shipped test sample, with ``--repeat`` generated showers for each of its showers. Speed:
onnxruntime, one thread at batch 1 and two threads at batch 1000.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from fastv.bench import bench
from fastv.evaluation import evaluate
from fastv.export import export
from fastv.model import Model, load
from fastv.sample import sample_path
from fastv.showers import ShowersFile
from fastv.training.working_folder import LOG


def quality(model: Model, repeat: int, folder: Path) -> dict[str, Any]:
    """The lines of the targets: worst deviation, its place, the floor, the status."""
    test = sample_path("test")
    with ShowersFile(test) as file:
        n = repeat * len(file)
    generated = folder / "generated.h5"
    model.generate_file(generated, like=test, n=n, seed=1)
    evaluation = evaluate(test, generated, quick=True)
    kept = {"status", "unit", "value", "where", "target", "floor"}
    return {line.question: line.model_dump(mode="json", include=kept) for line in evaluation.verdict.targets}


def speed(model: Model, folder: Path) -> dict[str, Any]:
    """Timings at batch 1 on one thread and batch 1000 on two."""
    graph = folder / "model.onnx"
    export(model, graph)
    one, two = bench(graph, batch=[1], threads=1), bench(graph, batch=[1000], threads=2)
    return {
        "processor": one["processor"],
        "batch 1, one thread": {"ms per shower": one["timings"][0]["ms_per_shower_median"]},
        "batch 1000, two threads": {"showers per second": two["timings"][0]["showers_per_second"]},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--repeat", type=int, default=10)
    options = parser.parse_args()
    model = load(options.model)
    with tempfile.TemporaryDirectory() as folder:
        measured = {"quality": quality(model, options.repeat, Path(folder)), "speed": speed(model, Path(folder))}
    model.description = model.description.model_copy(update={"measured": measured})
    log = (options.model / LOG).read_bytes()
    model.save(options.output, force=True, files={LOG: log})
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
