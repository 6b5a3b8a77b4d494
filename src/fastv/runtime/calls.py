"""Calls of several threads, run together in batches."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Run = Callable[[NDArray[np.float32], Sequence[Sequence[int]], NDArray[np.float32]], None]
"""Runs conditions (n, C) with the numbers of their events, and writes energies (n, V)."""


@dataclass(eq=False)
class Call:
    """What one thread asks for.

    Attributes:
        run: what runs it; only calls with the same one are run together.
        conditions: (N, C).
        events: the numbers of the event of each shower.
        energies: (N, V), which the call fills.
    """

    run: Run
    conditions: NDArray[np.float32]
    events: Sequence[Sequence[int]]
    energies: NDArray[np.float32]
    taken: int = 0
    left: int = field(init=False)
    error: BaseException | None = None

    def __post_init__(self) -> None:
        self.left = len(self.events)

    @property
    def done(self) -> bool:
        """Whether it is filled, or failed."""
        return self.left == 0 or self.error is not None


class Calls:
    """Calls of several threads, run in batches of at most ``rows`` showers, one batch at a time.

    There is no thread of its own. A thread that calls waits for its turn, and in it runs what waits, of all threads,
    until its own call is done. So nothing waits longer than for the batch under way where one thread calls, no more
    calls wait than there are threads, and none is left behind when a program ends.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self._waiting: deque[Call] = deque()
        self._list, self._turn = threading.Lock(), threading.Lock()

    def fill(self, call: Call) -> None:
        """Fill a call, and raise what its run raises."""
        if call.done:
            return
        with self._list:
            self._waiting.append(call)
        with self._turn:
            while not call.done:
                self._run_batch()
        if call.error is not None:
            raise call.error

    def _take(self) -> list[tuple[Call, slice]]:
        """The next showers, of one or several calls."""
        parts: list[tuple[Call, slice]] = []
        room = self.rows
        with self._list:
            while self._waiting and room and (not parts or self._waiting[0].run == parts[0][0].run):
                call = self._waiting[0]
                rows = slice(call.taken, min(call.taken + room, len(call.events)))
                call.taken, room = rows.stop, room - (rows.stop - rows.start)
                parts.append((call, rows))
                if call.taken == len(call.events):
                    self._waiting.popleft()
        return parts

    def _run_batch(self) -> None:
        parts = self._take()
        try:
            first, rows = parts[0]
            if len(parts) == 1:  # straight into its place
                first.run(first.conditions[rows], first.events[rows], first.energies[rows])
            else:
                conditions = np.concatenate([call.conditions[rows] for call, rows in parts])
                events: list[Any] = [event for call, rows in parts for event in call.events[rows]]
                energies = np.empty((len(events), first.energies.shape[1]), dtype=np.float32)
                first.run(conditions, events, energies)
                start = 0
                for call, rows in parts:
                    stop = start + rows.stop - rows.start
                    call.energies[rows] = energies[start:stop]
                    start = stop
        except BaseException as error:  # another thread's call must not wait for ever, whatever ends this one
            with self._list:
                for call, _ in parts:
                    call.error = error
                    if call in self._waiting:
                        self._waiting.remove(call)
            if not isinstance(error, Exception):
                raise
        for call, rows in parts:
            call.left -= rows.stop - rows.start
