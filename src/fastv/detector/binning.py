"""Binning files of the CaloChallenge (XML), and the choice of one of their bins: by name, particle, range of eta."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastv.conditions.particles import code_of
from fastv.errors import FileFormatError, GeometryError
from fastv.storage.documents import DocumentError, read_xml

_SUFFIX = ".xml"


@dataclass(frozen=True)
class Bin:
    """One ``<Bin>`` of a binning file.

    Attributes:
        number: its place in the file, from 1.
        name: its attribute ``name``, or empty.
        pid: its attribute ``pid``, a PDG code as text, or empty.
        eta: ``etaMin-etaMax`` as in the file (ATLAS: in units of 0.01), or empty.
        content: its layers.
    """

    number: int
    name: str
    pid: str
    eta: str
    content: ET.Element

    def is_called(self, word: str) -> bool:
        """Whether a word is its name, its PDG code or its particle, ``eta=LOW-HIGH``, or ``bin=NUMBER``."""
        if word in (self.name, self.pid, f"bin={self.number}"):
            return bool(word)
        if word.startswith("eta="):
            return bool(self.eta) and word == f"eta={self.eta}"
        code = code_of(word)
        return code is not None and self.pid == str(code)


def split_name(name: str) -> tuple[str, str] | None:
    """A binning file and the choice of its bin, from ``FILE.xml`` or ``FILE.xml:CHOICE``; None for other names.

    Example:
        >>> split_name("my.xml.files/b.XML:photon:eta=20-25"), split_name("par04-siw")
        (('my.xml.files/b.XML', 'photon:eta=20-25'), None)
    """
    lower = name.lower()
    if lower.endswith(_SUFFIX):
        return name, ""
    end = lower.rfind(f"{_SUFFIX}:")
    return (name[: end + len(_SUFFIX)], name[end + len(_SUFFIX) + 1 :]) if end >= 0 else None


def read_bin(path: Path, choice: str | None) -> tuple[str, ET.Element]:
    """The bin of a binning file that is chosen, with its spelling.

    Args:
        path: the XML file.
        choice: name, PDG code or particle, ``eta=LOW-HIGH``, several of these joined by colons, or ``bin=NUMBER``;
            may be omitted if the file has one bin.

    Raises:
        FileFormatError: the file is missing or not XML.
        GeometryError: no bin or several are chosen; the message lists what selects each.
    """
    bins = _read(path)
    chosen = _chosen(bins, choice or "")
    if len(chosen) != 1:
        known = " or ".join(dict.fromkeys(_spelling(each, bins) for each in bins))
        what = f"no bin {choice!r}" if choice and not chosen else "several bins" + (f" {choice!r}" if choice else "")
        name = "" if not bins else f"; choose one as in {path}:{_spelling((chosen or bins)[0], bins)}"
        msg = f"{path}: {what if bins else 'no bins'}; the file has: {known or 'none'}{name}"
        raise GeometryError(msg)
    return _spelling(chosen[0], bins), chosen[0].content


def _read(path: Path) -> list[Bin]:
    try:
        root = read_xml(path)
    except DocumentError as error:
        msg = f"{path}: cannot read the binning: {error}"
        raise FileFormatError(msg) from error
    bins = []
    for number, each in enumerate(root.iter("Bin"), start=1):
        low, high = (each.get(end, "").strip() for end in ("etaMin", "etaMax"))
        eta = f"{low}-{high}" if low or high else ""
        bins.append(Bin(number, each.get("name", "").strip(), each.get("pid", "").strip(), eta, each))
    return bins


def _chosen(bins: Sequence[Bin], choice: str) -> list[Bin]:
    """The bins that every word of a choice fits; all without a choice."""
    if exact := [each for each in bins if choice and each.name == choice]:  # a name may contain a colon
        return exact
    words = [word.strip() for word in choice.split(":") if word.strip()]
    return [each for each in bins if all(each.is_called(word) for word in words)]


def _spelling(bin_: Bin, bins: Sequence[Bin]) -> str:
    """The shortest choice that selects one bin among all."""
    eta = f"eta={bin_.eta}" if bin_.eta else ""
    choices = ([bin_.name], [bin_.pid], [bin_.name, eta], [bin_.pid, eta], [eta], [bin_.name, bin_.pid])
    spellings = (":".join(words) for words in choices if all(words))
    return next((each for each in spellings if _chosen(bins, each) == [bin_]), f"bin={bin_.number}")
