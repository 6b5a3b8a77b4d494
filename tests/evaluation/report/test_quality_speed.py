"""The plane of quality and speed, and the published figures in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastv.evaluation import Evaluation, evaluate
from fastv.evaluation.metrics.fpd import fpd
from fastv.evaluation.metrics.measure import Metrics
from fastv.evaluation.report.published import data_set_of, published
from fastv.evaluation.report.quality_speed import Point, not_comparable, quality_speed_plane
from fastv.evaluation.statistics.chance import Chance
from fastv.showers import Showers


@pytest.mark.parametrize(
    "data_set", ["calochallenge-ds1-photons", "calochallenge-ds1-pions", "calochallenge-ds2", "calochallenge-ds3"]
)
def test_published_figures_are_plausible(data_set: str) -> None:
    rows = published(data_set)  # type: ignore[arg-type]
    floor = [row for row in rows if row.geant4]
    assert len(floor) == 1
    assert len(rows) > 10
    others = [row.fpd for row in rows if not row.geant4 and row.fpd is not None]
    assert floor[0].fpd is not None
    assert min(others) > floor[0].fpd
    assert all(0.45 < row.auc_high <= 1 for row in rows if row.auc_high is not None)


def test_figures_of_the_challenge_paper() -> None:
    rows = {row.name: row for row in published("calochallenge-ds2")}
    assert rows["CaloDREAM"].fpd == 0.024649
    assert rows["CaloDREAM"].auc_high == 0.52079
    assert rows["GEANT4"].fpd == 0.010776
    pions = {row.name: row for row in published("calochallenge-ds1-pions")}
    assert pions["CaloDiffusion"].fpd == 0.0027746
    assert pions["DNN CaloSim"].auc_high == 0.81867
    assert pions["GEANT4"].auc_low == 0.60894


def test_data_sets_by_their_voxels() -> None:
    assert data_set_of(40_500) == "calochallenge-ds3"
    assert data_set_of(533) == "calochallenge-ds1-pions"
    assert data_set_of(7) is None


def test_plane_shows_every_published_generator_and_ours() -> None:
    rows = published("calochallenge-ds2")
    figure = quality_speed_plane({"mine": Point(0.1, 0.02, 0.3), "untimed": Point(0.2, 0.02)}, rows, floor=0.05)
    [axes] = figure.axes
    texts = {text.get_text() for text in axes.texts}
    timed = {row.name for row in rows if not row.geant4 and row.fpd and row.cpu_ms_batch1}
    assert timed <= texts
    assert {"mine", "untimed (time not measured)"} <= texts
    assert "Geant4, floor of this evaluation" in axes.get_legend_handles_labels()[1]
    assert axes.get_yscale() == axes.get_xscale() == "log"


def test_names_of_generators_do_not_overlap() -> None:
    figure = quality_speed_plane({}, published("calochallenge-ds2"))
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def sized(evaluation: Evaluation, showers: int, *, by_chance: float) -> Evaluation:
    """The same with so many showers, and an FPD by chance."""
    rows = np.resize(np.arange(400), showers)
    chance = Chance(
        observed=1, expected=by_chance, spread=0.1, pull=9, p_value=0.01, relabellings=99, within_energies=True
    )
    found = fpd(*np.random.default_rng(1).normal(size=(2, 300, 2)), draws=2, relabellings=0)
    return replace(
        evaluation,
        reference_observables=evaluation.reference_observables[rows],
        generated_observables=evaluation.generated_observables[rows],
        metrics=Metrics(fpd=found.model_copy(update={"chance": chance})),
    )


def test_the_plane_is_drawn_only_where_sizes_allow_it(geant4: Showers, geant4_other: Showers) -> None:
    """At least 10,000 showers, and an FPD by chance of at most a fifth of the median published one, 0.49."""
    evaluation = evaluate(geant4, geant4_other, quick=True)
    assert not_comparable(evaluation) is None
    few = not_comparable(sized(evaluation, 9999, by_chance=0.01))
    assert few is not None
    assert "these are 9,999 showers of each; it needs 10,000" in few
    noisy = not_comparable(sized(evaluation, 10_000, by_chance=0.12))
    assert noisy is not None
    assert "chance alone gives 0.12" in noisy
    assert not_comparable(sized(evaluation, 10_000, by_chance=0.08)) == ""
