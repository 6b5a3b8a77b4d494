"""The noise that generators need, and the random number streams it is drawn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class NoiseSpec:
    """The noise that a generator needs for each shower.

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
        if not self.uniform:
            return stream.standard_normal((n, self.normal), dtype=np.float32)
        # Filling all columns with uniform numbers and then overwriting some is faster than filling two strided parts.
        noise = stream.random((n, self.size), dtype=np.float32)
        noise[:, : self.normal] = stream.standard_normal((n, self.normal), dtype=np.float32)
        return noise


def noise_stream(seed: int | tuple[int, ...]) -> np.random.Generator:
    """A stream of random numbers from SFC64, the fastest of numpy's bit generators that passes the usual tests."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed)))
