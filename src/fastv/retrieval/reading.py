"""Showers of an index, read from their files; those of files that are missing or have changed are left out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastv.errors import FastVWarning, FileFormatError
from fastv.retrieval.index_folder import Index
from fastv.showers import Showers, ShowersFile
from fastv.storage.ahead import read_ahead

I64 = NDArray[np.int64]
_READ = 500


class SearchWarning(FastVWarning):
    """Showers of an index are left out of a search."""


class IndexedShowers:
    """Reader of some showers of an index.

    Args:
        index: the index.
        numbers: numbers of the showers in it, increasing.

    Raises:
        FileFormatError: every file of these showers is missing or has changed.

    Warns:
        SearchWarning: some of them are; their showers are left out.
    """

    def __init__(self, index: Index, numbers: I64) -> None:
        self._index = index
        self._paths: dict[int, Path] = {}
        self.left_out: list[str] = []
        """What is said of files that are missing or have changed."""
        files, _ = index.places(numbers)
        for number in np.unique(files).tolist():
            try:
                self._paths[number] = index.located(number)
            except FileFormatError as error:
                self.left_out.append(str(error))
        if self.left_out and not self._paths:
            raise FileFormatError(self.left_out[0])
        for told in self.left_out:
            warnings.warn(f"{told}; its showers are left out", SearchWarning, stacklevel=3)
        self.numbers = numbers[np.isin(files, list(self._paths))]
        """Numbers of the showers that can be read."""

    def batches(self, numbers: I64, size: int = _READ) -> Iterator[tuple[I64, Showers]]:
        """Some of the showers that can be read, in order: their numbers, and the showers of one file."""
        files, rows = self._index.places(numbers)
        for number in np.unique(files).tolist():
            own = np.flatnonzero(files == number)
            with closing(ShowersFile(self._paths[number], default=self._index.description.detector)) as file:
                parts = [own[first : first + size] for first in range(0, len(own), size)]
                for some, showers in zip(parts, read_ahead(file[rows[part]] for part in parts), strict=True):
                    yield numbers[some], showers


def plain(showers: Showers) -> Showers:
    """Showers without columns that other files may not have."""
    return Showers.of(showers.conditions, showers.energies, showers.detector)
