"""A table of plain text, which pages, Markdown and terminals show each in their way."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from fastv.errors import printable

Kind = Literal["text", "number", "status", "words", "code"]
"""Text may be broken into lines, a number not; a status gets its colour, words are small, code is monospaced."""
_MARKS = {"agrees": "🟢", "undecided": "🟠", "differs": "🔴", "not judged": "⚪"}


class Column(NamedTuple):
    """The head of a column and the kind of its cells."""

    name: str
    kind: Kind = "text"


STATUS = Column("status", "status")


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        columns: their heads.
        rows: a cell a column; of a cell with several lines, a page shows all but the first smaller.
        notes: sentences below it.
        stacked: whether a page on a narrow screen shows each row as a block of labelled lines.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    stacked: bool = False

    @classmethod
    def of_numbers(
        cls,
        head: Sequence[str],
        rows: Iterable[Sequence[str]],
        *,
        numbers_from: int = 1,
        notes: Sequence[str] = (),
        stacked: bool = False,
    ) -> Table:
        """A table whose columns are text at first and numbers from column ``numbers_from`` on.

        Example:
            >>> print(Table.of_numbers(["batch", "ms"], [["1", "4.2"]]).text())
            batch  ms
            1      4.2
        """
        columns = [Column(name, "number" if i >= numbers_from else "text") for i, name in enumerate(head)]
        return cls(columns, list(rows), notes, stacked)

    @property
    def lines(self) -> list[list[str]]:
        """The head and the rows, each cell in one line."""
        return [[_one_line(cell) for cell in row] for row in ([c.name for c in self.columns], *self.rows)]

    def text(self) -> str:
        """The table for a terminal, with its notes."""
        widths = [max(map(len, cells)) for cells in zip(*self.lines, strict=True)]
        lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in self.lines]
        return "\n".join([*lines, *self.notes])

    def markdown(self) -> str:
        """The table in Markdown, with its notes.

        Example:
            >>> print(Table([Column("a"), STATUS], [["x|y", "agrees"]]).markdown())
            | a | status |
            |---|---|
            | x\\|y | 🟢 agrees |
        """
        head, *rows = [[escaped(marked(cell)) for cell in line] for line in self.lines]
        lines = [f"| {' | '.join(line)} |" for line in (head, *rows)]
        lines.insert(1, "|---" * len(head) + "|")
        return "\n\n".join(["\n".join(lines), *map(escaped, self.notes)])


def marked(status: str) -> str:
    """A status with its mark in colour; any other text as it is."""
    return f"{_MARKS[status]} {status}" if status in _MARKS else status


def _one_line(cell: str) -> str:
    return printable(" ".join(cell.split("\n")))


def escaped(text: str) -> str:
    """A text, such as a name of a file, that stands in Markdown as it is: without HTML, links or marks.

    Example:
        >>> print(escaped("<b>a_b</b> *c*|[d](e)"))
        &lt;b&gt;a_b&lt;/b&gt; \\*c\\*\\|\\[d\\](e)
    """
    text = re.sub(r"([\\`*|\[\]]|(?<!\w)_|_(?!\w))", r"\\\1", printable(text))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
