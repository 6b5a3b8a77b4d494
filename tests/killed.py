"""Commands that are killed at a chosen moment, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

HEAVY = ["torch", "lightning_fabric", "h5py", "zuko", "onnxruntime", "scipy.stats", "sklearn.mixture"]
"""Libraries that every command would load for seconds: one process has loaded them, and others are forked from it."""


def killed_after_rename(arguments: Sequence[str], output: Path, removed: int = 0) -> int:
    """Run a verb in a process that is killed after its output has got its final name and so many working files were
    removed; the exit code."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(HEAVY)
    process = context.Process(target=_run, args=(list(arguments), str(output), removed))
    with patch.dict(os.environ, {"OMP_NUM_THREADS": "1"}):  # the first time, the others are forked from
        process.start()
    process.join()
    code = process.exitcode
    process.close()
    assert code is not None
    return code


def _run(arguments: list[str], name: str, left: int) -> None:
    from fastv import cli
    from fastv.storage import output

    rename = output._rename

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def renamed(temporary: Path, path: Path) -> None:
        rename(temporary, path)
        if str(path) == name:
            if not left:
                die()
            for action in ("unlink", "remove", "rmdir"):
                setattr(os, action, counted(getattr(os, action)))

    def counted(action: Callable[..., None]) -> Callable[..., None]:
        def act(*arguments: Any, **options: Any) -> None:
            nonlocal left
            action(*arguments, **options)
            left -= 1
            if not left:
                die()

        return act

    output._rename = renamed
    raise SystemExit(cli.main(arguments))
