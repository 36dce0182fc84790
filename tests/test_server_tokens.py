"""Tokens: the file and its command, who gets in with which right, and that nobody sees what is another's."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import orjson
import pytest
import requests
from batches import append, content_of
from processes import Commands, wait_first_line, wait_until
from serving import Site, exchange, serving

from ml_logger import wire
from ml_logger.errors import ConfigError, UsageError
from ml_logger.server import admission, auth, patience, tokens
from ml_logger.server.auth import Caller, Door, Right, digest_of
from ml_logger.server.cli import main
from ml_logger.server.last_good import LastGood
from ml_logger.server.local_store import LocalStore
from ml_logger.server.patience import (
    FORGET_S,
    FREE_FAILURES,
    LONGEST_WAIT_S,
    MOST_ADDRESSES,
    MOST_WAITING,
    MOST_WAITING_AN_ADDRESS,
    MOST_WELCOME,
    Patience,
    wait_s,
)
from ml_logger.server.tokens import TokenFile, add_token, list_tokens, revoke_token
from ml_logger.wire import Manifest, Outcome

LINES = b'{"_step":0}\n' * 9


def rights(*names: Right) -> frozenset[Right]:
    return frozenset(names)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


# --- the file


def test_a_token_opens_until_it_is_revoked(file: Path) -> None:
    """A running receiver takes up what is added and what is revoked, without a restart."""
    first = add_token(file, Caller("a", rights("write")))
    door = Door(TokenFile(file).current)
    assert door.maybe_caller(f"Bearer {first}") == Caller("a", rights("write"))
    second = add_token(file, Caller("b", rights("read"), "team/b"))
    assert door.maybe_caller(f"Bearer {second}") == Caller("b", rights("read"), "team/b")
    revoke_token(file, "a")
    assert door.maybe_caller(f"Bearer {first}") is None
    assert door.maybe_caller(f"Bearer {second}") is not None
    revoke_token(file, "b")
    assert door.maybe_caller(f"Bearer {second}") is None
    assert not door.is_open


def test_the_file_holds_no_token(file: Path) -> None:
    """What is written is the hash, for its owner alone to read; rights of a file that was there stay as they are."""
    token = add_token(file, Caller("a"))
    assert token not in file.read_text(encoding="utf-8")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o640)
    add_token(file, Caller("b"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert os.listdir(file.parent) == [file.name]


def test_a_link_to_the_file_stays_one(tmp_path: Path) -> None:
    """What is changed by a link is changed for those who read the file by its own name, and nothing is left beside either."""
    real = tmp_path / "real"
    real.mkdir()
    link = tmp_path / "link"
    link.symlink_to("real/tokens")
    add_token(link, Caller("a"))
    add_token(link, Caller("b"))
    revoke_token(link, "a")
    assert link.is_symlink()
    assert [one.token.caller.name for one in list_tokens(real / "tokens")] == ["b"]
    assert (os.listdir(real), sorted(os.listdir(tmp_path))) == (["tokens"], ["link", "real"])


def test_a_link_to_itself_is_one_line(file: Path) -> None:
    """It is refused like any other file that can't be written."""
    file.symlink_to(file)
    with pytest.raises(UsageError):
        add_token(file, Caller("a"))


def test_a_change_is_durable_before_it_is_said(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new content is fsynced before it takes the file's name, and the folder after: a token that was printed stays."""
    add_token(file, Caller("a"))
    done: list[tuple[str, str]] = []
    fsync, rename = os.fsync, Path.rename

    def note_fsync(fd: int) -> None:
        fsync(fd)
        done.append(("fsync", os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))))

    def note_rename(old: Path, new: Path) -> Path:
        done.append(("rename", old.name))
        return rename(old, new)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "rename", note_rename)
    add_token(file, Caller("b"))
    aside = f".{file.name}.tmp-{os.getpid()}"
    assert done == [("fsync", aside), ("rename", aside), ("fsync", file.parent.name)]


def test_tokens_are_compared_in_constant_time(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every known digest is compared, by a function that takes as long whatever is equal, also behind the one that fits."""
    first = add_token(file, Caller("a"))
    add_token(file, Caller("b"))
    known = TokenFile(file).current()
    compared: list[tuple[bytes, bytes]] = []
    monkeypatch.setattr(
        auth.hmac, "compare_digest", lambda one, other: bool(compared.append((one, other))) or one == other
    )
    assert Door(lambda: known).maybe_caller(f"Bearer {first}") == Caller("a")
    assert compared == [(token.digest, digest_of(first)) for token in known]


def test_those_who_add_at_once_wait_for_each_other(file: Path) -> None:
    """No token is lost between two who change the file at the same time."""
    threads = [threading.Thread(target=add_token, args=(file, Caller(f"n{n}"))) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {one.token.caller.name for one in list_tokens(file)} == {f"n{n}" for n in range(12)}


def test_a_bare_token_is_taken_as_one_with_all_rights(file: Path) -> None:
    """The short form for one person: the first line is the token; it can't be mixed with the other form."""
    file.write_text("secret-token\n", encoding="utf-8")
    assert Door(TokenFile(file).current).maybe_caller("Bearer secret-token") == Caller("token")
    with pytest.raises(UsageError, match="bare token"):
        add_token(file, Caller("a"))
    assert file.read_text(encoding="utf-8") == "secret-token\n"


@pytest.mark.parametrize(
    "harm", ["{", '{"name":"a"}', "\n\xff", None], ids=["cut", "keys missing", "not UTF-8", "gone"]
)
def test_a_change_that_can_not_be_read_changes_nothing(
    file: Path, harm: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """A slip of the pen neither locks anybody out nor opens the door; it is said once, and healed by the next change."""
    token = add_token(file, Caller("a"))
    good = file.read_bytes()
    known = TokenFile(file)
    if harm is None:
        file.unlink()
    else:
        file.write_bytes(good + harm.encode("latin-1"))
    for _ in range(3):
        assert [one.digest for one in known.current()] == [digest_of(token)]
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    file.write_bytes(b"")
    with pytest.raises(UsageError, match="no token is called"):
        revoke_token(file, "a")
    assert list(known.current()) == []


@pytest.mark.parametrize(
    "slip",
    ["# our tokens\n{}", "<<<<<<< HEAD\n{}", "[{}]", "gpu-box-token\n", "gpu-box-token\n{}", "{}\n>>>>>>> 0a1b2c3d"],
)
def test_a_slip_on_the_first_line_never_makes_a_bare_token(
    file: Path, slip: str, caplog: pytest.LogCaptureFixture
) -> None:
    """No line of a file that held named tokens opens the door as it stands, and those who were in it stay in."""
    token = add_token(file, Caller("a", rights("write"), "team"))
    good = file.read_text(encoding="utf-8")
    door = Door(TokenFile(file).current)
    file.write_text(slip.replace("{}", good), encoding="utf-8")
    for line in file.read_text(encoding="utf-8").split("\n"):
        assert door.maybe_caller(f"Bearer {line}") is None
    assert door.maybe_caller(f"Bearer {token}") == Caller("a", rights("write"), "team")
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_a_byte_order_mark_is_no_part_of_either_form(file: Path) -> None:
    """An editor that puts one first changes neither named tokens nor a bare one."""
    token = add_token(file, Caller("a"))
    known = TokenFile(file)
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert [one.digest for one in known.current()] == [digest_of(token)]
    add_token(file, Caller("b"))
    assert [one.token.caller.name for one in list_tokens(file)] == ["a", "b"]
    file.write_bytes(b"\xef\xbb\xbfsecret-token\r\n")
    assert [one.digest for one in TokenFile(file).current()] == [digest_of("secret-token")]


@pytest.mark.parametrize(
    "text", ["# a-comment", "two words", "short", "secret-token\nanother-one", "<<<<<<<<<", "[secret-token]", "x" * 513]
)
def test_what_looks_like_no_token_is_none(file: Path, text: str) -> None:
    """A bare token is one line of a token's own letters, long enough to be one; anything else is refused at the start."""
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="line 1"):
        TokenFile(file)


def test_a_bare_token_can_be_changed_and_survives_a_slip(file: Path) -> None:
    """A new one counts at once; what looks like none, or an emptied file, leaves the old one in."""
    file.write_text("first-token\n", encoding="utf-8")
    known = TokenFile(file)
    for text, counts in (
        ("second-token", "second-token"),
        ("", "second-token"),
        ("# second\nthird-token", "second-token"),
    ):
        file.write_text(text, encoding="utf-8")
        assert [one.digest for one in known.current()] == [digest_of(counts)]
    file.write_text("third-token", encoding="utf-8")
    assert [one.digest for one in known.current()] == [digest_of("third-token")]


def test_another_process_goes_back_to_what_was_read_last(file: Path) -> None:
    """One that was forked before a token was revoked, and meets a broken file first, does not let that token in again."""
    add_token(file, Caller("kept"))
    revoked = add_token(file, Caller("revoked"))
    known = TokenFile(file)
    go, went = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(go[0], 1)
        os.write(went[1], ",".join(one.caller.name for one in known.current()).encode())
        os._exit(0)
    revoke_token(file, "revoked")
    assert digest_of(revoked) not in [one.digest for one in known.current()]
    with file.open("ab") as broken:
        broken.write(b"oops")
    os.write(go[1], b"!")
    assert os.read(went[0], 100) == b"kept"
    os.waitpid(pid, 0)
    for fd in (*go, *went):
        os.close(fd)


def is_locked(last_good: LastGood) -> bool:
    """Whether another process could not be alone now."""
    pid = os.fork()
    if pid == 0:
        try:
            fcntl.lockf(last_good._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


def test_whoever_reads_and_keeps_is_alone(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker waits until what was read is kept, so that nothing older takes the place of what is newer."""
    add_token(file, Caller("a"))
    known = TokenFile(file)
    last_good, read, seen = known._last_good, tokens._known_in, []
    monkeypatch.setattr(tokens, "_known_in", lambda path: seen.append(is_locked(last_good)) or read(path))
    assert not is_locked(last_good)
    add_token(file, Caller("b"))
    assert len(known.current()) == 2
    assert seen == [True]
    assert not is_locked(last_good)


@pytest.mark.parametrize("size", [0, 5, 20])
def test_a_content_that_is_not_whole_is_none(size: int) -> None:
    """A process that was killed while it kept something leaves no part of it to the others."""
    last_good = LastGood()
    assert last_good.maybe_content() is None
    for content in (b"a longer content", b"short", b""):
        last_good.keep(content)
        assert last_good.maybe_content() == content
    last_good.keep(b"content of 21 bytes..")
    os.truncate(last_good._fd, size)
    assert last_good.maybe_content() is None


GOOD = {"name": "a", "sha256": "0" * 64, "rights": ["read"], "prefix": "p", "added": "2026-11-25"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": ""}, "name"),
        ({"name": "a b"}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"name": 1}, "name"),
        ({"sha256": "00"}, "sha256"),
        ({"sha256": "z" * 64}, "sha256"),
        ({"rights": []}, "rights"),
        ({"rights": ["own"]}, "rights"),
        ({"rights": "read"}, "rights"),
        ({"prefix": "../x"}, "prefix"),
        ({"prefix": "/x"}, "prefix"),
        ({"prefix": ".ml-logger"}, "prefix"),
        ({"prefix": None}, "prefix"),
        ({"Rights": []}, "unknown key"),
    ],
)
def test_a_line_that_can_not_be_meant_is_refused(file: Path, change: dict[str, object], words: str) -> None:
    """The error names file, line and what is wrong with it; nobody gets more rights by a misspelt key."""
    file.write_bytes(orjson.dumps(GOOD | {"name": "before"}) + b"\n" + orjson.dumps(GOOD | change) + b"\n")
    with pytest.raises(ConfigError, match=f"line 2: .*{words}"):
        TokenFile(file)


# --- the command


def run(*arguments: str) -> int:
    return main(["token", *arguments])


def test_the_command_adds_lists_and_revokes(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`add` prints the token alone on stdout, so that it can go straight into a file; `list` shows no secret."""
    where = ("--token-file", str(file))
    assert run("add", "gpu", "--rights", "write", "--prefix", "team/", *where) == 0
    token = capsys.readouterr().out.strip()
    assert Door(TokenFile(file).current).maybe_caller(f"Bearer {token}") == Caller("gpu", rights("write"), "team")
    assert run("list", *where) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("gpu  write  below team  20")
    assert run("list", "--json", *where) == 0
    assert orjson.loads(capsys.readouterr().out) | {"added": ""} == {
        "name": "gpu",
        "rights": ["write"],
        "prefix": "team",
        "added": "",
    }
    assert run("revoke", "gpu", *where) == 0
    assert list_tokens(file) == []


def test_the_command_finds_the_file_in_the_config(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--config` names the file the receiver reads, and so does the variable."""
    config = tmp_path / "server.yaml"
    config.write_text(f"data_dir: data\ntoken_file: {file.name}\n", encoding="utf-8")
    assert run("add", "a", "--config", str(config)) == 0
    monkeypatch.setenv("ML_LOGGER_SERVER_TOKEN_FILE", str(file))
    assert run("add", "b") == 0
    assert [one.token.caller.name for one in list_tokens(file)] == ["a", "b"]
    assert capsys.readouterr().err.count("\n") == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "add|list|revoke"),
        (("add",), "name"),
        (("add", "a"), "no token file"),
        (("add", "a b", "--token-file", "{file}"), "name"),
        (("add", "a", "--rights", "own", "--token-file", "{file}"), "rights"),
        (("add", "a", "--prefix", "../x", "--token-file", "{file}"), "prefix"),
        (("add", "a", "--prefix", "/", "--token-file", "{file}"), "leave --prefix out"),
        (("add", "a", "--prefix", "", "--token-file", "{file}"), "leave --prefix out"),
        (("add", "a", "--token-file", "{file}/none/tokens"), "can't be written"),
        (("list", "--token-file", "{file}"), "does not exist"),
        (("revoke", "a", "--token-file", "{file}"), "no token is called"),
        (("add", "a", "--config", "{file}"), "does not exist"),
    ],
)
def test_bad_input_is_one_line(
    file: Path, arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What can't be meant ends with code 2 and one line that names it."""
    assert run(*(argument.format(file=file) for argument in arguments)) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    assert said.err.count("\n") == 1


# --- the door in front of the calls


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    store = LocalStore(tmp_path / "data")
    yield store
    store.close()


@pytest.fixture
def open_site(store: LocalStore, file: Path) -> Iterator[Site]:
    """A receiver with the tokens of `file`, whose session shows none."""
    add_token(file, Caller("operator"))
    with serving(store, Door(TokenFile(file).current)) as site:
        yield site


@contextmanager
def shown_by(site: Site, token: str) -> Iterator[Site]:
    """The same receiver for whoever shows `token`."""
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {token}"
        yield Site(site.url, session)


def send(site: Site, *paths: str) -> list[Outcome]:
    parts = [append(path, LINES) for path in paths]
    items = tuple(item for item, _ in parts)
    body = wire.encode_batch(Manifest("me", items), [payload for _, payload in parts], compress=False)
    answer = site.post("/v1/batch", body)
    assert answer.status_code == 200, answer.text
    return list(wire.decode_answer(answer.content, items).outcomes)


CALLS: dict[str, tuple[Right, str, str, bytes]] = {
    "stat": ("write", "POST", "/v1/stat", b'{"v":1,"paths":["x"]}'),
    "batch": ("write", "POST", "/v1/batch", b'{"v":1,"source":"s","items":[]}\n'),
    "lineage": ("write", "POST", "/v1/lineage", b'{"v":1,"mark":null}'),
    "agents": ("read", "GET", "/v1/agents", b""),
    "list": ("read", "GET", "/v1/list", b""),
    "digest": ("read", "POST", "/v1/digest", b'{"v":1,"paths":["x"]}'),
    "file": ("read", "GET", "/v1/files/m", b""),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("has", ["write", "read", "delete"])
def test_a_call_needs_its_right(open_site: Site, store: LocalStore, file: Path, call: str, has: Right) -> None:
    """A token does what its rights name, and is answered 403 for all else."""
    needs, method, path, body = CALLS[call]
    item, payload = append("m", LINES)
    store.apply(Manifest("me", (item,)), [payload])
    with shown_by(open_site, add_token(file, Caller("a", rights(has)))) as site:
        answer = site.session.request(method, site.url + path, data=body, timeout=30)
    assert answer.status_code == (200 if has == needs else 403), answer.text
    if has != needs:
        assert answer.json() == {"error": f"the token 'a' has no right to {needs}"}


def test_two_prefixes_are_two_worlds(open_site: Site, file: Path, store: LocalStore) -> None:
    """A token neither sees, extends nor lists another's prefix, whatever it asks, nor one that only begins alike."""
    one, two = (add_token(file, Caller(n, prefix=n)) for n in ("team", "team-b"))
    with shown_by(open_site, one) as a, shown_by(open_site, two) as b:
        assert [o.result for o in send(a, "team/m", "team-b/m", "m", "team/../team-b/m")] == ["stored"] + 3 * [
            "rejected"
        ]
        assert [o.result for o in send(b, "team-b/m", "team/m")] == ["stored", "rejected"]
        assert content_of(store, "team-b/m") == LINES
        held = a.post("/v1/stat", wire.encode_stat_request(["team/m", "team-b/m"]))
        assert [entry["held"] is None for entry in held.json()["files"]] == [False, True]
        lines = a.post("/v1/digest", wire.encode_stat_request(["team/m", "team-b/m"])).content.splitlines()
        assert [orjson.loads(line)["held"] is None for line in lines] == [False, True]
        assert a.get("/v1/files/team/m").content == LINES
        for path in ("/v1/files/team-b/m", "/v1/files/team-b/none", "/v1/list/team-b", "/v1/list/none"):
            assert (a.get(path).status_code, a.get(path).json()) == (403, {"error": "outside the prefix of this token"})
        assert [entry["name"] for entry in a.get("/v1/list").json()["entries"]] == ["team"]
        assert [entry["name"] for entry in a.get("/v1/list/team").json()["entries"]] == ["m"]
        assert a.get("/v1/list?after=team").json()["entries"] == []


def test_the_way_to_a_deep_prefix_is_shown(open_site: Site, file: Path, store: LocalStore) -> None:
    """Above its prefix a token sees the names on the way, once they are there, and nothing beside them."""
    with shown_by(open_site, add_token(file, Caller("a", prefix="x/y"))) as site:
        assert site.get("/v1/list").json()["entries"] == []
        parts = [append(path, LINES) for path in ("x/y/m", "x/z/m", "w/m")]
        store.apply(Manifest("me", tuple(item for item, _ in parts)), [payload for _, payload in parts])
        assert [entry["name"] for entry in site.get("/v1/list").json()["entries"]] == ["x"]
        assert [entry["name"] for entry in site.get("/v1/list/x").json()["entries"]] == ["y"]
        assert [entry["name"] for entry in site.get("/v1/list/x/y").json()["entries"]] == ["m"]
        assert site.get("/v1/list/x/z").status_code == 403


def test_agents_of_another_prefix_are_not_seen(open_site: Site, file: Path) -> None:
    """Who is confined sees agents with tokens for what is below; one token can't take the place of another's agent."""
    tokens = {prefix: add_token(file, Caller(f"n{prefix}", prefix=prefix)) for prefix in ("", "a", "b")}

    def beat(host: str) -> bytes:
        return wire.encode_heartbeat(wire.Heartbeat("same-source", host, "0.1.0", 1, 0.0, ()))

    seen = {}
    for prefix, token in tokens.items():
        with shown_by(open_site, token) as site:
            assert site.post("/v1/heartbeat", beat(f"host-{prefix}")).status_code == 200
    for prefix, token in tokens.items():
        with shown_by(open_site, token) as site:
            seen[prefix] = {agent["host"] for agent in site.get("/v1/agents").json()["agents"]}
    assert seen == {"": {"host-", "host-a", "host-b"}, "a": {"host-a"}, "b": {"host-b"}}


# --- patience


def test_failures_are_counted_by_address_and_forgotten() -> None:
    """The first few are free, then each answer waits longer, up to a bound; five quiet minutes forgive."""
    now_s = [0.0]
    counted = Patience(lambda: now_s[0])
    counts = [counted.fail("here") for _ in range(FREE_FAILURES + 8)]
    assert [wait_s(count) for count in counts] == [0.0] * FREE_FAILURES + [0.25, 0.5, 1.0, 2.0, 4.0] + [
        LONGEST_WAIT_S
    ] * 3
    assert counted.fail("there") == 1
    now_s[0] += FORGET_S + 1
    assert counted.fail("here") == 1
    assert counted.failures == FREE_FAILURES + 10


def test_patience_is_bounded() -> None:
    """However many addresses there are, only so many are remembered: the quiet ones go first."""
    counted = Patience(lambda: 0.0)
    for number in range(MOST_ADDRESSES + 1):
        counted.fail(str(number))
    assert counted.fail("0") == 1
    assert counted.fail(str(MOST_ADDRESSES)) == 2


def test_who_owes_a_wait_needs_a_place_to_wait_in() -> None:
    """Past its free failures an address is looked at while it has a place; what was let in there lately is always."""
    now_s = [0.0]
    counted = Patience(lambda: now_s[0])
    counted.welcome("here", b"known")
    for _ in range(FREE_FAILURES):
        assert counted.may_try("here", b"guess")
        counted.fail("here")
    with ExitStack() as waiting:
        for _ in range(MOST_WAITING_AN_ADDRESS):
            assert counted.may_try("here", b"guess")
            assert waiting.enter_context(counted.waiting("here"))
        assert not counted.may_try("here", b"guess")
        assert counted.may_try("here", b"known")
        assert counted.may_try("there", b"guess")
        with counted.waiting("here") as has_place:
            assert not has_place
    assert counted.may_try("here", b"guess")
    with ExitStack() as waiting:
        for number in range(MOST_WAITING):
            assert waiting.enter_context(counted.waiting(f"other-{number}"))
        assert not counted.may_try("here", b"guess")
        now_s[0] += FORGET_S + 1
        assert counted.may_try("here", b"guess")


def test_what_was_welcome_is_bounded_and_forgotten() -> None:
    """Only so many are remembered, for five minutes."""
    now_s = [0.0]
    counted = Patience(lambda: now_s[0])
    for _ in range(FREE_FAILURES):
        counted.fail("here")
    for number in range(MOST_WELCOME + 1):
        counted.welcome("here", str(number).encode())
    with ExitStack() as waiting:
        for _ in range(MOST_WAITING_AN_ADDRESS):
            waiting.enter_context(counted.waiting("here"))
        assert not counted.may_try("here", b"0")
        assert counted.may_try("here", b"1")
        now_s[0] += FORGET_S
        counted.fail("here")
        assert counted.may_try("here", b"1")
        now_s[0] += 1
        assert not counted.may_try("here", b"1")


def test_a_right_guess_is_not_told_from_a_wrong_one(
    open_site: Site, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While an address waits for its refusals, its guesses get 429, right or wrong; those let in before are served."""
    monkeypatch.setattr(admission, "wait_s", lambda count: 60.0 if count > FREE_FAILURES else 0.0)
    monkeypatch.setattr(patience, "MOST_WAITING_AN_ADDRESS", 1)
    working, guessed = (add_token(file, Caller(name)) for name in ("working", "guessed"))

    def status(token: str, source: str = "127.0.0.2") -> int:
        head = f"GET /v1/list HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        host, port = open_site.url.removeprefix("http://").split(":")
        connection = socket.create_connection((host, int(port)), timeout=1, source_address=(source, 0))
        return int(exchange(connection, head.encode()).split(b" ")[1])

    assert status(working) == 200
    assert [status("wrong-token") for _ in range(FREE_FAILURES)] == [401] * FREE_FAILURES
    with pytest.raises(TimeoutError):
        status("wrong-token")
    assert [status("wrong-token"), status(guessed), status(working)] == [429, 429, 200]
    assert status(guessed, "127.0.0.3") == 200
    assert requests.get(open_site.url + "/healthz", timeout=5).status_code == 200
    assert "without a valid token from 127.0.0.2" in caplog.text
    assert "wrong-token" not in caplog.text


WRONG = {"Authorization": "Bearer wrong-token"}


# --- the command that serves


def test_everybody_is_let_in_only_if_that_is_said(commands: Commands, tmp_path: Path) -> None:
    """`--insecure` binds more than loopback without a token (the rest is in `test_server_cli`), and the log warns of it."""
    args = ("--data-dir", tmp_path / "data", "--host", "0.0.0.0", "--port", 0, "--insecure")
    running = commands.start("ml-logger-server", *args)
    port = wait_first_line(running).rpartition(":")[2]
    assert requests.get(f"http://127.0.0.1:{port}/v1/list", timeout=30).status_code == 200
    wait_until(lambda: "insecure: whoever reaches 0.0.0.0 can read, write and delete everything" in running.stderr, 10)


def test_tokens_are_taken_from_the_command_of_a_running_receiver(commands: Commands, tmp_path: Path) -> None:
    """`token add` beside the running receiver lets an agent in, `token revoke` keeps it out; no token is in its log."""
    file = tmp_path / "tokens"
    add_token(file, Caller("operator"))
    running = commands.start(
        "ml-logger-server", "--data-dir", tmp_path / "data", "--port", 0, "--host", "0.0.0.0", "--token-file", file
    )
    url = wait_first_line(running).replace("0.0.0.0", "127.0.0.1")
    added = commands.run("ml-logger-server", "token", "add", "gpu", "--token-file", file)
    token = added.stdout.strip()
    shown = {"Authorization": f"Bearer {token}"}
    assert requests.get(url + "/v1/list", headers=shown, timeout=30).status_code == 200
    assert commands.run("ml-logger-server", "token", "revoke", "gpu", "--token-file", file).process.returncode == 0
    assert requests.get(url + "/v1/list", headers=shown, timeout=30).status_code == 401
    assert running.terminate() == 0
    assert "tokens come in the clear" in running.stderr
    assert token not in running.stderr + added.stderr
