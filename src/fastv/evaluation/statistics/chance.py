"""What chance alone gives: distances of relabelled showers, and matched halves of a sample.

If reference and generated showers of one incident energy follow one distribution, it does not matter which is called
which. So a distance is computed again and again with the labels shuffled; its mean is the floor at these very sizes,
its spread the scale on which the distance counts. No second sample of full simulation is needed.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

F64 = NDArray[np.float64]

_BLOCK = 8
"""Showers of neighbouring energies among which labels are shuffled."""


class Chance(BaseModel):
    """A distance against its values with shuffled labels.

    ``observed`` is the distance with the true labels and ``expected`` its mean with shuffled ones: what two samples of
    one distribution and these sizes give. ``spread`` is their standard deviation, ``pull`` (observed - expected)/spread
    and ``p_value`` the share of labellings, the true one among them, that are at least as far out; with R
    ``relabellings`` it is never below 1/(R + 1), so that for clear differences the pull tells more. The pull is None
    where shuffling changes nothing and yet the distance differs.
    ``within_energies`` says whether labels were shuffled among showers of neighbouring incident energy only.
    """

    model_config = ConfigDict(frozen=True)

    observed: float
    expected: float
    spread: float
    pull: float | None
    p_value: float
    relabellings: int
    within_energies: bool


def judge_by_chance(observed: float, relabelled: F64, *, two_sided: bool, within_energies: bool) -> Chance:
    """Put a distance beside its values (R,) with shuffled labels.

    Args:
        observed: the distance with the true labels.
        relabelled: the same for each labelling of :func:`shuffled_labels`, at least two.
        two_sided: whether values far below the mean count as much as those far above.
        within_energies: whether the labels kept to neighbouring energies.

    Source: Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010) 39, arXiv:1603.05766: p = (b + 1)/(R + 1).

    Example:
        >>> judge_by_chance(4.0, np.array([1.0, 2.0, 3.0]), two_sided=False, within_energies=False).p_value
        0.25
    """
    expected, spread = float(relabelled.mean()), float(relabelled.std(ddof=1))
    far = np.abs(relabelled - expected) >= abs(observed - expected) if two_sided else relabelled >= observed
    if spread > 0:
        pull: float | None = (observed - expected) / spread
    else:
        pull = 0.0 if observed == expected else None
    return Chance(
        observed=observed,
        expected=expected,
        spread=spread,
        pull=pull,
        p_value=float((far.sum() + 1) / (len(relabelled) + 1)),
        relabellings=len(relabelled),
        within_energies=within_energies,
    )


def shuffled_labels(
    reference: int, generated: int, relabellings: int, *, energies: tuple[F64, F64] | None = None, seed: int
) -> NDArray[np.bool_]:
    """Labels (R, N + M) of pooled showers, true for "reference", with N of each row true.

    With ``energies``, all showers are ordered by incident energy and labels are shuffled within runs of 8, more where
    the samples differ in size. Then samples generated at the reference's own energies are not taken to be independent
    of it, which would make any test blind, and a difference of the energy spectra alone is no difference. Showers of
    equal energy are put in random order.

    Args:
        reference: number N of showers in the first sample; rows 0 to N - 1 of the pool.
        generated: number M in the second.
        relabellings: number R of labellings.
        energies: incident energies (N,) and (M,) in MeV, or None to shuffle over all showers.
        seed: of the random numbers.

    Example:
        >>> shuffled_labels(2, 2, 3, seed=1).sum(axis=1)
        array([2, 2, 2])
    """
    rng = np.random.default_rng(seed)
    total = reference + generated
    labels = np.arange(total) < reference
    if energies is None:
        order, block = np.arange(total), np.zeros(total, dtype=np.int64)
    else:
        order = np.lexsort((rng.random(total), np.concatenate(energies)))
        size = max(_BLOCK, math.ceil(2 * total / min(reference, generated)))
        block = np.arange(total) // size
    sorted_labels = labels[order]
    result = np.empty((relabellings, total), dtype=np.bool_)
    for row in result:
        row[order] = sorted_labels[np.argsort(block + rng.random(total))]
    return result


def matched_halves(incident_energies: F64) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of two halves of a sample with matched incident energies, in the order of energy.

    Showers in the order of incident energy are dealt a, b, b, a, so that neither half gets the higher energy of every
    pair. Entry i of both halves is one pair: classifiers, which split samples by position, keep pairs together.

    Example:
        >>> matched_halves(np.array([4.0, 1.0, 2.0, 3.0]))
        (array([1, 0]), array([2, 3]))
    """
    order = np.argsort(incident_energies, kind="stable")
    to_first = np.isin(np.arange(len(order)) % 4, (0, 3))
    return order[to_first], order[~to_first]
