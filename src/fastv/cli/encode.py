"""``fastv encode``: write the codes of showers into a file."""

from __future__ import annotations

import argparse
from typing import Any

from fastv.wording import counted

FUNCTION = "fastv.representation.encoding.encode_file"


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv encode``."""
    parser = verbs.add_parser(
        "encode",
        help="write the codes that a model gives showers into a file",
        description="Write the code of each shower of FILE, with its conditions and row number: posterior means and "
        "scales of variational autoencoders, codes of autoencoders, scores of principal components.",
    )
    parser.add_argument("model", metavar="MODEL", help="model directory, or name of a shipped model")
    parser.add_argument("source", metavar="FILE", help="showers file")
    parser.add_argument("-o", "--output", metavar="CODES", required=True, help="HDF5 file to write")
    parser.add_argument(
        "--extrapolate",
        action="store_true",
        help="allow conditions outside the model's domain, and other detectors with the same cells",
    )
    parser.add_argument("--force", action="store_true", help="replace CODES if it exists")
    parser.add_argument("--json", action="store_true", help="print machine-readable results")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Encode, and print what was written."""
    import json
    import time

    from fastv.representation.encoding import encode_file

    started = time.perf_counter()
    encoded = encode_file(
        options.model, options.source, options.output, extrapolate=options.extrapolate, force=options.force
    )
    seconds = time.perf_counter() - started
    if options.json:
        told = {"output": options.output, "showers": encoded.showers, "without_energy": encoded.empty}
        print(json.dumps({**told, "groups": encoded.groups, "model": encoded.model, "seconds": round(seconds, 3)}))
        return
    groups = ", ".join(f"{name} ({size})" for name, size in encoded.groups.items())
    showers = counted(encoded.showers, "shower")
    print(f"codes of {showers} by {encoded.model} in {options.output}, {seconds:.1f} s: {groups}")
    if encoded.empty:
        print(f"no code (NaN) for {counted(encoded.empty, 'shower')} without energy")
