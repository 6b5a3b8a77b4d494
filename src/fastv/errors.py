"""Exceptions that tell a user what came, what is allowed and what to do.

A message names a parameter as Python has it, between backticks: ``mesh`` alone, ``force=True``, ``mesh='par04-siw'``,
or ``n=...`` where the user must choose; and a function by its full name, such as ``fastv.simulate``. The command line
puts its own words there: ``--mesh``, ``--force``, ``--mesh par04-siw``, ``-n N``, ``fastv simulate`` (see
:class:`fastv.cli.parser.Parser`). So no message knows a flag, and who works in Python is told nothing of the shell.
"""


class FastVError(Exception):
    """Base of every error that a user can mend; the command line prints it in one line and exits with 2."""


class GeometryError(FastVError):
    """A detector or a readout mesh is unknown or does not fit the data."""


class FileFormatError(FastVError):
    """A file is missing, truncated, or does not hold what its format asks for."""


class OutputError(FastVError):
    """An output exists already, cannot be written, or the disk is full."""


class SettingsError(FastVError):
    """A setting, family, preset or option is unknown or has a value that is not allowed."""


class ModelError(FastVError):
    """A model is unknown, or its directory is damaged or does not fit the request."""


class DomainError(FastVError):
    """A request lies outside what a model was trained on."""


class MissingExtraError(FastVError):
    """An optional package is needed; the message names the extra that installs it."""


class TrainingError(FastVError):
    """A training cannot start, continue or converge."""


class SimulationError(FastVError):
    """Geant4 cannot start, lacks data sets, or fails on a shower; or a cluster is not there."""


class TooFewShowersError(FastVError):
    """A sample has too few showers for a figure that is asked for."""
