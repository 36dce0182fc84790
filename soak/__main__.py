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
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
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


@dataclass(frozen=True)
class Order:
    """What is asked for: where all is written, the seed of the plan, for how long, and whether all is kept in any case."""

    folder: Path
    seed: int
    minutes: float
    keep: bool


def main(arguments: Sequence[str]) -> int:
    """Run one soak and return its exit code."""
    _on_signals(_stop)
    order = _order(arguments)
    order.folder.mkdir(parents=True)
    print(f"soak: {order.minutes:g} minutes, SEED={order.seed}, in {order.folder}", flush=True)
    return 0 if soak(order) else 1


def _on_signals(handler: Callable[[int, FrameType | None], object] | signal.Handlers) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _order(arguments: Sequence[str]) -> Order:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("minutes", type=float)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--keep", action="store_true", help="keep all that a failed soak keeps")
    options = parser.parse_args(arguments)
    seed = secrets.randbelow(1 << 31) if options.seed is None else options.seed
    folder = ROOT / "build" / "soak" / f"{time.strftime('%Y%m%d-%H%M%S')}-{seed}"
    return Order(folder, seed, options.minutes, options.keep)


def soak(order: Order) -> bool:
    """Run one soak and return whether it was passed."""
    fleet, left_out = _fleet(order)
    is_good = False
    try:
        is_good = _soak(order, fleet, left_out)
    finally:
        _on_signals(signal.SIG_IGN)  # a second Ctrl-C would leave something running
        fleet.commands.end_all()
        if order.keep or not is_good:
            _keep_trees(fleet, order.folder / "kept")
            print(f"kept for a look: {order.folder}", flush=True)
        fleet.end()
    if is_good and not order.keep:
        shutil.rmtree(order.folder)
    return is_good


def _fleet(order: Order) -> tuple[Fleet, str]:
    """Return the fleet, on small disks if there can be some, and what had to be left out."""
    more_mib = int(MIB_A_MINUTE * order.minutes)
    try:
        return Fleet(order.folder, small(SPOOL_MIB + more_mib), small(MIRROR_MIB + 4 * more_mib)), ""
    except WhyNot as why:
        print(f"without faults of disks: {why}", flush=True)
        shutil.rmtree(order.folder)
        order.folder.mkdir()
        return Fleet(order.folder, plain, plain), f"faults of disks: {why}"


def _soak(order: Order, fleet: Fleet, left_out: str) -> bool:
    duration_s = order.minutes * 60
    faults = plan_faults(order.seed, duration_s, fleet.victims())
    _write_plan(order.folder / "plan.json", faults)
    running = Soak(fleet, duration_s, order.folder / "events.jsonl")
    with closing(Arrivals(fleet.mirror.seen)) as arrivals:
        running.live_through(faults)
        drain(running)
    arrivals.write(order.folder / "lags.csv", running.began_s)
    running.memory.write(order.folder / "memory.csv")
    verdict = Verdict(_tally(fleet), running.findings)
    path = publish(running, arrivals, verdict, order.seed, left_out)
    print(*verdict.lines(), f"figures: {path}", sep="\n")
    return verdict.is_good


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
