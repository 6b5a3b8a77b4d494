"""Noise inside a graph: thousands of random numbers from a few, by an integer hash of operators of ONNX.

A shower's few numbers become a 64-bit key, and the key with a counter becomes one 64-bit word for eight normal
numbers or a uniform one. All of it is arithmetic of integers, modulo 2^64, so that every runtime has the same numbers.
The operators are those that onnxruntime runs fast: to look up a table, ``GatherElements`` takes a fifth of the time of
``Gather``.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from fastv.export.nodes import BYTE, FLOAT, INT, INT32, UNSIGNED, UNSIGNED32, Nodes
from fastv.noise import NoiseSpec

BITS_OF_SEEDS = 24
"""Seeds are multiplied by two to this power and cut to whole numbers."""
LARGEST_SEED = 2.0**30
_BYTES = 8
_FEW = 64
_STRETCH = (1.023964065275, -0.022130776269, 0.003233746099)
_STEP = 0x9E3779B97F4A7C15
_ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
"""Step and multipliers of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014, doi:10.1145/2714064.2660195)."""


def _signed(value: int) -> int:
    value %= 2**64
    return value - 2**64 if value >= 2**63 else value


def _mixed(nodes: Nodes, words: str, *, shift: int, multiplier: int) -> str:
    """``(w ^ (w >> shift)) * multiplier`` of signed words."""
    unsigned = nodes("Cast", words, to=UNSIGNED)
    shifted = nodes("BitShift", unsigned, nodes.constant(shift, np.uint64), direction="RIGHT")
    folded = nodes("Cast", nodes("BitwiseXor", unsigned, shifted), to=INT)
    return nodes("Mul", folded, nodes.integers(_signed(multiplier)))


def hashed_noise(nodes: Nodes, seeds: str, n_seeds: int, noise: NoiseSpec, *, output: str) -> str:
    """Noise (N, ``noise.size``) from seeds (N, S), which must be finite and at most :data:`LARGEST_SEED`.

    Each four normal numbers are a rotation of four of the 256 :func:`levels`, so they are sums of four: of the
    probability beyond 4 standard deviations, 98.6 % is there. Uniform columns are of 24 bits.
    """
    whole = nodes("Cast", nodes("Mul", seeds, nodes.constant(2.0**BITS_OF_SEEDS)), to=INT)
    # One odd factor for each seed, so that every bit of a seed changes the key.
    generator = np.random.Generator(np.random.PCG64(20_04))
    factors = generator.integers(-(2**63), 2**63 - 1, size=(n_seeds, 1)) | 1
    key = nodes("MatMul", whole, nodes.integers(factors))
    n_words = math.ceil(noise.normal / _BYTES)
    # Two uniform numbers of a word take more operators, which only many are worth.
    n_uniform = noise.uniform if noise.uniform <= _FEW else math.ceil(noise.uniform / 2)
    counter = np.arange(1, n_words + n_uniform + 1, dtype=np.uint64) * np.uint64(_STEP)
    words = nodes("Add", key, nodes.integers(counter.view(np.int64)[None]))
    for shift, multiplier in _ROUNDS:
        words = _mixed(nodes, words, shift=shift, multiplier=multiplier)
    words = nodes("Cast", words, to=UNSIGNED)
    for_normal, for_uniform = nodes.split(words, n_words, n_uniform) if noise.uniform else (words, "")
    parts = []
    if noise.normal:
        parts.append(_first(nodes, _normal(nodes, for_normal, n_words), noise.normal, _BYTES * n_words))
    if noise.uniform:
        numbers, came = _uniform(nodes, for_uniform, n_uniform, two=noise.uniform > _FEW)
        parts.append(_first(nodes, numbers, noise.uniform, came))
    return nodes("Concat", *parts, axis=1, output=output)


def _first(nodes: Nodes, table: str, n: int, columns: int) -> str:
    # Not Slice, which onnxruntime copies number by number.
    return table if n == columns else nodes.split(table, n, columns - n)[0]


def levels() -> NDArray[np.float32]:
    """256 levels of equal probability with the moments of the normal distribution up to the seventh.

    They are the quantiles q in the middle of 256 intervals, moved to q (1.024 - 0.0221 q^2 + 0.00323 q^4). The table
    is small, so that it stays in the fastest memory: one of 2^16 quantiles takes ten times as long to be read.
    """
    quantile = np.array([NormalDist().inv_cdf((i + 0.5) / 256) for i in range(256)])
    powers = quantile[:, None] ** np.array([1, 3, 5])
    return np.asarray(powers @ _STRETCH, np.float32)


def _normal(nodes: Nodes, words: str, n_words: int) -> str:
    """Normal numbers (N, 8 W), one for each 8 bits of words (N, W)."""
    shifts = nodes.constant(np.arange(56, -1, -8).reshape(1, _BYTES, 1), np.uint64)
    parts = nodes("BitShift", nodes.reshaped(words, 0, 1, n_words), shifts, direction="RIGHT")
    byte = nodes("Cast", nodes("Cast", parts, to=BYTE), to=INT32)  # the first cast keeps the lowest bits
    found = nodes("GatherElements", nodes.constant(levels()), nodes.reshaped(byte, -1), axis=0)
    rotation = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
    fours = nodes.known(nodes.reshaped(found, -1, 4, 2 * n_words), 4, 2 * n_words)
    rotated = nodes.known(nodes("MatMul", nodes.constant(rotation), fours), 4, 2 * n_words)
    return nodes.known(nodes.reshaped(rotated, 0, _BYTES * n_words), _BYTES * n_words)


def _uniform(nodes: Nodes, words: str, n_words: int, *, two: bool) -> tuple[str, int]:
    """Uniform numbers from words (N, W), one or two of each word, and how many they are."""
    if two:
        shifts = nodes.constant(np.array([32, 0]).reshape(1, 2, 1), np.uint64)
        halves = nodes("BitShift", nodes.reshaped(words, 0, 1, n_words), shifts, direction="RIGHT")
        whole = nodes.reshaped(nodes("Cast", halves, to=UNSIGNED32), 0, 2 * n_words)
    else:
        whole = nodes("BitShift", words, nodes.constant(32, np.uint64), direction="RIGHT")
    # Less than one after rounding to single precision.
    return nodes("Mul", nodes("Cast", whole, to=FLOAT), nodes.constant(2.0**-32 - 2.0**-56)), n_words * (1 + two)
