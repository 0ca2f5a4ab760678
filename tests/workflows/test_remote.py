"""A stub on this machine in place of a service: what it is sent, and that no failure repeats it."""

from __future__ import annotations

import json
import threading
import time
import traceback
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from expunge.errors import InputError, ResourceError
from expunge.workflows.remote import KEY_VARIABLE, LONGEST_WAIT, TRIES, Endpoint, is_address, waiting_time
from tests.workflows.conftest import CANARY

KEY = "Kvexolin"


class Stub(ThreadingHTTPServer):
    """Answers with what ``reply`` makes of a request; keeps requests and headers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.reply: Any = lambda body: chat(body["messages"][0]["content"])

    def handle_error(self, *_: Any) -> None:
        """A client that hung up is part of a test."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: Stub

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        self.server.headers.append(dict(self.headers))
        self.server.paths.append(self.path)
        made = self.server.reply(body)
        status, raw, headers = made if isinstance(made, tuple) else (200, made, {})
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


def chat(content: Any) -> bytes:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode()


@pytest.fixture
def stub() -> Iterator[Stub]:
    server = Stub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def shown(error: BaseException) -> str:
    """All that a traceback shows, causes and contexts too."""
    return "".join(traceback.format_exception(error)) + repr(error)


def ask(endpoint: Endpoint) -> str:
    return endpoint.chat(CANARY, temperature=0.5, seed=3)


def test_what_is_sent(stub, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    assert ask(Endpoint.parse(f"{stub.address}/#small")) == CANARY
    (body,) = stub.asked
    messages = [{"role": "user", "content": CANARY}]
    assert body == {"model": "small", "messages": messages, "temperature": 0.5, "seed": 3}
    assert stub.paths == ["/v1/chat/completions"]
    assert stub.headers[0]["Authorization"] == f"Bearer {KEY}"
    monkeypatch.delenv(KEY_VARIABLE)
    ask(Endpoint.parse(stub.address))
    assert "Authorization" not in stub.headers[1]


@pytest.mark.parametrize(
    ("reply", "error", "says"),
    [
        ((401, CANARY.encode(), {}), InputError, "answers 401"),
        ((404, CANARY.encode(), {}), InputError, "answers 404"),
        ((501, CANARY.encode(), {}), InputError, "answers 501"),
        ((302, b"", {"Location": f"http://127.0.0.1:9/{CANARY}"}), InputError, "answers 302"),
        (CANARY.encode(), InputError, "no chat completion"),
        (b"", InputError, "no chat completion"),
        (b"\xff\xfe" + CANARY.encode(), InputError, "no chat completion"),
        (json.dumps({"error": CANARY}).encode(), InputError, "no chat completion"),
        (json.dumps({"choices": []}).encode(), InputError, "no chat completion"),
        (json.dumps([CANARY]).encode(), InputError, "no chat completion"),
        (json.dumps(CANARY).encode(), InputError, "no chat completion"),
        (chat(None), InputError, "no chat completion"),
        (chat([{"type": "text", "text": CANARY}]), InputError, "no chat completion"),
        (b"[" * 100_000, InputError, "no chat completion"),
        ((200, CANARY.encode(), {"Content-Length": "4000"}), InputError, "no chat completion"),
    ],
)
def test_failures_repeat_nothing(stub, monkeypatch, reply, error, says):
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    stub.reply = lambda _: reply
    with pytest.raises(error, match=says) as caught:
        ask(Endpoint.parse(stub.address))
    assert CANARY not in shown(caught.value)
    assert KEY not in shown(caught.value)
    assert len(stub.asked) == 1


@pytest.fixture
def pauses() -> list[float]:
    """Seconds that were to be waited; nobody waits."""
    return []


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_service_is_asked_again(stub, pauses, status):
    stub.reply = lambda body: (status, CANARY.encode(), {}) if len(stub.asked) < 4 else chat("at last")
    reply = Endpoint.parse(stub.address).chat(CANARY, temperature=0.0, seed=3, pause=pauses.append)
    assert reply == "at last"
    assert pauses == [1.0, 2.0, 4.0]
    assert len(stub.asked) == 4
    assert all(body == stub.asked[0] for body in stub.asked)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_service_that_stays_busy_is_given_up(stub, pauses, monkeypatch, status):
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    stub.reply = lambda _: (status, CANARY.encode(), {"Retry-After": "3"})
    with pytest.raises(ResourceError, match=f"answers {status}.*6 times") as caught:
        Endpoint.parse(stub.address).chat(CANARY, temperature=0.0, seed=3, pause=pauses.append)
    assert caught.value.exit_code == 5
    assert pauses == [3.0, 3.0, 4.0, 8.0, 16.0]
    assert len(stub.asked) == TRIES == 6
    assert CANARY not in shown(caught.value)
    assert KEY not in shown(caught.value)


def test_another_answer_after_a_busy_one_counts(stub, pauses):
    stub.reply = lambda _: (429, b"", {}) if len(stub.asked) < 2 else (401, b"", {})
    with pytest.raises(InputError, match="answers 401"):
        Endpoint.parse(stub.address).chat(CANARY, temperature=0.0, seed=3, pause=pauses.append)
    assert pauses == [1.0]


@pytest.mark.parametrize(
    ("retry", "header", "seconds"),
    [
        *((0, None, 1), (3, None, 8), (9, None, LONGEST_WAIT)),
        *(
            (0, "7", 7),
            (0, " 7 ", 7),
            (4, "7", 16),
            (0, "0", 1),
            (0, "3600", LONGEST_WAIT),
            (0, "9" * 5000, LONGEST_WAIT),
        ),
        *((0, "-5", 1), (0, "nan", 1), (0, "soon", 1), (0, "", 1), (0, "Wed, 99 Foo 2999 25:00:00 GMT", 1)),
        *((0, "Sun, 06 Nov 1994 08:49:37 GMT", 1), (0, "Sun, 06 Nov 2994 08:49:37 GMT", LONGEST_WAIT)),
    ],
)
def test_how_long_to_wait(retry, header, seconds):
    assert waiting_time(retry, header) == seconds


def test_a_date_to_wait_for():
    assert 18 <= waiting_time(0, formatdate(time.time() + 20, usegmt=True)) <= 20


def test_a_reply_that_does_not_come(stub):
    stub.reply = lambda _: time.sleep(0.6) or chat("late")
    endpoint = Endpoint(stub.address, timeout=0.1)
    with pytest.raises(ResourceError, match="took too long") as caught:
        ask(endpoint)
    assert CANARY not in shown(caught.value)


def test_nobody_there(stub):
    free = stub.address
    stub.shutdown()
    stub.server_close()
    with pytest.raises(ResourceError, match="cannot be reached") as caught:
        ask(Endpoint.parse(free))
    assert CANARY not in shown(caught.value)


def test_a_key_that_no_header_holds_is_not_shown(stub, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, f"{KEY}\nX: y")
    with pytest.raises(ResourceError, match=KEY_VARIABLE) as caught:
        ask(Endpoint.parse(stub.address))
    assert KEY not in shown(caught.value)
    assert not stub.asked


def test_a_proxy_gets_nothing_that_is_meant_for_this_machine(stub, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert ask(Endpoint.parse(stub.address)) == CANARY


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("http://localhost:8000/v1", True),
        ("http://LOCALHOST/v1", True),
        ("http://127.0.0.1:8000/v1", True),
        ("http://127.3.2.1/v1", True),
        ("http://[::1]:8000/v1", True),
        ("https://models.invalid/v1", False),
        ("http://localhost.models.invalid/v1", False),
        ("http://127.0.0.1.models.invalid/v1", False),
        ("http://192.168.0.4/v1", False),
        ("http://0.0.0.0/v1", False),
    ],
)
def test_what_stays_on_this_machine(address, local):
    assert Endpoint.parse(address).is_local is local


@pytest.mark.parametrize(
    "address",
    [
        *("ftp://host/v1", "https://", "://", "file:///etc/hosts", f"https://user:{KEY}@host/v1"),
        *(f"https:/host/v1?key={KEY}", f"http:host/{KEY}", f" HTTPS:{KEY}"),
        *(f"https://host/v1?key={KEY}", f"https://host:{KEY}/v1", "https://host:99999/v1", f"https://[{KEY}/v1"),
    ],
)
def test_what_is_no_address(address):
    assert is_address(address)
    with pytest.raises(InputError, match="--paraphraser") as caught:
        Endpoint.parse(address)
    assert KEY not in shown(caught.value)


@pytest.mark.parametrize("place", ["models/https", "httpx:small", "HuggingFaceTB/SmolLM2-135M", Path("http:"), None])
def test_folders_and_hub_ids_are_no_addresses(place):
    assert not is_address(place)
