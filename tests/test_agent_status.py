"""How far the agent is, seen from outside: while it runs, after it was killed, and with nothing to go by."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import TOKEN, Commands, Receiver, wait_until
from proxy import Answer, Proxy

from ml_logger.agent import amounts, status_file
from ml_logger.agent.config import AgentConfig
from ml_logger.agent.ledger import Entry, Ledger, peek
from ml_logger.agent.lock import maybe_holder, only_agent
from ml_logger.agent.progress import Meter, Progress, sum_of
from ml_logger.agent.scanner import Problem, signature_of
from ml_logger.agent.secret import Secrets
from ml_logger.agent.status import status_of
from ml_logger.agent.status_file import Said, StatusFile, decode_said, encode_said, maybe_said
from ml_logger.agent.survey import survey
from ml_logger.errors import ConfigError, MLLoggerError, SpoolTaken
from ml_logger.layout import AGENT_DIR, AGENT_LOCK, AGENT_STATUS
from ml_logger.wire import Crc, Held, Offset

BUSY = Progress(
    backlog_files=3,
    backlog_bytes=4096,
    oldest_unshipped_s=12.0,
    shipped_bytes=500,
    shipped_files=2,
    errors=1,
    last_ack_at=1795363200.5,
    last_error="no route",
    aside=(Problem("a\nb", "too long"), Problem("\udcff", "odd")),
    runs_alive=("run/a",),
)


class Clock:
    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


# --- the rate


def test_the_rate_is_that_of_the_last_minute() -> None:
    """It grows with what is shipped, is counted over at most a minute, and falls to nothing when nothing is."""
    meter = Meter()
    meter.note(0.0, 0)
    for second in range(1, 121):
        meter.note(float(second), 1000 * second)
    assert meter.rate(120.0) == pytest.approx(1000, rel=0.02)
    assert 400 < meter.rate(150.0) < 600
    assert meter.rate(181.0) == 0.0


def test_the_rate_of_a_young_agent_is_that_since_it_started() -> None:
    """Ten seconds after the start it is a tenth of what was shipped, not a sixtieth."""
    meter = Meter()
    assert meter.rate(5.0) == 0.0
    meter.note(100.0, 0)
    meter.note(110.0, 5000)
    assert meter.rate(110.0) == 500.0


def test_the_meter_keeps_few_samples() -> None:
    """A thousand rounds a second cost no memory."""
    meter = Meter()
    for tick in range(100_000):
        meter.note(tick / 1000, tick)
    assert len(meter._samples) < 70
    assert meter.rate(99.999) == pytest.approx(1000, rel=0.05)


def test_several_spools_add_up() -> None:
    """Sums, the oldest byte, the latest acknowledgement, and any error that stands."""
    calm = Progress(shipped_bytes=1, last_ack_at=1795363300.0)
    both = sum_of([calm, BUSY])
    assert (both.shipped_bytes, both.backlog_files, both.oldest_unshipped_s) == (501, 3, 12.0)
    assert (both.last_ack_at, both.last_error, len(both.aside)) == (1795363300.0, "no route", 2)
    assert sum_of([]) == Progress()


# --- the file


def make_file(tmp_path: Path, clock: Clock, **settings: object) -> StatusFile:
    return StatusFile(tmp_path, wall_s=lambda: 1795363300.0, steady_s=clock, **settings)  # type: ignore[arg-type]


def written(tmp_path: Path) -> Said | None:
    return maybe_said(tmp_path, 1795363300.0)


def test_what_was_told_is_written_at_once_and_then_once_a_second(tmp_path: Path) -> None:
    """The first word is written at once; between two writings of news lies a second, however many rounds there are."""
    clock, asked = Clock(), []
    file = make_file(tmp_path, clock)

    def make() -> Progress:
        asked.append(clock.now_s)
        return replace(BUSY, shipped_bytes=len(asked))

    for _ in range(1000):
        file.tell(make)
        clock.now_s += 0.01
    assert 10 <= len(asked) <= 11
    said = written(tmp_path)
    assert said is not None
    assert said.progress.shipped_bytes == len(asked)


def test_where_nothing_changes_little_is_written(tmp_path: Path) -> None:
    """An idle agent writes every few seconds, so that its file shows that it lives; a growing age is no news."""
    clock = Clock()
    file = make_file(tmp_path, clock)
    stamps = set()
    for _ in range(600):
        file.tell(lambda: replace(BUSY, oldest_unshipped_s=clock.now_s))
        stamps.add((tmp_path / AGENT_STATUS).stat().st_mtime_ns)
        clock.now_s += 0.1
    assert 60 / status_file.REFRESH_S <= len(stamps) <= 60 / status_file.REFRESH_S + 2


def test_news_that_were_held_back_are_wanted_soon(tmp_path: Path) -> None:
    """After a round within the second the loop is to come back when that is over, and not in a refresh's time."""
    clock = Clock()
    file = make_file(tmp_path, clock)
    file.tell(lambda: BUSY)
    assert file.due_in_s() == pytest.approx(status_file.REFRESH_S)
    clock.now_s += 0.25
    file.tell(lambda: Progress())
    assert file.due_in_s() == pytest.approx(0.75)
    clock.now_s += 0.75
    assert file.due_in_s() == 0.0
    file.tell(lambda: Progress())
    said = written(tmp_path)
    assert said is not None
    assert said.progress == Progress()


def test_an_error_is_not_held_back(tmp_path: Path) -> None:
    """It is there as soon as it happened, and so is the last word."""
    clock = Clock()
    file = make_file(tmp_path, clock)
    file.tell(Progress)
    file.tell_error("no route", lambda: BUSY)
    assert (said := written(tmp_path)) is not None
    assert said.progress == replace(BUSY, aside=said.progress.aside)
    file.tell(Progress)
    file.tell(Progress, is_last=True)
    assert (said := written(tmp_path)) is not None
    assert said.progress == Progress()


def test_errors_in_a_row_do_not_count_a_large_backlog_each_time(tmp_path: Path) -> None:
    """Where it takes long to find out how far the agent is, an error is written with the numbers there are."""
    clock, asked = Clock(), []
    file = make_file(tmp_path, clock)

    def make() -> Progress:
        asked.append(clock.now_s)
        clock.now_s += 0.3
        return replace(BUSY, last_error="the first")

    for number in range(100):
        file.tell_error(f"error {number}", make)
        assert (said := written(tmp_path)) is not None
        assert said.progress.last_error in ("the first", f"error {number}")
        assert said.progress.backlog_files == 3
        clock.now_s += 0.1
    assert len(asked) == 1


def test_a_large_backlog_is_counted_less_often(tmp_path: Path) -> None:
    """If it takes 0.3 s to find out how far the agent is, it finds out every 15 s, not every second."""
    clock, asked = Clock(), []
    file = make_file(tmp_path, clock)

    def make() -> Progress:
        asked.append(clock.now_s)
        clock.now_s += 0.3
        return BUSY

    while clock.now_s < 1060:
        file.tell(make)
        assert file.due_in_s() > 0
        clock.now_s += 0.1
    assert len(asked) == 4


def test_a_full_disk_costs_the_news_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where the file can't be written that is said once, and the numbers are there for heartbeats and metrics."""
    clock = Clock()
    file = make_file(tmp_path / "gone", clock)
    for _ in range(10):
        file.tell(lambda: replace(BUSY, shipped_bytes=int(clock.now_s)))
        clock.now_s += 2
    assert caplog.text.count("can't be written") == 1
    assert file.latest().shipped_bytes == 1018


def test_the_spool_gets_a_sign_where_the_state_is_kept_elsewhere(tmp_path: Path) -> None:
    """The client looks into the spool; a spool that can't be written to is no reason to complain."""
    (tmp_path / "state").mkdir()
    (tmp_path / "spool").mkdir()
    sign = tmp_path / "spool" / AGENT_DIR
    StatusFile(tmp_path / "state", also=sign).tell(lambda: BUSY)
    assert (sign / AGENT_STATUS).read_bytes() == (tmp_path / "state" / AGENT_STATUS).read_bytes()
    StatusFile(tmp_path / "state", also=tmp_path / "none" / AGENT_DIR).tell(lambda: BUSY)


def test_ages_go_on_while_nobody_writes(tmp_path: Path) -> None:
    """The oldest byte is as old as it is when somebody looks, by the reader's clock and by the agent's."""
    clock = Clock()
    file = make_file(tmp_path, clock)
    file.tell(lambda: BUSY)
    clock.now_s += 30
    assert file.latest().oldest_unshipped_s == 42.0
    said = maybe_said(tmp_path, 1795363300.0 + 100)
    assert said is not None
    assert said.progress.oldest_unshipped_s == 112.0
    back = maybe_said(tmp_path, 1795363300.0 - 3600)  # a clock that was set back
    assert back is not None
    assert back.progress.oldest_unshipped_s == 12.0


def test_the_last_acknowledgement_outlives_the_agent(tmp_path: Path) -> None:
    """An agent that has shipped nothing yet says when one before it last did; what else that one said is its own."""
    make_file(tmp_path, Clock()).tell(lambda: BUSY)
    assert make_file(tmp_path, Clock()).latest() == Progress(last_ack_at=BUSY.last_ack_at)
    (tmp_path / AGENT_STATUS).write_bytes(b"no status")
    assert make_file(tmp_path, Clock()).latest() == Progress()


def a_said(progress: Progress = BUSY) -> Said:
    return Said(42, "gpu-7", 1795363100.0, 1795363200.0, 2.5, progress)


def test_the_file_comes_back() -> None:
    """What is written is read, names that no JSON carries and line ends escaped."""
    got = decode_said(encode_said(a_said()))
    assert got == a_said(replace(BUSY, aside=(Problem("a\\nb", "too long"), Problem("\\xff", "odd"))))


def test_a_damaged_file_is_no_status() -> None:
    """Cut at every length or with any bit flipped it is read or counts as none; nothing is raised."""
    body = encode_said(a_said())
    for damaged in [body[:end] for end in range(len(body) - 2)]:
        assert decode_said(damaged) is None
    for damaged in (
        body[:i] + bytes([body[i] ^ 1 << bit]) + body[i + 1 :] for i in range(len(body)) for bit in range(8)
    ):
        decode_said(damaged)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["aside", "pid"]), inner),
    max_leaves=4,
)
_WHOLE = orjson.loads(encode_said(a_said()))


@given(st.sampled_from(sorted(_WHOLE)), json_values, st.sampled_from(sorted(_WHOLE["progress"])), json_values)
def test_a_file_of_another_shape_is_no_status(key: str, value: object, inner: str, inner_value: object) -> None:
    """Whatever stands in place of a value, nothing is raised."""
    decode_said(json.dumps(_WHOLE | {key: value}).encode())
    decode_said(json.dumps(_WHOLE | {"progress": _WHOLE["progress"] | {inner: inner_value}}).encode())
    decode_said(json.dumps(value).encode())


# --- amounts


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (amounts.bytes_text(0), "0 B"),
        (amounts.bytes_text(1023), "1023 B"),
        (amounts.bytes_text(4 << 20), "4.0 MiB"),
        (amounts.bytes_text(5 << 50), "5120.0 TiB"),
        (amounts.count_text(1, "file"), "1 file"),
        (amounts.count_text(0, "file"), "0 files"),
        (amounts.duration_text(0.04), "0.0 s"),
        (amounts.duration_text(59), "59 s"),
        (amounts.duration_text(90), "1.5 min"),
        (amounts.duration_text(7200), "2.0 h"),
        (amounts.duration_text(86400 * 3), "3.0 d"),
        (amounts.duration_text(-5), "0.0 s"),
        (amounts.time_text(1795363200.5), "2026-11-22T16:00:00Z"),
        (amounts.time_text(1e300), f"{1e300:.0f} s since 1970"),
        (amounts.plain_text("日本 a\x1b[31m\n"), "日本 a\\x1b[31m\\n"),
        (amounts.plain_text("\udcff\udcfe"), "\\xff\\xfe"),
    ],
)
def test_amounts_are_for_people(shown: str, text: str) -> None:
    """Units that fit, and nothing that could move a terminal's cursor."""
    assert shown == text


# --- counting without an agent


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    spool = tmp_path / "spool"
    (spool / "run").mkdir(parents=True)
    (spool / "run/run.jsonl").write_bytes(b"{}\n")
    (spool / "run/metrics.jsonl").write_bytes(b"x" * 100)
    (spool / "run/model.pt").write_bytes(b"x" * 1000)
    (spool / ".hidden").write_bytes(b"x" * 5)
    return spool


def config_of(spool: Path, **settings: object) -> AgentConfig:
    return AgentConfig(spool=(spool,), server="http://h:1", **settings)  # type: ignore[arg-type]


def remember(spool: Path, path: str, acked: int, *, is_done: bool) -> None:
    state_dir = spool / AGENT_DIR
    state_dir.mkdir(exist_ok=True)
    ledger = Ledger(state_dir / "ledger.sqlite")
    signature = signature_of((spool / path).stat())
    ledger.put(path, Entry(path, Held(Offset(acked), Crc(1)), signature, is_done))
    ledger.close()


def test_the_ledger_tells_what_is_shipped(spool: Path) -> None:
    """Done files count for nothing, of a grown stream what is behind the acknowledged end, of a changed whole file all."""
    remember(spool, "run/run.jsonl", 3, is_done=True)
    remember(spool, "run/metrics.jsonl", 60, is_done=False)
    remember(spool, "run/model.pt", 1000, is_done=True)
    assert _counted(spool) == (1, 40, True)
    (spool / "run/model.pt").write_bytes(b"y" * 500)
    assert _counted(spool) == (2, 540, True)
    (spool / "run/metrics.jsonl").write_bytes(b"z" * 10)
    assert _counted(spool) == (2, 510, True)


def _counted(spool: Path) -> tuple[int, int, bool]:
    counted = survey(config_of(spool), spool, 1e10)
    return counted.progress.backlog_files, counted.progress.backlog_bytes, counted.is_ledger_known


@pytest.mark.parametrize("content", [None, b"", b"no database", b"SQLite format 3\0" + bytes(5000)])
def test_without_a_ledger_everything_counts_as_not_shipped(spool: Path, content: bytes | None) -> None:
    """Missing, empty or corrupt: what was shipped is unknown, and that is said."""
    if content is not None:
        (spool / AGENT_DIR).mkdir()
        (spool / AGENT_DIR / "ledger.sqlite").write_bytes(content)
    assert _counted(spool) == (3, 1103, False)
    assert peek(spool / AGENT_DIR / "ledger.sqlite", "") is None


def test_a_run_that_changed_lately_is_alive(spool: Path) -> None:
    """Its folder is named while something in or below it is young."""
    (spool / "run/images").mkdir()
    image = spool / "run/images/0.png"
    image.write_bytes(b"x")
    now = image.stat().st_mtime
    for name in ("run.jsonl", "metrics.jsonl", "model.pt"):
        os.utime(spool / "run" / name, (now - 3600, now - 3600))
    assert survey(config_of(spool), spool, now + 1).progress.runs_alive == ("run",)
    assert survey(config_of(spool), spool, now + 3600).progress.runs_alive == ()


def test_the_oldest_byte_is_at_least_as_old_as_its_file(spool: Path) -> None:
    """Without an agent's memory the files' own times tell."""
    os.utime(spool / "run/model.pt", (1000, 1000))
    assert survey(config_of(spool), spool, 5000.0).progress.oldest_unshipped_s == 4000.0


def picture_of(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_ino, p.read_bytes()) for p in paths}


def test_what_was_shipped_under_another_prefix_counts_as_not_shipped(spool: Path) -> None:
    """As it will for the next agent, which ships it under the new one."""
    size = (spool / "run/metrics.jsonl").stat().st_size
    remember(spool, "run/metrics.jsonl", size, is_done=True)
    ledger = Ledger(spool / AGENT_DIR / "ledger.sqlite")
    ledger.note_prefix("old")
    ledger.close()
    backlogs = [
        status_of(config_of(spool, remote_prefix=prefix), spool, 1e10).progress.backlog_bytes
        for prefix in ("old", "new")
    ]
    assert backlogs[1] - backlogs[0] == size


def test_looking_changes_nothing(spool: Path) -> None:
    """With a log of the database's left behind by a killed agent, looking leaves every file as it was, and makes none."""
    remember(spool, "run/metrics.jsonl", 60, is_done=False)
    ledger = Ledger(spool / AGENT_DIR / "ledger.sqlite")
    ledger.put("run/model.pt", Entry("m", Held(Offset(1), Crc(1)), None))
    ledger.save()
    state = spool / AGENT_DIR
    left = {path.name: path.read_bytes() for path in state.iterdir()}  # as a kill leaves it: nothing was checkpointed
    ledger.close()
    for path in list(state.iterdir()):
        path.unlink()
    for name, content in left.items():
        (state / name).write_bytes(content)
    assert (state / "ledger.sqlite-wal").stat().st_size > 0
    before = picture_of(spool)
    status = status_of(config_of(spool), spool, 1e10)
    assert (status.origin, status.agent) == ("ledger", None)
    assert peek(state / "ledger.sqlite", "") is not None
    assert picture_of(spool) == before


def test_what_the_last_agent_said_is_kept(spool: Path) -> None:
    """Last acknowledgement, last error and what is set aside are known after its end; the counts are those of now."""
    (spool / AGENT_DIR).mkdir()
    StatusFile(spool / AGENT_DIR).tell(lambda: BUSY)
    status = status_of(config_of(spool), spool, 1e10)
    assert (status.progress.last_ack_at, status.progress.last_error) == (BUSY.last_ack_at, BUSY.last_error)
    assert len(status.progress.aside) == 2
    assert status.progress.backlog_bytes == 1103
    assert not status.is_well


# --- the lock


def test_the_lock_says_who_runs_and_since_when(tmp_path: Path) -> None:
    """While it is held its holder is known; afterwards there is none."""
    assert maybe_holder(tmp_path / "none") is None
    with only_agent(tmp_path, tmp_path):
        holder = maybe_holder(tmp_path)
        assert holder is not None
        assert (holder.pid, holder.host) == (os.getpid(), os.uname().nodename)
        assert (holder.since or "").endswith("Z")
        with pytest.raises(SpoolTaken, match=f"pid {os.getpid()} on"), only_agent(tmp_path, tmp_path):
            raise AssertionError
    assert maybe_holder(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"pid x on y\n", b"\xff" * 300, b"pid 7 on host\n"])
def test_a_holder_that_cannot_be_read_is_a_holder(tmp_path: Path, content: bytes) -> None:
    """The lock counts, not the line in it."""
    with only_agent(tmp_path, tmp_path):
        (tmp_path / AGENT_LOCK).write_bytes(content)
        holder = maybe_holder(tmp_path)
        assert holder is not None
        assert str(holder) == "unknown"


def test_looking_keeps_no_agent_from_starting(tmp_path: Path) -> None:
    """While others look all the time, an agent that starts is never told that there is another one."""
    is_over, looks = threading.Event(), []

    def look() -> None:
        while not is_over.is_set():
            looks.append(maybe_holder(tmp_path))

    with only_agent(tmp_path, tmp_path):
        pass
    lookers = [threading.Thread(target=look) for _ in range(3)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(200):
            with only_agent(tmp_path, tmp_path):
                pass
    finally:
        is_over.set()
        for looker in lookers:
            looker.join()
    assert None in looks


def refusal(state_dir: Path, spool: Path, kind: type[MLLoggerError] = SpoolTaken) -> str:
    """Return what an agent is told that may not start."""
    with pytest.raises(kind) as caught, only_agent(state_dir, spool):
        raise AssertionError
    return str(caught.value)


def test_one_spool_has_one_agent_whatever_its_state_directory(tmp_path: Path) -> None:
    """The spool itself is locked, so an agent with another state directory is refused, and told who runs."""
    spool = tmp_path / "spool"
    spool.mkdir()
    for first, second in (("one", "two"), (spool / AGENT_DIR, "two"), ("one", spool / AGENT_DIR)):
        with only_agent(tmp_path / first, spool):
            assert f"already has an agent (pid {os.getpid()} on" in refusal(tmp_path / second, spool)
            assert str(maybe_holder(spool / AGENT_DIR)) in refusal(tmp_path / second, spool)
    with only_agent(tmp_path / "two", spool):
        pass


def test_two_spools_have_no_state_directory_in_common(tmp_path: Path) -> None:
    """It is the directory that is taken, and the message says so, and who has it."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    said = f"state directory {tmp_path}/state is already used by an agent (pid {os.getpid()} on"
    with only_agent(tmp_path / "state", tmp_path / "a"):
        assert said in refusal(tmp_path / "state", tmp_path / "b", ConfigError)
    with only_agent(tmp_path / "state", tmp_path / "b"):
        pass


def test_a_spool_that_cannot_be_signed_is_locked_all_the_same(tmp_path: Path) -> None:
    """Where nothing can be written into the spool, the kernel tells which process has it."""
    spool = tmp_path / "spool"
    spool.mkdir()
    (spool / AGENT_DIR).touch()  # no folder can be made there, as on a file system that is mounted for reading
    with only_agent(tmp_path / "one", spool):
        assert f"already has an agent (pid {os.getpid()} on" in refusal(tmp_path / "two", spool)


def test_where_a_directory_cannot_be_locked_the_state_directory_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As on NFS: that is said once, and two agents with one state directory still find each other."""
    spool, flock = tmp_path / "spool", fcntl.flock
    spool.mkdir()

    def refuse_folders(fd: int, kind: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(fd, kind)

    monkeypatch.setattr(fcntl, "flock", refuse_folders)
    with only_agent(spool / AGENT_DIR, spool):
        assert caplog.text.count("can't be locked (Bad file descriptor)") == 1
        assert f"pid {os.getpid()} on" in refusal(spool / AGENT_DIR, spool)


def test_an_agent_with_a_state_directory_elsewhere_is_seen(commands: Commands, spool: Path, tmp_path: Path) -> None:
    """By whoever looks with another config, or through a link; a second one ends at once and says who runs."""
    link = tmp_path / "link"
    link.symlink_to(spool)
    one = commands.write_agent_config(spool, "http://127.0.0.1:1", state_dir=str(tmp_path / "one"))
    agent = commands.start_agent(one)
    wait_until(lambda: maybe_said(spool / AGENT_DIR, 0.0), what=agent.tail())
    two = commands.write_agent_config(link, "http://127.0.0.1:1", file_name="two.yaml", state_dir=str(tmp_path / "two"))
    second = commands.start("ml-logger-agent", "--config", two)
    assert second.wait() == 2, second.tail()
    assert f"already has an agent (pid {agent.process.pid} on" in second.stderr
    asked = commands.start("ml-logger-agent", "status", "--config", two)
    asked.wait()
    assert f"running: pid {agent.process.pid} on" in asked.stdout


def test_a_spool_that_is_gone_is_shown_beside_a_good_one(commands: Commands, spool: Path, tmp_path: Path) -> None:
    """`status` tells how far the good one is, and what is wrong with the other; only an agent refuses to start."""
    config = commands.write_agent_config([spool, tmp_path / "gone"], "http://127.0.0.1:1")
    asked = commands.start("ml-logger-agent", "status", "--json", "--config", config)
    assert asked.wait() == 1, asked.tail()
    good, gone = orjson.loads(asked.stdout)["spools"]
    assert (good["spool"], good["aside"]) == (str(spool), [])
    assert "is not a directory" in gone["aside"][0]["reason"]
    started = commands.start("ml-logger-agent", "--config", config)
    assert started.wait() == 2, started.tail()


# --- secrets


def test_secrets_are_taken_out_of_what_is_said() -> None:
    """The last tokens and a proxy's password, as written and as sent; what is too short to be one stays."""
    secrets = Secrets()
    secrets.note("abc")
    assert secrets.note(TOKEN) == TOKEN
    secrets.note_proxy("http://me:p%40ssword@proxy:3128")
    secrets.note_proxy("http://[")
    secrets.note_proxy(None)
    said = secrets.hide(f"abc: bad Bearer {TOKEN} p@ssword p%40ssword")
    assert said == "abc: bad Bearer [secret] [secret] [secret]"
    for number in range(100):
        secrets.note(f"token-{number}")
    assert len(secrets._known) == 8


# --- the command, with real processes


@pytest.fixture
def receiver(commands: Commands, tmp_path: Path) -> Receiver:
    return commands.start_receiver(tmp_path / "mirror")


def ask(commands: Commands, config: Path) -> tuple[int, dict[str, object]]:
    """Run ``status --json``; return its exit code and what it says of the one spool."""
    running = commands.run("ml-logger-agent", "status", "--config", config, "--json")
    (status,) = json.loads(running.stdout)["spools"]
    return running.wait(), status


def test_status_while_the_agent_runs_and_after_it_was_killed(
    commands: Commands, receiver: Receiver, spool: Path
) -> None:
    """The running agent's own numbers; after a kill what is new since counts, by the ledger; and a table for people."""
    config = commands.write_agent_config(spool, receiver.url)
    code, before = ask(commands, config)
    assert (code, before["agent"], before["numbers_from"], before["backlog_files"]) == (0, None, "walk", 3)
    agent = commands.start_agent(config)

    def is_shipped() -> bool:
        assert agent.is_alive, agent.tail()
        said = maybe_said(spool / AGENT_DIR, 0.0)
        return said is not None and said.progress.shipped_files >= 3 and said.progress.backlog_files == 0

    wait_until(is_shipped, what="the agent to say that all is shipped")
    code, status = ask(commands, config)
    assert (code, status["numbers_from"], status["backlog_bytes"], status["last_error"]) == (0, "agent", 0, None)
    assert status["agent"]["pid"] == agent.process.pid  # type: ignore[index]
    assert status["last_ack_at"] is not None
    assert status["runs_alive"] == ["run"]
    agent.kill()
    with (spool / "run/metrics.jsonl").open("ab") as file:
        file.write(b"y" * 30 + b"\n")
    code, status = ask(commands, config)
    assert (code, status["agent"], status["numbers_from"]) == (0, None, "ledger")
    assert (status["backlog_files"], status["backlog_bytes"]) == (1, 31)
    assert status["last_ack_at"] is not None
    table = commands.run("ml-logger-agent", "status", "--config", config)
    assert table.wait() == 0
    assert "1 file, 31 B not shipped" in table.stdout
    assert "not running" in table.stdout
    commands.drain(config)
    last = ask(commands, config)[1]
    assert last["backlog_files"] == 0
    commands.drain(config)  # ships nothing, and knows of the last time that something was
    assert last["last_ack_at"] is not None
    assert ask(commands, config)[1]["last_ack_at"] == last["last_ack_at"]


def test_status_says_what_stands_in_the_way(commands: Commands, spool: Path) -> None:
    """Without a receiver the agent says so, and code 1 asks for a person; a backlog is counted all the same."""
    config = commands.write_agent_config(spool, "http://127.0.0.1:1")
    agent = commands.start_agent(config)
    wait_until(lambda: ask(commands, config)[1]["last_error"], what=f"the error\n{agent.tail()}")
    code, status = ask(commands, config)
    assert (code, status["numbers_from"], status["backlog_files"]) == (1, "agent", 3)
    assert "nobody listens at the receiver's address" in str(status["last_error"])
    age_s = status["oldest_unshipped_s"]
    assert isinstance(age_s, float)
    assert age_s > 0


def test_status_lists_what_is_set_aside(commands: Commands, receiver: Receiver, spool: Path) -> None:
    """A file whose name no receiver may store is listed with the reason, running or not; the rest is shipped."""
    deep = spool
    for _ in range(9):
        deep /= "d" * 240
    deep.mkdir(parents=True)
    (deep / "lost.bin").write_bytes(b"x")
    config = commands.write_agent_config(spool, receiver.url)
    agent = commands.start_agent(config)
    wait_until(lambda: ask(commands, config)[1]["aside"], what=f"a file set aside\n{agent.tail()}")
    for stop in (lambda: None, agent.kill):
        stop()
        code, status = ask(commands, config)
        assert code == 1
        (aside,) = status["aside"]  # type: ignore[misc]
        assert aside["path"].endswith("lost.bin")
        assert "2048" in aside["reason"]
    table = commands.run("ml-logger-agent", "status", "--config", config)
    assert table.wait() == 1
    assert "lost.bin" in table.stdout


def test_no_token_is_said_even_if_the_receiver_says_it(
    commands: Commands, open_proxy: Callable[[tuple[str, int]], Proxy], spool: Path
) -> None:
    """A box in between that quotes the header back: neither status, nor the log, nor the doctor repeats the token."""
    proxy = open_proxy(("127.0.0.1", 1))
    proxy.default = Answer(502, json.dumps({"error": f"upstream refused Bearer {TOKEN}"}).encode(), "application/json")
    config = commands.write_agent_config(spool, proxy.url, drain_timeout_s=0.2, heartbeat_s=0.2)
    agent = commands.start_agent(config)
    wait_until(lambda: ask(commands, config)[1]["last_error"], what=f"the error\n{agent.tail()}")
    assert "[secret]" in str(ask(commands, config)[1]["last_error"])
    doctor = commands.run("ml-logger-agent", "doctor", "--config", config)
    agent.terminate()
    said = [agent.stderr, agent.stdout, doctor.stdout, doctor.stderr, *map(str, picture_of(spool).values())]
    said += [running.stdout + running.stderr for running in commands.started]
    assert not [text for text in said if TOKEN in text]
    assert "[secret]" in agent.stderr


def test_an_idle_agent_costs_next_to_nothing_for_it(commands: Commands, receiver: Receiver, spool: Path) -> None:
    """Status, heartbeats and metrics of an idle agent take under 1 % of a core; on a busy machine under 2 %."""
    settings = {"heartbeat_s": 1.0, "prometheus": {"port": 0}, "scan_interval_s": 5.0}
    agent = commands.start_agent(commands.write_agent_config(spool, receiver.url, **settings))
    wait_until(lambda: (said := maybe_said(spool / AGENT_DIR, 0.0)) and said.progress.shipped_files >= 3)

    def refreshed() -> int:
        with suppress(FileNotFoundError):
            return (spool / AGENT_DIR / AGENT_STATUS).stat().st_mtime_ns
        return 0

    first = refreshed()
    wait_until(lambda: refreshed() > first + 4_000_000_000, what="the agent to be idle")
    begun, begun_s, begun_cpu_s = refreshed(), time.monotonic(), cpu_s(agent.process.pid)
    wait_until(lambda: refreshed() > begun + 9_000_000_000, what="two refreshes without news")
    share = (cpu_s(agent.process.pid) - begun_cpu_s) / (time.monotonic() - begun_s)
    assert share < 0.02, share


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (("status",), "spool"),
        (("status", "--config", "/nowhere/agent.yaml"), "/nowhere/agent.yaml"),
        (("stauts",), "stauts"),
        (("run", "--json"), "--json"),
        (("status", "--once"), "--once"),
        (("status", "--no-probe"), "--no-probe"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(commands: Commands, args: tuple[str, ...], word: str) -> None:
    """Code 2 and one line, as for every command."""
    running = commands.run("ml-logger-agent", *args)
    assert running.wait() == 2
    (line,) = running.stderr.splitlines()
    assert line.startswith("ml-logger-agent: ")
    assert word in line
