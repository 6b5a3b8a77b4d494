"""``fastv compare``: rank several generators against full simulation."""

from __future__ import annotations

import argparse
from typing import Any

from fastv.cli.parser import whole

FUNCTION = "fastv.evaluation.ranking.compare_generators"


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv compare``."""
    parser = verbs.add_parser(
        "compare", help="rank several generated samples against full simulation in one table and one set of plots"
    )
    parser.add_argument("reference", metavar="REFERENCE", help="showers file of full simulation")
    parser.add_argument("generated", metavar="GENERATED", nargs="+", help="showers files to rank, two or more")
    parser.add_argument("-o", "--output", metavar="DIR", help="folder for report.html, report.json and plots")
    parser.add_argument("--floor", metavar="FILE", help="second sample of full simulation for the floor")
    parser.add_argument("--train", metavar="FILE", help="showers file that all generators were trained on")
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
    parser.add_argument("--mesh", metavar="M", help="detector of plain CaloChallenge files, as in 'fastv evaluate'")
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
    """Print the table, and write the report."""
    import json

    from fastv.evaluation.ranking import compare_generators, ranking_table
    from fastv.progress import say

    ranking = compare_generators(
        options.reference,
        options.generated,
        options.output,
        floor=options.floor,
        train=options.train,
        mesh=options.mesh,
        showers=options.showers,
        energy_bins=options.energy_bins,
        quick=options.quick,
        plot_format=options.plot_format,
        force=options.force,
    )
    print(json.dumps(ranking.as_dict(), allow_nan=False) if options.json else ranking_table(ranking).text(), flush=True)
    if options.output:
        say(f"report: {options.output}/report.html")
