"""Names and symbols in figures, pages and files: names of users are shown as they are, symbols are typeset."""

from __future__ import annotations

import re
from collections.abc import Mapping

from markupsafe import Markup, escape
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

from fastv.errors import printable

_SYMBOLS = {
    "e-": r"$e^-$",
    "e+": r"$e^+$",
    "mu-": r"$\mu^-$",
    "mu+": r"$\mu^+$",
    "gamma": r"$\gamma$",
    "pi0": r"$\pi^0$",
    "pi+": r"$\pi^+$",
    "pi-": r"$\pi^-$",
    "neutron": r"$n$",
    "proton": r"$p$",
}
_LAYER_NAMES = {
    "EC_eta": "centre in x",
    "EC_phi": "centre in y",
    "EC_r": "centre in r",
    "width_eta": "width in x",
    "width_phi": "width in y",
    "width_r": "width in r",
}
"""The CaloChallenge's names of observables, in the words of FastV: x = r cos(alpha) is called eta there."""


def shortened(text: str, most: int = 28) -> str:
    """A name in at most so many characters, without its middle.

    Example:
        >>> shortened("abcdefghij", 7)
        'abc…hij'
    """
    kept = (most - 1) // 2
    return text if len(text) <= most else f"{text[: most - 1 - kept]}…{text[-kept:]}"


def literal(name: str, most: int = 28) -> str:
    """A name of a user's as the text of a figure, in which it is no formula: shortened, and with characters that exist.

    Example:
        >>> literal("a$b"), literal("_x\\ny")
        ('a\\\\$b', ' _x\\\\ny')
    """
    font = _font()
    shown = "".join(c if font.get_char_index(ord(c)) else "?" for c in shortened(printable(name), most))
    # Matplotlib leaves labels with a leading underscore out of legends.
    return (f" {shown}" if shown.startswith("_") else shown).replace("$", r"\$")


def particle_symbol(name: str) -> str:
    """The symbol of a particle in a figure; its name if none is known.

    Example:
        >>> particle_symbol("e-"), particle_symbol("PDG 321")
        ('$e^-$', 'PDG 321')
    """
    return _SYMBOLS.get(name, literal(name))


def observable_name(name: str) -> str:
    """An observable in the words of FastV, from its name in the CaloChallenge.

    Example:
        >>> observable_name("EC_eta"), observable_name("sparsity")
        ('centre in x', 'sparsity')
    """
    return _LAYER_NAMES.get(name, name)


def plain(label: str) -> str:
    """A label of a figure without the marks of a formula.

    Example:
        >>> plain(r"$\\langle E_\\mathrm{tot}/E_\\mathrm{inc}\\rangle$")
        '<E_tot/E_inc>'
    """
    words = {r"\langle": "<", r"\rangle": ">", r"\sigma": "sigma", r"\gamma": "gamma", r"\mu": "mu", r"\pi": "pi"}
    text = re.sub(r"\\mathrm\{([^}]*)\}", r"\1", label.replace(r"\$", "\0"))
    for mark, word in words.items():
        text = re.sub(re.escape(mark) + r"(?![a-z]) ?", word, text)
    return re.sub(r"[{}]|(?<!\\)\$", "", text).replace("\0", "$")


def name_and_unit(label: str) -> Mapping[str, str]:
    """A label of an axis as a plain name and a unit.

    Example:
        >>> name_and_unit(r"$E_\\mathrm{inc}$ [GeV]")
        {'name': 'E_inc', 'unit': 'GeV'}
    """
    found = re.fullmatch(r"(.*?)(?: \[([^\]]*)\])?", plain(label), re.DOTALL)
    return {"name": found[1], "unit": found[2] or ""} if found else {"name": label, "unit": ""}


def typeset(text: str) -> Markup:
    """A sentence of FastV as HTML: energies with their subscripts, signs as signs.

    Names of files are no such sentences.

    Example:
        >>> print(typeset("mean of E_tot/E_inc, 1 +- 0.1 & more"))
        mean of <i>E</i><sub>tot</sub>/<i>E</i><sub>inc</sub>, 1 ± 0.1 &amp; more
    """
    if isinstance(text, Markup):
        return text
    found = str(escape(printable(text))).replace(" +- ", " ± ").replace(" (+) ", " ⊕ ")
    found = re.sub(r"\bsqrt\((\w+)\)", r"√\1", found)
    return Markup(re.sub(r"\bE_(tot|inc|layer|ring)\b(?!\.\w)", r"<i>E</i><sub>\1</sub>", found))


def _font() -> FT2Font:
    """The font of all figures; matplotlib keeps it."""
    return font_manager.get_font(font_manager.findfont("DejaVu Sans"))
