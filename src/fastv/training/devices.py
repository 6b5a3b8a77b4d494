"""The devices that a training runs on, and whether its network fits into the memory of the machine."""

from __future__ import annotations

import os

import torch
from lightning_fabric import Fabric

from fastv.detector.detector import Detector
from fastv.errors import SettingsError
from fastv.models import constructed
from fastv.models.contract import Domain, Generator, GeneratorSettings
from fastv.models.memory import limited
from fastv.records import one_line
from fastv.training.recipe import TrainingSettings

_COPIES = 4
"""Times that weights are held while they are trained: they, their gradients, and the two averages of Adam."""


def fabric_of(how: TrainingSettings) -> Fabric:
    """Lightning's Fabric for the accelerator, devices and precision of a training.

    Raises:
        SettingsError: this machine has no such accelerator, or not so many devices; the message lists what there is.

    Example:
        >>> fabric_of(TrainingSettings(accelerator="cpu")).device
        device(type='cpu')
    """
    there = accelerators()
    wanted = how.accelerator
    known = ["auto", *there, *(["gpu"] if len(there) > 1 else [])]
    if wanted not in known:
        msg = (
            f"training.accelerator={wanted}: this machine has none that PyTorch can use; "
            f"possible here: {', '.join(known)}"
        )
        raise SettingsError(msg)
    try:
        return Fabric(accelerator=wanted, devices=how.devices, precision=how.precision)
    except (RuntimeError, ValueError, ImportError, AttributeError) as error:  # of Lightning, for what does not fit
        present = ", ".join(f"{number} {name}" for name, number in there.items())
        msg = (
            f"training.accelerator={wanted}, training.devices={how.devices} and training.precision={how.precision} do "
            f"not go together on this machine, which has {present} ({one_line(error, 150)})"
        )
        raise SettingsError(msg) from error


def accelerators() -> dict[str, int]:
    """Number of devices of each accelerator that PyTorch can use here; those of ``cpu`` are processors."""
    there = {"cpu": os.cpu_count() or 1}
    if torch.cuda.is_available():
        there["cuda"] = torch.cuda.device_count()
    if torch.backends.mps.is_available():
        there["mps"] = 1
    return there


def untrained(kind: type[Generator], settings: GeneratorSettings, detector: Detector, domain: Domain) -> Generator:
    """A generator to train, once it is known that its weights fit into memory.

    Raises:
        SettingsError: the settings contradict each other or the detector, or ask for more memory than the machine has.
    """
    memory = _memory()
    if memory is None:
        return constructed(kind, settings, detector, domain)
    try:
        with limited(memory // (_COPIES * 4)):
            return constructed(kind, settings, detector, domain)
    except SettingsError as error:
        if "numbers" not in str(error):
            raise
        msg = f"{error}, too many to train in the {memory / 1e9:.3g} GB of memory of this machine; take smaller ones"
        raise SettingsError(msg) from error


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None  # not available on this system
