"""A fast classifier: cross-validated gradient-boosted trees on high-level features."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from threadpoolctl import threadpool_limits

from fastv.errors import TooFewShowersError
from fastv.evaluation.statistics.auc import area_under_curve, chance_of_separation
from fastv.evaluation.statistics.measured import Measured
from fastv.evaluation.threads import each_in_threads

F64 = NDArray[np.float64]

NAME = "gradient-boosted high-level AUC"
_MOST = 4_000
_LEAST = 100


class BoostedAuc(BaseModel):
    """How well gradient-boosted trees distinguish generated from reference showers.

    ``auc`` is the mean over ``folds``, each tested by trees that were not trained on it; its error is due to the number
    of showers tested. ``spread`` is the standard deviation of the folds. ``p_value`` is the probability of at least
    this AUC for samples of one distribution. It is not one of the CaloChallenge's classifiers: do not compare its
    values with theirs.
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


def boosted_auc(
    reference: F64,
    generated: F64,
    *,
    folds: int = 4,
    iterations: int = 100,
    most: int = _MOST,
    seed: int = 0,
) -> BoostedAuc:
    """Cross-validated AUC of gradient-boosted trees: 0.5 if they cannot distinguish the samples, 1 if they always can.

    Row i of both samples is in the same random fold. For each fold, histogram-based gradient boosting of scikit-learn
    (``iterations`` trees of at most 15 leaves, 63 bins per column, a random 30 % of the columns at each split, no early
    stopping, otherwise its defaults) is trained on the other folds and tested on this one. The error of the mean is
    DeLong's for all folds; it neglects that the trees of different folds share most of their training showers.

    Args:
        reference: features (N, F) of full simulation, preferably
            :func:`fastv.evaluation.metrics.features.tree_features`: with the plain feature vector, trees do not notice
            an energy that is wrong by 3 %.
        generated: features (M, F). If the samples have the same or matched incident energies, row i of both must be
            a pair, as with ``fastv generate --like`` or
            :func:`fastv.evaluation.statistics.chance.matched_halves`.
        folds: number of folds, at least 2.
        iterations: number of trees.
        most: largest number of showers of each sample to use, evenly spaced.
        seed: seed of the folds and the trees.

    Raises:
        TooFewShowersError: a sample has fewer than 100 showers.

    Source: Friedman, Annals of Statistics 29 (2001) 1189 (gradient boosting); arXiv:2410.21611 for the features.

    Example:
        >>> rng = np.random.default_rng(1)
        >>> boosted_auc(rng.normal(0, 1, (200, 3)), rng.normal(3, 1, (200, 3)), iterations=10).auc.value > 0.9
        True
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    if min(len(reference), len(generated)) < _LEAST:
        msg = f"a classifier needs at least {_LEAST} showers in each sample, got {len(reference)} and {len(generated)}"
        raise TooFewShowersError(msg)
    a, b = (x[np.linspace(0, len(x) - 1, min(len(x), most)).astype(int)] for x in (reference, generated))
    features = np.concatenate([a, b])
    labels = np.arange(len(features)) < len(a)
    found: list[Measured] = []
    # Pairs of equal energy must share a fold: trees trained on one of them would learn its label from its energy, and
    # give the wrong label to the other.
    fold = np.random.default_rng(seed).permutation(np.arange(max(len(a), len(b))) % folds)
    in_fold = np.concatenate([fold[: len(a)], fold[: len(b)]])

    def fold_auc(number: int) -> Measured:
        test = in_fold == number
        trees = HistGradientBoostingClassifier(
            max_iter=iterations,
            early_stopping=False,
            max_bins=63,
            max_features=0.3,
            max_leaf_nodes=15,
            random_state=seed,
        )
        # Trees synchronise their threads thousands of times, which is slow on a busy machine.
        with threadpool_limits(limits=1, user_api="openmp"):
            trees.fit(features[~test], labels[~test])
            scores = trees.decision_function(features[test])
        return area_under_curve(scores[labels[test]], scores[~labels[test]])

    each_in_threads(fold_auc, range(folds), found.append, total=folds, label=NAME)
    values = [each.value for each in found]
    auc = Measured(value=float(np.mean(values)), error=math.sqrt(sum(each.error**2 for each in found)) / folds)
    pull, p_value = chance_of_separation(auc)
    return BoostedAuc(
        classifier=NAME,
        auc=auc,
        spread=float(np.std(values, ddof=1)),
        folds=tuple(values),
        pull=pull,
        p_value=p_value,
        showers_reference=len(a),
        showers_generated=len(b),
        columns=features.shape[1],
        iterations=iterations,
        seed=seed,
    )
