"""torch's SummaryWriter, whose calls are TensorBoardX's."""

from __future__ import annotations

from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from .events import WriterRun, held

__all__ = ["held", "open_run"]


def open_run(folder: Path) -> WriterRun:
    """Begin a run."""
    return WriterRun(SummaryWriter(str(folder)))
