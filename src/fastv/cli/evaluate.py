"""``fastv evaluate``: compare a generated sample with full simulation."""

from __future__ import annotations

import argparse
from typing import Any

from fastv.cli.parser import whole

FUNCTION = "fastv.evaluate"


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv evaluate``."""
    parser = verbs.add_parser(
        "evaluate",
        help="compare generated showers with full simulation: quantities with errors and floor, plots, HTML report",
    )
    parser.add_argument("reference", metavar="REFERENCE", help="showers file of full simulation")
    parser.add_argument("generated", metavar="GENERATED", help="showers file to evaluate")
    parser.add_argument("-o", "--output", metavar="DIR", help="folder for report.html, report.json and plots")
    parser.add_argument(
        "--floor",
        metavar="FILE",
        help="second, independent sample of full simulation for the floor (default: two halves of REFERENCE)",
    )
    parser.add_argument(
        "--train",
        metavar="FILE",
        help="showers file that the generator was trained on: has it memorised them, and is REFERENCE among them?",
    )
    parser.add_argument(
        "--classifiers",
        nargs="*",
        metavar="KEY=VALUE",
        help="also train the CaloChallenge's classifiers (hours on a CPU); settings such as trainings=2 epochs=10 "
        "shorten this, which the report mentions",
    )
    parser.add_argument(
        "--showers", type=whole, metavar="N", help="use the first N showers of each file (default: all)"
    )
    parser.add_argument(
        "--energy-bins",
        type=int,
        metavar="N",
        help="largest number of bins of incident energy (default: up to 10, or one for each of few energies)",
    )
    parser.add_argument("--quick", action="store_true", help="only what takes seconds: targets, separations, plots")
    parser.add_argument(
        "--mesh",
        metavar="M",
        help="detector of plain CaloChallenge files: a name such as par04-siw, or a binning FILE.xml[:PARTICLE]",
    )
    parser.add_argument(
        "--plot-format",
        metavar="F,F",
        default="png",
        help="formats of the files in DIR/plots: png, pdf, svg, or several, as in png,pdf (default png)",
    )
    parser.add_argument("--force", action="store_true", help="replace DIR if it exists")
    parser.add_argument("--json", action="store_true", help="print machine-readable results")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Evaluate, print the verdict, and write the report."""
    import json

    from fastv.evaluation import evaluate
    from fastv.evaluation.metrics.classifier_records import classifier_settings
    from fastv.progress import say

    evaluation = evaluate(
        options.reference,
        options.generated,
        options.output,
        floor=options.floor,
        train=options.train,
        classifiers=None if options.classifiers is None else classifier_settings(options.classifiers),
        mesh=options.mesh,
        showers=options.showers,
        energy_bins=options.energy_bins,
        quick=options.quick,
        announce=say,
        plot_format=options.plot_format,
        force=options.force,
    )
    # If a report was written, its modules have been loaded during the evaluation.
    from fastv.evaluation.report.write import summary_table

    print(json.dumps(evaluation.as_dict(), allow_nan=False) if options.json else summary_table(evaluation), flush=True)
    if options.output:
        say(f"report: {options.output}/report.html")
