"""Many small matrix problems on several threads.

A matrix library that splits each of many small products over all cores loses more than it gains, badly so on a busy
machine. Here every thread solves problems of its own, and the matrix library keeps to one thread.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_info, threadpool_limits
from tqdm import tqdm

Task = TypeVar("Task")
Result = TypeVar("Result")


class _OneMatrixThread:
    """Keeps the matrix library to one thread for as long as anybody is inside.

    The limit is the process's, not the thread's: only the last one to leave may take it away.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._threads = 1
        self._limits: threadpool_limits | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._threads = _matrix_threads()
                self._limits = threadpool_limits(limits=1, user_api="blas")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._limits is not None:
                self._limits.restore_original_limits()

    def threads(self) -> int:
        """Threads that the matrix library has when nobody is inside."""
        with self._lock:
            return self._threads if self._inside else _matrix_threads()


def _matrix_threads() -> int:
    pools = [int(pool["num_threads"]) for pool in threadpool_info() if pool["user_api"] == "blas"]
    return min(pools, default=sys.maxsize)


ONE_MATRIX_THREAD = _OneMatrixThread()
"""For a ``with`` block whose work is divided among threads of its own."""


def matrix_threads() -> int:
    """Threads to use: those of the matrix library, so that ``OMP_NUM_THREADS`` counts, and no more than cores here."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(cores, ONE_MATRIX_THREAD.threads()))


def in_background(work: Callable[[], Result], name: str) -> Future[Result]:
    """Start ``work`` in a thread of its own, beside the caller; a program that is interrupted does not wait for it.

    Example:
        >>> in_background(lambda: 6 * 7, "product").result()
        42
    """
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


def each_in_threads(
    work: Callable[[Task], Result],
    tasks: Iterable[Task],
    collect: Callable[[Result], None],
    *,
    threads: int | None = None,
    total: int | None = None,
    label: str = "",
) -> None:
    """Give every task to ``work`` in one of several threads, and the results to ``collect`` in the order of the tasks.

    Tasks are drawn and results collected in the calling thread, a few ahead, so neither needs all memory at once and
    random draws keep their order.

    Args:
        work: a function of one task, which spends its time in array operations.
        tasks: what it is called with.
        collect: called with each result.
        threads: by default :func:`matrix_threads`.
        total: number of tasks, for the progress bar on standard error; no bar without it.
        label: what the bar says.

    Example:
        >>> squares: list[int] = []
        >>> each_in_threads(lambda x: x * x, [1, 2, 3], squares.append, threads=2)
        >>> squares
        [1, 4, 9]
    """
    count = threads or matrix_threads()
    waiting: deque[Future[Result]] = deque()
    bar = tqdm(total=total, desc=label, disable=True if total is None else None, leave=False)
    with ONE_MATRIX_THREAD, ThreadPoolExecutor(count) as pool, bar:
        try:
            for task in tasks:
                waiting.append(pool.submit(work, task))
                if len(waiting) > count:
                    collect(waiting.popleft().result())
                    bar.update()
            while waiting:
                collect(waiting.popleft().result())
                bar.update()
        finally:
            for future in waiting:
                future.cancel()
