"""Showers that occur twice, bit for bit, within a sample or in two samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastv.evaluation.integrity.findings import Finding
from fastv.evaluation.integrity.unchecked import UncheckedScan
from fastv.wording import counted

_MOSTLY = 0.5


class Duplicates(Finding):
    """Showers that are equal in every voxel.

    ``value`` is the fraction of showers that equal an earlier one of the same sample, or any of the other sample.
    ``first`` holds the rows of the first such pair. Showers without energy are always equal, and those with one hit
    may be by chance: they are not counted.
    """

    duplicates: int = 0
    showers: int = 0
    first: tuple[int, int] | None = None


def duplicates_within(
    sample: UncheckedScan, floor: UncheckedScan | None = None, *, name: str = "generated"
) -> Duplicates:
    """Find showers of a sample that repeat an earlier one.

    Args:
        sample: scan of the sample.
        floor: scan of full simulation, for the floor.
        name: name of the sample in the sentence.

    Returns:
        ``differs`` if there is one, ``not judged`` if no shower has two hits.

    Example:
        >>> from fastv.evaluation.integrity.unchecked import scan
        >>> from fastv.sample import sample_path
        >>> from fastv.showers import ShowersFile
        >>> with ShowersFile(sample_path("test")) as file:
        ...     found = duplicates_within(scan(file[np.array([0, 1, 2, 1])]))
        >>> found.status, found.words
        ('differs', '1 of 4 generated showers repeats an earlier one: shower 3 is shower 1')
    """
    rows, count = _filled(sample)
    digests = sample.digests[rows]
    values, firsts = np.unique(digests, return_index=True)
    repeats = np.setdiff1d(np.arange(len(rows)), firsts)
    pair = None
    if len(repeats):
        pair = int(rows[repeats[0]]), int(rows[firsts[np.searchsorted(values, digests[repeats[0]])]])
    words = f"none of {count} {name} showers repeats another"
    if pair:
        verb = "repeats" if len(repeats) == 1 else "repeat"
        words = f"{len(repeats)} of {count} {name} showers {verb} an earlier one: shower {pair[0]} is shower {pair[1]}"
    own_floor = None if floor is None else duplicates_within(floor).value
    return _finding(f"duplicates within the {name} sample", words, len(repeats), count, pair, own_floor)


def duplicates_between(
    sample: UncheckedScan, other: UncheckedScan, *, name: str = "generated", other_name: str
) -> Duplicates:
    """Find showers of a sample that also occur in another sample.

    Args:
        sample, other: scans of the samples.
        name, other_name: their names in the sentence, such as ``reference`` and ``training``.

    Returns:
        ``differs`` if there is one, ``not judged`` if no shower has two hits; the sentence says whether most or all
        showers of the sample are in the other one.
    """
    rows, count = _filled(sample)
    other_rows, other_count = _filled(other)
    values, firsts = np.unique(other.digests[other_rows], return_index=True)
    digests = sample.digests[rows]
    found = np.flatnonzero(np.isin(digests, values))
    pair = None
    if len(found):
        pair = int(rows[found[0]]), int(other_rows[firsts[np.searchsorted(values, digests[found[0]])]])
    check = f"{name} showers in the {other_name} file"
    words = f"none of {count} {name} showers is in the {other_name} file"
    if pair:
        verb = "is" if len(found) == 1 else "are"
        words = (
            f"{len(found)} of {count} {name} showers {verb} in the {other_name} file, bit for bit: shower {pair[0]} is "
        )
        words += f"its shower {pair[1]}"
        if len(found) == count == other_count:
            words = f"the {name} sample is the {other_name} file: all {count} showers are equal"
        elif len(found) > _MOSTLY * count:
            words = f"the {name} sample was taken from the {other_name} file: {words}"
    return _finding(check, words, len(found), count, pair, None)


def _filled(sample: UncheckedScan) -> tuple[NDArray[np.int64], int]:
    """Rows of the showers that have two hits or damaged voxels, and their number."""
    # Of 200,000 photons of some MeV, two had one hit each with the same energy in the same voxel.
    rows = np.flatnonzero((sample.hits > 1) | (sample.not_finite > 0) | (sample.negative > 0))
    return rows, len(rows)


def _finding(
    check: str, words: str, found: int, count: int, pair: tuple[int, int] | None, floor: float | None
) -> Duplicates:
    if not count:
        words = f"not judged: {counted(0, 'shower')} with two hits"
        return Duplicates(check=check, status="not judged", words=words)
    return Duplicates(
        check=check,
        status="differs" if found else "agrees",
        words=words,
        value=found / count,
        # Several equal float32 voxels do not occur by chance: the count has no statistical error.
        error=0.0,
        floor=0.0 if floor is None else floor,
        duplicates=found,
        showers=count,
        first=pair,
    )
