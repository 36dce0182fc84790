"""A spool is compared with a receiver by SHA-256: every difference is found, and whatever else answers ends in one line."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from batches import append, apply, commit
from canned import answering, said
from processes import TOKEN, Commands
from scene import Scene
from serving import serving

from ml_logger import wire
from ml_logger.cli import main
from ml_logger.digests import prove
from ml_logger.layout import diverged_names, own_name
from ml_logger.remote import Remote
from ml_logger.server.config import Limits
from ml_logger.server.local_store import LocalStore
from ml_logger.source import source_of
from ml_logger.wire import Digest, Offset, Unreadable

Verify = Callable[..., tuple[int, list[str]]]

LINES = b"one\ntwo\nthree\n"


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    folder = tmp_path / "spool"
    (folder / "run").mkdir(parents=True)
    (folder / "run/m.jsonl").write_bytes(LINES)
    (folder / "run/w.npy").write_bytes(b"whole")
    (folder / ".ml-logger-agent").mkdir()
    (folder / ".ml-logger-agent/ledger").write_bytes(b"state")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    with closing(LocalStore(tmp_path / "data")) as store:
        yield store


@pytest.fixture
def verify(store: LocalStore, spool: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Verify]:
    """Run the command against a receiver of `store`; gives its exit code and the lines it prints."""
    with serving(store, token=TOKEN) as site, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ML_LOGGER_TOKEN", TOKEN)

        def run(*more: str) -> tuple[int, list[str]]:
            code = main(["verify", str(spool), "--server", site.url, *more])
            shown = capsys.readouterr()
            return code, (shown.out + shown.err).splitlines()

        yield run


def test_equal(verify: Verify, store: LocalStore) -> None:
    """What is held is counted in one line; what the receiver holds besides is no difference."""
    apply(store, append("run/m.jsonl", LINES), commit("run/w.npy", b"whole"), commit("other/x", b"extra"))
    assert verify() == (0, [f"equal: 2 files, {len(LINES) + 5} bytes"])


def test_below_a_prefix(verify: Verify, store: LocalStore) -> None:
    """With the agent's prefix the files are looked for below it."""
    host = socket.gethostname()
    apply(store, append(f"team/{host}/run/m.jsonl", LINES), commit(f"team/{host}/run/w.npy", b"whole"))
    assert verify("--prefix", "team/{hostname}/") == (0, [f"equal: 2 files, {len(LINES) + 5} bytes"])
    assert verify() == (1, ["missing 'run/m.jsonl'", "missing 'run/w.npy'"])


def test_each_kind_of_difference(verify: Verify, store: LocalStore, spool: Path) -> None:
    """Missing, changed, longer, shorter: each is one line, with the sizes of both."""
    (spool / "a\nb").write_bytes(b"odd")
    (spool / "longer").write_bytes(b"ab")
    apply(store, append("run/m.jsonl", LINES[:4]), commit("run/w.npy", b"WHOLE"), commit("longer", b"abc"))
    code, lines = verify()
    assert code == 1
    assert lines[0].startswith("missing 'a%0Ab~")
    assert lines[1:] == [
        "differs 'longer' (2 bytes here, 3 held)",
        "differs 'run/w.npy' (5 bytes here, 5 held)",
        "10 bytes behind 'run/m.jsonl'",
    ]


def test_as_json(verify: Verify, store: LocalStore, spool: Path) -> None:
    """The same as a document: what is behind is told also where that is allowed."""
    (spool / "longer").write_bytes(b"ab")
    apply(store, append("run/m.jsonl", LINES[:4]), commit("run/w.npy", b"whole"))
    code, (line,) = verify("--json", "--allow-growing")
    assert (code, json.loads(line)) == (
        1,
        {
            "is_equal": False,
            "files": 3,
            "bytes": 9,
            "missing": ["longer"],
            "differs": [],
            "behind": [{"path": "run/m.jsonl", "bytes": 10}],
            "unreadable": [],
        },
    )
    apply(store, commit("longer", b"abc"))
    code, (line,) = verify("--json", "--allow-growing")
    assert (code, json.loads(line)["differs"]) == (1, [{"path": "longer", "here": 2, "there": 3}])
    (spool / "longer").write_bytes(b"abc")
    code, (line,) = verify("--json", "--allow-growing")
    assert (code, json.loads(line)["is_equal"]) == (0, True)


def test_a_growing_stream(verify: Verify, store: LocalStore) -> None:
    """A stream of which the beginning is held is a difference, unless that is allowed; a whole file always is one."""
    apply(store, append("run/m.jsonl", LINES[:4]), commit("run/w.npy", b"whole"))
    assert verify() == (1, ["10 bytes behind 'run/m.jsonl'"])
    assert verify("--allow-growing") == (0, ["equal: 2 files, 9 bytes (1 growing streams are 10 bytes behind)"])
    (store._tree.root / "run/w.npy").write_bytes(b"who")
    assert verify("--allow-growing") == (1, ["10 bytes behind 'run/m.jsonl'", "2 bytes behind 'run/w.npy'"])


def test_names_that_others_have_taken(verify: Verify, store: LocalStore, spool: Path) -> None:
    """Where a plain name holds other bytes the file is found under the names that the agent would take."""
    apply(store, append("run/m.jsonl", b"theirs\n"), commit("run/w.npy", b""))
    second = list(diverged_names("run/m.jsonl", LINES))[1]
    apply(store, append(second, LINES), commit(own_name("run/w.npy", source_of(spool)), b"whole"))
    assert verify() == (0, [f"equal: 2 files, {len(LINES) + 5} bytes"])


def test_a_stream_that_grows_between(tmp_path: Path, spool: Path) -> None:
    """What is written after the receiver has answered, or removed, is no difference of other bytes."""

    def ask(paths: Sequence[str]) -> Iterator[Digest | Unreadable | None]:
        if list(paths) != ["run/m.jsonl", "run/w.npy"]:  # other names, of which nothing is held
            yield from [None] * len(paths)
            return
        yield Digest(Offset(len(LINES)), wire_sha256(LINES))
        (spool / "run/w.npy").unlink()
        yield None

    with (spool / "run/m.jsonl").open("ab") as file:
        file.write(b"four\n")
    found = prove(spool, "", "source", ask)
    assert (found.behind, found.missing, found.differs) == ([("run/m.jsonl", 5)], [], [])


def wire_sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_many_files_are_asked_in_groups(store: LocalStore, tmp_path: Path) -> None:
    """More files than a request may name are compared all the same, in their order."""
    paths = [f"f{n:04}" for n in range(250)]
    apply(store, *(commit(path, path.encode()) for path in paths))
    with serving(store, limits=Limits(max_paths=100)) as site, closing(Remote(site.url)) as remote:
        assert [d.sha256 for d in remote.digests(paths) if isinstance(d, Digest)] == [
            wire_sha256(path.encode()) for path in paths
        ]


def test_the_agents_work_is_proven(scene: Scene, commands: Commands) -> None:
    """After a drain the command says that all is there; a byte that changes on the receiver's disk is found."""
    scene.train(steps=20).wait()
    commands.drain(scene.config())
    arguments = ("verify", scene.spool, "--server", scene.receiver.url, "--token-file", commands.token_file())
    proof = commands.run("ml-logger", *arguments)
    assert (proof.process.returncode, proof.stderr) == (0, ""), proof.tail()
    assert proof.stdout.startswith("equal: ")
    victim = next(path for path in sorted(scene.mirror.rglob("*.png")) if path.is_file())
    content = victim.read_bytes()
    victim.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    proof = commands.run("ml-logger", *arguments)
    assert proof.process.returncode == 1
    assert proof.stdout.startswith(f"differs '{victim.relative_to(scene.mirror)}'")
    scene.receiver.kill()
    assert commands.run("ml-logger", *arguments).process.returncode == 5


# --- whoever answers


def chunked(*pieces: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


FIRST = wire.encode_digest("run/m.jsonl", None) + b"\n"

HOSTILE: dict[str, tuple[bytes, int, str]] = {
    "html": (said(b"<!doctype html><html>\n</html>\n"), 2, "not one of this protocol"),
    "other path": (said(FIRST.replace(b"m.jsonl", b"n.jsonl")), 2, "not one of this protocol"),
    "cut json": (said(FIRST[:20] + b"\n"), 2, "not one of this protocol"),
    "cut in a line": (said(FIRST + FIRST[:20]), 5, "cut off"),
    "too few lines": (said(FIRST), 5, "cut off"),
    "cut in a chunk": (chunked(FIRST)[:-9], 5, "cut off"),
    "no last chunk": (chunked(FIRST), 5, "cut off"),
    "endless line": (said(b"x" * 200_000), 2, "too long"),
    "no answer": (b"", 5, "can't be reached"),
    "not http": (b"SSH-2.0-OpenSSH_9.9\r\n", 5, "can't be reached"),
    "redirect": (said(b"", "302 Found", "Location: http://127.0.0.1:1/"), 2, "answered 302"),
    "no such call": (said(b'{"error":"not found"}', "404 Not Found"), 2, "answered 404 (not found)"),
    "no right": (said(b'{"error":"no\\u001b[31m right"}', "403 Forbidden"), 2, r"403 (no\x1b[31m right)"),
    "busy": (said(b'{"error":"too many"}', "503 Service Unavailable"), 5, "answered 503 (too many)"),
    "gateway": (said(b"<html>bad gateway</html>", "502 Bad Gateway"), 5, "answered 502"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_no_receiver_ends_in_one_line(case: str, spool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever answers in a receiver's place: one line on stderr, code 5 where trying again may help, else 2."""
    answer, code, words = HOSTILE[case]
    with answering(answer, once_read=b"paths") as url:
        assert main(["verify", str(spool), "--server", url]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert words in shown.err
    assert shown.err.isprintable() or shown.err[:-1].isprintable()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--server", "storage:8081"], "not an http(s) URL"),
        (["--server", "http://me:secret@storage"], "user name"),
        (["--server", "http://127.0.0.1:1", "--prefix", "../x"], "--prefix"),
        (["--server", "http://127.0.0.1:1", "--token-file", "none"], "token file"),
        (["--server", "http://127.0.0.1:1", "--ca-file", "none"], "'none' is no file"),
        (["mirror", "--server", "http://127.0.0.1:1"], "one of"),
        ([], "one of"),
    ],
)
def test_misuse_is_one_line(more: list[str], words: str, spool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What can't be asked as it is has exit code 2 and says what to mend, without the secret in it."""
    assert main(["verify", str(spool), *more]) == 2
    shown = capsys.readouterr().err
    assert words in shown
    assert "secret" not in shown
    assert shown.count("\n") == 1


def test_a_token_that_opens_nothing(verify: Verify, tmp_path: Path) -> None:
    """A wrong token is refused in one line that does not show it; the file that is named counts more than the variable."""
    (tmp_path / "wrong").write_text("not-the-token\n")
    code, lines = verify("--token-file", str(tmp_path / "wrong"))
    assert (code, len(lines)) == (2, 1)
    assert "answered 401" in lines[0]
    assert "not-the-token" not in lines[0]
