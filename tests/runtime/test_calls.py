"""Calls of several threads in batches: who calls gets its own, and nobody waits for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from fastv.runtime.calls import Call, Calls


class Recorder:
    """Doubles its conditions; the first batch waits until it may go on."""

    def __init__(self, fails: int = -1) -> None:
        self.sizes: list[int] = []
        self.begun, self.go = threading.Event(), threading.Event()
        self.fails = fails

    def run(self, conditions: Any, events: Sequence[Sequence[int]], energies: Any) -> None:
        self.sizes.append(len(events))
        self.begun.set()
        assert self.go.wait(10)
        if [self.fails] in events:
            msg = "bad event"
            raise ValueError(msg)
        energies[:] = 2 * conditions


def call(run: Any, start: int, n: int) -> Call:
    events = [[start + i] for i in range(n)]
    return Call(run, np.array(events, np.float32), events, np.full((n, 1), np.nan, np.float32))


def until_waiting(calls: Calls, n: int) -> None:
    deadline = time.monotonic() + 10
    while len(calls._waiting) < n:
        assert time.monotonic() < deadline
        time.sleep(1e-4)


def filled(calls: Calls, recorder: Recorder, sizes: Sequence[int], first: int = 1) -> list[tuple[Call, Any]]:
    """Calls of several threads, the others waiting while a first one runs, and what they raised."""
    begin = call(recorder.run, 1000, first)
    others = [call(recorder.run, 100 * i, n) for i, n in enumerate(sizes)]
    with ThreadPoolExecutor(len(sizes) + 1) as pool:
        futures = [pool.submit(calls.fill, begin)]
        assert recorder.begun.wait(10)
        for i, each in enumerate(others):
            futures.append(pool.submit(calls.fill, each))
            until_waiting(calls, i + 1)
        recorder.go.set()
        errors = [future.exception(10) for future in futures]
    assert not calls._waiting
    return list(zip([begin, *others], errors, strict=True))


def test_calls_that_wait_are_run_together() -> None:
    recorder = Recorder()
    results = filled(Calls(10), recorder, [3, 4, 2])
    assert recorder.sizes == [1, 9]
    for each, error in results:
        assert error is None
        np.testing.assert_array_equal(each.energies, 2 * each.conditions)


def test_a_batch_has_no_more_rows_than_allowed() -> None:
    recorder = Recorder()
    results = filled(Calls(4), recorder, [3, 10, 2])
    assert sum(recorder.sizes) == 16
    assert max(recorder.sizes) == 4
    for each, _ in results:
        np.testing.assert_array_equal(each.energies, 2 * each.conditions)


def test_a_failure_reaches_those_of_its_batch_and_the_next_go_on() -> None:
    recorder = Recorder(fails=100)
    calls = Calls(4)
    results = filled(calls, recorder, [2, 6, 3])
    assert [str(error) for _, error in results] == ["None", "bad event", "bad event", "None"]
    again = call(recorder.run, 5, 2)
    calls.fill(again)
    np.testing.assert_array_equal(again.energies, 2 * again.conditions)


def test_ctrl_c_in_one_thread_leaves_no_other_waiting() -> None:
    calls = Calls(4)

    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calls.fill(call(stopped, 0, 6))
    assert not calls._waiting
    recorder = Recorder()
    recorder.go.set()
    calls.fill(call(recorder.run, 0, 1))
    assert recorder.sizes == [1]


def test_calls_of_different_graphs_are_not_mixed() -> None:
    calls, one, two = Calls(10), Recorder(), Recorder()
    two.go.set()
    waiting = [call(two.run, 0, 1), call(one.run, 10, 2), call(two.run, 20, 3)]
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(calls.fill, call(one.run, 30, 1))]
        assert one.begun.wait(10)
        for i, each in enumerate(waiting):
            futures.append(pool.submit(calls.fill, each))
            until_waiting(calls, i + 1)
        one.go.set()
        for future in futures:
            future.result(10)
    assert (one.sizes, two.sizes) == ([1, 2], [1, 3])
