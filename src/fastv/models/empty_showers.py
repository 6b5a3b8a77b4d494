"""The probability that a shower leaves no energy above the readout threshold, given its conditions."""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

_WIDTHS = (16, 16)
_MOST_SHOWERS = 300_000


class EmptyShowers(nn.Module):
    r"""Probability of an empty shower: the logistic function of a small dense network of the scaled conditions.

    Photons of a few MeV often leave no energy in thin sensors, and particles can miss the readout mesh. What fraction
    does depends on the conditions alone and is learned separately from the showers with energy, so that every family
    generates the right number of empty ones.

    The weights are the maximum of the posterior probability for a unit Gaussian prior. Where there are few showers the
    prior keeps the probability smooth.

    Shapes: scaled conditions (N, C) -> (N, 1).

    Args:
        conditions: number C of scaled conditions.

    Example:
        >>> u = torch.linspace(-1, 1, 4000)[:, None]
        >>> empty = torch.rand(4000, generator=torch.manual_seed(1)) < torch.sigmoid(-4 * u[:, 0])
        >>> often = EmptyShowers(1)
        >>> often.fit(u, empty)
        >>> bool((often(u) - torch.sigmoid(-4 * u)).abs().max() < 0.05)
        True
    """

    def __init__(self, conditions: int) -> None:
        super().__init__()
        sizes = (conditions, *_WIDTHS, 1)
        # Buffers, because the training of the showers must not change them.
        for i, (inputs, outputs) in enumerate(pairwise(sizes)):
            self.register_buffer(f"weight{i}", torch.zeros(outputs, inputs))
            self.register_buffer(f"bias{i}", torch.full((outputs,), -16.0 if outputs == 1 else 0.0))

    def fit(self, scaled: Tensor, empty: Tensor) -> None:
        """Fit to training showers.

        Args:
            scaled: scaled conditions (N, C).
            empty: whether each shower is empty, (N,).
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier
        from threadpoolctl import threadpool_limits

        pick = np.random.default_rng(0).permutation(len(empty))[:_MOST_SHOWERS]
        inputs, labels = scaled.double().cpu().numpy()[pick], empty.cpu().numpy()[pick]
        last = len(_WIDTHS)
        if labels.all() or not labels.any():
            # Half a shower of the other kind, so that the logarithm of the odds is finite.
            odds = (labels.sum() + 0.5) / (len(labels) - labels.sum() + 0.5)
            self.get_buffer(f"weight{last}").zero_()
            self.get_buffer(f"bias{last}").fill_(float(np.log(odds)))
            return
        network = MLPClassifier(
            _WIDTHS, activation="tanh", solver="lbfgs", alpha=1.0, max_iter=200, max_fun=500, random_state=0
        )
        # The matrices are too small for several threads to help.
        with warnings.catch_warnings(), threadpool_limits(1):
            # The likelihood is flat near its maximum; the last digits of the weights do not matter.
            warnings.simplefilter("ignore", ConvergenceWarning)
            network.fit(inputs, labels)
        for i, (weight, bias) in enumerate(zip(network.coefs_, network.intercepts_, strict=True)):
            self.get_buffer(f"weight{i}").copy_(torch.from_numpy(weight.T))
            self.get_buffer(f"bias{i}").copy_(torch.from_numpy(bias))

    def logit(self, scaled: Tensor) -> Tensor:
        """Logarithm of the odds of an empty shower, (N, 1)."""
        hidden = scaled
        for i in range(len(_WIDTHS)):
            hidden = torch.tanh(nn.functional.linear(hidden, *self._layer(i)))
        return nn.functional.linear(hidden, *self._layer(len(_WIDTHS)))

    def _layer(self, i: int) -> tuple[Tensor, Tensor]:
        return self.get_buffer(f"weight{i}"), self.get_buffer(f"bias{i}")

    def forward(self, scaled: Tensor) -> Tensor:
        """Probability of an empty shower, (N, 1)."""
        return torch.sigmoid(self.logit(scaled))
