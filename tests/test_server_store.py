"""What every store must do: the conformance suite, run over each engine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from batches import append, apply, commit, content_of, held_of, names, results, stage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml_logger.errors import BadPath, Changed, Gone, NotHeld
from ml_logger.server.local_store import LocalStore
from ml_logger.server.store import Store
from ml_logger.wire import NOTHING

ENGINES: dict[str, Callable[[Path], Store]] = {"local": LocalStore}

LINES = b'{"_step":0}\n{"_step":1}\n{"_step":2}\n'
OTHER = b'{"_step":9}\n{"_step":8}\n{"_step":7}\n'
CUT = 12


class Reopening:
    """A store that can be closed and opened again, with nothing remembered."""

    def __init__(self, engine: Callable[[Path], Store], root: Path) -> None:
        self._engine, self._root = engine, root
        self.store = engine(root)

    def reopen(self) -> Store:
        self.store.close()
        self.store = self._engine(self._root)
        return self.store


@pytest.fixture(params=sorted(ENGINES))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reopening]:
    place = Reopening(ENGINES[request.param], tmp_path / "data")
    yield place
    place.store.close()


@pytest.fixture
def store(place: Reopening) -> Store:
    return place.store


# --- checking


def test_a_healthy_store_has_no_findings(place: Reopening) -> None:
    """Streams, whole files and a half sent upload are as they should be, after a restart too; mending changes nothing."""
    apply(
        place.store, append("a/m.jsonl", LINES), append("events.out.tfevents.1", b"no line"), commit("w.txt", b"whole")
    )
    apply(place.store, append("nuls.log", LINES + bytes(10) + b"\n"), stage("large", OTHER, 0, CUT))
    for reopen in (False, True):
        store = place.reopen() if reopen else place.store
        assert list(store.check()) == []
        assert list(store.check(repair=True)) == []
        assert content_of(store, "a/m.jsonl") == LINES
    assert results(place.store, commit("large", OTHER, CUT)) == ["stored"]


# --- how it is


def test_a_store_that_can_take_data_says_so(store: Store) -> None:
    """A probe raises nothing and leaves nothing, and there is room."""
    store.probe()
    assert store.free_bytes() > 0
    assert store.list("").entries == ()


def test_what_it_waits_for_is_counted(store: Store) -> None:
    """Each acknowledgement waits for the disk; what is not at its place yet is settled when the store is closed."""
    before = store.vitals().disk_waits
    apply(store, append("a/m.jsonl", LINES))
    now = store.vitals()
    assert now.disk_waits > before
    assert now.unsettled_bytes >= 0


# --- streams


def test_appends_make_the_file(store: Store) -> None:
    """Two appends in a row give one file with both, and the outcome says what is held."""
    assert [o.held for o in apply(store, append("a/m.jsonl", LINES, 0, CUT))] == [held_of(LINES[:CUT])]
    assert [o.held for o in apply(store, append("a/m.jsonl", LINES, CUT))] == [held_of(LINES)]
    assert content_of(store, "a/m.jsonl") == LINES


def test_appends_to_one_file_in_one_batch(store: Store) -> None:
    """Items of one batch build on each other in their order."""
    assert results(store, append("m", LINES, 0, CUT), append("m", LINES, CUT)) == ["stored", "stored"]
    assert content_of(store, "m") == LINES


def test_a_resend_is_already_there(place: Reopening) -> None:
    """A batch sent again after a lost answer changes nothing, also after a restart."""
    parts = (append("m", LINES, 0, CUT), append("m", LINES, CUT), commit("w", b"whole"))
    apply(place.store, *parts)
    assert results(place.store, *parts) == ["ahead", "already", "already"]
    assert results(place.reopen(), *parts) == ["ahead", "already", "already"]
    assert content_of(place.store, "m") == LINES


def test_a_gap_is_behind(store: Store) -> None:
    """An append past the end is not stored; the answer says where to go on."""
    apply(store, append("m", LINES, 0, CUT))
    (outcome,) = apply(store, append("m", LINES, CUT + 5))
    assert (outcome.result, outcome.held) == ("behind", held_of(LINES[:CUT]))
    (outcome,) = apply(store, append("new/folder/m", LINES, CUT))
    assert (outcome.result, outcome.held) == ("behind", held_of(b""))
    assert names(store.list("").entries) == ["m"]


@pytest.mark.parametrize("held_bytes", range(CUT, len(LINES)))
def test_a_torn_write_is_completed(place: Reopening, held_bytes: int) -> None:
    """An earlier write of the same payload that stopped anywhere is completed."""
    apply(place.store, append("m", LINES, 0, held_bytes))
    store = place.reopen()
    assert results(store, append("m", LINES, CUT)) == ["stored"]
    assert content_of(store, "m") == LINES


def test_a_longer_file_is_ahead(store: Store) -> None:
    """A payload that lies within what is held is answered with all that is held."""
    apply(store, append("m", LINES))
    (outcome,) = apply(store, append("m", LINES, 0, CUT))
    assert (outcome.result, outcome.held) == ("ahead", held_of(LINES))


@pytest.mark.parametrize(
    "sent",
    [
        append("m", OTHER, len(OTHER)),  # right length, other CRC
        append("m", OTHER),
        append("m", LINES[:CUT] + OTHER[CUT:] + b"more"),
        append("m", OTHER[:CUT] + LINES[CUT:], CUT),
        append("m", OTHER + b"more", len(OTHER)),
    ],
)
def test_other_bytes_are_diverged(place: Reopening, sent: object) -> None:
    """Where prefix or overlap differ nothing is written, and the answer says what is held."""
    apply(place.store, append("m", LINES))
    for store in (place.store, place.reopen()):
        (outcome,) = apply(store, sent)  # type: ignore[arg-type]
        assert (outcome.result, outcome.held) == ("diverged", held_of(LINES))
        assert content_of(store, "m") == LINES


def test_an_empty_append_makes_an_empty_file(store: Store) -> None:
    """Length 0 is a file with nothing in it, or a proof of what is held."""
    assert results(store, append("m", b"")) == ["stored"]
    assert results(store, append("m", b"")) == ["already"]
    apply(store, append("m", LINES))
    assert results(store, append("m", LINES, len(LINES))) == ["already"]
    assert results(store, append("m", OTHER, len(OTHER))) == ["diverged"]
    assert content_of(store, "m") == LINES


def test_a_corrupt_payload_is_rejected(store: Store) -> None:
    """A payload without its CRC is not written, and says that it was damaged; the others are stored."""
    item, payload = append("bad", LINES)
    flipped = bytes([payload[0] ^ 1]) + payload[1:]
    first, second = apply(store, (item, flipped), append("good", LINES))
    assert first.result == "rejected"
    assert first.reason is not None
    assert first.reason.startswith("payload corrupt")
    assert second.result == "stored"
    assert names(store.list("").entries) == ["good"]


def test_a_prefix_that_lies_about_its_crc(store: Store) -> None:
    """`crc_before` at offset 0 must be that of no bytes."""
    item, payload = append("m", LINES, CUT)
    moved = type(item)(item.path, item.op, type(item.offset)(0), item.length, item.crc_before, item.crc)
    assert results(store, (moved, payload)) == ["diverged"]
    assert store.stat(["m"]) == [None]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    held=st.integers(0, 40),
    sent=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 20)), max_size=8),
    flip=st.integers(0, 200),
)
def test_a_stream_is_always_a_prefix(
    tmp_path_factory: pytest.TempPathFactory, held: int, sent: list[tuple[int, int]], flip: int
) -> None:
    """Whatever honest pieces arrive in whatever order, the file is a prefix of the sender's and never shrinks."""
    content = bytes((i * 37 + flip) % 256 for i in range(64))
    store = LocalStore(tmp_path_factory.mktemp("prefix"))
    apply(store, append("m", content, 0, held))
    size = held
    for start, length in sent:
        (outcome,) = apply(store, append("m", content, start, start + length))
        stored = content_of(store, "m")
        assert stored == content[: len(stored)]
        assert len(stored) >= size
        assert outcome.held == held_of(stored)
        assert (outcome.result in ("stored", "already")) == (start <= size and len(stored) == start + length)
        size = len(stored)
    store.close()


# --- whole files


def test_a_small_file_is_one_commit(store: Store) -> None:
    """One item with all the bytes makes the file, with its time."""
    (outcome,) = apply(store, commit("images/a/0.png", b"PNG", mtime_ns=10**18))
    assert (outcome.result, outcome.held) == ("stored", held_of(b"PNG"))
    (entry,) = store.list("images/a").entries
    assert (entry.name, entry.kind, entry.size, entry.mtime_ns) == ("0.png", "file", 3, 10**18)


def test_a_large_file_is_staged_out_of_sight(place: Reopening) -> None:
    """Staged bytes are in no listing, survive a restart, and become the file with the commit."""
    assert results(place.store, stage("w", LINES, 0, CUT)) == ["stored"]
    store = place.reopen()
    assert (store.list("").entries, store.stat(["w"])) == ((), [None])
    assert results(store, stage("w", LINES, CUT, 20), commit("w", LINES, 20)) == ["stored", "stored"]
    assert content_of(store, "w") == LINES


def test_staging_resumes(store: Store) -> None:
    """A staged copy answers like a stream: behind, ahead, already, torn."""
    apply(store, stage("w", LINES, 0, CUT))
    (outcome,) = apply(store, commit("w", LINES, CUT + 1))
    assert (outcome.result, outcome.held) == ("behind", held_of(LINES[:CUT]))
    assert results(store, stage("w", LINES, 0, CUT)) == ["already"]
    (outcome,) = apply(store, stage("w", LINES, 0, CUT - 1))
    assert (outcome.result, outcome.held) == ("ahead", held_of(LINES[:CUT]))
    assert results(store, stage("w", LINES, CUT - 2, CUT + 2), commit("w", LINES, CUT + 2)) == ["stored", "stored"]


def test_a_staged_copy_of_other_bytes_is_begun_again(store: Store) -> None:
    """A staged copy that is not a prefix of what is sent is of no use to anybody: the sender starts anew."""
    apply(store, stage("w", OTHER, 0, CUT))
    (outcome,) = apply(store, commit("w", LINES, CUT))
    assert (outcome.result, outcome.held) == ("behind", held_of(b""))
    apply(store, stage("w", OTHER))
    assert results(store, commit("w", LINES)) == ["stored"]
    apply(store, stage("v", LINES + b"longer"))
    assert results(store, commit("v", LINES)) == ["stored"]
    assert [content_of(store, path) for path in ("w", "v")] == [LINES, LINES]


def test_uploads_do_not_mix(store: Store) -> None:
    """Two versions, and two sources, each build their own copy."""
    apply(store, stage("w", LINES, 0, CUT, upload="one"))
    apply(store, stage("w", OTHER, 0, CUT, upload="two"))
    apply(store, stage("w", OTHER, 0, CUT, upload="one"), source="source-2")
    assert results(store, commit("w", LINES, CUT, upload="one")) == ["stored"]
    assert content_of(store, "w") == LINES


def test_a_new_version_replaces_what_it_names(store: Store) -> None:
    """The source that stored a file may store a newer one there: it is told that the old one is its own, and names it."""
    apply(store, commit("w", LINES))
    (told,) = apply(store, commit("w", OTHER))
    assert (told.result, told.is_own, told.held) == ("diverged", True, held_of(LINES))
    assert results(store, commit("w", OTHER, replaces=held_of(LINES))) == ["stored"]
    assert content_of(store, "w") == OTHER


def test_a_request_that_comes_late_replaces_nothing_newer(store: Store) -> None:
    """What was resent because no answer came may still be applied, after the file's next versions."""
    first, second = LINES, OTHER
    late = commit("w", first)
    apply(store, late)
    apply(store, commit("w", second, replaces=held_of(first)))
    assert results(store, late) == ["diverged"]
    assert content_of(store, "w") == second


def test_an_empty_file_is_not_nothing(store: Store) -> None:
    """A commit that names nothing as replaced does not take an empty file's place; one that names the empty file does."""
    apply(store, commit("w", b""))
    (told,) = apply(store, commit("w", LINES))
    assert (told.result, told.is_own, told.held) == ("diverged", True, NOTHING)
    assert results(store, commit("w", LINES, replaces=NOTHING)) == ["stored"]
    assert results(store, commit("new", LINES, replaces=NOTHING)) == ["stored"]


def test_another_source_does_not_replace(place: Reopening) -> None:
    """Two machines with one name: the second is told what is held; what it names as replaced it may replace."""
    apply(place.store, commit("w", LINES))
    store = place.reopen()
    (outcome,) = apply(store, commit("w", OTHER), source="source-2")
    assert (outcome.result, outcome.held) == ("diverged", held_of(LINES))
    assert content_of(store, "w") == LINES
    assert results(store, commit("w", OTHER, replaces=held_of(OTHER)), source="source-2") == ["diverged"]
    assert results(store, commit("w", OTHER, replaces=held_of(LINES)), source="source-2") == ["stored"]


def test_the_same_file_from_another_source_is_already_there(store: Store) -> None:
    """Equal bytes are no conflict."""
    apply(store, commit("w", LINES))
    assert results(store, commit("w", LINES), source="source-2") == ["already"]


def test_a_whole_file_and_a_stream_under_one_name(store: Store) -> None:
    """A batch may hold them in any order; each sees what the one before it did."""
    parts = (commit("w", LINES), append("w", LINES + b"x", len(LINES)), commit("w", OTHER, upload="2"))
    first, second, third = results(store, *parts)
    assert (first, second) == ("stored", "stored")
    assert content_of(store, "w") == {"stored": OTHER, "diverged": LINES + b"x"}[third]


def test_an_empty_whole_file(store: Store) -> None:
    """A file of no bytes is a file."""
    assert results(store, commit("w", b"")) == ["stored"]
    assert store.stat(["w"]) == [held_of(b"")]


# --- paths

HOSTILE = [
    "",
    "/etc/passwd",
    "../out",
    "a/../../out",
    "a/./b",
    "a//b",
    "a/",
    ".",
    "..",
    "a\0b",
    "a\\b",
    "a\nb",
    "a\x7fb",
    "a\x85b",
    ".ml-logger/stage/x",
    ".ML-Logger/x",
    "x" * 256,
    "/".join(["d"] * 65),
    "/".join(["x" * 200] * 11),
    "\ud800",
]


@pytest.mark.parametrize("path", HOSTILE)
def test_a_hostile_path_costs_its_own_item(store: Store, tmp_path: Path, path: str) -> None:
    """It is rejected with a reason, nothing is written anywhere, and the rest of the batch is stored."""
    outcomes = apply(store, append(path, LINES), commit(path, LINES), stage(path, LINES), append("good", LINES))
    assert [o.result for o in outcomes] == ["rejected"] * 3 + ["stored"]
    assert all(o.reason for o in outcomes[:3])
    assert names(store.list("").entries) == ["good"]
    assert [p.name for p in tmp_path.iterdir()] == ["data"]
    assert store.stat([path, "good"]) == [None, held_of(LINES)]
    with pytest.raises(BadPath):
        store.open(path)


def test_a_file_is_no_folder(store: Store) -> None:
    """A file where a folder should be, or a folder where a file should be, costs that item alone."""
    apply(store, append("file", LINES), append("folder/m", LINES))
    parts = (append("file/m", LINES), commit("file/w", LINES), append("folder", LINES), commit("folder", LINES))
    assert results(store, *parts, append("new", LINES)) == ["rejected"] * 4 + ["stored"]
    assert store.stat(["folder", "file/m"]) == [None, None]
    for path in ("folder", "file/m", "none", "none/m"):
        with pytest.raises(NotHeld):
            store.open(path)


def test_names_keep_their_unicode(store: Store) -> None:
    """Composed and decomposed, spaces, emoji, percent signs: stored as they came."""
    paths = ["caf\u00e9", "cafe\u0301", " a b ", "%41", "\U0001f600", "a" * 255, "…/‮x"]
    assert set(results(store, *(append(p, p.encode()) for p in paths))) == {"stored"}
    assert [content_of(store, p).decode() for p in paths] == paths


# --- reading back


def test_stat_answers_in_order(store: Store) -> None:
    """Each path gets its own answer, also one that is asked for twice."""
    apply(store, append("b", LINES), append("a", OTHER))
    assert store.stat(["b", "none", "a", "b"]) == [held_of(LINES), None, held_of(OTHER), held_of(LINES)]


def test_a_listing_is_sorted_and_paged(store: Store) -> None:
    """Pages follow each other without a gap; the receiver's own folder is never in them."""
    apply(store, *(append(f"run/{n:02}", LINES) for n in range(10)), append("top", LINES))
    assert names(store.list("").entries) == ["run", "top"]
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        page = store.list("run", after=after, limit=3)
        seen += names(page.entries)
        after = page.next_after
    assert seen == [f"{n:02}" for n in range(10)]


def test_what_is_not_a_folder_is_not_listed(store: Store) -> None:
    """Files and missing folders are not held as folders; hostile ones are refused."""
    apply(store, append("file", LINES))
    for folder in ("file", "none"):
        with pytest.raises(NotHeld):
            store.list(folder)
    for folder in ("..", ".ml-logger", "/"):
        with pytest.raises(BadPath):
            store.list(folder)


def test_an_open_file_keeps_its_size(store: Store) -> None:
    """A reader sees the file as long as it was; its version tells a longer one apart."""
    apply(store, append("m", LINES, 0, CUT))
    before = store.open("m")
    apply(store, append("m", LINES, CUT))
    after = store.open("m")
    assert (before.size, after.size) == (CUT, len(LINES))
    assert before.version != after.version
    assert before.read(3, 4) == LINES[3:7]
    assert after.read(len(LINES) - 2, 100) == LINES[-2:]
    before.close()
    after.close()


# --- many at once


def side_by_side(*works: Callable[[], object]) -> None:
    """Run `works` in threads that start together, and raise what any of them raised."""
    barrier, errors = threading.Barrier(len(works)), []

    def run(work: Callable[[], object]) -> None:
        barrier.wait()
        try:
            work()
        except Exception as error:  # noqa: BLE001  # handed to the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "a thread is stuck"
    if errors:
        raise errors[0]


def test_one_stream_from_many_threads(store: Store) -> None:
    """The same pieces from four senders at once give the file once."""
    content = bytes(range(256)) * 20
    pieces = [append("m", content, start, start + 64) for start in range(0, len(content), 64)]
    side_by_side(*[lambda: [apply(store, piece) for piece in pieces]] * 4)
    assert content_of(store, "m") == content


def test_batches_that_share_files_in_other_orders(store: Store) -> None:
    """Two batches with the same files the other way round do not wait for each other for ever."""
    forth = [append(f"m{n}", LINES) for n in range(20)] + [commit(f"w{n}", LINES) for n in range(20)]
    side_by_side(*[lambda: apply(store, *forth), lambda: apply(store, *reversed(forth))] * 3)
    assert store.stat([item.path for item, _ in forth]) == [held_of(LINES)] * 40


def test_two_first_commits_of_one_name(store: Store) -> None:
    """Of sources that commit one name at once exactly one is stored; every other is told that it diverged."""
    contents = [bytes([n]) * 1000 for n in range(6)]
    outcomes: dict[int, str] = {}

    def send(n: int) -> None:
        (outcomes[n],) = results(store, commit("w", contents[n]), source=f"source-{n}")

    side_by_side(*[lambda n=n: send(n) for n in range(6)])
    assert sorted(outcomes.values()) == ["diverged"] * 5 + ["stored"]
    (winner,) = [n for n, result in outcomes.items() if result == "stored"]
    assert content_of(store, "w") == contents[winner]


# --- usage


def test_usage_is_what_the_files_below_a_folder_have(store: Store) -> None:
    """Bytes of all files below, however deep; nothing for what is no folder; a staged copy is not there yet."""
    apply(store, append("a/m", LINES), append("a/b/c/m", LINES), commit("a/w", OTHER), append("ab", LINES))
    apply(store, stage("a/large", LINES * 2, 0, CUT))
    assert store.usage("a") == 2 * len(LINES) + len(OTHER)
    assert store.usage("a/b") == len(LINES)
    assert [store.usage(path) for path in ("none", "a/none", "ab", "ab/c")] == [0, 0, 0, 0]
    with pytest.raises(BadPath):
        store.usage("../a")


def test_a_copy_aside_is_measured_and_let_go(store: Store) -> None:
    """It is as large as what came of it, of its source and version alone, and nothing once dropped or committed."""
    apply(store, stage("w", OTHER, 0, CUT))
    assert store.staged_bytes("w", "source-1", "upload-1") == CUT
    store.drop_staged("w", "source-2", "upload-1")
    store.drop_staged("w", "source-1", "upload-2")
    assert store.staged_bytes("w", "source-1", "upload-1") == CUT
    store.drop_staged("w", "source-1", "upload-1")
    assert store.staged_bytes("w", "source-1", "upload-1") == 0
    assert results(store, commit("w", OTHER, CUT)) == ["behind"]
    assert results(store, stage("w", OTHER, 0, CUT), commit("w", OTHER, CUT)) == ["stored", "stored"]
    assert store.staged_bytes("w", "source-1", "upload-1") == 0


def test_what_was_deleted_is_used_still(store: Store) -> None:
    """The usage of a folder counts what of it lies in the trash, and not that of a folder whose name begins alike."""
    apply(store, append("a/m", LINES), append("a/n", LINES), append("ab/m", LINES))
    store.delete("a/m", "alice")
    store.delete("ab", "alice")
    assert store.usage("a") == 2 * len(LINES)


def test_a_version_is_deleted_or_none(store: Store) -> None:
    """Asked to delete one version, a store deletes no other one, and no folder; its own goes."""
    apply(store, commit("a/w", LINES))
    older = version_at(store, "a/w")
    apply(store, commit("a/w", OTHER, upload="2", replaces=held_of(LINES)))
    for path in ("a/w", "a"):
        with pytest.raises(Changed):
            store.delete(path, "alice", version=older)
    assert content_of(store, "a/w") == OTHER
    assert store.delete("a/w", "alice", version=version_at(store, "a/w")).files == 1
    assert store.stat(["a/w"]) == [None]


def version_at(store: Store, path: str) -> str:
    file = store.open(path)
    file.close()
    return file.version


def test_listings_at_the_same_time_are_whole(store: Store) -> None:
    """Many who list the top at a time each see every name."""
    apply(store, *(append(f"{number:03d}/m", LINES) for number in range(100)))
    found: list[int] = []

    def look() -> None:
        found.extend(len(store.list("").entries) for _ in range(50))

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [100] * 400


# --- deleting


def require_gone(store: Store, path: str) -> None:
    """Require that nothing is held at `path`, that nobody can read it, and that whoever sends it is told."""
    assert store.stat([path]) == [None]
    with pytest.raises(Gone):
        store.open(path)
    outcomes = apply(store, append(path, LINES), commit(path, b"whole"), stage(path, LINES, 0, CUT))
    assert [(o.result, o.is_gone) for o in outcomes] == [("rejected", True)] * 3
    assert all(o.reason and "payload corrupt" not in o.reason for o in outcomes)


def test_a_deleted_file_is_gone(place: Reopening) -> None:
    """It is not held, read, listed or taken again, nor after a restart; what stands beside it is untouched."""
    apply(place.store, append("run/m", LINES), append("run/n", OTHER))
    deleted = place.store.delete("run/m", "alice")
    assert (deleted.files, deleted.size_bytes) == (1, len(LINES))
    for store in (place.store, place.reopen()):
        require_gone(store, "run/m")
        assert names(store.list("run").entries) == ["n"]
        assert content_of(store, "run/n") == OTHER


def test_a_deleted_folder_is_gone_with_all_below(place: Reopening) -> None:
    """What was below it is gone, and so is what would be new there; names that only begin like it are not."""
    apply(place.store, append("a/run/m", LINES), commit("a/run/images/0.png", b"whole"), append("a/running", OTHER))
    deleted = place.store.delete("a/run", "alice")
    assert (deleted.files, deleted.size_bytes) == (2, len(LINES) + 5)
    for store in (place.store, place.reopen()):
        for path in ("a/run", "a/run/m", "a/run/images/0.png", "a/run/new/1.png"):
            require_gone(store, path)
        for folder in ("a/run", "a/run/images"):
            with pytest.raises(Gone):
                store.list(folder)
        assert names(store.list("a").entries) == ["running"]
        assert store.stat(["a/running"]) == [held_of(OTHER)]


def test_what_can_not_be_deleted(store: Store) -> None:
    """A refused path, one that is not held, and one that is deleted already each have their error, and change nothing."""
    apply(store, append("run/m", LINES))
    for path in ("", "../m", "/run", ".ml-logger", ".ml-logger/trash"):
        with pytest.raises(BadPath):
            store.delete(path, "alice")
    for path in ("none", "run/none", "run/m/below"):
        with pytest.raises(NotHeld) as caught:
            store.delete(path, "alice")
        assert not isinstance(caught.value, Gone)
    assert results(store, append("none", LINES)) == ["stored"]
    store.delete("run", "alice")
    for path in ("run", "run/m", "run/none"):
        with pytest.raises(Gone):
            store.delete(path, "alice")


def test_a_folder_with_something_deleted_in_it(place: Reopening) -> None:
    """A deletion below another one is covered by it."""
    apply(place.store, append("run/m", LINES), append("run/n", LINES))
    place.store.delete("run/m", "alice")
    assert place.store.delete("run", "bob").files == 1
    require_gone(place.reopen(), "run/n")


def test_a_deletion_amid_appends(store: Store) -> None:
    """However many append below it, a deletion takes all that was acknowledged before it, and nothing comes after it."""
    content = LINES * 50
    acknowledged: dict[int, int] = {}
    counts: list[int] = []

    def send(n: int) -> None:
        for start in range(0, len(content), len(LINES)):
            (outcome,) = apply(store, append(f"run/{n}/m", content, start, start + len(LINES)))
            if outcome.is_gone:
                return
            acknowledged[n] = outcome.held.size if outcome.held else 0

    def delete() -> None:
        while len(acknowledged) < 3:
            pass
        counts.append(store.delete("run", "alice").size_bytes)

    side_by_side(*[lambda n=n: send(n) for n in range(3)], delete)
    assert counts == [sum(acknowledged.values())]
    assert store.list("").entries == ()


def test_deletions_at_once(store: Store) -> None:
    """Of many who delete one thing at once one does."""
    apply(store, append("run/m", LINES))
    results_: list[str] = []

    def delete() -> None:
        try:
            results_.append(str(store.delete("run", "alice").files))
        except NotHeld as error:
            results_.append(type(error).__name__)

    side_by_side(*[delete] * 6)
    assert sorted(set(results_)) in (["1"], ["1", "Gone"])
    require_gone(store, "run/m")
