"""The harness itself: the comparison of trees sees every difference, and no process outlives its test."""

from __future__ import annotations

from pathlib import Path

import pytest
from processes import Commands, assert_trees_equal, differences, read_mirror, read_spool, read_tree, wait_until


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    """Return a spool and a mirror of it, with all that is to be passed over in each."""
    spool, mirror = tmp_path / "spool", tmp_path / "mirror"
    for root in (spool, mirror):
        (root / "run/images").mkdir(parents=True)
        (root / "run/metrics.jsonl").write_bytes(b"one\ntwo\n")
        (root / "run/images/empty.png").touch()
    for own in (spool / ".ml-logger-agent/ledger", spool / "run/.a.png.tmp-1", mirror / ".ml-logger/lock"):
        own.parent.mkdir(exist_ok=True)
        own.write_bytes(b"own")
    return spool, mirror


def test_equal_trees_are_equal(trees: tuple[Path, Path]) -> None:
    """Dotfiles of the spool and the receiver's own folder do not count."""
    assert_trees_equal(*trees)
    assert read_spool(trees[0]).keys() == {b"run/metrics.jsonl", b"run/images/empty.png"}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            lambda m: (m / "run/metrics.jsonl").write_bytes(b"one\ntwO\n"),
            "differs: b'run/metrics.jsonl' (8 and 8 bytes",
        ),
        (lambda m: (m / "run/metrics.jsonl").write_bytes(b"one\n"), "differs: b'run/metrics.jsonl' (8 and 4 bytes"),
        (lambda m: (m / "run/metrics.jsonl").write_bytes(b"one\ntwo\ntwo\n"), "(8 and 12 bytes, first at byte 8"),
        (lambda m: (m / "run/images/empty.png").unlink(), "missing in the mirror: b'run/images/empty.png'"),
        (lambda m: (m / "run/other").touch(), "only in the mirror: b'run/other'"),
        (lambda m: (m / "run/.hidden").touch(), "only in the mirror: b'run/.hidden'"),
        (lambda m: (m / "run/.ml-logger").touch(), "only in the mirror: b'run/.ml-logger'"),
    ],
)
def test_every_difference_is_seen(trees: tuple[Path, Path], change: object, line: str) -> None:
    """A changed, short, long, missing or surplus file is told, and the assertion fails."""
    spool, mirror = trees
    change(mirror)  # type: ignore[operator]  # parametrize keeps no types
    assert line in "\n".join(differences(read_spool(spool), read_mirror(mirror)))
    with pytest.raises(AssertionError):
        assert_trees_equal(spool, mirror)


def test_what_vanishes_while_a_tree_is_read_is_not_there(trees: tuple[Path, Path]) -> None:
    """A file that goes between the listing and the reading is left out, but in a tree at rest it is an error."""
    mirror = trees[1]
    going = mirror / "run/metrics.jsonl"

    def hidden(name: bytes, is_top: bool) -> bool:
        if name == b"metrics.jsonl":
            going.unlink()
        return name.startswith(b".")

    assert read_tree(mirror, hidden=hidden).keys() == {b"run/images/empty.png"}
    going.touch()
    with pytest.raises(FileNotFoundError, match="metrics"):
        read_tree(mirror, hidden=hidden, is_at_rest=True)


@pytest.mark.parametrize("is_at_rest", [True, False])
def test_a_link_to_nowhere_is_not_passed_over(trees: tuple[Path, Path], is_at_rest: bool) -> None:
    """What can't be read and is there all the same is an error."""
    (trees[1] / "run/link").symlink_to("nowhere")
    with pytest.raises(FileNotFoundError, match="link"):
        read_mirror(trees[1], is_at_rest=is_at_rest)


def test_whatever_is_started_is_ended(tmp_path: Path) -> None:
    """A process that ignores SIGTERM is gone too."""
    commands = Commands(tmp_path)
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    stubborn = commands.start("python", "-c", code)
    wait_until(lambda: "up" in stubborn.stdout, 20)
    commands.end_all()
    assert not stubborn.is_alive


def test_waiting_has_an_end() -> None:
    """A condition that never holds is a TimeoutError that names it."""
    with pytest.raises(TimeoutError, match="the moon"):
        wait_until(lambda: False, 0.02, "the moon")
