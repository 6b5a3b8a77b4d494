"""Generation: showers from a generator and conditions, into memory or streamed to a file.

Showers are generated in blocks of :data:`fastv.showers.BLOCK_ROWS`. The noise of a block depends only on the seed and
the number of the block, so runs are reproducible, even if they were interrupted and resumed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastv.blocks import block_energies, blocks_on_cluster
from fastv.conditions.particles import PDG_CODES
from fastv.conditions.spectra import drawn
from fastv.conditions.table import CONDITIONS, Condition, Values
from fastv.conditions.units import AngleSpec, EnergySpec
from fastv.conditions.words import in_words
from fastv.detector.detector import Detector
from fastv.errors import DomainError, SettingsError
from fastv.models.contract import NORMAL_INCIDENCE, Generator
from fastv.progress import Bar
from fastv.showers import BLOCK_ROWS, Conditions, Showers, ShowersFile, ShowersWriter
from fastv.showers.layout import SHOWERS_ENDINGS
from fastv.storage.output import check_ending
from fastv.suggestions import unknown
from fastv.wording import counted

Asked = float | str | Values | Sequence[float | str] | NDArray[np.float64]
"""A requested condition: one number, a text with its unit, fixed values or a range, or a value for each shower.

The values of the showers are an array (N,) or (N, 1), a list, or a data set of h5py.
"""


@dataclass(frozen=True)
class Request:
    """A request for showers.

    Attributes:
        conditions: conditions of each shower, N in total.
        seed: seed of the noise.
        origin: description of where the conditions come from, for the provenance.
    """

    conditions: Conditions
    seed: int
    origin: dict[str, Any]


def generate(generator: Generator, request: Request, provenance: Mapping[str, Any]) -> Showers:
    """Generate showers into memory.

    Args:
        generator: the generator, with its weights.
        request: the request, from :func:`resolve`.
        provenance: how the showers are made, stored with them.

    Raises:
        ModelError: the generator returned a voxel energy that is negative or not finite.
    """
    n = len(request.conditions)
    energies = np.empty((n, generator.detector.mesh.n_voxels), dtype=np.float32)
    for block, start in enumerate(range(0, n, BLOCK_ROWS)):
        rows = slice(start, min(start + BLOCK_ROWS, n))
        energies[rows] = block_energies(generator, request.conditions[rows], request.seed, start, block)
    return Showers.of(request.conditions, energies, _detector(generator, request), provenance=provenance)


def generate_file(
    generator: Generator,
    request: Request,
    provenance: Mapping[str, Any],
    output: str | Path,
    *,
    scheduler: str | None = None,
    resume: bool = False,
    force: bool = False,
) -> int:
    """Generate showers into a file, block by block. They are the same showers as those of :func:`generate`.

    Args:
        generator, request, provenance: as for :func:`generate`.
        output: the showers file; finished blocks are kept next to it until it is complete.
        scheduler: address of the scheduler of a Dask cluster whose workers generate the showers; None for this process.
        resume: continue an interrupted run with the same conditions and provenance.
        force: replace an existing file and discard an interrupted run.

    Returns:
        The number of showers.

    Raises:
        ModelError: the generator returned a voxel energy that is negative or not finite.
        SettingsError: the name of the output does not end in .h5, .hdf5 or .hdf.
        OutputError: the file exists, the interrupted run had different arguments, or the disk is full.
        ClusterError: the scheduler does not answer, or its workers fail.
    """
    check_ending(output, SHOWERS_ENDINGS, "showers")
    conditions, n = request.conditions, len(request.conditions)
    detector = _detector(generator, request)
    described = {**provenance, "conditions_sha256": conditions.digest()}
    with closing(ShowersWriter(output, n, described, resume=resume, force=force)) as writer:
        missing = [writer.rows(block) for block in writer.missing()]
        done = n - sum(rows.stop - rows.start for rows in missing)
        with Bar(total=n, initial=done, unit="shower", desc="generating") as bar:
            for rows, energies in _blocks(generator, request, missing, scheduler):
                showers = Showers.of(conditions[rows], energies, detector, provenance=provenance)
                writer.write_block(rows.start // BLOCK_ROWS, showers)
                bar.update(rows.stop - rows.start)
        writer.finish()
    return n


def _detector(generator: Generator, request: Request) -> Detector:
    """The detector of all showers of a request."""
    names = request.conditions.get("detector")
    assert names is not None  # set by `resolve`
    return generator.readouts.named(str(names[0]))


def _blocks(
    generator: Generator, request: Request, missing: Sequence[slice], scheduler: str | None
) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Rows and voxel energies of blocks."""
    conditions, seed = request.conditions, request.seed
    numbered = [(rows, rows.start // BLOCK_ROWS) for rows in missing]
    if scheduler is not None:
        yield from blocks_on_cluster(generator, scheduler, conditions, seed, numbered)
        return
    for rows, block in numbered:
        yield rows, block_energies(generator, conditions[rows], seed, rows.start, block)


def resolve(
    generator: Generator,
    *,
    n: int | None = None,
    like: str | Path | Showers | None = None,
    seed: int = 0,
    extrapolate: bool = False,
    **asked: Asked | None,
) -> Request:
    """The conditions of each requested shower, checked against the domain of a generator.

    Args:
        generator: the generator, whose conditions, domain and detector are used.
        n: number of showers; may be omitted with a list, an array or ``like``.
        like: a showers file or showers whose conditions are used, in order; if ``n`` is larger, they are repeated.
        seed: seed of drawn conditions and of the noise.
        extrapolate: allow conditions outside the domain.
        asked: requested conditions by name: ``energy`` in MeV, ``theta`` and ``phi`` in rad, or a text with units;
            ``particle`` as a name, or several that alternate; ``detector`` as one name.

    Returns:
        The conditions, seed and origin of the showers.

    Raises:
        ModelError: the family draws no showers.
        SettingsError: conditions are missing, unknown, or contradict each other.
        DomainError: a condition is outside the domain and ``extrapolate`` is false.
        FileFormatError: the file given as ``like`` is missing or damaged.
    """
    generator.check_draws()
    if n is not None and n < 1:
        msg = f"the number of showers must be at least 1, got {n}"
        raise SettingsError(msg)
    if seed < 0:
        msg = f"the seed must not be negative, got {seed}"
        raise SettingsError(msg)
    known = [name for name, condition in CONDITIONS.items() if condition.on_request]
    if strange := set(asked) - set(known):
        raise SettingsError(unknown("condition", min(strange), known))
    given = {name: asked[name] for name in known if asked.get(name) is not None}
    ends: dict[str, tuple[float, float]] = {}
    if like is not None:
        if given:
            msg = f"give either the conditions ({', '.join(known)}) or `like=...`, not both"
            raise SettingsError(msg)
        conditions, origin = _like(generator, like, n)
    else:
        conditions, origin, ends = _drawn(given, n, seed)
    needed, domain = generator.condition_names, generator.domain
    allowed = generator.mirror.domain
    if like is not None:
        _check_like(generator, conditions, origin["like"], extrapolate=extrapolate)
    # A generator that is not conditional on the particle generates the one it was trained on.
    if "particle" not in needed:
        code = PDG_CODES.get(domain.particles[0]) if len(domain.particles) == 1 else None
        conditions = conditions.changed(particle=code)
    if "detector" not in needed:
        # There is one, or several with the same readout. A request for it is refused below.
        conditions = conditions.changed(detector=generator.detector.name)
    for name in known:
        values = conditions.get(name)
        if name in needed and values is None:
            choices = getattr(domain, CONDITIONS[name].choices) if CONDITIONS[name].choices else ()
            example = choices[0] if choices else CONDITIONS[name].example
            knows = f"; it knows: {', '.join(choices)}" if choices else ""
            msg = f"the model is conditional on {name}; give it, as in `{name}='{example}'`{knows}"
            raise SettingsError(msg)
        if name not in needed and name in given:
            msg = f"the model is not conditional on {name}; leave it out"
            raise SettingsError(msg)
        if name in needed and values is not None and not extrapolate:
            # The ends of a range are checked too: whether a request is refused must not depend on the seed.
            allowed.check(name, np.append(values, ends.get(name, ())))
    return Request(conditions, seed, origin)


def _like(generator: Generator, like: str | Path | Showers, n: int | None) -> tuple[Conditions, dict[str, Any]]:
    if isinstance(like, Showers):
        conditions, name = like.conditions, "showers in memory"
    else:
        # A plain CaloChallenge file is assumed to have the mesh of the model.
        with ShowersFile(like, default=generator.detector) as file:
            conditions, name = file.conditions, file.path.name
    if not len(conditions):
        msg = f"{name} contains no showers whose conditions could be used"
        raise SettingsError(msg)
    pick = np.arange(n or len(conditions)) % len(conditions)
    return conditions[pick], {"like": name, "mean_energy": float(conditions.energy.mean()), "n": len(pick)}


def _check_like(generator: Generator, conditions: Conditions, name: str, *, extrapolate: bool) -> None:
    """Refuse conditions of other showers that the generator would ignore: their labels would be wrong.

    Raises:
        DomainError: the showers are inclined or of another detector, and those of the generator are not.
    """
    if extrapolate:
        return
    detectors = conditions.get("detector")
    if "detector" in generator.condition_names:
        detectors = None  # those that the model does not know are refused as values of a condition
    if detectors is not None and (others := detectors[detectors != generator.detector.name]).size:
        own = generator.detector.name
        msg = (
            f"{name}: showers of the detector {str(others[0])!r}, but the model generates those of {own!r}; "
            "use others, or pass `extrapolate=True` to take their conditions nevertheless"
        )
        raise DomainError(msg)
    check_angle(generator, conditions, name)


def check_angle(generator: Generator, conditions: Conditions, name: str) -> None:
    """Refuse showers that are inclined, if the generator takes no angle and was trained on others.

    Args:
        generator: the generator.
        conditions: of the showers.
        name: of their file, for the message.

    Raises:
        DomainError: they are.
    """
    theta = conditions.get("theta")
    if theta is None or not theta.size or "theta" in generator.condition_names:
        return
    right = np.pi / 2 if generator.domain.right_angle is None else generator.domain.right_angle
    low, high = generator.domain.theta or (right, right)
    if theta.min() < low - NORMAL_INCIDENCE or theta.max() > high + NORMAL_INCIDENCE:
        came = " to ".join(dict.fromkeys(f"{np.degrees(x):.3g}" for x in (theta.min(), theta.max())))
        knows = "normal incidence" if low == high == right else f"{np.degrees(low):.3g} to {np.degrees(high):.3g} deg"
        msg = (
            f"{name}: showers inclined by theta = {came} deg; the model was trained at {knows} and takes no angle; "
            "use other showers, or pass `extrapolate=True` to take the risk"
        )
        raise DomainError(msg)


def _drawn(
    given: Mapping[str, Any], n: int | None, seed: int
) -> tuple[Conditions, dict[str, Any], dict[str, tuple[float, float]]]:
    """The requested conditions, their description, and the ends of the requested ranges."""
    if "energy" not in given:
        msg = "which energy? give `energy=...` (50GeV, or 1-1000GeV), or `like=...`"
        raise SettingsError(msg)
    given = {name: _with_values(CONDITIONS[name], asked) for name, asked in given.items()}
    lengths = [len(asked) for asked in given.values() if isinstance(asked, np.ndarray) and asked.ndim == 1]
    if n is None and lengths:
        n = lengths[0]
    if n is None:
        msg = "how many showers? give `n=...`"
        raise SettingsError(msg)
    if n < 1:
        msg = "the number of showers must be at least 1, got an empty array of energies"
        raise SettingsError(msg)
    rng = np.random.default_rng((seed, 0))
    origin: dict[str, Any] = {"n": n}
    ends: dict[str, tuple[float, float]] = {}
    columns: dict[str, Any] = {}
    for name, asked in given.items():
        condition = CONDITIONS[name]
        if isinstance(asked, str):
            assert condition.parse is not None  # only such conditions can be asked for
            asked = condition.parse(asked)
        if isinstance(asked, EnergySpec | AngleSpec | tuple):
            columns[name] = drawn(asked, n, rng)
            if isinstance(asked, tuple):
                origin[name] = list(asked)
            else:
                origin[name], ends[name] = str(asked), (asked.low, asked.high)
        else:
            array = _given(condition, asked, n)
            columns[name], origin[name] = np.broadcast_to(array, n), float(array.mean())
    return Conditions.of(**columns), origin, ends


def _with_values(condition: Condition, asked: Any) -> Any:
    """Values of showers in any form as an array, of one dimension if they are (N, 1); other requests as they are.

    Raises:
        SettingsError: a value is no number and no text with a unit.
    """
    if condition.dtype == "str" and not isinstance(asked, str):
        msg = f"{condition.name} must be one name, because a file holds showers of one, got {asked!r:.60}"
        raise SettingsError(msg)
    # A tuple of PDG codes is a request to alternate between them.
    if isinstance(asked, str | EnergySpec | AngleSpec) or (isinstance(asked, tuple) and condition.choices):
        return asked
    try:
        if isinstance(asked, list | tuple):
            asked = [_one(condition, each) if isinstance(each, str) else each for each in asked]
        array = np.asarray(asked, dtype=np.float64)
    except (TypeError, ValueError) as error:
        msg = f"{condition.name} must be numbers or a text with its unit, got {type(asked).__name__} {asked!r:.60}"
        raise SettingsError(msg) from error
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def _one(condition: Condition, text: str) -> float:
    """One value from a text."""
    assert condition.parse is not None  # only such conditions can be asked for
    found = condition.parse(text)
    values = found if isinstance(found, tuple) else found.values
    if len(values) != 1:
        msg = f"{condition.name} {text!r} in a list must be one value, not a list or a range"
        raise SettingsError(msg)
    return float(values[0])


def _given(condition: Condition, array: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    if array.ndim > 1 or (array.ndim == 1 and len(array) != n):
        what = f"the shape {array.shape}" if array.ndim > 1 else counted(len(array), "value")
        msg = f"{condition.name} has {what} for {counted(n, 'shower')}; give one number or {n}, or leave `n` out"
        raise SettingsError(msg)
    bad = ~((array >= condition.low) & (array <= condition.high))  # true for what is no number
    if bad.any():
        came = in_words(condition.name, float(np.atleast_1d(array[bad])[0]))
        msg = f"{condition.name} must be {condition.allowed}, got {came}"
        raise SettingsError(msg)
    return array
