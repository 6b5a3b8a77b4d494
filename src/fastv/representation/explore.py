"""A page to explore the codes of a model: scatter, showers and their neighbours, and walks along each dimension."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fastv.conditions.particles import PDG_NAMES
from fastv.detector.detector import Detector
from fastv.errors import DomainError, GeometryError, SettingsError, printable
from fastv.evaluation.observables.observe import observe
from fastv.evaluation.observables.shower_shape import QUANTITIES
from fastv.inference import Codes, check_has, encode, reconstruct, reconstruction_error
from fastv.model import Model, load
from fastv.models import has
from fastv.models.priors import LatentPrior
from fastv.representation.encoding import opened
from fastv.representation.explore_page import Exploration, PrincipalAxes, Variable, Walk, written
from fastv.representation.information import (
    ACTIVE_VARIANCE,
    deviations,
    divergence,
    divergences,
    known,
    rank_correlations,
    strongest,
)
from fastv.representation.walks import BITS, STEPS, Coordinates, effects, starts, walks
from fastv.sample import sample_path
from fastv.showers import Showers
from fastv.storage.output import check_ending, check_free, written_whole

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

MOST_SHOWERS = 5000
"""Maximum number of showers in a page."""
FEWEST_SHOWERS = 10
"""Fewer have no rank correlations that mean anything."""
NEIGHBOURS = 6
"""Nearest showers that a page tells of each."""
WALKED = 16
"""Dimensions that a page walks."""
MOST_DIMENSIONS = 200
"""Dimensions that a page shows: those with the largest information."""
_COMPONENTS = 3
"""Principal components of the code that a page draws."""


@dataclass(frozen=True)
class Dimension:
    """What one number of the code tells.

    Attributes:
        name: its group, and its number in that from 1.
        variance: over showers, of the code or of the mean of its posterior.
        kl: mean divergence in nats of its posterior from the unit Gaussian; None if the code is exact.
        active: whether the variance of the posterior mean is above 0.01; None if the code is exact.
        effect: how much the decoded shower changes with it, see :func:`fastv.representation.walks.effects`; None
            without a decoder.
        correlations: Spearman's correlation with quantities of the shower; None where one of both is constant.
        at_energy: the same at fixed incident energy; with the energy itself as it is.
    """

    name: str
    variance: float
    kl: float | None
    active: bool | None
    effect: float | None
    correlations: dict[str, float | None]
    at_energy: dict[str, float | None]


@dataclass(frozen=True)
class Explored:
    """Record of a page that was written.

    Attributes:
        output: the page.
        model, family, digest: name, family and SHA-256 of the weights of the model.
        source: name of the showers file.
        rows: numbers of the showers in their file, (N,).
        empty: drawn showers without energy, which have no code.
        groups: numbers of each group of the code.
        kl: mean divergence in nats per shower by group, of those with a posterior.
        active: number of active dimensions; None if the code is exact.
        dimensions: those with the largest information, at most 200, the largest first.
        walked: how many of these the page walks.
        reconstruction_error: median over showers; None without a decoder.
    """

    output: Path
    model: str
    family: str
    digest: str
    source: str
    rows: NDArray[np.int64]
    empty: int
    groups: dict[str, int]
    kl: dict[str, float]
    active: int | None
    dimensions: tuple[Dimension, ...]
    walked: int
    reconstruction_error: float | None

    def as_dict(self) -> dict[str, Any]:
        """What a machine reads."""
        return {
            "output": str(self.output),
            "bytes": self.output.stat().st_size,
            "model": self.model,
            "family": self.family,
            "model_sha256": self.digest,
            "source": self.source,
            "showers": len(self.rows),
            "without_energy": self.empty,
            "groups": self.groups,
            "kl_nats": self.kl,
            "active_dimensions": self.active,
            "median_reconstruction_error": self.reconstruction_error,
            "walked": self.walked,
            "dimensions": [
                {
                    "name": each.name,
                    "variance": each.variance,
                    "kl_nats": each.kl,
                    "active": each.active,
                    "effect": each.effect,
                    "spearman": each.correlations,
                    "spearman_at_fixed_energy": each.at_energy,
                }
                for each in self.dimensions
            ],
        }


def explore(
    model: Model | str | Path,
    source: str | Path | None = None,
    output: str | Path | None = None,
    *,
    showers: int = 500,
    seed: int = 0,
    extrapolate: bool = False,
    force: bool = False,
) -> Explored:
    """Write a page that shows the codes of showers, and what each dimension of the code does; it needs no network.

    The page has a scatter of the codes, the chosen shower in 3D beside its reconstruction or one of its nearest
    neighbours, the profiles of both, sliders that walk the dimensions with the largest information, and a table of all
    dimensions: divergence, variance, and rank correlation with quantities of the shower.

    Args:
        model: the model, its directory, or the name of a shipped one.
        source: the showers file; by default the shipped test showers, if the model knows their detector.
        output: ``PAGE.html``; by default ``MODEL-explore.html`` in the current folder.
        showers: number of showers, drawn at random if the file has more.
        seed: of the random choice; the same seed gives the same page.
        extrapolate: allow conditions outside the model's domain, and other detectors with the same cells.
        force: replace an existing page.

    Raises:
        ModelError: there is no such model, or its family has no encoder.
        FileFormatError, GeometryError, DomainError, SettingsError: the showers are not of the kind that the model
            knows, too few of them have energy, or more are asked for than a page can hold.
        OutputError: the output exists, or cannot be written.

    Example:
        >>> import tempfile
        >>> page = Path(tempfile.mkdtemp()) / "codes.html"
        >>> explored = explore("par04-siw-vae", output=page, showers=20)
        >>> len(explored.rows), len(explored.dimensions), explored.walked
        (20, 115, 16)
    """
    name = model.name if isinstance(model, Model) else Path(model).name
    output = Path(f"{name}-explore.html") if output is None else Path(output)
    check_ending(output, (".html", ".htm"), "pages")
    output = check_free(output, force=force, kind="view")
    if not FEWEST_SHOWERS <= showers <= MOST_SHOWERS:
        msg = f"a page shows {FEWEST_SHOWERS} to {MOST_SHOWERS} showers, not {showers}; see `showers=...`"
        raise SettingsError(msg)
    if not isinstance(model, Model):
        model = load(model)
    check_has(model.generator, "encode", "encoder")
    path, rows, sample, empty = _drawn(model, source, showers, seed, extrapolate)
    page, explored = _explored(model, path, rows, sample, empty, output)
    with written_whole(output, force=force, kind="view") as temporary:
        temporary.write_text(written(page), encoding="utf-8")
    return explored


def _drawn(
    model: Model, source: str | Path | None, number: int, seed: int, extrapolate: bool
) -> tuple[Path, NDArray[np.int64], Showers, int]:
    """File, rows, showers with energy, and the number of those without that were drawn too."""
    try:
        file = opened(model, sample_path("test") if source is None else source, extrapolate=extrapolate)
    except (GeometryError, DomainError, SettingsError) as error:
        if source is not None:
            raise
        msg = f"the shipped showers are none that the model {model.name!r} knows; give others, `source=...`"
        raise SettingsError(msg) from error
    with file:
        chosen = np.random.default_rng(seed).permutation(len(file))[:number]
        rows = np.sort(chosen).astype(np.int64)
        sample = file[rows]
    with_energy: NDArray[np.bool_] = np.any(sample.energies > 0, axis=1)
    if with_energy.sum() < FEWEST_SHOWERS:
        msg = (
            f"{file.path}: showers with energy, and so with a code: {int(with_energy.sum())} of {len(rows)}; "
            f"at least {FEWEST_SHOWERS} are needed"
        )
        raise SettingsError(msg)
    return file.path, rows[with_energy], sample[with_energy], int((~with_energy).sum())


def _explored(
    model: Model, path: Path, rows: NDArray[np.int64], showers: Showers, empty: int, output: Path
) -> tuple[Exploration, Explored]:
    generator = model.generator
    decodes = has(type(generator), "decode")
    codes = encode(generator, showers)
    energies = showers.incident_energies
    coordinates = Coordinates(
        generator,
        {name: group.mean.shape[1] for name, group in codes.groups.items()},
        codes.matrix,
        _spreads(codes),
        generator.binary_code,
    )
    made = reconstruct(generator, showers) if decodes else None
    errors = None if made is None else reconstruction_error(*map(torch.from_numpy, (showers.energies, made))).numpy()
    variables = _variables(showers, errors)
    from_rows = starts(coordinates.codes, energies) if decodes else []
    told = _Told.of(codes)
    places = _by_information(told.kl, told.variance)[:MOST_DIMENSIONS]
    changes = None
    if decodes:
        changes = effects(coordinates, showers, from_rows, places.tolist())
        order = _by_information(told.kl[places], changes)
        places, changes = places[order], changes[order]
    dimensions = _dimensions(told, places, coordinates.codes, variables, energies, changes)
    steps = BITS if coordinates.bits else STEPS
    walked = [
        Walk(row, number, steps, energies_of_steps)
        for row in from_rows
        for number, energies_of_steps in enumerate(walks(coordinates, showers, row, places[:WALKED].tolist()))
    ]
    explored = Explored(
        output=output,
        model=model.name,
        family=model.description.family,
        digest=model.digest(),
        source=path.name,
        rows=rows,
        empty=empty,
        groups=coordinates.groups,
        kl={
            name: float(value.mean())
            for name, group in codes.groups.items()
            if (value := divergence(group)) is not None
        },
        active=None if np.isnan(told.kl).all() else int(told.active.sum()),
        dimensions=dimensions,
        walked=min(WALKED, len(places)) if decodes else 0,
        reconstruction_error=None if errors is None else float(np.median(errors)),
    )
    page = Exploration(
        facts=_facts(model, explored, showers.detector, decodes),
        notes=_notes(model, explored, decodes),
        showers=showers,
        names=[f"shower {row}" for row in rows],
        reconstructions=made,
        codes=coordinates.codes[:, places],
        spreads=coordinates.spreads[places],
        bits=coordinates.bits,
        dimensions=[
            {
                "name": each.name,
                "variance": each.variance,
                "kl": each.kl,
                "active": each.active,
                "effect": each.effect,
                "correlations": list(each.correlations.values()),
                "atEnergy": list(each.at_energy.values()),
                "strongest": strongest(each.at_energy),
            }
            for each in dimensions
        ],
        correlated=list(dimensions[0].correlations),
        components=_principal(coordinates.codes, places),
        variables=variables,
        neighbours=_neighbours(coordinates.codes),
        walks=walked,
    )
    return page, explored


@dataclass(frozen=True)
class _Told:
    """Names, variances, divergences (NaN of exact numbers) and use of all D numbers of a code."""

    names: list[str]
    variance: F64
    kl: F64

    @classmethod
    def of(cls, codes: Codes) -> _Told:
        names: list[str] = []
        variances, kls = [], []
        for name, group in codes.groups.items():
            size, kl = group.mean.shape[1], divergences(group)
            names += [f"{name} {number + 1}" for number in range(size)]
            variances.append(group.mean.var(axis=0, dtype=np.float64))
            kls.append(np.full(size, np.nan) if kl is None else kl.mean(axis=0))
        return cls(names, np.concatenate(variances), np.concatenate(kls))

    @property
    def active(self) -> NDArray[np.bool_]:
        """Which numbers have a posterior whose mean varies."""
        return np.isfinite(self.kl) & (self.variance > ACTIVE_VARIANCE)


def _spreads(codes: Codes) -> F64:
    """Standard deviation (D,) of each coordinate over showers, of draws from its posterior if it has one."""
    found = []
    for group in codes.groups.values():
        variance = group.mean.var(axis=0, dtype=np.float64)
        of_posterior = deviations(group)
        if of_posterior is not None:
            variance = variance + np.square(of_posterior).mean(axis=0)
        found.append(np.sqrt(variance))
    return np.concatenate(found)


def _variables(showers: Showers, errors: F32 | None) -> list[Variable]:
    """Quantities of showers by which points are coloured and with which codes are compared."""
    seen = observe(showers)
    mesh, found = showers.mesh, [Variable("incident energy", "MeV", showers.incident_energies, logarithmic=True)]
    theta, phi = showers.theta, showers.phi
    if theta is not None and np.ptp(theta) > 1e-6:
        found.append(Variable("theta", "°", np.degrees(theta)))
    if phi is not None and np.ptp(phi) > 1e-6:
        # An angle that closes upon itself has no ranks.
        found += [Variable("cos phi", "", np.cos(phi)), Variable("sin phi", "", np.sin(phi))]
    if showers.pdg is not None and len(kinds := np.unique(showers.pdg)) > 1:
        names = tuple(PDG_NAMES.get(int(code), f"PDG {code}") for code in kinds)
        found.append(Variable("particle", "", np.searchsorted(kinds, showers.pdg).astype(np.float64), classes=names))
    layers = np.asarray(mesh.layer_ids, dtype=np.float64)[seen.layer_energies.argmax(axis=1)]
    found.append(Variable("layer of maximum", "", layers))
    found += [Variable(each.name, each.unit_on(mesh), each.of(seen)) for each in QUANTITIES]
    if errors is not None:
        found.append(Variable("reconstruction error", "", errors.astype(np.float64), logarithmic=True))
    return found


def _dimensions(
    told: _Told, places: NDArray[np.int64], codes: F32, variables: list[Variable], energies: F64, changes: F64 | None
) -> tuple[Dimension, ...]:
    """The dimensions at some places of the code."""
    numbers = [each for each in variables if not each.classes]
    names, values = [each.name for each in numbers], np.stack([each.values for each in numbers], axis=1)
    whole = rank_correlations(codes[:, places], values)
    at_energy = whole if np.ptp(energies) == 0 else rank_correlations(codes[:, places], values, energies)
    at_energy[:, names.index("incident energy")] = whole[:, names.index("incident energy")]
    active = told.active
    return tuple(
        Dimension(
            name=told.names[place],
            variance=float(told.variance[place]),
            kl=float(told.kl[place]) if np.isfinite(told.kl[place]) else None,
            active=bool(active[place]) if np.isfinite(told.kl[place]) else None,
            effect=None if changes is None else float(changes[number]),
            correlations=known(names, whole[number]),
            at_energy=known(names, at_energy[number]),
        )
        for number, place in enumerate(places)
    )


def _by_information(kl: F64, otherwise: F64) -> NDArray[np.int64]:
    """Exact numbers first, whose information has no bound, by something else; then by divergence."""
    exact = np.isnan(kl)
    return np.lexsort((-np.where(exact, otherwise, kl), ~exact))


def _principal(codes: F32, places: NDArray[np.int64]) -> PrincipalAxes:
    """The first principal components of codes (N, D), of which some numbers are on the page; none of one or two."""
    if codes.shape[1] < 3:
        return PrincipalAxes(np.empty((0, len(codes)), np.float32), np.empty((0, len(places)), np.float32), np.empty(0))
    from sklearn.decomposition import PCA

    fitted = PCA(_COMPONENTS, random_state=0).fit(codes)
    scores = fitted.transform(codes).T.astype(np.float32)
    weights = fitted.components_[:, places].astype(np.float32)
    return PrincipalAxes(scores, weights, np.nan_to_num(fitted.explained_variance_ratio_.astype(np.float64)))


def _neighbours(codes: F32) -> tuple[NDArray[np.int64], F32]:
    """Nearest showers (N, K) of each by the Euclidean distance of codes, and these distances."""
    from sklearn.neighbors import NearestNeighbors

    number = min(NEIGHBOURS, len(codes) - 1)
    # Without a query, a point is not its own neighbour.
    distances, places = NearestNeighbors(n_neighbors=number, algorithm="brute").fit(codes).kneighbors()
    return places.astype(np.int64), distances.astype(np.float32)


def _facts(model: Model, explored: Explored, detector: Detector, decodes: bool) -> list[tuple[str, str]]:
    number, size = len(explored.rows), sum(explored.groups.values())
    groups = ", ".join(f"{name} ({size})" for name, size in explored.groups.items())
    given = f"; given {', '.join(model.generator.condition_names)}" if decodes else ""
    shown = "" if size == len(explored.dimensions) else f"; {len(explored.dimensions)} of {size} numbers are shown"
    stack = "" if detector.stack is None else f": {detector.stack.describe()}"
    left_out = f"; {explored.empty} more without energy have no code" if explored.empty else ""
    return [
        ("model", f"{printable(model.name)}, family {explored.family}, SHA-256 of the weights {explored.digest[:16]}"),
        ("showers", f"{number} of {printable(explored.source)}, drawn at random{left_out}"),
        ("detector", printable(f"{detector.name}{stack}; mesh {detector.mesh.describe()}")),
        ("code", f"{groups}{given}{shown}"),
        *([("information", _information(explored))] if explored.kl else []),
    ]


def _information(explored: Explored) -> str:
    gaussian = sum(explored.groups[name] for name in explored.kl)
    per_group = ", ".join(f"{name} {value:.3g}" for name, value in explored.kl.items())
    return (
        f"{explored.active} of {gaussian} dimensions with a posterior are active; divergence from the unit Gaussian "
        f"{sum(explored.kl.values()):.3g} nats per shower: {per_group}"
    )


def _notes(model: Model, explored: Explored, decodes: bool) -> list[str]:
    """What a reader has to know of this model."""
    notes = []
    if not decodes:
        notes.append(
            f"The family {explored.family} has an encoder but no decoder: there are no reconstructions and no walks."
        )
    if not explored.kl:
        notes.append("The code is exact: it has no posterior, so no divergence, and no active units are counted.")
    if any(isinstance(part, LatentPrior) and part.flow is not None for part in model.generator.modules()):
        notes.append(
            "The prior of this model is a flow: divergences from the unit Gaussian are not the terms of its bound."
        )
    return notes
