"""The agent's end of the wire: every way a request can fail means one of three things, and no wrong answer counts."""

import contextlib
import re
import socket
import threading
from pathlib import Path

import pytest
import requests
from proxy import HTML, Answer, CutResponse, Drop, Proxy
from tls import tls_server

from ml_logger import wire
from ml_logger.agent.config import AgentConfig, TimeoutSettings
from ml_logger.agent.transport import NotServed, Transport, error_for
from ml_logger.errors import BadAnswer, BatchRefused, StopSending, TooLarge, TryAgain
from ml_logger.wire import NOTHING, Crc, Item, Manifest, Offset, Outcome

PAYLOAD = b"abc"
ITEM = Item("m.jsonl", "append", Offset(0), 3, Crc(0), wire.crc32(PAYLOAD))
MANIFEST = Manifest("source", (ITEM,))
GOOD = wire.encode_outcomes([Outcome("m.jsonl", "append", "stored", Offset(0), 3, ITEM.crc)])


@pytest.fixture
def proxy():
    with contextlib.closing(Proxy(("127.0.0.1", 1))) as opened:  # no target: what is not scripted is dropped
        yield opened


def open_transport(url, token="secret", **timeouts):
    settings = TimeoutSettings(**{"connect_s": 2.0, "read_s": 2.0, **timeouts})
    return Transport(AgentConfig(Path("/unused"), url, timeouts=settings), token=lambda: token)


def send(url, **timeouts):
    with contextlib.closing(open_transport(url, **timeouts)) as transport:
        return transport.send(transport.pack(MANIFEST, [PAYLOAD], compressible=True))


def test_a_good_answer(proxy):
    """The outcomes come back in order."""
    proxy.default = Answer(200, GOOD, "application/json")
    assert [o.result for o in send(proxy.url).outcomes] == ["stored"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, BatchRefused),
        (422, BatchRefused),
        (413, TooLarge),
        (401, StopSending),
        (403, StopSending),
        (426, StopSending),
        (404, NotServed),
        (405, NotServed),
        *[(status, TryAgain) for status in (204, 302, 408, 425, 429, 500, 502, 503, 504, 507)],
    ],
)
def test_each_status_means_one_thing(proxy, status, expected):
    """The class says what to do, the message names the status and the receiver's reason."""
    proxy.default = Answer(status, b"" if status == 204 else wire.encode_error("the reason"), "application/json")
    with pytest.raises(expected) as caught:
        send(proxy.url)
    assert type(caught.value) is expected
    assert str(status) in str(caught.value)
    assert ("the reason" in str(caught.value)) == (status != 204)


@pytest.mark.parametrize(
    "answer",
    [
        HTML,
        Answer(200, b""),
        Answer(200, b"{}"),
        Answer(200, GOOD[:-1]),
        Answer(200, GOOD.replace(b'"length":3', b'"length":2')),
        Answer(200, GOOD.replace(b"m.jsonl", b"n.jsonl")),
        Answer(200, wire.encode_outcomes([])),
        Answer(200, wire.encode_stat_answer(["m.jsonl"], [NOTHING])),
    ],
)
def test_an_answer_to_something_else_is_no_acknowledgement(proxy, answer):
    """Status 200 alone proves nothing: the answer must name path, offset, length and CRC of what was sent."""
    proxy.default = answer
    with pytest.raises(BadAnswer):
        send(proxy.url)


@pytest.mark.parametrize("behaviour", [Drop(), Drop(reset=True)])
def test_a_stale_connection_is_replaced_at_once(proxy, behaviour):
    """The first drop is met with a fresh connection, without the caller's noticing."""
    proxy.script("/v1/batch", behaviour, Answer(200, GOOD))
    assert [o.result for o in send(proxy.url).outcomes] == ["stored"]


def test_a_receiver_that_is_gone_is_worth_another_try(proxy):
    """Drops in a row end the attempt with `TryAgain`."""
    proxy.default = Drop()
    with pytest.raises(TryAgain):
        send(proxy.url)
    assert proxy.count(Drop) == 2


def test_nobody_listens():
    """A refused connection is `TryAgain`, with a hint."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(TryAgain) as caught:
        send(f"http://127.0.0.1:{port}")
    assert "nobody listens at the receiver's address: is it running" in caught.value.one_line()


def test_an_unknown_name():
    """A name that DNS does not know is said to be that."""
    with pytest.raises(TryAgain) as caught:
        send("http://no.such.host.invalid:8081")
    assert "the name of the receiver is not known" in str(caught.value)


def test_https_where_none_is_spoken():
    """https to a port that speaks http names TLS's own reason, and what to look at."""

    def refuse(client, is_over):
        client.recv(65536)
        client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with serving(refuse) as url, pytest.raises(TryAgain) as caught:
        send(url.replace("http:", "https:"))
    assert re.match(r"TLS failed: [A-Z_]{5,}: does 'server' speak https at this port", caught.value.one_line())


def test_http_where_tls_is_spoken(certificates):
    """http to a port that speaks https says what came instead of an answer, and what may be wrong with the URL."""
    with tls_server(certificates) as port, pytest.raises(TryAgain) as caught:
        send(f"http://127.0.0.1:{port}")
    assert "does it speak what 'server' begins with" in caught.value.one_line()


def test_a_certificate_that_is_not_trusted(certificates):
    """The reason of the refusal and the key that mends it are named."""
    with tls_server(certificates) as port, pytest.raises(TryAgain) as caught:
        send(f"https://127.0.0.1:{port}")
    said = caught.value.one_line()
    assert said.startswith("the certificate is not trusted: self")
    assert "tls.ca_file" in said


def test_an_answer_that_is_cut(proxy):
    """Half an answer is none."""
    with contextlib.closing(Proxy(("127.0.0.1", int(proxy.url.rpartition(":")[2])))) as cutting:
        proxy.default = Answer(200, GOOD)
        cutting.default = CutResponse(-5)
        with pytest.raises(TryAgain):
            send(cutting.url)


@contextlib.contextmanager
def serving(handle):
    """A server whose one handler gets each accepted socket, in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        is_over = threading.Event()

        def accept():
            with contextlib.suppress(OSError):
                while not is_over.is_set():
                    client, _ = listener.accept()
                    with client:
                        handle(client, is_over)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        is_over.set()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def test_a_receiver_that_says_nothing(proxy):
    """A silent receiver ends in `TryAgain` after the read timeout."""
    with serving(lambda client, is_over: is_over.wait(10)) as url, pytest.raises(TryAgain) as caught:
        send(url, read_s=0.1)
    assert "did not answer in time" in str(caught.value)


def test_an_answer_that_drips(proxy):
    """A receiver that sends a byte now and then is cut off by the whole-request deadline."""

    def drip(client, is_over):
        client.recv(65536)
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        with contextlib.suppress(OSError):
            while not is_over.wait(0.01):
                client.sendall(b"{")

    with serving(drip) as url, pytest.raises(TryAgain) as caught:
        send(url, request_s=0.2)
    assert "did not answer in time" in str(caught.value)


def test_the_token_is_sent_and_nothing_of_the_environment(proxy, monkeypatch, tmp_path):
    """The bearer token goes out; neither .netrc nor proxy variables have a say."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    heads = []

    def answer(client, is_over):
        heads.append(client.recv(65536))
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(GOOD) + GOOD)

    with serving(answer) as url:
        send(url)
    assert b"Authorization: Bearer secret" in heads[0]
    assert b"Basic" not in heads[0]


def test_many_stats_are_asked_in_portions(proxy):
    """A stat of many paths is several requests, and the order is kept."""
    paths = [f"f{n}" for n in range(2500)]
    for start in (0, 1000, 2000):
        some = paths[start : start + 1000]
        proxy.script("/v1/stat", Answer(200, wire.encode_stat_answer(some, [None] * len(some))))
    with contextlib.closing(open_transport(proxy.url)) as transport:
        assert transport.stat(paths) == [None] * 2500


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7.0), ("0", 0.0), ("99999999999999", 3600.0), ("soon", None), (None, None)]
)
def test_retry_after(value, seconds):
    """Seconds are honoured within an hour; anything else is passed over."""
    error = error_for(503, b"", value)
    assert isinstance(error, TryAgain)
    assert error.retry_after_s == seconds


def test_every_exception_of_requests_is_translated(proxy, monkeypatch):
    """Whatever requests raises, the caller sees an error of this project that says to try again."""
    kinds = [
        kind
        for kind in vars(requests.exceptions).values()
        if isinstance(kind, type) and issubclass(kind, requests.RequestException)
    ]
    assert len(kinds) > 15
    for kind in kinds:
        error = kind.__new__(kind)

        def fail(*args, error=error, **kwargs):
            raise error

        transport = open_transport(proxy.url)
        monkeypatch.setattr(transport, "_try_post", fail)
        with pytest.raises(TryAgain):
            transport.stat(["a"])


def test_a_refused_stat_is_asked_in_halves(proxy):
    """A receiver that takes fewer paths gets fewer."""
    paths = ["a", "b", "c"]
    proxy.script("/v1/stat", Answer(413), Answer(200, wire.encode_stat_answer(["a"], [NOTHING])))
    proxy.script("/v1/stat", Answer(200, wire.encode_stat_answer(["b", "c"], [None, None])))
    with contextlib.closing(open_transport(proxy.url)) as transport:
        assert transport.stat(paths) == [NOTHING, None, None]
