"""The command line: one thin file a verb, assembled here.

A verb's module has ``add_parser(verbs)``, which describes its options and sets ``run``, and ``run(options)``, which
imports what it needs and calls one public function. Results go to standard output, progress to standard error. A user's
error is one line and exit code 2.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from fastv._version import __version__
from fastv.cli import (
    bench,
    compare,
    convert,
    demo,
    distill,
    doctor,
    evaluate,
    export,
    generate,
    info,
    models,
    simulate,
    train,
    view,
)
from fastv.errors import FastVError

VERBS = (
    demo,
    simulate,
    info,
    convert,
    train,
    distill,
    generate,
    evaluate,
    compare,
    view,
    export,
    bench,
    models,
    doctor,
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastv",
        description="Generative fast simulation of particle showers: from full simulation to a model inside Geant4.",
        epilog="'fastv VERB --help' tells the options of a verb. Energies are in MeV, lengths in mm, angles in rad.",
    )
    parser.add_argument("--version", action="version", version=f"fastv {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb", required=True)
    for verb in VERBS:
        verb.add_parser(verbs)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code: 0, 2 for a user's error, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except FastVError as error:
        print(f"fastv {options.verb}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"fastv {options.verb}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output has left (as in `fastv info FILE | head`): stop quietly.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
