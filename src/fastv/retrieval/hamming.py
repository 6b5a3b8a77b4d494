"""Search of binary codes by their Hamming distance, with faiss."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastv.errors import MissingExtraError
from fastv.installation import how_to_install

I64 = NDArray[np.int64]


class HammingSearch:
    """Packed codes in memory, compared with a query by faiss.

    All codes are compared, which takes half a millisecond for a million of 64 bits; a hash table of faiss finds equal
    codes faster, and takes 140 MB in place of 8.

    Args:
        codes: packed bits (N, bits / 8).

    Raises:
        MissingExtraError: faiss is not installed.

    Example:
        >>> codes = np.array([[0b0000], [0b0001], [0b1111]], dtype=np.uint8)
        >>> search = HammingSearch(codes)
        >>> search.nearest(codes[0], 2)
        (array([0, 1]), array([0, 1]))
        >>> search.within(codes[1], 1)
        (array([0, 1]), array([1, 0]))
    """

    def __init__(self, codes: NDArray[np.uint8]) -> None:
        faiss = _faiss()
        self._index = faiss.IndexBinaryFlat(8 * codes.shape[1])
        self._index.add(np.ascontiguousarray(codes))

    def nearest(self, code: NDArray[np.uint8], count: int) -> tuple[I64, I64]:
        """Numbers and Hamming distances of the ``count`` nearest codes, the nearest first."""
        count = min(count, int(self._index.ntotal))
        if not count:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        distances, numbers = self._index.search(code[None], count)
        return numbers[0].astype(np.int64), distances[0].astype(np.int64)

    def within(self, code: NDArray[np.uint8], radius: int) -> tuple[I64, I64]:
        """Numbers, increasing, and Hamming distances of all codes that differ in ``radius`` bits at most."""
        # What faiss takes is the first distance that is too large.
        _, distances, numbers = self._index.range_search(code[None], radius + 1)
        order = np.argsort(numbers, kind="stable")
        return numbers[order].astype(np.int64), np.rint(distances[order]).astype(np.int64)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        msg = f"search needs faiss, which is not installed; {how_to_install('search')}"
        raise MissingExtraError(msg) from error
    return faiss
