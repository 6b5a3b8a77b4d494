"""``fastv index``: write an index of the binary codes of showers."""

from __future__ import annotations

import argparse
from typing import Any

from fastv.wording import counted

FUNCTION = "fastv.index"


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv index``."""
    parser = verbs.add_parser(
        "index",
        help="write an index of showers files, in which 'fastv search' finds similar showers",
        description="Write an index of showers files: the binary code that a model of the family 'hashing' gives each "
        "shower, and where the shower is. 'fastv search' finds similar showers in it.",
    )
    parser.add_argument("model", metavar="MODEL", help="model directory of the family 'hashing'")
    parser.add_argument("files", metavar="FILE", nargs="+", help="showers files, all of the same detector")
    parser.add_argument("-o", "--output", metavar="INDEX", required=True, help="folder to write")
    parser.add_argument("--add", action="store_true", help="add the files to the existing INDEX")
    parser.add_argument(
        "--extrapolate",
        action="store_true",
        help="allow conditions outside the model's domain, and other detectors with the same cells",
    )
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run")
    parser.add_argument("--force", action="store_true", help="replace INDEX, or discard an interrupted run")
    parser.add_argument("--json", action="store_true", help="print machine-readable results")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Build the index, and print what is in it."""
    import json
    import time
    from dataclasses import asdict

    from fastv.retrieval import index

    started = time.perf_counter()
    made = index(
        options.model,
        options.files,
        options.output,
        add=options.add,
        extrapolate=options.extrapolate,
        resume=options.resume,
        force=options.force,
    )
    seconds = time.perf_counter() - started
    if options.json:
        print(json.dumps({"output": options.output, **asdict(made), "seconds": round(seconds, 3)}))
        return
    files = counted(made.files, "file")
    print(f"{counted(made.showers, 'shower')} of {files} in {options.output}, {made.bits} bits each, by {made.model}")
    print(f"{made.added} of them new, {seconds:.1f} s")
    if made.empty:
        print(f"no code for {counted(made.empty, 'shower')} without energy")
    for path in made.known:
        print(f"{path} was in the index already")
