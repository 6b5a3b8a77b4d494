"""Exceptions for errors that a user can fix. Messages say what was given, what is allowed and what to do.

A message names a Python parameter between backticks: ``mesh`` alone, ``force=True``, ``mesh='par04-siw'``, or
``n=...`` if the user must choose a value; and a function by its full name, such as ``fastv.simulate``. The command line
replaces them by ``--mesh``, ``--force``, ``--mesh par04-siw``, ``-n N`` and ``fastv simulate`` (see
:class:`fastv.cli.parser.Parser`), so that messages suit both Python and the shell.
"""


def printable(text: str) -> str:
    """A text in which nothing controls a terminal: names of files and texts of others may hold escape sequences.

    Example:
        >>> printable("a\\x1b[2Jb\\nc")
        'a\\\\x1b[2Jb\\\\nc'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class FastVError(Exception):
    r"""Base class of errors that a user can fix. The command line prints them in one line and exits with code 2.

    A message may quote what a file holds: its line breaks and other control characters become escapes.

    Example:
        >>> print(FastVError("unknown model 'a\nb'"))
        unknown model 'a\nb'
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(str(message)))


class GeometryError(FastVError):
    """A detector or a readout mesh is unknown or does not fit the data."""


class FileFormatError(FastVError):
    """A file is missing, truncated, or does not contain what its format requires."""


class OutputError(FastVError):
    """An output already exists or cannot be written, or the disk is full."""


class SettingsError(FastVError):
    """A setting, family, preset or option is unknown or has a value that is not allowed."""


class ModelError(FastVError):
    """A model is unknown, or its directory is damaged or does not fit the request."""


class DomainError(FastVError):
    """A request lies outside the range of conditions that a model was trained on."""


class MissingExtraError(FastVError):
    """An optional package is missing; the message names the extra that installs it."""


class TrainingError(FastVError):
    """A training cannot start or continue, or it diverged."""


class SimulationError(FastVError):
    """Geant4 cannot start, lacks data sets, or fails on a shower."""


class ClusterError(FastVError):
    """A cluster does not respond, or its workers fail."""


class TooFewShowersError(FastVError):
    """A sample has too few showers for the requested quantity."""


class NotMeasuredError(FastVError):
    """A quantity is not defined for these samples, since they lack what it needs, or are too extreme for it."""


class FastVWarning(UserWarning):
    """Base class of warnings about a user's data, which the command line prints in one line."""


class UnitsWarning(FastVWarning):
    """Energies of a file seem to be in another unit."""


class TrainingDataWarning(FastVWarning):
    """Some showers are left out of a training, or are not rotated."""
