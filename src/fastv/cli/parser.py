"""Argument parser: errors in one line with a suggestion, and translation of library messages to flags."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from fastv.cli.streams import printable

_REFERENCE = re.compile(r"`(?:(?P<function>fastv(?:\.\w+)+)|(?P<parameter>[a-z]\w*)(?:=(?P<value>[^`]*))?)`")

_QUOTES = "'\""


class Parser(argparse.ArgumentParser):
    """Parser of the command line or of one verb.

    The destination of each option of a verb is the name of the parameter of the public function that the verb calls,
    so the parser can translate parameters to flags.
    """

    def error(self, message: str) -> NoReturn:
        """Print one line to standard error, and exit with code 2."""
        self.exit(2, f"{self.prog}: {printable(message)} (see '{self.prog} --help')\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse like argparse, but unknown arguments are refused by the parser of the verb."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            word = unknown[0].partition("=")[0]
            known = [flag for action in self._actions for flag in action.option_strings]
            self.error(
                f"unknown option {word}{_suggestion(word, known)}"
                if word.startswith("-")
                else f"unexpected argument {word!r}"
            )
        return options, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        # argparse makes no suggestions before Python 3.14. Only the verb has choices.
        if action.choices is not None and value not in action.choices:
            msg = f"unknown verb {value!r}{_suggestion(str(value), action.choices)}"
            raise argparse.ArgumentError(None, msg)

    def translated(self, message: str, verbs: Mapping[str, str]) -> str:
        """Translate a message of the library: parameters become flags, functions become verbs.

        Args:
            message: the message, with references as described in :mod:`fastv.errors`.
            verbs: verbs by the full name of the public function.

        Example:
            >>> parser = Parser(prog="fastv simulate")
            >>> _ = parser.add_argument("--mesh", metavar="M")
            >>> _ = parser.add_argument("-n", metavar="N")
            >>> _ = parser.add_argument("--force", action="store_true")
            >>> parser.translated("give `n=...` and `mesh='par04-siw'`, or leave `mesh` out and pass `force=True`", {})
            'give -n N and --mesh par04-siw, or leave --mesh out and pass --force'
            >>> parser.translated("see `fastv.view`; `depth` is unknown here", {"fastv.view": "view"})
            'see fastv view; `depth` is unknown here'
        """
        actions = {action.dest: action for action in self._actions}

        def words(reference: re.Match[str]) -> str:
            function, name, value = reference.group("function", "parameter", "value")
            if function is not None:
                return f"fastv {verbs[function]}" if function in verbs else reference[0]
            action = actions.get(name)
            if action is None:
                return reference[0]
            metavar = str(action.metavar or name.upper())
            if not action.option_strings:
                return metavar
            flag = action.option_strings[-1]
            if value is None or action.nargs == 0:
                return flag
            return f"{flag} {metavar if value == '...' else shlex.quote(value.strip(_QUOTES))}"

        return _REFERENCE.sub(words, message)


def _suggestion(word: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    found = get_close_matches(word, list(known), n=1)
    return f"; did you mean {found[0]}?" if found else ""
