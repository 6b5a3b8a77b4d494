"""Does an ONNX file from anywhere do what the program that runs it expects? It is fed and read as the C++ does."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from fastv.detector.detector import Detector
from fastv.errors import ModelError, SettingsError
from fastv.export.contracts import CONTRACTS, Contract
from fastv.export.graph_file import read_graph
from fastv.export.wrapping import LARGEST_NORMAL
from fastv.suggestions import unknown
from fastv.wording import one_line, shortened

ENERGY = 50_000.0
"""Incident energy of the showers that are generated, in MeV."""
SHOWERS = 40
_OLD_IR, _OLD_OPSET = 9, 18
"""The newest file format and operators that onnxruntime 1.15 reads."""
_BAD = (np.nan, np.inf, -np.inf, 0.0, -1.0, 1e-30, -1e-30, 1.0, 1e10, 3e38, -3e38)


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    Attributes:
        name: what it is.
        passed: whether it is as the program needs it; None for a remark.
        text: what was found.
    """

    name: str
    passed: bool | None
    text: str


@dataclass(frozen=True)
class ContractCheck:
    """What was found about a file.

    Attributes:
        path: the file.
        contract: name of the contract.
        findings: in the order in which a program would meet them.
    """

    path: str
    contract: str
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return all(finding.passed is not False for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """The record as JSON data."""
        return {**asdict(self), "passed": self.passed}


def check_contract(path: str | Path, contract: str) -> ContractCheck:
    """Check an ONNX file against the contract of a program, whoever wrote it.

    The file is loaded as that program loads it (one thread, no optimisation), fed with showers of 50 GeV at normal
    incidence, and with what is no number or out of range. Which cell an energy lies in cannot be checked without
    knowing the model; the mean depth and radius are told.

    Args:
        path: the ONNX file.
        contract: ``par04-vae``, ``par04-calodit2`` or ``ddml``.

    Raises:
        SettingsError: there is no such contract of another program.
        ModelError: the file is missing or damaged.
    """
    others = {name: each for name, each in CONTRACTS.items() if not each.own}
    if contract not in others:
        raise SettingsError(unknown("contract of another program", contract, others))
    content, model = read_graph(Path(path))
    chosen = others[contract]
    findings = [_version(model), *_shape_of_input(model, chosen)]
    if all(finding.passed is not False for finding in findings):
        try:
            findings += _Consumer(content, model, chosen).findings()
        except Exception as error:  # onnxruntime raises classes of its own that share no public base
            findings.append(Finding("runs", False, f"onnxruntime cannot run the graph ({one_line(error)})"))
    return ContractCheck(str(path), contract, tuple(findings))


def _version(model: onnx.ModelProto) -> Finding:
    opset = max((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), default=0)
    text = f"operators of version {opset}, file format {model.ir_version}"
    if opset > _OLD_OPSET or model.ir_version > _OLD_IR:
        return Finding("version", None, f"{text}: onnxruntime 1.15 to 1.17 refuses it")
    return Finding("version", True, f"{text}: runs in onnxruntime 1.15")


def _shape_of_input(model: onnx.ModelProto, contract: Contract) -> list[Finding]:
    constants = {each.name for each in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    names = ", ".join(shortened(value.name, 40) for value in inputs)
    if len(inputs) != 1:
        return [Finding("one input", False, f"{len(inputs)} inputs ({names}); the program feeds one")]
    tensor = inputs[0].type.tensor_type
    dims = [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]
    if tensor.elem_type != onnx.TensorProto.FLOAT:
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type)
        return [Finding("one input", False, f"{names} is of type {kind}; the program feeds float32")]
    columns = dims[1] if len(dims) == 2 else None
    passed = len(contract.columns)
    needed = contract.seeds + passed
    fits = isinstance(columns, int) and (columns > passed if contract.any_seeds else columns == needed)
    wanted = f"{passed} and the latent size" if contract.any_seeds else str(needed)
    one_row = len(dims) == 2 and (isinstance(dims[0], str) or dims[0] in (0, 1))
    if not (fits and one_row):
        return [Finding("one input", False, f"{names} has shape {shortened(dims)}; the program feeds 1 x {wanted}")]
    return [Finding("one input", True, f"{names}, float32, {shortened(dims)}")]


class _Consumer:
    """A graph as the program runs it."""

    def __init__(self, content: bytes, model: onnx.ModelProto, contract: Contract) -> None:
        self.contract, self.content = contract, content
        self.session = self._opened()
        columns = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
        self.latent = columns - len(contract.columns)
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        layers, alphas, rs = contract.cells
        self.cells = rs, alphas, layers
        self.named = metadata.get("fastv_contract", "")
        if self.named and "detector" in metadata:
            layers, alphas, rs = Detector.model_validate_json(metadata["detector"]).mesh.shape
            self.cells = rs, alphas, layers

    def _opened(self) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        return onnxruntime.InferenceSession(self.content, options, providers=["CPUExecutionProvider"])

    def run(self, values: NDArray[np.float32], session: onnxruntime.InferenceSession | None = None) -> NDArray[Any]:
        """The first output, flat, for one row, as the program reads it."""
        used = session or self.session
        output: NDArray[Any] = used.run(None, {used.get_inputs()[0].name: values.reshape(1, -1)})[0]
        return output.reshape(-1)

    def row(self, seeds: NDArray[np.float32]) -> NDArray[np.float32]:
        """The input of a shower of 50 GeV at normal incidence on a barrel."""
        conditions = {"energy": ENERGY, "theta": np.pi / 2, "phi": 0.3}
        row: NDArray[np.float32] = self.contract.encoded(conditions, seeds[None])[0]
        return row

    def findings(self) -> list[Finding]:
        """What running it shows."""
        rng = np.random.default_rng(1)
        seeds = (
            rng.standard_normal((SHOWERS, self.latent), dtype=np.float32)
            if self.contract.seeds
            else np.zeros((SHOWERS, 0), np.float32)
        )
        rows = [self.row(each) for each in seeds]
        showers = [self.run(row) for row in rows]
        found = [self._provenance(), self._size(showers[0])]
        if found[-1].passed is False:
            return found
        table = np.stack(showers).astype(np.float64)
        found += [self._numbers(table), self._energy(table)]
        found += self._randomness(rows, showers)
        found.append(self._anything())
        return found

    def _provenance(self) -> Finding:
        if not self.named:
            return Finding("metadata", None, f"none of FastV: cells {_by(self.cells)} (r, alpha, layer) are assumed")
        if self.named != self.contract.name:
            return Finding("metadata", False, f"FastV wrote it for the contract {shortened(self.named, 40)!r}")
        return Finding("metadata", True, f"written by FastV, cells {_by(self.cells)} (r, alpha, layer)")

    def _size(self, shower: NDArray[Any]) -> Finding:
        needed = int(np.prod(self.cells))
        if shower.dtype != np.float32 or shower.size != needed:
            text = f"{shower.size} numbers of type {shower.dtype}; the program reads {needed} of float32, unchecked"
            return Finding("output", False, text)
        return Finding("output", True, f"{needed} numbers of float32")

    def _numbers(self, table: NDArray[np.float64]) -> Finding:
        bad = float(np.mean(~np.isfinite(table) | (table < 0)))
        return Finding("energies", bad == 0, f"a fraction {bad:.2g} is negative or not finite")

    def _energy(self, table: NDArray[np.float64]) -> Finding:
        incident = 1.0 if self.contract.fraction else ENERGY / 1000
        ratio = float(np.nansum(table, axis=1).mean()) / incident
        cells = np.nan_to_num(table).mean(0).reshape(self.cells)
        total = max(float(cells.sum()), 1e-30)
        radius, depth = (
            (cells.sum(axis) * np.arange(n)).sum() / total
            for axis, n in (((1, 2), self.cells[0]), ((0, 1), self.cells[2]))
        )
        unit = "the incident energy" if self.contract.fraction else "the incident energy in GeV"
        text = f"they add up to {ratio:.4g} of {unit}; mean radius {radius:.1f}, mean depth {depth:.1f} cells"
        return Finding("sum", 1e-4 < ratio < 2, text)

    def _randomness(self, rows: list[NDArray[np.float32]], showers: list[NDArray[Any]]) -> list[Finding]:
        again = self.run(rows[0])
        if self.contract.seeds:
            same = bool(np.array_equal(again, showers[0]))
            text = "the same input gives the same shower" if same else "the same input gives another shower"
            found = [Finding("repeats", same or None, text)]
        else:
            distinct = len({shower.tobytes() for shower in showers})
            found = [Finding("random", distinct == SHOWERS, f"{distinct} of {SHOWERS} showers of one particle differ")]
            first, second = (self._opened() for _ in range(2))
            same = all(np.array_equal(self.run(rows[0], first), self.run(rows[0], second)) for _ in range(3))
            text = "two sessions of one process give " + (
                "the same showers for the same particle" if same else "others"
            )
            found.append(Finding("threads", None if same else True, text))
            return found
        distinct = len({shower.tobytes() for shower in showers})
        found.append(Finding("random", distinct == SHOWERS, f"{distinct} of {SHOWERS} showers differ"))
        return found

    def _anything(self) -> Finding:
        """Every single column of the input takes values that nobody should pass."""
        rng = np.random.default_rng(2)
        seeds = rng.standard_normal(self.latent if self.contract.seeds else 0, dtype=np.float32)
        usual = self.row(seeds)
        columns = [*range(min(2, len(seeds))), *range(len(seeds), len(seeds) + 3)]
        failed = []
        for column in columns:
            for value in (*_BAD, LARGEST_NORMAL + 1):
                row = usual.copy()
                row[column] = value
                output = self.run(row)
                if not (np.isfinite(output).all() and (output >= 0).all()):
                    failed.append(f"{value:g} in column {column}")
        if failed:
            more = f" and {len(failed) - 2} others" if len(failed) > 2 else ""
            return Finding("any input", False, f"not finite, or negative, for {', '.join(failed[:2])}{more}")
        return Finding("any input", True, "finite and not negative, also for NaN, infinities and other energies")


def _by(cells: tuple[int, ...]) -> str:
    return " x ".join(map(str, cells))


def require(check: ContractCheck) -> None:
    """Raise if a check failed.

    Raises:
        ModelError: something does not fit the contract.
    """
    failed = [finding for finding in check.findings if finding.passed is False]
    if failed:
        msg = f"{check.path} does not fulfil the contract {check.contract!r}: {failed[0].name}: {failed[0].text}"
        raise ModelError(msg)
