"""File formats of other projects: one module per format, and this registry.

The module of a format defines ``recognises(layout)``, ``read(path, asked)`` and ``written(path, plan)``; see
:mod:`fastv.formats.contract`. It is imported only when it is used. :func:`fastv.formats.conversion.convert` converts
between any two formats.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

from fastv.errors import SettingsError
from fastv.suggestions import unknown

if TYPE_CHECKING:
    from fastv.formats.contract import FormatModule


@dataclass(frozen=True)
class Format:
    """One format of showers files.

    Attributes:
        name: name of the format, as in ``--from`` and ``--to``.
        title: a short description.
        suffixes: suffixes of its files; empty if it is a folder.
        visible: whether voxel energies are visible energies, deposited in the sensitive material; otherwise they are
            visible energies divided by the detector's energy scale.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    visible: bool = True

    def load(self) -> FormatModule:
        """Import the module of the format."""
        return cast("FormatModule", import_module(f"fastv.formats.{self.name.replace('-', '_')}"))


_HDF5 = (".h5", ".hdf5")

FORMATS: dict[str, Format] = {
    each.name: each
    for each in (
        Format("fastv", "FastV's own showers file", _HDF5, visible=False),
        Format("calochallenge", "plain CaloChallenge file", _HDF5, visible=False),
        Format("par04-root", "ntuples of the Geant4 example Par04", (".root",)),
        Format("lemurs", "LEMURS data sets", _HDF5),
        Format("par04-h5", "Par04's HDF5, (N, r, alpha, z)", _HDF5),
        Format("zenodo-vae", "folders of the original VAE data (Zenodo 6082201)", ()),
        Format("showerdata", "point clouds of the showerdata library", _HDF5),
    )
}
"""All formats by name, in the order in which they are tried when a file is recognised."""

READ_ONLY: dict[str, Format] = {
    "other-h5": Format("other-h5", "HDF5 of other codes, only read: any axes, one data set a layer, compound", _HDF5)
}
"""Formats that are read and not written, tried after all others."""


def named(name: str) -> Format:
    """Look up a format by name.

    Raises:
        SettingsError: the name is unknown; the message lists the known ones.

    Example:
        >>> named("par04-root").suffixes
        ('.root',)
    """
    known = {**FORMATS, **READ_ONLY}
    if name not in known:
        raise SettingsError(unknown("format", name, known))
    return known[name]
