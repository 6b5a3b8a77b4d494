"""``fastv search``: find showers that are similar to a given one."""

from __future__ import annotations

import argparse
from typing import Any

from fastv.cli.parser import whole
from fastv.wording import counted

FUNCTION = "fastv.search"
_SHOWN = 10


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv search``."""
    parser = verbs.add_parser(
        "search",
        help="find the showers of an index that are similar to a given one",
        description="Find the showers of an index that are similar to one of QUERY: those with the same binary code, "
        "those whose code differs in a few bits, and of the nearest codes the most similar in energy, extent and "
        "position.",
    )
    parser.add_argument("index", metavar="INDEX", help="index, written by 'fastv index'")
    parser.add_argument("query", metavar="QUERY", help="showers file")
    parser.add_argument("--event", type=whole, metavar="I", help="shower of QUERY, counted from 0, if it has several")
    parser.add_argument("-k", type=whole, metavar="K", help="number of similar showers (default 10)")
    parser.add_argument(
        "--radius", type=whole, metavar="BITS", default=2, help="largest number of bits that differ (default 2)"
    )
    parser.add_argument(
        "--candidates",
        type=whole,
        metavar="N",
        help="showers with the nearest codes that are read and compared (default: 1 in 100 of the index, at most 1000, "
        "but 10 K at least)",
    )
    parser.add_argument(
        "--sample",
        type=whole,
        metavar="N",
        help="in place of the most similar showers, draw N at random of those that differ in BITS at most, into FILE",
    )
    parser.add_argument("--seed", type=whole, metavar="S", help="the same seed draws the same showers (default 0)")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the showers found to a showers file")
    parser.add_argument(
        "--extrapolate",
        action="store_true",
        help="allow conditions outside the model's domain, and other detectors with the same cells",
    )
    parser.add_argument("--force", action="store_true", help="replace FILE")
    parser.add_argument("--json", action="store_true", help="print machine-readable results")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Search, and print what was found."""
    import json

    from fastv.errors import printable
    from fastv.retrieval import search

    found = search(
        options.index,
        options.query,
        event=options.event,
        k=options.k,
        radius=options.radius,
        candidates=options.candidates,
        sample=options.sample,
        seed=options.seed,
        output=options.output,
        extrapolate=options.extrapolate,
        force=options.force,
    )
    if options.json:
        told = {} if options.output is None else {"output": options.output}
        print(json.dumps({**told, **found.as_dict()}))
        return
    query = found.query
    print(
        f"shower {query.row} of {printable(query.file)}: {query.energy:.5g} MeV came in, {query.total:.5g} MeV are in "
        "its voxels"
    )
    bits = f"{found.radius} bit" if found.radius == 1 else f"{found.radius} bits"
    print(
        f"of {counted(found.size, 'shower')}: with its code {len(found.same_code)}, with {bits} of difference at most "
        f"{len(found.within)}, compared {found.compared}"
    )
    print(f"{'distance':>8}  {'bits':>4}  {'E_inc [MeV]':>11}  {'E_tot [MeV]':>11}  {'row':>9}  file")
    for match in found.matches if found.seed is None else found.matches[:_SHOWN]:
        energies = f"{match.energy:>11.5g}  {match.total:>11.5g}"
        print(f"{match.distance:>8.3f}  {match.bits:>4}  {energies}  {match.row:>9}  {printable(match.file)}")
    if found.seed is not None and len(found.matches) > _SHOWN:
        print(f"and {len(found.matches) - _SHOWN} more; --json prints all")
    if options.output is not None:
        drawn = "" if found.seed is None else f", drawn with seed {found.seed},"
        print(f"{counted(len(found.matches), 'shower')}{drawn} in {options.output}")
