"""The table of normal quantiles, and the numbers of a shower, which are a contract."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from scipy.special import ndtri

from fastv.noise import EXACT, NoiseSpec, _quantiles, noise_stream


def test_quantiles_are_those_of_scipy_to_the_last_bit() -> None:
    """Showers of a seed stay what they were when scipy made the table."""
    middles = (np.arange(2**16) + 0.5) / 2**16
    np.testing.assert_array_equal(_quantiles(), ndtri(middles).astype(np.float32))


@pytest.mark.parametrize("spec", [NoiseSpec(5), NoiseSpec(100), NoiseSpec(0, 3), NoiseSpec(6643, 1)])
def test_the_numbers_of_one_shower_are_uniform_ones_then_bits_then_exact_ones(spec: NoiseSpec) -> None:
    stream, exact = noise_stream((3, 1, 17)), min(EXACT, spec.normal)
    uniform = stream.random((1, spec.uniform), dtype=np.float32)
    rest = spec.normal - exact
    bits = stream.bit_generator.random_raw((rest + 3) // 4).view(np.uint16)[:rest] if rest else np.empty(0, np.uint16)
    middles = (bits + 0.5) / 2**16
    normal = np.array([NormalDist().inv_cdf(each) for each in middles.tolist()], dtype=np.float32)
    expected = np.concatenate([stream.standard_normal(exact, dtype=np.float32), normal, uniform[0]])
    np.testing.assert_array_equal(spec.draw_from(noise_stream((3, 1, 17)), 1)[0], expected)


@pytest.mark.parametrize("seed", [(0, 1, 0), (3, 1, 17), (2**32 - 1, 1, 5), (2**32, 1, 0), (2**62 + 1, 1, 0)])
def test_a_stream_is_the_one_of_the_seed_as_numpy_reads_it(seed: tuple[int, ...]) -> None:
    plain = np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed)))
    np.testing.assert_array_equal(noise_stream(seed).random(4), plain.random(4))
