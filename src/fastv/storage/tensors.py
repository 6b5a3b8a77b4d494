"""Files of tensors (safetensors): what they hold is known, and can be compared, before any of it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fastv.records import one_line
from fastv.storage.documents import DocumentError, check_regular

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_MOST_NAMED = 60
"""Longest name of a tensor that is quoted in a message."""


@dataclass(frozen=True)
class TensorLayout:
    """Type and shape of a tensor; the type is None if no model has it."""

    dtype: torch.dtype | None
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{str(self.dtype).removeprefix('torch.')} {self.shape}"


def layout_of(tensors: Mapping[str, Tensor]) -> dict[str, TensorLayout]:
    """The layout of tensors in memory, or of tensors on the device 'meta', which have no memory."""
    return {name: TensorLayout(tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}


def read_layout(path: Path) -> tuple[dict[str, TensorLayout], dict[str, str]]:
    """Layout of the tensors of a file, and its metadata, from its header alone.

    The library compares the header with the length of the file, so a layout never tells more bytes than there are.

    Raises:
        DocumentError: the file is missing, or not a valid safetensors file.
    """
    check_regular(path)
    try:
        with safe_open(path, "pt") as file:
            layout = {}
            for name in file.keys():  # noqa: SIM118  (not a dict)
                part = file.get_slice(name)
                layout[name] = TensorLayout(_DTYPES.get(part.get_dtype()), tuple(part.get_shape()))
            return layout, dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError, TypeError, OverflowError) as error:
        msg = f"not a valid safetensors file ({one_line(error)}); weights are never loaded from any other format"
        raise DocumentError(msg) from error


def check_layout(came: Mapping[str, TensorLayout], expected: Mapping[str, TensorLayout]) -> None:
    """Compare layouts.

    Raises:
        DocumentError: a tensor is missing, unknown, or of another shape or type.
    """
    for name, asked in expected.items():
        if name not in came:
            msg = f"tensor {name!r} is missing"
            raise DocumentError(msg)
        if came[name].shape != asked.shape:
            msg = f"tensor {name!r} has shape {came[name].shape}; the settings require {asked.shape}"
            raise DocumentError(msg)
        if came[name].dtype != asked.dtype:
            msg = f"tensor {name!r} is {came[name]}; the settings require {asked}"
            raise DocumentError(msg)
    if unknown := sorted(set(came) - set(expected)):
        msg = f"tensor {unknown[0][:_MOST_NAMED]!r} is not part of this family"
        raise DocumentError(msg)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file; call :func:`read_layout` first to know what they are.

    Raises:
        DocumentError: the file is missing, or not a valid safetensors file.
    """
    check_regular(path)
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError, OverflowError) as error:
        msg = f"not a valid safetensors file ({one_line(error)}); weights are never loaded from any other format"
        raise DocumentError(msg) from error
