"""MLflow with its two local stores, each waiting for the store or not; read back by its own client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow
from mlflow.tracking import MlflowClient

from . import IMAGE, KEYS, Held

_EXPERIMENT = "bench"


def _client(folder: Path, store: str) -> MlflowClient:
    uri = f"sqlite:///{folder}/mlflow.db" if store == "sqlite" else (folder / "mlruns").as_uri()
    mlflow.set_tracking_uri(uri)
    return MlflowClient(uri)


class _Run:
    def __init__(self, folder: Path, store: str, mode: str) -> None:
        client = _client(folder, store)
        experiment = client.create_experiment(_EXPERIMENT, artifact_location=(folder / "artifacts").as_uri())
        self._is_sync = mode == "sync"
        mlflow.start_run(experiment_id=experiment)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        mlflow.log_metrics(dict(values), step=step, synchronous=self._is_sync)

    def log_image(self, step: int, pixels: Any) -> None:
        mlflow.log_image(pixels, key=IMAGE, step=step, synchronous=self._is_sync)

    def finish(self) -> None:
        mlflow.flush_async_logging()
        mlflow.flush_artifact_async_logging()
        mlflow.end_run()


def open_run(folder: Path, store: str, mode: str) -> _Run:
    """Begin a run in the store ``file`` or ``sqlite``, logging ``sync`` or ``async``."""
    return _Run(folder, store, mode)


def held(folder: Path, store: str, _mode: str) -> Held:
    """Return what the client finds; of images, the large files, since each has a small one beside it."""
    client = _client(folder, store)
    experiment = client.get_experiment_by_name(_EXPERIMENT)
    (run,) = client.search_runs([experiment.experiment_id])
    steps = Counter(metric.step for key in KEYS for metric in _history(client, run.info.run_id, key))
    images = [file.path for file in client.list_artifacts(run.info.run_id, "images") if file.path.endswith(".png")]
    return Held(sum(count == len(KEYS) for count in steps.values()), len(images))


def _history(client: MlflowClient, run_id: str, key: str) -> list[Any]:
    return list(client.get_metric_history(run_id, key))
