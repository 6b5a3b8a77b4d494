"""``fastv score``: score showers by how unusual they are for a model."""

from __future__ import annotations

import argparse
from typing import Any

from fastv.cli.written import written

FUNCTION = "fastv.representation.anomalies.score_file"


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv score``."""
    parser = verbs.add_parser(
        "score",
        help="score showers by how unusual they are for a model: reconstruction, evidence bound or density",
        description="Score each shower of FILE by how unusual it is for MODEL: by its reconstruction error, a bound of "
        "its log-likelihood or its exact density, whichever the family has; and tell how well this finds anomalies.",
    )
    parser.add_argument("model", metavar="MODEL", help="model directory, or name of a shipped model")
    parser.add_argument("source", metavar="FILE", help="showers file")
    parser.add_argument("-o", "--output", metavar="DIR", required=True, help="folder for scores and pictures")
    parser.add_argument(
        "--planted",
        action="store_true",
        help="plant a dead layer, doubled energy, two overlapping showers and a wrong particle, and draw ROC curves",
    )
    parser.add_argument("--against", metavar="FILE", help="showers that should be found, as of another particle")
    parser.add_argument(
        "--extrapolate",
        action="store_true",
        help="allow conditions outside the model's domain, and other detectors with the same cells",
    )
    parser.add_argument("--force", action="store_true", help="replace DIR if it exists")
    parser.add_argument("--json", action="store_true", help="print machine-readable results")
    parser.set_defaults(run=run, translated=parser.translated)


def run(options: argparse.Namespace) -> None:
    """Score, and print the medians and how well anomalies are found."""
    import json

    import numpy as np

    from fastv.representation.anomalies import score_file

    scored = score_file(
        options.model,
        options.source,
        options.output,
        planted=options.planted,
        against=options.against,
        extrapolate=options.extrapolate,
        force=options.force,
    )
    if options.json:
        print(json.dumps(scored.as_dict(), allow_nan=False))
        return
    print(f"{'score':<24}  {'median':>12}  {'99 %':>12}")
    for name, values in scored.scores.items():
        middle, high = np.nanquantile(values, (0.5, 0.99))
        print(f"{name:<24}  {middle:>12.5g}  {high:>12.5g}")
    if scored.separations:
        print(f"\n{'anomaly':<18}  {'score':<24}  {'AUC':>15}  {'found at 1 %':>12}")
    for each in scored.separations:
        auc = f"{each.auc:.3f} +- {each.auc_error:.3f}"
        print(f"{each.kind:<18}  {each.score:<24}  {auc:>15}  {each.found:>12.3f}")
    for kind, reason in scored.left_out.items():
        print(f"{kind}: not planted, {options.translated(reason, {})}")
    print(written(options.output))
