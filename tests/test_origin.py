"""A run says where it comes from without starting a process."""

import subprocess

import pytest

from ml_logger.origin import git_commit, start_event


def git(directory, *arguments):
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(directory), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path):
    git(tmp_path, "init", "--quiet", ".")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "one")
    return tmp_path


def test_commit_of_every_kind_of_head(repository):
    """The commit is found on a branch, packed, detached, and from a folder inside."""
    commit = git(repository, "rev-parse", "HEAD")
    (repository / "deep/er").mkdir(parents=True)
    assert git_commit(str(repository / "deep/er")) == commit
    git(repository, "pack-refs", "--all")
    assert git_commit(str(repository)) == commit
    git(repository, "checkout", "--quiet", "--detach")
    assert git_commit(str(repository)) == commit


def test_commit_of_a_worktree(repository, tmp_path_factory):
    """A linked worktree has a commit of its own."""
    tree = tmp_path_factory.mktemp("trees") / "tree"
    git(repository, "worktree", "add", "--quiet", "-b", "other", str(tree))
    git(tree, "commit", "--quiet", "--allow-empty", "--message", "two")
    assert git_commit(str(tree)) == git(tree, "rev-parse", "HEAD") != git_commit(str(repository))


def test_no_commit(tmp_path):
    """Without a repository, without a commit, or with a broken one there is none, and no error."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / ".git").write_bytes(b"\xff")
    assert git_commit(str(broken)) is None
    git(tmp_path, "init", "--quiet", ".")
    assert git_commit(str(tmp_path)) is None


def test_working_directory_that_is_gone(tmp_path, monkeypatch):
    """A deleted working directory costs the run nothing but its mention."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    event = start_event()
    assert event["cwd"] is None
    assert "git" not in event
