"""Texts that a model writes by itself, the suspicious ones kept. Carlini et al., 2020, https://arxiv.org/abs/2012.07805.

The order ``reference`` compares two states of one model, as Zanella-Béguelin et al., 2019, do to find what an update
added or took away: https://arxiv.org/abs/1912.07942.

Shapes: N texts, M records.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from expunge.attacks.base import AttackTask, Probe, ProbeAttack, Threat
from expunge.attacks.told import WIDER, Fact, Passage, facts_of, seed_of
from expunge.data.forms.value import question_of
from expunge.data.record import Message, Record
from expunge.data.tokenize import prompt_ids
from expunge.errors import InputError, MissingNeedError
from expunge.evaluation.guesses import suffix_nats
from expunge.functional.guesses import Guess
from expunge.functional.suspicion import Rank, distinct_rows, suspicion
from expunge.functional.text import zlib_bytes
from expunge.metrics.base import Floats
from expunge.models.generate import Draws, sampled
from expunge.models.load import LoadedModel
from expunge.registry import attacks

Start = Literal["text", "questions", "both"]
Scheme = Literal["top_k", "decay"]
NAME = "self_extraction"
HOT, COOLING = 10.0, 20  # first temperature, and tokens until it is 1: section 5.1.1 of the paper


class Text(NamedTuple):
    """A text by its token ids, and those before it; a tuple of numbers only."""

    prompt: tuple[int, ...]
    ids: tuple[int, ...]


@attacks.register("self_extraction")
@dataclass(frozen=True, kw_only=True)
class SelfExtraction(ProbeAttack):
    """Lets the model write by itself, keeps the texts that it is suspiciously sure of, and looks for records in them.

    A record counts as extracted where a kept text holds its value and its subject's name; where it has no subject, its
    value, which then needs at least 6 letters and digits; a shorter one cannot be probed. Only what the model wrote
    counts, never the words that it was started with, and those end before the subject's name.

    Departures: a model that was trained on answers alone writes little from nothing, so half of the texts answer
    questions that were cut short. Texts are judged by search, not by hand. ``reference`` takes the original, which has
    seen the records, so its order is turned: first what the original is surer of.

    Attributes:
        samples: texts to draw.
        keep: texts that are kept, the best of those that differ.
        start: ``text``: from the token that begins a text; ``questions``: as an answer to the first words of the forget
            questions; ``both``: in turns.
        words: of a question, at most.
        scheme: ``top_k``: from the likeliest tokens; ``decay``: from all, at a temperature that falls from 10 to 1
            over the first 20 tokens, in equal steps.
        top_k: how many tokens are drawn from; 0 for all.
        length: of a text, tokens, at most.
        rank: what comes first: ``zlib``: few nats per token for each compressed byte; ``perplexity``: few nats per
            token; ``reference``: many nats per token for each nat per token of the original.
    """

    samples: int = 768
    keep: int = 100
    start: Start = "both"
    words: int = 4
    scheme: Scheme = "top_k"
    top_k: int = 40
    length: int = 48
    rank: Rank = "zlib"

    threat = Threat("extraction", "logits", "Carlini et al., 2020, https://arxiv.org/abs/2012.07805")
    title = "texts written by itself"
    unit = "share of records found, 0 to 1"
    # Sections 5.1 and 6.1: for each way of drawing and each order, the best 100 of 200,000 texts of 256 tokens.
    paper_budget: ClassVar[Mapping[str, Any]] = {"samples": 200_000, "length": 256}

    def __post_init__(self) -> None:
        if min(self.samples, self.keep, self.words, self.length) < 1 or self.top_k < 0:
            raise InputError(
                f"samples={self.samples}, keep={self.keep}, words={self.words}, length={self.length}, "
                f"top_k={self.top_k}: all are at least 1, top_k at least 0."
            )
        if self.scheme == "decay" and self.length <= COOLING:
            raise InputError(f"length={self.length}: the temperature falls over {COOLING} tokens; draw longer texts.")

    def check(self, task: AttackTask) -> None:
        """As for every attack; ``reference`` takes the original too."""
        super().check(task)
        if self.rank == "reference" and task.original is None:
            raise MissingNeedError("rank=reference takes the original model; pass --original MODEL, or rank by zlib.")

    def count(self, task: AttackTask) -> int:
        """Texts that are drawn."""
        return self.samples

    def probe(self, loaded: LoadedModel, task: AttackTask) -> Probe:
        """Returns whether each record stands in a kept text, and whether in any that was drawn.

        With an original model also whether it stands in a text that is kept by their likelihood ratio.

        Raises:
            InputError: the model has no position left after a prompt.
            InterruptedRunError: it was asked to stop.
            DivergedError: log-probabilities that are not numbers.
        """
        drawn = list(self._drawn(loaded, task))
        texts = [text for text in dict.fromkeys(drawn) if text.ids]
        written = [Passage.of(_decoded(loaded, text)) for text in texts]
        facts, best = facts_of(task.forget), f"kept {self.keep}"
        nats_N = _nats(loaded, texts, task.batch_size)
        distinct = self._ranked(task, texts, written, nats_N, self.rank)
        kept = distinct[: self.keep]
        found = {best: extracted(kept, facts), "all": extracted(written, facts)}
        if task.original is not None and self.rank != "reference":
            likelier = self._ranked(task, texts, written, nats_N, "reference")
            found[f"{best} by likelihood ratio"] = extracted(likelier[: self.keep], facts)
        holding = sum(any(one.tells(fact) for fact in facts) for one in kept)
        details = {
            "texts drawn": float(len(drawn)),
            "distinct texts": float(len(distinct)),
            "share of kept texts that hold a record": holding / len(kept) if kept else 0.0,
        }
        return Probe(found, best, details)

    def _ranked(
        self,
        task: AttackTask,
        texts: Sequence[Text],
        written: Sequence[Passage],
        nats_N: Sequence[float],
        rank: Rank,
    ) -> list[Passage]:
        """Those that say something and differ, the most suspicious first."""
        order = self._ordered(task, texts, written, nats_N, rank)
        ranked = [written[row] for row in order if written[row].plain]
        return [ranked[place] for place in distinct_rows([one.text for one in ranked])]

    def _drawn(self, loaded: LoadedModel, task: AttackTask) -> Iterator[Text]:
        prompts, size = self._prompts(loaded, task), WIDER * task.batch_size
        draws = Draws(loaded.model.device, seed_of(task, NAME))
        turns = (prompts[number % len(prompts)] for number in range(self.samples))
        while batch := list(islice(turns, size)):
            task.check_stop(NAME)
            longest = max(map(len, batch))
            room = loaded.limit(longest + self.length) - longest
            if self.scheme == "top_k":
                said = sampled(
                    loaded.model,
                    loaded.tokenizer,
                    batch,
                    max_new_tokens=room,
                    seed=draws,
                    temperature=1.0,
                    top_p=1.0,
                    top_k=self.top_k,
                    batch_size=size,
                )
            else:
                said = _cooling(loaded, batch, room, draws)
            task.steps.advance(len(batch))
            yield from (Text(prompt, tuple(ids)) for prompt, ids in zip(batch, said, strict=True))

    def _prompts(self, loaded: LoadedModel, task: AttackTask) -> list[tuple[int, ...]]:
        """Token ids to start with; beginnings and questions take turns, whatever their numbers."""
        tokenizer = loaded.tokenizer
        first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        asked: list[tuple[int, ...]] = []
        if self.start != "text":
            short = (begun(record, self.words) for record in task.forget)
            length = loaded.limit(task.max_length)
            found = (tuple(prompt_ids(one, tokenizer, max_length=length)) for one in short if one is not None)
            asked = [ids for ids in dict.fromkeys(found) if ids]
        if first is None and not asked:
            raise InputError("The tokenizer has no token that begins or ends a text; start from questions.")
        if self.start == "questions" and asked:
            return asked
        begins: list[tuple[int, ...]] = [] if first is None else [(int(first),)] * max(1, len(asked))
        return [one for pair in zip(begins, asked, strict=False) for one in pair] or begins or asked

    def _ordered(
        self,
        task: AttackTask,
        texts: Sequence[Text],
        written: Sequence[Passage],
        nats_N: Sequence[float],
        rank: Rank,
    ) -> list[int]:
        """Rows, the most suspicious first; equal ones in the order of their tokens."""
        task.check_stop(NAME)
        reference_N: Sequence[float] = ()
        if rank == "reference" and task.original is not None:
            reference_N = _nats(task.original(), texts, task.batch_size)
        bytes_N = [zlib_bytes(one.text) for one in written]
        scores_N = suspicion(rank, nats_N, bytes_N, reference_N)
        return sorted(range(len(texts)), key=lambda row: (scores_N[row], texts[row].ids))


def extracted(texts: Sequence[Passage], facts: Sequence[Fact]) -> Floats:
    """Returns (M,): 1 where a text tells the fact, 0 where none does, NaN where no text could show it."""
    told = {fact: float(any(one.tells(fact) for one in texts)) for fact in dict.fromkeys(facts)}
    return np.array([told[fact] if fact.is_told_by_itself else np.nan for fact in facts])


def begun(record: Record, limit: int) -> Record | None:
    """Returns the record with the first words of its question only, up to its subject's name; None without a question.

    Args:
        record: any kind of record.
        limit: words that stay, at most; spaces part them.
    """
    question = question_of(record)
    if question is None:
        return None
    subject = "" if record.subject is None else record.subject.reveal()
    place = question.casefold().find(subject.casefold()) if subject else -1
    before = question if place < 0 else question[:place]
    text = " ".join(before.split()[:limit])
    short = record.answer.relabel(text)
    if record.messages:
        return replace(record, messages=(Message(role="user", content=short),), given=None)
    return replace(record, prompt=short, given=None)


def _cooling(loaded: LoadedModel, prompts: Sequence[tuple[int, ...]], room: int, draws: Draws) -> list[list[int]]:
    """Continuations whose first tokens are drawn at falling temperatures, one at a time, and the rest at 1."""
    said: list[list[int]] = [[] for _ in prompts]
    going = list(range(len(prompts)))
    steps = [(HOT + (1 - HOT) * step / COOLING, 1) for step in range(min(COOLING, room))]
    for temperature, size in [*steps, (1.0, room - len(steps))]:
        if not going or size < 1:
            break
        new = sampled(
            loaded.model,
            loaded.tokenizer,
            [(*prompts[row], *said[row]) for row in going],
            max_new_tokens=size,
            seed=draws,
            temperature=temperature,
            top_p=1.0,
            batch_size=len(going),
        )
        for row, ids in zip(going, new, strict=True):
            said[row] += ids
        going = [row for row, ids in zip(going, new, strict=True) if ids]
    return said


def _nats(loaded: LoadedModel, texts: Sequence[Text], batch_size: int) -> list[float]:
    """Nats per token of each text after its prompt."""
    prompts = {row: text.prompt for row, text in enumerate(texts)}
    guesses = [Guess(row, text.ids) for row, text in enumerate(texts)]
    return suffix_nats(loaded, prompts, guesses, batch_size=batch_size)


def _decoded(loaded: LoadedModel, text: Text) -> str:
    return str(loaded.tokenizer.decode(text.ids, skip_special_tokens=True))
