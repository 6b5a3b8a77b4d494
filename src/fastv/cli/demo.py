"""``fastv demo``: the whole story on the shipped sample."""

from __future__ import annotations

import argparse
from typing import Any

FUNCTION = "fastv.demo.demo"


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv demo``."""
    parser = verbs.add_parser("demo", help="the whole story on the shipped showers, in a few minutes")
    parser.add_argument("-o", "--output", metavar="DIR", default="fastv-demo", help="folder to write (fastv-demo)")
    parser.add_argument("--force", action="store_true", help="replace DIR if it exists")
    parser.add_argument("--json", action="store_true", help="print machine-readable results")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Run all stages and print the figures that matter."""
    import json

    from fastv.demo import demo

    result = demo(options.output, force=options.force)
    if options.json:
        print(json.dumps(result))
        return
    samples = result["samples"]
    print(
        "".join(
            ["\n", f"{'worst deviation from Geant4':<28}", *(f"  {name:>34}" for name in samples), f"  {'floor':>24}"]
        )
    )
    for rows in zip(*samples.values(), strict=True):
        cells = [f"{row['worst']} {row['judgement']:>10}" for row in rows]
        print("".join([f"{rows[0]['figure']:<28}", *(f"  {cell:>34}" for cell in cells), f"  {rows[0]['floor']:>24}"]))
    print(f"\nGeant4 {result['geant4_ms_per_shower']:.0f} ms a shower; FastV", end=" ")
    print(", ".join(f"{ms:.3f} ms at batch {batch}" for batch, ms in result["fastv_ms_per_shower"].items()))
    print(f"report: {result['report']}")
