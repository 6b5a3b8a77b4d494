"""Summaries of files, models, recipes and indices, as ``fastv info`` prints them."""

from __future__ import annotations

from fastv.summary.lines import Summary, print_summary
from fastv.summary.model import ModelSummary, RecipeSummary, summarise_model
from fastv.summary.recognised import summarise
from fastv.summary.showers import FileSummary, summarise_file

__all__ = [
    "FileSummary",
    "ModelSummary",
    "RecipeSummary",
    "Summary",
    "print_summary",
    "summarise",
    "summarise_file",
    "summarise_model",
]
