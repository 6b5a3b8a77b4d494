"""``fastv export``: export a model as an ONNX graph."""

from __future__ import annotations

import argparse
from typing import Any

from fastv.cli.assignments import assignments, options_by_name

FUNCTION = "fastv.export.export"


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv export``."""
    parser = verbs.add_parser("export", help="export a model as ONNX, and check the graph against the model")
    parser.add_argument("model", metavar="MODEL", nargs="?", help="model directory, or name of a shipped model")
    parser.add_argument(
        "--contract",
        default="fastv",
        help="inputs and outputs of the graph: fastv (default), par04-vae, par04-calodit2 or ddml",
    )
    parser.add_argument(
        "--latent",
        metavar="N",
        type=int,
        help="normal numbers that the program passes, for par04-vae: 10 (default) to 1000, or all noise of the model",
    )
    parser.add_argument(
        "--energies",
        metavar="KIND",
        help="visible energy (default for programs other than FastV), or scaled as in showers files",
    )
    parser.add_argument(
        "--fix",
        dest="fixed",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="value of a condition that the contract does not carry, as in --fix phi=0deg; may be repeated",
    )
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
    parser.add_argument("-o", "--output", metavar="FILE.onnx", help="file to write")
    parser.add_argument(
        "--check", metavar="FILE.onnx", help="check a file, whoever wrote it, against --contract, in place of an export"
    )
    parser.add_argument("--force", action="store_true", help="replace FILE.onnx")
    parser.add_argument("--json", action="store_true", help="print machine-readable results")
    parser.set_defaults(run=run, usage_error=parser.error)
    parser.settings = options_by_name


def run(options: argparse.Namespace) -> None:
    """Export, and print how the graph compares with the model; or check a file."""
    import json

    if options.check is not None:
        _check(options)
        return
    missing = [name for name, value in (("MODEL", options.model), ("-o/--output", options.output)) if not value]
    if missing:
        options.usage_error(f"the following arguments are required: {', '.join(missing)}")

    from fastv.export import export

    report = export(
        options.model,
        options.output,
        contract=options.contract,
        latent=options.latent,
        energies=options.energies,
        fixed=dict(_fixed(text) for text in options.fixed),
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
    if report.steering is not None:
        print(f"settings {report.steering}")
    for note in report.notes:
        print(f"note     {note}")


def _fixed(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (equals and name.strip() and value.strip()):
        from fastv.errors import SettingsError

        msg = f"--fix takes NAME=VALUE, got {text!r}"
        raise SettingsError(msg)
    return name.strip(), value.strip()


def _check(options: argparse.Namespace) -> None:
    """Print what was found about a file; an error if it does not fit."""
    import json

    from fastv.errors import printable
    from fastv.export import check_contract
    from fastv.export.check import require

    given = [name for name, value in (("MODEL", options.model), ("-o/--output", options.output)) if value]
    if given:
        options.usage_error(f"--check takes no {' and no '.join(given)}: it writes nothing")
    checked = check_contract(options.check, options.contract)
    if options.json:
        print(json.dumps(checked.as_dict()))
    else:
        words = {True: "good", False: "BAD", None: "note"}
        for finding in checked.findings:
            print(printable(f"{words[finding.passed]:4s}  {finding.name:10s}  {finding.text}"))
    require(checked)
