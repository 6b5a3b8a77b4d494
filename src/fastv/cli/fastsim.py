"""``fastv fastsim``: events in which a model generates the showers that it knows, and Geant4 simulates all others."""

from __future__ import annotations

import argparse
from typing import Any

from fastv.cli.parser import whole
from fastv.cli.simulate import physics_of
from fastv.wording import counted

FUNCTION = "fastv.fastsim"


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv fastsim``."""
    parser = verbs.add_parser(
        "fastsim",
        help="simulate events with Geant4, and generate the showers that a model knows",
        description="Simulate events with Geant4 into a file of hits. Particles that enter the calorimeter and are in "
        "the domain of the model are generated, the others go on in full simulation.",
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="model directory, name of a shipped model, or exported graph (.onnx), which is faster",
    )
    parser.add_argument("--energy", metavar="E", help="energies of a gun, as for 'fastv simulate': 50GeV, 1-1000GeV")
    parser.add_argument("-n", type=whole, metavar="N", help="number of events (with --events, by default all)")
    parser.add_argument("--particle", metavar="P", help="particles of the gun: e-, gamma or any PDG code (default e-)")
    parser.add_argument("--theta", metavar="T", help="its polar angles (default: perpendicular to the slabs)")
    parser.add_argument("--phi", metavar="P", help="its azimuthal angles (default 0deg)")
    parser.add_argument(
        "--position-spread", metavar="L", default="0mm", help="standard deviation of its starting point (default 0mm)"
    )
    parser.add_argument("--events", metavar="FILE", help="events in place of the gun (HepMC3, ASCII)")
    parser.add_argument(
        "--detector", metavar="D", help="the calorimeter, a preset or FILE.yaml (default: that of the model)"
    )
    parser.add_argument("--plate", metavar="M:L", help="material in front of it, as in G4_Al:20mm (default: vacuum)")
    parser.add_argument(
        "--angle-tolerance",
        metavar="A",
        default="1e-3rad",
        help="by how much a direction may be outside the domain of the model, as in 2deg (default 1e-3rad)",
    )
    parser.add_argument(
        "--control",
        type=float,
        metavar="F",
        default=0.0,
        help="fraction of the particles in the domain that are simulated nevertheless (default 0)",
    )
    parser.add_argument(
        "--physics",
        metavar="M",
        default="standard",
        help="physics models: standard (default), or standard+FTFP_BERT for hadrons",
    )
    parser.add_argument("--production-cut", metavar="L", default="1mm", help="Geant4's production cut (default 1mm)")
    parser.add_argument("--seed", type=whole, default=0, help="the same seed gives the same events (default 0)")
    parser.add_argument(
        "--batch-events",
        type=whole,
        metavar="N",
        default=100,
        help="events whose particles are generated together (default 100)",
    )
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="file of hits to write (HDF5)")
    parser.add_argument("--edm4hep", metavar="FILE", help="write the hits as columns of EDM4hep too (ROOT)")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run with the same arguments")
    parser.add_argument("--force", action="store_true", help="replace existing files, or discard an interrupted run")
    parser.add_argument("--json", action="store_true", help="print machine-readable results")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Simulate, and print a summary."""
    import json

    from fastv.conditions.units import format_energy, parse_length
    from fastv.fast_simulation.choice import FATES
    from fastv.fast_simulation.run import fastsim

    done = fastsim(
        options.model,
        options.output,
        energy=options.energy,
        n=options.n,
        particle=options.particle,
        theta=options.theta,
        phi=options.phi,
        position_spread=parse_length(options.position_spread),
        events=options.events,
        detector=options.detector,
        plate=options.plate,
        angle_tolerance=options.angle_tolerance,
        control=options.control,
        physics=physics_of(options.physics, parse_length(options.production_cut)),
        seed=options.seed,
        batch_events=options.batch_events,
        edm4hep=options.edm4hep,
        resume=options.resume,
        force=options.force,
    )
    if options.json:
        print(json.dumps(done.as_dict()))
        return
    files = f"{done.output} and {options.edm4hep}" if options.edm4hep else done.output
    print(f"{counted(done.events, 'event')} in {files}, {done.seconds:.1f} s including writing")
    print(f"{counted(done.entered, 'particle')} entered the calorimeter")
    for name, count in done.fates.items():
        print(f"  {count:>8} {FATES[name]}")
    energies = {name: format_energy(energy, digits=4, space=" ") for name, energy in done.accounts.items() if energy}
    print(f"energy: {', '.join(f'{name} {energy}' for name, energy in energies.items())}")
