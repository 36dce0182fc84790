"""Planning: what is due, in which order, and what has to settle first."""

from ml_logger.agent.ledger import Entry
from ml_logger.agent.planner import make_plan
from ml_logger.agent.scanner import LocalFile, Signature
from ml_logger.layout import STREAM_PATTERNS
from ml_logger.wire import NOTHING


def local(path, mtime_ns=0, size=1):
    return LocalFile(path, Signature(size, mtime_ns, 1, 1))


def plan(files, entries=(), ages_s=None):
    return make_plan(
        files,
        entry_of=dict(entries).get,
        age_s_of=lambda f: (ages_s or {}).get(f.path, 99.0),
        streams=STREAM_PATTERNS,
        settle_s=2.0,
    )


def test_streams_come_apart_from_whole_files_oldest_first():
    """The pattern decides the kind; whole files are ordered by age."""
    files = [local("b.png", 2), local("z.jsonl"), local("a.png", 3), local("c.png", 1), local("a.log")]
    made = plan(files)
    assert [f.path for f in made.streams] == ["a.log", "z.jsonl"]
    assert [f.path for f in made.wholes] == ["c.png", "b.png", "a.png"]
    assert made.settles_in_s is None


def test_only_a_file_in_the_state_it_was_shipped_in_is_not_due():
    """A file is due when unknown, when it changed, and while something of it was left."""
    done, changed, left = local("done.log"), local("changed.log", size=5), local("left.log")
    entries = {
        "done.log": Entry("done.log", NOTHING, done.signature, is_done=True),
        "changed.log": Entry("changed.log", NOTHING, local("x").signature, is_done=True),
        "left.log": Entry("left.log", NOTHING, left.signature, is_done=False),
    }
    made = plan([done, changed, left, local("new.log")], entries)
    assert [f.path for f in made.streams] == ["changed.log", "left.log", "new.log"]


def test_a_whole_file_settles_first_and_a_stream_does_not():
    """The plan says when the first unsettled file may be ready."""
    files = [local("x.pt"), local("y.pt"), local("m.jsonl")]
    made = plan(files, ages_s={"x.pt": 0.5, "y.pt": 1.5, "m.jsonl": 0.0})
    assert made.wholes == ()
    assert [f.path for f in made.settling] == ["x.pt", "y.pt"]
    assert [f.path for f in made.streams] == ["m.jsonl"]
    assert made.settles_in_s == 0.5
