"""``fastv bench``: measure the speed of a model."""

from __future__ import annotations

import argparse
from typing import Any

from fastv.cli.assignments import assignments, options_by_name
from fastv.cli.parser import whole

FUNCTION = "fastv.bench.bench"


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv bench``."""
    parser = verbs.add_parser("bench", help="measure the speed of generation in onnxruntime")
    parser.add_argument("model", metavar="MODEL|FILE.onnx", help="model directory, shipped model, or exported graph")
    parser.add_argument("--batch", metavar="N,N", default="1,100,1000", help="batch sizes (default 1,100,1000)")
    parser.add_argument("--threads", type=whole, default=1, help="threads used for one batch (default 1)")
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="how many seconds to measure each batch size (default 3)"
    )
    parser.add_argument(
        "--set",
        dest="options",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change an option of the generation, as in --set steps=8; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print machine-readable results")
    parser.set_defaults(run=run)
    parser.settings = options_by_name


def run(options: argparse.Namespace) -> None:
    """Print a table, or JSON."""
    import json

    from fastv.bench import bench
    from fastv.errors import SettingsError

    try:
        batch = [int(size) for size in options.batch.split(",")]
    except ValueError as error:
        msg = f"--batch takes integers separated by commas, as in 1,100,1000; got {options.batch!r}"
        raise SettingsError(msg) from error
    result = bench(
        options.model,
        batch=batch,
        threads=options.threads,
        seconds=options.seconds,
        options=assignments(options.options),
    )
    if options.json:
        print(json.dumps(result))
        return
    print(f"{result['model']} on {result['processor']}, {result['threads']} thread(s), {result['engine']}")
    print(f"{'batch':>8}  {'ms/shower':>10}  {'p99':>10}  {'showers/s':>10}")
    for row in result["timings"]:
        median, p99 = row["ms_per_shower_median"], row["ms_per_shower_p99"]
        print(f"{row['batch']:>8}  {median:>10.4f}  {p99:>10.4f}  {row['showers_per_second']:>10.0f}")
    print(f"included: {result['included']}")
