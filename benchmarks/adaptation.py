"""Adaptation of a model to another detector, compared with training from scratch; prints JSON.

    python benchmarks/adaptation.py MODEL train.h5 judge.h5 -o DIR [--adapt 100 300 1000 3000] [--scratch 1000 10000]
        [--table docs/adapt.md] [--plot docs/images/adaptation.png]

For each size, the first showers of ``train.h5`` train one model that starts from MODEL (``fastv adapt``), or one of the
same family and settings that starts from nothing. Each then generates one shower for each of ``judge.h5``, which must
hold others, and is compared with them by boosted trees. The floor compares other Geant4 showers of ``train.h5``.
Models and results are stored in ``DIR`` and reused, so an interrupted command can be repeated.

From scratch, the settings of the training are those of MODEL's, but for the number of epochs: few showers are seen more
often, and the weights with the best loss on validation showers are kept.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pages import write_between

from fastv.display.figure import own_settings
from fastv.evaluation import evaluate
from fastv.evaluation.result import Evaluation
from fastv.model import Model, load
from fastv.showers import ShowersFile
from fastv.training.adaptation import adapt
from fastv.training.loop import train
from fastv.training.recipe import Recipe
from fastv.training.working_folder import LOG

PRESENTATIONS = 220_000
"""Showers that a training from scratch sees, the same ones again in each epoch: as many as 10,000 in 22 epochs."""
MOST_EPOCHS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="the model to adapt")
    parser.add_argument("train", type=Path, help="showers of the other detector for training")
    parser.add_argument("judge", type=Path, help="others to compare with")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--adapt", type=int, nargs="*", default=[100, 300, 1000, 3000], metavar="N")
    parser.add_argument("--scratch", type=int, nargs="*", default=[300, 1000, 3000, 10000], metavar="N")
    parser.add_argument("--table", type=Path, help="write the table between the markers of this page")
    parser.add_argument("--plot", type=Path, help="write the plot to this file")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    start = load(options.model)
    rows = [floor(options.train, options.judge, options.output)]
    for how, sizes in (("adapted", options.adapt), ("from scratch", options.scratch)):
        rows += [measured(how, n, start, options) for n in sizes]
    result = {"model": start.name, "detector": detector_of(options.train), "rows": rows}
    print(json.dumps(result, indent=1))
    if options.table:
        write_between(options.table, "adaptation", table(result))
    if options.plot:
        draw(result, options.plot)


def detector_of(path: Path) -> str:
    with ShowersFile(path) as file:
        return file.detector.name


def first_showers(path: Path, n: int, output: Path) -> Path:
    """The first showers of a file, in a file of their own."""
    part = output / f"first-{n}.h5"
    if not part.exists():
        with ShowersFile(path) as file:
            if len(file) < n:
                msg = f"{path} holds {len(file)} showers, {n} are asked for"
                raise SystemExit(msg)
            file[:n].write(part)
    return part


def floor(train_file: Path, judge: Path, output: Path) -> dict[str, Any]:
    """Geant4 against Geant4."""
    with ShowersFile(judge) as file:
        n = len(file)
    return stored(output / "floor.json", lambda: judged(evaluate(judge, train_file, showers=n)) | {"how": "Geant4"})


def measured(how: str, n: int, start: Model, options: argparse.Namespace) -> dict[str, Any]:
    """Train and judge one model."""
    folder = options.output / f"{how.replace(' ', '-')}-{n}"
    data = first_showers(options.train, n, options.output)
    if not (folder / "model.json").exists():
        resume = folder.with_name(f".{folder.name}.training").exists()
        if how == "adapted":
            adapt(options.model, data, folder, resume=resume)
        else:
            train(scratch(start, n), data, folder, resume=resume)

    def judge() -> dict[str, Any]:
        generated = folder.with_name(f"{folder.name}.h5")
        load(folder).generate_file(generated, like=options.judge, seed=2, force=True)
        log = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
        seconds = round(sum(each["seconds"] for each in log), 1)
        return judged(evaluate(options.judge, generated)) | {"how": how, "showers": n, "training_seconds": seconds}

    return stored(folder.with_name(f"{folder.name}.json"), judge)


def scratch(start: Model, n: int) -> Recipe:
    """The recipe of the model's family and settings, for ``n`` showers."""
    one = start.description
    few = max(4, n // 16)
    trained = one.training["settings"]
    how = {
        **trained,
        "epochs": min(max(PRESENTATIONS // n, int(trained["epochs"])), MOST_EPOCHS),
        "batch_size": min(trained["batch_size"], few),
    }
    return Recipe.model_validate({"family": one.family, "model": one.settings, "training": how})


def judged(evaluation: Evaluation) -> dict[str, Any]:
    """AUC with its error and number of showers, by groups too, and the targets."""
    metrics = evaluation.metrics
    assert metrics is not None
    assert metrics.boosted is not None
    return {
        "auc": [metrics.boosted.auc.value, metrics.boosted.auc.error],
        "of each": metrics.boosted.showers_generated,
        "groups": {each.group: each.auc.value for each in metrics.boosted.groups},
        "targets": {line.question: line.status for line in evaluation.verdict.targets},
    }


def stored(path: Path, make: Any) -> dict[str, Any]:
    """A result from its file, or made and stored; the file appears only when complete."""
    if not path.exists():
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(make(), indent=1) + "\n")
        temporary.rename(path)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def table(result: dict[str, Any]) -> list[str]:
    """Lines of Markdown."""
    rows = result["rows"]
    sizes = sorted({row["showers"] for row in rows if "showers" in row})
    lines = [
        f"AUC at {rows[0]['of each']:,} of each, showers of `{result['detector']}`, adapted from `{result['model']}`:",
        "",
        "| training showers | adapted | from scratch |",
        "|---|---|---|",
    ]
    for n in sizes:
        cells = []
        for how in ("adapted", "from scratch"):
            found = [row["auc"] for row in rows if row["how"] == how and row["showers"] == n]
            cells.append(f"{found[0][0]:.3f} ± {found[0][1]:.3f}" if found else "")
        lines.append(f"| {n:,} | {' | '.join(cells)} |")
    lines.append(f"| Geant4 against Geant4 | {rows[0]['auc'][0]:.3f} ± {rows[0]['auc'][1]:.3f} | |")
    return lines


def draw(result: dict[str, Any], path: Path) -> None:
    """AUC against the number of training showers."""
    from matplotlib.figure import Figure

    rows = result["rows"]
    with own_settings({}):
        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.subplots()
        for how, colour in (("adapted", "tab:blue"), ("from scratch", "tab:orange")):
            found = [row for row in rows if row["how"] == how]
            x, y = [row["showers"] for row in found], [row["auc"][0] for row in found]
            axes.errorbar(x, y, yerr=[row["auc"][1] for row in found], marker="o", color=colour, label=how)
        value, error = rows[0]["auc"]
        axes.axhspan(value - error, value + error, color="0.85", label="Geant4 against Geant4")
        axes.set_xscale("log")
        axes.set_xlabel(f"training showers of {result['detector']}")
        axes.set_ylabel(f"AUC of boosted trees, {rows[0]['of each']:,} of each")
        axes.set_title(f"adapted from {result['model']}")
        axes.legend()
        figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
