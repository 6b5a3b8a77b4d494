"""Codes of showers: what an encoder says of a shower, in named groups."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Code(NamedTuple):
    """One group of code numbers of N showers.

    Attributes:
        mean: the code, or the mean of its posterior, (N, K).
        scale: of a Gaussian posterior the standard deviations (N, K), or the lower triangular factor L (N, K, K) of its
            covariance L L^T; None if the code is exact.
    """

    mean: Tensor
    scale: Tensor | None = None
