"""The report as Markdown: the verdict and the tables, to paste into an issue or a paper's repository."""

from __future__ import annotations

from fastv._version import __version__
from fastv.evaluation.report import reproduction, tables
from fastv.evaluation.report.table import escaped, marked
from fastv.evaluation.result import Evaluation


def markdown(evaluation: Evaluation, title: str) -> str:
    """The report of one evaluation.

    Example:
        >>> from fastv.evaluation import evaluate
        >>> from fastv.sample import sample_path
        >>> evaluation = evaluate(sample_path("test"), sample_path("train"), quick=True)
        >>> markdown(evaluation, "A title").splitlines()[0]
        '# A title'
    """
    verdict = evaluation.verdict
    parts = [f"# {escaped(title)}", f"{marked(verdict.status)}: **{escaped(verdict.words)}**"]
    parts.append(
        f"Reference: {escaped(evaluation.reference.source)}, {evaluation.reference.size}. Generated: "
        f"{escaped(evaluation.generated.source)}, {evaluation.generated.size}. "
        f"Floor: {escaped(evaluation.floor_samples)}."
    )
    parts += [f"> Warning: {escaped(warning)}" for warning in evaluation.warnings]
    parts.append(tables.verdict(verdict).markdown())
    if evaluation.metrics is not None:
        parts += ["## Metrics", tables.metrics(evaluation).markdown()]
        for title, table in tables.trees({"generated": evaluation}):
            parts += [f"### {title}", table.markdown()]
    parts += ["## Physics comparisons", tables.physics(evaluation).markdown()]
    if evaluation.integrity is not None:
        parts += ["## Integrity checks", tables.integrity(evaluation).markdown()]
    parts += [
        "## How to reproduce",
        f"    {reproduction.command(evaluation)}",
        f"FastV {__version__}, {reproduction.versions()}. SHA-256 of the reference {evaluation.reference.sha256}, of "
        f"the generated sample {evaluation.generated.sha256}.",
    ]
    return "\n\n".join(parts) + "\n"
