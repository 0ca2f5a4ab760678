"""A model behind an OpenAI-compatible address (``POST /chat/completions``), asked with the standard library.

What is asked leaves this machine. No message repeats what was sent or what came back.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from expunge.errors import InputError, ResourceError

KEY_VARIABLE = "EXPUNGE_PARAPHRASER_KEY"  # environment variable with the key of the service, if it wants one
DEFAULT_MODEL = "default"
MOST_BYTES = 1_000_000  # of a reply


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Another address than the one that was allowed gets nothing, neither text nor key."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


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

    def chat(self, text: str, *, temperature: float, seed: int) -> str:
        """Sends one user message and returns the reply.

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
        return self._read(self._post(json.dumps(body).encode()))

    def _post(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        if os.environ.get(KEY_VARIABLE):
            headers["Authorization"] = f"Bearer {os.environ[KEY_VARIABLE]}"
        target = f"{self.base}/chat/completions"
        asked = urllib.request.Request(target, data=body, headers=headers)  # noqa: S310 - http or https, see parse
        status: int | None = None
        reason = ""
        try:
            with self._opener().open(asked, timeout=self.timeout) as reply:
                return bytes(reply.read(MOST_BYTES))
        except urllib.error.HTTPError as error:
            status = error.code
            error.close()
        except (OSError, http.client.HTTPException, ValueError) as error:
            # A ValueError is a host or key with signs that no header can hold, and would show the key.
            cause = getattr(error, "reason", error)
            reason = "it took too long" if isinstance(cause, TimeoutError) else type(cause).__name__
        # Raised outside the handler: an error of the service may quote what it was sent.
        if status is not None:
            raise InputError(
                f"The paraphraser at {self.host} answers {status} to POST /chat/completions; check the address, "
                f"the model's name after # and the key in {KEY_VARIABLE}."
            )
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


def _parts(address: str) -> SplitResult | None:
    """Parts of an address with a host, and a port that is one if it has any; None for anything else."""
    try:
        parts = urlsplit(address)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if usable else None
