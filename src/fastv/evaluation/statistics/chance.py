"""What chance alone gives: permutation tests of distances, and matched halves of a sample.

If reference and generated showers of the same incident energy follow one distribution, their labels are exchangeable.
A distance is therefore recomputed many times with the labels shuffled: its mean is the floor for these sample sizes,
its standard deviation the scale on which to judge the distance. No second sample of full simulation is needed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

F64 = NDArray[np.float64]

_ROUNDING = 1e-12
"""Of distances of order 1 and more."""
_BLOCK = 8
"""Number of showers, adjacent in incident energy, among which labels are shuffled."""


class Chance(BaseModel):
    """A distance compared with its values for shuffled labels.

    ``observed`` is the distance with the true labels and ``expected`` its mean with shuffled ones: the expectation for
    two samples of one distribution and of these sizes. ``spread`` is their standard deviation, ``pull`` (observed -
    expected)/spread and ``p_value`` the fraction of labellings, including the true one, that are at least as extreme.
    With R ``relabellings`` the p-value cannot be below 1/(R + 1), so for clear differences use the pull. The pull is
    None if all shuffled values are equal and the observed one differs. ``within_energies`` tells whether labels were
    shuffled only among showers of similar incident energy.
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
    """Compare a distance with its values for shuffled labels.

    Args:
        observed: the distance with the true labels.
        relabelled: the distance (R,) for each labelling of :func:`shuffled_labels`, R >= 2.
        two_sided: whether values far below the mean are as extreme as those far above.
        within_energies: whether labels were shuffled among showers of similar energy only.

    Source: Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010) 39, arXiv:1603.05766: p = (b + 1)/(R + 1).

    Example:
        >>> judge_by_chance(4.0, np.array([1.0, 2.0, 3.0]), two_sided=False, within_energies=False).p_value
        0.25
    """
    expected, spread = float(relabelled.mean()), float(relabelled.std(ddof=1))
    smallest = _ROUNDING * max(1.0, float(np.abs(relabelled).max()), abs(observed))
    if max(spread, abs(observed - expected)) < smallest:
        # Distances of equal showers differ by rounding only.
        relabelled, spread, observed = np.full_like(relabelled, expected), 0.0, expected
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
    """Shuffled labels (R, N + M) of pooled showers, true for "reference", with N of each row true.

    With ``energies``, showers are ordered by incident energy, those of equal energy at random, and labels are shuffled
    within blocks of 8 consecutive showers (more if the samples differ in size). A sample generated at the energies of
    the reference is not independent of it, and shuffling over all energies would hide differences; nor does a
    difference of the energy spectra alone count as a difference of the showers.

    Args:
        reference: number N of reference showers, rows 0 to N - 1 of the pool.
        generated: number M of generated showers.
        relabellings: number R of labellings.
        energies: incident energies (N,) and (M,) in MeV, or None to shuffle over all showers.
        seed: seed of the random numbers.

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


def paired_rows(reference: F64, generated: F64) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row indices that bring showers of equal incident energy of two samples to the same place.

    Pairs come first, each shower in one at most, then what is left, in the order of the samples. Classifiers, which
    split samples by position, need that: one shower of a pair would tell the energy, and with it the wrong label, of
    the other. A file whose rows were shuffled, or of which damaged showers were left out, has its pairs elsewhere.

    Args:
        reference, generated: incident energies (N,) and (M,) in one unit; they are equal if they round to the same
            single-precision number.

    Returns:
        Rows (N,) of the reference and (M,) of the generated sample.

    Example:
        >>> paired_rows(np.array([5.0, 1.0, 2.0]), np.array([2.0, 7.0, 5.0]))
        (array([0, 2, 1]), array([2, 0, 1]))
    """
    first, second = (_numbered(energies) for energies in (reference, generated))
    _, of_first, of_second = np.intersect1d(first, second, assume_unique=True, return_indices=True)
    order = np.argsort(of_first)
    of_first, of_second = of_first[order], of_second[order]
    rest = (np.setdiff1d(np.arange(len(each)), used) for each, used in ((first, of_first), (second, of_second)))
    left, right = (np.concatenate(parts) for parts in zip((of_first, of_second), rest, strict=True))
    return left, right


def _numbered(energies: F64) -> NDArray[Any]:
    """Energies with a number each (n,), so that equal ones differ: the first of a value has 0, the next one 1."""
    values = energies.astype(np.float32)
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(values[order]) != 0]))
    numbered = np.empty(len(values), dtype=[("energy", np.float32), ("number", np.int32)])
    numbered["energy"] = values
    numbered["number"][order] = np.arange(len(values)) - np.repeat(starts, np.diff([*starts, len(values)]))
    return numbered


def matched_halves(incident_energies: F64) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row indices of two halves of a sample with matched incident energies, both in order of energy.

    Showers sorted by incident energy are dealt a, b, b, a, so that neither half always gets the higher energy of a
    pair. Entries i of both halves form a pair; classifiers, which split samples by position, keep pairs together.

    Args:
        incident_energies: (N,), any unit.

    Example:
        >>> matched_halves(np.array([4.0, 1.0, 2.0, 3.0]))
        (array([1, 0]), array([2, 3]))
    """
    order = np.argsort(incident_energies, kind="stable")
    to_first = np.isin(np.arange(len(order)) % 4, (0, 3))
    return order[to_first], order[~to_first]
