"""Every public name is described, and every example in a docstring runs."""

from __future__ import annotations

import doctest
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

import fastv
from fastv.errors import MissingExtraError

ROOT = Path(fastv.__file__).parent
MODULES = sorted(
    ".".join(["fastv", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
    if path.stem not in ("__main__", "_version")
)


def load(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except MissingExtraError as error:
        pytest.skip(str(error))


def public_members(module: ModuleType) -> Iterator[tuple[str, object]]:
    """Public functions, classes and methods that are written in the module itself.

    A method that overrides one of a base class may leave the description to it.
    """
    for name, member in vars(module).items():
        if name.startswith("_") or getattr(member, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(member):
            yield name, member
            for method, attribute in vars(member).items():
                function = getattr(attribute, "fget", None) or getattr(attribute, "__func__", attribute)
                if not method.startswith("_") and isinstance(function, FunctionType):
                    yield f"{name}.{method}", getattr(member, method)
        elif inspect.isfunction(member):
            yield name, member


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = load(name)
    monkeypatch.chdir(tmp_path)
    results = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert results.failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_everything_public_is_described(name: str) -> None:
    module = load(name)
    assert module.__doc__, f"{name} has no docstring"
    bare = [member_name for member_name, member in public_members(module) if not inspect.getdoc(member)]
    assert not bare, f"{name}: without a docstring: {', '.join(bare)}"
