"""Parts of a model that are computed many times, with tables of different sizes: exported once, then put together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

DOMAIN = "fastv"
"""Domain of the operators that stand for parts in a graph until they are replaced by what they do."""

_NAMES = "_names_of_parts"
_Method = Callable[..., Tensor]


@dataclass
class Part:
    """A repeated part of a model.

    Attributes:
        name: of the operator that stands for it.
        owner: the module that it is a method of.
        method: the method, a function of the owner and of tensors.
        calls: the inputs of each call that was recorded.
    """

    name: str
    owner: nn.Module
    method: _Method
    calls: list[tuple[Tensor, ...]] = field(default_factory=list)


class _Recorder:
    """The parts by name. Modules know the names of their parts, because an exporter may work on a copy of a module."""

    def __init__(self) -> None:
        self.parts: dict[str, Part] = {}

    def part(self, owner: nn.Module, method: _Method) -> Part:
        names: dict[str, str] = owner.__dict__.setdefault(_NAMES, {})
        name = names.setdefault(method.__qualname__, f"{method.__qualname__.replace('.', '_')}_{len(self.parts)}")
        return self.parts.setdefault(name, Part(name, owner, method))

    def forget(self) -> None:
        for part in self.parts.values():
            part.owner.__dict__.pop(_NAMES, None)


_recorder: ContextVar[_Recorder | None] = ContextVar("_recorder", default=None)


@contextmanager
def recorded_parts() -> Iterator[Callable[[], list[Part]]]:
    """Record the calls of repeated parts, and make them single nodes of what is exported in this context.

    Example:
        >>> class Sums(nn.Module):
        ...     @repeated(shape=lambda total, given: total.shape)
        ...     def add(self, total, given):
        ...         return total + given
        >>> sums = Sums()
        >>> with recorded_parts() as parts:
        ...     total = sums.add(sums.add(torch.zeros(2), torch.ones(2)), torch.ones(1))
        >>> total.tolist(), [[tuple(each.shape) for each in call] for call in parts()[0].calls]
        ([2.0, 2.0], [[(2,), (2,)], [(2,), (1,)]])
    """
    recorder = _Recorder()
    token = _recorder.set(recorder)
    try:
        yield lambda: list(recorder.parts.values())
    finally:
        _recorder.reset(token)
        recorder.forget()


def repeated(*, shape: Callable[..., Sequence[int]]) -> Callable[[_Method], _Method]:
    """Mark a method of a module that is computed many times.

    Exporting a loop that is unrolled takes time in proportion to its operations; a graph with marked parts is put
    together from one copy of each. What differs from call to call must be in the tensors that the method takes. These
    may differ in their sizes, not in the number of their dimensions.

    Args:
        shape: function of the tensors that gives the shape of the result. Its type is that of the first tensor.
    """

    def mark(method: _Method) -> _Method:
        @wraps(method)
        def call(self: nn.Module, *inputs: Tensor) -> Tensor:
            recorder = _recorder.get()
            if recorder is None:
                return method(self, *inputs)
            part = recorder.part(self, method)
            if not torch.compiler.is_exporting():
                part.calls.append(tuple(each.clone(memory_format=torch.contiguous_format) for each in inputs))
                return method(self, *inputs)
            node: Tensor = torch.onnx.ops.symbolic(
                f"{DOMAIN}::{part.name}", inputs, dtype=inputs[0].dtype, shape=shape(*inputs), version=1
            )
            return node

        return call

    return mark


class PartModule(nn.Module):
    """A part as a module to export.

    Args:
        part: the part.
    """

    def __init__(self, part: Part) -> None:
        super().__init__()
        self.owner, self._method = part.owner, part.method
        self.training = part.owner.training

    def forward(self, *inputs: Any) -> Tensor:
        """The part itself, with the parts in it as single nodes."""
        return self._method(self.owner, *inputs)
