"""Values and messages of libraries as short texts of one line, numbers with their nouns; without pydantic, which takes
time to import."""

from __future__ import annotations


def shortened(value: object, most: int = 100) -> str:
    """The representation of a value, or a text as it is, cut to ``most`` characters, for messages.

    Example:
        >>> shortened([1, 2]), shortened("a" * 9, 5)
        ('[1, 2]', 'aaaaa...')
    """
    try:
        text = value if isinstance(value, str) else repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits; deep nesting
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= most else f"{text[:most]}..."


def one_line(error: object, most: int = 300) -> str:
    """The message of an error of a library in one line, cut to ``most`` characters.

    Example:
        >>> one_line(ValueError("bad  value\\n  in line 3"))
        'bad value in line 3'
    """
    return shortened(" ".join(str(error).split()) or type(error).__name__, most)


def counted(n: int, singular: str, plural: str | None = None) -> str:
    """A number with its noun.

    Example:
        >>> counted(1, "shower"), counted(0, "shower"), counted(2, "copy", "copies")
        ('1 shower', 'no shower', '2 copies')
    """
    if n == 0:
        return f"no {singular}"
    return f"{n} {singular if n == 1 else plural or singular + 's'}"
