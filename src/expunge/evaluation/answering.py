"""Answers the needs of all metrics for one model.

One forward pass for each split, form, transform and batch, and one generation pass for each way of asking.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple, TypeVar

from expunge.data.record import Record
from expunge.data.tokenize import answer_text
from expunge.evaluation.blind import blind_answer
from expunge.evaluation.counting import Begun, Counted
from expunge.evaluation.forward import read_examples
from expunge.evaluation.frequencies import frequency_answer
from expunge.evaluation.journal import NO_JOURNAL, Journal
from expunge.evaluation.passes import Encoded, Pass, encoded, placed
from expunge.evaluation.replies import Asking, Replies, asked_records, generate_replies, judge_replies, score_replies
from expunge.evaluation.scoring import score_batches
from expunge.evaluation.subjects import Policy
from expunge.evaluation.sweeps import SWEEP, divergences
from expunge.functional.text import zlib_bytes
from expunge.metrics.base import FORWARD, SWEEPS, TOKENS, Answer, Need
from expunge.models.load import LoadedModel
from expunge.storage.progress import SILENT, UNCOUNTED, Phases, Steps

_Way = TypeVar("_Way", bound=Hashable)


class Read(NamedTuple):
    """What one model gave.

    Attributes:
        answers: every need but those that another model must judge.
        replies: what the model said, for those needs; it stays in the process.
    """

    answers: dict[Need, Answer]
    replies: dict[Need, Replies]


def text_answer(records: Sequence[Record], need: Need, others: Sequence[Record] = ()) -> Answer:
    """Answers a need that reads no model: lengths in bytes, places among labels, blind scores, or marks of ids.

    Args:
        records: the split.
        need: the numbers.
        others: records of the split ``need.beside``.
    """
    if need.kind == "blind_score":
        return blind_answer(records, need, others)
    if need.kind == "zlib_bytes":
        return [[float(zlib_bytes(answer_text(one))) for one in record.forms(need.form)] for record in records]
    if need.kind == "id_mark":
        marks = dict(need.params)["marks"]
        return [[_mark(record, marks) for _ in record.forms(need.form)] for record in records]
    forms = ("trained", "perturbed_answer")
    labels = sorted({answer_text(one) for record in records for form in forms for one in record.forms(form)})
    places = {label: float(place) for place, label in enumerate(labels)}
    return [[places[answer_text(one)] for one in record.forms(need.form)] for record in records]


def _mark(record: Record, marks: Sequence[str]) -> float:
    """Place of the first mark in a record's id; only the number leaves."""
    own = "" if record.id is None else f"-{record.id.reveal()}-"
    return next((float(place) for place, mark in enumerate(marks) if f"-{mark}-" in own), math.nan)


def answer_needs(
    loaded: LoadedModel,
    splits: Mapping[str, Sequence[Record]],
    needs: Sequence[Need],
    *,
    max_length: int,
    batch_size: int,
    policy: Policy | None = None,
) -> dict[Need, Answer]:
    """Answers needs that read logits or generate; what needs a judge is judged by the model itself."""
    read = read_model(loaded, splits, needs, max_length=max_length, batch_size=batch_size, policy=policy)
    judged = judge_needs(loaded, read.replies, max_length=max_length, batch_size=batch_size)
    return {**read.answers, **judged}


def read_model(
    loaded: LoadedModel,
    splits: Mapping[str, Sequence[Record]],
    needs: Sequence[Need],
    *,
    max_length: int,
    batch_size: int,
    policy: Policy | None = None,
    journal: Journal = NO_JOURNAL,
    phases: Phases = SILENT,
    name: str = "the model",
) -> Read:
    """Answers the needs of one model that no other model is needed for.

    Its phases are the forward passes, each kind of sweep over each split, and the replies; their steps are sequences.

    The journal is told of each batch, and of all answers of a pass as soon as it is done. Replies that wait for a judge
    are no numbers yet: where the process is killed before they are judged, they are generated again, and what else was
    made of them is not scored again if it was kept.
    """
    reading = _Reading(loaded, splits, loaded.limit(max_length), batch_size, policy, journal, phases, name)
    found = {**_read_passes(reading, needs), **_sweep_all(reading, needs)}
    return _hear_all(reading, needs, found)


class _Reading(NamedTuple):
    """One model, how it is read, and where that is told."""

    loaded: LoadedModel
    splits: Mapping[str, Sequence[Record]]
    max_length: int
    batch_size: int
    policy: Policy | None
    journal: Journal
    phases: Phases
    name: str

    def encoded(self, one: Pass) -> Encoded:
        """Tokenised records of a pass."""
        return encoded(self.splits, one, self.loaded.tokenizer, self.max_length)


def _known(journal: Journal, needs: Sequence[Need]) -> int:
    """Rows of needs that are read together that a killed evaluation left."""
    with journal.pages(needs) as pages:
        return pages.known()


def _grouped(
    needs: Sequence[Need], of: Callable[[Need], _Way], chosen: Callable[[Need], bool]
) -> dict[_Way, list[Need]]:
    """The chosen needs by what answers them together."""
    found: dict[_Way, list[Need]] = {}
    for need in filter(chosen, needs):
        found.setdefault(of(need), []).append(need)
    return found


def judge_needs(
    judge: LoadedModel,
    replies: Mapping[Need, Replies],
    *,
    max_length: int,
    batch_size: int,
    journal: Journal = NO_JOURNAL,
    phases: Phases = SILENT,
    name: str = "the model",
) -> dict[Need, Answer]:
    """Answers needs for which another model reads what a model said."""
    found: dict[Need, Answer] = {}
    known = {need: _known(journal, [need]) for need in replies}
    total, done = sum(len(said.texts) for said in replies.values()), sum(known.values())
    with phases.phase(f"judge the replies of {name}", total, done) as steps:
        for need, said in replies.items():
            with journal.pages([need]) as kept, steps.part(len(said.texts) - known[need], Pass.of(need).words):
                pages = Counted(kept, steps)
                answer = judge_replies(judge, said, max_length=max_length, batch_size=batch_size, pages=pages)
            found |= journal.keep({need: answer})
    return found


def beside_needs(
    loaded: LoadedModel,
    other: LoadedModel,
    splits: Mapping[str, Sequence[Record]],
    needs: Sequence[Need],
    *,
    max_length: int,
    batch_size: int,
    journal: Journal = NO_JOURNAL,
    phases: Phases = SILENT,
    name: str = "two models",
) -> dict[Need, Answer]:
    """Answers needs for which another model reads the same records beside this one.

    No record has a number where the two do not have one vocabulary: their distributions are over other things.
    """
    if not _have_one_vocabulary(loaded, other):
        return dict(journal.keep({need: [[] for _ in splits[need.split]] for need in needs}))
    longest = other.limit(loaded.limit(max_length))
    found: dict[Need, Answer] = {}
    sizes = {need: len(placed(splits, Pass.of(need))) for need in needs}
    known = {need: _known(journal, [need]) for need in needs}
    with phases.phase(f"read {name}", sum(sizes.values()), sum(known.values())) as steps:
        for need in needs:
            texts = encoded(splits, Pass.of(need), loaded.tokenizer, longest)
            with journal.pages([need]) as kept, steps.part(sizes[need] - known[need], Pass.of(need).words):
                pages = Counted(kept, steps)
                answer = texts.by_record(divergences(loaded, other, texts.examples, batch_size, pages))
            found |= journal.keep({need: answer})
    return found


def _have_one_vocabulary(loaded: LoadedModel, other: LoadedModel) -> bool:
    widths = {one.model.config.get_text_config().vocab_size for one in (loaded, other)}
    return len(widths) == 1 and loaded.tokenizer.get_vocab() == other.tokenizer.get_vocab()


def _read_passes(reading: _Reading, needs: Sequence[Need]) -> dict[Need, Answer]:
    """One forward pass for all needs that it can answer, split by split and form by form; and counts of tokens."""
    passes = _grouped(needs, Pass.of, lambda need: need.kind in (*FORWARD, *TOKENS))
    forward = {one: [need for need in its if need.kind in FORWARD] for one, its in passes.items()}
    sizes = {one: len(placed(reading.splits, one)) if its else 0 for one, its in forward.items()}
    known = {one: _known(reading.journal, its) if its else 0 for one, its in forward.items()}
    found: dict[Need, Answer] = {}
    total, done = sum(sizes.values()), sum(known.values())
    with reading.phases.phase(f"read {reading.name}", total, done) if total else nullcontext(UNCOUNTED) as steps:
        for one, its_needs in passes.items():
            texts = reading.encoded(one)
            if forward[one]:
                with steps.part(sizes[one] - known[one], one.words):
                    found |= _read_forward(reading, one, texts, forward[one], steps)
            counted = [need for need in its_needs if need.kind in TOKENS]
            tokenizer, longest = reading.loaded.tokenizer, reading.max_length
            numbers = {need: frequency_answer(tokenizer, reading.splits, texts, need, longest) for need in counted}
            found |= reading.journal.keep(numbers)
    return found


def _read_forward(
    reading: _Reading, one: Pass, texts: Encoded, needs: Sequence[Need], steps: Steps
) -> Mapping[Need, Answer]:
    kinds, size = [need.numbers for need in needs], reading.batch_size
    with reading.journal.pages(needs) as kept:
        pages = Counted(kept, steps)
        rows = read_examples(reading.loaded, texts.examples, kinds, batch_size=size, where=one.name, pages=pages)
    return reading.journal.keep({need: texts.by_record(rows[need.numbers]) for need in needs})


def _sweep_all(reading: _Reading, needs: Sequence[Need]) -> dict[Need, Answer]:
    """One sweep for each kind of number that takes more than a forward pass."""
    found: dict[Need, Answer] = {}
    for need in (need for need in needs if need.kind in SWEEPS):
        one = Pass.of(need)
        texts = reading.encoded(one)
        sweep = partial(SWEEP[need.kind], reading.loaded, texts.examples, batch_size=reading.batch_size)
        with reading.journal.pages([need]) as kept:
            name = f"{need.kind.replace('_', ' ')} of {reading.name}: {one.words}"
            pages = Begun(kept, reading.phases, name)
            answer = texts.by_record(sweep(pages=pages, **dict(need.params)))
            pages.end()
        found |= reading.journal.keep({need: answer})
    return found


def _hear_all(reading: _Reading, needs: Sequence[Need], found: dict[Need, Answer]) -> Read:
    """Adds one generation for each way of asking; what another model must judge is handed back as it was said."""
    askings = _grouped(needs, Asking.of, lambda need: need.generates)
    sizes = {asking: len(asked_records(reading.splits, asking)) * asking.draws for asking in askings}
    known = {asking: _known(reading.journal, its) if _is_kept(reading, its) else 0 for asking, its in askings.items()}
    replies: dict[Need, Replies] = {}
    total, done = sum(sizes.values()), sum(known.values())
    with reading.phases.phase(f"replies of {reading.name}", total, done) if total else nullcontext(UNCOUNTED) as steps:
        for asking, its_needs in askings.items():
            with steps.part(sizes[asking] - known[asking], Pass.of(its_needs[0]).words):
                heard = _ask(reading, asking, its_needs, steps)
            found |= heard.answers
            replies |= heard.replies
    return Read(found, replies)


def _is_kept(reading: _Reading, needs: Sequence[Need]) -> bool:
    """Whether numbers are made batch by batch and kept; not where a policy or a judge takes all texts together."""
    return reading.policy is None and not any(need.judged for need in needs)


def _ask(reading: _Reading, asking: Asking, needs: Sequence[Need], steps: Steps) -> Read:
    """One generation for all needs that ask alike; batch by batch where nobody waits for the texts."""
    loaded, splits, journal = reading.loaded, reading.splits, reading.journal
    how: dict[str, Any] = {"max_length": reading.max_length, "batch_size": reading.batch_size}
    if _is_kept(reading, needs):
        with journal.pages(needs) as kept:
            answers = score_batches(loaded, splits, asking, needs, **how, pages=Counted(kept, steps))
        return Read(dict(journal.keep(answers)), {})
    said = generate_replies(loaded, splits, asking, **how, policy=reading.policy, steps=steps)
    answers = {need: score_replies(said, need) for need in needs if not need.judged}
    return Read(dict(journal.keep(answers)), dict.fromkeys((need for need in needs if need.judged), said))
