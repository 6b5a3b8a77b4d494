"""A graph of contract ``fastv`` written by hand, whose energies are exact in any batch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from fastv.detector.detector import Detector

DAMAGED = 8e5
"""Above this energy, the graph gives what is no number."""


@pytest.fixture
def write_graph(tiny_detector: Detector, tmp_path: Path) -> Callable[..., Path]:
    """``write_graph(name="model.onnx", scale=1.0, **metadata)``: energies are ``|noise| sqrt(DAMAGED - E) scale``."""

    def write(name: str = "model.onnx", scale: float = 1.0, **changes: Any) -> Path:
        voxels = tiny_detector.mesh.n_voxels
        domain = {"energy": [1e3, 1e6], "particles": ["e-", "e+"], "detectors": ["tiny"], "theta": None}
        metadata = {
            "fastv_contract": "fastv",
            "noise_normal": str(voxels),
            "noise_uniform": "0",
            "conditions": json.dumps([{"name": "energy", "unit": "MeV"}, {"name": "particle", "unit": "index"}]),
            "domain": json.dumps(domain),
            "detector": tiny_detector.model_dump_json(),
            **changes,
        }
        constants = {"most": [DAMAGED], "scale": [scale], "tenth": [0.1], "one": [1.0]}
        nodes = [
            helper.make_node("Split", ["conditions"], ["energy", "particle"], axis=1, num_outputs=2),
            helper.make_node("Sub", ["most", "energy"], ["rest"]),
            helper.make_node("Sqrt", ["rest"], ["root"]),
            helper.make_node("Abs", ["noise"], ["size"]),
            helper.make_node("Mul", ["size", "root"], ["product"]),
            helper.make_node("Mul", ["product", "scale"], ["scaled"]),
            helper.make_node("Mul", ["particle", "tenth"], ["less"]),
            helper.make_node("Sub", ["one", "less"], ["share"]),
            helper.make_node("Mul", ["scaled", "share"], ["energies"]),
        ]
        columns = {"noise": voxels, "conditions": 2, "energies": voxels}
        values = {
            name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size]) for name, size in columns.items()
        }
        graph = helper.make_graph(
            nodes,
            "by hand",
            [values["noise"], values["conditions"]],
            [values["energies"]],
            [helper.make_tensor(name, TensorProto.FLOAT, [1], value) for name, value in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        helper.set_model_props(model, {name: value for name, value in metadata.items() if value is not None})
        path = tmp_path / name
        onnx.save(model, path)
        return path

    return write
