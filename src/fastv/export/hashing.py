"""Noise inside a graph: thousands of random numbers from a few, by an integer hash of operators of ONNX.

A shower's few numbers become two 64-bit keys, and the keys with a counter become one 64-bit word for four or two
random numbers. All arithmetic is of integers, modulo 2^64, so that every runtime has the same numbers.
"""

from __future__ import annotations

import math

import numpy as np

from fastv.export.nodes import FLOAT, INT, UNSIGNED, Nodes
from fastv.noise import EXACT, NoiseSpec

BITS_OF_SEEDS = 24
"""Seeds are multiplied by two to this power and cut to whole numbers."""
LARGEST_SEED = 2.0**30
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
"""Multipliers of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014, doi:10.1145/2714064.2660195)."""


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

    Normal columns are of 16 + 16 random bits by the formula of Box and Muller, none beyond 4.9; each of the first
    :data:`~fastv.noise.EXACT` is the sum of two of them. Uniform columns are of 32 bits.
    """
    whole = nodes("Cast", nodes("Mul", seeds, nodes.constant(2.0**BITS_OF_SEEDS)), to=INT)
    # One odd factor for each seed and key; the sums are hashed until every bit depends on every seed.
    generator = np.random.Generator(np.random.PCG64(20_04))
    factors = generator.integers(-(2**63), 2**63 - 1, size=(n_seeds, 2)) | 1
    keys = nodes("MatMul", whole, nodes.integers(factors))
    for shift, multiplier in ((30, _FIRST), (27, _SECOND), (31, _GOLDEN)):
        keys = _mixed(nodes, keys, shift=shift, multiplier=multiplier)

    exact = min(EXACT, noise.normal)
    pairs = math.ceil((noise.normal + exact) / 2)
    numbers = 2 * (pairs + noise.uniform)
    n_words = math.ceil(numbers / 4)
    # An odd step, so that all words of a shower differ.
    start, step = nodes.split(keys, 1, 1)
    step = nodes("Add", nodes("Mul", step, nodes.integers(2)), nodes.integers(1))
    words = nodes("Add", nodes("Mul", nodes.integers(np.arange(1, n_words + 1)[None]), step), start)
    for shift, multiplier in ((32, _FIRST), (29, _SECOND)):
        words = _mixed(nodes, words, shift=shift, multiplier=multiplier)
    sixteen = _sixteen_bits(nodes, nodes("Cast", words, to=UNSIGNED), n_words)
    radii, angles, high, low, _ = nodes.split(
        sixteen, pairs, pairs, noise.uniform, noise.uniform, 4 * n_words - numbers
    )

    parts = []
    if noise.normal:
        normal = _box_muller(nodes, radii, angles)
        # The sum of two has 64 random bits.
        one, rest, other, _ = nodes.split(normal, exact, noise.normal - exact, exact, 2 * pairs - noise.normal - exact)
        parts += [nodes("Mul", nodes("Add", one, other), nodes.constant(math.sqrt(0.5))), rest]
    if noise.uniform:
        both = nodes("Add", nodes("Mul", high, nodes.constant(2.0**16)), low)
        # Less than one after rounding to single precision.
        parts.append(nodes("Mul", both, nodes.constant(2.0**-32 - 2.0**-56)))
    return nodes("Concat", *(part for part in parts if part), axis=1, output=output)


def _sixteen_bits(nodes: Nodes, words: str, n_words: int) -> str:
    """Words (N, W) as numbers (N, 4 W) from 0 to 2^16 - 1."""
    shifts = nodes.constant(np.array([48, 32, 16, 0]).reshape(1, 4, 1), np.uint64)
    parts = nodes("BitShift", nodes.reshaped(words, 0, 1, n_words), shifts, direction="RIGHT")
    low = nodes("BitwiseAnd", parts, nodes.constant(2**16 - 1, np.uint64))
    return nodes.reshaped(nodes("Cast", low, to=FLOAT), 0, 4 * n_words)


def _box_muller(nodes: Nodes, radii: str, angles: str) -> str:
    """Standard normal numbers (N, 2 P) from two tables (N, P) of whole numbers below 2^16."""
    uniform = nodes("Mul", nodes("Add", radii, nodes.constant(0.5)), nodes.constant(2.0**-16))
    radius = nodes("Sqrt", nodes("Mul", nodes("Log", uniform), nodes.constant(-2.0)))
    angle = nodes("Mul", angles, nodes.constant(2 * math.pi * 2.0**-16))
    return nodes("Concat", nodes("Mul", radius, nodes("Cos", angle)), nodes("Mul", radius, nodes("Sin", angle)), axis=1)
