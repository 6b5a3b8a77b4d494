"""Logging to TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastv.errors import MissingExtraError
from fastv.installation import how_to_install


def board_class() -> Any:
    """Import TensorBoard's writer.

    Raises:
        MissingExtraError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        msg = f"tensorboard is not installed; {how_to_install('tensorboard')}"
        raise MissingExtraError(msg) from error
    return SummaryWriter


def to_board(board: Any, record: Mapping[str, Any]) -> None:
    """Log the loss terms of an epoch to TensorBoard, unless ``board`` is None."""
    if board is not None:
        for part in ("training", "validation"):
            for name, value in record[part].items():
                board.add_scalar(f"{part}/{name}", value, record["epoch"])
        board.flush()
