"""What a generator says of given showers: codes, reconstructions and scores, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastv.conditions.table import CONDITIONS
from fastv.detector.detector import Detector
from fastv.errors import DomainError, GeometryError, ModelError, SettingsError
from fastv.generation import check_angle
from fastv.models import families_with, has
from fastv.models.contract import Batch, Generator
from fastv.models.readouts import check_cells, factor_between, same_readout
from fastv.showers import Conditions, Showers
from fastv.wording import counted

F32 = NDArray[np.float32]

ROWS = 100
"""Showers per call of a network: few enough for the processor's cache."""
DRAWS = 4
"""Draws of latent variables for a bound of the log-likelihood."""


@dataclass(frozen=True)
class CodeGroup:
    """One group of code numbers of N showers.

    Attributes:
        mean: the code, or the mean of its posterior, (N, K). NaN for showers without energy, which have no code.
        scale: of a Gaussian posterior the standard deviations (N, K), or the lower triangular factor L (N, K, K) of its
            covariance L L^T; None if the code is exact.
    """

    mean: F32
    scale: F32 | None = None

    @property
    def covariance(self) -> F32 | None:
        """Covariance (N, K, K) of the posterior; None if the code is exact."""
        if self.scale is None:
            return None
        factor = self.scale
        if factor.ndim == 2:
            factor = factor[:, :, None] * np.eye(factor.shape[1], dtype=np.float32)
        covariance: F32 = factor @ factor.transpose(0, 2, 1)
        return covariance


@dataclass(frozen=True)
class Codes:
    """Codes of N showers in named groups.

    Attributes:
        groups: by name; which there are is a matter of the family, see its ``encode``.

    Example:
        >>> group = CodeGroup(np.zeros((5, 2), np.float32), np.ones((5, 2), np.float32))
        >>> codes = Codes({"latent": group, "response": CodeGroup(np.zeros((5, 1), np.float32))})
        >>> len(codes), codes.matrix.shape, codes[1:3].groups["latent"].covariance.shape
        (5, (5, 3), (2, 2, 2))
    """

    groups: Mapping[str, CodeGroup]

    def __len__(self) -> int:
        return len(next(iter(self.groups.values())).mean)

    def __getitem__(self, rows: slice | NDArray[np.integer] | NDArray[np.bool_]) -> Codes:
        """The codes of selected showers, by slice, mask or indices."""
        return Codes(
            {
                name: CodeGroup(group.mean[rows], None if group.scale is None else group.scale[rows])
                for name, group in self.groups.items()
            }
        )

    def without(self) -> Codes:
        """Groups of the same shapes, of showers that have no code: all NaN."""

        def nothing(values: F32) -> F32:
            return np.full_like(values, np.nan)

        return Codes(
            {
                name: CodeGroup(nothing(group.mean), None if group.scale is None else nothing(group.scale))
                for name, group in self.groups.items()
            }
        )

    @property
    def means(self) -> dict[str, F32]:
        """The means (N, K) by group, as :func:`decode` takes them."""
        return {name: group.mean for name, group in self.groups.items()}

    @property
    def matrix(self) -> F32:
        """The means of all groups side by side, (N, K_1 + K_2 + ...)."""
        return np.concatenate(list(self.means.values()), axis=1)


def check_has(generator: Generator, method: str, what: str) -> None:
    """Check that a family has a method such as ``encode``.

    Raises:
        ModelError: it has not; the message names those that have.
    """
    if not has(type(generator), method):
        msg = (
            f"the family {generator.family!r} has no {what}; families that have one: {', '.join(families_with(method))}"
        )
        raise ModelError(msg)


def check_reconstructs(generator: Generator) -> None:
    """Check that a family has an encoder and its inverse.

    Raises:
        ModelError: it has not; the message names those that have.
    """
    check_has(generator, "encode", "encoder")
    check_has(generator, "decode", "decoder")


def check_showers(
    generator: Generator,
    detector: Detector,
    conditions: Conditions,
    where: str,
    *,
    extrapolate: bool,
    images: bool = True,
) -> None:
    """Check that showers are of the kind that a generator knows.

    Args:
        generator: the generator.
        detector, conditions: of the showers.
        where: file or action, for messages.
        extrapolate: allow other conditions, and other detectors with the same cells.
        images: allow the mirror images of showers that the generator knows.

    Raises:
        GeometryError: the mesh is another.
        DomainError: a condition is outside the domain.
        SettingsError: a condition that the generator takes is unknown.
    """
    readouts, domain = generator.readouts, generator.mirror.domain if images else generator.domain
    own = readouts.detectors.get(detector.name)
    try:
        check_cells(detector, readouts.inside)
    except GeometryError as error:
        msg = f"{where}: {error}"
        raise GeometryError(msg) from error
    if own is not None and not same_readout(own, detector):
        msg = f"{where}: its detector {detector.name!r} has another mesh, energy scale or threshold than the model's"
        raise GeometryError(msg)
    for name in generator.condition_names:
        if conditions.get(name) is None:
            msg = f"{where}: the model is conditional on {name}, which these showers do not have; use others"
            raise SettingsError(msg)
    if extrapolate:
        return
    risk = "use others, or pass `extrapolate=True` to take the risk"
    if own is None and "detector" not in generator.condition_names:
        msg = (
            f"{where}: showers of the detector {detector.name!r}; the model knows {', '.join(domain.detectors)}; {risk}"
        )
        raise DomainError(msg)
    check_angle(generator, conditions, where)
    particles = conditions.particle
    if particles is not None and domain.particles and "particle" not in generator.condition_names:
        others = particles[~np.isin(particles, domain.choices("particle"))]
        if others.size:
            came, known = CONDITIONS["particle"].named(others[0]), ", ".join(domain.particles)
            msg = f"{where}: showers of the particle {came!r}; the model was trained on: {known}; {risk}"
            raise DomainError(msg)
    for name in generator.condition_names:
        values = conditions.get(name)
        if values is not None:
            try:
                domain.check(name, values)
            except DomainError as error:
                msg = f"{where}: {error}"
                raise DomainError(msg) from error


def _batches(generator: Generator, showers: Showers) -> Iterator[tuple[NDArray[np.int64], Batch]]:
    """Rows and batch of the showers with energy, on the scale inside the generator; mirror images are reflected."""
    mirror = generator.mirror
    told = generator.domain.columns(generator.condition_names, showers.conditions)
    inputs = torch.from_numpy(mirror.folded(told))
    factor = np.float32(factor_between(showers.detector, generator.readouts.inside))
    for start in range(0, len(showers), ROWS):
        energies = showers.energies[start : start + ROWS]
        # Energies are not negative, and their maximum takes half the time of whether there is any.
        rows = start + np.flatnonzero(energies.max(axis=1) != 0)
        if not len(rows):
            continue
        chosen = energies if len(rows) == len(energies) else showers.energies[rows]
        if factor != 1 or not chosen.flags.writeable:
            # A copy: torch must not share memory that may be read-only.
            chosen = chosen * factor
        yield rows, Batch(torch.from_numpy(mirror.image(chosen, told[rows])), inputs[rows])


def _gathered(n: int, parts: Iterator[tuple[NDArray[np.int64], dict[str, Tensor]]]) -> dict[str, F32]:
    """Arrays (n, ...) of parts with given rows; NaN in rows that no part has."""
    found: dict[str, F32] = {}
    for rows, values in parts:
        for name, value in values.items():
            if name not in found:
                found[name] = np.full((n, *value.shape[1:]), np.nan, dtype=np.float32)
            found[name][rows] = value.numpy()
    return found


def encode(generator: Generator, showers: Showers) -> Codes:
    """The codes of showers, of a mirror image those of the shower that it is the image of.

    Checks of the showers are the caller's (:func:`check_showers`).

    Raises:
        ModelError: the family has no encoder.
    """
    check_has(generator, "encode", "encoder")

    def parts() -> Iterator[tuple[NDArray[np.int64], dict[str, Tensor]]]:
        for rows, batch in _batches(generator, showers):
            codes = generator.encode(batch)
            scales = {f"{name} scale": code.scale for name, code in codes.items() if code.scale is not None}
            yield rows, {**{name: code.mean for name, code in codes.items()}, **scales}

    with torch.inference_mode():
        found = _gathered(len(showers), parts())
        if not found and len(showers):
            # No shower has energy: what the groups are is the same for any other.
            usual = replace(showers[:1], energies=np.full_like(showers.energies[:1], showers.detector.threshold or 1.0))
            codes = encode(generator, usual)
            return codes[np.zeros(len(showers), dtype=np.int64)].without()
    groups = [name for name in found if not name.endswith(" scale")]
    return Codes({name: CodeGroup(found[name], found.get(f"{name} scale")) for name in groups})


def decode(generator: Generator, means: Mapping[str, F32], conditions: Conditions, detector: Detector) -> F32:
    """Voxel energies (N, V) in MeV of codes, on the scale of their detector.

    Args:
        generator: the generator.
        means: a code (N, K) for each group.
        conditions: of the N showers.
        detector: of the showers.

    Raises:
        ModelError: the family has no encoder or decoder.
        SettingsError: the groups or their shapes are not those of the generator.
    """
    check_reconstructs(generator)
    mirror = generator.mirror
    told = generator.domain.columns(generator.condition_names, conditions)
    inputs = torch.from_numpy(mirror.folded(told))
    codes = {name: torch.from_numpy(np.array(mean, dtype=np.float32)) for name, mean in means.items()}
    energies = np.zeros((len(inputs), detector.mesh.n_voxels), dtype=np.float32)
    if any(len(code) != len(inputs) for code in codes.values()):
        msg = f"each group of codes must have {counted(len(inputs), 'row')}, one for each shower"
        raise SettingsError(msg)
    with torch.inference_mode():
        for start in range(0, len(inputs), ROWS):
            rows = slice(start, start + ROWS)
            part = {name: code[rows] for name, code in codes.items()}
            try:
                made = generator.decode(part, inputs[rows])
            except (KeyError, RuntimeError) as error:
                msg = f"these are no codes of the family {generator.family!r}: the groups or their sizes differ"
                raise SettingsError(msg) from error
            energies[rows] = _own(generator, made, detector)
    return mirror.image(energies, told)


def reconstruct(generator: Generator, showers: Showers) -> F32:
    """Voxel energies (N, V) in MeV of the mean codes of showers; showers without energy remain so.

    Raises:
        ModelError: the family has no encoder or decoder.
    """
    check_reconstructs(generator)
    energies = np.zeros_like(showers.energies)
    with torch.inference_mode():
        for rows, batch in _batches(generator, showers):
            energies[rows] = _own(generator, generator.reconstruct(batch), showers.detector)
    return generator.mirror.image(energies, generator.domain.columns(generator.condition_names, showers.conditions))


def _own(generator: Generator, energies: Tensor, detector: Detector) -> F32:
    """Voxel energies inside a generator as those of a detector."""
    made: F32 = energies.numpy()
    factor = factor_between(detector, generator.readouts.inside)
    if factor == 1:
        return made
    # Rounding must not take a voxel below the threshold.
    own: F32 = np.maximum(made / np.float32(factor), np.float32(detector.threshold)) * (made > 0)
    return own


def reconstruction_error(true: Tensor, made: Tensor) -> Tensor:
    r"""Distance (N,) of showers from their reconstructions, sum_v (sqrt E_v - sqrt E'_v)^2 / sum_v E_v.

    The root makes deviations of large and small energies comparable, as the fluctuations of a sampling calorimeter
    grow with the root of the energy.

    Example:
        >>> x = torch.tensor([[4.0, 1.0], [4.0, 1.0]])
        >>> reconstruction_error(x, torch.tensor([[4.0, 1.0], [4.0, 0.0]])).tolist()
        [0.0, 0.20000000298023224]
    """
    return (true.sqrt() - made.sqrt()).square().sum(1) / true.sum(1)


def _log_likelihood(generator: Generator, batch: Batch) -> Tensor:
    """The exact log-density (N,) of showers, or a bound of it for a family that has no exact one; in nats."""
    found: Tensor
    exact = has(type(generator), "log_prob")
    found = generator.log_prob(batch) if exact else generator.log_likelihood(batch, DRAWS)
    return found


def particle_log_ratio(generator: Generator, batch: Batch) -> Tensor:
    r"""How much better another particle explains a shower, max_{q != p} log p(x | q) - log p(x | p), in nats, (N,).

    p is the particle that the generator is told, q any other one that it knows. What all particles have in common, such
    as the fluctuations of single voxels, cancels, and all terms are computed with the same draws.
    """
    column = generator.condition_names.index("particle")
    state = torch.get_rng_state()
    found = []
    for place in range(len(generator.domain.choices("particle"))):
        torch.set_rng_state(state)
        conditions = batch.conditions.clone()
        conditions[:, column] = place
        found.append(_log_likelihood(generator, Batch(batch.energies, conditions)))
    each = torch.stack(found, dim=1)
    told = batch.conditions[:, column].long()[:, None]
    return each.scatter(1, told, -torch.inf).amax(1) - each.gather(1, told)[:, 0]


def _tells_particles(generator: Generator) -> bool:
    """Whether :func:`particle_log_ratio` can be computed."""
    dense = any(has(type(generator), method) for method in ("log_prob", "log_likelihood"))
    return dense and "particle" in generator.condition_names and len(generator.domain.choices("particle")) > 1


_SCORES: dict[str, tuple[str, Callable[[Generator, Batch], Tensor]]] = {
    "reconstruction_error": ("decode", lambda one, batch: reconstruction_error(batch.energies, one.reconstruct(batch))),
    "negative_log_evidence": ("log_likelihood", lambda one, batch: -one.log_likelihood(batch, DRAWS)),
    "negative_log_density": ("log_prob", lambda one, batch: -one.log_prob(batch)),
    "anomaly": ("anomaly", lambda one, batch: one.anomaly(batch)),
}
"""Scores that are large for unusual showers: the method of a family that each needs, and how it is computed."""


def _scores_of(generator: Generator) -> dict[str, Callable[[Generator, Batch], Tensor]]:
    """How the scores of a generator are computed, by name."""
    found = {name: compute for name, (method, compute) in _SCORES.items() if has(type(generator), method)}
    return {**found, "particle_log_ratio": particle_log_ratio} if _tells_particles(generator) else found


def score_names(generator: Generator) -> list[str]:
    """The scores that a family has; see :func:`score`.

    Raises:
        ModelError: it has none; the message names the families that have one.
    """
    names = list(_scores_of(generator))
    if not names:
        others = sorted({family for method, _ in _SCORES.values() for family in families_with(method)})
        msg = (
            f"the family {generator.family!r} has no decoder, density or anomaly score; families that have one: "
            f"{', '.join(others)}"
        )
        raise ModelError(msg)
    return names


def score(generator: Generator, showers: Showers, first: int = 0) -> dict[str, F32]:
    """Scores (N,) of showers by name, each large for unusual showers, NaN for showers without energy.

    The scores of a mirror image are those of the shower that it is the image of.

    * ``reconstruction_error``: :func:`reconstruction_error`, of families with a decoder.
    * ``negative_log_evidence``: minus a bound of the log-likelihood in nats, from four draws of latent variables.
    * ``negative_log_density``: minus the exact log-density in nats.
    * ``anomaly``: the score of the family itself, see its ``anomaly``.
    * ``particle_log_ratio``: :func:`particle_log_ratio`, of families with a density or its bound that are told which of
      several particles a shower is of.

    Args:
        generator: the generator.
        showers: the showers.
        first: number of the first shower in its file, on which draws depend.

    Raises:
        ModelError: the family has no score.
    """
    names, computed = score_names(generator), _scores_of(generator)

    def parts() -> Iterator[tuple[NDArray[np.int64], dict[str, Tensor]]]:
        for rows, batch in _batches(generator, showers):
            torch.manual_seed(first + int(rows[0]) // ROWS * ROWS)
            yield rows, {name: compute(generator, batch).detach() for name, compute in computed.items()}

    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        found = _gathered(len(showers), parts())
    return {name: found.get(name, np.full(len(showers), np.nan, np.float32)) for name in names}
