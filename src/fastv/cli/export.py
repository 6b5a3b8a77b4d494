"""``fastv export``: export a model as an ONNX graph."""

from __future__ import annotations

import argparse
from typing import Any

from fastv.cli.assignments import assignments, options_by_name

FUNCTION = "fastv.export.export"


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv export``."""
    parser = verbs.add_parser("export", help="export a model as ONNX, and check the graph against the model")
    parser.add_argument("model", metavar="MODEL", help="model directory, or name of a shipped model")
    parser.add_argument("--contract", default="fastv", help="inputs and outputs of the graph; known: fastv (default)")
    parser.add_argument(
        "--opset",
        metavar="N",
        type=int,
        default=18,
        help="version of ONNX's operators, 18 (default, for onnxruntime 1.14 and newer) to 21",
    )
    parser.add_argument(
        "--set",
        dest="options",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change an option of the generation, as in --set steps=8; may be repeated",
    )
    parser.add_argument("-o", "--output", metavar="FILE.onnx", required=True, help="file to write")
    parser.add_argument("--force", action="store_true", help="replace FILE.onnx")
    parser.add_argument("--json", action="store_true", help="print machine-readable results")
    parser.set_defaults(run=run)
    parser.settings = options_by_name


def run(options: argparse.Namespace) -> None:
    """Export, and print how the graph compares with the model."""
    import json

    from fastv.export import export

    report = export(
        options.model,
        options.output,
        contract=options.contract,
        opset=options.opset,
        options=assignments(options.options),
        force=options.force,
    )
    if options.json:
        print(json.dumps(report.as_dict()))
        return
    print(f"{report.path}: contract {report.contract}, {report.bytes / 1e6:.1f} MB")
    print(f"inputs   {', '.join(f'{name} {shape}' for name, shape in report.inputs.items())}")
    print(f"outputs  {', '.join(f'{name} {shape}' for name, shape in report.outputs.items())}")
    print(
        f"parity   {report.parity_showers} showers: total energies within {report.largest_energy_difference:.1e}, "
        f"{report.outliers:.1e} of the voxels differ by more than 1e-3"
    )
