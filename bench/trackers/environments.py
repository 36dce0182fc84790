"""Virtual environments of trackers, one each, since what they need does not agree; and how a process in one is started.

No process of a tracker reaches the network: besides what each tracker's own settings say, its HTTP clients are told of a proxy
that is not there. Its home is a folder of the run's, so that it neither finds nor leaves settings of the user.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .. import results
from . import Tracker

FOLDER = results.FOLDER.parent / "trackers"
_ROOT = Path(__file__).resolve().parent.parent.parent
_NO_PROXY = "http://127.0.0.1:9"
_INSTALL_S = 900
_MARK = "installed"


def python(tracker: Tracker) -> Path:
    """Return the interpreter that runs a tracker."""
    return FOLDER / tracker.environment / "bin" / "python" if tracker.packages else Path(sys.executable)


def is_there(tracker: Tracker) -> bool:
    """Say whether a tracker can run, installing it if need be; where that fails, with a line that says so."""
    folder = FOLDER / tracker.environment
    wanted = "\n".join(tracker.packages)
    if not tracker.packages or ((folder / _MARK).exists() and (folder / _MARK).read_text(encoding="ascii") == wanted):
        return True
    print(f"installing {tracker.environment} into {folder}", flush=True)
    try:
        _run([sys.executable, "-m", "venv", "--clear", folder])
        _run(
            [folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *tracker.packages]
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        shutil.rmtree(folder, ignore_errors=True)
        print(f"{tracker.environment} can't be installed here: it is left out")
        return False
    (folder / _MARK).write_text(wanted, encoding="ascii")
    return True


def _run(command: Sequence[str | Path]) -> None:
    subprocess.run([str(part) for part in command], check=True, timeout=_INSTALL_S)


def version(tracker: Tracker) -> str:
    """Return the version of the tracker's package."""
    program = f"from importlib.metadata import version; print(version({tracker.environment!r}))"
    return subprocess.run([python(tracker), "-c", program], check=True, capture_output=True, text=True).stdout.strip()


def variables(tracker: Tracker, folder: Path, home: Path) -> dict[str, str]:
    """Return all variables of a process that logs to `folder`."""
    inherited = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), _NO_PROXY)
    own = {name: value.format(folder=folder) for name, value in tracker.variables.items()}
    here = {"HOME": str(home), "PYTHONPATH": str(_ROOT), "DO_NOT_TRACK": "1", "no_proxy": "127.0.0.1,localhost"}
    return {**inherited, **proxies, **here, **own}
