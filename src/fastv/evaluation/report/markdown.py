"""The report as Markdown: the verdict and the tables, to paste into an issue or a paper's repository."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fastv._version import __version__
from fastv.evaluation.report.sections import reproducing_command, used_versions
from fastv.evaluation.result import Evaluation

_MARKS = {"green": "🟢", "amber": "🟠", "red": "🔴", "grey": "⚪"}


def markdown(evaluation: Evaluation, title: str) -> str:
    """The report of one evaluation.

    Example:
        >>> from fastv.evaluation import evaluate
        >>> from fastv.sample import sample_path
        >>> evaluation = evaluate(sample_path("test"), sample_path("train"), quick=True)
        >>> markdown(evaluation, "A title").splitlines()[0]
        '# A title'
    """
    light, sentence = evaluation.overall
    parts = [f"# {title}", f"{_MARKS[light]} **{sentence}**"]
    parts.append(
        f"Reference: {evaluation.reference.source}, {evaluation.reference.showers} showers. Generated: "
        f"{evaluation.generated.source}, {evaluation.generated.showers} showers. Floor: {evaluation.floor_samples}."
    )
    parts += [f"> Warning: {warning}" for warning in evaluation.warnings]
    rows = [[_MARKS[line.light], line.question, line.generated, line.floor, line.words] for line in evaluation.lines]
    parts.append(table(["", "question", "generated", "floor", "in words"], rows))
    if evaluation.physics is not None:
        listed = [
            [figure.title, figure.words, "" if figure.p_value is None else f"{figure.p_value:.2g}"]
            for figure in evaluation.physics.figures
        ]
        parts += ["## Physics figures", table(["figure", "most different place", "p"], listed)]
    if evaluation.integrity is not None:
        checks = [[finding.check, finding.judgement, finding.words] for finding in evaluation.integrity.findings]
        parts += ["## Integrity checks", table(["check", "judgement", "in words"], checks)]
    versions = ", ".join(f"{name} {version}" for name, version in used_versions().items())
    parts += [
        "## How to reproduce",
        f"    {reproducing_command(evaluation)}",
        f"FastV {__version__}, {versions}. SHA-256 of the reference {evaluation.reference.sha256}, of the generated "
        f"sample {evaluation.generated.sha256}.",
    ]
    return "\n\n".join(parts) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain text cells.

    Example:
        >>> print(table(["a", "b"], [["1", "x|y"]]))
        | a | b |
        |---|---|
        | 1 | x\\|y |
    """
    lines = [head, ["---"] * len(head), *rows]
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    text = [f"| {' | '.join(line)} |" for line in cells]
    text[1] = "|" + "|".join(cells[1]) + "|"
    return "\n".join(text)
