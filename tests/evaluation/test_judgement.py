"""How targets, classifiers and distances are judged: at their values, from both sides, with chance in mind."""

from __future__ import annotations

import pytest

from fastv.evaluation.metrics.boosted import BoostedAuc
from fastv.evaluation.metrics.growth import AucOfSize, Growth
from fastv.evaluation.metrics.measure import Metrics
from fastv.evaluation.physics.comparisons import Physics
from fastv.evaluation.physics.separations import Separation
from fastv.evaluation.statistics.chance import Chance
from fastv.evaluation.statistics.comparison import compare, difference
from fastv.evaluation.statistics.measured import Measured
from fastv.evaluation.verdict import SPECTRUM, TARGETS, Line, distance, judge, of_each

WANTED = {
    "response": 0.01,
    "resolution, std/mean": 0.15,
    "resolution, central 68 %": 0.15,
    "layer energies": 0.03,
    "sparsity": 0.02,
    "voxel spectrum": 0.005,
}


def physics(name: str = "", *values: float, error: float = 1e-9, weights: tuple[float, ...] = ()) -> Physics:
    """Two samples that agree, but for these deviations of one target at some places."""
    comparisons = {}
    for target in TARGETS:
        if target == SPECTRUM:
            continue
        off = values if target == name else (0.0,)
        scales = weights or (1.0,) * len(off)
        relative = target != "sparsity"
        comparisons[target] = compare(
            target,
            target,
            "",
            [
                difference(
                    f"place {i}",
                    Measured(value=scale, error=error * scale / 2**0.5),
                    Measured(value=scale * (1 + value) if relative else scale + value, error=error * scale / 2**0.5),
                    relative=relative,
                )
                for i, (value, scale) in enumerate(zip(off, scales if target == name else (1.0,), strict=True))
            ],
            relative=relative,
        )
    spectrum = values[0] if name == SPECTRUM else 0.0
    return Physics(
        showers_reference=1000,
        showers_generated=1000,
        comparisons=comparisons,
        separations={"voxel energy": Separation(observable="voxel energy", value=spectrum, expected=error)},
    )


def line(name: str, *values: float, **options: object) -> Line:
    return judge(physics(name, *values, **options), physics())[name]  # type: ignore[arg-type]


def test_the_targets_are_those_of_the_manual() -> None:
    assert TARGETS == WANTED


@pytest.mark.parametrize("name", WANTED)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_target_divides_what_agrees_from_what_differs(name: str, sign: int) -> None:
    if name == SPECTRUM and sign < 0:
        return
    below, above = line(name, 0.97 * sign * WANTED[name]), line(name, 1.03 * sign * WANTED[name])
    assert (below.status, above.status) == ("agrees", "differs")
    assert above.value is not None
    assert above.value.value == pytest.approx(1.03 * sign * WANTED[name], rel=1e-6)


@pytest.mark.parametrize("name", WANTED)
def test_chance_may_be_the_reason_within_two_deviations_of_the_target(name: str) -> None:
    """With one place the limit is 1.96 standard deviations beyond the target, not beyond zero."""
    error = WANTED[name] / 10
    assert line(name, WANTED[name] + 1.8 * error, error=error).status == "undecided"
    assert line(name, WANTED[name] + 2.4 * error, error=error).status == "differs"


def test_many_places_have_a_wider_limit() -> None:
    """The largest of twenty deviates by 2.4 standard deviations more often than not in twenty samples."""
    values = (0.01 + 2.4 * 0.001, *[0.0] * 19)
    assert line("response", values[0], error=0.001).status == "differs"
    assert line("response", *values, error=0.001).status == "undecided"


def test_the_worst_place_is_the_farthest_from_zero() -> None:
    found = line("response", 0.004, -0.03, 0.02)
    assert (found.status, found.where, found.compared) == ("differs", "place 1", 3)


def test_layers_with_a_hundredth_of_the_energy_have_a_target_and_those_with_less_have_none() -> None:
    faint = line("layer energies", 0.0, 0.5, weights=(1.0, 0.005))
    assert (faint.status, faint.compared) == ("agrees", 1)
    assert line("layer energies", 0.0, 0.5, weights=(1.0, 0.02)).status == "differs"


@pytest.mark.parametrize(
    ("auc", "p_value", "status"), [(0.7, 0.4, "agrees"), (0.58, 1e-4, "undecided"), (0.62, 1e-4, "differs")]
)
def test_trees_that_tell_the_samples_apart_count_by_how_well_they_do(auc: float, p_value: float, status: str) -> None:
    trees = boosted(100, auc, p_value)
    verdict = judge(physics(), physics(), Metrics(boosted=trees), Metrics())
    assert verdict["gradient-boosted high-level AUC"].status == status


@pytest.mark.parametrize(("observed", "status"), [(5.5, "undecided"), (6.5, "differs")])
def test_a_distance_is_small_below_five_times_the_chance_level(observed: float, status: str) -> None:
    """The chance level is the mean of shuffled labels plus two standard deviations, here 1.2."""
    chance = Chance(
        observed=observed, expected=1, spread=0.1, pull=45, p_value=0.001, relabellings=999, within_energies=True
    )
    assert distance("FPD", Measured(value=observed, error=0.1), chance, None).status == status


def boosted(showers: int, auc: float = 0.7, p_value: float = 1e-9, growth: Growth | None = None) -> BoostedAuc:
    return BoostedAuc(
        classifier="trees",
        auc=Measured(value=auc, error=0.01),
        spread=0.0,
        folds=(auc,),
        pull=0.0,
        p_value=p_value,
        showers_reference=showers,
        showers_generated=showers,
        columns=1,
        iterations=1,
        seed=1,
        growth=growth or Growth(reason="REASON"),
    )


def test_the_verdict_names_the_size_for_which_it_holds() -> None:
    verdict = judge(physics(), physics())
    assert (verdict.showers_reference, verdict.showers_generated) == (1000, 1000)
    assert verdict.words == "On 1,000 showers of each: these samples show no difference from full simulation."
    assert of_each(1400, 20_000) == "1,400 reference and 20,000 generated showers"


def test_with_few_showers_an_auc_is_told_to_grow() -> None:
    """By how much is told where that is justified; otherwise why not. From 10,000 on the AUC stands alone."""

    def words(found: BoostedAuc) -> str:
        return judge(physics(), physics(), Metrics(boosted=found))["gradient-boosted high-level AUC"].words

    expected = AucOfSize(showers=8000, auc=Measured(value=0.78, error=0.02))
    told = words(boosted(2000, growth=Growth(expected=(expected,))))
    assert told.startswith("trees distinguish 2,000 showers of each; 0.5 is chance; an AUC grows with the number")
    assert told.endswith("with 8,000 of each, 0.78 ± 0.02 is expected (extrapolated)")
    assert words(boosted(9999)).endswith("by how much cannot be told from these: REASON")
    assert "grows" in words(boosted(2000, auc=0.5, p_value=0.5))
    assert words(boosted(10_000)) == "trees distinguish 10,000 showers of each; 0.5 is chance"


def test_what_is_expected_is_not_judged() -> None:
    """An AUC that is small among few showers stays undecided, whatever larger samples may have."""
    expected = AucOfSize(showers=8000, auc=Measured(value=0.78, error=0.02))
    found = judge(physics(), physics(), Metrics(boosted=boosted(2000, auc=0.58, growth=Growth(expected=(expected,)))))
    assert found["gradient-boosted high-level AUC"].status == "undecided"
