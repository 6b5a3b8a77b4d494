"""``fastv simulate``: simulate showers with Geant4."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from fastv.cli.parser import whole
from fastv.wording import counted

if TYPE_CHECKING:
    from fastv.simulation.request import PhysicsSettings

FUNCTION = "fastv.simulate"


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv simulate``."""
    parser = verbs.add_parser(
        "simulate",
        help="simulate showers with Geant4 into a file",
        description="Simulate showers with Geant4 into a file, on this machine or on a cluster. The same command "
        "continues an interrupted run. 'fastv doctor' checks whether Geant4 and its data sets are installed.",
    )
    parser.add_argument("detector", metavar="DETECTOR", help="a preset such as par04-siw, or FILE.yaml")
    parser.add_argument("-n", type=whole, metavar="N", help="number of showers")
    parser.add_argument(
        "--energy",
        metavar="E",
        required=True,
        help="incident energies: 50GeV, 10,50GeV, 1-1000GeV (log-uniform), uniform:1-9GeV, power-2:1-9GeV or a file",
    )
    parser.add_argument("--particle", metavar="P", default="e-", help="e-, gamma, 11,22 or any PDG code (default e-)")
    parser.add_argument(
        "--theta", metavar="T", help="polar angles: 90deg, 60-90deg (default: perpendicular to the slabs)"
    )
    parser.add_argument("--phi", metavar="P", default="0deg", help="azimuthal angles, likewise (default 0deg)")
    parser.add_argument(
        "--position-spread",
        metavar="L",
        default="0mm",
        help="standard deviation of the starting point, as in 5mm (default 0mm)",
    )
    parser.add_argument(
        "--physics",
        metavar="M",
        default="standard",
        help="physics models: standard (default), or standard+FTFP_BERT for hadrons",
    )
    parser.add_argument("--production-cut", metavar="L", default="1mm", help="Geant4's production cut (default 1mm)")
    parser.add_argument("--seed", type=whole, default=0, help="the same seed gives the same showers (default 0)")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="showers file to write")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--workers", type=whole, metavar="K", help="processes on this machine (default: one per processor)"
    )
    where.add_argument("--scheduler", metavar="ADDR", help="use the workers of a Dask cluster: tcp://host:8786")
    parser.add_argument("--event", type=whole, metavar="K", help="simulate only event K of the same command")
    parser.add_argument("--tracks", metavar="FILE", help="with --event, write its tracks (HDF5)")
    parser.add_argument(
        "--tracks-above",
        metavar="E",
        help="write only tracks that start with more than this, as in 1MeV (default: all tracks)",
    )
    parser.add_argument("--cpu-seconds", action="store_true", help="store Geant4's CPU time of each shower as a column")
    parser.add_argument(
        "--block",
        dest="block_rows",
        type=whole,
        metavar="N",
        help="showers per block, the unit in which work is saved (default: about half a minute of work)",
    )
    parser.add_argument("--resume", action="store_true", help="fail unless there is an interrupted run to continue")
    parser.add_argument("--force", action="store_true", help="replace FILE")
    parser.add_argument("--json", action="store_true", help="print machine-readable results")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Simulate, and print a summary."""
    import json

    from fastv.conditions.units import format_energy, parse_energy, parse_length
    from fastv.simulation.production import simulate

    result = simulate(
        options.detector,
        options.output,
        energy=options.energy,
        n=options.n,
        particle=options.particle,
        theta=options.theta,
        phi=options.phi,
        position_spread=parse_length(options.position_spread),
        physics=physics_of(options.physics, parse_length(options.production_cut)),
        seed=options.seed,
        workers=options.workers,
        scheduler=options.scheduler,
        event=options.event,
        tracks=options.tracks,
        tracks_above=0.0 if options.tracks_above is None else parse_energy(options.tracks_above),
        cpu_seconds=options.cpu_seconds,
        block_rows=options.block_rows,
        resume=options.resume,
        force=options.force,
    )
    if options.json:
        print(json.dumps(result.as_dict()))
        return
    kept = result.showers - result.simulated
    earlier = f", {kept} of them from an earlier run" if kept else ""
    print(f"{counted(result.showers, 'shower')} in {result.output}{earlier}")
    if result.simulated:
        rate = format_energy(result.energy / result.seconds, digits=3, space=" ")
        cpu = 1e6 * result.cpu_seconds / result.energy
        print(f"{result.simulated} simulated in {result.seconds:.1f} s: {rate}/s, Geant4 {cpu:.1f} ms CPU/GeV")


def physics_of(text: str, cut: float) -> PhysicsSettings:
    """The physics of ``--physics`` and of ``--production-cut`` in mm."""
    from fastv.errors import SettingsError
    from fastv.simulation.request import PhysicsSettings

    if cut <= 0:
        msg = "the production cut must be above zero, as in --production-cut 0.7mm"
        raise SettingsError(msg)
    em_model, plus, had_model = text.partition("+")
    return PhysicsSettings(em_model=em_model, had_model=had_model if plus else None, cut=cut)
