"""Argument parser: errors in one line with a suggestion, and translation of library messages to flags."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from fastv.errors import printable
from fastv.suggestions import did_you_mean, nearest

_REFERENCE = re.compile(r"`(?:(?P<function>fastv(?:\.\w+)+)|(?P<parameter>[a-z]\w*)(?:=(?P<value>[^`]*))?)`")

_QUOTES = "'\""


class Parser(argparse.ArgumentParser):
    """Parser of the command line or of one verb.

    The destination of each option of a verb is the name of the parameter of the public function that the verb calls,
    so the parser can translate parameters to flags.

    Attributes:
        settings: given the options that were parsed, the settings that ``--set`` of the verb knows: for each name that
            may be taken for an option, what to write after ``--set``. None if the verb has no ``--set``.
    """

    settings: Callable[[argparse.Namespace], Mapping[str, str]] | None = None

    def error(self, message: str) -> NoReturn:
        """Print one line to standard error, and exit with code 2."""
        self.exit(2, f"{self.prog}: {printable(message)} (see '{self.prog} --help')\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse like argparse, but unknown arguments are refused by the parser of the verb."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(self._unknown(options, unknown))
        return options, unknown

    def _unknown(self, options: argparse.Namespace, unknown: Sequence[str]) -> str:
        """What to say of the first argument that is unknown."""
        word, equals, value = unknown[0].partition("=")
        if not word.startswith("-"):
            from fastv.conditions.units import ANGLE_UNITS, ENERGY_UNITS, LENGTH_UNITS

            units = {unit.lower() for unit in (*ENERGY_UNITS, *ANGLE_UNITS, *LENGTH_UNITS)}
            hint = f"; write a number and its unit in one word, as in 50{word}" if word.lower() in units else ""
            if not hint and any("--data" in action.option_strings for action in self._actions):
                hint = "; showers files come after --data"
            return f"unexpected argument {unknown[0]!r}{hint}"
        if self.settings is not None:
            known = self.settings(options)
            name = word.lstrip("-").replace("-", "_").lower()
            meant = known.get(name) or known.get(nearest(name, known) or "")
            if meant is not None:
                if not equals:
                    value = unknown[1] if len(unknown) > 1 and not unknown[1].startswith("--") else "VALUE"
                return f"unknown option {word}; to change this setting, write --set {meant}={shlex.quote(value)}"
        flags = [flag for action in self._actions for flag in action.option_strings]
        if len(word) == 2:
            alike = [flag for flag in flags if flag.lower() == word.lower() or flag.startswith(f"--{word[1]}")]
            return f"unknown option {word}{f'; did you mean {_or(alike)}?' if alike else ''}"
        return f"unknown option {word}{did_you_mean(word, flags)}"

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        # argparse makes no suggestions before Python 3.14. Only the verb has choices.
        if action.choices is not None and value not in action.choices:
            msg = f"unknown verb {value!r}{did_you_mean(str(value), action.choices)}"
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


def whole(text: str) -> int:
    """A whole number as users write it, for options of the command line.

    Raises:
        argparse.ArgumentTypeError: the text is no whole number.

    Example:
        >>> whole("1000"), whole("1e4"), whole("10_000")
        (1000, 10000, 10000)
    """
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not number.is_integer():  # neither are infinity and NaN
        msg = f"a whole number is needed, as in 1000, not {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return int(number)


def _or(words: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))
