"""``fastv evaluate``: a generated sample against full simulation."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv evaluate``."""
    parser = verbs.add_parser(
        "evaluate",
        help="judge generated showers against full simulation: figures with errors and floor, plots, HTML report",
    )
    parser.add_argument("reference", metavar="REFERENCE", help="showers file of full simulation")
    parser.add_argument("generated", metavar="GENERATED", help="showers file to judge")
    parser.add_argument("-o", "--output", metavar="DIR", help="folder for report.html, report.json and plots")
    parser.add_argument(
        "--floor",
        metavar="FILE",
        help="second, independent sample of full simulation for the floor; default: two halves of REFERENCE",
    )
    parser.add_argument(
        "--mesh",
        metavar="M",
        help="mesh of plain CaloChallenge files: a name such as par04-siw, or a binning FILE.xml[:PARTICLE]",
    )
    parser.add_argument("--force", action="store_true", help="replace DIR if it exists")
    parser.add_argument("--json", action="store_true", help="print machine-readable results")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print the figures as soon as they are known, then write the report."""
    import json
    import sys

    from fastv.evaluation import evaluate, write_report
    from fastv.evaluation.report import summary_table
    from fastv.output import check_free

    if options.output:
        check_free(options.output, force=options.force)
    evaluation = evaluate(options.reference, options.generated, floor=options.floor, mesh=options.mesh)
    print(json.dumps(evaluation.as_dict(), allow_nan=False) if options.json else summary_table(evaluation), flush=True)
    if options.output:
        page = write_report(options.output, evaluation, force=options.force)
        print(f"report: {page}", file=sys.stderr)
