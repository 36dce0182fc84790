"""Typed settings from a YAML file, the environment and flags; what agent and receiver configs are made of.

A config is a frozen dataclass whose fields are the keys: scalars, lists of strings, mappings from strings to scalars,
``X | None``, ``Literal``s and nested dataclasses. Precedence: flag, environment, file, default. An unknown or ill-typed key is
refused with file, line, key and the nearest known key; nothing is ever guessed. The only file read is the one that is named.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import re
import reprlib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, Union
from urllib.parse import urlsplit

import yaml

from .errors import ConfigError, UsageError

T = TypeVar("T")

MAX_NUMBER = 2**53
"""No number in a config is larger than this; times have bounds of their own."""

MAX_TIME_S = 1e6
"""No time in a config is longer than this (11 days), in seconds: the system's own calls take no more."""


_SERVICE_LINK = re.compile(r"SERVICE_(HOST|PORT.*)|PORT(_\d+_.*)?")
"""What Kubernetes puts into every container, behind the name of each service: nobody's setting."""


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a value came from, for messages: ``agent.yaml, line 3`` or ``environment variable ML_LOGGER_…``.

    Relative paths in it start at `folder`: the config file's for what stands there, else the current one.
    """

    source: str
    line: int | None = None
    folder: Path = Path()

    def at(self, node: yaml.Node) -> _Place:
        """Return the place of `node` in the same source."""
        return dataclasses.replace(self, line=node.start_mark.line + 1)

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}, line {self.line}"


@dataclasses.dataclass(frozen=True)
class _Given:
    """A value and its place; nested mappings hold `_Given`s again."""

    value: Any
    place: _Place


def load_settings(
    cls: type[T], *, file: Path | None, environ: Mapping[str, str], env_prefix: str, flags: Mapping[str, Any]
) -> T:
    """Return a `cls` built from `flags`, then ``<env_prefix>KEY`` variables of `environ`, then `file`, then defaults.

    Flags that are None count as not given; one called ``log.level`` sets that key of the section ``log``. Paths come out
    absolute, ``~`` expanded: relative ones start at the config file's folder if they stand there, else at the current one.
    Raises `ConfigError` naming the place, the key and the mend.
    """
    given: dict[str, _Given] = _read_file(file) if file is not None else {}
    source = _Place(str(file)) if file is not None else _Place("command line")
    known = _field_types(cls)
    for key in known:
        variable = env_prefix + key.upper()
        if environ.get(variable, "") != "":
            given[key] = _given_from_environment(environ[variable], variable, known[key])
    _refuse_unknown(environ, env_prefix, known)
    for name, value in flags.items():
        if value is not None:
            place = _Place("flag --" + name.replace("_", "-").replace(".", "-"))
            _put(given, name, _Given(value, place))
    return _build(cls, given, source, trail="")


def _refuse_unknown(environ: Mapping[str, str], env_prefix: str, known: Mapping[str, Any]) -> None:
    for variable, text in environ.items():
        name = variable.removeprefix(env_prefix)
        is_ours = name != variable and text != "" and not _SERVICE_LINK.fullmatch(name)
        if is_ours and name.lower() not in known:
            raise _unknown_key(name.lower(), name.lower(), _Place(f"environment variable {variable}"), list(known))


def _put(given: dict[str, _Given], name: str, value: _Given) -> None:
    section, dot, key = name.partition(".")
    if not dot:
        given[name] = value
        return
    before = given.get(section)
    if before is None or not isinstance(before.value, dict):
        before = given[section] = _Given({}, value.place)
    _put(before.value, key, value)


def _given_from_environment(text: str, variable: str, wanted: Any) -> _Given:
    place = _Place(f"environment variable {variable}")
    options = _options(wanted)
    takes_list = any(typing.get_origin(option) is tuple for option in options)
    # a shell has only text: the token 12345 or yes is meant as it stands, not as YAML's number or true
    if (str in options or Path in options) and not (takes_list and text.startswith("[")):
        return _Given(text, place)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        return _Given(None if node is None else _value_of(node, place), place)
    except (yaml.YAMLError, RecursionError):
        return _Given(text, place)


def _read_file(file: Path) -> dict[str, _Given]:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"config file {file} does not exist", hint="give --config the path of one") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(
            f"config file {file} can't be read: {reason}", hint="check its type and permissions"
        ) from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        return {} if node is None else _given_mapping(node, _Place(str(file), folder=file.absolute().parent))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{file}, line {line}: not YAML: {error.problem}", hint="check the indentation") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: not YAML: {error}", hint="check for unprintable characters") from None
    except RecursionError:
        raise ConfigError(f"{file}: not YAML: nested too deep", hint="see the example in config/") from None


def _given_mapping(node: yaml.Node, source: _Place) -> dict[str, _Given]:
    place = source.at(node)
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{place}: expected 'key: value' lines", hint="see the example in config/")
    given: dict[str, _Given] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        key_place = source.at(key_node)
        if key in given:
            raise ConfigError(f"{key_place}: key '{key}' is given twice", hint=f"first at {given[key].place}")
        given[key] = _Given(_value_of(value_node, source), key_place)
    return given


def _value_of(node: yaml.Node, source: _Place) -> Any:
    if isinstance(node, yaml.MappingNode):
        return _given_mapping(node, source)
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node, deep=True)
    except (ValueError, KeyError, IndexError, AttributeError, TypeError) as error:  # a date that is none, !!int '', …
        raise ConfigError(
            f"{source.at(node)}: not a value of its type: {error}", hint="put quotes around a value that is text"
        ) from None
    finally:
        loader.dispose()


def _field_types(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _build(cls: type[T], given: Mapping[str, _Given], source: _Place, trail: str) -> T:
    known = _field_types(cls)
    for key, value in given.items():
        if key not in known:
            raise _unknown_key(trail + key, key, value.place, list(known))
    values = {k: _convert(v.value, known[k], v.place, trail + k) for k, v in given.items()}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]  # T is always a dataclass; TypeVars can't say so
        has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if not has_default and field.name not in values:
            raise ConfigError(f"{source}: key '{trail}{field.name}' is missing", hint="it has no default; add it")
    return cls(**values)


def _unknown_key(name: str, key: str, place: _Place, known: list[str]) -> ConfigError:
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
    return ConfigError(f"{place}: unknown key '{name}'", hint=f"the nearest known key is '{nearest}'")


def _convert(value: Any, wanted: Any, place: _Place, name: str) -> Any:
    options = _options(wanted)
    for option in options:
        converted = _try_convert(value, option, place, name)
        if converted is not _MISFIT:
            return converted
    shown = "a mapping" if isinstance(value, dict) else _shown(value)
    expected = " or ".join(_type_name(o) for o in options)
    raise ConfigError(
        f"{place}: key '{name}' must be {expected}, not {shown}", hint="see the comment beside it in config/"
    )


def _shown(value: Any) -> str:
    """Return a value for a message, in bounded time and length (aliases in YAML make small files huge values)."""
    return reprlib.repr(value).encode("ascii", "backslashreplace").decode()[:80]


def _options(wanted: Any) -> tuple[Any, ...]:
    return typing.get_args(wanted) if typing.get_origin(wanted) in (Union, types.UnionType) else (wanted,)


_MISFIT = object()


def _try_convert(value: Any, wanted: Any, place: _Place, name: str) -> Any:
    if dataclasses.is_dataclass(wanted):
        fits = isinstance(value, dict)
        return _build(typing.cast(type, wanted), value, place, trail=name + ".") if fits else _MISFIT
    if typing.get_origin(wanted) is tuple:
        element = typing.get_args(wanted)[0]
        fits = isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value)
        return tuple(_try_scalar(v, element, place, name) for v in value) if fits else _MISFIT
    if typing.get_origin(wanted) is Mapping:
        element = typing.get_args(wanted)[1]
        fits = isinstance(value, dict)
        return {k: _convert(v.value, element, v.place, f"{name}.{k}") for k, v in value.items()} if fits else _MISFIT
    if typing.get_origin(wanted) is Literal:
        return value if value in typing.get_args(wanted) else _MISFIT
    return _try_scalar(value, wanted, place, name)


def _try_scalar(value: Any, wanted: Any, place: _Place, name: str) -> Any:
    if wanted is type(None):
        return None if value is None else _MISFIT
    if isinstance(value, str) and "\0" in value:
        raise ConfigError(f"{place}: key '{name}' holds a NUL character", hint="remove it")
    if wanted is float and type(value) in (int, float):
        return float(value) if abs(value) <= MAX_NUMBER else _MISFIT
    if wanted is int and type(value) is int and abs(value) > MAX_NUMBER:
        return _MISFIT
    if wanted is Path and isinstance(value, (str, Path)):
        return _absolute(Path(value), place, name)
    return value if type(value) is wanted else _MISFIT


def _absolute(path: Path, place: _Place, name: str) -> Path:
    if path == Path():  # what an unset shell variable leaves; nobody means the current folder by it
        raise ConfigError(f"{place}: key '{name}' is an empty path", hint="name a file or folder")
    try:
        return (place.folder / path.expanduser()).absolute()
    except RuntimeError:
        raise ConfigError(
            f"{place}: key '{name}': there is no home directory for {path}", hint="write the whole path"
        ) from None


def _type_name(wanted: Any) -> str:
    if dataclasses.is_dataclass(wanted):
        return "a mapping"
    if typing.get_origin(wanted) is tuple:
        return "a list of strings"
    if typing.get_origin(wanted) is Mapping:
        return "a mapping"
    if typing.get_origin(wanted) is Literal:
        return " or ".join(f"'{option}'" for option in typing.get_args(wanted))
    names = {str: "a string", int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}
    return names.get(wanted, "empty" if wanted is type(None) else str(wanted))


def read_token(token: str | None, token_file: Path | None, environ: Mapping[str, str]) -> str | None:
    """Return the bearer token, or None if none is set: ``$ML_LOGGER_TOKEN``, else `token`, else the file's first line.

    Raises `ConfigError` if the file can't be read or is empty.
    """
    direct = environ.get("ML_LOGGER_TOKEN") or token
    if direct or token_file is None:
        return direct or None
    if token_file.exists() and not token_file.is_file():
        raise ConfigError(f"token file {token_file} is no file", hint="give the path of a file with the token in it")
    try:
        lines = token_file.read_text(encoding="utf-8-sig").split("\n")  # some editors put a byte order mark first
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"token file {token_file} can't be read: {error}", hint="check path and permissions"
        ) from None
    if not lines[0].strip():
        raise ConfigError(f"token file {token_file} is empty", hint="put the token on its first line")
    return lines[0].strip()


def check_server(server: str, *, userinfo_hint: str) -> str:
    """Return the URL of a receiver without a slash at its end; `userinfo_hint` says where a password in it belongs.

    Raises `ConfigError` for what is no http(s) URL of a host, or holds a user name, a password or a query.
    """
    try:
        parts = urlsplit(server)
        host = (parts.hostname or "").encode("idna")
        is_valid = parts.scheme in ("http", "https") and bool(host) and parts.port != 0 and not parts.query
    except ValueError:  # UnicodeError, of a host name that can't be one, is a ValueError
        is_valid = False
    if not is_valid:
        raise ConfigError(f"server {server[:200]!a} is not an http(s) URL", hint="write it like http://storage:8081")
    if parts.username or parts.password:
        raise ConfigError("the server URL holds a user name or password", hint=userinfo_hint)
    return server.rstrip("/")


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose complaints are `UsageError`s, which commands print in one line like all others."""

    def error(self, message: str) -> NoReturn:
        """Raise `UsageError`."""
        raise UsageError(message, hint=f"see {self.prog} --help")
