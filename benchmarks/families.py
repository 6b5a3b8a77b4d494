"""Training, quality on the test sample and speed of every family; prints JSON.

    python benchmarks/families.py -o DIR [--data FILE ...] [--only NAME ...] [--table docs/families.md]

Each preset is trained on the shipped training sample, and on ``--data`` if given; students are distilled from the
trained models. Results are stored in ``DIR`` and reused, so an interrupted command can be repeated. Every model
generates one shower for each shower of the test sample, with its incident energy. For the floor, Geant4 showers of
``--data`` take the place of generated ones; without it there is no floor. With ``--only``, the rows of other models
stay in the tables of the page as they are.

Training time is the sum over epochs in the log, including time lost to other programs on the machine. Speed is that of
the exported graph in onnxruntime on one thread, or of PyTorch if a model cannot be exported; ``--time-again`` measures
it for all models in one run.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pages import write_between

from fastv.bench import bench
from fastv.errors import ModelError
from fastv.evaluation.evaluator import evaluate_against
from fastv.evaluation.floor import ReferenceAndFloor
from fastv.evaluation.observables.streaming import Reading
from fastv.evaluation.result import Evaluation
from fastv.model import Model, load
from fastv.sample import sample_path
from fastv.showers import Showers, ShowersFile
from fastv.training.distillation import distill
from fastv.training.loop import train
from fastv.training.working_folder import LOG

PRESETS = (
    "pca",
    "library",
    "autoencoder",
    "autoencoder-sparse",
    "fastv-original",
    "beta-vae",
    "fastv",
    "cascade",
    "copula",
    "gan",
    "wgan",
    "calogan",
    "caloflow",
    "flow-matching",
    "diffusion",
    "mean-flow",
)
STUDENTS = {"caloflow student": "caloflow", "flow-matching student": "flow-matching", "diffusion student": "diffusion"}
"""The teacher of each student."""
SEPARATIONS = ("E_tot/E_inc", "layer energy", "width_r", "sparsity", "voxel energy")
BATCHES = (1, 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--data", type=Path, nargs="+", help="more training showers, none of them in the test sample")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[*PRESETS, *STUDENTS])
    parser.add_argument("--trained", action="store_true", help="only models that are already trained")
    parser.add_argument("--time-again", action="store_true", help="measure the speed of all models again")
    parser.add_argument("--table", type=Path, help="write the tables between the markers of this page")
    options = parser.parse_args()
    data: dict[str, list[Path]] = {"sample": [sample_path("train")]}
    if options.data:
        data["all"] = options.data
    names = options.only or [*PRESETS, *STUDENTS]
    options.output.mkdir(parents=True, exist_ok=True)
    with ShowersFile(sample_path("test")) as test:
        judge = partial(judged, ReferenceAndFloor(Reading(test)))
        # The 600 showers of the shipped training sample are too few for the FPD of the floor.
        rows = [floor(options.data[0], options.output, judge)] if options.data else []
        for label, files in data.items():
            chosen = [name for name in names if not options.trained or complete(folder_of(options.output, label, name))]
            rows += [measured(name, label, files, options.output, judge, again=options.time_again) for name in chosen]
    print(json.dumps(rows, indent=1))
    if options.table:
        write_table(options.table, rows)


Judge = Callable[[str, Showers | ShowersFile], dict[str, Any]]


def floor(file: Path, output: Path, judge: Judge) -> dict[str, Any]:
    """Geant4 against Geant4."""
    path = output / "geant4.json"
    if not path.exists():
        with ShowersFile(file, "par04-siw") as showers, ShowersFile(sample_path("test")) as test:
            result = {"name": "Geant4", "data": file.name, **judge("Geant4", showers[: min(len(showers), len(test))])}
        kept(path, result)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def measured(
    name: str, label: str, files: list[Path], output: Path, judge: Judge, *, again: bool = False
) -> dict[str, Any]:
    """Train, evaluate and time one model, or read its stored results."""
    folder = folder_of(output, label, name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not complete(folder):
        if name in STUDENTS:
            distill(folder.parent / STUDENTS[name], folder, data=files, mesh="par04-siw", resume=started(folder))
        else:
            train(name, files, folder, mesh="par04-siw", resume=started(folder))
    path = folder.with_name(f"{folder.name}.json")
    if path.exists():
        known: dict[str, Any] = json.loads(path.read_text())
        if known["weights_sha256"] == load(folder).digest():
            if again:
                known.pop("no_graph", None)
                known |= speed(folder, load(folder))
                kept(path, known)
            return known
    model = load(folder)
    generated = folder.with_name(f"{folder.name}.h5")
    start = time.perf_counter()
    model.generate_file(generated, like=sample_path("test"), seed=1, force=True)
    seconds = time.perf_counter() - start
    with ShowersFile(generated) as showers:
        quality = judge(name, showers)
    result = {
        "name": name,
        "data": label,
        "family": model.description.family,
        "weights_sha256": model.digest(),
        "training_showers": sum(model.description.training["showers"].values()),
        "training_seconds": training_seconds(folder),
        "generation_seconds": round(seconds, 1),
        "parameters": model.n_parameters,
        **quality,
        **speed(folder, model),
    }
    kept(path, result)
    return result


def folder_of(output: Path, label: str, name: str) -> Path:
    return output / label / name.replace(" ", "-")


def complete(folder: Path) -> bool:
    return (folder / "model.json").exists()


def started(folder: Path) -> bool:
    return folder.with_name(f".{folder.name}.training").exists()


def kept(path: Path, result: dict[str, Any]) -> None:
    """Store a result; the file appears only when complete."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(result, indent=1) + "\n")
    temporary.rename(path)


def training_seconds(folder: Path) -> float | None:
    """Time of all epochs in s; None for a family that needs no training."""
    log = folder / LOG
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return round(sum(line.get("seconds", 0.0) for line in lines), 1) or None


def judged(against: ReferenceAndFloor, name: str, showers: Showers | ShowersFile) -> dict[str, Any]:
    """Metrics, separation powers, and results of targets, comparisons and integrity checks."""
    evaluation: Evaluation
    evaluation, _ = evaluate_against(against, Reading(showers), names=("Geant4", name, ""))
    metrics = evaluation.metrics
    assert metrics is not None
    assert metrics.fpd is not None
    assert metrics.kpd is not None
    assert metrics.boosted is not None
    return {
        "fpd": [metrics.fpd.fpd.value, metrics.fpd.fpd.error],
        "fpd_whole_samples": None if metrics.fpd.chance is None else metrics.fpd.chance.model_dump(),
        "kpd": [metrics.kpd.kpd.value, metrics.kpd.kpd.error],
        "kpd_whole_samples": None if metrics.kpd.chance is None else metrics.kpd.chance.model_dump(),
        "auc": [metrics.boosted.auc.value, metrics.boosted.auc.error],
        "separations": {name: [s.value, s.expected] for name, s in evaluation.physics.separations.items()},
        "targets": {line.question: line.status for line in evaluation.verdict.targets},
        "comparisons_that_differ": len(evaluation.physics.standing_out),
        "checks_failed": [each.check for each in evaluation.integrity.findings if each.status == "differs"]
        if evaluation.integrity
        else None,
    }


def speed(folder: Path, model: Model) -> dict[str, Any]:
    """Milliseconds per shower at each batch size."""
    try:
        timings = bench(folder, batch=BATCHES, threads=1)["timings"]
    except ModelError as error:
        return {"ms_per_shower": dict(zip(map(str, BATCHES), eager(model), strict=True)), "no_graph": str(error)}
    return {"ms_per_shower": {str(t["batch"]): t["ms_per_shower_median"] for t in timings}}


def eager(model: Model) -> list[float]:
    """Milliseconds per shower in PyTorch, from a single call for each batch size."""
    found = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for n in BATCHES:
        start = time.perf_counter()
        model.generate(energy=50_000.0, n=n, seed=1)
        found.append(1000 * (time.perf_counter() - start) / n)
    torch.set_num_threads(threads)
    return found


COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "model": lambda row: row["name"],
    "FPD x 1e3": lambda row: f"{1e3 * row['fpd'][0]:.0f} ± {1e3 * row['fpd'][1]:.0f}",
    "KPD x 1e3": lambda row: f"{1e3 * row['kpd'][0]:.2g}",
    "AUC": lambda row: f"{row['auc'][0]:.3f}",
    **{name: partial(lambda name, row: f"{row['separations'][name][0]:.2g}", name) for name in SEPARATIONS},
    "parameters": lambda row: f"{row['parameters']:,}" if "parameters" in row else "",
    "training": lambda row: duration(row.get("training_seconds")),
    "ms, batch 1": lambda row: milliseconds(row, 1),
    "ms, batch 1000": lambda row: milliseconds(row, 1000),
}


def duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def milliseconds(row: dict[str, Any], batch: int) -> str:
    return f"{row['ms_per_shower'][str(batch)]:.2g}" if "ms_per_shower" in row else ""


def write_table(page: Path, rows: list[dict[str, Any]]) -> None:
    """Write the tables between the markers of a page; rows of models that were not measured stay as they are there."""
    kept = tables_of(page)
    floors = [row for row in rows if row["name"] == "Geant4"]
    trained = [row for row in rows if row["name"] != "Geant4"]
    for label in dict.fromkeys(row["data"] for row in trained):
        of_data = [row for row in trained if row["data"] == label]
        table = kept.setdefault(f"Trained on {of_data[0]['training_showers']} showers:", {})
        for row in [*floors, *of_data]:
            table[row["name"]] = "| " + " | ".join(make(row) for make in COLUMNS.values()) + " |"
    parts = []
    for heading, table in kept.items():
        parts += [heading, "", "| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|", *table.values(), ""]
    write_between(page, "families", parts[:-1])


def tables_of(page: Path) -> dict[str, dict[str, str]]:
    """The rows of the tables of a page, by heading and model."""
    tables: dict[str, dict[str, str]] = {}
    for line in page.read_text().split("<!-- families: begin -->")[1].split("<!-- families: end -->")[0].splitlines():
        if line.startswith("Trained on "):
            table = tables[line] = {}
        elif line.startswith("| ") and not line.startswith("| model |"):
            table[line.split(" | ")[0].removeprefix("| ")] = line
    return tables


if __name__ == "__main__":
    main()
