"""Is a generated sample as good as full simulation?

statistics    estimates with errors, comparisons     observables  quantities of each shower, read batch by batch
physics       comparisons of every quantity          metrics      FPD, KPD, PRDC, classifiers
integrity     copies, gaps, unphysical energies      verdict      the status of every question and of the sample
evaluator     ``evaluate``: one generated sample     ranking      several generated samples
report        page, JSON, plots and texts
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastv.evaluation.evaluator import evaluate as evaluate
    from fastv.evaluation.ranking import compare_generators as compare_generators
    from fastv.evaluation.report.pictures import shower_gallery as shower_gallery
    from fastv.evaluation.report.write import write_report as write_report
    from fastv.evaluation.result import Evaluation as Evaluation

_HOMES = {
    "compare_generators": "fastv.evaluation.ranking",
    "Evaluation": "fastv.evaluation.result",
    "evaluate": "fastv.evaluation.evaluator",
    "shower_gallery": "fastv.evaluation.report.pictures",
    "write_report": "fastv.evaluation.report.write",
}

__all__ = ["Evaluation", "compare_generators", "evaluate", "shower_gallery", "write_report"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module 'fastv.evaluation' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_HOMES[name]), name)
