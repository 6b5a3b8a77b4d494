"""``fastv reconstruct``: write showers that a model makes of the codes of others."""

from __future__ import annotations

import argparse
from typing import Any

from fastv.wording import counted

FUNCTION = "fastv.representation.encoding.reconstruct_file"


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv reconstruct``."""
    parser = verbs.add_parser(
        "reconstruct",
        help="write the showers that a model makes of the codes of others",
        description="Encode each shower of FILE, and write the shower that belongs to its mean code: what the code "
        "keeps of it. 'fastv evaluate FILE OUT' and 'fastv view OUT' then show what is lost.",
    )
    parser.add_argument("model", metavar="MODEL", help="model directory, or name of a shipped model")
    parser.add_argument("source", metavar="FILE", help="showers file")
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help="showers file to write")
    parser.add_argument(
        "--extrapolate",
        action="store_true",
        help="allow conditions outside the model's domain, and other detectors with the same cells",
    )
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run with the same arguments")
    parser.add_argument("--force", action="store_true", help="replace OUT, or discard an interrupted run")
    parser.add_argument("--json", action="store_true", help="print machine-readable results")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Reconstruct, and print the time."""
    import json
    import time

    from fastv.representation.encoding import reconstruct_file

    started = time.perf_counter()
    n = reconstruct_file(
        options.model,
        options.source,
        options.output,
        extrapolate=options.extrapolate,
        resume=options.resume,
        force=options.force,
    )
    seconds = time.perf_counter() - started
    if options.json:
        print(json.dumps({"output": options.output, "showers": n, "seconds": round(seconds, 3)}))
    else:
        print(f"{counted(n, 'shower')} reconstructed in {options.output}, {seconds:.1f} s including writing")
