"""``fastv view``: show showers in 3D."""

from __future__ import annotations

import argparse
from typing import Any

from fastv.wording import counted

FUNCTION = "fastv.view"


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv view``."""
    parser = verbs.add_parser(
        "view",
        help="show showers in 3D: an interactive page that works offline, or a picture",
        description="Show showers of a file in their detector, in 3D: an interactive page (FILE.html) that works "
        "offline, or a picture (FILE.png, FILE.pdf, FILE.svg).",
    )
    parser.add_argument("source", metavar="FILE", help="showers file")
    parser.add_argument(
        "--event",
        metavar="K",
        help="shower K, counted from 0; or 0,5,9 or 0-19 (default: the first 20; in a picture, the first)",
    )
    parser.add_argument(
        "--many",
        metavar="N",
        help="show the mean of the first N showers, or of all of them: --many all; not with --event",
    )
    parser.add_argument(
        "--mesh",
        metavar="M",
        help="detector of a plain CaloChallenge file: a name such as par04-siw, or a binning FILE.xml[:PARTICLE]",
    )
    parser.add_argument("--tracks", metavar="FILE", help="also draw the tracks that 'fastv simulate --event K' wrote")
    parser.add_argument("--camera", metavar="C", default="3D", help="view: 3D, side or front (default 3D)")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="page FILE.html, or picture FILE.png, .pdf or .svg (default: NAME-view.html in the current folder)",
    )
    parser.add_argument("--force", action="store_true", help="replace the output")
    parser.add_argument("--json", action="store_true", help="print machine-readable results")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Write the page or picture, and print what it shows."""
    import json

    from fastv.display import view

    shown = view(
        options.source,
        options.output,
        event=options.event,
        many=options.many,
        mesh=options.mesh,
        tracks=options.tracks,
        camera=options.camera,
        force=options.force,
    )
    size = shown.output.stat().st_size
    if options.json:
        events = len(shown.events) if shown.mean else list(shown.events)
        print(json.dumps({"output": str(shown.output), "bytes": size, "mean_of" if shown.mean else "events": events}))
        return
    count = len(shown.events)
    what = counted(count, "shower") if count > 1 or shown.mean else f"shower {shown.events[0]}"
    print(f"{'mean of ' if shown.mean else ''}{what} in {shown.output} ({size / 1e6:.1f} MB)")
