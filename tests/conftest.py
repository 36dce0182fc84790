"""Fixtures shared by all tests: real processes in a directory of their own, and a proxy that misbehaves."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from browser import browser, open_page
from hypothesis import settings
from processes import Commands
from proxy import Proxy
from relay import Relay
from scene import Scene
from tls import make_certificate

# No deadline for one example: two cores are shared by the workers. Derandomised: a red run is red again.
settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")

__all__ = ["browser", "open_page"]  # fixtures for every module


@pytest.fixture(scope="session", autouse=True)
def _cache_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what the reader caches, here and in what is started, out of the cache of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    """Start the installed commands; whatever is left ends with the test, and none may have shown a traceback."""
    work_dir = tmp_path / "work"
    work_dir.mkdir()
    started = Commands(work_dir)
    yield started
    started.end_all()
    assert not started.tracebacks(), "\n".join(started.tracebacks())


@pytest.fixture
def open_proxy() -> Iterator[Callable[[tuple[str, int]], Proxy]]:
    """Open a proxy in front of an address; it is closed with the test."""
    with ExitStack() as stack:
        yield lambda target: stack.enter_context(closing(Proxy(target)))


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a certificate for 127.0.0.1 that is its own CA, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificates")
    folder = tmp_path_factory.mktemp("tls")
    make_certificate(folder)
    return folder


@pytest.fixture
def scene(commands: Commands, tmp_path: Path) -> Iterator[Scene]:
    """Return an empty spool, a receiver, and a relay between."""
    spool = tmp_path / "spool"
    spool.mkdir()
    receiver = commands.start_receiver(tmp_path / "mirror")
    with closing(Relay(receiver.address)) as relay:
        yield Scene(commands, spool, receiver, relay)
