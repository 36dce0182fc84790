"""The doctor's checks of the way to the receiver: name, connection, TLS, clock, token, and one file sent the whole way."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Generator, Iterator
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import orjson

from .. import wire
from ..errors import MLLoggerError, WireError
from ..layout import escape_key
from ..source import source_of
from ..version import __version__
from ..wire import NOTHING, OUTSIDE, Held, Item, Manifest, Offset
from .amounts import duration_text
from .call import Caller, Reply
from .config import AgentConfig
from .finding import Finding

CALL_TIMEOUT_S = 15.0
MAX_SKEW_S = 5.0
CERTIFICATE_WARN_S = 21 * 86400.0
FOLDER = "ml-logger-doctor"


def check_way(config: AgentConfig, token: Callable[[], str | None], *, with_probe: bool) -> Iterator[Finding]:
    """Go to the receiver step by step; the first step that fails ends the way.

    Raises `MLLoggerError` where a later call gets no answer or one of another protocol.
    """
    caller = Caller(config, token, CALL_TIMEOUT_S)
    host, port = caller.address()
    what = "proxy" if config.proxy else "receiver"
    try:
        addresses = sorted({str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)})
    except (OSError, UnicodeError):
        yield Finding(
            "FAIL", "name", f"the name of the {what}, {host}, is not known", "check 'server', 'proxy' and DNS"
        )
        return
    yield Finding("ok", "name", f"{host} is {', '.join(addresses)}")
    start_s = time.monotonic()
    try:
        socket.create_connection((host, port), timeout=config.timeouts.connect_s).close()
    except OSError as error:
        text = f"{what} {host} port {port}: {error.strerror or error}"
        yield Finding("FAIL", "connect", text, f"is it running there, and does a firewall let port {port} through?")
        return
    yield Finding("ok", "connect", f"{what} {host} port {port}, after {(time.monotonic() - start_s) * 1000:.1f} ms")
    if (yield from _check_receiver(config, caller)) and with_probe:
        yield _probe(config, caller)


def _check_receiver(config: AgentConfig, caller: Caller) -> Generator[Finding, None, bool]:
    """Yield what is found of the receiver; return whether it takes what this agent sends."""
    try:
        reply = caller.call("GET", "/healthz")
    except MLLoggerError as error:
        yield Finding("FAIL", "tls" if config.server.startswith("https") else "receiver", str(error), error.hint)
        return False
    yield _about_tls(config, reply)
    version = _version_in(reply)
    if version is None:
        text = f"what answers at {config.server} ({reply.status}) is no ML_Logger receiver"
        yield Finding("FAIL", "receiver", text, "check 'server', and what stands between")
        return False
    yield Finding("ok", "receiver", f"version {version}, answers after {reply.took_s * 1000:.1f} ms")
    yield _about_clock(reply)
    asked = _ask_stat(caller, _probe_path(config, ""))  # a call that takes the same right as shipping, and no other
    if asked.status != 200:
        yield Finding("FAIL", "accepted", f"the receiver answers {_said(asked)}", _mend_of_refusal(asked))
        return False
    yield Finding("ok", "accepted", "the receiver lets this agent in")
    return True


def _ask_stat(caller: Caller, path: str) -> Reply:
    return caller.call("POST", "/v1/stat", wire.encode_stat_request([path]))


def _mend_of_refusal(reply: Reply) -> str:
    if reply.status != 403:
        return "give the agent the receiver's token"
    return "the token has no right to write: make one that has, ml-logger-server token add … --rights write"


def _about_tls(config: AgentConfig, reply: Reply) -> Finding:
    if not config.server.startswith("https"):
        if _is_loopback(urlsplit(config.server).hostname or ""):
            return Finding("ok", "tls", "none, on this machine")
        mend = "use https where the network is not yours alone"
        return Finding("warn", "tls", "none: what is sent, the token too, can be read on the way", mend)
    if reply.certificate_ends_at is None:
        return Finding("ok", "tls", "trusted")
    left_s = reply.certificate_ends_at - time.time()
    text = f"trusted; the certificate ends in {duration_text(left_s)}"
    return Finding("ok", "tls", text) if left_s > CERTIFICATE_WARN_S else Finding("warn", "tls", text, "renew it")


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host == "::1" or host.startswith("127.")


def _version_in(reply: Reply) -> str | None:
    """Return the version that a receiver says in ``/healthz``, None if this is no receiver's answer."""
    try:
        record = orjson.loads(reply.body)
        return str(record["version"])[:50] if reply.status == 200 and record["ok"] is True else None
    except (ValueError, TypeError, KeyError):
        return None


def _about_clock(reply: Reply) -> Finding:
    try:
        theirs = parsedate_to_datetime(reply.date or "").timestamp()
    except (ValueError, TypeError, OverflowError):
        return Finding("skip", "clock", "the receiver does not say its time")
    skew_s = time.time() - reply.took_s / 2 - theirs - 0.5  # the header has whole seconds
    if abs(skew_s) <= MAX_SKEW_S:
        return Finding("ok", "clock", f"within {MAX_SKEW_S:.0f} s of the receiver's")
    text = (
        f"{duration_text(abs(skew_s))} {'ahead of' if skew_s > 0 else 'behind'} the receiver's: nothing is lost by that"
    )
    return Finding("warn", "clock", text, "start an NTP client on both machines; times in the logs differ")


def _said(reply: Reply) -> str:
    try:
        return f"{reply.status} ({wire.decode_error(reply.body)})"
    except WireError:
        return str(reply.status)


# --- the probe


def _probe(config: AgentConfig, caller: Caller) -> Finding:
    """Send one small file the whole way, and look whether it is there.

    It is left there, for the next one to take its place: a deletion would be for ever, and leave its trace each time.
    """
    try:
        return _try_probe(config, caller)
    except MLLoggerError as error:
        return Finding("FAIL", "probe", str(error), error.hint or "does something stand between agent and receiver?")


def _try_probe(config: AgentConfig, caller: Caller) -> Finding:
    content = f"ml-logger-agent doctor {__version__} on {os.uname().nodename} at {time.time():.3f}\n".encode()
    # a name that a person deleted is refused for ever, so there is a second one to try
    for path in (_probe_path(config, ""), _probe_path(config, f"-{os.urandom(4).hex()}")):
        trouble = _send_probe(config, caller, path, content)
        if trouble is None:
            break
    else:
        is_outside = OUTSIDE in (trouble or "")
        mend = "set 'remote_prefix' to the folder of the token, or below" if is_outside else "see the receiver's log"
        return Finding("FAIL", "probe", trouble or "", mend)
    back = _ask_stat(caller, path)  # by size and CRC, since a token that may write need not be one that may read
    if back.status != 200 or wire.decode_stat_answer(back.body, [path])[0] != _held_of(content):
        text = f"{path} was stored, but is not held as it was sent: the receiver answers a stat with {_said(back)}"
        return Finding("FAIL", "probe", text, "see the receiver's log")
    return Finding("ok", "probe", f"{path} was stored durably, and is there")


def _probe_path(config: AgentConfig, more: str) -> str:
    name = f"{escape_key(os.uname().nodename)[:150]}-probe{more}.txt"
    return "/".join(part for part in (config.remote_prefix, FOLDER, name) if part)


def _held_of(content: bytes) -> Held:
    return Held(Offset(len(content)), wire.crc32(content))


def _send_probe(config: AgentConfig, caller: Caller, path: str, content: bytes) -> str | None:
    """Store `content` at `path`; return why that did not work, or None."""
    asked = _ask_stat(caller, path)
    if asked.status != 200:
        return f"the receiver answers a stat with {_said(asked)}"
    held: Held | None = wire.decode_stat_answer(asked.body, [path])[0]
    crc = wire.crc32(content)
    item = Item(path, "commit", Offset(0), len(content), NOTHING.crc, crc, os.urandom(8).hex(), held, time.time_ns())
    manifest = Manifest(f"doctor-{source_of(config.spools()[0])}", (item,), os.uname().nodename, __version__)
    reply = caller.call("POST", "/v1/batch", wire.encode_batch(manifest, [content], compress=False))
    if reply.status != 200:
        return f"the receiver answers a batch with {_said(reply)}"
    outcome = wire.decode_answer(reply.body, [item]).outcomes[0]
    is_stored = outcome.result in ("stored", "already")
    return None if is_stored else f"the receiver answers {outcome.result} for {path}: {outcome.reason or 'no reason'}"
