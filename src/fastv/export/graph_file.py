"""Reading of ONNX files from anywhere: what a graph says of itself is checked before onnxruntime gets it.

A graph is arithmetic and cannot touch files or the network, but it can say what is not true: sizes of tensors that are
not there, data in other files, metadata that do not fit its inputs and outputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from pydantic import ValidationError

from fastv.conditions.table import CONDITIONS
from fastv.detector.detector import Detector
from fastv.errors import ModelError
from fastv.models.noise import NoiseSpec
from fastv.records import first_problem, one_line, shortened
from fastv.storage.documents import DocumentError, parse_json, read_bytes

MOST_BYTES = 2**31 - 1
"""Largest file: protobuf, in which ONNX is written, allows no more."""
_ELEMENTS_PER_BYTE = 4
"""The smallest elements of a tensor have two bits."""


@dataclass(frozen=True)
class GraphDescription:
    """What the metadata of a graph of contract ``fastv`` tell, checked against its inputs and outputs."""

    noise: NoiseSpec
    detector: Detector
    domain: dict[str, Any]
    condition_names: list[str]


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
    if metadata.get("fastv_contract") != "fastv":
        msg = f"{path}: the graph is not of contract 'fastv'; write one with `fastv.export.export`"
        raise ModelError(msg)
    try:
        for name in ("noise_normal", "noise_uniform", "detector", "domain", "conditions"):
            if name not in metadata:
                msg = f"{name!r} is missing"
                raise DocumentError(msg)
        noise = NoiseSpec(*(_count(metadata, name) for name in ("noise_normal", "noise_uniform")))
        detector = Detector.model_validate(parse_json(metadata["detector"]))
        names = _condition_names(parse_json(metadata["conditions"]))
        domain = parse_json(metadata["domain"])
        _check_domain(domain, names)
        _check_sizes(model.graph.input, {"noise": noise.size, "conditions": len(names)})
        _check_sizes(model.graph.output, {"energies": detector.mesh.n_voxels})
    except ValidationError as error:
        msg = f"{path}: the metadata of the graph are damaged: detector: {first_problem(error)}"
        raise ModelError(msg) from error
    except DocumentError as error:
        msg = f"{path}: the metadata of the graph are damaged: {error}"
        raise ModelError(msg) from error
    return GraphDescription(noise, detector, domain, names)


def _count(metadata: dict[str, str], name: str) -> int:
    text = metadata[name]
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        msg = f"{name} must be a number of columns, got {shortened(text, 40)!r}"
        raise DocumentError(msg)
    return int(text)


def _condition_names(content: Any) -> list[str]:
    listed = isinstance(content, list) and all(isinstance(each, dict) for each in content)
    names = [str(each.get("name")) for each in content] if listed else []
    if not names or not set(names) <= set(CONDITIONS):
        msg = f"conditions must name some of {', '.join(CONDITIONS)}, got {shortened(content)}"
        raise DocumentError(msg)
    return names


def _check_domain(domain: Any, names: list[str]) -> None:
    if not isinstance(domain, dict):
        msg = f"domain must give a range for each condition, got {shortened(domain)}"
        raise DocumentError(msg)
    for name in names:
        if CONDITIONS[name].choices:
            continue
        came = domain.get(name)
        bounds = came if isinstance(came, list) and all(isinstance(each, int | float) for each in came) else []
        if len(bounds) != 2 or not all(map(math.isfinite, bounds)) or bounds[0] > bounds[1]:
            msg = f"domain: the range of {name} must be two increasing numbers, got {shortened(came)}"
            raise DocumentError(msg)


def _check_sizes(values: Any, expected: dict[str, int]) -> None:
    """Compare the columns of inputs or outputs with what the metadata tell."""
    came = {value.name: value.type.tensor_type for value in values}
    if set(came) != set(expected):
        msg = f"the graph has {shortened(sorted(came))} where the contract has {sorted(expected)}"
        raise DocumentError(msg)
    for name, columns in expected.items():
        shape = came[name].shape.dim
        if len(shape) != 2 or shape[1].dim_value != columns or came[name].elem_type != onnx.TensorProto.FLOAT:
            dims = [dim.dim_param or dim.dim_value for dim in shape]
            msg = f"the graph has {shortened(dims)} for {name}; the metadata tell {columns} columns of float32"
            raise DocumentError(msg)
