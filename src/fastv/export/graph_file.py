"""Reading of ONNX files from anywhere: what a graph says of itself is checked before onnxruntime gets it.

A graph is arithmetic and cannot touch files or the network, but it can say what is not true: sizes of tensors that are
not there, data in other files, metadata that do not fit its inputs and outputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

from fastv.errors import ModelError
from fastv.runtime.description import GraphDescription, Shapes
from fastv.runtime.description import described as describe
from fastv.runtime.session import MOST_BYTES
from fastv.storage.documents import DocumentError, read_bytes
from fastv.wording import one_line, shortened

_ELEMENTS_PER_BYTE = 4
"""The smallest elements of a tensor have two bits."""


def read_graph(path: Path) -> tuple[bytes, onnx.ModelProto]:
    """The content of an ONNX file, and the graph in it.

    Raises:
        ModelError: the file is missing, no ONNX graph, keeps data in other files, or holds tensors of impossible size.
    """
    try:
        content = read_bytes(path, MOST_BYTES)
        model = onnx.load_model_from_string(content)
        for tensor in _tensors(model):
            _check_tensor(tensor)
    except Exception as error:  # protobuf's errors share no public base with others
        msg = f"{path}: cannot read the graph ({one_line(error)})"
        raise ModelError(msg) from error
    return content, model


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """All constants of a graph, of the graphs inside its nodes, and of its functions."""
    graphs = [model.graph]
    nodes = [node for function in model.functions for node in function.node]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            if graph.sparse_initializer:
                msg = "it has sparse tensors, which no graph of FastV has"
                raise DocumentError(msg)
            yield from graph.initializer
            nodes += graph.node
        else:
            for attribute in nodes.pop().attribute:
                yield attribute.t
                yield from attribute.tensors
                graphs += [attribute.g, *attribute.graphs] if attribute.HasField("g") else attribute.graphs


def _check_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        msg = f"the data of {shortened(tensor.name, 60)!r} are in another file, which is not followed"
        raise DocumentError(msg)
    if min(tensor.dims, default=0) < 0 or math.prod(tensor.dims) > _ELEMENTS_PER_BYTE * max(1, tensor.ByteSize()):
        msg = f"the tensor {shortened(tensor.name, 60)!r} has shape {shortened(list(tensor.dims))}, but less data"
        raise DocumentError(msg)


def described(path: Path, model: onnx.ModelProto) -> GraphDescription:
    """The description of a graph of contract ``fastv``.

    Raises:
        ModelError: the graph is of another contract, or its metadata are damaged or contradict its inputs and outputs.
    """
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    found = describe(path, metadata, _shapes(model.graph.input), _shapes(model.graph.output))
    _ = found.detector  # checked when it is first used
    return found


def _shapes(values: Any) -> Shapes:
    tensors = {value.name: value.type.tensor_type for value in values}
    return {
        name: (
            tensor.elem_type == onnx.TensorProto.FLOAT,
            [dim.dim_param or dim.dim_value for dim in tensor.shape.dim],
        )
        for name, tensor in tensors.items()
    }
