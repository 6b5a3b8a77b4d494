"""Sessions of onnxruntime for graphs from anywhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import onnxruntime

from fastv.errors import ModelError, SettingsError
from fastv.runtime.description import GraphDescription, Shapes, described
from fastv.wording import one_line

MOST_BYTES = 2**31 - 1
"""Largest file: protobuf, in which ONNX is written, allows no more."""
Device = Literal["cpu", "gpu", "auto"]
_GPU = {
    # Products of matrices in full single precision, as on a processor.
    "CUDAExecutionProvider": {"use_tf32": "0"},
    "ROCMExecutionProvider": {},
}


def open_session(
    path: str | Path, content: bytes, *, threads: int = 1, device: Device = "cpu"
) -> onnxruntime.InferenceSession:
    """A session for the content of an ONNX file.

    Args:
        path: the file, for messages; it is not read.
        content: its bytes.
        threads: threads for each operator.
        device: ``cpu``, ``gpu``, or ``auto``: a GPU if onnxruntime has one.

    Raises:
        ModelError: onnxruntime cannot read the graph.
        SettingsError: a GPU is asked for and onnxruntime has none.
    """
    available = onnxruntime.get_available_providers()
    found = [(name, options) for name, options in _GPU.items() if name in available and device != "cpu"]
    if device == "gpu" and not found:
        msg = (
            f"onnxruntime has no GPU here (it has: {', '.join(available)}); install onnxruntime-gpu in its place, "
            "or pass `device='cpu'`"
        )
        raise SettingsError(msg)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Data in other files are not followed: there is no file in this folder.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    with named(path):
        session = onnxruntime.InferenceSession(content, options, providers=[*found, "CPUExecutionProvider"])
    if device == "gpu" and session.get_providers()[0] not in _GPU:
        msg = (
            "onnxruntime cannot start the GPU (its libraries are missing, or too old); mend it, or pass `device='cpu'`"
        )
        raise SettingsError(msg)
    return session


@contextmanager
def named(path: str | Path) -> Iterator[None]:
    """Turn what onnxruntime raises into one line."""
    try:
        yield
    except Exception as error:  # onnxruntime raises classes of its own that share no public base
        msg = f"{path}: onnxruntime cannot run the graph ({one_line(error)})"
        raise ModelError(msg) from error


def described_session(path: Path, session: onnxruntime.InferenceSession) -> GraphDescription:
    """The description of the graph of a session.

    Raises:
        ModelError: the graph is not of contract ``fastv``, or its metadata are damaged or contradict it.
    """
    with named(path):  # the metadata of a damaged graph may not be text
        metadata = session.get_modelmeta().custom_metadata_map
    return described(path, metadata, _shapes(session.get_inputs()), _shapes(session.get_outputs()))


def _shapes(values: Any) -> Shapes:
    return {value.name: (value.type == "tensor(float)", value.shape) for value in values}
