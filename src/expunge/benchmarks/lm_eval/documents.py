"""What the task files call: documents made of a benchmark's records, and scores of what a model said.

Prompts are Expunge's own, written by ``expunge.data.render.render``. Two things differ from Expunge's numbers, and
lm_eval leaves no choice: it scores no end-of-sequence token, and where the tokenizer makes a token of its own of the
space before an answer, it scores that token too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from expunge.config import Choice
from expunge.data.choices import LETTERS, OptionTexts, OtherLetters
from expunge.data.record import Record
from expunge.data.render import render
from expunge.data.templates import Rendering, attach
from expunge.errors import InputError
from expunge.functional.rouge import rouge_l
from expunge.registry import benchmarks

CHOICES = {"letters": OtherLetters(), "options": OptionTexts()}


class Documents(list[dict[str, Any]]):
    """Documents in memory. The library ``datasets``, which lm_eval expects, would write them to its cache in clear."""

    @property
    def features(self) -> dict[str, str]:
        """Columns; lm_eval reads their names."""
        return {name: "" for name in self[0]}


def documents(
    benchmark: str,
    split: str,
    form: str = "trained",
    ask: str = "answer",
    kind: str | None = None,
    pretrained: Any = None,
    tokenizer: Any = None,
    rendering: Mapping[str, Any] | None = None,
    **metadata: Any,
) -> dict[str, Documents]:
    """Returns the documents of one task, as lm_eval's ``custom_dataset``.

    Each has ``prompt``; ``choices`` with the place of the ``right`` one; and ``answer``. What follows a prompt begins
    with the space between them.

    Args:
        benchmark: registered name.
        split: of the benchmark.
        form: of its records.
        ask: ``answer``: nothing but the answer. ``letters`` and ``options``: of a question that lists its options.
            ``wrong``: the answer among the record's wrong answers; its place goes round, so that no tie favours it.
        kind: only records of this kind.
        pretrained: folder or Hub id of the model, whose chat template writes questions, where it has one.
        tokenizer: the same for its tokenizer, where that lies elsewhere.
        rendering: fields of ``expunge.data.templates.Rendering``, for other than the default.
        metadata: what lm_eval was handed; under the benchmark's name are its settings.

    Raises:
        InputError: the benchmark cannot be made, or has no such records.
    """
    reader = _tokenizer(tokenizer or pretrained)
    if reader is not None:
        attach(reader, Rendering(**(rendering or {})))
    records = _splits(benchmark, json.dumps(dict(metadata.get(benchmark) or {}), sort_keys=True)).get(split, [])
    asked = [one for record in records for one in record.forms(form) if kind in (None, one.kind)]
    offers = [_offer(one, ask, number) for number, one in enumerate(asked)]
    found = Documents(_document(offer, reader) for offer in offers if offer is not None)
    if not found:
        raise InputError(
            f"The benchmark {benchmark!r} has no records for this task (split {split}, form {form}); other settings of "
            "the benchmark may have them."
        )
    return {"test": found}


class _Offer(NamedTuple):
    """A record with each answer that is offered, and the place of the right one."""

    records: Sequence[Record]
    right: int


def _offer(record: Record, ask: str, number: int) -> _Offer | None:
    """Returns what is offered; None for a record that lists no options, or has no wrong answers."""
    if ask in CHOICES:
        first, *others = CHOICES[ask].apply(record, ()) or (record,)
        place = LETTERS.find(record.answer.reveal().strip().strip("().:").strip()[:1])
    elif ask == "wrong":
        first, others = record, list(record.forms("perturbed_answer"))
        place = number % (len(others) + 1)
    else:
        return _Offer([record], 0)
    return _Offer([*others[:place], first, *others[place:]], place) if others else None


class _Parts(NamedTuple):
    """The text before an answer, and the answer with the spaces before it."""

    prompt: str
    answer: str


def _document(offer: _Offer, reader: Any) -> dict[str, Any]:
    parts = [_parts(record, reader) for record in offer.records]
    prompt, answer = parts[offer.right]
    return {"prompt": prompt, "choices": [part.answer for part in parts], "right": offer.right, "answer": answer}


def _parts(record: Record, reader: Any) -> _Parts:
    """Cuts what the model reads; the space before the answer goes with it, as tokenizers have it."""
    rendered = render(record, reader)
    lead, answer = rendered.text[: rendered.start], rendered.text[rendered.start : rendered.stop]
    prompt = lead if rendered.templated else lead.rstrip(" ")
    return _Parts(prompt, lead[len(prompt) :] + answer)


@lru_cache(maxsize=1)
def _splits(benchmark: str, settings: str) -> dict[str, list[Record]]:
    """Records by split; the tasks of one benchmark are loaded one after the other."""
    given: Mapping[str, Any] = json.loads(settings)
    try:
        found: dict[str, list[Record]] = Choice(benchmark, given).create(benchmarks).splits()
    except InputError as error:
        raise InputError(
            f"{error} An audit takes the settings of its --benchmark, such as {benchmark}:folder=DIR; lm_eval itself "
            f'takes --metadata \'{{"{benchmark}": {{"folder": "DIR"}}}}\'.'
        ) from None
    return found


@lru_cache(maxsize=1)
def _tokenizer(source: Any) -> Any:
    if not isinstance(source, (str, Path)):
        return None
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(source)


def drop_records() -> None:
    """Forgets the records and the tokenizer of the tasks before; files at the same path may say something else now."""
    _splits.cache_clear()
    _tokenizer.cache_clear()


def reply_scores(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Scores of a reply: ROUGE-L recall of the answer's words, and whether it is the answer but for space around it."""
    (reply,) = results
    return {
        "rouge_l_recall": rouge_l(reply, doc["answer"]).recall,
        "exact_match": float(reply.strip() == doc["answer"].strip()),
    }


def answer_scores(doc: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, float]:
    """Log-probability of the answer, nats, and whether greedy decoding writes it."""
    ((nats, is_greedy),) = results
    return {"log_likelihood": float(nats), "greedy_match": float(is_greedy)}
