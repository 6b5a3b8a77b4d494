"""Demonstration of all stages on the shipped sample: training, generation, evaluation, export and timing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from fastv.bench import bench
from fastv.evaluation import Evaluation, evaluate, shower_gallery, write_report
from fastv.evaluation.report.page import Block, DrawnPlot
from fastv.evaluation.report.style import grid, paper_style
from fastv.evaluation.report.table import Table
from fastv.evaluation.report.write import drawn
from fastv.export import ExportReport, export
from fastv.model import Model, load
from fastv.progress import say
from fastv.sample import sample_path
from fastv.showers import ShowersFile
from fastv.storage.output import check_free, written_whole
from fastv.training.loop import train
from fastv.training.working_folder import LOG

SHIPPED = "par04-siw"
SHORT_TRAINING = {"training.epochs": 25, "training.batch_size": 32, "model.kl_warmup_epochs": 5}
"""Overrides that make a training of a minute on 540 showers: small batches for more steps, a shorter warm-up."""


def demo(output: str | Path, *, force: bool = False) -> dict[str, Any]:
    """Run every stage on the shipped sample of Geant4 showers and write one report.

    Trains the preset ``fastv`` for a minute, generates showers at the conditions of the test sample with it and with
    the shipped model, evaluates both, exports the shipped model to ONNX and compares its time with that of Geant4
    recorded in the sample.

    Args:
        output: folder to write: ``report/report.html``, both samples, the trained model and the ONNX file.
        force: replace the folder if it exists.

    Returns:
        The main results as JSON data.

    Raises:
        OutputError: the folder exists, or cannot be written.
    """
    output = check_free(output, force=force, kind="demonstration")
    test = sample_path("test")
    # The shipped model first: what the page shows on top is what FastV can do.
    names = {SHIPPED: "shipped", "this training": "trained"}
    with written_whole(output, force=force, kind="demonstration") as folder:
        folder.mkdir()
        with _stage("training 'fastv' on the shipped showers"):
            trained = train("fastv", [sample_path("train")], folder / "model", settings=SHORT_TRAINING)
        models = {SHIPPED: load(SHIPPED), "this training": trained}
        with _stage("generating showers at the conditions of the test sample"):
            for name, model in models.items():
                model.generate_file(folder / f"{names[name]}.h5", like=test, seed=1)
        with _stage("exporting the shipped model to ONNX, checking the graph"):
            graph = export(models[SHIPPED], folder / f"{SHIPPED}.onnx")
        with _stage("timing"):
            speed = bench(folder / f"{SHIPPED}.onnx", batch=(1, 1000), seconds=2.0)
        with _stage("evaluating against Geant4"):
            # A model trained for a minute is evaluated quickly, the shipped one thoroughly.
            evaluations = {name: evaluate(test, folder / f"{names[name]}.h5", quick=name != SHIPPED) for name in models}
        with _stage("drawing the report"):
            geant4 = _geant4_milliseconds(test)
            sections: list[tuple[str, Block | list[Block]]] = [
                ("Showers", _gallery(test, folder)),
                ("Training", _training_section(trained, (folder / "model" / LOG).read_text())),
                ("Speed", _speed_section(speed, geant4)),
                ("ONNX", _onnx_section(graph)),
            ]
            with ExitStack() as stack:
                files = {name: stack.enter_context(ShowersFile(folder / f"{names[name]}.h5")) for name in models}
                reference = stack.enter_context(ShowersFile(test))
                write_report(
                    folder / "report",
                    evaluations,
                    sections,
                    title="FastV: demonstration on the shipped sample",
                    showers={name: (reference, file) for name, file in files.items()},
                )
    return {
        "report": str(output / "report" / "report.html"),
        "samples": {name: _targets(evaluation) for name, evaluation in evaluations.items()},
        "verdicts": {name: _verdict(evaluation) for name, evaluation in evaluations.items()},
        "onnx_outliers": graph.outliers,
        "geant4_ms_per_shower": geant4,
        "fastv_ms_per_shower": {str(row["batch"]): row["ms_per_shower_median"] for row in speed["timings"]},
    }


@contextmanager
def _stage(what: str) -> Iterator[None]:
    """Print on standard error what is being done and how long it took."""
    say(f"{what} ...")
    started = time.perf_counter()
    yield
    say(f"    {time.perf_counter() - started:.0f} s")


def _targets(evaluation: Evaluation) -> list[dict[str, Any]]:
    """The lines of the targets, in numbers."""
    return [line.model_dump(mode="json") for line in evaluation.verdict.targets]


def _verdict(evaluation: Evaluation) -> dict[str, str]:
    return {"status": evaluation.verdict.status, "words": evaluation.verdict.words}


def _geant4_milliseconds(path: Path) -> float:
    """Mean processor time of Geant4 per shower in ms, as recorded in the sample."""
    with ShowersFile(path) as file:
        return float(1000.0 * file.column("cpu_seconds").mean())


def _gallery(test: Path, folder: Path) -> DrawnPlot:
    plot = DrawnPlot(
        "showers",
        "Showers",
        "Geant4 above, generated showers of the same incident energies below.",
        b"",
        wide=True,
    )
    plot = drawn(plot, lambda: shower_gallery(test, folder / "shipped.h5"))
    plot.write(folder)
    return plot


def _training_section(model: Model, log: str) -> list[Block]:
    records = [json.loads(line) for line in log.splitlines()]
    sizes = model.description.training["showers"]
    words = (
        f"Preset fastv, {len(records)} epochs on {sizes['training']} showers, validated on {sizes['validation']}. "
        "A minute of training only shows that everything works; the shipped model was trained longer on more showers."
    )
    plot = DrawnPlot("training", "Training", "Training and validation loss by epoch.", b"")
    return [words, drawn(plot, lambda: _losses(records, model.description.training["best_epoch"]))]


def _losses(records: list[dict[str, Any]], best_epoch: int) -> Figure:
    """Loss against epoch."""
    with paper_style():
        figure, cells = grid(1, 1, 7.0, 3.8)
        axes = figure.add_subplot(cells[0])
        epochs = [record["epoch"] for record in records]
        for part in ("training", "validation"):
            axes.plot(epochs, [record[part]["loss"] for record in records], label=part)
        axes.axvline(best_epoch, color="0.6", linestyle=":", label="best")
        axes.set(xlabel="epoch", ylabel="loss [nats per shower]")
        axes.legend()
    return figure


def _speed_section(speed: dict[str, Any], geant4: float) -> Table:
    rows = [["Geant4, processor time recorded in the sample", "1", f"{geant4:.0f}", "", "1"]]
    for row in speed["timings"]:
        median = row["ms_per_shower_median"]
        ratio = f"{geant4 / median:,.0f}"
        rows.append(["FastV", str(row["batch"]), f"{median:.3f}", f"{row['ms_per_shower_p99']:.3f}", ratio])
    head = ["generator", "batch", "ms per shower", "99 %", "times faster"]
    words = f"{speed['processor']}, {speed['threads']} thread, {speed['engine']}; included: {speed['included']}."
    return Table.of_numbers(head, rows, notes=[words])


def _onnx_section(graph: ExportReport) -> str:
    return (
        f"One graph of {graph.bytes / 1e6:.1f} MB from noise and physical conditions to MeV. Compared with PyTorch on "
        f"{graph.parity_showers} random showers, total energies agree within {graph.largest_energy_difference:.1e}, "
        f"and a fraction {graph.outliers:.1e} of the voxels differs by more than 1e-3 (relative and in MeV)."
    )
