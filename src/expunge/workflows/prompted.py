"""A model behind an address as a column of an audit: asked prompt by prompt, and nothing else of it is seen.

Prompts and replies stay in this process; what is stored are the numbers made of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from expunge.data.record import Message
from expunge.data.templates import DEFAULT, Rendering
from expunge.errors import InputError
from expunge.evaluation.subjects import Decoding, Subject
from expunge.storage.digests import DataKey
from expunge.storage.events import read_events
from expunge.storage.progress import UNCOUNTED, Steps
from expunge.storage.run import RunFolder
from expunge.workflows.identity import hash_plain
from expunge.workflows.remote import Endpoint, Use
from expunge.workflows.signals import Asked, stop_if_asked, wait

AUDITED = Use(
    "model", "expunge audit", "a run folder, a model folder,", "the prompts of all records", "EXPUNGE_ENDPOINT_KEY"
)
LIMIT = (
    "Through prompts alone: log-probabilities, membership inference and weights were not examined; a filter in front "
    "of the model looks the same as forgetting."
)
STOPPED = "Stopped between two prompts; the same command goes on, and asks what has no stored numbers yet."


def parse_audited(address: str, *, allow_remote: bool) -> Endpoint:
    """Reads the address of a model that is audited.

    Raises:
        InputError: not an address, or one on another machine without leave to send records there.
    """
    endpoint = Endpoint.parse(address, AUDITED)
    endpoint.check_leave(allow_remote=allow_remote)
    return endpoint


@dataclass
class PromptedModel:
    """Asks an address, one prompt after the other; a ``Service``.

    Attributes:
        endpoint: where to ask.
        run: whose log is told how many prompts are sent, never what they say.
        stop_requested: asked before every prompt and while a busy service is waited for.
        system: sent before every conversation that has no system turn; empty for none.
        steps: prompts answered, of all.
    """

    endpoint: Endpoint
    run: RunFolder
    stop_requested: Asked
    system: str = ""
    steps: Steps = field(default=UNCOUNTED, init=False)

    def begin(self, prompts: int, answered: int) -> None:
        """Tells how many prompts will be sent, and where to."""
        if not self.endpoint.is_local:
            said = f"The prompts of all records are now sent{self.endpoint.plainly} to {self.endpoint.host}, as "
            self.run.events.append("warning", text=f"{said}--allow-remote says.")
        name = f"send {prompts:,} prompts to {self.endpoint.name}"
        self.steps = self.run.phases.begin(name, prompts + answered, answered)

    def reply(self, conversations: Sequence[Sequence[Message]], decoding: Decoding) -> list[str]:
        """Answers conversations, one request each.

        Raises:
            InterruptedRunError: stopped on request, between two prompts.
            InputError: the address refuses a prompt, or answers something else than a chat completion.
            ResourceError: nothing answers there, or it stays busy or broken.
        """
        found = []
        for turns in conversations:
            found.append(self._ask(turns, decoding))
            self.steps.advance()
        return found

    def _ask(self, turns: Sequence[Message], decoding: Decoding) -> str:
        stop_if_asked(self.stop_requested, STOPPED)
        sent = [{"role": turn.role, "content": turn.content.reveal()} for turn in turns]
        if self.system and not any(turn.role == "system" for turn in turns):
            sent.insert(0, {"role": "system", "content": self.system})
        pause = partial(wait, stop_requested=self.stop_requested, text=STOPPED)
        return self.endpoint.complete(sent, request_settings(decoding), pause=pause)


def request_settings(decoding: Decoding) -> dict[str, Any]:
    """Returns the fields of a request that say how the reply is made."""
    greedy = {"temperature": decoding.temperature, "max_tokens": decoding.max_new_tokens}
    if decoding.seed is None:
        return greedy
    return {**greedy, "top_p": decoding.top_p, "seed": decoding.seed}


def endpoint_subject(
    endpoint: Endpoint, run: RunFolder, stop_requested: Asked, rendering: Rendering = DEFAULT
) -> Subject:
    """Returns the column of a model behind an address.

    Its answers are stored under a digest that no other folder has, and that changes once an audit of this folder has
    ended: a killed audit goes on with what it was told, and a finished one that is called again asks again, since
    nothing says that the same model still answers there.
    """
    rounds = sum(event.kind == "verdict" for event in read_events(run.events_path))
    key = DataKey.load_or_create(run.root)
    identity = {
        "endpoint": key.hmac_many([endpoint.base, endpoint.model, str(rounds)]),
        "adapter": "none",
        "policy": "none",
        "attack": "none",
        "dtype": "unknown",
        "template": hash_plain(rendering.system),
    }
    service = PromptedModel(endpoint, run, stop_requested, rendering.system)
    return Subject(role="unlearned", identity=identity, load=None, service=service, access="prompts")


def check_access(access: str, *, is_address: bool) -> None:
    """Refuses an address without a word on what can be seen of it, and words that do not exist.

    Raises:
        InputError: see above.
    """
    if access not in ("weights", "prompts"):
        raise InputError(f"--access is weights or prompts, not {access!r}.")
    if is_address and access != "prompts":
        raise InputError(
            "The target is an address, of which only replies can be seen; say so with --access prompts, or hand in a "
            "model folder."
        )
