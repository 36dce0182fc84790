"""The agent's core against the real store: whatever happens between them, the trees end equal and nothing is sent in vain."""

import os
import random
import shutil

import pytest
from direct import Pair
from processes import assert_trees_equal, differences, read_mirror, read_spool

from ml_logger import layout
from ml_logger.agent.dispatch import QUESTION_BYTES
from ml_logger.errors import StopSending, TryAgain
from ml_logger.wire import Outcome, encode_stat_request

LINE = b'{"_step": 1, "loss": 0.25}\n'


@pytest.fixture
def pair(tmp_path):
    made = Pair(tmp_path, settle_s=2.0, batch_bytes=4096)
    yield made
    made.close()


def assert_equal(pair):
    assert_trees_equal(pair.spool, pair.data_dir)


def names(pair):
    return {os.fsdecode(name) for name in read_mirror(pair.data_dir)}


def test_streams_and_whole_files_arrive(pair):
    """Small, empty and large files of both kinds end up equal, in folders of any depth."""
    pair.append("run/metrics.jsonl", LINE * 1000)
    pair.append("run/empty.log", b"")
    pair.append("run/text.log", b"x" * 10)
    pair.write("run/images/a%2Fb/0001.png", random.Random(1).randbytes(50_000))
    pair.write("run/empty.pt", b"")
    pair.write("ü/ \u65e5\u672c/1.npy", b"\0" * 4096)
    pair.drain()
    assert_equal(pair)


def test_nothing_is_sent_twice(pair):
    """A second round over an unchanged spool sends nothing and asks nothing."""
    pair.append("m.jsonl", LINE)
    pair.write("i.png", b"12345")
    pair.drain()
    before = (len(pair.transport.sent), len(pair.transport.stats))
    for _ in range(3):
        pair.shipper.ship_once()
    assert (len(pair.transport.sent), len(pair.transport.stats)) == before
    assert pair.transport.sent_bytes == len(LINE) + 5


def test_a_question_is_no_larger_than_a_batch(pair):
    """A spool full of files that nobody knows is asked about in requests of `batch_bytes`, each of which gets it on."""
    for number in range(100):
        pair.write(f"run/{number}.npy", b"%d" % number)
    pair.drain()
    asked = pair.transport.stats
    assert sum(map(len, asked)) == 100
    assert max(map(len, asked)) <= 4096 // QUESTION_BYTES + 1
    assert max(len(encode_stat_request(paths)) for paths in asked) < 4096
    assert_equal(pair)


def test_what_is_answered_is_shipped_before_more_is_asked(pair):
    """An agent that lives for few requests ships some files in them, however many it knows nothing about."""
    for number in range(200):
        pair.write(f"run/{number}.npy", b"%d" % number)
    pair.shipper.ship_once()
    pair.now_s += 3600.0
    pair.transport.fail_before = [TryAgain("no route")]
    with pytest.raises(TryAgain):
        pair.shipper.ship_once()
    assert len(pair.transport.stats) == 1
    pair.drain()
    assert_equal(pair)


def test_a_file_whose_times_go_back_while_it_is_looked_at(pair):
    """As `shutil.copy2` and tar set them: the file is shipped as it is at last, not kept for its next change."""
    pair.shipper.ship_once()
    pair.write("model.pt", b"1")
    model = pair.spool / "model.pt"
    pair.now_s = model.stat().st_mtime
    pair.meanwhile = lambda: os.utime(model, (1.0, 1.0))
    pair.shipper.ship_once([str(model)], [str(model)])
    pair.now_s += 2.0
    pair.shipper.ship_once((), ())
    assert_equal(pair)


def test_a_growing_stream_ships_whole_lines_only(pair):
    """The unfinished last line waits for its end; the mirror never holds half a record of a living writer."""
    pair.append("m.jsonl", LINE + b'{"_st')
    pair.now_s = (pair.spool / "m.jsonl").stat().st_mtime
    done = pair.shipper.ship_once()
    assert read_mirror(pair.data_dir) == {b"m.jsonl": LINE}
    assert done.settles_in_s == pytest.approx(2.0, abs=0.1)
    assert [p.path for p in done.left] == ["m.jsonl"]
    pair.append("m.jsonl", b'ep": 2}\n')
    pair.shipper.ship_once()
    assert_equal(pair)


def test_an_unfinished_line_ships_once_its_writer_is_gone(pair):
    """While somebody holds the writer's lock the tail waits, however old it is; then it is shipped as it is."""
    import fcntl

    pair.append("m.jsonl", LINE + b"torn")
    pair.now_s += 1e10
    with open(pair.spool / "m.jsonl", "ab") as writer:
        fcntl.flock(writer, fcntl.LOCK_SH)
        done = pair.shipper.ship_once()
        assert done.settles_in_s is None
        assert read_mirror(pair.data_dir) == {b"m.jsonl": LINE}
    pair.shipper.ship_once()
    assert_equal(pair)


def test_a_line_longer_than_a_batch(pair):
    """A line of many batches waits until it is whole, then goes in parts."""
    pair.append("m.jsonl", LINE + b"a" * 50_000)
    pair.now_s = (pair.spool / "m.jsonl").stat().st_mtime
    pair.shipper.ship_once()
    assert read_mirror(pair.data_dir) == {b"m.jsonl": LINE}
    pair.append("m.jsonl", b"\n" + LINE)
    pair.drain()
    assert_equal(pair)


def test_event_files_need_no_line_ends(pair):
    """TensorBoard's event files are binary: what is there is shipped."""
    pair.append("events.out.tfevents.1.host", b"\x00\x01\n\x02")
    pair.now_s = (pair.spool / "events.out.tfevents.1.host").stat().st_mtime
    pair.shipper.ship_once()
    assert_equal(pair)


def test_a_whole_file_settles_first_unless_seen_complete(pair):
    """A foreign file that was written just now waits; one that was seen to be closed does not."""
    pair.write("a.pt", b"1")
    pair.write("b.pt", b"2")
    pair.now_s = (pair.spool / "a.pt").stat().st_mtime
    done = pair.shipper.ship_once([str(pair.spool / "b.pt")])
    assert names(pair) == {"b.pt"}
    assert 0 < done.settles_in_s <= 2.0


def test_a_clock_in_the_past_does_not_hold_files_back(pair):
    """A file whose time lies in the future settles by being watched."""
    pair.write("a.pt", b"1")
    pair.now_s = 1000.0
    pair.shipper.ship_once()
    assert names(pair) == set()
    pair.now_s += 2.1
    pair.shipper.ship_once()
    assert names(pair) == {"a.pt"}


def test_a_rewritten_file_is_shipped_again(pair):
    """Each version of a checkpoint replaces the last, shorter or longer, and no other name appears."""
    for size in (5000, 20_000, 0, 3):
        pair.write("model.pt", random.Random(size).randbytes(size))
        pair.drain()
        assert_equal(pair)


@pytest.mark.parametrize("old", [b"old" * 5000, b""], ids=["old", "empty"])
@pytest.mark.parametrize("forget", [False, True])
def test_a_rewrite_across_a_restart(pair, forget, old):
    """A version written while the agent was down replaces the old one, with the ledger or without."""
    pair.write("model.pt", old)
    pair.drain()
    pair.restart_agent(lose_ledger=forget)
    pair.write("model.pt", b"new" * 7000)
    pair.drain()
    assert_equal(pair)


@pytest.mark.parametrize("lost", [0, 1, 2, 5, 9])
def test_a_lost_answer_costs_nothing(pair, lost):
    """When the answer to a batch is lost after the store has done it, the resend stores nothing twice."""
    pair.append("m.jsonl", LINE * 500)
    pair.write("big.pt", random.Random(2).randbytes(20_000))
    pair.write("small.png", b"png")
    pair.transport.lose_answer = [TryAgain("lost")] * lost
    for _ in range(lost):
        pair.now_s += 1e10
        with pytest.raises(TryAgain):
            pair.shipper.ship_once()
    pair.drain()
    assert_equal(pair)


@pytest.mark.parametrize("forget", [False, True])
@pytest.mark.parametrize("stop_after", range(12))
def test_the_agent_dies_after_any_batch(pair, stop_after, forget):
    """A new agent goes on where the receiver stands; without the ledger next to nothing is sent twice."""
    pair.append("m.jsonl", LINE * 500)
    pair.write("big.pt", random.Random(2).randbytes(30_000))
    pair.now_s += 1e10
    real_send, sent = pair.transport.send, 0

    def dying(*args, **kwargs):
        nonlocal sent
        outcomes = real_send(*args, **kwargs)
        sent += 1
        if sent > stop_after:
            raise StopSending("killed before it could learn")
        return outcomes

    pair.transport.send = dying
    with pytest.raises(StopSending):
        pair.shipper.ship_once()
    pair.transport.send = real_send
    pair.restart_agent(lose_ledger=forget)
    pair.drain()
    assert_equal(pair)
    assert pair.transport.sent_bytes <= len(LINE) * 500 + 30_000 + 2 * 4096


def test_a_lost_ledger_sends_nothing(pair):
    """Without a ledger every file is compared by size and CRC, and no byte goes again."""
    pair.append("m.jsonl", LINE * 300)
    pair.write("big.pt", random.Random(2).randbytes(30_000))
    pair.write("e.pt", b"")
    pair.drain()
    before = pair.transport.sent_bytes
    pair.restart_agent(lose_ledger=True)
    pair.drain()
    assert pair.transport.sent_bytes == before
    assert_equal(pair)


def test_an_old_ledger_is_corrected_by_the_receiver(pair, tmp_path):
    """A ledger from an earlier backup moves forward to what the receiver holds."""
    pair.append("m.jsonl", LINE)
    pair.drain()
    pair.ledger.close()
    shutil.copytree(pair.state_dir, tmp_path / "backup")
    pair.open_agent()
    pair.append("m.jsonl", LINE * 100)
    pair.drain()
    pair.ledger.close()
    shutil.rmtree(pair.state_dir)
    shutil.copytree(tmp_path / "backup", pair.state_dir)
    pair.open_agent()
    pair.append("m.jsonl", LINE)
    pair.drain()
    assert_equal(pair)


def test_a_receiver_that_lost_the_tail_of_a_live_stream_is_refilled(pair):
    """After a restore from a backup the stream goes on from what the receiver holds."""
    pair.append("m.jsonl", LINE * 100)
    pair.drain()
    os.truncate(pair.data_dir / "m.jsonl", 50 * len(LINE) + 7)
    pair.restart_receiver()
    pair.append("m.jsonl", LINE)
    pair.drain()
    assert_equal(pair)


def test_a_replaced_stream_keeps_both(pair):
    """A foreign log that was truncated and written anew is shipped beside what was shipped before."""
    pair.append("app.log", b"old line\n" * 100)
    pair.drain()
    (pair.spool / "app.log").write_bytes(b"new line\n" * 10)
    pair.drain()
    pair.append("app.log", b"newer line\n")
    pair.drain()
    beside = layout.digest_name("app.log", b"new line\n")
    assert read_mirror(pair.data_dir) == {
        b"app.log": b"old line\n" * 100,
        beside.encode(): b"new line\n" * 10 + b"newer line\n",
    }


def test_a_stream_replaced_by_an_equal_one_goes_on(pair):
    """A file with another inode and the same beginning (a copied spool) is no new stream."""
    pair.append("m.jsonl", LINE * 20)
    pair.drain()
    content = (pair.spool / "m.jsonl").read_bytes()
    pair.write("m.jsonl", content + LINE)
    pair.drain()
    assert_equal(pair)


def test_two_machines_with_one_run_name_keep_both(tmp_path):
    """Streams and whole files of two senders under one name both reach the receiver, and stay told apart."""
    first, second = Pair(tmp_path / "1"), Pair(tmp_path / "2")
    second.transport = first.transport
    second.source = "the second machine"
    second.open_agent()
    for number, one in enumerate((first, second, first, second)):
        one.append("run/m.jsonl", b"step,loss\n%d\n" % number)
        one.write("run/model.pt", b"weights %d" % number)
        one.drain()
    mirror = read_mirror(first.data_dir)
    own = layout.digest_name("run/model.pt", b"the second machine")
    assert mirror[b"run/model.pt"] == b"weights 2"
    assert mirror[own.encode()] == b"weights 3"
    streams = [content for name, content in mirror.items() if name.endswith(b".jsonl")]
    assert sorted(streams) == [b"step,loss\n0\nstep,loss\n2\n", b"step,loss\n1\nstep,loss\n3\n"]
    first.close()
    second.ledger.close()


def test_an_unfinished_first_line_is_kept_once(tmp_path):
    """A stream whose plain name is taken, and that was shipped before its first line was whole, goes on where it began."""
    first, second = Pair(tmp_path / "1"), Pair(tmp_path / "2")
    second.transport = first.transport
    second.source = "the second machine"
    second.open_agent()
    first.append("run/text.log", b"of the first\n")
    first.drain()
    for part in (b"of the ", b"seco", b"nd\nand more\n"):
        second.append("run/text.log", part)
        second.drain()
        second.restart_agent(lose_ledger=True)
    second.drain()
    assert sorted(read_mirror(first.data_dir).values()) == [b"of the first\n", b"of the second\nand more\n"]
    first.close()
    second.ledger.close()


def test_many_machines_with_the_same_first_line(tmp_path):
    """A CSV header that all have in common does not stop any of them from being kept."""
    store = None
    for number in range(5):
        pair = Pair(tmp_path / str(number))
        if store is None:
            store = pair
        pair.transport.store = store.transport.store
        pair.source = f"machine {number}"
        pair.open_agent()
        pair.append("r.csv", b"step,loss\n" + b"same\n" * 3 + b"%d\n" % number)
        pair.drain()
        pair.ledger.close()
    expected = {b"step,loss\n" + b"same\n" * 3 + b"%d\n" % n for n in range(5)}
    assert set(read_mirror(store.data_dir).values()) == expected
    store.transport.store.close()


@pytest.mark.parametrize(
    "name",
    [b"new\nline", b"back\\slash", b"\xff\xfe.log", b"\x01", "\u65e5\u672c\u8a9e.pt".encode(), b"a%b\n", b"~", b" "],
)
def test_names_the_wire_does_not_carry_are_escaped(pair, name):
    """Such a file is shipped under its escaped name; any other under its own."""
    pair.write(os.fsdecode(name), b"content\n")
    pair.drain()
    expected = layout.remote_path(os.fsdecode(name)).encode()
    assert read_mirror(pair.data_dir) == {expected: b"content\n"}


def test_names_of_every_length(pair):
    """Names up to the file system's limit arrive, whole and as streams."""
    for length in (200, 240, 254, 255):
        pair.write("w" * length, b"w")
        pair.append("s" * (length - 4) + ".log", LINE)
    pair.drain()
    assert_equal(pair)


def test_a_path_that_is_too_deep_is_set_aside(pair):
    """One file that no receiver may store is listed with the reason; the others arrive."""
    deep = "/".join(["d"] * 70) + "/f.log"
    pair.append(deep, LINE)
    pair.append("ok.log", LINE)
    pair.now_s += 1e10
    done = pair.shipper.ship_once()
    assert [(p.path, "components" in p.reason) for p in done.left] == [(deep, True)]
    assert names(pair) == {"ok.log"}


def test_a_rejected_file_blocks_nothing_and_is_tried_again(pair):
    """A file where the receiver has a folder is set aside; when that is mended it arrives."""
    (pair.data_dir / "x.log").mkdir(parents=True)
    pair.append("x.log", LINE)
    pair.append("y.log", LINE)
    pair.now_s += 1e10
    assert [p.path for p in pair.shipper.ship_once().left] == ["x.log"]
    assert names(pair) == {"y.log"}
    (pair.data_dir / "x.log").rmdir()
    assert pair.shipper.ship_once().left != ()
    pair.now_s += 601
    pair.shipper.ship_once()
    assert_equal(pair)


def test_a_file_over_a_quota_rests_however_it_changes(pair, monkeypatch):
    """What no change can help is tried again after its rest alone, and then arrives by itself once there is room."""
    real = pair.transport.store.apply

    def full(manifest, payloads):
        reason = "quota: 'run' holds 5 of 5 bytes, 27 more wanted"
        return [Outcome(i.path, i.op, "rejected", i.offset, i.length, i.crc, reason=reason) for i in manifest.items]

    monkeypatch.setattr(pair.transport.store, "apply", full)
    for _ in range(5):
        pair.append("run/m.jsonl", LINE)
        assert [p.path for p in pair.shipper.ship_once().left] == ["run/m.jsonl"]
    assert len(pair.transport.sent) == 1
    monkeypatch.setattr(pair.transport.store, "apply", real)
    pair.now_s += 601
    pair.shipper.ship_once()
    assert_equal(pair)


def test_a_file_that_changes_while_it_is_read_is_read_again(pair, monkeypatch):
    """What is stored is one version of the file, never a mixture."""
    from ml_logger.agent import local_file

    pair.write("model.pt", b"a" * 3000)
    pair.now_s += 1e10
    real = local_file.read_range

    def changing(fd, offset, length):
        data = real(fd, offset, length)
        if data.startswith(b"a"):
            (pair.spool / "model.pt").write_bytes(b"b" * 3001)
        return data

    monkeypatch.setattr(local_file, "read_range", changing)
    pair.shipper.ship_once()
    assert names(pair) == set()
    pair.drain()
    assert_equal(pair)


def test_a_refused_batch_is_halved(pair):
    """A receiver with a smaller limit gets smaller batches, down to one file, and all arrives."""
    pair.transport.max_body_bytes = 1500
    rng = random.Random(3)
    for number in range(20):
        pair.write(f"{number}.png", rng.randbytes(300))
    pair.append("m.log", LINE * 400)
    pair.write("big.png", rng.randbytes(9000))
    pair.drain()
    assert_equal(pair)


def test_a_local_file_that_goes_away_is_no_error(pair):
    """A file deleted in the spool stays in the mirror."""
    pair.append("a.log", LINE)
    pair.drain()
    (pair.spool / "a.log").unlink()
    pair.append("b.log", LINE)
    pair.drain()
    assert differences({b"a.log": LINE, **read_spool(pair.spool)}, read_mirror(pair.data_dir)) == []


def test_streams_go_before_whole_files(pair):
    """A new metric line does not wait behind a backlog of checkpoints."""
    pair.write("big.pt", random.Random(1).randbytes(40_000))
    pair.append("m.jsonl", LINE)
    pair.now_s += 1e10
    pair.shipper.ship_once()
    ops = [item.path for manifest in pair.transport.sent for item in manifest.items]
    assert ops[0] == "m.jsonl"


def test_another_remote_prefix_holds_for_all_files(tmp_path, caplog):
    """Behind a restart with it every file goes under the new one, grown, rewritten or unchanged, which is said once."""
    pair = Pair(tmp_path, remote_prefix="old")
    for name in ("grown.log", "unchanged.log", "rewritten.pt", "unchanged.pt"):
        pair.append(name, LINE)
    pair.drain()
    pair.append("grown.log", LINE)
    pair.write("rewritten.pt", b"2")
    pair.settings["remote_prefix"] = "team/new"
    before = len(pair.transport.sent)
    for _ in range(2):
        pair.restart_agent()
        pair.drain()
    items = [item for manifest in pair.transport.sent[before:] for item in manifest.items]
    assert {item.path.rpartition("/")[0] for item in items} == {"team/new"}
    assert len(items) == 4, "the second restart found nothing to do"
    assert_trees_equal(pair.spool, pair.data_dir / "team/new")
    assert caplog.text.count("remote_prefix is another") == 1
    pair.close()


def test_where_another_remote_prefix_holds_the_bytes_nothing_is_sent(tmp_path):
    """A folder that was moved on the receiver's disk is found again."""
    pair = Pair(tmp_path, remote_prefix="old")
    for name in ("a.log", "b.pt"):
        pair.append(name, LINE)
    pair.drain()
    pair.transport.store.close()
    (pair.data_dir / "old").rename(pair.data_dir / "new")
    pair.open_receiver()
    pair.settings["remote_prefix"] = "new"
    pair.restart_agent()
    pair.drain()
    assert pair.transport.sent == []
    pair.close()


def test_a_remote_prefix_is_a_folder_on_the_receiver(tmp_path):
    """Everything goes under the prefix."""
    pair = Pair(tmp_path, remote_prefix="team/host")
    pair.append("run/m.jsonl", LINE)
    pair.drain()
    assert read_mirror(pair.data_dir) == {b"team/host/run/m.jsonl": LINE}
    pair.close()


@pytest.mark.parametrize("size", [10, 5000, 300_000])
@pytest.mark.parametrize("forget", [False, True])
def test_a_stream_that_is_rewritten_longer_keeps_both(pair, size, forget):
    """A file that is cut to nothing and written anew, past its old length, is noticed by what it holds."""
    old = b"".join(b"old %d\n" % n for n in range(size // 6))
    new = b"".join(b"new and longer %d\n" % n for n in range(size // 6))
    pair.append("r.csv", old)
    pair.drain()
    pair.restart_agent(lose_ledger=forget)
    with open(pair.spool / "r.csv", "wb") as file:  # the same inode
        file.write(new)
    pair.drain()
    beside = layout.digest_name("r.csv", new[: new.index(b"\n") + 1])
    assert read_mirror(pair.data_dir) == {b"r.csv": old, beside.encode(): new}


def test_a_stream_that_was_only_touched_is_done(pair):
    """New times or a new inode without new bytes leave nothing to ship."""
    pair.append("m.jsonl", LINE)
    pair.append("long.jsonl", LINE * 20_000)
    pair.drain()
    before = pair.transport.sent_bytes
    os.utime(pair.spool / "m.jsonl", (1, 1))
    content = (pair.spool / "long.jsonl").read_bytes()
    pair.write("long.jsonl", content)
    pair.drain(rounds=1)
    assert pair.transport.sent_bytes == before
    assert_equal(pair)


def test_a_spool_that_is_gone_is_a_problem_and_no_memory_is_lost(pair, tmp_path):
    """An unmounted spool is said, and when it is back nothing is sent again."""
    pair.append("m.jsonl", LINE)
    pair.drain()
    before = pair.transport.sent_bytes, len(pair.transport.stats)
    pair.spool.rename(tmp_path / "unmounted")
    assert [p.path for p in pair.shipper.ship_once().left] == [str(pair.spool)]
    (tmp_path / "unmounted").rename(pair.spool)
    pair.drain(rounds=1)
    assert (pair.transport.sent_bytes, len(pair.transport.stats)) == before


def test_a_whole_file_that_only_looks_new_is_not_sent_again(pair):
    """Touched, copied with its spool (other inode), or written once more with the same bytes: its CRC says so."""
    pair.write("i.png", b"12345")
    pair.drain()
    pair.write("i.png", b"12345")
    os.utime(pair.spool / "i.png", (5, 5))
    pair.drain()
    assert pair.transport.sent_bytes == 5
    pair.write("i.png", b"54321")
    pair.drain()
    assert_equal(pair)


def test_a_quiet_stream_of_a_living_run_that_is_deleted_there_comes_back(pair):
    """It is asked about now and then while its writer lives; that of a run which has ended stays deleted."""
    import fcntl

    pair.append("live/run.jsonl", LINE)
    pair.append("live/parameters.jsonl", LINE)
    pair.append("ended/run.jsonl", LINE)
    pair.append("ended/parameters.jsonl", LINE)
    with open(pair.spool / "live/run.jsonl", "ab") as writer:
        fcntl.flock(writer, fcntl.LOCK_SH)
        pair.drain()
        for run in ("live", "ended"):
            (pair.data_dir / run / "parameters.jsonl").unlink()
        pair.now_s += 100.0
        pair.shipper.ship_once()
        pair.shipper.ship_once()
        assert names(pair) == {"live/run.jsonl", "live/parameters.jsonl", "ended/run.jsonl"}


# --- what a drain has to ship


def test_what_a_writer_adds_later_is_no_part_of_the_aim(pair):
    """A stream that goes on growing is shipped up to where it was; a new file and a newer version do not count."""
    pair.append("run/metrics.jsonl", LINE)
    pair.write("run/m.pt", b"first")
    pair.now_s += 1e10
    pair.shipper.aim()
    assert not pair.shipper.has_reached_aim
    pair.shipper.ship_once()
    pair.append("run/metrics.jsonl", LINE)
    pair.append("run/new.jsonl", LINE)
    pair.write("run/m.pt", b"second")
    assert pair.shipper.unshipped() == []
    assert pair.shipper.has_reached_aim


def test_a_version_is_not_taken_for_the_one_before(pair):
    """A log cut short and written anew, and a file replaced by one with an older time, are aimed at as they are now."""
    pair.append("run/metrics.jsonl", LINE * 3)
    pair.write("run/m.pt", b"first")
    pair.drain()
    (pair.spool / "run/metrics.jsonl").write_bytes(b'{"anew": 1}\n')
    pair.write("run/m.pt", b"second")
    os.utime(pair.spool / "run/m.pt", (1.0, 1.0))
    pair.shipper.aim()
    assert [p.path for p in pair.shipper.unshipped()] == ["run/m.pt", "run/metrics.jsonl"]
    pair.now_s += 10.0
    pair.drain()
    assert pair.shipper.has_reached_aim


def test_what_a_receiver_has_lost_is_aimed_at(tmp_path):
    """One that was emptied before the drain asks for all of it again, so the drain has not reached its end."""
    pair = Pair(tmp_path)
    pair.append("run/metrics.jsonl", LINE)
    pair.drain()
    pair.restart_agent()
    shutil.rmtree(pair.data_dir)
    pair.data_dir.mkdir()
    pair.restart_receiver()
    pair.shipper.aim()
    pair.transport.fail_before = [TryAgain("not now")]
    with pytest.raises(TryAgain):
        pair.shipper.ship_once()
    assert not pair.shipper.has_reached_aim
    pair.drain()
    assert pair.shipper.has_reached_aim
    assert_equal(pair)
    pair.close()
