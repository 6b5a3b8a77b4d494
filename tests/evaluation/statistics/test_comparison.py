"""Differences, pulls and p-values of comparisons."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from fastv.evaluation.statistics.comparison import Comparison, compare, difference, skipped
from fastv.evaluation.statistics.measured import Measured


def measured(value: float, error: float) -> Measured:
    return Measured(value=value, error=error)


def test_absolute_and_relative_differences_have_the_same_pull() -> None:
    a, b = measured(2.0, 0.03), measured(2.2, 0.04)
    plain, ratio = difference("x", a, b), difference("x", a, b, relative=True)
    assert plain.difference.value == pytest.approx(0.2)
    assert ratio.difference.value == pytest.approx(0.1)
    assert plain.pull == ratio.pull == pytest.approx(4.0)


def test_nothing_generated_is_a_large_pull_and_not_an_infinite_one() -> None:
    dead = difference("layer 3", measured(1.0, 0.1), measured(0.0, 0.0), relative=True)
    assert dead.difference.value == -1
    assert dead.pull == pytest.approx(-10)


def test_something_from_nothing_counts() -> None:
    new = difference("layer 3", measured(0.0, 0.0), measured(1.0, 0.1), relative=True)
    assert math.isinf(new.difference.value)
    assert new.pull == pytest.approx(10)


def test_p_value_allows_for_all_that_was_compared() -> None:
    one = difference("a", measured(0, 1), measured(3, 0))
    alone, among_many = (compare("n", "t", "d", [one], compared=n) for n in (1, 100))
    assert alone.p_value == pytest.approx(0.0027, rel=0.01)
    assert among_many.p_value == pytest.approx(1 - (1 - 0.0027) ** 100, rel=0.01)


def test_p_values_of_chance_are_uniform() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(600):
        shifts = rng.normal(0, 1, 20)
        made = compare("n", "t", "d", [difference("", measured(0, 0), measured(float(s), 1)) for s in shifts])
        found.append(made.p_value)
    assert np.mean(found) == pytest.approx(0.5, abs=0.05)
    assert np.mean(np.array(found) < 0.05) == pytest.approx(0.05, abs=0.03)


def test_long_lists_keep_the_worst_in_order() -> None:
    rng = np.random.default_rng(1)
    many = [difference(f"{i}", measured(0, 1), measured(float(x), 0)) for i, x in enumerate(rng.normal(size=1000))]
    made = compare("n", "t", "d", many)
    assert made.compared == 1000
    assert 300 < len(made.differences) <= 400
    positions = [int(d.where) for d in made.differences]
    assert positions == sorted(positions)
    assert made.worst == max(many, key=lambda d: abs(d.pull))


def test_undefined_differences_do_not_count() -> None:
    entries = [difference("a", measured(math.nan, math.nan), measured(1, 1), relative=kind) for kind in (True, False)]
    made = compare("n", "t", "d", entries)
    assert made.p_value is None
    assert made.skipped
    assert "not compared" in made.words


def test_words_name_the_worst_place() -> None:
    entries = [
        difference("layer 1", measured(1.0, 0.01), measured(1.0, 0.01), relative=True),
        difference("layer 2", measured(1.0, 0.01), measured(1.1, 0.01), relative=True),
    ]
    made = compare("profile", "Profile", "mean energy", entries, relative=True)
    assert made.words == "Profile: layer 2: +10 % (1.1 against 1, 7.1 standard deviations)"
    assert "few" in skipped("n", "T", "d", "too few showers").words


def test_json_round_trip() -> None:
    made = compare("n", "t", "d", [difference("a", measured(0, 0), measured(1, 0.1), relative=True)])
    text = made.model_dump_json()
    assert json.loads(text)["differences"][0]["difference"]["value"] is None  # no number
    fine = compare("n", "t", "d", [difference("a", measured(1, 0.1), measured(1, 0.1))])
    assert Comparison.model_validate_json(fine.model_dump_json()) == fine


def test_what_is_not_judged_is_shown_and_does_not_count() -> None:
    entries = [
        difference("layer 1", measured(1.0, 0.1), measured(1.1, 0.1)),
        difference("layer 2", measured(0.0, 0.1), measured(9.0, 0.1), judged=False),
    ]
    made = compare("n", "t", "d", entries)
    assert [each.where for each in made.differences] == ["layer 1", "layer 2"]
    assert made.compared == 1
    assert made.worst == made.at("layer 1")
    assert made.p_value == compare("n", "t", "d", entries[:1]).p_value
    assert made.at("layer 3") is None


def test_a_difference_of_rounding_has_no_pull() -> None:
    a, b = Measured(value=21.35, error=0.0), Measured(value=21.35 * (1 + 1e-7), error=1e-12)
    assert difference("depth", a, b).pull == 0
    assert difference("depth", a, Measured(value=21.36, error=1e-3)).pull == pytest.approx(10)
