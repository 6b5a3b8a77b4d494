"""Geant4's data sets: which are found, which are not empty, and which physics they allow.

Geant4 aborts the whole process if a file that it needs is missing, so this module checks first, without starting
Geant4.

A data set is a folder with a name and a version, such as ``G4EMLOW8.8``. All are in one folder: that of the environment
variable ``GEANT4_DATA_DIR``, or that of ``python -m calzone download``.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from fastv.conditions.particles import PDG_NAMES
from fastv.errors import MissingExtraError, SettingsError, SimulationError
from fastv.installation import how_to_install
from fastv.suggestions import nearest, unknown

State = Literal["complete", "partial", "empty", "missing"]

VARIABLE = "GEANT4_DATA_DIR"

OVERRIDES = (
    "G4NEUTRONHPDATA",
    "G4LEDATA",
    "G4LEVELGAMMADATA",
    "G4RADIOACTIVEDATA",
    "G4PARTICLEXSDATA",
    "G4PIIDATA",
    "G4REALSURFACEDATA",
    "G4SAIDXSDATA",
    "G4ABLADATA",
    "G4INCLDATA",
    "G4ENSDFSTATEDATA",
    "G4CHANNELINGDATA",
)
"""Environment variables by which Geant4 takes a single data set of any version from elsewhere. Workers unset them, so
that the data sets that were checked are used."""

_VERSIONS: Mapping[str, Mapping[str, str]] = {
    "11.4": {
        "G4EMLOW": "8.8",
        "G4PARTICLEXS": "4.2",
        "G4ENSDFSTATE": "3.0",
        "PhotonEvaporation": "6.1.2",
        "G4SAIDDATA": "2.0",
        "G4NDL": "4.7.1",
        "RadioactiveDecay": "6.1.2",
        "G4PII": "1.3",
        "G4ABLA": "3.3",
        "G4INCL": "1.3",
        "G4CHANNELING": "2.0",
        "RealSurface": "2.2",
    }
}
"""Versions that each Geant4 requires; no other is read. calzone requires all folders, even those it never opens."""

CONTENTS: Mapping[str, str] = {
    "G4EMLOW": "electromagnetic cross sections",
    "G4PARTICLEXS": "cross sections of photons, neutrons and ions on nuclei",
    "G4ENSDFSTATE": "nuclides",
    "PhotonEvaporation": "nuclear levels",
    "G4SAIDDATA": "cross sections of pions and nucleons on nucleons",
    "G4NDL": "neutrons below 20 MeV",
    "RadioactiveDecay": "radioactive decays",
    "G4PII": "shell ionisation",
    "G4ABLA": "de-excitation of nuclei",
    "G4INCL": "intranuclear cascades",
    "G4CHANNELING": "crystals",
    "RealSurface": "optical surfaces",
}

_ELEMENTS = range(1, 93)


@dataclass(frozen=True)
class _Need:
    """Files of one data set that a physics model opens; for some of them Geant4 accepts empty files."""

    data_set: str
    what: str
    files: tuple[str, ...] = ()
    may_be_empty: bool = False


_STANDARD = (
    _Need("G4EMLOW", "bremsstrahlung", tuple(f"brem_SB/br{z}" for z in _ELEMENTS)),
    _Need("G4EMLOW", "the photoelectric effect", tuple(f"epics2017/phot/pe-cs-{z}.dat" for z in _ELEMENTS)),
    _Need("G4EMLOW", "Rayleigh scattering", tuple(f"epics2017/rayl/re-cs-{z}.dat" for z in _ELEMENTS)),
    _Need("G4PARTICLEXS", "photonuclear reactions", tuple(f"gamma/inel{z}" for z in _ELEMENTS)),
    _Need("G4ENSDFSTATE", "its list of nuclides", ("ENSDFSTATE.dat",), may_be_empty=True),
)
_SHELLS = _Need("G4EMLOW", "atomic shells", ("fluor/binding.dat",))

EM_MODELS: Mapping[str, tuple[_Need, ...]] = {
    "standard": _STANDARD,
    "option1": _STANDARD,
    "option2": _STANDARD,
    "option3": (*_STANDARD, _SHELLS),
    "option4": (*_STANDARD, _SHELLS, _Need("G4EMLOW", "multiple scattering", ("msc_GS",))),
    "livermore": (*_STANDARD, _SHELLS, _Need("G4EMLOW", "the Livermore models", ("livermore",))),
    "penelope": (*_STANDARD, _SHELLS, _Need("G4EMLOW", "the Penelope models", ("penelope",))),
    "dna": (*_STANDARD, _SHELLS, _Need("G4EMLOW", "the DNA models", ("dna",))),
}
"""Electromagnetic models of calzone, and the files that each reads."""

_HADRONS = (
    _Need("G4PARTICLEXS", "neutron cross sections", ("neutron/inel1",)),
    _Need("G4SAIDDATA", "cross sections on nucleons"),
    _Need("PhotonEvaporation", "nuclear levels"),
    _Need("G4ENSDFSTATE", "nuclides", ("ENSDFSTATE.dat",)),
)
_HADRONS_HP = (*_HADRONS, _Need("G4NDL", "neutrons below 20 MeV"))

HADRON_MODELS: Mapping[str, tuple[_Need, ...]] = {
    "FTFP_BERT": _HADRONS,
    "QGSP_BERT": _HADRONS,
    "QGSP_BIC": _HADRONS,
    "FTFP_BERT_HP": _HADRONS_HP,
    "QGSP_BERT_HP": _HADRONS_HP,
    "QGSP_BIC_HP": _HADRONS_HP,
}
"""Hadronic models of calzone, and the files that each reads in addition to those of the electromagnetic model."""

_MARKS: Mapping[str, tuple[str, ...]] = {
    "G4EMLOW": ("brem_SB", "epics2017", "fluor", "livermore", "penelope"),
    "G4PARTICLEXS": ("gamma", "neutron"),
}
"""Folders that distinguish a complete data set from one reduced to the needs of some physics."""


@dataclass(frozen=True)
class DataSet:
    """The state of one data set.

    Attributes:
        name: calzone's name, such as ``G4EMLOW``.
        version: the version that Geant4 requires; for a Geant4 unknown to FastV, the newest one found, or None.
        folder: where it is or should be.
        state: ``complete``; ``partial``: reduced, or an interrupted download; ``empty``: a folder without data; or
            ``missing``.
        other_versions: versions in the same place that are not read.
    """

    name: str
    version: str | None
    folder: Path
    state: State
    other_versions: tuple[str, ...] = ()

    @property
    def found(self) -> bool:
        """Whether the folder exists."""
        return self.state != "missing"

    @property
    def filled(self) -> bool:
        """Whether the folder contains data."""
        return self.state in ("complete", "partial")


class DataSets:
    """The data sets of one folder, for one version of Geant4.

    Args:
        geant4: version of Geant4, such as ``11.4.0``.
        folder: the folder that contains them; by default :func:`data_folder`.

    Example:
        >>> sets = DataSets("11.4.0", Path("no-such-folder"))
        >>> sets["G4EMLOW"].state, sets["G4EMLOW"].version
        ('missing', '8.8')
        >>> sets.versions()
        {}
    """

    def __init__(self, geant4: str, folder: Path | None = None) -> None:
        self.geant4 = geant4
        self.folder = data_folder() if folder is None else folder

    @cached_property
    def all(self) -> dict[str, DataSet]:
        """Every data set by name."""
        try:
            here = sorted(entry.name for entry in self.folder.iterdir() if entry.is_dir())
        except OSError:
            here = []
        asked = _VERSIONS.get(".".join(self.geant4.split(".")[:2]), {})
        return {name: _data_set(name, asked.get(name), self.folder, here) for name in CONTENTS}

    def __getitem__(self, name: str) -> DataSet:
        return self.all[name]

    def __iter__(self) -> Iterator[DataSet]:
        return iter(self.all.values())

    def versions(self) -> dict[str, str]:
        """Versions of the data sets that contain data, for the provenance; reduced ones are marked."""
        return {
            each.name: f"{each.version}{'' if each.state == 'complete' else ' (partial)'}"
            for each in self
            if each.filled
        }

    def lacking(self, em_model: str = "standard", had_model: str | None = None) -> list[tuple[str, str]]:
        """What prevents a simulation with this physics.

        Args:
            em_model, had_model: models of calzone, see :meth:`check`.

        Returns:
            Pairs of data set and reason; empty if nothing is lacking.

        Raises:
            SettingsError: calzone has no such model.
        """
        needs = list(_needs(EM_MODELS, em_model, "electromagnetic model"))
        if had_model is not None:
            needs += _needs(HADRON_MODELS, had_model, "hadronic model")
        reasons = [(each.name, _absence(each)) for each in self if not each.found]
        for need in needs:
            each = self[need.data_set]
            if each.found and (reason := _insufficiency(each, need)):
                reasons.append((each.name, reason))
        return reasons

    def check(self, em_model: str = "standard", had_model: str | None = None, particles: Iterable[int] = ()) -> None:
        """Refuse a simulation that Geant4 would abort, or that would lack the physics of its particle.

        Args:
            em_model: electromagnetic model of calzone, such as ``standard``.
            had_model: hadronic model of calzone, such as ``FTFP_BERT``, or None.
            particles: codes of the Particle Data Group.

        Raises:
            SimulationError: data sets are missing; the message names them and the command that downloads them.
            SettingsError: a model or a particle is unknown, or a hadron is requested without a hadronic model.
        """
        particles = tuple(particles)
        if strange := sorted({code for code in particles if not _is_transported(code)}, key=abs):
            msg = (
                f"Geant4 knows no particle {', '.join(map(str, strange))} that flies; allowed are the codes that the "
                "Particle Data Group gives leptons, photons, hadrons and nuclei"
            )
            raise SettingsError(msg)
        hadrons = sorted({code for code in particles if is_hadron(code)}, key=abs)
        if hadrons and had_model is None:
            names = ", ".join(PDG_NAMES.get(code, str(code)) for code in hadrons)
            msg = (
                f"{names}: without a hadronic model this particle would only ionise; add one to "
                f"`physics`, as in standard+FTFP_BERT (known: {', '.join(HADRON_MODELS)}){self._hadron_hint()}"
            )
            raise SettingsError(msg)
        lacking = self.lacking(em_model, had_model)
        if not lacking:
            return
        physics = em_model if had_model is None else f"{em_model} + {had_model}"
        if not any(each.found for each in self):
            where = f"{self.folder}, where {VARIABLE} points" if os.environ.get(VARIABLE) else str(self.folder)
            msg = f"no Geant4 data sets in {where}; get them with: {self.download_command()}"
            raise SimulationError(msg)
        chosen = list(dict.fromkeys(name for name, _ in lacking))
        others = f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else ""
        able = [name for name in EM_MODELS if not self.lacking(name)]
        able += [f"standard+{name}" for name in HADRON_MODELS if not self.lacking("standard", name)]
        runs = f"; what runs here: {', '.join(able)}" if able else ""
        msg = f"physics {physics}: {lacking[0][1]}{others}; get it with: {self.download_command(chosen)}{runs}"
        raise SimulationError(msg)

    def _hadron_hint(self) -> str:
        if not (lacking := self.lacking("standard", "FTFP_BERT")):
            return ""
        names = list(dict.fromkeys(name for name, _ in lacking))
        return f", and its data sets {', '.join(names)}; get them with: {self.download_command(names)}"

    def download_command(self, names: Iterable[str] | None = None) -> str:
        """The command that downloads data sets to the folder where they are expected.

        If that folder is not writable, the command downloads all to calzone's own folder, followed by advice to unset
        ``GEANT4_DATA_DIR``.

        Args:
            names: of the data sets; by default all.
        """
        words = [sys.executable, "-m", "calzone", "download"]
        chosen = list(CONTENTS) if names is None else list(names)
        if any(self[name].found for name in chosen):
            words.append("--force")  # otherwise calzone skips existing folders, even empty ones
        if names is not None:
            words += [word for name in chosen for word in ("-i", name)]
        if self.folder == calzone_folder():
            return shlex.join(words)
        if _writable(self.folder):
            return shlex.join([*words, str(self.folder)])
        # The folder is not writable; calzone's own folder then needs all data sets.
        return f"{shlex.join([sys.executable, '-m', 'calzone', 'download'])}, then unset {VARIABLE}"


def calzone_folder() -> Path:
    """The default folder of calzone's data sets."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", str(Path.home())), "calzone", "data")
    return Path.home() / ".local" / "share" / "calzone" / "data"


def data_folder() -> Path:
    """The folder of the data sets: ``GEANT4_DATA_DIR``, by default calzone's own."""
    return Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else calzone_folder()


def geant4_version() -> tuple[str, str]:
    """Versions of Geant4 and of calzone.

    Raises:
        MissingExtraError: calzone is not installed, or does not load on this system.
    """
    try:
        import calzone
    except ImportError as error:
        reason = "" if isinstance(error, ModuleNotFoundError) and error.name == "calzone" else f" ({error})"
        msg = f"full simulation needs calzone{reason}; {how_to_install('geant4')}"
        raise MissingExtraError(msg) from error
    return str(calzone.GEANT4_VERSION), str(calzone.VERSION)


def check_models(em_model: str, had_model: str | None = None) -> None:
    """Refuse names of models that calzone does not know, whatever data sets are here.

    Raises:
        SettingsError: a model is unknown.
    """
    _needs(EM_MODELS, em_model, "electromagnetic model")
    if had_model is not None:
        _needs(HADRON_MODELS, had_model, "hadronic model")


def _is_transported(pdg: int) -> bool:
    """Whether a code is that of a lepton, a photon, or a hadron or nucleus by its digits.

    Example:
        >>> [_is_transported(code) for code in (11, -14, 22, 111, 2212, 1000020040, 9010221, 17, 25, 9999999)]
        [True, True, True, True, True, True, True, False, False, False]
    """
    size = abs(pdg)
    if size <= 100:
        return 11 <= size <= 16 or pdg == 22
    quarks = (size // 10 % 10, size // 100 % 10, size // 1000 % 10)
    return size >= 10**9 or max(quarks) <= 5


def is_hadron(pdg: int) -> bool:
    """Whether a particle needs hadronic physics: hadrons, nuclei and the tau, but not pi0 and eta, which decay at once.

    Example:
        >>> [is_hadron(code) for code in (11, -13, 22, 111, -211, 2212, 1000020040)]
        [False, False, False, False, True, True, True]
    """
    return (abs(pdg) > 100 and abs(pdg) not in (111, 221)) or abs(pdg) == 15


def _data_set(name: str, asked: str | None, folder: Path, here: list[str]) -> DataSet:
    matches = [re.fullmatch(rf"{name}(\d[\w.]*)", entry) for entry in here]
    versions = [match[1] for match in matches if match]
    version = asked
    if asked is None and versions:
        version = max(versions, key=lambda text: [int(part) for part in re.findall(r"\d+", text)])
    path = folder / f"{name}{version or ''}"
    others = tuple(each for each in versions if each != version)
    return DataSet(name, version, path, _state(name, path) if version in versions else "missing", others)


def _state(name: str, folder: Path) -> State:
    try:
        if not _has_data(folder):
            return "empty"
    except OSError:
        return "empty"  # not readable for Geant4 either
    return "complete" if all((folder / mark).is_dir() for mark in _MARKS.get(name, ())) else "partial"


def _has_data(folder: Path) -> bool:
    """Whether a folder or one of its subfolders has a visible file that is not empty."""
    for root, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [each for each in folders if not each.startswith(".")]
        if any(not each.startswith(".") and Path(root, each).stat().st_size for each in files):
            return True
    return False


def _needs(models: Mapping[str, tuple[_Need, ...]], name: str, what: str) -> tuple[_Need, ...]:
    try:
        return models[name]
    except KeyError:
        hint = ""
        if what == "electromagnetic model" and (had := nearest(name, HADRON_MODELS)) is not None:
            hint = f"; {had} is a hadronic model: write standard+{had}"
        raise SettingsError(unknown(what, name, models, hint)) from None


def _absence(data_set: DataSet) -> str:
    others = f" (other versions found: {', '.join(data_set.other_versions)})" if data_set.other_versions else ""
    return f"the data set {data_set.folder.name} is missing in {data_set.folder.parent}{others}"


def _insufficiency(data_set: DataSet, need: _Need) -> str | None:
    if not need.files:
        return None if data_set.filled else f"{data_set.folder} is empty, but {need.what} must be read from it"
    for name in need.files:
        path = data_set.folder / name
        if path.is_dir():
            continue
        if not path.is_file():
            return f"{data_set.folder} has no {name}, needed for {need.what}"
        if not (need.may_be_empty or path.stat().st_size):
            return f"{path}, needed for {need.what}, is empty"
    return None


def _writable(folder: Path) -> bool:
    there = next((each for each in (folder, *folder.parents) if each.exists()), folder)
    return os.access(there, os.W_OK)
