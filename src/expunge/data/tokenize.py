"""Records to token ids. Which tokens are the answer is read off the character offsets of ONE tokenisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from expunge.data.batch import IGNORE, Example
from expunge.data.record import Record
from expunge.errors import InputError


class Rendered(NamedTuple):
    """The whole text of a record, where its answer starts and ends, and whether a chat template wrote it."""

    text: str
    start: int
    stop: int
    templated: bool


class Encoded(NamedTuple):
    """Tokenised records, and the rows that were cut at the length limit."""

    examples: list[Example]
    truncated: list[int]


def render(record: Record, tokenizer: Any) -> Rendered:
    """Writes a record as the model reads it.

    Questions become ``Question: ...`` and ``Answer: ...`` unless the tokenizer has a chat template; prompt and completion
    stand verbatim one after the other; plain text is all answer.
    """
    answer = record.answer.reveal()
    if record.kind == "text":
        return Rendered(answer, 0, len(answer), False)
    prompt = record.prompt.reveal() if record.prompt is not None else ""
    templated = bool(getattr(tokenizer, "chat_template", None))
    if record.kind == "messages" or (record.kind == "qa" and templated):
        return _render_chat(record, prompt, answer, tokenizer)
    lead = f"Question: {prompt}\nAnswer: " if record.kind == "qa" else prompt
    return Rendered(lead + answer, len(lead), len(lead) + len(answer), False)


def _render_chat(record: Record, prompt: str, answer: str, tokenizer: Any) -> Rendered:
    if not getattr(tokenizer, "chat_template", None):
        raise InputError(f"{record.answer} is a conversation and the tokenizer has no chat template; use prompt and completion.")
    turns = [{"role": turn.role, "content": turn.content.reveal()} for turn in record.messages]
    turns = turns or [{"role": "user", "content": prompt}]
    lead = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    text = tokenizer.apply_chat_template([*turns, {"role": "assistant", "content": answer}], tokenize=False)
    start = len(lead) if text.startswith(lead) else text.rfind(answer)
    # A template may strip the answer; what follows the lead is then still the assistant's turn.
    stop = text.find(answer, start)
    if start < 0 or stop < 0:
        raise InputError(f"The answer of {record.answer} cannot be found in what the chat template writes.")
    return Rendered(text, stop, stop + len(answer), True)


def encode(record: Record, tokenizer: Any, *, row: int, max_length: int) -> Example:
    """Tokenises one record.

    A token that overlaps the answer is scored, also one that begins in the space before it. The end-of-sequence token is
    added and scored unless the record is plain text.

    Raises:
        InputError: the tokenizer gives no character offsets.
    """
    rendered = render(record, tokenizer)
    ids, labels = _tokenise(rendered, tokenizer)
    eos = tokenizer.eos_token_id
    if record.kind != "text" and eos is not None:
        if ids and ids[-1] == eos:
            labels[-1] = eos
        else:
            ids, labels = [*ids, eos], [*labels, eos]
    return Example(tuple(ids[:max_length]), tuple(labels[:max_length]), row, record.weight)


def _tokenise(rendered: Rendered, tokenizer: Any) -> tuple[list[int], list[int]]:
    if not getattr(tokenizer, "is_fast", False):
        raise InputError("The tokenizer gives no character offsets; save it as a fast tokenizer (tokenizer.json).")
    tokens = tokenizer(
        rendered.text,
        add_special_tokens=not rendered.templated,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        verbose=False,
    )
    ids = list(tokens["input_ids"])
    labels = [
        token if not special and stop > start and stop > rendered.start and start < rendered.stop else IGNORE
        for token, (start, stop), special in zip(
            ids, tokens["offset_mapping"], tokens["special_tokens_mask"], strict=True
        )
    ]
    return ids, labels


def encode_all(records: Sequence[Record], tokenizer: Any, *, max_length: int) -> Encoded:
    """Tokenises records, rows numbered from 0.

    Raises:
        InputError: records whose answer is cut away entirely by ``max_length``, by number.
    """
    examples = [encode(record, tokenizer, row=row, max_length=max_length) for row, record in enumerate(records)]
    lost = [str(record.index) for record, example in zip(records, examples, strict=True) if not example.scored]
    if lost:
        raise InputError(
            f"{len(lost)} of {len(records)} records keep no answer token within {max_length} tokens "
            f"(records {', '.join(lost[:10])}{', ...' if len(lost) > 10 else ''}); raise --max-length."
        )
    truncated = [example.row for example in examples if len(example.input_ids) == max_length]
    return Encoded(examples, truncated)


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
