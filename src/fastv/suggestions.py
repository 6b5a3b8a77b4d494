"""Suggestions in messages about words that nothing is called: the nearest known word, and all that are known."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, or None. Letter case, dashes and underscores do not count.

    Example:
        >>> nearest("Batch-size", ["batch_size", "epochs"]), nearest("zzz", ["epochs"])
        ('batch_size', None)
    """
    from difflib import get_close_matches

    plain = {_plain(each): each for each in known}
    found = get_close_matches(_plain(word), plain, n=1)
    return plain[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message: ``; did you mean ...?``, or nothing.

    Example:
        >>> did_you_mean("evalute", ["evaluate", "train"])
        '; did you mean evaluate?'
    """
    found = nearest(word, known)
    return f"; did you mean {found}?" if found is not None else ""


def unknown(what: str, word: str, known: Iterable[str], more: str = "") -> str:
    """The message that a word is unknown.

    Args:
        what: what the word should name.
        word: what came.
        known: what is known.
        more: what is allowed besides.

    Example:
        >>> unknown("camera", "sid", ["3D", "side", "front"])
        "unknown camera 'sid'; known: 3D, side, front; did you mean side?"
    """
    words = list(known)
    return f"unknown {what} {word[:80]!r}; known: {', '.join(words)}{more}{did_you_mean(word, words)}"


def _plain(word: str) -> str:
    return word.lstrip("-").lower().replace("_", "-")
