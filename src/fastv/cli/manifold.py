"""``fastv manifold``: the intrinsic dimension of showers against energy."""

from __future__ import annotations

import argparse
from typing import Any

from fastv.cli.parser import whole
from fastv.cli.written import written
from fastv.wording import counted

FUNCTION = "fastv.representation.manifold.manifold"


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv manifold``."""
    parser = verbs.add_parser(
        "manifold", help="the intrinsic dimension of showers against energy, of full simulation and of generators"
    )
    parser.add_argument(
        "files", metavar="FILE", nargs="+", help="showers files; the others are compared with the first"
    )
    parser.add_argument("-o", "--output", metavar="DIR", required=True, help="folder for dimensions and picture")
    parser.add_argument("--bins", type=whole, metavar="N", default=5, help="bins of the incident energy (default 5)")
    parser.add_argument(
        "--on",
        metavar="FEATURES",
        default="observables",
        help="observables (default), or voxels: roots of their energies",
    )
    parser.add_argument(
        "--showers",
        type=whole,
        metavar="N",
        default=10_000,
        help="use the first N showers of each file (default 10000)",
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
    """Estimate, and print the dimension of each file in each bin."""
    import json
    from itertools import pairwise

    from fastv.representation.manifold import manifold

    found = manifold(
        options.files,
        options.output,
        bins=options.bins,
        on=options.on,
        showers=options.showers,
        mesh=options.mesh,
        force=options.force,
    )
    if options.json:
        print(json.dumps(found.as_dict(), allow_nan=False))
        return
    print(f"{'energy [GeV]':>17}  {'showers':>7}  dimension" + ", and standard errors above the first file's")
    for number, (low, high) in enumerate(pairwise(found.edges / 1000)):
        first = [bins[number][0] for bins in found.scales]
        for place, (name, each) in enumerate(zip(found.names, first, strict=True)):
            start = f"{low:>7.4g} - {high:>7.4g}  {each.points:>7}" if place == 0 else " " * 26
            above = f"{found.differences(place)[number]:+7.1f}" if place else " " * 7
            print(f"{start}  {each.value:6.2f} +- {each.error:4.2f}  {above}  {name}")
    for name, empty, repeated in zip(found.names, found.empty, found.repeated, strict=True):
        if empty or repeated:
            print(f"{name}: left out {counted(empty, 'shower')} without energy and {counted(repeated, 'repeat')}")
    print(written(options.output))
