"""``python -m soak MINUTES [--seed SEED]``: the figures go to ``build/bench/soak.json``.

Exit code 0 if nothing was lost or doubled and the trees are as they must be, else 1; then all that a failed soak needs to be
understood is kept in ``build/soak/``: the outputs of all processes, the plan and what happened, the trees. The same seed makes
the same plan of faults. Ctrl-C ends it all; what it has written by then stays.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NoReturn

from processes import read_mirror, read_spool

from . import ROOT
from .arrivals import Arrivals
from .disks import WhyNot, plain, small
from .drain import drain
from .fleet import Fleet, trainers
from .plan import Fault, plan_faults
from .report import Verdict, publish
from .run import Soak
from .tally import Tally, count, read_list

SPOOL_MIB, MIRROR_MIB = 64, 512
MIB_A_MINUTE = 8


def main(arguments: Sequence[str]) -> int:
    """Run one soak and return its exit code."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("minutes", type=float)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--keep", action="store_true", help="keep all that a failed soak keeps")
    options = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    seed = secrets.randbelow(1 << 31) if options.seed is None else options.seed
    folder = ROOT / "build" / "soak" / f"{time.strftime('%Y%m%d-%H%M%S')}-{seed}"
    folder.mkdir(parents=True)
    print(f"soak: {options.minutes:g} minutes, SEED={seed}, in {folder}", flush=True)
    is_good = soak(folder, seed, options.minutes, keep=options.keep)
    if is_good and not options.keep:
        shutil.rmtree(folder)
    else:
        print(f"kept for a look: {folder}")
    return 0 if is_good else 1


def _stop(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def soak(folder: Path, seed: int, minutes: float, *, keep: bool) -> bool:
    """Run one soak in `folder` and return whether it was passed."""
    fleet, left_out = _fleet(folder, minutes)
    try:
        faults = plan_faults(seed, minutes * 60, fleet.victims())
        _write_plan(folder / "plan.json", faults)
        running = Soak(fleet, minutes * 60, folder / "events.jsonl")
        with closing(Arrivals(fleet.mirror.seen)) as arrivals:
            running.live_through(faults)
            drain(running)
        verdict = Verdict(_tally(fleet), running.findings)
        path = publish(running, arrivals, verdict, seed, left_out)
        print(*verdict.lines(), f"figures: {path}", sep="\n")
        arrivals.write(folder / "lags.csv", running.began_s)
        if keep or not verdict.is_good:
            _keep_trees(fleet, folder / "kept")
        return verdict.is_good
    finally:
        fleet.end()


def _fleet(folder: Path, minutes: float) -> tuple[Fleet, str]:
    """Return the fleet, on small disks if there can be some, and what had to be left out."""
    more_mib = int(MIB_A_MINUTE * minutes)
    try:
        return Fleet(folder, small(SPOOL_MIB + more_mib), small(MIRROR_MIB + 4 * more_mib)), ""
    except WhyNot as why:
        print(f"without faults of disks: {why}", flush=True)
        shutil.rmtree(folder)
        folder.mkdir()
        return Fleet(folder, plain, plain), f"faults of disks: {why}"


def _write_plan(path: Path, faults: Sequence[Fault]) -> None:
    path.write_text("".join(json.dumps(fault.row()) + "\n" for fault in faults), encoding="utf-8")


def _tally(fleet: Fleet) -> Tally:
    lists = {path.name: path.read_bytes() for path in fleet.lists.iterdir()}
    logged = read_list({trainer.name: trainer.run for trainer in trainers()}, lists)
    spools = [read_spool(place.seen, is_at_rest=True) for place in fleet.spools]
    return count(logged, spools, read_mirror(fleet.mirror.seen, is_at_rest=True), b"shared/")


def _keep_trees(fleet: Fleet, folder: Path) -> None:
    """Copy the trees from the disks that are about to go."""
    for name, place in (("mirror", fleet.mirror), *((f"spool-{m}", place) for m, place in enumerate(fleet.spools))):
        shutil.copytree(place.seen, folder / name, symlinks=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
