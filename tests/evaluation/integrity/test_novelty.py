"""Planted memorising generators must be found, whatever they do to their copies; others must pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import fastv
from fastv.evaluation.integrity.neighbours import Neighbours, Shapes, ShapeSpace, nearest, read_shapes
from fastv.evaluation.integrity.novelty import (
    Copies,
    DataCopying,
    copies,
    data_copying,
    nearness,
    preference,
    relative_distances,
)
from fastv.sample import sample_path
from fastv.showers import Showers, ShowersFile

N = 250


class Judge:
    """Training showers and a reference, prepared once."""

    def __init__(self) -> None:
        with ShowersFile(sample_path("train")) as file:
            self.train = file[:]
        with ShowersFile(sample_path("test")) as file:
            self.reference = file[:500]
            self.other = file[800 : 800 + N]
        self.space = ShapeSpace(self.train.mesh)
        self.train_shapes = read_shapes(self.train, self.space)
        self.ref_shapes = read_shapes(self.reference, self.space)
        [self.ref_train] = nearest([self.ref_shapes], self.train_shapes)
        [self.ref_ref] = nearest([self.ref_shapes], self.ref_shapes, same_sample=True)

    def neighbours(self, shapes: Shapes) -> tuple[Neighbours, Neighbours]:
        [to_train] = nearest([shapes], self.train_shapes)
        [to_reference] = nearest([shapes], self.ref_shapes)
        return to_train, to_reference

    def __call__(self, generated: Showers) -> tuple[Copies, DataCopying]:
        to_train, to_reference = self.neighbours(read_shapes(generated, self.space))
        found = copies(to_train, self.ref_train)
        return found, data_copying(to_train, self.ref_train, to_reference, self.ref_ref)


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge()


def stolen(judge: Judge, change: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Showers:
    """N training showers, their grids (n, layer, alpha, r) changed."""
    rng = np.random.default_rng(5)
    few = judge.train[:N]
    energies = change(few.grid.astype(np.float64), rng).reshape(N, -1)
    energies[energies < few.detector.threshold] = 0
    return replace(few, energies=energies.astype(np.float32))


def turned(grid: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.stack([np.roll(shower[:, :: rng.choice((-1, 1))], rng.integers(16), axis=1) for shower in grid])


MEMORIES: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "exact": lambda grid, _: grid,
    "noise of 20 % in each voxel": lambda grid, rng: grid * np.exp(rng.normal(0, 0.2, grid.shape)),
    "turned and mirrored": turned,
    "rescaled": lambda grid, rng: grid * rng.uniform(0.9, 1.1, (len(grid), 1, 1, 1)),
    "all of it": lambda grid, rng: turned(grid * rng.normal(1, 0.3, grid.shape).clip(0), rng) * 1.1,
}


@pytest.mark.parametrize("how", MEMORIES)
def test_copies_are_found(judge: Judge, how: str) -> None:
    found, drawn = judge(stolen(judge, MEMORIES[how]))
    assert found.status == drawn.status == "differs"
    assert found.copies > 0.95 * N
    assert found.value is not None
    assert found.value > 0.95
    assert found.examples[0].shower == found.examples[0].of
    assert "training shower" in found.words
    assert drawn.value is not None
    assert drawn.value > 0.95
    assert drawn.leaning == pytest.approx(1, abs=0.05)
    assert "drawn towards training showers" in drawn.words


def test_very_noisy_copies_are_found_as_a_whole(judge: Judge) -> None:
    """A factor e of noise in every voxel: each shower is further from its original than Geant4 showers are."""
    generated = stolen(judge, lambda grid, rng: grid * np.exp(rng.normal(0, 1.0, grid.shape)))
    found, drawn = judge(generated)
    assert found.value is not None
    assert found.value > 0.9
    assert drawn.status == "differs"


def test_mixtures_of_training_showers_are_found(judge: Judge) -> None:
    """A mean of two showers is the copy of neither."""
    order = np.argsort(judge.train.incident_energies)[: 2 * N]
    first, second = judge.train[order[::2]], judge.train[order[1::2]]
    _, drawn = judge(replace(first, energies=(first.energies + second.energies) / 2))
    assert drawn.status == "differs"


def test_few_copies_among_new_showers_are_counted(judge: Judge) -> None:
    energies, incident = judge.other.energies.copy(), judge.other.incident_energies.copy()
    energies[:5], incident[:5] = turned(judge.train.grid[40:45], np.random.default_rng(0)).reshape(5, -1), 1.0
    incident[:5] = judge.train.incident_energies[40:45]
    found, drawn = judge(replace(judge.other, energies=energies, incident_energies=incident))
    assert (found.status, found.copies) == ("differs", 5)
    assert sorted(example.of for example in found.examples) == [40, 41, 42, 43, 44]
    assert drawn.status == "agrees"
    one = replace(judge.other, energies=energies, incident_energies=incident)[4:]
    single, _ = judge(one)
    assert (single.status, single.copies) == ("undecided", 1)


def test_geant4_passes(judge: Judge) -> None:
    found, drawn = judge(judge.other)
    assert found.status == drawn.status == "agrees"
    assert found.copies == 0
    assert found.p_value is not None
    assert found.p_value > 1e-3
    assert drawn.nearer == pytest.approx(0.5, abs=0.08)


def test_the_shipped_model_generalises(judge: Judge) -> None:
    generated = fastv.load("par04-siw").generate(like=judge.reference[:N], seed=1)
    found, drawn = judge(generated)
    assert found.status == drawn.status == "agrees"
    assert found.copies == 0


def test_too_smooth_showers_are_no_copies(judge: Judge) -> None:
    """New showers, blurred in alpha: nearer to everything, for another reason."""
    grid = judge.other.grid
    smooth = (np.roll(grid, 1, axis=2) + 2 * grid + np.roll(grid, -1, axis=2)) / 4
    found, drawn = judge(replace(judge.other, energies=smooth.reshape(N, -1)))
    assert (found.status, found.copies) == ("undecided", 0)
    assert drawn.status == "undecided"
    assert "fluctuations too small" in drawn.words
    assert drawn.c_t is not None
    assert drawn.c_t < -3


def test_a_generator_trained_on_the_reference_is_drawn_to_it(judge: Judge) -> None:
    few = judge.reference[:N]
    noise = np.random.default_rng(0).normal(1, 0.2, few.energies.shape).clip(0)
    shapes = read_shapes(replace(few, energies=(few.energies * noise).astype(np.float32)), judge.space)
    to_train, to_reference = judge.neighbours(shapes)
    drawn = data_copying(to_train, judge.ref_train, to_reference, judge.ref_ref)
    assert drawn.status == "undecided"
    assert "as if trained on it" in drawn.words
    found = copies(to_reference, judge.ref_ref, of="reference shower")
    assert found.status == "differs"
    assert "are copies of reference showers" in found.words


def test_too_few_showers_are_no_number(judge: Judge) -> None:
    found, drawn = judge(judge.other[:50])
    for finding in (found, drawn):
        assert finding.status == "not judged"
        assert finding.value is finding.p_value is None
        assert "100 showers of each sample" in finding.words


def test_p_values_and_errors_between_equal_samples(judge: Judge) -> None:
    """Random cuts of one sample into three: pulls scatter as normal deviates do."""
    with ShowersFile(sample_path("test")) as file:
        pool = read_shapes(file[500:1300], judge.space)
    rng = np.random.default_rng(2)
    pulls = []
    for _ in range(8):
        order = rng.permutation(len(pool))
        bank, ref, gen = (pool[np.sort(part)] for part in np.split(order, [400, 600]))
        gen_bank, ref_bank = nearest([gen, ref], bank)
        [gen_ref] = nearest([gen], ref)
        [ref_ref] = nearest([ref], ref, same_sample=True)
        drawn = data_copying(gen_bank, ref_bank, gen_ref, ref_ref)
        assert copies(gen_bank, ref_bank).copies == 0
        assert drawn.leaning is not None
        assert drawn.leaning_error is not None
        near = nearness(gen_bank, ref_bank)
        assert near is not None
        pulls += [drawn.leaning / drawn.leaning_error, near.z]
    assert 0.5 < np.sqrt(np.mean(np.square(pulls))) < 1.6


def test_gaps_are_exponential(judge: Judge) -> None:
    """Facco et al.: -ln(nearest/second) is exponential, whatever the density."""
    gap = relative_distances(judge.ref_train, judge.ref_train).floor_gap
    for q in (0.25, 0.5, 0.75, 0.9):
        assert np.quantile(gap, q) == pytest.approx(-np.log(1 - q), rel=0.3)


def neighbours(distance: np.ndarray, second: np.ndarray | None = None, log_e: np.ndarray | None = None) -> Neighbours:
    n = len(distance)
    return Neighbours(
        rows=np.arange(n),
        log_energies=np.linspace(0, 1, n) if log_e is None else log_e,
        distance=distance,
        second=1.1 * distance if second is None else second,
        index=np.zeros(n, dtype=np.int64),
        turn=np.zeros(n, dtype=np.int64),
        mirrored=np.zeros(n, dtype=np.bool_),
        scale=np.ones(n),
    )


def test_nearness_equals_counting_pairs() -> None:
    rng = np.random.default_rng(0)
    found, floor = neighbours(rng.normal(1, 0.1, 150)), neighbours(rng.normal(1.05, 0.1, 120))
    near = nearness(found, floor, cells=1)
    assert near is not None
    relative = relative_distances(found, floor)
    expected = np.mean(relative.distance[:, None] < relative.floor_distance[None])
    assert near.probability == pytest.approx(expected)
    assert near.c_t == pytest.approx(-near.z)


def test_preference_is_the_share_of_the_bank() -> None:
    """Of n + m equal showers, the nearest is one of the n with probability n/(n + m)."""
    rng = np.random.default_rng(0)
    n, m = 30, 90
    distances = rng.random((5000, n + m))
    share, count = preference(neighbours(distances[:, :n].min(axis=1)), neighbours(distances[:, n:].min(axis=1)))
    assert count == 5000
    assert share == pytest.approx(n / (n + m), abs=0.02)


def test_duplicates_in_the_training_file_do_not_hide_copies() -> None:
    """With each training shower twice, the second nearest is as near as the nearest: only the distance tells."""
    rng = np.random.default_rng(0)
    floor = neighbours(rng.normal(1, 0.03, 200), second=rng.normal(1, 0.03, 200) + 0.1)
    tiny = np.full(200, 1e-3)
    assert copies(neighbours(tiny, second=tiny), floor).status == "differs"
    zero = np.zeros(200)
    assert copies(neighbours(zero, second=zero), floor).copies == 200
