"""Write a model as one ONNX graph and check that the graph generates the showers of the model."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from fastv._version import __version__
from fastv.conditions.table import CONDITIONS
from fastv.errors import ModelError, SettingsError
from fastv.export.parts import export_in_parts
from fastv.export.runtime import read_session
from fastv.model import Model, load
from fastv.models.contract import Domain, Generator, noise_stream
from fastv.storage.output import check_ending, check_free, written_whole
from fastv.suggestions import unknown

OPSETS = range(18, 22)
"""Versions of ONNX's operators that graphs can be written in. Version 18 runs in onnxruntime 1.14 and newer."""
PARITY_ROWS = 500
"""Showers on which graph and model are compared."""
RELATIVE_TOLERANCE = 1e-3
ABSOLUTE_TOLERANCE = 1e-3
"""In MeV."""
ALLOWED_OUTLIERS = 1e-5
"""Fraction of the voxels that may differ by more than the tolerances, by rounding at a threshold or in a steep tail."""
ALLOWED_OTHER_SHOWERS = 0.02
"""Fraction of the showers that may be others where one choice decides the next, see :class:`Generator`."""
ALLOWED_OTHER_VOXELS = 5e-3
"""Fraction of the voxels that may differ in the showers that are the same, for these generators.

The shipped cascade differs from itself in double precision by other showers for 1.5 % and 1.4e-3 of the other voxels.
"""


@dataclass(frozen=True)
class ExportReport:
    """Record of an exported graph and its comparison with the model on random inputs.

    Attributes:
        path: the file.
        contract: name of the contract.
        bytes: size of the file.
        inputs, outputs: shapes by name; a text stands for a free dimension.
        parity_showers: number of showers compared.
        outliers: fraction of voxels that differ by more than 1e-3 MeV + 1e-3 of the model's value.
        largest_energy_difference: largest relative difference of a shower's total energy.
    """

    path: str
    contract: str
    bytes: int
    inputs: dict[str, list[str | int]]
    outputs: dict[str, list[str | int]]
    parity_showers: int
    outliers: float
    largest_energy_difference: float

    def as_dict(self) -> dict[str, Any]:
        """The record as JSON data."""
        return asdict(self)


class _FastVGraph(nn.Module):
    """Contract ``fastv``: inputs ``noise`` and ``conditions`` in physical units, output MeV per voxel."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, noise: Tensor, conditions: Tensor) -> Tensor:
        return self.generator.sample(conditions, noise)


CONTRACTS: dict[str, Callable[[Generator], nn.Module]] = {"fastv": _FastVGraph}
"""Modules to export by the name of their contract, which fixes inputs and outputs."""


def export(
    model: Model | str | Path,
    output: str | Path,
    *,
    contract: str = "fastv",
    opset: int = OPSETS[0],
    options: Mapping[str, Any] | None = None,
    force: bool = False,
) -> ExportReport:
    """Write a model as ONNX; the file appears only after the graph was checked against the model.

    Contract ``fastv``: input ``noise`` (N, noise size) float32, the first ``noise_normal`` columns standard normal, the
    others uniform on [0, 1); input ``conditions`` (N, C) float32 in MeV and rad; output ``energies`` (N, V) float32 in
    MeV; N is free. The metadata of the file contain the domain, the detector with its mesh, units and digest.

    Args:
        model: a model, its directory, or the name of a shipped one.
        output: the ONNX file.
        contract: name of a contract in :data:`CONTRACTS`.
        opset: version of ONNX's operators, one of :data:`OPSETS`; the lowest runs in the oldest runtimes.
        options: settings of the family that may be chosen at generation, such as ``{"steps": 8}``.
        force: replace an existing file.

    Raises:
        SettingsError: there is no such contract or opset, or ``output`` does not end in ``.onnx``.
        OutputError: the file exists and ``force`` is false, or the disk is full.
        ModelError: the graph would be too large, or does not agree with the model; nothing is written.
    """
    if contract not in CONTRACTS:
        raise SettingsError(unknown("contract", contract, CONTRACTS))
    if opset not in OPSETS:
        msg = f"`opset` must be {OPSETS[0]} to {OPSETS[-1]}, got {opset}"
        raise SettingsError(msg)
    check_ending(output, (".onnx",), "ONNX graphs")
    check_free(output, force=force, kind="ONNX graph")
    model = (model if isinstance(model, Model) else load(model)).with_options(**(options or {}))
    model.generator.check_export()
    with torch.no_grad():
        graph = _graph(model, CONTRACTS[contract](model.generator).eval(), opset)
    _describe(graph, model, contract)
    with written_whole(output, force=force, kind="ONNX graph") as temporary:
        onnx.save(graph, temporary)
        outliers, difference = _check_parity(model, temporary)
        return ExportReport(
            path=str(output),
            contract=contract,
            bytes=temporary.stat().st_size,
            inputs={value.name: _shape(value) for value in graph.graph.input},
            outputs={value.name: _shape(value) for value in graph.graph.output},
            parity_showers=PARITY_ROWS,
            outliers=outliers,
            largest_energy_difference=difference,
        )


def _graph(model: Model, module: nn.Module, opset: int) -> onnx.ModelProto:
    generator = model.generator
    # Not one row, because a dimension of size one would become a constant.
    examples = [(generator.noise.draw(rows, seed=0), _random_conditions(model, rows)) for rows in (2, 3)]
    with _quiet():
        proto = export_in_parts(module, examples, opset=opset, inputs=("noise", "conditions"), outputs=("energies",))
    # The oldest file format that has these operators, for old runtimes.
    proto.ir_version = onnx.helper.find_min_ir_version_for(list(proto.opset_import))
    return proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporter's messages on packages that are not installed and on names of axes."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _describe(graph: onnx.ModelProto, model: Model, contract: str) -> None:
    generator = model.generator
    metadata = {
        "fastv_contract": contract,
        "fastv_version": __version__,
        "model": model.name,
        "family": model.description.family,
        "weights_sha256": model.digest(),
        "options": json.dumps(model.options),
        "domain": model.domain.model_dump_json(),
        "detector": model.detector.model_dump_json(),
        "conditions": json.dumps([_condition(name, model.domain) for name in generator.condition_names]),
        "noise_normal": str(generator.noise.normal),
        "noise_uniform": str(generator.noise.uniform),
        "output": "voxel energies in MeV, ordered (layer, alpha, r), r fastest",
        "threshold_mev": repr(model.detector.threshold),
    }
    if len(model.detectors) > 1:
        # In the order of the condition's choices.
        metadata["detectors"] = json.dumps([each.model_dump(mode="json") for each in model.detectors])
    graph.producer_name, graph.producer_version = "fastv", __version__
    onnx.helper.set_model_props(graph, metadata)


def _condition(name: str, domain: Domain) -> dict[str, Any]:
    """What the graph takes for a condition: a number in its unit, or the index of a choice."""
    condition = CONDITIONS[name]
    if condition.choices:
        return {"name": name, "unit": "index", "choices": list(getattr(domain, condition.choices))}
    return {"name": name, "unit": condition.unit}


def _random_conditions(model: Model, n: int) -> Tensor:
    rng = np.random.default_rng(7)
    return torch.from_numpy(model.domain.draw(model.generator.condition_names, n, rng))


def _check_parity(model: Model, path: Path) -> tuple[float, float]:
    """Fraction of voxels that differ, and the largest relative difference of a total energy.

    Raises:
        ModelError: they exceed the tolerances.
    """
    generator = model.generator
    noise = torch.from_numpy(generator.noise.draw_from(noise_stream(11), PARITY_ROWS))
    conditions = _random_conditions(model, PARITY_ROWS)
    with torch.inference_mode():
        expected = generator.sample(conditions, noise).numpy().astype(np.float64)
    session = read_session(path, threads=1)
    (energies,) = session.run(None, {"noise": noise.numpy(), "conditions": conditions.numpy()})
    differs = np.abs(energies - expected) > ABSOLUTE_TOLERANCE + RELATIVE_TOLERANCE * expected
    outliers = float(np.mean(differs))
    # Rounding that changes an early choice gives another shower, a late one a few other voxels.
    chain = generator.chain_of_choices
    others, most = (ALLOWED_OTHER_SHOWERS, ALLOWED_OTHER_VOXELS) if chain else (0.0, ALLOWED_OUTLIERS)
    agreeing = np.sort(differs.mean(1))[: len(differs) - int(others * len(differs))]
    total = expected.sum(1)
    largest = float(np.max(np.abs(energies.sum(1) - total) / np.maximum(total, 1e-9)))
    if not (float(agreeing.mean()) <= most and largest <= RELATIVE_TOLERANCE):
        msg = (
            f"the graph does not agree with the model: a fraction {outliers:.2g} of the voxels differs by more than "
            f"{RELATIVE_TOLERANCE:g}, total energies by up to {largest:.2g}; nothing was written"
        )
        raise ModelError(msg)
    return outliers, largest


def _shape(value: onnx.ValueInfoProto) -> list[str | int]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
