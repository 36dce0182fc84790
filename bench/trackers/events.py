"""Event files of TensorBoard: the two writers that share their calls, and TensorBoard's own reader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import IMAGE, KEYS, Held


class WriterRun:
    """A run of a ``SummaryWriter`` with its default settings."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self.finish = writer.close

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See `Run.log`: one call a key is how several charts are logged."""
        for key, value in values.items():
            self._writer.add_scalar(key, value, step)

    def log_image(self, step: int, pixels: Any) -> None:
        """See `Run.log_image`."""
        self._writer.add_image(IMAGE, pixels, step, dataformats="HWC")


def held(folder: Path) -> Held:
    """Return what TensorBoard finds."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # what only reading needs

    events = EventAccumulator(str(folder), {"scalars": 0, "images": 0}).Reload()
    tags = events.Tags()
    steps = Counter(event.step for key in KEYS if key in tags["scalars"] for event in events.Scalars(key))
    images = events.Images(IMAGE) if IMAGE in tags["images"] else []
    return Held(sum(count == len(KEYS) for count in steps.values()), len(images))
