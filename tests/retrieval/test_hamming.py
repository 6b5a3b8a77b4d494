"""Search by Hamming distance: as by counting bits one by one; and what is said without faiss."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from fastv.errors import MissingExtraError
from fastv.retrieval import hamming
from fastv.retrieval.hamming import HammingSearch


@pytest.mark.parametrize("size", [1, 8, 16])
def test_the_same_as_counting_bits(size: int) -> None:
    rng = np.random.default_rng(size)
    codes = rng.integers(0, 256, (500, size), dtype=np.uint8)
    code = codes[17]
    distances = np.unpackbits(codes ^ code, axis=1).sum(axis=1)
    search = HammingSearch(codes)
    numbers, bits = search.nearest(code, 40)
    assert len(np.unique(numbers)) == 40
    np.testing.assert_array_equal(bits, np.sort(distances)[:40])
    np.testing.assert_array_equal(bits, distances[numbers])
    for radius in (0, 2, 3 * size, 8 * size):
        numbers, bits = search.within(code, radius)
        np.testing.assert_array_equal(numbers, np.flatnonzero(distances <= radius))
        np.testing.assert_array_equal(bits, distances[numbers])


def test_more_than_there_are() -> None:
    codes = np.arange(3, dtype=np.uint8)[:, None]
    assert len(HammingSearch(codes).nearest(codes[0], 10)[0]) == 3
    assert len(HammingSearch(codes[:0]).nearest(codes[0], 10)[0]) == 0


def test_without_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"search needs faiss, which is not installed; .*(install|extra)"):
        HammingSearch(np.zeros((2, 1), np.uint8))


@pytest.mark.parametrize("radius", [0, 1, 2, 3, 5])
def test_all_pairs_within_a_radius(radius: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hamming, "_PAIRS", 5000)  # blocks of 16 codes
    rng = np.random.default_rng(radius)
    codes = rng.integers(0, 256, (300, 8), dtype=np.uint8)
    codes[150:] = codes[:150]
    for number in range(150, 300):
        for bit in rng.choice(64, number % 7, replace=False):
            codes[number, bit // 8] ^= 1 << (bit % 8)
    bits = np.unpackbits(codes[:, None] ^ codes, axis=2).sum(axis=2)
    found = hamming.pairs_within(codes, codes, radius, same=True)
    assert found is not None
    expected = np.argwhere(np.tril(bits <= radius, -1))
    np.testing.assert_array_equal(np.stack(found[:2], axis=1), expected)
    np.testing.assert_array_equal(found[2], bits[found[0], found[1]])
    found = hamming.pairs_within(codes[:40], codes[100:], radius)
    assert found is not None
    np.testing.assert_array_equal(np.stack(found[:2], axis=1), np.argwhere(bits[:40, 100:] <= radius))
    assert hamming.pairs_within(codes, codes, radius, most=len(expected) - 1, same=True) is None
