"""Models as ONNX graphs: each consumer's contract, and the check that a graph equals its model."""

from fastv.export.onnx import CONTRACTS, ExportReport, export
from fastv.export.runtime import OnnxGenerator

__all__ = ["CONTRACTS", "ExportReport", "OnnxGenerator", "export"]
