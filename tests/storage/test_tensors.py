"""Files of tensors: the header is believed only as far as the file goes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fastv.storage.documents import DocumentError
from fastv.storage.tensors import TensorLayout, check_layout, layout_of, read_layout, read_tensors


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_file({"a": torch.arange(6.0).view(2, 3), "b": torch.ones(1, dtype=torch.int64)}, tmp_path / "t.safetensors")
    return tmp_path / "t.safetensors"


def test_layout_comes_from_the_header(path: Path) -> None:
    layout, metadata = read_layout(path)
    assert layout == {"a": TensorLayout(torch.float32, (2, 3)), "b": TensorLayout(torch.int64, (1,))}
    assert metadata == {}
    assert layout_of(read_tensors(path)) == layout


def test_what_does_not_fit_is_named(path: Path) -> None:
    layout, _ = read_layout(path)
    check_layout(layout, layout)
    wanted = {**layout, "b": TensorLayout(torch.float32, (1,))}
    with pytest.raises(DocumentError, match=r"tensor 'b' is int64 \(1,\); the settings require float32 \(1,\)"):
        check_layout(layout, wanted)
    with pytest.raises(DocumentError, match="tensor 'b' is not part"):
        check_layout(layout, {"a": layout["a"]})


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [10**15], "data_offsets": [0, 4 * 10**15]}},
        {"a": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 24]}},
        {"a": {"dtype": "F32", "shape": [6], "data_offsets": [8, 32]}},
        {"a": {"dtype": "XX", "shape": [6], "data_offsets": [0, 24]}},
        {"a": None},
        [],
    ],
)
def test_lies_of_the_header(path: Path, header: object) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(24))
    with pytest.raises(DocumentError, match="not a valid safetensors file"):
        read_layout(path)
    with pytest.raises(DocumentError, match="not a valid safetensors file"):
        read_tensors(path)
