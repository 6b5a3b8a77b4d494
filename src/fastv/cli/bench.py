"""``fastv bench``: measure the speed of a model."""

from __future__ import annotations

import argparse
from typing import Any

from fastv.cli.assignments import assignments, options_by_name
from fastv.cli.parser import whole
from fastv.wording import counted

FUNCTION = "fastv.bench.bench"


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv bench``."""
    parser = verbs.add_parser("bench", help="measure the speed of generation in onnxruntime")
    parser.add_argument("model", metavar="MODEL|FILE.onnx", help="model directory, shipped model, or exported graph")
    parser.add_argument(
        "--batch", metavar="N,N", default="1,10,100,1000,10000", help="batch sizes (default 1,10,100,1000,10000)"
    )
    parser.add_argument(
        "--threads",
        metavar="N,N",
        type=_threads,
        default=[1],
        help="threads used for one batch, or several such numbers; all for all processors (default 1)",
    )
    parser.add_argument(
        "--engine",
        metavar="NAME,NAME",
        default="onnxruntime",
        help="onnxruntime (default), pytorch, or both",
    )
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="how many seconds to measure each batch size (default 3)"
    )
    parser.add_argument(
        "--geant4",
        metavar="FILE.h5",
        help="compare with full simulation at the same energies: showers with --cpu-seconds",
    )
    parser.add_argument("--plot", metavar="FILE", help="write a picture (.png, .pdf or .svg)")
    parser.add_argument("--force", action="store_true", help="replace an existing picture")
    parser.add_argument(
        "--set",
        dest="options",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change an option of the generation, as in --set steps=8; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print machine-readable results")
    parser.set_defaults(run=run)
    parser.settings = options_by_name


def _threads(text: str) -> list[int | str]:
    """Numbers of threads; ``all`` for all processors."""
    return ["all" if each.strip() == "all" else whole(each) for each in text.split(",")]


def run(options: argparse.Namespace) -> None:
    """Print a table, or JSON."""
    import json

    from fastv.bench import bench
    from fastv.errors import SettingsError

    try:
        batch = [int(size) for size in options.batch.split(",")]
    except ValueError as error:
        msg = f"--batch takes integers separated by commas, as in 1,100,1000; got {options.batch!r}"
        raise SettingsError(msg) from error
    result = bench(
        options.model,
        batch=batch,
        threads=options.threads,
        engine=[each.strip() for each in options.engine.split(",")],
        seconds=options.seconds,
        geant4=options.geant4,
        plot=options.plot,
        options=assignments(options.options),
        force=options.force,
    )
    if options.json:
        print(json.dumps(result))
        return
    print(f"{result['model']} on {result['processor']}, {counted(result['processors'], 'processor')}")
    print(f"{'engine':<12}  {'threads':>7}  {'batch':>8}  {'ms/shower':>10}  {'p99':>10}  {'showers/s':>10}")
    for row in result["timings"]:
        median, p99, noisy = row["ms_per_shower_median"], row["ms_per_shower_p99"], "" if row["quiet"] else "  *"
        where = f"{row['engine']:<12}  {row['threads']:>7}  {row['batch']:>8}"
        print(f"{where}  {median:>10.4f}  {p99:>10.4f}  {row['showers_per_second']:>10.0f}{noisy}")
    print(f"included: {result['included']}")
    for row in result.get("geant4", {}).get("by_energy", ()):
        low, high = (each / 1000 for each in row["energy_mev"])
        energy, noisy = (
            f"{low:.4g} to {high:.4g} GeV" if low < high else f"{low:.4g} GeV",
            "" if row["quiet"] else "  *",
        )
        times = f"Geant4 {row['geant4_ms']:.4g} ms, model {row['ms_per_shower']:.4g} ms"
        print(f"{energy:<24}  {times}: {row['times_faster']:,.0f} times faster{noisy}")
    start = result["start_up"]
    memory = ""
    if start["memory_mb"] is not None:
        after = f"after {counted(start['showers'], 'shower')} {start['growth_mb']:.1f} MB more"
        memory = f", {start['memory_mb']:.0f} MB; {after}"
    print(
        f"start-up to the first shower, fastv.runtime: {start['seconds']:.2f} s "
        f"({start['cpu_seconds']:.2f} s of processor time){memory}"
    )
    if not result["quiet"]:
        print("* the machine was not quiet: rounds differ, or other work took the processor; repeat when it is idle")
    if options.plot:
        print(f"plot: {options.plot}")
