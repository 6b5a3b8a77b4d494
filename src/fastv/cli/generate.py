"""``fastv generate``: generate showers with a model."""

from __future__ import annotations

import argparse
from typing import Any

from fastv.cli.assignments import assignments, options_by_name
from fastv.cli.parser import whole
from fastv.conditions.table import CONDITIONS
from fastv.wording import counted

FUNCTION = "fastv.Model.generate_file"


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv generate``."""
    parser = verbs.add_parser("generate", help="generate showers with a model into a file")
    parser.add_argument("model", metavar="MODEL", help="model directory, or name of a shipped model")
    parser.add_argument(
        "-n", type=whole, metavar="N", help="number of showers (with --like, by default as many as in FILE)"
    )
    for name in _asked():
        parser.add_argument(f"--{name}", metavar=name[0].upper(), help=CONDITIONS[name].help)
    parser.add_argument("--like", metavar="FILE", help="use the conditions of the showers in FILE, in order")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="showers file to write")
    parser.add_argument(
        "--seed",
        type=whole,
        default=0,
        help="the same seed and number of showers give the same showers (default 0)",
    )
    parser.add_argument(
        "--set",
        dest="options",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change an option of the generation, as in --set steps=8; may be repeated",
    )
    parser.add_argument("--scheduler", metavar="ADDR", help="use the workers of a Dask cluster: tcp://host:8786")
    parser.add_argument("--extrapolate", action="store_true", help="allow conditions outside the model's domain")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run with the same arguments")
    parser.add_argument("--force", action="store_true", help="replace FILE, or discard an interrupted run")
    parser.add_argument("--json", action="store_true", help="print machine-readable results")
    parser.set_defaults(run=run)
    parser.settings = options_by_name


def _asked() -> list[str]:
    """The conditions that can be requested."""
    return [name for name, condition in CONDITIONS.items() if condition.on_request]


def run(options: argparse.Namespace) -> None:
    """Generate, and print the time."""
    import json
    import time

    from fastv.model import load
    from fastv.progress import say
    from fastv.showers import ShowersWriter
    from fastv.showers.layout import SHOWERS_ENDINGS
    from fastv.storage.output import check_ending

    check_ending(options.output, SHOWERS_ENDINGS, "showers")
    ShowersWriter.check_free(options.output, force=options.force, resume=options.resume)
    model = load(options.model)
    if other := model.other_version:
        say(other)
    started = time.perf_counter()
    n = model.generate_file(
        options.output,
        n=options.n,
        like=options.like,
        seed=options.seed,
        extrapolate=options.extrapolate,
        options=assignments(options.options),
        scheduler=options.scheduler,
        resume=options.resume,
        force=options.force,
        **{name: getattr(options, name) for name in _asked()},
    )
    seconds = time.perf_counter() - started
    result = {"output": options.output, "showers": n, "seconds": round(seconds, 3), "model": model.name}
    if options.json:
        print(json.dumps(result))
    else:
        print(f"{counted(n, 'shower')} of {model.name} in {options.output}, {seconds:.1f} s including writing")
