"""``fastv convert``: convert showers files from and to the formats of other projects."""

from __future__ import annotations

import argparse
from typing import Any

from fastv.formats import FORMATS, READ_ONLY

FUNCTION = "fastv.convert"


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv convert``."""
    parser = verbs.add_parser(
        "convert",
        help="convert showers files from and to the formats of other projects",
        description="Convert a showers file from one format to another, with one batch of showers in memory at a time.",
        epilog="Formats: "
        + "; ".join(f"{each.name}: {each.title}" for each in (*FORMATS.values(), *READ_ONLY.values()))
        + ". A ROOT file is read by uproot, which runs code that it makes from descriptions in the file: convert only "
        "ROOT files that you trust.",
    )
    parser.add_argument("source", metavar="IN", help="file to read; for zenodo-vae a file or a folder")
    parser.add_argument("output", metavar="OUT", help="file to write; for zenodo-vae a folder")
    parser.add_argument(
        "--from", dest="from_format", metavar="F", help="format of IN; by default recognised from its content"
    )
    parser.add_argument(
        "--to",
        dest="to_format",
        metavar="F",
        help="format of OUT; by default given by its suffix, if only one format has it",
    )
    parser.add_argument(
        "--mesh",
        metavar="M",
        help="detector, if IN does not contain it: a name such as par04-siw, FILE.yaml, or a binning "
        "FILE.xml[:PARTICLE]",
    )
    parser.add_argument(
        "--input-scale",
        type=float,
        metavar="S",
        help="factor S by which visible energies were divided in IN, if IN does not contain it",
    )
    parser.add_argument(
        "--output-scale",
        type=float,
        metavar="S",
        help="factor S by which to divide visible energies in OUT; by default 1, for fastv and calochallenge the "
        "energy scale of the detector",
    )
    parser.add_argument(
        "--threshold",
        metavar="E",
        help="set voxels below this visible energy to zero, as in 0.5keV, or none; by default the threshold of the "
        "detector, for formats of visible energy",
    )
    parser.add_argument(
        "--axes",
        metavar="A",
        help="order of the axes of a shower in an HDF5 file of another code, as in layer,alpha,r",
    )
    parser.add_argument(
        "--energy-unit", metavar="U", help="unit of the incident energies in IN: MeV (default), GeV, keV or TeV"
    )
    parser.add_argument("--voxel-unit", metavar="U", help="unit of the voxel energies in IN, likewise")
    parser.add_argument(
        "--theta", metavar="T", help="polar angle of all showers, as in 90deg, if IN does not contain it"
    )
    parser.add_argument("--phi", metavar="P", help="azimuthal angle of all showers, likewise")
    parser.add_argument(
        "--particle", metavar="NAME", help="particle of all showers, as in e-, if IN does not contain it"
    )
    parser.add_argument("--force", action="store_true", help="replace OUT")
    parser.add_argument("--json", action="store_true", help="print machine-readable results")
    parser.set_defaults(run=run, translated=parser.translated)


def run(options: argparse.Namespace) -> None:
    """Convert, and print a summary of the conversion."""
    import json

    from fastv.formats.conversion import convert

    result = convert(
        options.source,
        options.output,
        from_format=options.from_format,
        to_format=options.to_format,
        mesh=options.mesh,
        input_scale=options.input_scale,
        output_scale=options.output_scale,
        threshold=options.threshold,
        axes=options.axes,
        energy_unit=options.energy_unit,
        voxel_unit=options.voxel_unit,
        theta=options.theta,
        phi=options.phi,
        particle=options.particle,
        force=options.force,
    )
    if options.json:
        print(json.dumps(result.as_dict()))
    else:
        print("\n".join(options.translated(line, {}) for line in result.lines()))
