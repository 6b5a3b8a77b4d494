"""What the extras of FastV install, and the command that adds what is missing."""

from __future__ import annotations

import importlib.metadata
import re
import shlex

DISTRIBUTION = "fastv-hep"


def packages_of_extras() -> dict[str, dict[str, str]]:
    """The packages of each extra, with the versions that FastV needs.

    Example:
        >>> packages_of_extras()["geant4"]
        {'calzone': 'calzone>=1.2'}
    """
    found: dict[str, dict[str, str]] = {}
    try:
        requirements = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:  # a source tree on PYTHONPATH
        requirements = []
    for requirement in requirements:
        match = re.fullmatch(r"([\w.-]+)\s*([^;\[]*);.*extra == ['\"]([\w-]+)['\"].*", requirement)
        if match is not None:
            found.setdefault(match[3], {})[match[1]] = f"{match[1]}{match[2].strip()}"
    return found


def how_to_install(extra: str) -> str:
    """The command that installs the packages of an extra.

    It names the packages themselves, so it works wherever FastV was installed from: a clone, a wheel or elsewhere.

    Example:
        >>> how_to_install("geant4")
        "pip install 'calzone>=1.2'"
    """
    packages = packages_of_extras().get(extra)
    if packages is None:
        return f"install FastV with its extra {extra!r}"
    return shlex.join(["pip", "install", *packages.values()])
