"""What the agent may read by a capability: the way it reads the logs of other users as a service."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from processes import Commands, assert_trees_equal

SETPRIV = shutil.which("setpriv")
NOBODY = 65534

pytestmark = pytest.mark.skipif(SETPRIV is None or os.geteuid() != 0, reason="needs root and setpriv")


def test_the_service_reads_what_others_keep_for_themselves(commands: Commands, tmp_path: Path) -> None:
    """Neither owner nor root, with CAP_DAC_READ_SEARCH alone, an agent ships a spool that its owner alone may read."""
    assert SETPRIV is not None
    spool, state_dir = tmp_path / "spool", tmp_path / "state"
    (spool / "run").mkdir(parents=True)
    (spool / "run/metrics.jsonl").write_bytes(b"{}\n" * 100)
    (spool / "run/metrics.jsonl").chmod(0o600)
    spool.chmod(0o700)
    state_dir.mkdir()
    os.chown(state_dir, NOBODY, NOBODY)
    receiver = commands.start_receiver(tmp_path / "mirror")
    config = commands.write_agent_config(spool, receiver.url, state_dir=str(state_dir))
    one_right = ("--inh-caps", "-all,+dac_read_search", "--ambient-caps", "-all,+dac_read_search")
    service = (SETPRIV, "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", *one_right)
    commands.drain(config, before=service)
    assert_trees_equal(spool, receiver.data_dir)
