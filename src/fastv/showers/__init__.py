"""Showers in memory and in HDF5 files, which are read lazily and written in blocks that survive a kill.

The file is a superset of the CaloChallenge layout: ``incident_energies`` (N, 1) and ``showers`` (N, V) in MeV, optional
``incident_theta``, ``incident_phi`` (N, 1) in rad and ``incident_pdg`` (N,), any other numeric data set with N rows as
an extra column (data sets of other lengths are ignored), and an attribute ``fastv`` with a JSON text: format version,
detector (with mesh, energy scale and threshold) and provenance.
"""

from fastv.conditions.record import Conditions
from fastv.showers.file import ShowersFile
from fastv.showers.layout import BLOCK_ROWS, FORMAT_VERSION
from fastv.showers.record import Showers, joined
from fastv.showers.writer import ShowersWriter

__all__ = ["BLOCK_ROWS", "FORMAT_VERSION", "Conditions", "Showers", "ShowersFile", "ShowersWriter", "joined"]
