"""Write a model as one ONNX graph and check that the graph generates the showers of the model."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fastv._version import __version__
from fastv.conditions.table import CONDITIONS
from fastv.conditions.words import in_words
from fastv.errors import ModelError, SettingsError
from fastv.export.contracts import Plan, planned
from fastv.export.parts import export_in_parts
from fastv.export.runtime import read_session
from fastv.export.steering import steering
from fastv.export.wrapping import CONDITIONS_INSIDE, ENERGIES, NOISE, wrap
from fastv.model import Model, load
from fastv.models.contract import Domain, Generator, noise_stream
from fastv.storage.output import check_ending, check_free, written_whole

OPSETS = range(18, 22)
"""Versions of ONNX's operators that graphs can be written in. Version 18 runs in onnxruntime 1.14 and newer."""
PARITY_ROWS = 500
"""Showers on which graph and model are compared."""
RELATIVE_TOLERANCE = 1e-3
ABSOLUTE_TOLERANCE = 1e-3
"""In MeV."""
ALLOWED_OUTLIERS = 1e-5
"""Fraction of the voxels that may differ by more than the tolerances, by rounding at a threshold or in a steep tail."""
PAR04_CUT = 0.0005
"""In MeV; Par04 deposits cells above it."""
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
        steering: the file with settings of the consumer, or None.
        notes: what a user of the graph must know.
    """

    path: str
    contract: str
    bytes: int
    inputs: dict[str, list[str | int]]
    outputs: dict[str, list[str | int]]
    parity_showers: int
    outliers: float
    largest_energy_difference: float
    steering: str | None = None
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The record as JSON data."""
        return asdict(self)


class _Sampling(nn.Module):
    """What contracts are wrapped around: noise and conditions in physical units to MeV per voxel."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, noise: Tensor, conditions: Tensor) -> Tensor:
        return self.generator.sample(conditions, noise)


def export(
    model: Model | str | Path,
    output: str | Path,
    *,
    contract: str = "fastv",
    latent: int | None = None,
    energies: str | None = None,
    fixed: Mapping[str, Any] | None = None,
    opset: int = OPSETS[0],
    options: Mapping[str, Any] | None = None,
    force: bool = False,
) -> ExportReport:
    """Write a model as ONNX; the file appears only after the graph was checked against the model.

    Contract ``fastv``: input ``noise`` (N, noise size) float32, the first ``noise_normal`` columns standard normal, the
    others uniform on [0, 1); input ``conditions`` (N, C) float32 in MeV and rad; output ``energies`` (N, V) float32 in
    MeV; N is free. The metadata of the file contain the domain, the detector with its mesh, units and digest.

    Contracts ``par04-vae``, ``par04-calodit2`` and ``ddml``: one input and one output (N, r, alpha, layer), as these
    programs feed and read them, and beside the graph a file with their settings: mesh, size of the input and path.

    Whatever the contract, conditions are limited to the domain and the output is finite and not negative.

    Args:
        model: a model, its directory, or the name of a shipped one.
        output: the ONNX file.
        contract: name of a contract in :data:`CONTRACTS`.
        latent: for ``par04-vae``, how many normal numbers the program passes: 10 (default) to 1000, which are expanded
            to the noise of the model inside the graph, or as many as the model has columns of noise.
        energies: for contracts of other programs, ``"visible"`` energy (default) or ``"scaled"``, divided by the energy
            scale of the detector.
        fixed: values of conditions of the model that the contract does not carry, such as ``{"phi": "0deg"}``.
        opset: version of ONNX's operators, one of :data:`OPSETS`; the lowest runs in the oldest runtimes.
        options: settings of the family that may be chosen at generation, such as ``{"steps": 8}``.
        force: replace an existing file.

    Raises:
        SettingsError: there is no such contract or opset, the contract does not carry a condition, has another mesh or
            no such option, or ``output`` does not end in ``.onnx``.
        DomainError: a fixed value is outside the domain.
        OutputError: the file exists and ``force`` is false, or the disk is full.
        ModelError: the graph would be too large, or does not agree with the model; nothing is written.
    """
    if opset not in OPSETS:
        msg = f"`opset` must be {OPSETS[0]} to {OPSETS[-1]}, got {opset}"
        raise SettingsError(msg)
    check_ending(output, (".onnx",), "ONNX graphs")
    check_free(output, force=force, kind="ONNX graph")
    model = (model if isinstance(model, Model) else load(model)).with_options(**(options or {}))
    plan = planned(model, contract, latent=latent, energies=energies, fixed=fixed)
    settings = Path(output).with_suffix(plan.contract.steering) if plan.contract.steering else None
    if settings is not None:
        check_free(settings, force=force)
    model.generator.check_export()
    with torch.no_grad():
        graph = _graph(model, plan, opset)
    notes = _notes(plan)
    _describe(graph, model, plan, notes)
    with ExitStack() as stack:
        if settings is not None:
            written = stack.enter_context(written_whole(settings, force=force))
            written.write_text(steering(plan, Path(output).name, notes), encoding="utf-8")
        temporary = stack.enter_context(written_whole(output, force=force, kind="ONNX graph"))
        onnx.save(graph, temporary)
        outliers, difference = _check_parity(model, temporary, plan)
        return ExportReport(
            path=str(output),
            contract=contract,
            bytes=temporary.stat().st_size,
            inputs={value.name: _shape(value) for value in graph.graph.input},
            outputs={value.name: _shape(value) for value in graph.graph.output},
            parity_showers=PARITY_ROWS,
            outliers=outliers,
            largest_energy_difference=difference,
            steering=None if settings is None else str(settings),
            notes=notes,
        )


def _graph(model: Model, plan: Plan, opset: int) -> onnx.ModelProto:
    generator = model.generator
    # Not one row, because a dimension of size one would become a constant.
    examples = [(generator.noise.draw(rows, seed=0), _random_conditions(model.domain, plan, rows)) for rows in (2, 3)]
    module = _Sampling(generator).eval()
    with _quiet():
        proto = export_in_parts(module, examples, opset=opset, inputs=(NOISE, CONDITIONS_INSIDE), outputs=(ENERGIES,))
    # The oldest file format that has these operators, for old runtimes.
    proto.ir_version = onnx.helper.find_min_ir_version_for(list(proto.opset_import))
    return wrap(proto, plan)


def _notes(plan: Plan) -> tuple[str, ...]:
    """What the user of a graph must know, in sentences."""
    if plan.contract.own:
        return ()
    notes = []
    passed = [name for name in plan.ignored if name not in plan.fixed]
    if passed:
        notes.append(f"the model does not depend on {' and '.join(passed)}: all showers are as in its training data")
    for name, value in plan.fixed.items():
        condition = CONDITIONS[name]
        told = getattr(plan.domain, condition.choices)[int(value)] if condition.choices else in_words(name, value)
        notes.append(f"{name} is fixed at {told}")
    if not plan.seeds:
        notes.append(
            "random numbers start from onnxruntime's own generator, which Geant4 does not seed: a run cannot be "
            "repeated, and in several threads, each with a session of its own, the n-th showers of two threads are "
            "identical if their particles have exactly the same energy and direction: use one thread with a "
            "particle gun of fixed energy and direction"
        )
    if plan.contract.steering == ".mac" and plan.detector.readout_threshold < PAR04_CUT:
        notes.append(f"Par04 leaves out cells of {PAR04_CUT} MeV and less; the detector's threshold is lower")
    return tuple(notes)


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


def _describe(graph: onnx.ModelProto, model: Model, plan: Plan, notes: tuple[str, ...]) -> None:
    generator, contract = model.generator, plan.contract
    metadata = {
        "fastv_contract": contract.name,
        "fastv_version": __version__,
        "model": model.name,
        "family": model.description.family,
        "weights_sha256": model.digest(),
        "options": json.dumps(model.options),
        "domain": plan.domain.model_dump_json(),
        "detector": model.detector.model_dump_json(),
        "conditions": json.dumps([_condition(name, model.domain) for name in generator.condition_names]),
        "noise_normal": str(generator.noise.normal),
        "noise_uniform": str(generator.noise.uniform),
        "output": "voxel energies in MeV, ordered (layer, alpha, r), r fastest",
        "threshold_mev": repr(model.detector.threshold),
        "limited": json.dumps({name: plan.bounds(name) for name in plan.names}),
    }
    if not contract.own:
        unit = "fraction of the incident energy" if contract.fraction else "GeV"
        start = "0" if contract.from_zero else "-pi"
        metadata |= {
            "detector": plan.detector.model_dump_json(),
            "output": f"{unit}, ordered (r, alpha, layer), layer fastest, the first alpha cell starts at {start}",
            "energies": "visible" if plan.visible else "scaled",
            "threshold_mev": repr(plan.detector.threshold * plan.scale),
            "latent": str(plan.seeds),
            "fixed": json.dumps(plan.fixed),
            "ignored": json.dumps(plan.ignored),
            "notes": json.dumps(notes),
        }
    if len(model.detectors) > 1 and contract.own:
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


def _random_conditions(domain: Domain, plan: Plan, n: int) -> Tensor:
    return torch.from_numpy(domain.draw(plan.names, n, np.random.default_rng(7)))


def _check_parity(model: Model, path: Path, plan: Plan | None = None) -> tuple[float, float]:
    """Fraction of voxels that differ, and the largest relative difference of a total energy.

    Raises:
        ModelError: they exceed the tolerances.
    """
    generator, plan = model.generator, plan or planned(model, "fastv")
    noise = generator.noise.draw_from(noise_stream(11), PARITY_ROWS)
    asked = _random_conditions(plan.domain, plan, PARITY_ROWS).numpy()
    if plan.contract.own:
        (energies,) = read_session(path, threads=1).run(None, {"noise": noise, "conditions": asked})
        inside = plan.mirror.folded(asked)
    else:
        energies, noise, inside = _consumed(plan, path, asked)
    with torch.inference_mode():
        made = generator.sample(torch.from_numpy(inside), torch.from_numpy(noise)).numpy()
    expected = plan.mirror.image(made, asked).astype(np.float64)
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


def _consumed(plan: Plan, path: Path, asked: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
    """Voxel energies (N, V) in MeV from a consumer's input for conditions, and the noise and conditions inside.

    Raises:
        ModelError: the conditions inside the graph are not those that were asked for.
    """
    graph = onnx.load(path)
    for name, columns in ((NOISE, plan.noise.size), (CONDITIONS_INSIDE, len(plan.names))):
        graph.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", columns]))
    with written_whole(path.with_name("inside.onnx")) as temporary:
        onnx.save(graph, temporary)
        session = read_session(temporary, threads=1)
    wanted = asked.copy()
    for column, name in enumerate(plan.names):
        if name in plan.fixed:
            wanted[:, column] = plan.fixed[name]
        elif name == "theta" and plan.contract.to_normal:
            # The contract knows the angle to the normal only, on one side.
            wanted[:, column] = plan.right_angle + plan.side * np.abs(wanted[:, column] - plan.right_angle)
            wanted[:, column] = np.clip(wanted[:, column], *plan.bounds("theta"))
    carried = {name: wanted[:, i] for i, name in enumerate(plan.names) if not CONDITIONS[name].choices}
    seeds = noise_stream(13).standard_normal((len(asked), plan.seeds), dtype=np.float32)
    output, noise, conditions = session.run(None, {"input": plan.encoded(carried, seeds)})
    if not np.allclose(conditions, plan.mirror.folded(wanted), rtol=1e-5, atol=1e-5):
        msg = "the graph of the contract decodes other conditions than were passed; nothing was written"
        raise ModelError(msg)
    energies = plan.decoded(output, carried["energy"]) / plan.scale
    return energies, noise, conditions


def _shape(value: onnx.ValueInfoProto) -> list[str | int]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
