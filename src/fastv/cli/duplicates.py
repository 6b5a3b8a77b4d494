"""``fastv duplicates``: find showers that occur twice."""

from __future__ import annotations

import argparse
from typing import Any

from fastv.cli.parser import whole
from fastv.wording import counted

FUNCTION = "fastv.retrieval.duplicates"
_SHOWN = 10


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv duplicates``."""
    parser = verbs.add_parser(
        "duplicates",
        help="find showers that occur twice in an index, or showers of a file that copy those of an index",
        description="Find showers that repeat another one, exactly or nearly: within INDEX, or showers of FILE that "
        "repeat one of INDEX. Showers with near binary codes are compared voxel by voxel.",
    )
    parser.add_argument("index", metavar="INDEX", help="index, written by 'fastv index'")
    parser.add_argument("source", metavar="FILE", nargs="?", help="showers file, such as generated showers")
    parser.add_argument(
        "--radius", type=whole, metavar="BITS", default=4, help="largest number of bits that differ (default 4)"
    )
    parser.add_argument(
        "--distance",
        type=float,
        metavar="D",
        default=0.15,
        help="largest distance of a near copy: 0 for the same shape, 1.4 for no voxel in common (default 0.15)",
    )
    parser.add_argument(
        "--extrapolate",
        action="store_true",
        help="allow conditions outside the model's domain, and other detectors with the same cells",
    )
    parser.add_argument("--json", action="store_true", help="print machine-readable results, with all pairs")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Search, and print what was found."""
    import json

    from fastv.errors import printable
    from fastv.retrieval import duplicates

    found = duplicates(
        options.index,
        options.source,
        radius=options.radius,
        distance=options.distance,
        extrapolate=options.extrapolate,
    )
    if options.json:
        print(json.dumps(found.as_dict(), allow_nan=False))
        return
    where = "an earlier one" if options.source is None else f"one of the {found.size} in {printable(options.index)}"
    print(
        f"repeats of {where}: {found.repeats(exact=True)} exact and {found.repeats(exact=False)} near ones "
        f"(distance {found.distance:g} at most) among {counted(found.searched, 'shower')}"
    )
    bits = f"{found.radius} bit" if found.radius == 1 else f"{found.radius} bits"
    print(f"compared: {counted(found.candidates, 'pair')} with codes that differ in {bits} at most")
    if found.faint:
        print(f"too few hits to tell a near copy from chance: {counted(found.faint, 'shower')} of these")
    if not found.pairs:
        return
    print(f"{'distance':>8}  {'bits':>4}  {'scale':>7}  {'turned':>8}  shower")
    exact = [pair for pair in found.pairs if pair.exact]
    shown = [*exact[:_SHOWN], *found.pairs[len(exact) : len(exact) + _SHOWN]]
    for pair in shown:
        distance = "exact" if pair.exact else f"{pair.distance:.4f}"
        turned = f"{pair.turned_cells}{' mirror' if pair.mirrored else ''}"
        places = f"{pair.row} of {printable(pair.file)} is {pair.of_row} of {printable(pair.of_file)}"
        print(f"{distance:>8}  {pair.bits:>4}  {pair.scale:>7.4f}  {turned:>8}  {places}")
    if len(found.pairs) > len(shown):
        print(f"and {counted(len(found.pairs) - len(shown), 'more pair')}; --json prints all")
