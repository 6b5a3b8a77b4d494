"""Recurrence along the layers: a loop in PyTorch, a single node in an exported graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Step = Callable[[Tensor, Sequence[Tensor]], tuple[Tensor, Tensor]]
"""Function from a state and the inputs of one layer to the next state and the output of the layer."""


def along_layers(step: Step, state: Tensor, inputs: Sequence[Tensor]) -> Tensor:
    """Apply a step to one layer after another: state_i, out_i = step(state_(i-1), inputs_i).

    An exported graph holds the step once, as the body of a ``Scan``; exporting an unrolled loop would take minutes.

    Args:
        step: a function of tensors only; the state keeps its shape.
        state: state before the first layer.
        inputs: tensors with the layers as first axis, (L, ...).

    Returns:
        The outputs of all layers, (L, ...).

    Example:
        >>> sums = along_layers(lambda total, given: (total + given[0], 10 * total), torch.zeros(1), [torch.ones(3, 1)])
        >>> sums.flatten().tolist()
        [0.0, 10.0, 20.0]
    """
    if torch.compiler.is_exporting():
        return _scan(step, state, inputs)
    outputs = []
    for given in zip(*inputs, strict=True):
        state, output = step(state, given)
        outputs.append(output)
    return torch.stack(outputs)


def _scan(step: Step, state: Tensor, inputs: Sequence[Tensor]) -> Tensor:
    from torch._higher_order_ops.scan import scan

    def apart(carried: Tensor, given: Any) -> tuple[Tensor, Tensor]:
        """The step with state and output in separate memory, and a contiguous state."""
        following, output = step(carried, given)
        return following.clone(memory_format=torch.contiguous_format), output.clone()

    # A clone, because the exporter would take a constant for a weight without a name.
    first = state.clone(memory_format=torch.contiguous_format)
    outputs: Tensor = scan(apart, first, tuple(inputs))[1]
    return outputs
