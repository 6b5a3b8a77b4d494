"""The command line: one short module per verb, assembled here.

A verb's module defines ``add_parser(verbs)``, which describes its options; ``run(options)``, which imports what it
needs and calls one public function; and ``FUNCTION``, the name of that function. The destination of an option is the
name of the function's parameter, so that messages of the library can be translated to flags. Results go to standard
output, progress to standard error. An error that the user can fix is printed in one line, with exit code 2.
"""

from __future__ import annotations

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
from fastv.cli.parser import Parser
from fastv.cli.streams import guarded, printable
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


def command_line() -> tuple[Parser, dict[str, Parser]]:
    """The parser of the command line, and the parsers of the verbs by name."""
    parser = Parser(
        prog="fastv",
        description="Generative fast simulation of particle showers: from full simulation to a model inside Geant4.",
        epilog="'fastv VERB --help' lists the options of a verb. Energies are in MeV, lengths in mm, angles in rad.",
    )
    parser.add_argument("--version", action="version", version=f"fastv {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb", required=True)
    for verb in VERBS:
        verb.add_parser(verbs)
    return parser, verbs.choices


def functions() -> dict[str, str]:
    """The verbs by the full names of the public functions that they call."""
    return {verb.FUNCTION: verb.__name__.rpartition(".")[2] for verb in VERBS if verb is not models}


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; the exit code is 0, 2 for an error that the user can fix, or 130 after Ctrl-C."""
    parser, verbs = command_line()
    if "_ARGCOMPLETE" in os.environ:  # the shell requests completions
        import argcomplete

        argcomplete.autocomplete(parser)
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except FastVError as error:
        message = verbs[options.verb].translated(str(error), functions())
        print(f"fastv {options.verb}: {printable(message)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"fastv {options.verb}: interrupted", file=sys.stderr)
        return 130
    return 0
