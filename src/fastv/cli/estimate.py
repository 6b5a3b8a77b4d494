"""``fastv estimate``: estimate energy, angles and particle of showers from the showers alone."""

from __future__ import annotations

import argparse
from typing import Any

from fastv.wording import counted

FUNCTION = "fastv.representation.estimation.estimate_file"


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv estimate``."""
    parser = verbs.add_parser(
        "estimate",
        help="estimate energy, angles and particle of showers from the showers alone, with their uncertainty",
        description="Estimate the conditions of each shower of FILE from the shower alone, by a model of the family "
        "'embedding': mean and central 68 % of the posterior of energy and angles, and the probability of each "
        "particle, for a flat prior over the domain of MODEL. The conditions that FILE tells are used to say how good "
        "the estimates are.",
    )
    parser.add_argument("model", metavar="MODEL", help="model directory, or name of a shipped model")
    parser.add_argument("source", metavar="FILE", help="showers file")
    parser.add_argument("-o", "--output", metavar="ESTIMATES", required=True, help="HDF5 file to write")
    parser.add_argument(
        "--extrapolate",
        action="store_true",
        help="allow conditions outside the model's domain, and other detectors with the same cells",
    )
    parser.add_argument("--force", action="store_true", help="replace ESTIMATES if it exists")
    parser.add_argument("--json", action="store_true", help="print machine-readable results")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Estimate, and print how near the estimates are to the truth."""
    import json
    import math

    from fastv.conditions.units import format_energy
    from fastv.representation.estimation import estimate_file

    found = estimate_file(
        options.model, options.source, options.output, extrapolate=options.extrapolate, force=options.force
    )
    if options.json:
        print(json.dumps({"output": options.output, **found.as_dict()}, allow_nan=False))
        return
    print(f"estimates of {counted(found.showers, 'shower')} by {found.model} in {options.output}")
    if found.empty:
        print(f"none (NaN) for {counted(found.empty, 'shower')} without energy")
    if found.performance:
        print(f"\n{'':<9}  {'true energy':>19}  {'showers':>7}  {'bias':>9}  {'68 %':>9}  {'in the interval':>15}")
    for each in found.performance:
        ends = f"{format_energy(each.low, 3, space=' ')} - {format_energy(each.high, 3, space=' ')}"
        unit, factor = (" %", 100.0) if each.condition == "energy" else (" deg", math.degrees(1.0))
        bias = "" if each.bias is None else f"{factor * each.bias:+.1f}{unit}"
        spread = "" if each.resolution is None else f"{factor * each.resolution:.1f}{unit}"
        right = f"{each.covered:.2f}" if each.resolution is not None else f"right: {each.covered:.2f}"
        print(f"{each.condition:<9}  {ends:>19}  {each.showers:>7}  {bias:>9}  {spread:>9}  {right:>15}")
