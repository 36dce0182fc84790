"""Settings: what is wrong is named with file, line, key and mend; flags go before the environment, the file, the defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ml_logger.agent.config import AgentConfig
from ml_logger.errors import ConfigError
from ml_logger.server.config import ServerConfig
from ml_logger.settings import load_settings, read_token

CONFIG_DIR = Path(__file__).parent.parent / "config"


@dataclass(frozen=True)
class Retry:
    """A nested section."""

    initial_s: float = 0.5
    most: int | None = None


@dataclass(frozen=True)
class Example:
    """One key of each kind."""

    spool: str | tuple[str, ...]
    server: str = "http://here"
    token: str | None = None
    state_dir: Path | None = None
    batch_bytes: int = 7
    is_quiet: bool = False
    compression: Literal["zstd", "none"] = "zstd"
    retry: Retry = field(default_factory=Retry)
    quotas: Mapping[str, int] = field(default_factory=dict)


def load(
    tmp_path: Path, text: str, environ: Mapping[str, str] | None = None, flags: Mapping[str, Any] | None = None
) -> Example:
    file = tmp_path / "example.yaml"
    file.write_text(text, encoding="utf-8")
    return load_settings(Example, file=file, environ=environ or {}, env_prefix="EX_", flags=flags or {})


def refusal(tmp_path: Path, text: str, **given: Any) -> str:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, text, **given)
    return refused.value.one_line().replace(str(tmp_path) + "/", "")


# --- what is understood


def test_every_kind_of_key_is_understood(tmp_path: Path) -> None:
    """Strings, lists, paths, numbers, true and false, choices and sections arrive typed; the rest has its default."""
    got = load(tmp_path, "spool: [a, b]\nstate_dir: x\nbatch_bytes: 9\nis_quiet: true\nretry: {initial_s: 3}\n")
    assert got == Example(("a", "b"), state_dir=tmp_path / "x", batch_bytes=9, is_quiet=True, retry=Retry(3.0))
    assert isinstance(got.retry.initial_s, float)


def test_a_mapping_has_any_keys(tmp_path: Path) -> None:
    """Keys of a mapping are a person's own, its values have one type; what does not fit is named with its key and line."""
    assert load(tmp_path, "spool: a\nquotas:\n  team/a: 5\n  7: 8\n").quotas == {"team/a": 5, "7": 8}
    assert load(tmp_path, "spool: a", {"EX_QUOTAS": "{b: 3}"}).quotas == {"b": 3}
    assert "example.yaml, line 3: key 'quotas.b' must be a whole number, not 'much'" in refusal(
        tmp_path, "spool: a\nquotas:\n  b: much\n"
    )
    assert "line 4: key 'b' is given twice" in refusal(tmp_path, "spool: a\nquotas:\n  b: 1\n  b: 2\n")
    assert "key 'quotas' must be a mapping, not [1]" in refusal(tmp_path, "spool: a\nquotas: [1]\n")
    assert "key 'quotas' must be a mapping, not None" in refusal(tmp_path, "spool: a\nquotas:\n")


def test_a_key_with_no_value_is_none_where_that_is_allowed(tmp_path: Path) -> None:
    """An optional key may be written and left empty; comments and a document mark change nothing."""
    assert load(tmp_path, "---\n# a comment\nspool: a\ntoken:\nstate_dir: null\n") == Example("a")


def test_flag_goes_before_environment_before_file_before_default(tmp_path: Path) -> None:
    """Each source hides the ones behind it, key by key; a flag that is not given and an empty variable hide nothing."""
    text = "spool: file\nserver: file\ntoken: file\n"
    environ = {"EX_SPOOL": "env", "EX_SERVER": "env", "EX_STATE_DIR": "", "SPOOL": "other"}
    got = load(tmp_path, text, environ, {"spool": "flag", "batch_bytes": None})
    assert got == Example("flag", "env", "file")


def test_no_file_is_needed(tmp_path: Path) -> None:
    """Flags and environment alone make a config."""
    assert load_settings(Example, file=None, environ={"EX_SPOOL": "a"}, env_prefix="EX_", flags={}) == Example("a")


@pytest.mark.parametrize(
    ("variable", "value", "key", "wanted"),
    [
        ("EX_TOKEN", "12345", "token", "12345"),
        ("EX_TOKEN", "yes", "token", "yes"),
        ("EX_TOKEN", "a: b", "token", "a: b"),
        ("EX_TOKEN", "2024-13-45", "token", "2024-13-45"),
        ("EX_TOKEN", "[unclosed", "token", "[unclosed"),
        ("EX_STATE_DIR", "2024", "state_dir", Path.cwd() / "2024"),
        ("EX_SPOOL", "[a, b]", "spool", ("a", "b")),
        ("EX_BATCH_BYTES", "12", "batch_bytes", 12),
        ("EX_IS_QUIET", "true", "is_quiet", True),
        ("EX_COMPRESSION", "none", "compression", "none"),
        ("EX_RETRY", "{initial_s: 2}", "retry", Retry(2.0)),
    ],
)
def test_a_variable_is_read_as_what_its_key_wants(
    tmp_path: Path, variable: str, value: str, key: str, wanted: object
) -> None:
    """A shell has only text: where the key is a string the text is taken as it stands."""
    assert getattr(load(tmp_path, "spool: a\n", {variable: value}), key) == wanted


# --- what is refused


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("spool: a\nservr: b\n", "example.yaml, line 2: unknown key 'servr': the nearest known key is 'server'"),
        ("spool: a\nzzz: b\n", "example.yaml, line 2: unknown key 'zzz': the nearest known key is '"),
        (
            "spool: a\nretry:\n  inital_s: 1\n",
            "line 3: unknown key 'retry.inital_s': the nearest known key is 'initial_s'",
        ),
        ("server: b\n", "example.yaml: key 'spool' is missing"),
        ("", "example.yaml: key 'spool' is missing"),
        ("spool: a\n\nspool: b\n", "line 3: key 'spool' is given twice: first at example.yaml, line 1"),
        ("spool: a\nbatch_bytes: many\n", "line 2: key 'batch_bytes' must be a whole number, not 'many'"),
        ("spool: a\nbatch_bytes: 1.5\n", "must be a whole number, not 1.5"),
        ("spool: a\nbatch_bytes: true\n", "must be a whole number, not True"),
        ("spool: 7\n", "line 1: key 'spool' must be a string or a list of strings, not 7"),
        ("spool: [a, 7]\n", "must be a string or a list of strings, not ['a', 7]"),
        ("spool: {a: b}\n", "must be a string or a list of strings, not a mapping"),
        ("spool: a\nis_quiet: 1\n", "line 2: key 'is_quiet' must be true or false, not 1"),
        ("spool: a\ncompression: gzip\n", "key 'compression' must be 'zstd' or 'none', not 'gzip'"),
        ("spool: a\nretry: 3\n", "line 2: key 'retry' must be a mapping, not 3"),
        ("spool: a\nretry: {initial_s: true}\n", "key 'retry.initial_s' must be a number, not True"),
        ("spool: a\nretry:\n", "key 'retry' must be a mapping, not None"),
        ("spool: a\nserver: 2024-13-45\n", "line 2"),
        ("spool: !!python/object:os.system a\n", "line 1: not YAML"),
        ("spool: a\n  server: b\n", "line 2: not YAML"),
        ("spool: 'a\n", "not YAML"),
        ("- a\n- b\n", "line 1: expected 'key: value' lines"),
        ("just text\n", "line 1: expected 'key: value' lines"),
        ("spool: a\n--- \nspool: b\n", "line 2: not YAML"),
        ("spool: a\0b\n", "not YAML"),
        ("spool: " + "[" * 1000, "not YAML"),
        ("spool: &x {a: *x}\n", "not YAML"),
        ("? [a, b]\n: c\n", "line 1: unknown key"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    """Every mistake in a file is told with its file, line, key and mend, and never as a traceback."""
    line = refusal(tmp_path, text)
    assert message in line
    assert line.startswith("example.yaml")
    assert "\n" not in line


def test_a_wrong_variable_or_flag_is_named(tmp_path: Path) -> None:
    """A value from the environment or the command line is refused under that name."""
    assert "environment variable EX_BATCH_BYTES: key 'batch_bytes' must be" in refusal(
        tmp_path, "spool: a\n", environ={"EX_BATCH_BYTES": "many"}
    )
    assert "flag --batch-bytes: key 'batch_bytes' must be" in refusal(
        tmp_path, "spool: a\n", flags={"batch_bytes": "many"}
    )


@pytest.mark.parametrize("kind", ["missing", "directory", "latin-1"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, kind: str) -> None:
    """A missing, unreadable or undecodable file is told by its name."""
    file = tmp_path / "odd.yaml"
    if kind == "directory":
        file.mkdir()
    elif kind == "latin-1":
        file.write_bytes("spool: größe".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"config file .*odd\.yaml") as refused:
        load_settings(Example, file=file, environ={}, env_prefix="EX_", flags={})
    assert refused.value.hint


@given(st.text(st.sampled_from("ab:{}[]-?&*!|>'\"%@` \n\t#,0<\\~"), max_size=60))
def test_no_text_raises_anything_but_config_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever a file says, it is a config or a `ConfigError`."""
    try:
        load(tmp_path_factory.getbasetemp(), text)
    except ConfigError as error:
        assert "\n" not in error.one_line()


# --- paths and tokens


def test_relative_paths_start_at_the_config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path means the same wherever the command is started; ``~`` is the home directory."""
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.chdir("/usr")
    for shown, expected in (("state", tmp_path / "state"), ("/state", "/state"), ("~/state", "/home/me/state")):
        assert load(tmp_path, f"spool: a\nstate_dir: {shown}\n").state_dir == Path(expected)
    assert load(tmp_path, "spool: a\nstate_dir: b\n", flags={"state_dir": Path("c")}).state_dir == Path("/usr/c")


def test_the_home_of_nobody_is_refused(tmp_path: Path) -> None:
    """``~name`` of a user who does not exist is a mistake in the config, not a crash."""
    with pytest.raises(ConfigError, match="~no-such-user"):
        load(tmp_path, "spool: a\nstate_dir: ~no-such-user/state\n")


def test_a_token_comes_from_the_variable_the_key_or_the_file(tmp_path: Path) -> None:
    """The first of the three that is set wins; none at all is None."""
    file = tmp_path / "token"
    file.write_text("  from-file \nsecond line\n", encoding="utf-8")
    assert read_token("direct", file, {"ML_LOGGER_TOKEN": "env"}) == "env"
    assert read_token("direct", file, {}) == "direct"
    assert read_token(None, file, {"ML_LOGGER_TOKEN": "env"}) == "env"
    assert read_token(None, file, {"ML_LOGGER_TOKEN": ""}) == "from-file"
    assert read_token(None, None, {}) is None


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "empty"), (b" \nx", "empty"), (b"\xff", "read"), (None, "read")]
)
def test_a_bad_token_file_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    """A missing, undecodable or empty token file is named."""
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_token(None, file, {})


# --- the examples that ship


@pytest.mark.parametrize(("name", "cls"), [("agent.yaml", AgentConfig), ("server.yaml", ServerConfig)])
def test_the_example_loads_as_it_stands(name: str, cls: type) -> None:
    """The files in config/ are configs, without any edit."""
    loaded: object = load_settings(cls, file=CONFIG_DIR / name, environ={}, env_prefix="EX_", flags={})
    assert isinstance(loaded, cls)


@pytest.mark.parametrize(("name", "cls"), [("agent.yaml", AgentConfig), ("server.yaml", ServerConfig)])
def test_the_example_names_every_key(name: str, cls: type) -> None:
    """A person finds each key there, set or commented out, those of the sections too."""
    text = (CONFIG_DIR / name).read_text(encoding="utf-8")
    lines = {line.strip().lstrip("# ").split(":")[0] for line in text.splitlines() if ":" in line}
    assert key_names(cls) <= lines


@pytest.mark.parametrize(("name", "cls"), [("agent.yaml", AgentConfig), ("server.yaml", ServerConfig)])
def test_the_example_shows_the_defaults(name: str, cls: type) -> None:
    """A key that has a default and is set in the example is set to it, so that the file documents the program."""
    given = yaml.safe_load((CONFIG_DIR / name).read_text(encoding="utf-8"))
    loaded: Any = load_settings(cls, file=CONFIG_DIR / name, environ={}, env_prefix="EX_", flags={})
    other = {
        f.name: (getattr(loaded, f.name), default)
        for f in dataclasses.fields(cls)
        if f.name in given
        and (default := default_of(f)) is not dataclasses.MISSING
        and default != getattr(loaded, f.name)
    }
    assert set(other) <= {"token_file"}, other


def default_of(key: dataclasses.Field[Any]) -> object:
    return key.default if key.default_factory is dataclasses.MISSING else key.default_factory()


def key_names(cls: type) -> set[str]:
    names: set[str] = set()
    for key in dataclasses.fields(cls):
        names.add(key.name)
        default = default_of(key)
        if dataclasses.is_dataclass(default) and not isinstance(default, type):
            names |= key_names(type(default))
    return names


def test_the_two_examples_fit_each_other() -> None:
    """As they stand the agent's `server` is where the receiver listens, and neither asks for a token the other lacks."""
    agent, server = (
        load_settings(cls, file=CONFIG_DIR / name, environ={}, env_prefix="EX_", flags={})
        for name, cls in (("agent.yaml", AgentConfig), ("server.yaml", ServerConfig))
    )
    assert agent.server == f"http://{server.host}:{server.port}"
    assert (agent.token, agent.token_file, server.token_file) == (None, None, None)
