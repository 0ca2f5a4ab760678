"""Records to token ids. Which tokens are the answer is read off the character offsets of ONE tokenisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from expunge.data.batch import IGNORE, Example
from expunge.data.chat import chat_inputs
from expunge.data.record import Record
from expunge.errors import InputError

Mask = Literal["answer", "all"]
STAND_IN = "\ue000"  # a private-use character that no template writes


class Rendered(NamedTuple):
    """The whole text of a record, where its answer starts and ends, and whether a chat template wrote it."""

    text: str
    start: int
    stop: int
    templated: bool


class Encoded(NamedTuple):
    """Tokenised records, and the rows that lost tokens to the length limit."""

    examples: list[Example]
    truncated: list[int]


def render(record: Record, tokenizer: Any) -> Rendered:
    """Writes a record as the model reads it.

    Questions become ``Question: ...`` and ``Answer: ...`` unless the tokenizer has a chat template; prompt and
    completion stand verbatim one after the other; plain text is all answer. What a record gives of its answer stands
    directly before the rest, behind the template's lead, and does not count as answer.
    """
    answer = record.answer.reveal()
    given = "" if record.given is None else record.given.reveal()
    if record.kind == "text":
        return Rendered(given + answer, len(given), len(given) + len(answer), False)
    prompt = record.prompt.reveal() if record.prompt is not None else ""
    templated = bool(getattr(tokenizer, "chat_template", None))
    if record.kind == "messages" or (record.kind == "qa" and templated):
        return _render_chat(record, prompt, given, answer, tokenizer)
    lead = (f"Question: {prompt}\nAnswer: " if record.kind == "qa" else prompt) + given
    return Rendered(lead + answer, len(lead), len(lead) + len(answer), False)


def _render_chat(record: Record, prompt: str, given: str, answer: str, tokenizer: Any) -> Rendered:
    """Finds the answer by what the template writes around a stand-in for it.

    Searching for the answer itself would find a short one inside a role or an end-of-turn mark.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise InputError(
            f"{record.answer} is a conversation and the tokenizer has no chat template; use prompt and completion."
        )
    turns, tools = chat_inputs(record, prompt, tokenizer)
    try:
        text, around = (
            str(
                tokenizer.apply_chat_template(
                    [*turns, {"role": "assistant", "content": content}], tools=tools, tokenize=False
                )
            )
            for content in (given + answer, given + STAND_IN)
        )
    except Exception:  # a template is a program and may fail in any way; its message may repeat what it was given
        text, around = "", ""
    before, _, after = around.rpartition(STAND_IN)
    start, stop = len(before), len(text) - len(after)
    if start < stop and text.startswith(before) and text.endswith(after):
        return Rendered(text, start, stop, True)
    raise InputError(
        f"The answer of {record.answer} cannot be found in what the tokenizer's chat template makes of the "
        "conversation; the template may refuse these roles or rewrite answers. Use prompt and completion instead."
    )


def encode(record: Record, tokenizer: Any, *, row: int, max_length: int, mask: Mask = "answer") -> Example:
    """Tokenises one record and keeps its first ``max_length`` tokens.

    Every token from the first to the last that overlaps the answer is scored, also one that begins in the space before
    it. The end-of-sequence token is scored too, and added where it is missing, unless the record is plain text or its
    text would go on.

    Args:
        record: what to tokenise.
        tokenizer: a fast tokenizer.
        row: position of the record in its list.
        max_length: number of tokens to keep.
        mask: ``answer``, or ``all`` to score the prompt too; tokens that the tokenizer puts around a text never count.

    Raises:
        InputError: the tokenizer gives no character offsets, or its chat template cannot write the record.
    """
    return _cut(_encode(record, tokenizer, row, mask).example, max_length)


class _Whole(NamedTuple):
    """A record before it is cut, and the places of its answer."""

    example: Example
    answer: range


def _encode(record: Record, tokenizer: Any, row: int, mask: Mask) -> _Whole:
    ids, special, _, answer = _tokenise(render(record, tokenizer), tokenizer)
    scored = answer if mask == "answer" else range(len(ids))
    labels = [token if place in scored and not special[place] else IGNORE for place, token in enumerate(ids)]
    eos = tokenizer.eos_token_id
    if record.kind != "text" and not record.goes_on and eos is not None:
        # A template may end a turn with the token and a line break: that token is the end, and no second one is added.
        end = next((place for place in range(answer.stop, len(ids)) if ids[place] == eos), len(ids))
        ids, labels = [*ids[:end], eos, *ids[end + 1 :]], [*labels[:end], eos, *labels[end + 1 :]]
    return _Whole(Example(tuple(ids), tuple(labels), row, record.weight), answer)


def _cut(example: Example, max_length: int) -> Example:
    return replace(example, input_ids=example.input_ids[:max_length], labels=example.labels[:max_length])


class _Tokens(NamedTuple):
    """One tokenisation: ids, whether the tokenizer added the token by itself, offsets, and the places of the answer."""

    ids: list[int]
    special: list[bool]
    offsets: list[tuple[int, int]]
    answer: range


def _tokenise(rendered: Rendered, tokenizer: Any) -> _Tokens:
    if not getattr(tokenizer, "is_fast", False):
        raise InputError("The tokenizer gives no character offsets; save it as a fast tokenizer (tokenizer.json).")
    tokens = tokenizer(
        rendered.text,
        add_special_tokens=not rendered.templated,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        verbose=False,
    )
    ids, special = list(tokens["input_ids"]), [bool(mark) for mark in tokens["special_tokens_mask"]]
    offsets = [(start, stop) for start, stop in tokens["offset_mapping"]]
    return _Tokens(ids, special, offsets, _overlapping(offsets, rendered.start, rendered.stop))


def _overlapping(offsets: Sequence[tuple[int, int]], first: int, last: int) -> range:
    """Places of the tokens that overlap the characters from ``first`` up to ``last``."""
    # Tokens that the tokenizer adds by itself have an empty offset.
    inside = [place for place, (start, stop) in enumerate(offsets) if start < stop and first < stop and start < last]
    # Everything between the first and the last: tokenizers that trim offsets give a token of spaces an empty one.
    return range(inside[0], inside[-1] + 1) if inside else range(len(offsets), len(offsets))


def token_places(record: Record, tokenizer: Any, spans: Sequence[slice]) -> frozenset[int]:
    """Places of the tokens of ``encode`` that overlap parts of the answer; read off the same single tokenisation.

    Args:
        record: what was tokenised.
        tokenizer: a fast tokenizer.
        spans: parts of ``record.answer``, in characters.

    Raises:
        InputError: as for ``encode``; or a chat template that rewrites the answer, so that its parts have no place.
    """
    rendered, answer = render(record, tokenizer), record.answer.reveal()
    left_out = answer.find(rendered.text[rendered.start : rendered.stop])  # a template may strip the answer's ends
    if left_out < 0:
        raise InputError(f"The tokenizer's chat template rewrites {record.answer}, so its parts cannot be found in it.")
    offsets, shift = _tokenise(rendered, tokenizer).offsets, rendered.start - left_out
    ranges = [
        _overlapping(offsets, max(span.start + shift, rendered.start), min(span.stop + shift, rendered.stop))
        for span in spans
    ]
    return frozenset(place for found in ranges for place in found)


def insertion_place(record: Record, tokenizer: Any, *, after: bool = False) -> int | None:
    """Place among the tokens of ``encode`` where further tokens of the user would stand: before or after what is asked.

    That is the prompt, or the user's turn before the answer; a text that nobody asked for has its beginning only.
    Tokens are not parted: one that overlaps the question belongs to it. Never behind the first token of the answer.

    Returns:
        The place of the token that would follow; None where a chat template rewrites what is asked.

    Raises:
        InputError: as for ``encode``.
    """
    rendered = render(record, tokenizer)
    tokens = _tokenise(rendered, tokenizer)
    start = stop = 0
    if record.kind != "text":
        asking = record.asking(record.answer.relabel(STAND_IN))
        before, _, behind = render(asking, tokenizer).text.rpartition(STAND_IN)
        start, stop = len(before), len(rendered.text) - len(behind)
        if not (start <= stop and rendered.text.startswith(before) and rendered.text.endswith(behind)):
            return None
    real = [(place, span) for place, span in enumerate(tokens.offsets) if span[0] < span[1]]
    follows = (place for place, span in real if (span[0] >= stop if after else span[1] > start))
    return min(next(follows, len(tokens.ids)), tokens.answer.start)


def encode_all(records: Sequence[Record], tokenizer: Any, *, max_length: int, mask: Mask = "answer") -> Encoded:
    """Tokenises records, rows numbered from 0; ``truncated`` has the rows that lost tokens.

    Raises:
        InputError: records whose answer is cut away entirely by ``max_length``, by number.
    """
    whole = [_encode(record, tokenizer, row, mask) for row, record in enumerate(records)]
    lost = [
        str(record.index)
        for record, (_, answer) in zip(records, whole, strict=True)
        if min(answer.stop, max_length) <= max(answer.start, 1)  # nothing predicts the first token
    ]
    if lost:
        raise InputError(
            f"{len(lost)} of {len(records)} records keep no answer token within {max_length} tokens "
            f"(records {', '.join(lost[:10])}{', ...' if len(lost) > 10 else ''}); raise --max-length. "
            "A text of a single token has nothing to score."
        )
    examples = [_cut(example, max_length) for example, _ in whole]
    return Encoded(examples, [example.row for example, _ in whole if len(example.input_ids) > max_length])


def prompt_ids(record: Record, tokenizer: Any, *, max_length: int) -> list[int]:
    """Token ids before the answer, from the same single tokenisation, for generation."""
    example = encode(record, tokenizer, row=0, max_length=max_length)
    first = next((place for place, label in enumerate(example.labels) if label != IGNORE), len(example.labels))
    return list(example.input_ids[:first])


def pad_id(tokenizer: Any) -> int:
    """Id that fills up batches: pad, else end-of-sequence, else 0."""
    for token in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    return 0


def answer_text(record: Record) -> str:
    """The answer in clear; for text scores inside the process only."""
    return record.answer.reveal()
