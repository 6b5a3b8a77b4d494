"""An AUC grows with the showers: what is expected of larger samples is what they have, if there is reason to."""

from __future__ import annotations

import numpy as np
import pytest

from fastv.evaluation.metrics.growth import AucOfSize, growth
from fastv.evaluation.statistics.measured import Measured

# Measured with 100 trees and four folds: showers of each, AUC, error.
CURVES = {
    "par04-siw against Geant4": [(1225, 0.5987, 0.0068), (2450, 0.6346, 0.0056), (4900, 0.6802, 0.0053)],
    "3 % of noise in the layer energies": [
        (2450, 0.5426, 0.0030),
        (4900, 0.5776, 0.0033),
        (9800, 0.6151, 0.0042),
        (19600, 0.6454, 0.0031),
    ],
    "widths 1.5 % too large": [
        (1225, 0.5488, 0.0029),
        (2450, 0.5703, 0.0056),
        (4900, 0.5969, 0.0028),
        (9800, 0.6242, 0.0034),
        (19600, 0.6625, 0.0028),
    ],
}


def points(curve: list[tuple[int, float, float]]) -> list[AucOfSize]:
    return [AucOfSize(showers=n, auc=Measured(value=auc, error=error)) for n, auc, error in curve]


@pytest.mark.parametrize("name", CURVES)
def test_what_is_expected_is_what_was_then_measured(name: str) -> None:
    """Every part of a curve predicts the rest of it, within twice its error."""
    curve = points(CURVES[name])
    later = {each.showers: each.auc for each in curve}
    compared = 0
    for end in range(3, len(curve)):
        found = growth(curve[:end])
        assert found.measured == tuple(curve[:end])
        for each in found.expected:
            if each.showers in later:
                compared += 1
                assert abs(each.auc.value - later[each.showers].value) < 2 * each.auc.error
    assert compared == {3: 0, 4: 1, 5: 3}[len(curve)]
    assert growth(curve).expected[0].showers == 2 * curve[-1].showers


def test_errors_grow_with_the_distance_and_the_auc_never_shrinks() -> None:
    near, far = growth(points(CURVES["par04-siw against Geant4"])).expected
    assert near.auc.error < far.auc.error
    falling = growth(points([(500, 0.62, 0.005), (1000, 0.61, 0.005), (2000, 0.60, 0.005)]))
    assert all(each.auc.value == 0.60 for each in falling.expected)
    assert falling.expected


@pytest.mark.parametrize(
    ("curve", "reason"),
    [
        ([(500, 0.6, 0.01), (1000, 0.65, 0.01)], "needs 3 sizes, there are 2"),
        ([(500, 0.51, 0.01), (1000, 0.52, 0.01), (2000, 0.53, 0.01)], "within 4 errors of chance"),
        ([(500, 0.7, 0.01), (1000, 0.8, 0.01), (2000, 0.9, 0.01)], "above 0.85 already"),
        ([(500, 0.49, 0.01), (1000, 0.52, 0.01), (2000, 0.6, 0.01)], "smaller samples are not told apart"),
        ([(500, 0.52, 0.01), (1000, 0.62, 0.01), (2000, 0.8, 0.01)], "too uncertain"),
    ],
)
def test_nothing_is_expected_without_reason(curve: list[tuple[int, float, float]], reason: str) -> None:
    found = growth(points(curve))
    assert found.expected == ()
    assert reason in found.reason


def test_errors_are_those_of_the_points() -> None:
    """Fluctuating curves of one law: the spread of what is expected is the statistical error that is given."""
    rng = np.random.default_rng(1)
    sizes, aucs = (1000, 2000, 4000), np.array([0.60, 0.63, 0.66])
    error = 0.003
    found = [
        growth(points([(n, auc, error) for n, auc in zip(sizes, aucs + rng.normal(0, error, 3), strict=True)]))
        for _ in range(60)
    ]
    near = [each.expected[0].auc for each in found]
    given = np.median([each.error for each in near])
    assert 0.5 < np.std([each.value for each in near]) / given < 1.3
