"""``fastv components``: principal components of showers."""

from __future__ import annotations

import argparse
from typing import Any

from fastv.cli.parser import whole
from fastv.cli.written import written

FUNCTION = "fastv.representation.components.components"


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv components``."""
    parser = verbs.add_parser(
        "components",
        help="principal components of showers: explained variance, components as showers, projections",
    )
    parser.add_argument("source", metavar="FILE", help="showers file")
    parser.add_argument("-o", "--output", metavar="DIR", required=True, help="folder for components and pictures")
    parser.add_argument("-n", type=whole, metavar="N", default=16, help="number of components (default 16)")
    parser.add_argument("--showers", type=whole, metavar="N", help="use the first N showers (default: all)")
    parser.add_argument(
        "--mesh",
        metavar="M",
        help="detector of a plain CaloChallenge file: a name such as par04-siw, or a binning FILE.xml[:PARTICLE]",
    )
    parser.add_argument("--force", action="store_true", help="replace DIR if it exists")
    parser.add_argument("--json", action="store_true", help="print machine-readable results")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Decompose, and print the shares of the variance."""
    import json

    import numpy as np

    from fastv.representation.components import components

    found = components(
        options.source, options.output, n=options.n, showers=options.showers, mesh=options.mesh, force=options.force
    )
    if options.json:
        print(json.dumps(found.as_dict(), allow_nan=False))
        return
    names = list(found.correlations)
    print(f"{'component':>9}  {'variance':>8}  {'up to it':>8}  correlation with: {', '.join(names)}")
    for number, (share, total) in enumerate(zip(found.shares, np.cumsum(found.shares), strict=True)):
        values = "  ".join(f"{found.correlations[name][number]:>6.2f}" for name in names)
        print(f"{number + 1:>9}  {share:>8.4f}  {total:>8.4f}  {values}")
    print(written(options.output))
