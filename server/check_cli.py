"""``ml-logger-server check``: looks over a data directory, beside a running receiver or without one, and mends what is safe.

One line a finding on stdout. Exit codes: 0 nothing was found, 1 something was (mended or not), 2 it could not be done.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson

from ..settings import OneLineParser
from .config import ENV_PREFIX, data_dir_in
from .inspection import inspect_directory
from .local_store import STAGE_KEEP_S
from .store import Finding


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit code; raises `UsageError`."""
    options = _parser().parse_args(argv)
    data_dir = data_dir_in(options.config, os.environ, options.data_dir)
    is_clean, show = True, _as_json if options.json else _as_text
    with _bar() as (tell, write):
        for finding in inspect_directory(data_dir, repair=options.repair, upload_keep_s=STAGE_KEEP_S, tell=tell):
            is_clean = False
            try:
                write(show(finding))
                sys.stdout.flush()
            except BrokenPipeError:  # whoever read the output (`| head`) has seen enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                break
    return 0 if is_clean else 1


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="ml-logger-server check",
        description="Look over a data directory, also while it is served. "
        "Exit code 0: nothing was found, 1: something was, 2: it could not be done.",
    )
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where the files are kept")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help=f"a server.yaml that names it; ${ENV_PREFIX}DATA_DIR counts more"
    )
    parser.add_argument(
        "--repair", action="store_true", help="mend what is safe: never a byte that may have been acknowledged"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser


def _as_text(finding: Finding) -> str:
    mended = " [mended]" if finding.is_mended else ""
    return f"{finding.kind} {finding.path!a}: {finding.detail}{mended}"


def _as_json(finding: Finding) -> str:
    path = os.fsencode(finding.path).decode("utf-8", "backslashreplace")
    record = {"kind": finding.kind, "path": path, "detail": finding.detail, "mended": finding.is_mended}
    return orjson.dumps(record).decode()


@contextmanager
def _bar() -> Iterator[tuple[Callable[[], object], Callable[[str], object]]]:
    """Give what is called for each file, and what writes a line: past a progress bar, where a person looks on."""
    if not sys.stderr.isatty():
        yield lambda: None, print
        return
    from tqdm import tqdm  # lazily: only a person at a terminal needs it

    with tqdm(desc="checking", unit=" files", leave=False) as bar:
        yield bar.update, tqdm.write
