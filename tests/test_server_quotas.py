"""Quotas: what goes over one is refused with prefix and figures, others go on, and room is found again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
import yaml
from batches import Part, append, apply, commit, content_of, stage
from processes import TOKEN, Commands, read_mirror, read_spool, wait_until
from serving import Site, serving

from ml_logger import wire
from ml_logger.errors import ConfigError, StoreError
from ml_logger.server.config import load_config
from ml_logger.server.local_store import LocalStore
from ml_logger.server.quotas import Quotas
from ml_logger.server.trash_cli import main as trash
from ml_logger.wire import Manifest, Outcome

LINES = b'{"_step":0}\n' * 10
SIZE = len(LINES)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    store = LocalStore(tmp_path / "data")
    yield store
    store.close()


class Counting(LocalStore):
    """A store that says when what it holds was counted."""

    def usage(self, folder: str) -> int:
        try:
            return super().usage(folder)
        finally:
            self.counted.set()

    def __init__(self, data_dir: Path) -> None:
        self.counted = threading.Event()
        super().__init__(data_dir)


@contextmanager
def bounded(tmp_path: Path, most_bytes: int, folder: str = "team") -> Iterator[Site]:
    """Serve a store with a quota that is in force."""
    store = Counting(tmp_path / "data")
    with serving(store, quotas={folder: most_bytes}) as site:
        assert store.counted.wait(30)
        yield site
    store.close()


def send(site: Site, *parts: Part) -> list[Outcome]:
    items = tuple(item for item, _ in parts)
    body = wire.encode_batch(Manifest("s", items), [payload for _, payload in parts], compress=False)
    answer = site.post("/v1/batch", body)
    assert answer.status_code == 200, answer.text
    return list(wire.decode_answer(answer.content, items).outcomes)


def sent(site: Site, *parts: Part) -> list[str]:
    return [outcome.result for outcome in send(site, *parts)]


def test_what_goes_over_is_refused_alone(tmp_path: Path) -> None:
    """An item over the quota is rejected with folder, held and allowed; what fits and what is elsewhere is stored."""
    with bounded(tmp_path, SIZE + 5) as site:
        parts = (append("team/a", LINES), append("team/b", LINES), append("teams/c", LINES), append("team/d", b"small"))
        outcomes = send(site, *parts)
        assert [o.result for o in outcomes] == ["stored", "rejected", "stored", "stored"]
        assert outcomes[1].reason == f"quota: 'team' holds {SIZE} of {SIZE + 5} bytes, {SIZE} more wanted"
        assert sent(site, append("team/e", b"")) == ["stored"]
    assert not (tmp_path / "data/team/b").exists()


def test_what_is_held_at_the_start_counts(tmp_path: Path) -> None:
    """A quota counts what earlier processes stored, and not what lies beside the folder."""
    store = LocalStore(tmp_path / "data")
    apply(store, append("team/deep/er/a", LINES), append("other", LINES))
    store.close()
    with bounded(tmp_path, 2 * SIZE - 1) as site:
        assert sent(site, append("team/b", LINES)) == ["rejected"]
        assert sent(site, append("team/b", LINES[:-1])) == ["stored"]


def test_room_that_was_not_used_comes_back(tmp_path: Path) -> None:
    """What was there already, or did not fit the file, takes nothing from the quota."""
    with bounded(tmp_path, 3 * SIZE) as site:
        assert sent(site, append("team/a", LINES)) == ["stored"]
        for _ in range(5):
            assert sent(site, append("team/a", LINES)) == ["already"]
            assert sent(site, append("team/a", LINES[::-1])) == ["diverged"]
        assert sent(site, append("team/b", LINES), append("team/c", LINES)) == ["stored", "stored"]


def test_only_what_is_new_counts(tmp_path: Path) -> None:
    """Where all is used, what was stored is answered once more, and an overlap takes its new bytes alone."""
    with bounded(tmp_path, 2 * SIZE) as site:
        whole = commit("team/w", LINES)
        assert sent(site, append("team/m", LINES, 0, SIZE - 40), whole) == ["stored", "stored"]
        for end in range(SIZE - 39, SIZE + 1):
            assert sent(site, append("team/m", LINES, 0, end)) == ["stored"]
        assert sent(site, append("team/m", LINES), append("team/m", LINES, 0, 50), whole) == [
            "already",
            "ahead",
            "already",
        ]
        assert sent(site, append("team/m", LINES + b"x", 0), commit("team/v", b"x")) == ["rejected", "rejected"]


def test_a_file_in_the_place_of_another_takes_the_difference(tmp_path: Path) -> None:
    """A checkpoint that is written again and again needs its room once."""
    with bounded(tmp_path, SIZE) as site:
        before = b""
        for number in range(5):
            content = bytes([number]) * SIZE
            more = {"replaces": wire.Held(wire.Offset(SIZE), wire.crc32(before))} if before else {}
            assert sent(site, commit("team/w", content, upload=str(number), **more)) == ["stored"]
            before = content


def test_many_at_a_time_do_not_pass_it(tmp_path: Path) -> None:
    """Of items that come at the same time just so many are stored as fit."""
    results: list[str] = []
    with bounded(tmp_path, 3 * SIZE) as site:
        threads = [
            threading.Thread(target=lambda n=n: results.extend(sent(site, append(f"team/{n}", LINES))))  # type: ignore[misc]
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert sorted(results) == ["rejected"] * 5 + ["stored"] * 3


def test_the_inner_and_the_outer_folder_both_count(store: LocalStore) -> None:
    """A file is bounded by the quotas of all folders around it, and what one refuses takes nothing from another."""
    quotas = Quotas(store, {"a": 10, "a/b": 4})
    quotas.look()
    assert admit(quotas, store, "a/b/c", 5) == "quota: 'a/b' holds 0 of 4 bytes, 5 more wanted"
    assert admit(quotas, store, "a/b/c", 4) is None
    assert admit(quotas, store, "a/d", 7) == "quota: 'a' holds 4 of 10 bytes, 7 more wanted"
    assert admit(quotas, store, "a/d", 6) is None
    assert admit(quotas, store, "ab/c", 100) is None


def admit(quotas: Quotas, store: LocalStore, path: str, size_bytes: int) -> str | None:
    """Store a file that fits; return why it does not."""
    item, payload = append(path, bytes(size_bytes))
    with quotas.admitting("s", {0: item}) as admission:
        if not admission.refused:
            admission.outcomes[0] = apply(store, (item, payload), source="s")[0]
    return admission.refused.get(0)


def test_a_walk_counts_what_comes_while_it_goes(tmp_path: Path) -> None:
    """What is stored during a walk is counted, the next puts right what was counted twice, a failed one changes nothing."""
    walks = 0

    class Walked(LocalStore):
        def usage(self, folder: str) -> int:
            nonlocal walks
            walks += 1
            if walks == 1:
                assert admit(quotas, self, "a/x", 6) is None  # nothing is known yet, so nothing is refused
            if walks == 3:
                raise StoreError("the disk failed")
            return super().usage(folder)

    store = Walked(tmp_path / "data")
    quotas = Quotas(store, {"a": 10})
    quotas.look()
    assert admit(quotas, store, "a/y", 1) == "quota: 'a' holds 12 of 10 bytes, 1 more wanted"
    quotas.look()
    assert admit(quotas, store, "a/y", 4) is None
    quotas.look()
    assert admit(quotas, store, "a/z", 1) == "quota: 'a' holds 10 of 10 bytes, 1 more wanted"
    store.close()


def test_what_a_commit_claims_to_replace_gives_no_room(tmp_path: Path) -> None:
    """A commit that names what is not held is stored, and takes its own room like any other."""
    claimed = wire.Held(wire.Offset(1 << 62), wire.Crc(1))
    with bounded(tmp_path, SIZE) as site:
        assert sent(site, commit("team/f", b"1", replaces=claimed)) == ["stored"]
        assert sent(site, append("team/m", LINES)) == ["rejected"]
        assert sent(site, append("team/m", LINES[:-1])) == ["stored"]


def test_copies_that_are_built_aside_count(store: LocalStore) -> None:
    """What is staged counts before and after a walk, once as a whole when it is committed, and not once it is let go."""
    quotas = Quotas(store, {"a": 10})
    quotas.look()

    def send(*parts: Part) -> str | None:
        with quotas.admitting("s", {0: parts[0][0]}) as admission:
            if not admission.refused:
                admission.outcomes[0] = apply(store, *parts, source="s")[0]
        return admission.refused.get(0)

    assert send(stage("a/w", b"123456789", 0, 6)) is None
    for _ in range(2):
        assert admit(quotas, store, "a/x", 5) == "quota: 'a' holds 6 of 10 bytes, 5 more wanted"
        quotas.look()
    assert send(commit("a/w", b"123456789", 6)) is None
    for _ in range(2):
        assert admit(quotas, store, "a/x", 5) == "quota: 'a' holds 9 of 10 bytes, 5 more wanted"
        quotas.look()
    assert send(stage("a/w", b"123456789", 0, 1, upload="u2")) is None
    assert send(commit("a/w", b"1bcdefghi", 1, upload="u2")) == "quota: 'a' holds 10 of 10 bytes, 8 more wanted"
    apply(store, commit("a/w", b"123456789", 0, upload="u2"), source="s")  # already there: its copy is let go
    quotas.look()
    assert admit(quotas, store, "a/x", 1) is None


def test_a_copy_that_a_failed_commit_let_go_of(store: LocalStore) -> None:
    """What was aside for a version that is refused takes no room from then on, before anything is counted anew."""
    quotas = Quotas(store, {"a": 10})
    quotas.look()
    for number, part in enumerate((stage("a/w", b"123456789", 0, 6), commit("a/w", b"123456789", 6))):
        with quotas.admitting("s", {0: part[0]}) as admission:
            admission.outcomes[0] = apply(store, part, source="s")[0]
        if number == 0:
            assert admit(quotas, store, "a/x", 5) == "quota: 'a' holds 6 of 10 bytes, 5 more wanted"
            apply(store, commit("a/w", b"of another"), source="t")
    assert admission.outcomes[0].result == "diverged"
    assert admit(quotas, store, "a/x", 5) is None


def test_a_copy_of_an_earlier_process_counts_once_it_goes_on(store: LocalStore) -> None:
    """Of an upload that is resumed all that is aside counts, not only what was sent since."""
    apply(store, stage("a/w", b"123456789", 0, 6), source="s")
    quotas = Quotas(store, {"a": 10})
    quotas.look()
    item, payload = stage("a/w", b"123456789", 6, 7)
    with quotas.admitting("s", {0: item}) as admission:
        admission.outcomes[0] = apply(store, (item, payload), source="s")[0]
    assert admit(quotas, store, "a/x", 4) == "quota: 'a' holds 7 of 10 bytes, 4 more wanted"


def test_what_is_in_the_trash_counts(tmp_path: Path) -> None:
    """What was deleted takes its room until the trash is emptied; what was elsewhere takes none."""
    with bounded(tmp_path, SIZE) as site:
        assert sent(site, append("team/m", LINES)) == ["stored"]
        assert site.session.delete(f"{site.url}/v1/files/team/m", timeout=30).status_code == 200
        assert sent(site, append("team/n", b"x")) == ["rejected"]
    store = LocalStore(tmp_path / "data")
    apply(store, append("teams/m", LINES))
    store.delete("teams/m", "alice")
    assert store.usage("team") == SIZE
    assert trash(["empty", "--data-dir", str(tmp_path / "data")]) == 0
    assert store.usage("team") == 0
    store.close()


def test_a_deletion_is_counted_soon(tmp_path: Path) -> None:
    """After a DELETE what is held is counted again at once, not at the next turn."""
    store = Counting(tmp_path / "data")
    with serving(store, quotas={"team": SIZE}) as site:
        assert store.counted.wait(30)
        assert sent(site, append("team/m", LINES)) == ["stored"]
        store.counted.clear()
        assert site.session.delete(f"{site.url}/v1/files/team/m", timeout=30).status_code == 200
        assert store.counted.wait(30)
    store.close()


def test_put_is_bounded_too(tmp_path: Path) -> None:
    """A file that is put over the quota is answered 507 with the reason; one that is put again takes its room once."""
    with bounded(tmp_path, 2 * SIZE) as site:
        for content in (LINES, LINES, LINES[::-1]):
            assert site.session.put(f"{site.url}/v1/files/team/w", data=content, timeout=30).ok
        answer = site.session.put(f"{site.url}/v1/files/team/v", data=LINES * 2, timeout=30)
        assert (answer.status_code, "quota: 'team'" in answer.text) == (507, True)
        assert sent(site, append("team/m", LINES)) == ["stored"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{../a: 1}", "quotas: path '../a'"),
        ("{/a: 1}", "quotas: path '/a'"),
        ("{a: -1}", "quotas.a is -1"),
        ("{a: lots}", "key 'quotas.a' must be a whole number, not 'lots'"),
        ("[a]", "key 'quotas' must be a mapping"),
    ],
)
def test_a_quota_that_is_none(tmp_path: Path, text: str, words: str) -> None:
    """A folder that no file can be in, or what is no number of bytes, is refused at the start."""
    (tmp_path / "server.yaml").write_text(f"data_dir: x\nquotas: {text}\n")
    with pytest.raises(ConfigError) as refused:
        load_config(tmp_path / "server.yaml", {}, {})
    assert words in refused.value.one_line()


def test_an_agent_over_its_quota(commands: Commands, tmp_path: Path) -> None:
    """Its files are set aside and say why in the status, another team's arrive, and once there is room all is shipped."""
    config = tmp_path / "server.yaml"
    config.write_text(yaml.safe_dump({"data_dir": str(tmp_path / "mirror"), "quotas": {"team": 1000}}))
    (tmp_path / "mirror/team").mkdir(parents=True)
    (tmp_path / "mirror/team/old").write_bytes(bytes(900))
    receiver = commands.start_receiver(tmp_path / "mirror", "--config", str(config))
    wait_until(lambda: is_in_force(receiver.url), 30, "the first walk")
    spool = tmp_path / "spool"
    for name in ("team/run/m.jsonl", "other/run/m.jsonl"):
        (spool / name).parent.mkdir(parents=True)
        (spool / name).write_bytes(LINES)
    agent_config = commands.write_agent_config(spool, receiver.url)
    agent = commands.start_agent(agent_config)
    wait_until(lambda: "quota: 'team' holds" in agent.stderr, 30, "the refusal")
    wait_until(lambda: b"other/run/m.jsonl" in read_mirror(tmp_path / "mirror"), 30, "the other team's file")
    said = "team/run/m.jsonl: the receiver refuses it: quota: 'team' holds 900 of 1000 bytes, 120 more wanted"
    wait_until(lambda: said in status_of(commands, agent_config), 30, "the reason in the status", poll_s=0.2)
    assert agent.terminate() == 1
    receiver.kill()
    (tmp_path / "mirror/team/old").unlink()
    receiver.restart()
    commands.drain(agent_config)
    assert read_spool(spool) == read_mirror(tmp_path / "mirror")


def status_of(commands: Commands, config: Path) -> str:
    return commands.run("ml-logger-agent", "status", "--config", config).stdout


def is_in_force(url: str) -> bool:
    """Whether the quota is what refuses an item, whose bytes are damaged anyhow."""
    item, payload = append("team/probe", bytes(2000))
    body = wire.encode_batch(Manifest("probe", (item,)), [payload[::-1][:-1] + b"x"], compress=False)
    answer = requests.post(f"{url}/v1/batch", data=body, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30)
    reason = wire.decode_answer(answer.content, [item]).outcomes[0].reason
    return reason is not None and reason.startswith(wire.OVER_QUOTA)


def test_content_is_whole_after_a_refusal(tmp_path: Path) -> None:
    """A stream that was refused in the middle goes on where it ended once there is room."""
    store = Counting(tmp_path / "data")
    quotas = {"team": SIZE}
    with serving(store, quotas=quotas) as site:
        assert store.counted.wait(30)
        assert sent(site, append("team/m", LINES), append("team/m", LINES * 2, SIZE)) == ["stored", "rejected"]
    with serving(store, quotas={"team": 2 * SIZE}) as site:
        assert sent(site, append("team/m", LINES * 2, SIZE)) == ["stored"]
    assert content_of(store, "team/m") == LINES * 2
    store.close()
