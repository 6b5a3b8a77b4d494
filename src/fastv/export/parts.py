"""Graphs put together from parts: each part of a model that is computed many times is exported once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
import onnx.inliner
import torch
from torch import Tensor, nn

from fastv.errors import ModelError
from fastv.models.repeated import DOMAIN, PartModule, recorded_parts

_Free = tuple[dict[int, Any], ...]


def export_in_parts(
    module: nn.Module,
    examples: Sequence[tuple[Tensor, ...]],
    *,
    opset: int,
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> onnx.ModelProto:
    """Export a module; its repeated parts are exported once each and inserted for every call.

    The time of PyTorch's exporter is proportional to the number of operations, about 20 ms each.

    Args:
        module: the module.
        examples: tuples of its inputs of different numbers of rows, at least two. The first dimension of inputs and
            outputs is named ``N``.
        opset: version of ONNX's operators.
        inputs, outputs: names of its inputs and outputs.

    Raises:
        ModelError: PyTorch exports nothing.
    """
    with recorded_parts() as recorded:
        for example in examples:
            module(*example)
        parts = recorded()
        names = {"input_names": list(inputs), "output_names": list(outputs)}
        graph = _exported(module, examples[0], _free_dimensions(examples), opset, **names)
        # The free dimensions of all inputs of a part, which takes them as one.
        exported = [
            _exported(PartModule(part), _largest(part.calls), (_free_dimensions(part.calls),), opset) for part in parts
        ]
    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    return _inserted(graph, dict(zip((part.name for part in parts), exported, strict=True)))


def _exported(module: nn.Module, inputs: tuple[Tensor, ...], free: Any, opset: int, **names: Any) -> onnx.ModelProto:
    program = torch.onnx.export(
        module, inputs, dynamic_shapes=free, opset_version=opset, dynamo=True, verbose=False, **names
    )
    if program is None:
        msg = "PyTorch returned no ONNX program"
        raise ModelError(msg)
    proto: onnx.ModelProto = program.model_proto
    return proto


def _largest(calls: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """The inputs of the largest call: a dimension of size one would become a constant."""
    return max(calls, key=lambda inputs: sum(each.numel() for each in inputs))


def _free_dimensions(calls: Sequence[tuple[Tensor, ...]]) -> _Free:
    """For each input, the dimensions whose size differs between calls."""
    return tuple(
        {dim: torch.export.Dim.DYNAMIC for dim in range(same[0].ndim) if len({each.shape[dim] for each in same}) > 1}
        for same in zip(*calls, strict=True)
    )


def _inserted(graph: onnx.ModelProto, parts: dict[str, onnx.ModelProto]) -> onnx.ModelProto:
    """A graph with what parts do in place of the nodes that stand for them; all calls share the weights of a part."""
    calls = [node for node in graph.graph.node if node.domain == DOMAIN]
    if not calls:
        return graph
    for name in sorted({node.op_type for node in calls}):
        part = _inserted(parts[name], parts)
        inner, weights = part.graph, part.graph.initializer
        inputs = [each.name for each in (*inner.input, *weights)]
        outputs = [each.name for each in inner.output]
        graph.functions.append(
            onnx.helper.make_function(DOMAIN, name, inputs, outputs, list(inner.node), list(part.opset_import))
        )
        for weight in weights:
            graph.graph.initializer.add().CopyFrom(weight)
            graph.graph.initializer[-1].name = f"{name}.{weight.name}"
        for node in calls:
            if node.op_type == name:
                node.input.extend(f"{name}.{weight.name}" for weight in weights)
    graph = onnx.inliner.inline_local_functions(graph)
    operators = [each for each in graph.opset_import if each.domain != DOMAIN]
    del graph.opset_import[:], graph.graph.value_info[:]
    graph.opset_import.extend(operators)
    # onnxruntime writes in place only where it knows that sizes are equal.
    return onnx.shape_inference.infer_shapes(graph, data_prop=True)
