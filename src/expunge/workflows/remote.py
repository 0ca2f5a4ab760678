"""A model behind an OpenAI-compatible address (``POST /chat/completions``), asked with the standard library.

What is asked leaves this machine. No message repeats what was sent or what came back.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

from expunge.errors import InputError, ResourceError
from expunge.storage.digests import text_digest

KEY_VARIABLE = "EXPUNGE_PARAPHRASER_KEY"  # environment variable with the key of the paraphraser, if it wants one
DEFAULT_MODEL = "default"
MOST_BYTES = 1_000_000  # of a reply
BUSY = (429, 500, 502, 503, 504)  # too many requests, or a service, or what stands before it, that fails for now
TRIES = 6  # of one request to a busy service
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds between two tries; twice as long after each, or what Retry-After says


class Use(NamedTuple):
    """What a service is asked for, in the words of its messages.

    Attributes:
        noun: what it is called.
        flag: argument of the command line that takes its address.
        takes: what that argument takes beside an address.
        gets: which texts it gets.
        key_variable: environment variable with its key, if it wants one.
    """

    noun: str
    flag: str
    takes: str
    gets: str
    key_variable: str


PARAPHRASER = Use(
    "paraphraser", "--paraphraser", "a model folder, a Hub id,", "the text of the forget records", KEY_VARIABLE
)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Another address than the one that was allowed gets nothing, neither text nor key."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class _Answer(NamedTuple):
    """Status of a service, what it sent with status 200, and its ``Retry-After``."""

    status: int
    raw: bytes = b""
    retry_after: str | None = None


@dataclass(frozen=True)
class Endpoint:
    """Where to ask, and whom.

    Attributes:
        base: address without a trailing slash, such as ``https://host/v1``.
        model: name that is sent along.
        timeout: seconds to wait for a reply.
        use: what it is asked for.
    """

    base: str
    model: str = DEFAULT_MODEL
    timeout: float = 60.0
    use: Use = PARAPHRASER

    @classmethod
    def parse(cls, address: str, use: Use = PARAPHRASER) -> Endpoint:
        """Reads ``https://host/v1`` or ``https://host/v1#model``.

        Raises:
            InputError: not an address with http or https and a host.
        """
        parts = _parts(address)
        if parts is None or parts.scheme not in ("http", "https") or "@" in parts.netloc or parts.query:
            # Not repeated: an address that was mistyped may hold a key.
            raise InputError(
                f"{use.flag} takes {use.takes} or an address such as https://host/v1 or "
                f"https://host:8000/v1#model, without user or query; a key goes into {use.key_variable}."
            )
        base = parts._replace(fragment="").geturl().rstrip("/")
        return cls(base, parts.fragment or DEFAULT_MODEL, use=use)

    @property
    def name(self) -> str:
        """What a record calls it: host and model."""
        return f"{self.host}#{self.model}"

    @property
    def host(self) -> str:
        """Host that is asked, for messages."""
        return urlsplit(self.base).hostname or ""

    @property
    def is_local(self) -> bool:
        """Whether what is sent stays on this machine."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def digest(self) -> str:
        """Tells two addresses apart; a path may hold what is not for the eyes of others."""
        return text_digest(f"{self.base}#{self.model}")

    @property
    def plainly(self) -> str:
        """Says where what is sent goes unencrypted; empty otherwise."""
        return " unencrypted" if self.base.startswith("http:") else ""

    def check_leave(self, *, allow_remote: bool) -> None:
        """Refuses to send records to another machine without leave.

        Raises:
            InputError: the address is not on this machine, and nobody said that records may go there.
        """
        if not allow_remote and not self.is_local:
            raise InputError(
                f"A {self.use.noun} at an address gets {self.use.gets}. Pass --allow-remote if they may leave this "
                f"machine, or give {self.use.flag} a model folder."
            )

    def chat(self, text: str, *, temperature: float, seed: int, pause: Callable[[float], None] = time.sleep) -> str:
        """Sends one user message and returns the reply; a service that is busy is asked again after a while.

        Args:
            text: the message.
            temperature: of sampling; 0 is greedy.
            seed: of sampling.
            pause: waits that many seconds before the next try; what it raises ends the call.

        Raises:
            InputError: the address refuses the request, or answers something else than a chat completion.
            ResourceError: nothing answers there, or it stays busy or broken.
        """
        return self.complete(
            [{"role": "user", "content": text}], {"temperature": temperature, "seed": seed}, pause=pause
        )

    def complete(
        self,
        turns: Sequence[Mapping[str, str]],
        settings: Mapping[str, Any],
        *,
        pause: Callable[[float], None] = time.sleep,
    ) -> str:
        """Sends a conversation and returns the reply to it; as ``chat`` otherwise.

        Args:
            turns: ``role`` and ``content`` of each message.
            settings: further fields of the request, such as ``temperature`` and ``max_tokens``.
            pause: as for ``chat``.
        """
        body = {"model": self.model, "messages": [dict(turn) for turn in turns], **settings}
        return self._read(self._post(json.dumps(body).encode(), pause))

    def _post(self, body: bytes, pause: Callable[[float], None]) -> bytes:
        answer = self._send(body)
        for retry in range(TRIES - 1):
            if answer.status not in BUSY:
                break
            pause(waiting_time(retry, answer.retry_after))
            answer = self._send(body)
        if answer.status == http.HTTPStatus.OK:
            return answer.raw
        if answer.status in BUSY:
            raise ResourceError(
                f"The {self.use.noun} at {self.host} answers {answer.status} to POST /chat/completions, {TRIES} times "
                "in a row; the same command asks it again later."
            )
        raise InputError(
            f"The {self.use.noun} at {self.host} answers {answer.status} to POST /chat/completions; check the address, "
            f"the model's name after # and the key in {self.use.key_variable}."
        )

    def _send(self, body: bytes) -> _Answer:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(self.use.key_variable):
            headers["Authorization"] = f"Bearer {key}"
        target = f"{self.base}/chat/completions"
        asked = urllib.request.Request(target, data=body, headers=headers)  # noqa: S310 - http or https, see parse
        try:
            with self._opener().open(asked, timeout=self.timeout) as reply:
                return _Answer(http.HTTPStatus.OK, bytes(reply.read(MOST_BYTES)))
        except urllib.error.HTTPError as error:
            answer = _Answer(error.code, retry_after=error.headers.get("Retry-After"))
            error.close()
            return answer
        except (OSError, http.client.HTTPException, ValueError) as error:
            # A ValueError is a host or key with signs that no header can hold, and would show the key.
            cause = getattr(error, "reason", error)
            reason = "it took too long" if isinstance(cause, TimeoutError) else type(cause).__name__
        # Raised outside the handler: an error of the service may quote what it was sent.
        raise ResourceError(
            f"The {self.use.noun} at {self.host} cannot be reached ({reason}); check that it runs, the address, and "
            f"the key in {self.use.key_variable}."
        )

    def _opener(self) -> urllib.request.OpenerDirector:
        """A proxy from the environment must not get what is meant for this machine."""
        direct = (urllib.request.ProxyHandler({}),) if self.is_local else ()
        return urllib.request.build_opener(_NoRedirects, *direct)

    def _read(self, raw: bytes) -> str:
        content: Any = None
        try:
            content = _said(json.loads(raw)["choices"][0])
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            content = None
        if isinstance(content, str):
            return content
        raise InputError(
            f"What {self.host} answers is no chat completion (choices, message, content); "
            f"{self.use.flag} needs an OpenAI-compatible address that ends before /chat/completions."
        )


def is_address(place: object) -> bool:
    """Whether a model is named by an address instead of a folder or Hub id; mistyped ones may hold a key too."""
    if not isinstance(place, str):
        return False
    return "://" in place or place.strip().lower().startswith(("http:", "https:"))


def _said(choice: Any) -> Any:
    """Content of a reply; a refusal may stand in a field of its own, and a filter leaves nothing to be said."""
    message = choice["message"]
    content = message.get("content")
    if content is None and choice.get("finish_reason") == "content_filter":
        content = ""
    return message.get("refusal") if content is None else content


def waiting_time(retry: int, retry_after: str | None) -> float:
    """Seconds before the next try: what ``Retry-After`` asks for, and at least twice as long as before; with a limit.

    Args:
        retry: number of the try that follows, from 0.
        retry_after: the header, in seconds or as a date; RFC 9110, section 10.2.3. Anything else counts as none.
    """
    return min(LONGEST_WAIT, max(FIRST_WAIT * 2.0**retry, _seconds(retry_after)))


def _seconds(retry_after: str | None) -> float:
    text = (retry_after or "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, OverflowError, LookupError, TypeError):
        return 0.0


def _parts(address: str) -> SplitResult | None:
    """Parts of an address with a host, and a port that is one if it has any; None for anything else."""
    try:
        parts = urlsplit(address)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if usable else None
