"""Many small matrix problems on several threads.

Splitting each of many small matrix products over all cores costs more time than it saves, above all on a busy machine.
Here each thread works on problems of its own, and the matrix library uses one thread.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_info, threadpool_limits

from fastv.processors import usable_processors
from fastv.progress import Bar

Task = TypeVar("Task")
Result = TypeVar("Result")


class _OneMatrixThread:
    """Limits the matrix library to one thread inside a ``with`` block.

    The limit applies to the whole process, so only the last block to end may lift it.
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
        """Number of threads of the matrix library without the limit."""
        with self._lock:
            return self._threads if self._inside else _matrix_threads()


def _matrix_threads() -> int:
    pools = [int(pool["num_threads"]) for pool in threadpool_info() if pool["user_api"] == "blas"]
    return min(pools, default=sys.maxsize)


ONE_MATRIX_THREAD = _OneMatrixThread()
"""Context manager for work that is divided among Python threads."""


def matrix_threads() -> int:
    """Number of threads to use: that of the matrix library (see ``OMP_NUM_THREADS``), at most the usable cores."""
    return max(1, min(usable_processors(), ONE_MATRIX_THREAD.threads()))


def in_background(work: Callable[[], Result], name: str) -> Future[Result]:
    """Start ``work`` in a daemon thread, for which an interrupted program does not wait.

    Args:
        work: function to call.
        name: name of the thread.

    Returns:
        The future result; it raises what ``work`` raises.

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
    """Call ``work`` for every task in several threads, and ``collect`` for the results in the order of the tasks.

    Tasks are taken from ``tasks`` and results passed to ``collect`` in the calling thread, with only a few in memory at
    a time; random numbers drawn by ``tasks`` keep their order.

    Args:
        work: function of one task; array operations, which release the interpreter's lock, run in parallel.
        tasks: arguments of ``work``.
        collect: function of one result.
        threads: number of threads, by default :func:`matrix_threads`.
        total: number of tasks, for a progress bar on standard error; no bar without it.
        label: label of the bar.

    Example:
        >>> squares: list[int] = []
        >>> each_in_threads(lambda x: x * x, [1, 2, 3], squares.append, threads=2)
        >>> squares
        [1, 4, 9]
    """
    count = threads or matrix_threads()
    waiting: deque[Future[Result]] = deque()
    bar = Bar(total=total, desc=label, disable=total is None, leave=False)
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
