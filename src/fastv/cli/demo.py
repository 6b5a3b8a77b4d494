"""``fastv demo``: all steps from training to a report, on the shipped sample."""

from __future__ import annotations

import argparse
from typing import Any

FUNCTION = "fastv.demo.demo"


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv demo``."""
    parser = verbs.add_parser(
        "demo", help="train, generate, evaluate and export on the shipped showers, in a few minutes"
    )
    parser.add_argument(
        "-o", "--output", metavar="DIR", default="fastv-demo", help="folder to write (default fastv-demo)"
    )
    parser.add_argument("--force", action="store_true", help="replace DIR if it exists")
    parser.add_argument("--json", action="store_true", help="print machine-readable results")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Run all steps, and print the main results."""
    import json

    from fastv.demo import demo

    result = demo(options.output, force=options.force)
    if options.json:
        print(json.dumps(result))
        return
    from fastv.evaluation.report import words
    from fastv.evaluation.verdict import Line

    samples = {name: [Line.model_validate(line) for line in lines] for name, lines in result["samples"].items()}
    head = "".join(f"  {name:>36}" for name in samples)
    print(f"\n{'worst deviation from Geant4':<28}{head}  {'floor':>24}")
    for lines in zip(*samples.values(), strict=True):
        cells = "".join(f"  {words.number(line.value, line.unit)} {line.status:>10}".rjust(38) for line in lines)
        print(f"{lines[0].question:<28}{cells}  {words.floor(lines[0]):>24}")
    # The table holds targets only; a verdict may rest on metrics and integrity checks.
    for name, verdict in result["verdicts"].items():
        print(f"\n{name}: {verdict['words']}", end="")
    print(f"\n\nGeant4 {result['geant4_ms_per_shower']:.0f} ms per shower; FastV", end=" ")
    print(", ".join(f"{ms:.3f} ms at batch {batch}" for batch, ms in result["fastv_ms_per_shower"].items()))
    print(f"report: {result['report']}")
