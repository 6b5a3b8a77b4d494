"""``fastv discriminate``: what tells classes of showers apart, and how well."""

from __future__ import annotations

import argparse
from typing import Any

from fastv.cli.parser import whole
from fastv.cli.written import written
from fastv.wording import counted

FUNCTION = "fastv.representation.discriminants.discriminate"


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv discriminate``."""
    parser = verbs.add_parser(
        "discriminate",
        help="linear discriminants of showers: what tells particles, detectors, energies or files apart, and how well",
    )
    parser.add_argument("files", metavar="FILE", nargs="+", help="showers files")
    parser.add_argument("-o", "--output", metavar="DIR", required=True, help="folder for discriminants and pictures")
    parser.add_argument(
        "--by",
        metavar="CLASS",
        default="file",
        help="what makes a class: file (default), particle, detector or energy",
    )
    parser.add_argument(
        "--on", metavar="FEATURES", default="observables", help="observables (default), or voxels: their components"
    )
    parser.add_argument(
        "--showers",
        type=whole,
        metavar="N",
        default=20_000,
        help="use the first N showers of each file (default 20000)",
    )
    parser.add_argument(
        "--mesh",
        metavar="M",
        help="detector of plain CaloChallenge files: a name such as par04-siw, or a binning FILE.xml[:PARTICLE]",
    )
    parser.add_argument("--force", action="store_true", help="replace DIR if it exists")
    parser.add_argument("--json", action="store_true", help="print machine-readable results")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Discriminate, and print the accuracy and what the first discriminant is made of."""
    import json

    from fastv.representation.discriminants import discriminate

    found = discriminate(
        options.files,
        options.output,
        by=options.by,
        on=options.on,
        showers=options.showers,
        mesh=options.mesh,
        force=options.force,
    )
    if options.json:
        print(json.dumps(found.as_dict(), allow_nan=False))
        return
    classes = zip(found.classes, found.counts, strict=True)
    print(", ".join(f"{name}: {counted(count, 'shower')}" for name, count in classes))
    chance = 1 / len(found.classes)
    print(f"accuracy, held out: {found.accuracy:.4f} +- {found.accuracy_error:.4f} ({chance:.3f} by chance)")
    print(f"Fisher's ratio, held out: {', '.join(f'{ratio:.4g}' for ratio in found.fisher)}")
    for name, value in found.loadings.items():
        print(f"  {value:>6.2f}  {name}")
    print(written(options.output))
