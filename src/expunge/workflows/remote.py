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
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

from expunge.errors import InputError, ResourceError

KEY_VARIABLE = "EXPUNGE_PARAPHRASER_KEY"  # environment variable with the key of the service, if it wants one
DEFAULT_MODEL = "default"
MOST_BYTES = 1_000_000  # of a reply
BUSY = (429, 503)  # too many requests; unavailable for now
TRIES = 6  # of one request to a busy service
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds between two tries; twice as long after each, or what Retry-After says


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
    """

    base: str
    model: str = DEFAULT_MODEL
    timeout: float = 60.0

    @classmethod
    def parse(cls, address: str) -> Endpoint:
        """Reads ``https://host/v1`` or ``https://host/v1#model``.

        Raises:
            InputError: not an address with http or https and a host.
        """
        parts = _parts(address)
        if parts is None or parts.scheme not in ("http", "https") or "@" in parts.netloc or parts.query:
            # Not repeated: an address that was mistyped may hold a key.
            raise InputError(
                "--paraphraser takes a model folder, a Hub id, or an address such as https://host/v1 or "
                f"https://host:8000/v1#model, without user or query; a key goes into {KEY_VARIABLE}."
            )
        base = parts._replace(fragment="").geturl().rstrip("/")
        return cls(base, parts.fragment or DEFAULT_MODEL)

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

    def chat(self, text: str, *, temperature: float, seed: int, pause: Callable[[float], None] = time.sleep) -> str:
        """Sends one user message and returns the reply; a service that is busy is asked again after a while.

        Args:
            text: the message.
            temperature: of sampling; 0 is greedy.
            seed: of sampling.
            pause: waits that many seconds before the next try; what it raises ends the call.

        Raises:
            InputError: the address refuses the request, or answers something else than a chat completion.
            ResourceError: nothing answers there.
        """
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": text}],
            "temperature": temperature,
            "seed": seed,
        }
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
        raise InputError(
            f"The paraphraser at {self.host} answers {answer.status} to POST /chat/completions; check the address, "
            f"the model's name after # and the key in {KEY_VARIABLE}."
        )

    def _send(self, body: bytes) -> _Answer:
        headers = {"Content-Type": "application/json"}
        if os.environ.get(KEY_VARIABLE):
            headers["Authorization"] = f"Bearer {os.environ[KEY_VARIABLE]}"
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
            f"The paraphraser at {self.host} cannot be reached ({reason}); check that it runs, the address, and the "
            f"key in {KEY_VARIABLE}."
        )

    def _opener(self) -> urllib.request.OpenerDirector:
        """A proxy from the environment must not get what is meant for this machine."""
        direct = (urllib.request.ProxyHandler({}),) if self.is_local else ()
        return urllib.request.build_opener(_NoRedirects, *direct)

    def _read(self, raw: bytes) -> str:
        content: Any = None
        try:
            content = json.loads(raw)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError, RecursionError):
            content = None
        if isinstance(content, str):
            return content
        raise InputError(
            f"What {self.host} answers is no chat completion (choices, message, content); "
            "--paraphraser needs an OpenAI-compatible address that ends before /chat/completions."
        )


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
