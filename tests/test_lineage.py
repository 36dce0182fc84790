"""A receiver that was restored from an older copy, or emptied, is refilled; what a person deletes there stays deleted."""

import os
import shutil
import threading

import pytest
from direct import Pair
from processes import assert_trees_equal, read_mirror
from serving import serving

from ml_logger import wire
from ml_logger.errors import BadAnswer, BadBatch, TryAgain
from ml_logger.server.lineage import MOST_MARKS, NAME, Marks

LINE = b'{"_step": 1, "loss": 0.25}\n'


@pytest.fixture
def pair(tmp_path):
    made = Pair(tmp_path, settle_s=2.0, batch_bytes=4096)
    yield made
    made.close()


def finish_runs(pair, *names):
    for name in names:
        pair.append(f"{name}/metrics.jsonl", LINE * 300)
        pair.write(f"{name}/model.pt", name.encode() * 5000)
    pair.drain()


def restore(pair, copy):
    """Put `copy` in the place of the data directory, and start the receiver over it."""
    shutil.rmtree(pair.data_dir)
    if copy is None:
        pair.data_dir.mkdir()
    else:
        shutil.copytree(copy, pair.data_dir)
    pair.restart_receiver()


@pytest.mark.parametrize("is_agent_restarted", [False, True])
@pytest.mark.parametrize("copied_after", [None, 0, 1])
def test_a_receiver_that_holds_less_is_refilled(pair, tmp_path, copied_after, is_agent_restarted):
    """Emptied, or restored from a copy of any age: all finished runs are there again, by an agent that had nothing to do."""
    copy = None
    for number, name in enumerate(("first", "second")):
        finish_runs(pair, name)
        if number == copied_after:
            copy = shutil.copytree(pair.data_dir, tmp_path / "copy")
    pair.write("first/model.pt", b"rewritten" * 5000)
    finish_runs(pair, "third")
    restore(pair, copy)
    if is_agent_restarted:
        pair.restart_agent()
    pair.drain()
    assert_trees_equal(pair.spool, pair.data_dir)
    sent = pair.transport.sent_bytes
    pair.drain()
    assert pair.transport.sent_bytes == sent


def test_what_a_person_deletes_stays_deleted(pair):
    """Also over restarts of the receiver and of the agent, once a minute or two have passed."""
    marks = Marks(pair.data_dir, steady_s=lambda: pair.now_s)
    pair.transport.marks = marks
    finish_runs(pair, "old")
    for name in ("a", "b", "c"):
        pair.now_s += 100.0
        finish_runs(pair, name)
        marks.note_stored()
    shutil.rmtree(pair.data_dir / "old")
    pair.restart_receiver()
    pair.restart_agent()
    pair.drain()
    assert not any(name.startswith(b"old/") for name in read_mirror(pair.data_dir))
    assert len(read_mirror(pair.data_dir)) == 6


def test_no_number_of_restarts_makes_old_news_new(pair):
    """What was there at two starts of a killed receiver, and is deleted then, stays deleted."""
    finish_runs(pair, "old", "kept")
    for _ in range(3):
        pair.restart_receiver()
        pair.drain()
    shutil.rmtree(pair.data_dir / "old")
    pair.restart_receiver()
    pair.drain()
    assert {name.partition(b"/")[0] for name in read_mirror(pair.data_dir)} == {b"kept"}


def test_no_number_of_restarts_sets_a_stream_aside_that_has_another_name_there(pair):
    """That it is found under the name with its digest each time is agreement, however often it is asked about."""
    (pair.data_dir / "run").mkdir()
    (pair.data_dir / "run/metrics.jsonl").write_bytes(LINE * 5000)
    pair.append("run/metrics.jsonl", LINE + b"ours\n")
    pair.drain()
    for _ in range(8):
        pair.restart_receiver()
        pair.drain()
    assert sorted(read_mirror(pair.data_dir).values()) == [LINE + b"ours\n", LINE * 5000]


def test_what_was_stored_just_before_a_kill_comes_back(pair):
    """A deletion just then can't be told from a restored copy that lacks the last minutes' files; the next one stays."""
    finish_runs(pair, "newest")
    shutil.rmtree(pair.data_dir / "newest")
    pair.restart_receiver()
    pair.drain()
    assert len(read_mirror(pair.data_dir)) == 2
    for _ in range(2):
        pair.restart_receiver()
        pair.drain()
    shutil.rmtree(pair.data_dir / "newest")
    pair.restart_receiver()
    pair.drain()
    assert read_mirror(pair.data_dir) == {}


def test_a_restart_costs_a_look_at_what_was_shipped_last(pair):
    """A receiver that was only restarted is asked about the newest files, and nothing is sent twice."""
    finish_runs(pair, "first", "second")
    sent = pair.transport.sent_bytes
    pair.restart_receiver()
    pair.drain()
    assert pair.transport.sent_bytes == sent
    assert_trees_equal(pair.spool, pair.data_dir)


def test_a_restart_casts_no_doubt_on_what_was_never_acknowledged(pair):
    """Files that were asked about and not yet stored are sent without a second question, also by a restarted agent."""
    for number in range(10):
        pair.write(f"{number}.bin", b"%d" % number)
    pair.shipper.ship_once()
    pair.now_s += 3600.0
    pair.transport.fail_before = [TryAgain("no route")]
    with pytest.raises(TryAgain):
        pair.shipper.ship_once()
    pair.restart_receiver()
    pair.restart_agent()
    pair.drain()
    assert sorted(path for paths in pair.transport.stats for path in paths) == [f"{n}.bin" for n in range(10)]
    assert_trees_equal(pair.spool, pair.data_dir)


@pytest.mark.parametrize("has_news", [True, False])
@pytest.mark.parametrize("end", [bytes(4000), bytes(3999) + b"x"], ids=["torn", "of somebody else"])
def test_what_stands_behind_a_stream_after_a_crash(pair, end, has_news):
    """NULs that nobody was told of are cut off, with news to ship or without; other bytes are kept, and ours beside them."""
    pair.append("run/metrics.jsonl", LINE * 100)
    pair.drain()
    with (pair.data_dir / "run/metrics.jsonl").open("ab") as file:
        file.write(end)
    pair.restart_receiver()
    if has_news:
        pair.append("run/metrics.jsonl", LINE * 50)
    pair.drain()
    found = sorted(read_mirror(pair.data_dir).values())
    whole = LINE * (150 if has_news else 100)
    expected = [whole] if not any(end) else [LINE * 100 + end, whole] if has_news else [LINE * 100 + end]
    assert found == sorted(expected)


def test_marks_tell_what_happened_since(tmp_path):
    """The same while it runs, restarted after a start, unknown for what it never gave; marks roll once a minute at most."""
    now_s = [0.0]
    first = Marks(tmp_path, steady_s=lambda: now_s[0])
    begin = first.since(None)
    assert begin.since == "same"
    first.note_stored()
    assert first.since(begin.mark) == begin
    now_s[0] = 61.0
    first.note_stored()
    rolled = first.since(begin.mark)
    assert rolled.since == "same"
    assert rolled.mark != begin.mark
    again = Marks(tmp_path)
    assert {again.since(mark).since for mark in (begin.mark, rolled.mark)} == {"restarted"}
    assert again.since("another").since == "unknown"


def test_what_was_stored_last_is_soon_beyond_doubt(pair):
    """An idle receiver makes marks behind it too: a deletion some minutes later stays, even if it was killed meanwhile."""
    marks = pair.transport.marks = Marks(pair.data_dir, steady_s=lambda: pair.now_s)
    finish_runs(pair, "only")
    marks.note_stored()
    for _ in range(5):
        pair.now_s += 61.0
        pair.shipper.ship_once()
    shutil.rmtree(pair.data_dir / "only")
    pair.restart_receiver()
    pair.drain()
    assert read_mirror(pair.data_dir) == {}


def test_a_stop_in_order_leaves_no_doubt(tmp_path):
    """After it the marks before are as good as the current one; after a start without it they are not."""
    first = Marks(tmp_path)
    mark = first.since(None).mark
    first.close()
    second = Marks(tmp_path)
    assert second.since(mark).since == "same"
    marks = (mark, second.since(None).mark)
    third = Marks(tmp_path)
    assert {third.since(known).since for known in marks} == {"restarted"}


def forked(marks):
    """Return what a process that is forked now has of them."""
    twin = object.__new__(Marks)
    twin.__dict__.update(marks.__dict__, _marks=dict(marks._marks), _lock=threading.Lock())
    return twin


def test_workers_know_each_others_marks(tmp_path):
    """What one gave is the same to the others, and they make one a minute together; all of them are one start."""
    now_s = [0.0]
    first = Marks(tmp_path, steady_s=lambda: now_s[0])
    begin = first.since(None).mark
    workers = [forked(first) for _ in range(3)]
    for _ in range(4):
        now_s[0] += 61.0
        for worker in workers:
            worker.note_stored()
        given = {worker.since(None).mark for worker in workers}
        assert len(given) == 1
        assert {worker.since(known).since for worker in workers for known in (begin, *given)} == {"same"}
    assert len((tmp_path / ".ml-logger" / NAME).read_bytes().splitlines()) == 5
    late = forked(first)
    assert late.since(given.pop()).since == "same"


def test_two_that_make_a_mark_at_once_make_one(tmp_path):
    """Who gets the file's lock second finds the mark of the other, and takes it for its own."""
    first = Marks(tmp_path)
    workers = [forked(first) for _ in range(3)]
    for worker in workers:
        worker._add("roll")
    assert len((tmp_path / ".ml-logger" / NAME).read_bytes().splitlines()) == 2
    assert len({worker._current for worker in workers}) == 1


def test_a_stop_of_one_receiver_is_none_of_the_others(tmp_path):
    """What the other acknowledges after it stands behind a mark of its own, so that a kill of that one is noticed."""
    staying, stopping = Marks(tmp_path), Marks(tmp_path)
    stopping.close()
    staying.note_stored()
    mark = staying.since(None).mark
    assert (tmp_path / ".ml-logger" / NAME).read_text().splitlines()[-1] == f"roll {mark}"
    assert Marks(tmp_path).since(mark).since == "restarted"


def test_another_file_in_its_place_is_the_truth(tmp_path):
    """A copy that is put back under a running receiver makes the marks it lacks unknown."""
    marks = Marks(tmp_path)
    file = tmp_path / ".ml-logger" / NAME
    known, copy = marks.since(None).mark, file.read_bytes()
    newer = Marks(tmp_path).since(None).mark
    assert marks.since(newer).since == "same"
    file.unlink()
    file.write_bytes(copy)
    assert [marks.since(mark).since for mark in (known, newer)] == ["same", "unknown"]


def test_a_line_that_a_kill_tore_harms_no_other(tmp_path):
    """The next mark begins a line of its own."""
    marks = Marks(tmp_path)
    with (tmp_path / ".ml-logger" / NAME).open("ab") as file:
        file.write(b"roll 0123")
    newer = Marks(tmp_path).since(None).mark
    assert marks.since(newer).since == "same"


def test_what_was_deleted_while_the_receiver_was_down_stays_deleted(pair):
    """Also the newest files, where the receiver was stopped in order."""
    finish_runs(pair, "first", "second")
    pair.transport.marks.close()
    shutil.rmtree(pair.data_dir / "second")
    pair.restart_receiver()
    pair.drain()
    assert {name.partition(b"/")[0] for name in read_mirror(pair.data_dir)} == {b"first"}


@pytest.mark.parametrize(
    "content", [b"", b"start 0011", b"\xff\0\n\nstart\nroll a b\n", b"start aa\n" * (MOST_MARKS + 5)]
)
def test_any_file_of_marks_is_taken_as_it_is(tmp_path, content):
    """Torn, foreign or very long: the receiver starts, its new mark is known to the next start, the file stays bounded."""
    file = tmp_path / ".ml-logger" / NAME
    file.parent.mkdir()
    file.write_bytes(content)
    mark = Marks(tmp_path).since(None).mark
    assert Marks(tmp_path).since(mark).since == "restarted"
    assert len(file.read_bytes().splitlines()) <= MOST_MARKS


def test_a_mark_is_durable_before_it_counts(tmp_path, monkeypatch):
    """The file and its folder are fsynced at each mark, while the one before is still the current one."""
    marks, fsync, synced = Marks(tmp_path), os.fsync, []
    mark = marks.since(None).mark

    def note(fd):
        fsync(fd)
        synced.append((os.path.basename(os.readlink(f"/proc/self/fd/{fd}")), marks._current))

    monkeypatch.setattr(os, "fsync", note)
    marks.close()
    assert synced == [(NAME, mark), (".ml-logger", mark)]
    assert marks.since(None).mark != mark


def test_a_file_that_can_not_be_written_stops_nobody(tmp_path):
    """The start has a mark, which the next one will not know."""
    (tmp_path / ".ml-logger").write_bytes(b"in the way")
    mark = Marks(tmp_path).since(None).mark
    assert mark
    assert Marks(tmp_path).since(mark).since == "unknown"


def test_over_http(pair):
    """The receiver answers what the marks say; bad requests are refused, bad answers are none."""
    with serving(pair.transport.store, marks=pair.transport.marks) as site:
        answer = site.post("/v1/lineage", wire.encode_lineage_request(None))
        lineage = wire.decode_lineage(answer.content)
        assert lineage == pair.transport.marks.since(None)
        again = site.post("/v1/lineage", wire.encode_lineage_request("other"))
        assert wire.decode_lineage(again.content).since == "unknown"
        assert [site.post("/v1/lineage", body).status_code for body in (b"", b"[]", b'{"mark": 5}')] == [400] * 3
    for body in (b"", b"{}", b'{"mark": "a", "since": "ever"}', b'{"mark": 1, "since": "same"}', b"<html>"):
        with pytest.raises(BadAnswer):
            wire.decode_lineage(body)
    with pytest.raises(BadBatch):
        wire.decode_lineage_request(b'{"mark": "' + b"x" * 101 + b'"}')
