"""TensorBoardX: a scalar a key, and an image; read back by TensorBoard."""

from __future__ import annotations

from pathlib import Path

from tensorboardX import SummaryWriter

from .events import WriterRun, held

__all__ = ["held", "open_run"]


def open_run(folder: Path) -> WriterRun:
    """Begin a run."""
    return WriterRun(SummaryWriter(str(folder)))
