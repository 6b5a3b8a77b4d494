"""``fastv info``: describe a showers file or a model."""

from __future__ import annotations

import argparse
from typing import Any

FUNCTION = "fastv.summary.summarise"


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv info``."""
    parser = verbs.add_parser(
        "info",
        help="describe a showers file or a model",
        description="Describe a showers file or a model. A showers file is read once, one batch at a time.",
    )
    parser.add_argument("path", metavar="FILE|MODEL", help="showers file, model directory, or name of a shipped model")
    parser.add_argument(
        "--mesh",
        metavar="M",
        help="detector of a plain CaloChallenge file: a name such as par04-siw, or a binning FILE.xml[:PARTICLE]",
    )
    parser.add_argument("--json", action="store_true", help="print machine-readable results")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print a summary as a table or as JSON."""
    from fastv.summary import print_summary, summarise

    print_summary(summarise(options.path, options.mesh), as_json=options.json)
