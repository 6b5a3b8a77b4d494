"""``fastv convert``: showers files from and to the formats of other projects."""

from __future__ import annotations

import argparse
from typing import Any

from fastv.formats import FORMATS

FUNCTION = "fastv.convert"


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv convert``."""
    parser = verbs.add_parser(
        "convert",
        help="showers files from and to the formats of other projects",
        description="Convert a showers file, a batch of showers at a time.",
        epilog="Formats: " + "; ".join(f"{each.name}: {each.title}" for each in FORMATS.values()) + ".",
    )
    parser.add_argument("source", metavar="IN", help="file to read; for zenodo-vae a file or a folder")
    parser.add_argument("output", metavar="OUT", help="file to write; for zenodo-vae a folder")
    parser.add_argument(
        "--from", dest="from_format", metavar="F", help="format of IN; by default found from its content"
    )
    parser.add_argument(
        "--to", dest="to_format", metavar="F", help="format of OUT; told by its suffix if only one has it"
    )
    parser.add_argument(
        "--mesh",
        metavar="M",
        help="detector and mesh where IN does not tell them: a name such as par04-siw, or a binning "
        "FILE.xml[:PARTICLE]",
    )
    parser.add_argument(
        "--input-scale",
        type=float,
        metavar="S",
        help="the voxel energies of IN are the visible energy divided by S, where IN does not tell it",
    )
    parser.add_argument(
        "--output-scale",
        type=float,
        metavar="S",
        help="divide the visible energy by S in OUT; by default 1, for fastv and calochallenge that of the detector",
    )
    parser.add_argument(
        "--threshold",
        metavar="E",
        help="set voxels of less visible energy to zero, as in 0.5keV, or none; by default the detector's, for formats "
        "of visible energy",
    )
    parser.add_argument(
        "--theta", metavar="T", help="polar angle of all showers, as in 90deg, where IN does not tell it"
    )
    parser.add_argument("--phi", metavar="P", help="azimuthal angle, in the same way")
    parser.add_argument(
        "--particle", metavar="NAME", help="particle of all showers, as in e-, where IN does not tell it"
    )
    parser.add_argument("--force", action="store_true", help="replace OUT")
    parser.add_argument("--json", action="store_true", help="print machine-readable results")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Convert, then say what was done."""
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
        theta=options.theta,
        phi=options.phi,
        particle=options.particle,
        force=options.force,
    )
    if options.json:
        print(json.dumps(result.as_dict()))
    else:
        print("\n".join(result.lines()))
