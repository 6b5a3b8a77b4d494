"""Export of models as ONNX graphs, the check that a graph agrees with its model, and a runner without PyTorch."""

from fastv.export.check import ContractCheck, check_contract
from fastv.export.contracts import CONTRACTS
from fastv.export.onnx import ExportReport, export
from fastv.export.runtime import OnnxGenerator

__all__ = ["CONTRACTS", "ContractCheck", "ExportReport", "OnnxGenerator", "check_contract", "export"]
