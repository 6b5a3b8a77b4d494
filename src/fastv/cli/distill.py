"""``fastv distill``: train a student that generates like a teacher, in one or a few steps."""

from __future__ import annotations

import argparse
from typing import Any

from fastv.cli.assignments import assignments, settings_by_name
from fastv.cli.parser import whole

FUNCTION = "fastv.training.distillation.distill"


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv distill``."""
    parser = verbs.add_parser("distill", help="train a student that generates like a teacher, in one or a few steps")
    parser.add_argument("teacher", metavar="TEACHER", help="model directory, or name of a shipped model")
    parser.add_argument("-o", "--output", metavar="MODEL_DIR", required=True, help="the model directory to write")
    parser.add_argument(
        "--data",
        metavar="FILE",
        nargs="+",
        default=[],
        help="showers files to train on; by default the teacher generates them",
    )
    parser.add_argument(
        "--steps", type=whole, default=1, help="network evaluations per shower of the student (default 1)"
    )
    parser.add_argument(
        "-n",
        type=whole,
        default=10_000,
        metavar="N",
        help="showers that the teacher generates, without --data (default 10000)",
    )
    parser.add_argument("--mesh", metavar="M", help="detector of plain CaloChallenge files, as in 'fastv info'")
    parser.add_argument(
        "--set",
        dest="settings",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change a setting of the student or its training, as in --set training.epochs=50; may be repeated",
    )
    parser.add_argument(
        "--teacher-set",
        dest="options",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change an option of the teacher's generation, as in --teacher-set steps=16; may be repeated",
    )
    parser.add_argument("--resume", action="store_true", help="continue an interrupted training")
    parser.add_argument("--force", action="store_true", help="replace MODEL_DIR, or discard an interrupted training")
    parser.add_argument("--json", action="store_true", help="print machine-readable results")
    parser.set_defaults(run=run)
    parser.settings = settings_by_name


def run(options: argparse.Namespace) -> None:
    """Distill, and print a summary of the student."""
    from fastv.summary import print_summary, summarise_model
    from fastv.training.distillation import distill

    distill(
        options.teacher,
        options.output,
        data=options.data,
        steps=options.steps,
        n=options.n,
        settings=assignments(options.settings),
        options=assignments(options.options, "--teacher-set"),
        mesh=options.mesh,
        resume=options.resume,
        force=options.force,
    )
    print_summary(summarise_model(options.output), as_json=options.json)
