"""``ml-logger-agent doctor``: what shipping stands on, checked one by one, one line each with the mend.

Nothing is shipped and nothing of the agent's is touched; it may run. The last check sends one small file the whole way, under
``ml-logger-doctor/`` beside what is shipped: it is read back, and deleted if the receiver can do that, else there is one such
file for each machine, overwritten each time. Exit code 1 if any check failed, else 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from ..errors import MLLoggerError
from .amounts import count_text
from .config import AgentConfig, current_token
from .finding import Finding
from .local_checks import check_agent, check_disk, check_inotify, check_spool, check_state, check_token
from .remote_checks import check_way
from .secret import Secrets


def run_doctor(
    load: Callable[[], AgentConfig],
    environ: Mapping[str, str],
    secrets: Secrets,
    *,
    with_probe: bool,
    say: Callable[[str], None] = print,
) -> int:
    """Check what the config from `load` stands on, `say` a line for each check, and return the exit code."""
    has_failed = False
    for finding in examine(load, environ, secrets, with_probe=with_probe):
        say(secrets.hide(finding.line()))
        has_failed = has_failed or finding.level == "FAIL"
    return int(has_failed)


def examine(
    load: Callable[[], AgentConfig], environ: Mapping[str, str], secrets: Secrets, *, with_probe: bool
) -> Iterator[Finding]:
    """Yield what the checks find, in order; raises nothing for the state of the machine, the network or the receiver."""
    try:
        config = load()
    except MLLoggerError as error:
        yield Finding("FAIL", "config", str(error), error.hint)
        return
    yield Finding("ok", "config", f"{count_text(len(config.spools()), 'spool')}, shipped to {config.server}")
    for spool in config.spools():
        yield from _guarded("spool", partial(check_spool, spool))
        yield from _guarded("state", partial(check_state, config.state_dir_of(spool)))
        yield from _guarded("disk", partial(check_disk, config, spool))
        yield from _guarded("agent", partial(check_agent, config, spool))
    yield from _guarded("inotify", partial(check_inotify, config))
    yield from _guarded("token", partial(check_token, config, environ))
    secrets.note_proxy(config.proxy)
    yield from _guarded(
        "receiver",
        partial(check_way, config, lambda: secrets.note(current_token(config, environ)), with_probe=with_probe),
    )


def _guarded(check: str, findings: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Yield the findings; what stops a check is its finding."""
    try:
        yield from findings()
    except MLLoggerError as error:
        yield Finding("FAIL", check, str(error), error.hint)
    except (OSError, ValueError) as error:
        yield Finding("FAIL", check, f"could not be checked: {error}", "give this user the right to look")
