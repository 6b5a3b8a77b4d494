"""Work in threads: order, errors, and the matrix library's own threads."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from fastv.evaluation.threads import ONE_MATRIX_THREAD, each_in_threads, in_background, matrix_threads


def blas_threads() -> list[int]:
    return [int(pool["num_threads"]) for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_results_come_in_order_from_several_threads() -> None:
    def work(task: int) -> tuple[int, int]:
        time.sleep(0.002 * (task % 3))
        return task, threading.get_ident()

    results: list[tuple[int, int]] = []
    each_in_threads(work, range(40), results.append, threads=3)
    assert [task for task, _ in results] == list(range(40))
    assert 1 < len({thread for _, thread in results}) <= 3


def test_matrix_library_keeps_to_one_thread_meanwhile() -> None:
    np.eye(2) @ np.eye(2)
    before = blas_threads()
    seen: list[list[int]] = []
    each_in_threads(lambda _: blas_threads(), range(3), seen.append, threads=2)
    assert all(set(pools) == {1} for pools in seen)
    assert blas_threads() == before


def test_an_error_ends_the_work() -> None:
    done: list[int] = []
    with pytest.raises(ZeroDivisionError):
        each_in_threads(lambda x: 1 // (x - 5), range(1000), done.append, threads=2)
    assert len(done) == 5


def test_threads_follow_the_limit_of_the_matrix_library() -> None:
    with threadpool_limits(limits=1, user_api="blas"):
        assert matrix_threads() == 1


def test_threads_divide_work_as_before_where_the_matrix_library_is_kept_to_one() -> None:
    before = matrix_threads()
    with ONE_MATRIX_THREAD:
        assert set(blas_threads()) == {1}
        assert matrix_threads() == before


class TestBackground:
    def test_gives_results_and_errors_to_who_asks(self) -> None:
        assert in_background(lambda: threading.current_thread().name, "named").result() == "named"
        with pytest.raises(ZeroDivisionError):
            in_background(lambda: 1 // 0, "wrong").result()
