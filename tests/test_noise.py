"""The table of normal quantiles."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from fastv.noise import _quantiles


def test_quantiles_are_those_of_scipy_to_the_last_bit() -> None:
    """Showers of a seed stay what they were when scipy made the table."""
    middles = (np.arange(2**16) + 0.5) / 2**16
    np.testing.assert_array_equal(_quantiles(), ndtri(middles).astype(np.float32))
