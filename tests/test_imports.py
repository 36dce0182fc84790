"""Who may import whom: the rules that keep client, agent and receiver apart, read from the source itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = {"ml_logger": ROOT / "ml_logger", "ml_logger.agent": ROOT / "agent", "ml_logger.server": ROOT / "server"}

SHARED = {"byterange", "errors", "layout", "wire", "settings", "version", "journal", "source"}
"""All that agent and receiver know of the package above them."""

FOREIGN_OWNERS = {
    "requests": {"ml_logger.agent.transport", "ml_logger.remote"},
    "watchdog": {"ml_logger.agent.watcher"},
    "aiohttp": {
        f"ml_logger.server.{name}"
        for name in (
            *("admission", "answers", "app", "bodies", "connections", "health"),
            *("managing", "reading", "shipping", "viewing", "worker"),
        )
    },
}
"""Packages with one door: the modules that may import them."""

PURE_IMPORTS = {
    "errors": {"typing"},
    "layout": {"collections.abc", "fnmatch", "functools", "hashlib", "os", "re", "unicodedata", "urllib.parse"},
    "wire": {
        *("collections.abc", "dataclasses", "re", "sys", "typing", "zlib", "orjson"),
        *("backports.zstd", "compression.zstd"),
    },
}
"""What the modules without I/O may import from outside; of `os` only the names below."""

PURE_OS_NAMES = {"fsencode", "fsdecode"}
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "manager", "managers", "misc"}


@cache
def modules() -> dict[str, Path]:
    """Return every module by its import name."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


@cache
def imports_of(module: str) -> frozenset[str]:
    """Return what `module` imports, anywhere in it: modules of ours by full name, foreign ones as written."""
    return frozenset(_imports(module, ast.parse(modules()[module].read_text(encoding="utf-8"))))


def _imports(module: str, tree: ast.Module) -> Iterator[str]:
    package = module if modules()[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            inner = [f"{source}.{alias.name}" for alias in node.names]
            yield from (name if _is_module(name) else source for name in inner)


def _is_module(name: str) -> bool:
    return name in modules() or name in ("backports.zstd", "compression.zstd")


def owner(module: str) -> str:
    """Return which part a module of ours belongs to: agent, server, view, testing, shared or client."""
    parts = [*module.split("."), ""]
    if parts[1] in ("agent", "server", "view", "testing"):
        return parts[1]
    return "shared" if parts[1] in SHARED else "client"


def ours(module: str) -> Iterator[str]:
    """Yield the modules of ours that `module` imports."""
    return (name for name in imports_of(module) if name in modules())


def forbidden(module: str) -> list[str]:
    """Return the modules of ours that `module` imports and must not."""
    part = owner(module)
    allowed = {
        "client": {"client", "shared"},
        "shared": {"shared"},
        "view": {"view", "client", "shared"},
        "testing": {"testing", "client", "shared", "agent", "server"},
    }.get(part, {part, "shared"})
    return [name for name in ours(module) if owner(name) not in allowed and not is_bridge(module, name)]


def is_bridge(module: str, name: str) -> bool:
    """Whether `module` may know `name` of another part: the receiver hangs the page in, and a command starts it."""
    if module == "ml_logger.server.viewing":
        return owner(name) == "view" or name == "ml_logger.files"
    if module == "ml_logger.server.app":
        return owner(name) == "view"
    return module.split(".")[1] == "cli" and owner(name) == "view"


def test_there_is_something_to_check() -> None:
    """The walk finds all parts; an empty one would pass every rule."""
    assert {owner(m) for m in modules()} == {"agent", "server", "view", "testing", "shared", "client"}
    assert {"ml_logger.agent.transport", "ml_logger.agent.watcher", "ml_logger.server.app"} <= modules().keys()
    assert "ml_logger.wire" in imports_of("ml_logger.agent.transport")


@pytest.mark.parametrize("module", sorted(modules()))
def test_parts_do_not_know_each_other(module: str) -> None:
    """The client imports no other part, the page the client only; agent and receiver share a few modules and nothing else.

    The faults for tests know all three, and none of these knows them.
    """
    assert forbidden(module) == []


@pytest.mark.parametrize("package", sorted(FOREIGN_OWNERS))
def test_a_package_with_one_door_has_one_door(package: str) -> None:
    """Each foreign package with a door of its own is imported there and nowhere else."""
    users = {m for m in modules() if any(name.split(".")[0] == package for name in imports_of(m))}
    others = {m for m in users if package == "aiohttp" and owner(m) == "view"}  # a part that is all HTTP
    assert users - others == FOREIGN_OWNERS[package]


@pytest.mark.parametrize("name", sorted(PURE_IMPORTS))
def test_pure_modules_do_no_io(name: str) -> None:
    """Names, wire and errors are values and functions: nothing in them can touch a disk or a network."""
    module = f"ml_logger.{name}"
    foreign = {i for i in imports_of(module) if i not in modules()}
    assert foreign - {"__future__"} <= PURE_IMPORTS[name]
    tree = ast.parse(modules()[module].read_text(encoding="utf-8"))
    calls = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not calls & {"open", "print", "input", "exec", "eval", "__import__"}
    used = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "os"}
    assert used <= PURE_OS_NAMES


@pytest.mark.parametrize("module", sorted(m for m in modules() if owner(m) in ("server", "shared")))
def test_nothing_from_the_wire_can_be_run(module: str) -> None:
    """Receiver and shared modules know no pickle, no shell and no other process, and run no text as code."""
    runs_code = {"pickle", "marshal", "shelve", "subprocess", "code", "importlib", "runpy", "dill", "joblib"}
    assert not runs_code & {name.split(".")[0] for name in imports_of(module)}
    tree = ast.parse(modules()[module].read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not {"eval", "exec", "compile", "__import__"} & {n.func.id for n in calls if isinstance(n.func, ast.Name)}
    on_os = {n.func.attr for n in calls if isinstance(n.func, ast.Attribute) and ast.unparse(n.func.value) == "os"}
    assert not {name for name in on_os if name.startswith(("system", "popen", "exec", "spawn", "posix_spawn"))}


def test_errors_import_nothing_of_ours() -> None:
    """The error tree is a leaf: any module can raise from it."""
    assert list(ours("ml_logger.errors")) == []


def test_there_is_no_import_cycle() -> None:
    """Every module can be understood after the ones it imports."""
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join([*trail[trail.index(module) :], module])
        if module not in done:
            for name in sorted(ours(module)):
                visit(name, (*trail, module))
            done.add(module)

    for module in modules():
        visit(module, ())


def test_every_module_is_called_after_its_one_concept() -> None:
    """No module is a bag of things."""
    assert not EMPTY_NAMES & {part for module in modules() for part in module.split(".")}


def test_no_import_by_the_folders_own_names() -> None:
    """`agent` and `server` are names of folders only; an import by them would not work once installed."""
    assert not {m for m in modules() for i in imports_of(m) if i.split(".")[0] in ("agent", "server")}


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        (
            "ml_logger",
            ["requests", "aiohttp", "watchdog", "PIL", "yaml", "tqdm", "ml_logger.agent", "ml_logger.server"],
        ),
        ("ml_logger.agent.cli", ["aiohttp", "PIL", "ml_logger.server"]),
        ("ml_logger.server.cli", ["requests", "watchdog", "PIL", "ml_logger.agent"]),
    ],
)
def test_what_a_part_does_not_need_is_not_loaded(module: str, absent: list[str]) -> None:
    """Importing one part in a fresh interpreter loads neither the other parts nor their packages."""
    code = f"import sys, {module}; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert not set(absent) & set(loaded.split())
