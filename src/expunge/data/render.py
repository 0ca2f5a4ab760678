"""Records as the text that a model reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from expunge.data.chat import Turn, chat_inputs
from expunge.data.record import Record
from expunge.data.templates import PLAIN, Rendering, chat_template, rendering_of, write_turns
from expunge.errors import InputError

STAND_IN = "\ue000"  # a private-use character that no template writes


class Rendered(NamedTuple):
    """The whole text of a record.

    Attributes:
        text: everything that the model reads, without the tokens that the tokenizer adds by itself.
        start: where the answer begins.
        stop: where the answer ends; a template may write an end mark after it.
        templated: whether a chat template wrote the text, so that the tokenizer adds nothing.
        verbatim: whether the answer was put after the template's lead as it is, since the template leaves out a part.
    """

    text: str
    start: int
    stop: int
    templated: bool
    verbatim: bool = False


def render(record: Record, tokenizer: Any) -> Rendered:
    """Writes a record as the model reads it, by the rendering of the tokenizer.

    By default questions become ``Question: ...`` and ``Answer: ...`` unless the tokenizer has a chat template. Prompt
    and completion stand verbatim one after the other; plain text is all answer. What a record gives of its answer
    stands directly before the rest, behind the template's lead, and does not count as answer.

    Raises:
        InputError: a conversation without a chat template, or a chat template that cannot write the record.
    """
    answer = record.answer.reveal()
    given = "" if record.given is None else record.given.reveal()
    if record.kind == "text":
        return Rendered(given + answer, len(given), len(given) + len(answer), False)
    prompt = record.prompt.reveal() if record.prompt is not None else ""
    if record.kind == "messages" or (record.kind == "qa" and chat_template(tokenizer)):
        return _render_chat(record, prompt, given, answer, tokenizer)
    lead, after = (prompt, "") if record.kind == "completion" else _around(rendering_of(tokenizer), prompt)
    lead += given
    return Rendered(lead + answer + after, len(lead), len(lead) + len(answer), False)


def _around(rendering: Rendering, question: str) -> tuple[str, str]:
    """What a text template writes before an answer and after it."""
    shape = rendering.shape or PLAIN
    if "{system}" not in shape and rendering.system:
        shape = f"{{system}}\n\n{shape}"
    # Each part is put in once, so that a question with braces stays what it is.
    before, after = shape.split("{answer}")
    lead, middle = before.split("{question}")
    return f"{lead.replace('{system}', rendering.system)}{question}{middle}", after


def _render_chat(record: Record, prompt: str, given: str, answer: str, tokenizer: Any) -> Rendered:
    """Finds the answer by what the template writes around a stand-in for it.

    Searching for the answer itself would find a short one inside a role or an end-of-turn mark. Where the template
    leaves out a part of the answer (the thoughts before it), or thinking is on or off, the answer is put as it is after
    what the template writes before a model's turn, since that is what the model would have said.
    """
    if not chat_template(tokenizer):
        raise InputError(
            f"{record.answer} is a conversation, and no chat template is in use. Pass one with --template, leave out a "
            "--template that writes questions only, or use prompt and completion."
        )
    turns, tools = chat_inputs(record, prompt, tokenizer)
    whole, thinking = given + answer, rendering_of(tokenizer).thinking
    try:
        text, around = (
            write_turns(tokenizer, [*turns, {"role": "assistant", "content": content}], tools=tools)
            for content in (whole, given + STAND_IN)
        )
    except InputError:
        raise
    except Exception:  # a template is a program and may fail in any way; its message may repeat what it was given
        text, around = "", ""
    before, _, after = around.rpartition(STAND_IN)
    start, stop = len(before), len(text) - len(after)
    is_whole = start < stop and text.startswith(before) and text.endswith(after)
    is_whole = is_whole and text[start:stop].strip() == answer.strip()
    if is_whole and thinking is None:
        return Rendered(text, start, stop, True)
    lead = (
        None
        if thinking is False and not is_whole
        else _lead(turns, tools, before.removesuffix(given), whole, tokenizer)
    )
    if lead is None:
        off = " Thoughts cannot be written with --thinking off." if thinking is False else ""
        raise InputError(
            f"The answer of {record.answer} cannot be found in what the tokenizer's chat template makes of the "
            "conversation; the template may refuse these roles, leave out a part of answers or rewrite them. Pass "
            f"another with --template, or use prompt and completion instead.{off}"
        )
    lead += given
    found = f"{lead}{answer}{after}"
    return Rendered(found, len(lead), len(lead) + len(answer), True, verbatim=not is_whole and found != text)


def _lead(turns: Sequence[Turn], tools: list[Any] | None, before: str, whole: str, tokenizer: Any) -> str | None:
    """What a template writes up to a model's turn; None if it does not write the same before an answer.

    A template may begin an answer with an empty thought, which it leaves out before a model's turn, or begin a thought
    before a model's turn, which the answer then begins with itself.
    """
    try:
        asked, lead = (write_turns(tokenizer, turns, generation=one, tools=tools) for one in (False, True))
    except Exception:
        return None
    if lead == asked or not lead.startswith(asked):
        return None
    if before.startswith(lead):
        return lead
    begun = lead[len(before) :].strip() if lead.startswith(before) else ""
    return before if begun and whole.startswith(begun) else None
