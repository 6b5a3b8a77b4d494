"""The nodes that turn FastV's graph, from noise and conditions to energies, into the graph of a contract."""

from __future__ import annotations

import math

import numpy as np
import onnx

from fastv.export.contracts import Plan
from fastv.export.hashing import hashed_noise
from fastv.export.images import folded, ordered, reflected
from fastv.export.nodes import FLOAT, Nodes
from fastv.noise import NoiseSpec

NOISE, CONDITIONS_INSIDE, ENERGIES = "noise", "conditions_inside", "energies_inside"
"""Inputs and output of the graph that a contract is wrapped around."""
LARGEST_NORMAL = 8.0
"""Normal numbers are limited to this; a standard normal number is larger once in 10^15."""
LARGEST_FRACTION = 100.0
"""No voxel exceeds so many times the incident energy (on the scale of the detector): only broken input leads there."""
LARGEST_ENERGY = 1e9
"""In MeV. Above it, not even the energy of a shower follows the input."""


def wrap(graph: onnx.ModelProto, plan: Plan) -> onnx.ModelProto:
    """Turn the graph of a generator into one of a contract.

    Args:
        graph: a graph with inputs :data:`NOISE` and :data:`CONDITIONS_INSIDE` and output :data:`ENERGIES`; is changed.
        plan: how it is to be wrapped.
    """
    before, after = Nodes("input"), Nodes("output")
    inner = graph.graph
    # PyTorch's exporter names the free size otherwise.
    del inner.input[:], inner.output[:], inner.value_info[:]
    if plan.contract.own:
        images = _own_inputs(before, inner, plan)
        name, shape = "energies", [plan.detector.mesh.n_voxels]
        made = reflected(after, ENERGIES, images, plan.mirror.cells)
        after.not_negative(made, LARGEST_FRACTION * plan.domain.energy[1] / _smallest_scale(plan), output=name)
    else:
        width = plan.seeds + len(plan.contract.columns)
        inner.input.append(onnx.helper.make_tensor_value_info("input", FLOAT, ["N", width]))
        factor, images = _consumer_inputs(before, plan)
        name, shape = "showers", list(plan.detector.mesh.shape[::-1])
        _consumer_output(after, plan, factor, images, output=name)
    before.add_to(inner, first=True)
    after.add_to(inner, first=False)
    inner.output.append(onnx.helper.make_tensor_value_info(name, FLOAT, ["N", *shape]))
    # onnxruntime writes in place only where it knows that sizes are equal.
    return onnx.shape_inference.infer_shapes(graph, data_prop=True)


def _smallest_scale(plan: Plan) -> float:
    return min(plan.detector.energy_scale, 1.0)


def _own_inputs(nodes: Nodes, graph: onnx.GraphProto, plan: Plan) -> str:
    """Conditions of the model from those that are passed; which showers are mirror images."""
    graph.input.append(onnx.helper.make_tensor_value_info(NOISE, FLOAT, ["N", plan.noise.size]))
    graph.input.append(onnx.helper.make_tensor_value_info("conditions", FLOAT, ["N", len(plan.names)]))
    low, high = np.array([plan.bounds(name) for name in plan.names], np.float32).T
    theta = plan.mirror.column
    if theta is None:
        nodes.between("conditions", low[None], high[None], output=CONDITIONS_INSIDE)
        return ""
    limited = nodes.between("conditions", low[None], high[None])
    return folded(nodes, limited, theta, len(plan.names), output=CONDITIONS_INSIDE)[1]


def _consumer_inputs(nodes: Nodes, plan: Plan) -> tuple[str, str]:
    """Noise and conditions of the model from the consumer's input.

    Returned are the factor from the model's energies to the output, and which showers are mirror images.

    Every operator takes a microsecond, so the columns are limited together, and together turned into conditions.
    """
    contract, names = plan.contract, plan.names
    width = plan.seeds + len(contract.columns)
    # What is passed is ``limited @ slopes + offsets`` in the units of the model.
    slopes, offsets = np.zeros((width, len(names))), np.zeros(len(names))
    low, high = np.full(width, -LARGEST_NORMAL), np.full(width, LARGEST_NORMAL)
    for i, column in enumerate(contract.columns, plan.seeds):
        unit, offset = column.unit, 0.0
        if column.to_normal:
            unit, offset = plan.side * column.unit, plan.right_angle
        if not column.condition:
            low[i] = high[i] = column.value
        elif column.condition in names and column.condition not in plan.fixed:
            slopes[i, names.index(column.condition)] = unit
            offsets[names.index(column.condition)] = offset
            if column.condition != "phi":
                low[i], high[i] = sorted((bound - offset) / unit for bound in plan.bounds(column.condition))
    for name, value in plan.fixed.items():
        offsets[names.index(name)] = value
    limited, images = nodes.between("input", low[None], high[None]), ""
    if plan.mirror.column is not None:
        theta = next(i for i, column in enumerate(contract.columns) if column.condition == "theta")
        unit = contract.columns[theta].unit
        limited, images = folded(nodes, limited, plan.seeds + theta, width, unit=unit)
    conditions = nodes("Gemm", limited, nodes.constant(slopes), nodes.constant(offsets))
    if "phi" in names and "phi" not in plan.fixed:
        conditions = _turned(nodes, conditions, names.index("phi"), plan.bounds("phi"), len(names))
    nodes("Identity", conditions, output=CONDITIONS_INSIDE)
    if not plan.seeds:
        drawn = nodes("RandomUniformLike", limited, dtype=FLOAT)
        hashed_noise(nodes, nodes("Concat", drawn, limited, axis=1), 2 * width, plan.noise, output=NOISE)
    elif plan.hashed:
        hashed_noise(nodes, limited, width, plan.noise, output=NOISE)
    else:
        _direct_noise(nodes, nodes.columns(limited, 0, plan.seeds), plan.noise)
    first = names.index("energy")
    energy = conditions if len(names) == 1 else nodes.columns(conditions, first, first + 1)
    if contract.fraction:
        return nodes("Div", nodes.constant(plan.scale), energy), images
    # Outside the domain, the nearest shower inside, scaled to the energy that was passed.
    passed = nodes.between(nodes.columns("input", plan.seeds, plan.seeds + 1), 0.0, LARGEST_ENERGY * 1e-3)
    return nodes("Div", passed if plan.scale == 1 else nodes("Mul", passed, nodes.constant(plan.scale)), energy), images


def _turned(nodes: Nodes, conditions: str, phi: int, bounds: tuple[float, float], n: int) -> str:
    """Conditions (N, C) with the same direction in phi, as near as possible to the middle of the domain, inside it."""
    low, high = bounds
    turn, only, largest = np.zeros(n), np.zeros(n), np.full(n, np.finfo(np.float32).max)
    turn[phi], only[phi] = 0.5 / math.pi, 2 * math.pi
    turns = nodes("Mul", nodes("Sub", conditions, nodes.constant((low + high) / 2)), nodes.constant(turn))
    angle = nodes("Sub", conditions, nodes("Mul", nodes("Round", turns), nodes.constant(only)))
    bottom, top = -largest, largest.copy()
    bottom[phi], top[phi] = low, high
    return nodes("Min", nodes("Max", angle, nodes.constant(bottom)), nodes.constant(top))


def _direct_noise(nodes: Nodes, normals: str, noise: NoiseSpec) -> None:
    """All noise from as many normal numbers; uniform ones by their distribution function."""
    kept, rest = nodes.split(normals, noise.normal, noise.uniform)
    if not rest:
        nodes("Identity", kept, output=NOISE)
        return
    error = nodes("Erf", nodes("Mul", rest, nodes.constant(math.sqrt(0.5))))
    flat = nodes("Add", nodes("Mul", error, nodes.constant(0.5)), nodes.constant(0.5))
    below = nodes.between(flat, 0.0, 1 - 2.0**-24)
    nodes("Concat", *(part for part in (kept, below) if part), axis=1, output=NOISE)


def _consumer_output(nodes: Nodes, plan: Plan, factor: str, images: str, *, output: str) -> None:
    largest = LARGEST_FRACTION * (plan.scale if plan.visible else 1.0) / _smallest_scale(plan)
    if not plan.contract.fraction:
        largest *= LARGEST_ENERGY * 1e-3
    cells = nodes.not_negative(nodes("Mul", ENERGIES, factor), largest)
    layers, alphas, rs = plan.detector.mesh.shape
    # Two steps: onnxruntime has fast code for the transposition of a matrix and for the choice of its rows.
    deepest = nodes("Transpose", nodes.reshaped(cells, 0, layers, alphas * rs), perm=[0, 2, 1])
    rows = np.arange(alphas * rs).reshape(alphas, rs).T
    if plan.contract.from_zero:
        rows = np.roll(rows, alphas // 2, axis=1)
    ordered(nodes, deepest, images, rows, plan.mirror.cells, output=output)
