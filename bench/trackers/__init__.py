"""What a user would log with instead: each tracker behind one small interface, run in a process and an environment of its own.

A module of this package that is called after a tracker has two functions: ``open_run(folder, *options)`` begins a run that is
kept below `folder` and gives a `Run`, and ``held(folder)`` tells by the tracker's own reader what is there afterwards. Only
`drive` imports them, in a process of the environment that `environments` made; nothing else here needs any tracker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

KEYS = tuple(f"metric_{number}" for number in range(10))
"""The keys of the record that is logged."""

IMAGE = "frame"
"""The key of the image that is logged."""


class Run(Protocol):
    """A run that is open; a call returns when the training script would go on."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log one record: ten floats by `KEYS`."""

    def log_image(self, step: int, pixels: Any) -> None:
        """Log one image, H×W×3 of uint8."""

    def finish(self) -> None:
        """Close the run, waiting for all that is on its way."""


class Held(NamedTuple):
    """What a reader finds: steps with all ten values, and images."""

    records: int
    images: int


@dataclass(frozen=True)
class Tracker:
    """A tracker, the way it is used, and the environment it is installed in; that without packages is the project's own.

    `variables` keep it from the network, by what its documentation says; ``{folder}`` in them is the folder of the run.
    """

    name: str
    module: str
    options: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> str:
        """The name of its virtual environment."""
        return self.packages[0] if self.packages else ""


_WANDB = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false", "WANDB_CONSOLE": "off"}
_MLFLOW = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ALLOW_FILE_STORE": "true"}
_TRACKIO = {"TRACKIO_DIR": "{folder}", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def _mlflow(store: str, mode: str) -> Tracker:
    return Tracker(f"MLflow, {store}, {mode}", "mlflow", (store, mode), ("mlflow",), _MLFLOW)


OURS = Tracker("ML_Logger", "ours")

TRACKERS = (
    OURS,
    Tracker("W&B offline", "wandb", (), ("wandb", "numpy", "pillow"), _WANDB),
    Tracker("TensorBoardX", "tensorboardx", (), ("tensorboardX", "tensorboard", "numpy", "pillow", "setuptools<81")),
    *(_mlflow(store, mode) for store in ("file", "sqlite") for mode in ("sync", "async")),
    Tracker("Aim", "aim", (), ("aim", "numpy", "pillow")),
    Tracker("trackio", "trackio", (), ("trackio", "numpy", "pillow"), _TRACKIO),
    Tracker("DVCLive", "dvclive", (), ("dvclive", "numpy", "pillow"), {"DVC_NO_ANALYTICS": "true"}),
)
"""All that are compared, in the order they take their turns."""

TORCH = Tracker("torch's SummaryWriter", "torch_writer")
"""Used where torch is installed beside the project already; it is never installed for this."""
