"""What summaries have in common: their form, how they are printed, and how values stand in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastv.conditions.particles import PDG_NAMES
from fastv.conditions.record import Conditions
from fastv.conditions.table import CONDITIONS
from fastv.conditions.units import format_energy
from fastv.conditions.words import in_words
from fastv.detector.detector import Detector
from fastv.errors import printable
from fastv.records import finite


class Summary(Protocol):
    """A summary that :func:`print_summary` can print."""

    def rows(self) -> list[tuple[str, str]]:
        """Labels and values of the table, in order."""

    def tables(self) -> list[str]:
        """Tables of more columns, or of many lines, that follow."""

    def as_dict(self) -> dict[str, Any]:
        """The summary as JSON data, in MeV, mm and rad."""


@dataclass(frozen=True)
class Facts:
    """A summary that is put together from lines.

    Attributes:
        lines: labels and values of the table.
        content: the same as JSON data.
    """

    lines: list[tuple[str, str]]
    content: dict[str, Any]

    def rows(self) -> list[tuple[str, str]]:
        """Labels and values of the table, in order."""
        return self.lines

    def tables(self) -> list[str]:
        """None."""
        return []

    def as_dict(self) -> dict[str, Any]:
        """The summary as JSON data, in MeV, mm and rad."""
        return self.content


def print_summary(summary: Summary, *, as_json: bool = False) -> None:
    """Print a summary to standard output, as a table or as JSON.

    Example:
        >>> from fastv.sample import sample_path
        >>> from fastv.summary import summarise_file
        >>> print_summary(summarise_file(sample_path("train")))  # doctest: +ELLIPSIS
        file...
        mesh...45 layers x 16 alpha x 9 r, 6480 voxels
        ...
    """
    if as_json:
        text = json.dumps(finite(summary.as_dict()), indent=2)
    else:
        rows = summary.rows()
        width = max((len(label) for label, _ in rows), default=0) + 2
        lines = (f"{label:<{width}}{value}" for label, value in rows)
        blocks = [*(["\n".join(lines)] if rows else []), *summary.tables()]
        lines = (line for block in blocks for line in [*block.splitlines(), ""])
        # Control characters in a file must not reach the terminal.
        text = "\n".join(map(printable, lines)).rstrip()
    print(text, flush=True)


def further_conditions() -> list[str]:
    """Names of the real-valued conditions other than the incident energy, which is summarised in more detail."""
    return [name for name, each in CONDITIONS.items() if each.dtype == "float64" and name != "energy"]


def words(value: Any) -> str:
    """A value of a description as text: mappings and lists in one line, numbers with at most six digits."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {words(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(words(item) for item in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def energy_text(energy: float, digits: int) -> str:
    """An energy in MeV in the fitting unit."""
    return format_energy(energy, digits, space=" ")


def moments_of(values: NDArray[Any]) -> dict[str, float] | None:
    """Extremes and median of the values (n,) of a column, of those that are numbers."""
    numbers = values[np.isfinite(values)]
    if not numbers.size:
        return None
    low, middle, high = np.quantile(numbers, (0, 0.5, 1)).tolist()
    return {"median": middle, "min": low, "max": high}


def moments_text(values: NDArray[Any]) -> str:
    """The same as text."""
    found = moments_of(values)
    return "no value" if found is None else "median {median:.4g}, from {min:.4g} to {max:.4g}".format(**found)


def condition_rows(conditions: Conditions) -> list[tuple[str, str]]:
    """Lines of the ranges of conditions, and of how many showers have which particle."""
    rows = []
    for name in ("energy", *further_conditions()):
        if (values := conditions.get(name)) is not None and len(values):
            label = CONDITIONS[name].label or name
            rows.append((label, in_words(name, float(values.min()), float(values.max()), digits=5)))
    if (codes := conditions.particle) is not None and len(codes):
        rows.append(("particles", particles_text(codes)))
    return rows


def ranges_of(conditions: Conditions) -> dict[str, Any]:
    """The ranges of conditions, and the numbers of particles, as JSON data."""
    ranges: dict[str, Any] = {
        name: [float(values.min()), float(values.max())]
        for name in ("energy", *further_conditions())
        if (values := conditions.get(name)) is not None and len(values)
    }
    if (codes := conditions.particle) is not None:
        ranges["particles"] = number_of_each(codes)
    return ranges


def number_of_each(codes: NDArray[Any]) -> dict[int, int]:
    """How many particles have which PDG code."""
    return dict(zip(*(each.tolist() for each in np.unique(codes, return_counts=True)), strict=True))


def particles_text(codes: NDArray[Any]) -> str:
    """How many particles have which name."""
    return ", ".join(f"{PDG_NAMES.get(code, f'PDG {code}')}: {n}" for code, n in number_of_each(codes).items())


def provenance_rows(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Lines that tell how something was made."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in provenance.items()}
    return [(f"made: {name}", " ".join(text.split())) for name, text in texts.items()]


def detector_rows(detector: Detector) -> list[tuple[str, str]]:
    """Lines of a detector and of its mesh."""
    name = f"{detector.name}: {detector.description}" if detector.description else detector.name
    return [("detector", name), ("mesh", detector.mesh.describe())]


def file_text(path: Path, what: str) -> str:
    """A file with its size and what it holds."""
    return f"{path} ({size_text(path.stat().st_size)}, {what})"


def size_text(n: int) -> str:
    """A size in bytes."""
    if n < 1_000_000:
        return f"{n / 1000:.1f} kB"
    return f"{n / 1e6:.1f} MB" if n < 1_000_000_000 else f"{n / 1e9:.2f} GB"
