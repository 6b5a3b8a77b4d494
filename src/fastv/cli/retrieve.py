"""``fastv retrieve``: find the showers of a file that belong to given conditions, by the showers alone."""

from __future__ import annotations

import argparse
from typing import Any

from fastv.cli.parser import whole
from fastv.conditions.table import CONDITIONS
from fastv.wording import counted

FUNCTION = "fastv.representation.matching.retrieve"
HELP = {
    "energy": "energies: 20GeV, or 10-30GeV for any of these",
    "theta": "polar angles: 60deg, 60-90deg",
    "phi": "azimuthal angles: 0deg, 0-90deg",
    "particle": "particles: gamma, or e-,e+ for either",
    "detector": "detector",
}


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv retrieve``."""
    parser = verbs.add_parser(
        "retrieve",
        help="find the showers of a file that belong to an energy, angle or particle, by the showers alone",
        description="Find the showers of FILE that belong best to given conditions, by a model of the family "
        "'embedding', which looks at the showers alone. Give at least one of the conditions that MODEL knows.",
    )
    parser.add_argument("model", metavar="MODEL", help="model directory, or name of a shipped model")
    parser.add_argument("source", metavar="FILE", help="showers file")
    for name in _asked():
        parser.add_argument(f"--{name}", metavar=name[0].upper(), help=HELP.get(name, CONDITIONS[name].help))
    parser.add_argument("-k", type=whole, metavar="K", default=10, help="number of showers (default 10)")
    parser.add_argument("-o", "--output", metavar="FOUND", help="write the showers found to a showers file")
    parser.add_argument(
        "--extrapolate",
        action="store_true",
        help="allow conditions outside the model's domain, and other detectors with the same cells",
    )
    parser.add_argument("--force", action="store_true", help="replace FOUND if it exists")
    parser.add_argument("--json", action="store_true", help="print machine-readable results")
    parser.set_defaults(run=run)


def _asked() -> list[str]:
    """The conditions that can be asked for."""
    return [name for name, condition in CONDITIONS.items() if condition.on_request]


def run(options: argparse.Namespace) -> None:
    """Search, and print what was found."""
    import json
    import math

    from fastv.conditions.units import format_energy
    from fastv.representation.matching import retrieve

    found = retrieve(
        options.model,
        options.source,
        options.output,
        k=options.k,
        extrapolate=options.extrapolate,
        force=options.force,
        **{name: getattr(options, name) for name in _asked()},
    )
    if options.json:
        told = {} if options.output is None else {"output": options.output}
        print(json.dumps({**told, **found.as_dict()}, allow_nan=False))
        return
    asked = ", ".join(f"{name} {text}" for name, text in found.asked.items())
    print(f"{asked}: the best {len(found.matches)} of {counted(found.size, 'shower')}; beside them what the file tells")
    names = list(found.matches[0].conditions) if found.matches else []
    print(f"{'row':>9}  {'log odds':>8}  {'  '.join(f'{name:>10}' for name in names)}")
    for match in found.matches:
        told_of = []
        for name, value in match.conditions.items():
            text = str(value)
            if name == "energy":
                text = format_energy(float(value), 4, space=" ")
            elif CONDITIONS[name].unit == "rad":
                text = f"{math.degrees(float(value)):.1f} deg"
            told_of.append(f"{text:>10}")
        print(f"{match.row:>9}  {match.log_odds:>8.2f}  {'  '.join(told_of)}")
    if options.output is not None:
        print(f"{counted(len(found.matches), 'shower')} in {options.output}")
