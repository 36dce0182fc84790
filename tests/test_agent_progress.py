"""How far a core is, as it tells it: counts, ages, the last words, and which runs are alive."""

import fcntl

import pytest
from direct import Pair

from ml_logger.agent.progress import Progress
from ml_logger.errors import TryAgain

LINE = b'{"_step": 1, "loss": 0.25}\n'


@pytest.fixture
def pair(tmp_path):
    made = Pair(tmp_path, settle_s=2.0, batch_bytes=4096)
    yield made
    made.close()


def test_what_is_left_is_counted(pair):
    """Before, in the middle of an upload and after: files, bytes, totals, the last acknowledgement."""
    pair.append("run/m.jsonl", LINE * 10)
    pair.write("run/model.pt", b"x" * 10_000)
    pair.now_s = (pair.spool / "run/model.pt").stat().st_mtime + 30.0
    pair.transport.fail_before = [TryAgain("no route")]
    with pytest.raises(TryAgain):
        pair.shipper.ship_once()
    before = pair.shipper.progress()
    assert (before.backlog_files, before.backlog_bytes) == (2, 10_000 + 10 * len(LINE))
    assert (before.last_error, before.errors, before.last_ack_at) == ("no route", 1, None)
    assert before.oldest_unshipped_s == pytest.approx(30.0, abs=1.0)
    pair.shipper.ship_once()
    after = pair.shipper.progress()
    assert (after.backlog_files, after.backlog_bytes, after.oldest_unshipped_s) == (0, 0, None)
    assert (after.shipped_files, after.shipped_bytes) == (2, before.backlog_bytes)
    assert (after.last_error, after.errors, after.last_ack_at) == (None, 1, pair.now_s)


def test_an_upload_under_way_counts_what_is_left_of_it(pair):
    """The parts that the receiver has built are no backlog any more."""
    pair.write("model.pt", b"x" * 10_000)
    pair.now_s = 1e10
    send = pair.transport.send

    def send_the_first(*arguments, **settings):
        if pair.transport.sent:
            raise TryAgain("cut")
        return send(*arguments, **settings)

    pair.transport.send = send_the_first
    with pytest.raises(TryAgain):
        pair.shipper.ship_once()
    assert pair.shipper.progress().backlog_bytes == 10_000 - 4096


def test_a_run_is_alive_while_it_changes_or_is_held(pair):
    """A run counts for a minute after its last change, and for as long as a writer holds its lock; an old one never."""
    pair.append("new/run.jsonl", LINE)
    pair.append("held/run.1.jsonl", LINE)
    pair.now_s = (pair.spool / "new/run.jsonl").stat().st_mtime
    with open(pair.spool / "held/run.1.jsonl", "ab") as writer:
        fcntl.flock(writer, fcntl.LOCK_SH)
        pair.shipper.ship_once()
        assert pair.shipper.progress().runs_alive == ("held", "new")
        pair.now_s += 61.0
        assert pair.shipper.progress().runs_alive == ("held",)
    assert pair.shipper.progress().runs_alive == ()
    pair.append("new/images/1.png", b"x")
    pair.now_s = (pair.spool / "new/images/1.png").stat().st_mtime
    pair.shipper.ship_once()
    assert pair.shipper.progress().runs_alive == ("new",)


def test_nothing_to_say(pair):
    """An empty spool has an empty progress."""
    pair.shipper.ship_once()
    assert pair.shipper.progress() == Progress()
