"""Reading ahead: the same items, one of them early, and nothing under way when the iteration ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from fastv.storage.ahead import read_ahead


def test_one_item_is_made_while_another_is_used() -> None:
    made = [threading.Event() for _ in range(4)]

    def items() -> Iterator[int]:
        for number, event in enumerate(made):
            event.set()
            yield number

    ahead = read_ahead(items())
    assert not made[0].is_set()
    assert next(ahead) == 0
    assert made[1].wait(10)
    assert not made[2].is_set()
    assert list(ahead) == [1, 2, 3]


def test_an_error_comes_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        msg = "broken"
        raise ValueError(msg)

    ahead = read_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="broken"):
        next(ahead)
    assert list(ahead) == []


def test_what_is_under_way_is_completed_when_the_iteration_is_given_up() -> None:
    begun, go, completed = threading.Event(), threading.Event(), []

    def items() -> Iterator[int]:
        yield 0
        begun.set()
        go.wait(10)
        completed.append(1)
        yield 1
        completed.append(2)

    ahead = read_ahead(items())
    next(ahead)
    assert begun.wait(10)
    threading.Timer(0.05, go.set).start()
    ahead.close()  # type: ignore[attr-defined]
    assert completed == [1]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_nothing_gives_nothing() -> None:
    assert list(read_ahead([])) == []
