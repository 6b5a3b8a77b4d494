"""A fast classifier: cross-validated gradient-boosted trees on high-level features.

Its AUC grows with the number of showers, so it is measured at several sizes, and for groups of features.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from threadpoolctl import threadpool_limits

from fastv.errors import TooFewShowersError
from fastv.evaluation.metrics.growth import AucOfSize, Growth, growth
from fastv.evaluation.statistics.auc import area_under_curve, chance_of_separation
from fastv.evaluation.statistics.measured import Measured
from fastv.evaluation.threads import each_in_threads

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

NAME = "gradient-boosted high-level AUC"
MOST_SHOWERS = 20_000
"""Showers of each sample that trees see at most: with so many of each, all fits take about a minute on two cores."""
_LEAST = 100
_LEAST_OF_CURVE = 150
"""Smallest size at which the AUC of larger samples is measured as well."""


class AucOfGroup(BaseModel):
    """The AUC of trees that see a group of ``columns`` columns only."""

    model_config = ConfigDict(frozen=True)

    group: str
    columns: int
    auc: Measured


class BoostedAuc(BaseModel):
    """How well gradient-boosted trees distinguish generated from reference showers.

    ``auc`` is the mean over ``folds``, each tested by trees that were not trained on it; its error is due to the number
    of showers tested. ``spread`` is the standard deviation of the folds. ``p_value`` is the probability of at least
    this AUC for samples of one distribution. ``growth`` has the AUC of smaller samples and, where that is justified,
    what larger ones can be expected to have. ``groups`` has the AUC of each group of columns alone. It is not one of
    the CaloChallenge's classifiers: do not compare its values with theirs.
    """

    model_config = ConfigDict(frozen=True)

    classifier: str
    auc: Measured
    spread: float
    folds: tuple[float, ...]
    pull: float
    p_value: float
    showers_reference: int
    showers_generated: int
    columns: int
    iterations: int
    seed: int
    growth: Growth = Growth()
    groups: tuple[AucOfGroup, ...] = ()


class _Fit(NamedTuple):
    """Trees to fit: which columns they see, the fold on which they are tested, and the share of the others."""

    columns: I64
    fold: int
    share: float


def boosted_auc(
    reference: F64,
    generated: F64,
    *,
    folds: int = 4,
    iterations: int = 100,
    most: int = MOST_SHOWERS,
    sizes: int = 1,
    groups: Mapping[str, Sequence[int]] | None = None,
    seed: int = 0,
) -> BoostedAuc:
    """Cross-validated AUC of gradient-boosted trees: 0.5 if they cannot distinguish the samples, 1 if they always can.

    Row i of both samples is in the same random fold. For each fold, histogram-based gradient boosting of scikit-learn
    (``iterations`` trees of at most 15 leaves, 63 bins per column, a random 30 % of the columns at each split, no early
    stopping, otherwise its defaults) is trained on the other folds and tested on this one. The error of the mean is
    DeLong's for all folds; it neglects that the trees of different folds share most of their training showers.

    An AUC grows with the number of showers on which trees are trained. For a smaller size they are trained on a part of
    the same showers, which holds those of all smaller sizes, and tested on the whole fold: the AUC is what samples of
    that size have on average, with a smaller error. Each fold has other showers, and the error is at least the spread
    of the folds over the root of their number.

    Args:
        reference: features (N, F) of full simulation, preferably
            :func:`fastv.evaluation.metrics.features.tree_features`: with the plain feature vector, trees do not notice
            an energy that is wrong by 3 %.
        generated: features (M, F). If the samples have the same or matched incident energies, row i of both must be
            a pair, as with ``fastv generate --like`` or
            :func:`fastv.evaluation.statistics.chance.matched_halves`.
        folds: number of folds, at least 2.
        iterations: number of trees.
        most: largest number of showers of each sample to use, chosen at random.
        sizes: largest number of sizes, at least 1, each half of the next and none below 150; the largest is all.
        groups: columns by group; None measures no groups. All showers are used.
        seed: seed of the folds, of the choice of showers, and of the trees.

    Raises:
        TooFewShowersError: a sample has fewer than 100 showers.

    Source: Friedman, Annals of Statistics 29 (2001) 1189 (gradient boosting); arXiv:2410.21611 for the features.

    Example:
        >>> rng = np.random.default_rng(1)
        >>> a, b = rng.normal(0, 1, (300, 3)), rng.normal(3, 1, (300, 3))
        >>> found = boosted_auc(a, b, iterations=10, sizes=2, groups={"first": [0]})
        >>> found.auc.value > 0.9, [point.showers for point in found.growth.measured], found.groups[0].group
        (True, [150, 300], 'first')
    """
    if min(len(reference), len(generated)) < _LEAST:
        msg = f"a classifier needs at least {_LEAST} showers in each sample, got {len(reference)} and {len(generated)}"
        raise TooFewShowersError(msg)
    samples = _Samples(reference, generated, folds=folds, most=most, iterations=iterations, seed=seed)
    n = min(samples.sizes)
    shares = [1.0, *(2.0**-k for k in range(1, sizes) if n * 2.0**-k >= _LEAST_OF_CURVE)]
    everything = np.arange(reference.shape[1])
    parts = {name: np.asarray(columns, dtype=np.int64) for name, columns in (groups or {}).items()}
    wanted = [(everything, share) for share in shares] + [(columns, 1.0) for columns in parts.values()]
    # The slowest fits come first, so that no thread ends long after the others.
    tasks = [_Fit(columns, fold, share) for columns, share in wanted for fold in range(folds)]
    found: list[Measured] = []
    each_in_threads(samples.auc, tasks, found.append, total=len(tasks), label=NAME)
    of_folds = [found[i : i + folds] for i in range(0, len(found), folds)]
    values = [each.value for each in of_folds[0]]
    auc = _mean(of_folds[0])
    pull, p_value = chance_of_separation(auc)
    smaller = [
        AucOfSize(showers=round(n * share), auc=_at_least_spread(each))
        for share, each in zip(shares[1:], of_folds[1:], strict=False)
    ]
    return BoostedAuc(
        classifier=NAME,
        auc=auc,
        spread=float(np.std(values, ddof=1)),
        folds=tuple(values),
        pull=pull,
        p_value=p_value,
        showers_reference=samples.sizes[0],
        showers_generated=samples.sizes[1],
        columns=reference.shape[1],
        iterations=iterations,
        seed=seed,
        growth=growth([*reversed(smaller), AucOfSize(showers=n, auc=auc)]),
        groups=tuple(
            AucOfGroup(group=name, columns=len(columns), auc=_mean(each))
            for (name, columns), each in zip(parts.items(), of_folds[len(shares) :], strict=True)
        ),
    )


class _Samples:
    """Both samples with their folds; every fold trains on showers in a random order of its own."""

    def __init__(self, reference: F64, generated: F64, *, folds: int, most: int, iterations: int, seed: int) -> None:
        self._iterations, self._seed = iterations, seed
        # Pairs of equal energy must share a fold: trees trained on one of them would learn its label from its energy,
        # and give the wrong label to the other. So both samples have one order, and folds go by it.
        order = np.random.default_rng(seed).permutation(max(len(reference), len(generated)))
        self._features = reference, generated
        self._rows: list[I64] = []
        self._fold: list[I64] = []
        for sample in self._features:
            places = np.flatnonzero(order < len(sample))[:most]
            self._rows.append(order[places])
            self._fold.append(places % folds)
        self._folds = folds

    @property
    def sizes(self) -> tuple[int, int]:
        """Numbers of showers used."""
        return len(self._rows[0]), len(self._rows[1])

    def auc(self, fit: _Fit) -> Measured:
        """The AUC on one fold of trees that are trained on a share of the others."""
        from sklearn.ensemble import HistGradientBoostingClassifier

        train = [self._training(sample, fit) for sample in (0, 1)]
        test = [
            features[rows[fold == fit.fold]][:, fit.columns]
            for features, rows, fold in zip(self._features, self._rows, self._fold, strict=True)
        ]
        labels = np.repeat([True, False], [len(each) for each in train])
        trees = HistGradientBoostingClassifier(
            max_iter=self._iterations,
            early_stopping=False,
            max_bins=63,
            max_features=0.3,
            max_leaf_nodes=15,
            random_state=self._seed,
        )
        # Trees synchronise their threads thousands of times, which is slow on a busy machine.
        with threadpool_limits(limits=1, user_api="openmp"):
            trees.fit(np.concatenate(train), labels)
            first, second = (trees.decision_function(each) for each in test)
        return area_under_curve(first, second)

    def _training(self, sample: int, fit: _Fit) -> F64:
        """Features of the showers that one fit is trained on, a pair in both samples or in none."""
        rows, fold = self._rows[sample], self._fold[sample]
        # A fold starts behind itself in the order, so that small shares of different folds have different showers.
        turn = (fold - fit.fold - 1) % self._folds
        others = rows[np.argsort(turn, kind="stable")][: len(rows) - np.count_nonzero(fold == fit.fold)]
        chosen: F64 = self._features[sample][others[: max(2, round(fit.share * len(others)))]][:, fit.columns]
        return chosen


def _mean(folds: Sequence[Measured]) -> Measured:
    """The mean of the folds; its error is due to the number of showers tested."""
    error = math.sqrt(sum(each.error**2 for each in folds)) / len(folds)
    return Measured(value=float(np.mean([each.value for each in folds])), error=error)


def _at_least_spread(folds: Sequence[Measured]) -> Measured:
    """The mean of the folds; its error is not below what the spread of the folds says."""
    mean = _mean(folds)
    spread = float(np.std([each.value for each in folds], ddof=1)) / math.sqrt(len(folds))
    return Measured(value=mean.value, error=max(mean.error, spread))
