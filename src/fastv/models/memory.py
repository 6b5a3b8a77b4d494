"""A limit on the memory that a network may take while it is built: sizes in a file may be lies, or mistakes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any

from torch import Tensor
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from fastv.errors import SettingsError

_CREATES = {"empty", "zeros", "ones", "rand", "randn", "full", "new_empty", "new_zeros", "new_ones", "new_full"}
_JOINS = {"cat", "stack", "concat"}


@contextmanager
def limited(elements: int, tensors: int | None = None) -> Iterator[None]:
    """Context in which modules can be built, but only up to a size, which is known before memory is taken.

    Args:
        elements: limit on the numbers that are created, and on those that any one operation gives.
        tensors: limit on the number of parameters of all modules.

    Raises:
        SettingsError: a limit is exceeded.

    Example:
        >>> import torch
        >>> with limited(elements=1000):
        ...     torch.nn.Linear(10**6, 10**6)
        Traceback (most recent call last):
        fastv.errors.SettingsError: the network of these settings has more than 1e+12 numbers
    """
    left = tensors

    def count(*_: object) -> None:
        nonlocal left
        if left is not None:
            left -= 1
            if left < 0:
                msg = f"the network of these settings has more than {tensors} tensors"
                raise SettingsError(msg)

    hook = register_module_parameter_registration_hook(count)
    try:
        with _Limit(elements):
            yield
    finally:
        hook.remove()


class _Limit(TorchFunctionMode):
    """Looks at the sizes that an operation is asked for, before it is done."""

    def __init__(self, elements: int) -> None:
        super().__init__()
        self.most = elements
        self.created = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name = getattr(func, "__name__", "")
        # What creates numbers adds up; what is done with them gives results that mostly are soon gone.
        asked = _created(name, args, kwargs or {})
        self.created += asked
        if max(self.created, _given(name, args)) > self.most:
            # Python cannot format numbers of hundreds of digits.
            number = float(min(max(self.created, self.most), 10**99))
            msg = f"the network of these settings has more than {number:.3g} numbers"
            raise SettingsError(msg)
        return func(*args, **(kwargs or {}))


def _created(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """Number of elements of a new tensor."""
    numbers = [each for each in args if isinstance(each, int | float)]
    if name in _CREATES:
        sizes = kwargs.get("size") or next((each for each in args if isinstance(each, list | tuple)), numbers)
        return math.prod(int(each) for each in sizes)
    if name == "eye":
        return int(numbers[0] * numbers[-1])
    if name == "arange":
        return int(max(map(abs, numbers)))
    if name == "linspace":
        return int(kwargs.get("steps") or numbers[-1])
    if name == "tril_indices":
        return int(numbers[0] * numbers[1])
    if name == "repeat" and isinstance(args[0], Tensor):
        return math.prod([args[0].numel(), *(args[1] if isinstance(args[1], list | tuple) else args[1:])])
    return 0


def _given(name: str, args: Sequence[Any]) -> int:
    """Number of elements of the result of an operation on tensors."""
    tensors = [each for each in args if isinstance(each, Tensor)]
    if name in _JOINS and args and isinstance(args[0], list | tuple):
        return sum(each.numel() for each in args[0] if isinstance(each, Tensor))
    # Not torch.broadcast_shapes, which imports a package of symbolic mathematics: as long as all of the rest.
    elements = 1
    for sizes in zip_longest(*(each.shape[::-1] for each in tensors), fillvalue=1):
        if set(sizes) - {1, max(sizes)}:  # not an operation element by element
            return 0
        elements *= max(sizes)
    return elements
