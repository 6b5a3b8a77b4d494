"""A graph of contract ``fastv`` written by hand."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from fastv.detector.detector import Detector

DAMAGED = 8e5
"""Above this energy, the graph by hand gives what is no number."""


def write_graph_by_hand(path: Path, made_for: Detector, scale: float = 1.0, **changes: str | None) -> Path:
    """A graph of contract ``fastv`` whose energies are exact in any batch: ``|noise| sqrt(DAMAGED - E) scale``, and a
    tenth less for positrons; with metadata changed, or left out where they are None."""
    voxels = made_for.mesh.n_voxels
    domain = {"energy": [1e3, 1e6], "particles": ["e-", "e+"], "detectors": ["tiny"], "theta": None}
    metadata = {
        "fastv_contract": "fastv",
        "noise_normal": str(voxels),
        "noise_uniform": "0",
        "conditions": json.dumps([{"name": "energy", "unit": "MeV"}, {"name": "particle", "unit": "index"}]),
        "domain": json.dumps(domain),
        "detector": made_for.model_dump_json(),
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
    onnx.save(model, path)
    return path
