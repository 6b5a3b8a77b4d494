"""``fastv explore``: write a page to explore the codes of a model."""

from __future__ import annotations

import argparse
from typing import Any

from fastv.cli.parser import whole
from fastv.wording import counted

FUNCTION = "fastv.representation.explore.explore"


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv explore``."""
    parser = verbs.add_parser(
        "explore",
        help="explore the codes of a model in a page that works offline: scatter, neighbours, walks",
        description="Write a page that works offline: the codes of showers in a scatter, a shower in 3D beside its "
        "reconstruction or its nearest neighbours, sliders that walk the dimensions of the code, and what each "
        "dimension tells.",
    )
    parser.add_argument("model", metavar="MODEL", help="model directory, or name of a shipped model")
    parser.add_argument(
        "source",
        metavar="FILE",
        nargs="?",
        help="showers file (default: the shipped test showers, if the model knows their detector)",
    )
    parser.add_argument(
        "-o", "--output", metavar="PAGE", help="page to write (default: MODEL-explore.html in the current folder)"
    )
    parser.add_argument(
        "--showers", type=whole, metavar="N", default=500, help="number of showers, drawn at random (default 500)"
    )
    parser.add_argument("--seed", type=whole, metavar="S", default=0, help="seed of the random choice (default 0)")
    parser.add_argument(
        "--extrapolate",
        action="store_true",
        help="allow conditions outside the model's domain, and other detectors with the same cells",
    )
    parser.add_argument("--force", action="store_true", help="replace PAGE if it exists")
    parser.add_argument("--json", action="store_true", help="print machine-readable results")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Write the page, and print what its first dimensions tell."""
    import json

    from fastv.representation.explore import explore
    from fastv.representation.information import strongest

    found = explore(
        options.model,
        options.source,
        options.output,
        showers=options.showers,
        seed=options.seed,
        extrapolate=options.extrapolate,
        force=options.force,
    )
    told = found.as_dict()
    if options.json:
        print(json.dumps(told, allow_nan=False))
        return
    showers = counted(len(found.rows), "shower")
    print(f"codes of {showers} by {found.model} in {found.output} ({told['bytes'] / 1e6:.1f} MB)")
    if found.empty:
        print(f"no code for {counted(found.empty, 'more shower')} without energy")
    if not found.walked:
        print(f"the family {found.family!r} has no decoder: no reconstructions and no walks")
    shown = found.dimensions[:16]
    columns = f"{'dimension':<14} {'KL [nats]':>9} {'variance':>9} {'effect':>8}"
    print(f"{columns}  strongest correlation, at fixed energy but for that with it")
    for one in shown:
        name_and_value = strongest(one.at_energy)
        words = "-" if name_and_value is None else f"{name_and_value[1]:+.2f} with {name_and_value[0]}"
        kl, effect = ("-" if value is None else f"{value:.3g}" for value in (one.kl, one.effect))
        print(f"{one.name:<14} {kl:>9} {one.variance:>9.3g} {effect:>8}  {words}")
    size = sum(found.groups.values())
    if len(shown) < size:
        print(f"and {counted(size - len(shown), 'more number')} of the code")
