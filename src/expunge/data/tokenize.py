"""Records to token ids. Which tokens are the answer is read off the character offsets of ONE tokenisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from expunge.data.batch import IGNORE, Example
from expunge.data.record import Record
from expunge.data.render import STAND_IN, Rendered, render
from expunge.data.templates import added_tokens, attach, chat_template, rendering_of
from expunge.errors import InputError
from expunge.storage.secret import Secret

Mask = Literal["answer", "all"]


class Encoded(NamedTuple):
    """Tokenised records, and the rows that lost tokens to the length limit."""

    examples: list[Example]
    truncated: list[int]


def encode(record: Record, tokenizer: Any, *, row: int, max_length: int, mask: Mask = "answer") -> Example:
    """Tokenises one record and keeps its first ``max_length`` tokens.

    Every token from the first to the last that overlaps the answer is scored, also one that begins in the space before
    it. The mark that ends the answer is scored too, unless the record is plain text or its text would go on: what the
    template writes after the answer, or, where it writes nothing, the end token of the tokenizer's rendering.

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


def stop_id(tokenizer: Any) -> int | None:
    """Id of the one token that a reply to a question ends with, for code that knows of one only."""
    mark = end_mark(tokenizer)
    return mark.ids[0] if mark.is_token else end_id(tokenizer)


class EndMark(NamedTuple):
    """What a template writes after an answer; empty for nothing.

    Attributes:
        ids: token ids.
        text: the text without spaces around it.
        is_token: whether it is one added token, which is written nowhere else, so that generation may stop there.
    """

    ids: tuple[int, ...]
    text: str
    is_token: bool


class _Whole(NamedTuple):
    """A record before it is cut, and the places of its answer."""

    example: Example
    answer: range


def _encode(record: Record, tokenizer: Any, row: int, mask: Mask) -> _Whole:
    rendered = render(record, tokenizer)
    tokens = _tokenise(rendered, tokenizer)
    ids, special, _, answer = tokens
    scored = answer if mask == "answer" else range(len(ids))
    labels = [token if place in scored and not special[place] else IGNORE for place, token in enumerate(ids)]
    if record.kind == "text" or record.goes_on:
        return _Whole(Example(tuple(ids), tuple(labels), row, record.weight), answer)
    mark, end = _mark(rendered, tokens, tokenizer), end_id(tokenizer)
    if not mark and end is not None:
        mark = range(answer.stop, answer.stop + 1)
        ids, labels = [*ids[: answer.stop], end], labels[: answer.stop]
    labels = [*labels[: mark.start], *ids[mark.start : mark.stop], *labels[mark.stop :]] if mark else labels
    return _Whole(Example(tuple(ids), tuple(labels), row, record.weight, end=mark.start if mark else None), answer)


def _mark(rendered: Rendered, tokens: _Tokens, tokenizer: Any) -> range:
    """Places of the mark that the template, or the tokenizer by itself, puts after an answer; empty without one.

    The mark is the first added token behind the answer, or all of what the template writes there but spaces.
    """
    places = range(tokens.answer.stop, len(tokens.ids))
    own = (place for place in places if tokens.special[place] and tokens.ids[place] == end_id(tokenizer))
    after = rendered.text[rendered.stop :]
    if not after.strip():
        first = next(own, None)
        return range(0) if first is None else range(first, first + 1)
    added = added_tokens(tokenizer)
    first = next((place for place in places if tokens.ids[place] in added), None)
    if first is not None:
        return range(first, first + 1)
    found = _overlapping(tokens.offsets, rendered.stop, rendered.stop + len(after.rstrip()))
    return range(max(found.start, tokens.answer.stop), max(found.stop, tokens.answer.stop))


def _cut(example: Example, max_length: int) -> Example:
    end = None if example.end is None or example.end >= max_length else example.end
    return replace(example, input_ids=example.input_ids[:max_length], labels=example.labels[:max_length], end=end)


def end_id(tokenizer: Any) -> int | None:
    """Id of the token that ends an answer after which its template writes nothing; None if nothing does."""
    end = rendering_of(tokenizer).end
    if end is None:
        found: int | None = tokenizer.eos_token_id
        return found
    number = tokenizer.convert_tokens_to_ids(end) if end else None
    # Another model's tokenizer may lack the token, and then gives nothing or its unknown token.
    return None if number is None or (number == tokenizer.unk_token_id and end != tokenizer.unk_token) else int(number)


def without_end(record: Record, tokenizer: Any, *, max_length: int) -> Example | None:
    """Returns a record up to the last token of its answer, if its template writes no end after the answer.

    None for plain text, which has no end, for a text that goes on, and for a record of more than ``max_length`` tokens.

    Raises:
        InputError: as for ``encode``.
    """
    if record.kind == "text" or record.goes_on:
        return None
    before = rendering_of(tokenizer)
    try:
        attach(tokenizer, replace(before, end=""))
        example, answer = _encode(record, tokenizer, 0, "answer")
    finally:
        attach(tokenizer, before)
    if example.end is not None or not 0 < answer.stop <= max_length:
        return None
    return _cut(example, answer.stop)


def end_mark(tokenizer: Any) -> EndMark:
    """Returns the mark that the tokenizer's template writes after an answer to a question."""
    if not chat_template(tokenizer) and rendering_of(tokenizer).shape is None:
        return EndMark((), "", is_token=False)
    probe = Record(index=0, split="probe", kind="qa", prompt=Secret("?", "probe"), answer=Secret("-", "probe"))
    rendered = render(probe, tokenizer)
    tokens = _tokenise(rendered, tokenizer)
    mark = _mark(rendered, tokens, tokenizer)
    ids = tuple(tokens.ids[mark.start : mark.stop])
    is_token = len(ids) == 1 and ids[0] in added_tokens(tokenizer)
    return EndMark(ids, rendered.text[rendered.stop :].strip(), is_token)


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
