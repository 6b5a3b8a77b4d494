"""The noise that generators need, and the random number streams it is drawn from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

EXACT = 32
"""Normal columns in full precision: families draw response and latent vectors from the first ones."""


@cache
def _quantiles() -> NDArray[np.float32]:
    """Quantiles of the normal distribution in the middle of 2^16 intervals of equal probability."""
    # Not from scipy, whose import takes a fifth of a second: a graph runs with numpy and onnxruntime alone.
    from statistics import NormalDist

    # The upper half is the mirror image of the lower one, to the last bit.
    middles = ((np.arange(2**15) + 0.5) / 2**16).tolist()
    lower = np.fromiter(map(NormalDist().inv_cdf, middles), np.float64, 2**15).astype(np.float32)
    return np.concatenate([lower, -lower[::-1]])


@dataclass(frozen=True)
class NoiseSpec:
    """The noise that a generator needs for each shower.

    The first :data:`EXACT` normal columns are normal numbers in full precision. All others come from a table of the
    2^16 quantiles of equal probability, one for 16 random bits: mean 0, width 1 within 1e-5, none beyond 4.33. Drawing
    them takes a sixth of the time, and most of what is drawn for a single shower is noise of voxels.

    Attributes:
        normal: number of standard normal columns, which come first.
        uniform: number of columns uniform on [0, 1).

    Example:
        >>> spec = NoiseSpec(normal=2, uniform=3)
        >>> spec.draw(4, seed=1).shape
        torch.Size([4, 5])
        >>> bool((spec.draw(4, seed=1) == spec.draw(4, seed=1)).all())
        True
    """

    normal: int
    uniform: int = 0

    @property
    def size(self) -> int:
        """Number of columns."""
        return self.normal + self.uniform

    def draw(self, n: int, seed: int | tuple[int, ...]) -> Tensor:
        """Noise for ``n`` showers, shape (n, size), float32; reproducible for the same seed."""
        # Imported here, so that an exported graph runs in onnxruntime without PyTorch.
        import torch

        return torch.from_numpy(self.draw_from(noise_stream(seed), n))

    def draw_from(self, stream: np.random.Generator, n: int) -> NDArray[np.float32]:
        """Noise for ``n`` showers, shape (n, size), float32, from a stream that continues from call to call."""
        exact = min(EXACT, self.normal)
        rest = self.normal - exact
        noise = np.empty((n, self.size), dtype=np.float32)
        # The exact numbers last, so that nothing of them is the same in a run of another length.
        noise[:, self.normal :] = stream.random((n, self.uniform), dtype=np.float32)
        if rest:
            bits = stream.bit_generator.random_raw((n * rest + 3) // 4).view(np.uint16)
            # All bits are in the table: `clip` only says that none need be checked.
            _quantiles().take(bits[: n * rest].reshape(n, rest), out=noise[:, exact : self.normal], mode="clip")
        noise[:, :exact] = stream.standard_normal((n, exact), dtype=np.float32)
        return noise


def noise_stream(seed: int | tuple[int, ...]) -> np.random.Generator:
    """A stream of random numbers from SFC64, the fastest of numpy's bit generators that passes the usual tests."""
    # Words of 32 bits are what numpy makes of small numbers; given as such they cost half the time.
    small = isinstance(seed, tuple) and min(seed) >= 0 and max(seed) < 2**32
    entropy = np.array(seed, dtype=np.uint32) if small else seed
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(entropy)))
