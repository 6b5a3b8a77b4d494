"""Search of binary codes by their Hamming distance, with faiss."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastv.errors import MissingExtraError
from fastv.installation import how_to_install

I64 = NDArray[np.int64]
_FEW_BITS = 2
"""Up to so many bits that differ, hash tables are faster than a comparison of all codes."""
_PAIRS = 20_000_000


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


def pairs_within(
    codes: NDArray[np.uint8], others: NDArray[np.uint8], radius: int, *, most: int | None = None, same: bool = False
) -> tuple[I64, I64, NDArray[np.uint8]] | None:
    """All pairs of a code and another one that differ in ``radius`` bits at most.

    Up to two bits, codes are found in hash tables of faiss: of codes cut into ``radius + 1`` pieces, two that differ
    in so few bits have one piece in common. With more bits the pieces are so short that to compare all is faster.

    Args:
        codes, others: packed codes (n, bits / 8) and (N, bits / 8).
        radius: largest number of bits that differ.
        most: give up if there are more pairs.
        same: both are the same showers, of which each pair is wanted once: the second number is the smaller one.

    Returns:
        The numbers of both, in the order of the first and then of the second, and the numbers of bits that differ (255
        if they are more); None if there are more than ``most`` pairs.

    Raises:
        MissingExtraError: faiss is not installed.

    Example:
        >>> codes = np.array([[0b0000], [0b0001], [0b1111]], dtype=np.uint8)
        >>> pairs_within(codes, codes, 1, same=True)
        (array([1]), array([0]), array([1], dtype=uint8))
    """
    faiss = _faiss()
    bits = 8 * others.shape[1]
    if radius <= _FEW_BITS:
        index = faiss.IndexBinaryMultiHash(bits, radius + 1, min(bits // (radius + 1), 32))
    else:
        index = faiss.IndexBinaryFlat(bits)
    index.add(np.ascontiguousarray(others))
    # So many that even if all showers had the same code, their pairs would fit into memory.
    block = int(np.clip(_PAIRS // max(1, len(others)), 1, 1000))
    found: list[tuple[I64, I64, NDArray[np.uint8]]] = []
    total = 0
    for start in range(0, len(codes), block):
        ends, distances, numbers = index.range_search(np.ascontiguousarray(codes[start : start + block]), radius + 1)
        first = start + np.repeat(np.arange(len(ends) - 1), np.diff(ends.astype(np.int64)))
        wanted = numbers < first if same else np.ones(len(first), dtype=bool)
        order = np.lexsort((numbers[wanted], first[wanted]))
        told = np.rint(distances[wanted][order]).clip(0, 255).astype(np.uint8)
        found.append((first[wanted][order], numbers[wanted][order].astype(np.int64), told))
        total += len(order)
        if most is not None and total > most:
            return None
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.uint8)
    a, b, c = zip(*found, strict=True)
    return np.concatenate(a), np.concatenate(b), np.concatenate(c)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        msg = f"search needs faiss, which is not installed; {how_to_install('search')}"
        raise MissingExtraError(msg) from error
    return faiss
