"""Anomaly scores of showers, and how well they find planted anomalies."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastv.conditions.table import CONDITIONS
from fastv.errors import DomainError, SettingsError
from fastv.evaluation.statistics.auc import area_under_curve
from fastv.inference import F32, check_showers, score_names
from fastv.inference import score as score_showers
from fastv.model import Model, load
from fastv.models.contract import Generator
from fastv.progress import Bar
from fastv.representation.encoding import opened
from fastv.representation.pictures import roc_picture, score_picture, write_picture
from fastv.showers import BLOCK_ROWS, Showers, ShowersFile
from fastv.storage.hdf5 import growing
from fastv.storage.kinds import KINDS
from fastv.storage.output import check_free, written_whole
from fastv.wording import counted

F64 = NDArray[np.float64]

FALSE_ALARM = 0.01
"""Share of usual showers above the threshold at which the efficiency is told."""
_PER_BIN = 50
_MOST_BINS = 20


@dataclass(frozen=True)
class Separation:
    """How well one score finds one kind of anomaly.

    Attributes:
        score: name of the score.
        kind: kind of anomaly; for showers of a particle that are said to be of another one, as ``gamma as e-``.
        auc, auc_error: probability that an anomaly scores higher than a usual shower, and its standard deviation.
        found: share of the anomalies that score higher than 99 % of the usual showers.
        false_positive, true_positive: the ROC curve, (K,) each.
        showers: number of anomalies.
    """

    score: str
    kind: str
    auc: float
    auc_error: float
    found: float
    false_positive: F64
    true_positive: F64
    showers: int


@dataclass(frozen=True)
class Scored:
    """The scores of a file.

    Attributes:
        model: name of the model.
        scores: of each shower by name, (N,), NaN for those without energy.
        relative: the same in units of their spread at the incident energy of the shower, see :class:`Usual`.
        energies: incident energies (N,) in MeV.
        separations: of planted anomalies, for each score and kind.
        left_out: kinds of anomaly that could not be planted, and why.
    """

    model: str
    scores: dict[str, F32]
    relative: dict[str, F32]
    energies: F64
    separations: tuple[Separation, ...]
    left_out: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """What a machine reads: means and quantiles of the scores, and areas under curves."""
        return {
            "model": self.model,
            "showers": len(self.energies),
            "without_energy": int(np.isnan(next(iter(self.scores.values()))).sum()),
            "scores": {
                name: {
                    f"quantile_{q:g}": float(np.quantile(values[np.isfinite(values)], q)) for q in (0.01, 0.5, 0.99, 1)
                }
                for name, values in self.scores.items()
                if np.isfinite(values).any()
            },
            "planted": [
                {
                    "score": each.score,
                    "kind": each.kind,
                    "auc": each.auc,
                    "auc_error": each.auc_error,
                    "found_at_1_percent_false_alarms": each.found,
                    "showers": each.showers,
                }
                for each in self.separations
            ],
            "not_planted": self.left_out,
        }


class Usual:
    r"""What is usual of a score at each incident energy: (s - median(E)) / spread(E).

    A score such as a log-density grows with the energy of a shower, more than with most anomalies. Median and spread,
    half the central 68 % interval, of a sample are taken in up to 20 bins of as many showers each, and interpolated
    linearly in log E.

    Args:
        scores: of usual showers (N,), finite.
        energies: their incident energies (N,) in MeV.

    Example:
        >>> rng = np.random.default_rng(1)
        >>> energies = np.exp(rng.uniform(7, 14, 4000))
        >>> usual = Usual(np.log(energies) ** 2 + rng.normal(size=4000), energies)
        >>> relative = usual(np.log(energies) ** 2, energies)
        >>> bool(np.abs(np.median(relative)) < 0.1)
        True
    """

    def __init__(self, scores: F32, energies: F64) -> None:
        order = np.argsort(energies, kind="stable")
        bins = np.array_split(order, max(1, min(_MOST_BINS, len(order) // _PER_BIN)))
        self._at = np.array([np.log(energies[rows]).mean() for rows in bins])
        low, self._middle, high = np.array([np.quantile(scores[rows], (0.16, 0.5, 0.84)) for rows in bins]).T
        self._spread = np.maximum((high - low) / 2, 1e-6 * np.maximum(np.abs(self._middle), 1e-6))

    def __call__(self, scores: F32, energies: F64) -> F32:
        """Scores (N,) relative to usual ones of the same incident energy."""
        at = np.log(energies)
        middle, spread = (np.interp(at, self._at, each) for each in (self._middle, self._spread))
        relative: F32 = ((scores - middle) / spread).astype(np.float32)
        return relative


def dead_layer(showers: Showers, generator: Generator) -> Showers:
    """Showers without the energy of the layer that has most of it on average."""
    del generator
    bounds = showers.mesh.layer_boundaries
    means = np.add.reduceat(showers.energies.mean(axis=0, dtype=np.float64), bounds[:-1])
    layer = int(np.argmax(means))
    energies = showers.energies.copy()
    energies[:, bounds[layer] : bounds[layer + 1]] = 0
    return replace(showers, energies=energies)


def doubled_energy(showers: Showers, generator: Generator) -> Showers:
    """Showers with twice the energy in each voxel, at the same incident energy."""
    del generator
    return replace(showers, energies=2 * showers.energies)


def two_showers(showers: Showers, generator: Generator) -> Showers:
    """Sums of two showers of nearly the same energy, at the sum of their incident energies.

    The energy is right, but two showers of half the energy are shorter than one. Sums outside the domain of the
    generator are left out.

    Raises:
        DomainError: no sum of energies is in the domain.
    """
    order = np.argsort(showers.incident_energies, kind="stable")
    showers, other = showers[order[:-1]], showers[order[1:]]
    energy = showers.incident_energies + other.incident_energies
    inside = np.flatnonzero(energy <= generator.domain.energy[1])
    if not inside.size:
        msg = "no two showers have a sum of energies inside the domain of the model"
        raise DomainError(msg)
    summed = replace(showers, energies=showers.energies + other.energies, incident_energies=energy)
    return summed[inside]


def wrong_particle(showers: Showers, generator: Generator) -> Showers:
    """Showers that are said to be of another particle than they are.

    Raises:
        DomainError: the generator takes no particle, or knows one only.
    """
    known = generator.domain.choices("particle")
    if "particle" not in generator.condition_names or len(known) < 2 or showers.pdg is None:
        msg = "the model is not told the particle of showers; to score others, give a file of them with `against`"
        raise DomainError(msg)
    places = np.array([known.index(code) for code in showers.pdg])
    return replace(showers, pdg=np.array(known, dtype=np.int32)[(places + 1) % len(known)])


def swapped_particles(showers: Showers, generator: Generator) -> Iterator[tuple[str, int, Showers]]:
    """Showers of each particle that are said to be of each other one: name of the kind, code of the latter, showers.

    Raises:
        DomainError: as :func:`wrong_particle`.
    """
    wrong_particle(showers[:1], generator)
    codes = generator.domain.choices("particle")
    for true, said in itertools.permutations(codes, 2):
        chosen = showers[np.flatnonzero(showers.pdg == true)]
        if len(chosen) > 1:
            kind = " as ".join(CONDITIONS["particle"].named(code) for code in (true, said))
            yield kind, said, replace(chosen, pdg=np.full(len(chosen), said, dtype=np.int32))


PLANTED: dict[str, Callable[[Showers, Generator], Showers]] = {
    "dead layer": dead_layer,
    "doubled energy": doubled_energy,
    "two showers": two_showers,
    "wrong particle": wrong_particle,
}
"""Anomalies that are made of usual showers."""


def score_file(
    model: Model | str | Path,
    source: str | Path,
    output: str | Path,
    *,
    planted: bool = False,
    against: str | Path | None = None,
    extrapolate: bool = False,
    force: bool = False,
) -> Scored:
    """Score all showers of a file by how unusual they are for a model, and write scores and pictures into a folder.

    ``scores.h5`` holds each score of :func:`fastv.inference.score` and, as ``relative_...``, in units of its spread at
    the same incident energy; ``scores.json`` a summary; ``scores.png`` the scores against energy; with anomalies
    ``roc.png`` their curves.

    Args:
        model: the model, its directory, or the name of a shipped one.
        source: the showers file.
        output: the folder to make.
        planted: make anomalies of the first thousand showers (:data:`PLANTED`), and how well each score finds them.
        against: a file of showers that should be found, such as those of another particle.
        extrapolate: allow conditions outside the model's domain, and other detectors with the same cells.
        force: replace an existing analysis.

    Raises:
        ModelError: there is no such model, or its family has no score.
        FileFormatError, GeometryError, DomainError, SettingsError: the showers are not of the kind that it knows.
        OutputError: the folder exists, or cannot be written.
    """
    check_free(output, force=force, kind="analysis")
    if not isinstance(model, Model):
        model = load(model)
    names = score_names(model.generator)
    separations: list[Separation] = []
    left_out: dict[str, str] = {}
    with opened(model, source, extrapolate=extrapolate) as file:
        scores = _scores_of(model.generator, file, names)
        energies = file.incident_energies
        good = np.isfinite(np.stack(list(scores.values()))).all(axis=0)
        if good.sum() < 2:
            msg = f"{file.path}: a score for {counted(int(good.sum()), 'shower')}; at least 2 are needed"
            raise SettingsError(msg)
        usual = {name: Usual(values[good], energies[good]) for name, values in scores.items()}
        relative = {name: usual[name](values, energies) for name, values in scores.items()}
        for kind, showers, like in _anomalies(model, file, planted, against, left_out):
            found = score_showers(model.generator, showers)
            for name in names:
                own = usual[name](found[name], showers.incident_energies)
                separations.append(_separation(name, kind, own, relative[name][good if like is None else good & like]))
    scored = Scored(model.name, scores, relative, energies, tuple(separations), left_out)
    with written_whole(output, force=force, kind="analysis") as folder:
        folder.mkdir()
        _write(folder, scored, Path(source).name, model)
    return scored


def _scores_of(generator: Generator, file: ShowersFile, names: Sequence[str]) -> dict[str, F32]:
    found: dict[str, list[F32]] = {name: [] for name in names}
    start = 0
    with Bar(total=len(file), unit="shower", desc="scoring") as bar:
        for showers in file.batches(BLOCK_ROWS):
            for name, values in score_showers(generator, showers, start).items():
                found[name].append(values)
            start += len(showers)
            bar.update(len(showers))
    return {name: np.concatenate([np.empty(0, np.float32), *parts]) for name, parts in found.items()}


def _anomalies(
    model: Model, file: ShowersFile, planted: bool, against: str | Path | None, left_out: dict[str, str]
) -> Iterator[tuple[str, Showers, NDArray[np.bool_] | None]]:
    """Kinds of anomalies, their showers, and with which of the file they are compared, None for all.

    Those that cannot be made are noted with the reason. Showers of a particle that are said to be of another one are
    compared with those that are of this one.
    """
    if planted:
        first = file[:BLOCK_ROWS]
        for kind, make in PLANTED.items():
            try:
                yield kind, make(first, model.generator), None
            except DomainError as error:
                left_out[kind] = str(error)
        if "wrong particle" not in left_out:
            particles = file.conditions.columns["particle"]
            for kind, said, showers in swapped_particles(first, model.generator):
                like = np.isin(particles, said)
                if like.sum() > 1:
                    yield kind, showers, like
    if against is not None:
        with ShowersFile(against, default=model.detector) as other:
            check_showers(model.generator, other.detector, other.conditions, str(other.path), extrapolate=True)
            low, high = file.incident_energies.min(), file.incident_energies.max()
            showers = other[:BLOCK_ROWS]
            inside = (showers.incident_energies >= low) & (showers.incident_energies <= high)
            if inside.sum() < 2:
                msg = f"{against}: its first showers are not of the energies of {file.path}: nothing to compare with"
                raise SettingsError(msg)
            yield other.path.stem, showers[inside], None


def _separation(name: str, kind: str, anomalies: F32, usual: F32) -> Separation:
    from sklearn.metrics import roc_curve

    anomalies = anomalies[np.isfinite(anomalies)]
    if len(anomalies) < 2:
        msg = f"{kind}: a score for {counted(len(anomalies), 'shower')}; at least 2 are needed"
        raise SettingsError(msg)
    auc = area_under_curve(anomalies, usual)
    truth = np.repeat((1, 0), (len(anomalies), len(usual)))
    false, true, _ = roc_curve(truth, np.concatenate([anomalies, usual]))
    found = float((anomalies > np.quantile(usual, 1 - FALSE_ALARM)).mean())
    return Separation(name, kind, auc.value, auc.error, found, false, true, len(anomalies))


def _write(folder: Path, scored: Scored, source: str, model: Model) -> None:
    told = {**model.made_by(), "source": source}
    with growing(folder / "scores.h5", {KINDS["scores"].attribute: json.dumps(told)}) as out:
        out.append("row", np.arange(len(scored.energies), dtype=np.int64))
        out.append("incident_energies", scored.energies[:, None].astype(np.float32))
        for name, values in scored.scores.items():
            out.append(name, values)
            out.append(f"relative_{name}", scored.relative[name])
    summary: Mapping[str, Any] = {**told, **scored.as_dict()}
    (folder / "scores.json").write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    write_picture(folder / "scores.png", score_picture(scored.scores, scored.energies))
    if scored.separations:
        curves = [
            (each.score, each.kind, each.auc, each.false_positive, each.true_positive) for each in scored.separations
        ]
        write_picture(folder / "roc.png", roc_picture(curves))
