"""How to get the numbers of an evaluation again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from importlib.metadata import version
from platform import python_version

from fastv.evaluation.result import Evaluation


def command(evaluation: Evaluation) -> str:
    """The command line that makes the same report."""
    words = ["fastv", "evaluate", evaluation.reference.source, evaluation.generated.source, "-o", "report"]
    if evaluation.trained_on:
        words += ["--train", evaluation.trained_on]
    for name, value in evaluation.options.items():
        words.append(f"--{name.replace('_', '-')}")
        if isinstance(value, Mapping):
            words += [f"{key}={json.dumps(each)}" for key, each in value.items()]
        elif value is not True:
            words.append(str(value))
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    """A word of a command line; one with a line break, or bytes that are no text, as bash spells it.

    Example:
        >>> print(_quoted("a b.h5"), _quoted("a\\n.h5"))
        'a b.h5' $'a\\n.h5'
    """
    if word.isprintable():
        return shlex.quote(word)
    text = "".join(c if c.isprintable() and c not in "'\\" else _bytes(c) for c in word)
    return f"$'{text}'"


def _bytes(character: str) -> str:
    if character == "\n":
        return "\\n"
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def versions() -> str:
    """Versions of what computes the numbers."""
    found = {"Python": python_version(), **{name: version(name) for name in ("numpy", "scipy", "scikit-learn")}}
    return ", ".join(f"{name} {number}" for name, number in found.items())


def time(evaluation: Evaluation) -> str:
    """How long each part took."""
    return ", ".join(f"{part} {seconds:.1f} s" for part, seconds in evaluation.seconds.items())
