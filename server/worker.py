"""One process that serves, alone or as one of several workers, from its start to its end in order."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from aiohttp import web

from ..errors import StoreFull, UsageError
from ..layout import RECEIVER_DIR
from .app import CONNECTIONS, make_app, start_site
from .auth import Door
from .bodies import READ_THREADS
from .certificate import Certificate
from .config import ServerConfig
from .connections import Connections
from .figures import Figures
from .lineage import Marks
from .local_store import LocalStore
from .siblings import Siblings
from .stopping import REQUESTS_SHARE, Stop
from .store import Store, Vitals
from .supervisor import Post
from .tree import Identity
from .viewing import COLUMNS_DIR

_FIGURES_EVERY_S = 1.0
_LOOK_S = 1.0
_ROOM_LOOK_S = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shared:
    """What all workers of one receiver have together, made before they are forked; `home` is the data directory itself.

    One that is started again must not begin a second store where the first was moved away or unmounted.
    """

    config: ServerConfig
    home: Identity
    door: Door
    certificate: Certificate | None
    sockets: Sequence[socket.socket]
    marks: Marks
    figures: Figures
    siblings: Siblings

    def refresh(self) -> None:
        """Take up tokens and a certificate that have changed; of one that can't be used the last good one stays."""
        self.door.refresh()
        if self.certificate is not None:
            self.certificate.refresh()


@contextmanager
def open_store(config: ServerConfig, must_be: Identity | None = None) -> Iterator[LocalStore]:
    """Give the store of the data directory; raises `UsageError` if that can't be used, or is not the one it `must_be`.

    Where the disk is too full for a start (what was acknowledged may have to be written once more), it is tried until there is
    room: who starts a receiver again need not know for how long that takes.
    """
    while (store := _maybe_store(config, must_be)) is None:
        time.sleep(_ROOM_LOOK_S)
    try:
        yield store
    finally:
        store.close()


def _maybe_store(config: ServerConfig, must_be: Identity | None) -> LocalStore | None:
    try:
        # Half of the slots and of the threads that read: a disk that stands still under one run leaves the others as many.
        return LocalStore(
            config.data_dir,
            min_free_bytes=config.min_free_bytes,
            most_a_run=max(1, config.limits.max_requests_in_memory // 2),
            most_reads_a_run=READ_THREADS // 2,
            trash_keep_s=config.trash_keep_s,
            must_be=must_be,
        )
    except StoreFull as error:
        _log.error("%s: trying again every %g s", error, _ROOM_LOOK_S)  # no trace for a person
        return None


def work(shared: Shared, post: Post) -> int:
    """Be the worker at `post` until it is told to stop, or its parent is gone; return the exit code."""
    shared.figures.take_row(post.number)
    shared.siblings.number = post.number
    try:
        with open_store(shared.config, shared.home) as store:
            asyncio.run(serve(shared, store, on_ready=lambda _url: post.say_ready(), lifeline_fd=post.lifeline_fd))
    except UsageError as error:
        _log.error("worker %d can't start: %s", post.number, error.one_line())  # no trace for a person
        return 2
    return 0


async def serve(
    shared: Shared, store: Store, *, on_ready: Callable[[str], None], lifeline_fd: int | None = None
) -> None:
    """Serve until SIGTERM or SIGINT, or until the other end of `lifeline_fd` is closed.

    `on_ready` gets the URL once connections are accepted.
    """
    config = shared.config
    stop = Stop(config.stop_timeout_s, ends_once=lifeline_fd is not None)
    if lifeline_fd is not None:
        _watch_lifeline(lifeline_fd, stop)
    runner, url = await _start(shared, store)
    gc.freeze()  # what is loaded by now stays: no collection has to look at it again
    on_ready(url)
    figures = _say_figures(shared.figures, store, runner.app[CONNECTIONS])
    beside = [asyncio.create_task(figures), asyncio.create_task(_keep_fresh(shared))]
    await stop.wait()
    _log.info("stopping")
    await runner.cleanup()
    for task in beside:
        task.cancel()
    await asyncio.gather(*beside, return_exceptions=True)


def _watch_lifeline(fd: int, stop: Stop) -> None:
    loop = asyncio.get_running_loop()

    def on_end() -> None:
        loop.remove_reader(fd)
        stop.ask()

    loop.add_reader(fd, on_end)


async def _start(shared: Shared, store: Store) -> tuple[web.AppRunner, str]:
    config = shared.config
    app = make_app(
        store,
        shared.door,
        config.limits,
        shared.marks,
        quotas=config.quotas,
        figures=shared.figures,
        siblings=shared.siblings,
        metrics_open=config.metrics_open,
        view=config.view,
        title=os.uname().nodename,
        columns_dir=config.data_dir / RECEIVER_DIR / COLUMNS_DIR,
    )
    return await start_site(
        app,
        config.host,
        config.port,
        stop_timeout_s=config.stop_timeout_s * REQUESTS_SHARE,
        tls=None if shared.certificate is None else shared.certificate.context,
        sockets=shared.sockets,
    )


async def _keep_fresh(shared: Shared) -> None:
    """Look for other tokens and another certificate every second, for ever: a good state may last no longer."""
    while True:
        shared.refresh()
        await asyncio.sleep(_LOOK_S)


async def _say_figures(figures: Figures, store: Store, connections: Connections) -> None:
    """Say every second how this process is, for ever."""
    before = Vitals(0, 0)
    while True:
        vitals = store.vitals()
        figures.add("disk_waits", vitals.disk_waits - before.disk_waits)
        figures.add("house_failures", vitals.house_failures - before.house_failures)
        before = vitals
        figures.set_state("unsettled_bytes", vitals.unsettled_bytes)
        figures.set_state("connections", connections.count)
        await asyncio.sleep(_FIGURES_EVERY_S)
