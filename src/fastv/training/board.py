"""Logging to TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastv.errors import MissingExtraError


def board_class() -> Any:
    """Import TensorBoard's writer.

    Raises:
        MissingExtraError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        msg = "tensorboard is not installed; pip install 'fastv-hep[tensorboard]'"
        raise MissingExtraError(msg) from error
    return SummaryWriter


def to_board(board: Any, record: Mapping[str, Any]) -> None:
    """Log the loss terms of an epoch to TensorBoard, unless ``board`` is None."""
    if board is not None:
        for part in ("training", "validation"):
            for name, value in record[part].items():
                board.add_scalar(f"{part}/{name}", value, record["epoch"])
        board.flush()
