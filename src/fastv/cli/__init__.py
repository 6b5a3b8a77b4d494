"""The command line: one short module per verb, assembled here.

A verb's module defines ``add_parser(verbs)``, which describes its options; ``run(options)``, which imports what it
needs and calls one public function; and ``FUNCTION``, the name of that function. The destination of an option is the
name of the function's parameter, so that messages of the library can be translated to flags. Results go to standard
output, progress to standard error. An error that the user can fix is printed in one line, with exit code 2.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from fastv import interruption, progress
from fastv._version import __version__
from fastv.cli import (
    adapt,
    bench,
    compare,
    components,
    convert,
    demo,
    discriminate,
    distill,
    doctor,
    duplicates,
    encode,
    estimate,
    evaluate,
    explore,
    export,
    fastsim,
    generate,
    index,
    info,
    manifold,
    models,
    reconstruct,
    retrieve,
    score,
    search,
    simulate,
    train,
    view,
)
from fastv.cli.parser import Parser
from fastv.cli.streams import guarded
from fastv.errors import FastVError, FastVWarning, UnitsWarning, printable

VERBS = (
    demo,
    simulate,
    fastsim,
    info,
    convert,
    train,
    distill,
    adapt,
    generate,
    evaluate,
    compare,
    encode,
    reconstruct,
    score,
    components,
    discriminate,
    manifold,
    index,
    search,
    duplicates,
    retrieve,
    estimate,
    explore,
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
        epilog="'fastv help VERB' lists the options of a verb. Energies are in MeV, lengths in mm, angles in rad.",
    )
    parser.add_argument("--version", action="version", version=f"fastv {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb", required=True)
    for verb in VERBS:
        verb.add_parser(verbs)
    asked = verbs.add_parser("help", help="list the verbs, or the options of one: fastv help VERB")
    asked.add_argument("about", metavar="VERB", nargs="?", choices=list(verbs.choices), help="the verb")
    asked.set_defaults(run=lambda options: verbs.choices.get(options.about, parser).print_help())
    for choice in verbs.choices.values():
        amount = choice.add_mutually_exclusive_group()
        amount.add_argument("-q", "--quiet", action="store_true", help="no progress on standard error")
        amount.add_argument("-v", "--verbose", action="store_true", help="more lines of progress on standard error")
    return parser, verbs.choices


def functions() -> dict[str, str]:
    """The verbs by the full names of the public functions that they call."""
    return {verb.FUNCTION: verb.__name__.rpartition(".")[2] for verb in VERBS if verb is not models}


def _show_in_one_line(prefix: str) -> None:
    """Print our own warnings in one line to standard error; those of libraries are shown as ever."""
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        if issubclass(category, FastVWarning):
            what = "please check: " if issubclass(category, UnitsWarning) else ""
            print(f"{prefix}: {what}{printable(str(message))}", file=sys.stderr)
        else:
            usual(message, category, *rest, **more)

    warnings.showwarning = show
    warnings.simplefilter("always", FastVWarning)


def _wait_briefly() -> None:
    """Let OpenMP's threads wait actively for a moment only, unless the user has set how they wait.

    By default they do so for milliseconds at every barrier, in the hope that the others come soon. On a machine with
    other work the others may be waiting for that very core, and a training on two cores takes 30 times as long.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns:
        The exit code: 0; 2 for an error that the user can fix; 130 after Ctrl-C and 143 after SIGTERM.
    """
    parser, verbs = command_line()
    if "_ARGCOMPLETE" in os.environ:  # the shell requests completions
        import argcomplete

        argcomplete.autocomplete(parser)
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    options = parser.parse_args(arguments)
    # Pictures go to files: the backend of a notebook or a window, which programs inherit, may not even be installed.
    os.environ["MPLBACKEND"] = "agg"
    _wait_briefly()
    error: BaseException | None = None
    with interruption.handled(), progress.amount(options.verbose - options.quiet):
        try:
            with warnings.catch_warnings():
                _show_in_one_line(f"fastv {options.verb}")
                options.run(options)
        except (Exception, KeyboardInterrupt) as raised:
            error = raised
        # Whatever error an interruption has turned into, it was one.
        signalled = interruption.received()
    if signalled is not None or isinstance(error, KeyboardInterrupt):
        print(
            f"fastv {options.verb}: interrupted{printable(_how_to_go_on(options, arguments, error))}", file=sys.stderr
        )
        return 128 + (signal.SIGINT if signalled is None else signalled)
    if isinstance(error, FastVError):
        message = verbs[options.verb].translated(str(error), functions())
        print(f"fastv {options.verb}: {message}", file=sys.stderr)
        return 2
    if error is not None:
        raise error
    return 0


def _how_to_go_on(options: argparse.Namespace, arguments: Sequence[str], error: BaseException | None) -> str:
    """What an interruption has left of the output, and the command that continues."""
    output = getattr(options, "output", None)
    if output is None:
        return ""
    if error is None:
        return f" when {output} was complete"
    if not hasattr(options, "resume"):
        return "; nothing was written, the same command starts again"
    # Imported only now, as a command that was interrupted at once has not needed it.
    from fastv.storage.unfinished import is_left

    if not is_left(output):
        return "; nothing was finished, the same command starts again"
    words = [*arguments, *([] if options.resume else ["--resume"])]
    return f"; finished work is kept, continue with: fastv {shlex.join(words)}"
