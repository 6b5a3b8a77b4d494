"""A step that is repeated from layer to layer: a loop in PyTorch, and one node of an exported graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Step = Callable[[Tensor, Sequence[Tensor]], tuple[Tensor, Tensor]]
"""From a state and the inputs of one layer to the next state and the output of the layer."""


def along_layers(step: Step, state: Tensor, inputs: Sequence[Tensor]) -> Tensor:
    """The outputs of a step that goes from layer to layer, state_i, out_i = step(state_(i-1), inputs_i).

    An exported graph holds the step once, as the body of a ``Scan``: unrolled, those of all layers would take the
    exporter minutes.

    Args:
        step: a function of tensors alone; the state keeps its shape.
        state: what the first layer is given.
        inputs: each with the layers first, (L, ...).

    Returns:
        The outputs, (L, ...).

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
        """State and output must not share memory, and the state keep its layout."""
        following, output = step(carried, given)
        return following.clone(memory_format=torch.contiguous_format), output.clone()

    # Constants of the graph would be taken for weights that the exporter has no name for.
    first = state.clone(memory_format=torch.contiguous_format)
    outputs: Tensor = scan(apart, first, tuple(inputs))[1]
    return outputs
