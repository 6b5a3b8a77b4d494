"""The page that `explore` writes: its numbers packed into one compressed block, its template, style and script.

The block is the zlib-compressed concatenation of a JSON text and of arrays whose places this text tells. Voxel energies
are rounded to 256 steps of a logarithmic scale of each shower, less than 3 % of an energy, with the exact sum beside.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

import matplotlib
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from fastv._version import __version__
from fastv.display import fragment, shared_assets, shower_panel
from fastv.display.scene import Panel, facts, heading
from fastv.representation.information import ACTIVE_VARIANCE
from fastv.representation.pictures import COLOURS
from fastv.showers import Showers

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]

_LEVELS = 255
_SCALE = "viridis"
_BRIGHTEST = 0.93
"""Part of the colour scale that is in use: its yellow end is hard to see on white."""


@dataclass(frozen=True)
class Variable:
    """A quantity with a value for each shower.

    Attributes:
        name, unit: of the quantity; the unit may be empty.
        values: (N,); of a choice, the number of its class.
        logarithmic: whether its scale is.
        classes: names of the classes of a choice; empty for a number.
    """

    name: str
    unit: str
    values: F64
    logarithmic: bool = False
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Walk:
    """The showers along one dimension.

    Attributes:
        row: shower that it starts from, among those of the page.
        dimension: place of the dimension among those of the page.
        steps: values of the slider (S,).
        energies: decoded showers (S, V) in MeV.
    """

    row: int
    dimension: int
    steps: Sequence[float]
    energies: F32


@dataclass(frozen=True)
class PrincipalAxes:
    """Principal components of the code.

    Attributes:
        scores: of N showers, (n, N).
        weights: of the D dimensions of the page, (n, D).
        shares: of the variance of the code, (n,).
    """

    scores: F32
    weights: F32
    shares: F64


@dataclass(frozen=True)
class Exploration:
    """All that a page shows.

    Attributes:
        facts: name and text of each line on top.
        notes: what a reader has to know of this model.
        showers: N showers with energy.
        names: of the showers.
        reconstructions: (N, V) in MeV, or None without a decoder.
        codes: (N, D) of the dimensions that are shown, the most informative first.
        spreads: of each dimension (D,), the unit of the steps of walks.
        bits: whether codes are bits.
        dimensions: what the table tells of each.
        correlated: names of the quantities that dimensions are correlated with.
        components: principal components of the code.
        variables: quantities of the showers.
        neighbours: nearest showers (N, K) of each, and their distances (N, K).
        walks: the walks.
    """

    facts: Sequence[tuple[str, str]]
    notes: Sequence[str]
    showers: Showers
    names: Sequence[str]
    reconstructions: F32 | None
    codes: F32
    spreads: F64
    bits: bool
    dimensions: Sequence[dict[str, Any]]
    correlated: Sequence[str]
    components: PrincipalAxes
    variables: Sequence[Variable]
    neighbours: tuple[NDArray[np.int64], F32]
    walks: Sequence[Walk]


def written(page: Exploration) -> str:
    """The page as HTML."""
    environment = Environment(
        loader=PackageLoader("fastv.representation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    room = files("fastv.representation").joinpath("templates")
    return environment.get_template("explore.html.j2").render(
        page=page,
        packed=packed(page),
        posterior=any(each["kl"] is not None for each in page.dimensions),
        active_variance=ACTIVE_VARIANCE,
        assets=shared_assets(),
        view=fragment(_panels(page)),
        style=Markup(room.joinpath("explore.css").read_text(encoding="utf-8")),
        script=Markup(room.joinpath("explore.js").read_text(encoding="utf-8")),
        version=__version__,
    )


def packed(page: Exploration) -> str:
    """The numbers of a page as text, see above."""
    showers = [page.showers.energies]
    if page.reconstructions is not None:
        showers.append(page.reconstructions)
    showers += [walk.energies for walk in page.walks]
    hits = [packed_hits(part) for part in showers]
    arrays: Arrays = {
        "codes": page.codes,
        "spreads": page.spreads.astype(np.float32),
        "scores": page.components.scores,
        "weights": page.components.weights,
        "variables": np.stack([each.values for each in page.variables]).astype(np.float32),
        "neighbours": page.neighbours[0].astype(np.uint16),
        "distances": page.neighbours[1],
        **{name: np.concatenate([part[name] for part in hits]) for name in hits[0]},
    }
    told = {
        "names": list(page.names),
        "headings": [heading(page.showers, row) for row in range(len(page.showers))],
        "facts": [facts(energies, page.showers.detector) for part in showers for energies in part],
        "reconstructed": page.reconstructions is not None,
        "bits": page.bits,
        "dimensions": list(page.dimensions),
        "correlated": list(page.correlated),
        "shares": page.components.shares.tolist(),
        "variables": [
            {"name": each.name, "unit": each.unit, "log": each.logarithmic, "classes": list(each.classes)}
            for each in page.variables
        ],
        "walks": [{"row": walk.row, "dimension": walk.dimension, "steps": list(walk.steps)} for walk in page.walks],
        "scale": [
            matplotlib.colors.to_hex(colour) for colour in matplotlib.colormaps[_SCALE](np.linspace(0, _BRIGHTEST, 64))
        ],
        "colours": list(COLOURS),
    }
    return base64.b64encode(zlib.compress(_joined(told, arrays), 9)).decode("ascii")


def packed_hits(energies: F32) -> Arrays:
    """The hits of M showers (M, V) in MeV, in a few bytes each.

    ``hits`` (M,) is the number of hits of each; ``gaps`` the number of voxels without energy before each hit, of which
    255 stands for 255 and more that follow; ``levels`` the energy of each hit, from the least 0 to the largest 255 of
    its shower on a logarithmic scale; ``lowest``, ``highest`` and ``sums`` (M,) are energies in MeV.

    Example:
        >>> hits = packed_hits(np.array([[0, 0, 1.0, 100.0, 10.0, 0]], np.float32))
        >>> hits["gaps"].tolist(), hits["levels"].tolist()
        ([2, 0, 0], [0, 255, 128])
    """
    rows, voxels = np.nonzero(energies > 0)
    values = energies[rows, voxels].astype(np.float64)
    counts = np.bincount(rows, minlength=len(energies))
    first = np.zeros(len(rows), dtype=bool)
    first[np.concatenate([[0], np.cumsum(counts)[:-1]])[counts > 0]] = True
    before = np.where(first, -1, np.concatenate([[-1], voxels[:-1]]))
    gap = voxels - before - 1
    gaps = np.full(int((gap // _LEVELS + 1).sum()), _LEVELS, dtype=np.uint8)
    gaps[np.cumsum(gap // _LEVELS + 1) - 1] = gap % _LEVELS
    low = np.where(energies > 0, energies, np.inf).min(axis=1).astype(np.float64)
    low[counts == 0] = 1.0
    high = np.maximum(energies.max(axis=1).astype(np.float64), low)
    width = np.maximum(np.log(high / low), 1e-12)
    levels = np.rint(_LEVELS * np.log(values / low[rows]) / width[rows]).astype(np.uint8)
    return {
        "hits": counts.astype(np.uint32),
        "gaps": gaps,
        "levels": levels,
        "lowest": low.astype(np.float32),
        "highest": high.astype(np.float32),
        "sums": energies.sum(axis=1, dtype=np.float64).astype(np.float32),
    }


def _joined(told: dict[str, Any], arrays: Arrays) -> bytes:
    """The length of a JSON text, this text, and the arrays in little-endian order, each at a multiple of four bytes."""
    parts, places, start = [], {}, 0
    for name, values in arrays.items():
        stored = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
        content = stored.tobytes()
        parts.append(content + bytes(-len(content) % 4))
        places[name] = [stored.dtype.str[1:], start, stored.size]
        start += len(parts[-1])
    text = json.dumps({**told, "arrays": places}, allow_nan=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    return b"".join([len(text).to_bytes(4, "little"), text, *parts])


def _panels(page: Exploration) -> list[Panel]:
    """Two scenes with the first shower, in which the script puts others."""
    first = shower_panel(page.showers[:1], names=[page.names[0]])
    theta = page.showers.theta
    if theta is not None and np.ptp(theta) > 0:  # slabs at the angle of one shower are not those of others
        first = Panel("", first.detector, (replace(first.events[0], lines=()),))
    return [first, first]
