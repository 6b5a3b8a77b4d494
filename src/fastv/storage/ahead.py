"""Reading ahead: the next item of a sequence is made in a thread while the present one is used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar, cast

Item = TypeVar("Item")
_END: Final = object()


def read_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The same items in the same order, one of them ahead of its use.

    An error is raised where its item would have come. When the iteration is given up, the item under way is completed
    first, so that what it reads can be closed afterwards.

    Args:
        items: what makes the items, such as a generator that reads blocks of a file; it runs in one other thread.

    Example:
        >>> list(read_ahead(number * number for number in range(4)))
        [0, 1, 4, 9]
    """
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        source = iter(items)
        following = pool.submit(next, source, _END)
        while (item := following.result()) is not _END:
            following = pool.submit(next, source, _END)
            yield cast("Item", item)
            # Or it would be held until the one after the next is made.
            del item
