"""Planning: what is due, in which order, and what has to settle first."""

from ml_logger.agent.planner import make_plan
from ml_logger.agent.scanner import LocalFile, Signature
from ml_logger.layout import STREAM_PATTERNS


def local(path, mtime_ns=0, size=1):
    return LocalFile(path, Signature(size, mtime_ns, 1, 1))


def plan(files, ages_s=None):
    return make_plan(files, age_s_of=lambda f: (ages_s or {}).get(f.path, 99.0), streams=STREAM_PATTERNS, settle_s=2.0)


def test_streams_come_apart_from_whole_files_oldest_first():
    """The pattern decides the kind; whole files are ordered by age."""
    files = [local("b.png", 2), local("z.jsonl"), local("a.png", 3), local("c.png", 1), local("a.log")]
    made = plan(files)
    assert [f.path for f in made.streams] == ["a.log", "z.jsonl"]
    assert [f.path for f in made.wholes] == ["c.png", "b.png", "a.png"]
    assert made.settles_in_s is None


def test_a_whole_file_settles_first_and_a_stream_does_not():
    """The plan says when the first unsettled file may be ready."""
    files = [local("x.pt"), local("y.pt"), local("m.jsonl")]
    made = plan(files, ages_s={"x.pt": 0.5, "y.pt": 1.5, "m.jsonl": 0.0})
    assert made.wholes == ()
    assert [f.path for f in made.settling] == ["x.pt", "y.pt"]
    assert [f.path for f in made.streams] == ["m.jsonl"]
    assert made.settles_in_s == 0.5
