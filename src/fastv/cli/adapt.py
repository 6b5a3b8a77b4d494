"""``fastv adapt``: adapt a trained model to another detector with few showers."""

from __future__ import annotations

import argparse
from typing import Any

from fastv.cli.assignments import assignments, settings_by_name

FUNCTION = "fastv.training.adaptation.adapt"


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv adapt``."""
    parser = verbs.add_parser("adapt", help="adapt a trained model to another detector with few showers")
    parser.add_argument("model", metavar="MODEL", help="model directory, or name of a shipped model")
    parser.add_argument(
        "--data",
        metavar="FILE",
        nargs="+",
        required=True,
        help="showers files of the other detector",
    )
    parser.add_argument("-o", "--output", metavar="MODEL_DIR", required=True, help="the model directory to write")
    parser.add_argument("--mesh", metavar="M", help="detector of plain CaloChallenge files, as in 'fastv info'")
    parser.add_argument(
        "--set",
        dest="settings",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change a setting of the training, as in --set training.epochs=50; may be repeated",
    )
    parser.add_argument("--resume", action="store_true", help="continue an interrupted training")
    parser.add_argument("--force", action="store_true", help="replace MODEL_DIR, or discard an interrupted training")
    parser.add_argument("--json", action="store_true", help="print machine-readable results")
    parser.set_defaults(run=run)
    parser.settings = settings_by_name


def run(options: argparse.Namespace) -> None:
    """Adapt, and print a summary of the new model."""
    from fastv.summary import print_summary, summarise_model
    from fastv.training.adaptation import adapt

    adapt(
        options.model,
        options.data,
        options.output,
        settings=assignments(options.settings),
        mesh=options.mesh,
        resume=options.resume,
        force=options.force,
    )
    print_summary(summarise_model(options.output), as_json=options.json)
