"""``fastv info``: describe a file or folder that FastV wrote, a model or a recipe."""

from __future__ import annotations

import argparse
from typing import Any

FUNCTION = "fastv.summary.summarise"


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv info``."""
    parser = verbs.add_parser(
        "info",
        help="describe a file of showers, hits, codes or scores, an index, a model, or all settings of a preset",
        description="Describe a file or folder that FastV wrote, a model, or a recipe: showers, hits of "
        "'fastv fastsim' (also as EDM4hep), tracks, codes, scores, estimates, components, an index. Showers are read "
        "once, one batch at a time. A recipe is shown as YAML with all settings, their defaults and what they mean; "
        "saved as a file it can be changed and trained from.",
    )
    parser.add_argument(
        "path",
        metavar="FILE|NAME",
        help="file, index, model directory or recipe FILE.yaml; or the name of a shipped model, preset or family",
    )
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
