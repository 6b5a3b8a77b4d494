"""``fastv info``: what is in a showers file or a model."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv info``."""
    parser = verbs.add_parser("info", help="what is in a showers file or a model")
    parser.add_argument("path", metavar="FILE|MODEL", help="showers file, model directory, or name of a shipped model")
    parser.add_argument("--mesh", help="mesh of a plain CaloChallenge file, such as par04-siw")
    parser.add_argument("--json", action="store_true", help="print machine-readable results")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print a table, or JSON."""
    from fastv.summary import print_summary, summarise_file

    print_summary(summarise_file(options.path, options.mesh), as_json=options.json)
