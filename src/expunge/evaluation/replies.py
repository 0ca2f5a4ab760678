"""What a model says to the prompts of a split, generated once for all metrics, and the numbers made of it.

The texts stay in this process: they are handed on as ``Replies``, which print as nothing and are written nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np

from expunge.data.batch import IGNORE, Example
from expunge.data.record import Record
from expunge.data.tokenize import answer_text, encode
from expunge.data.transforms import Transform
from expunge.errors import InputError
from expunge.evaluation.forward import read_examples
from expunge.evaluation.journal import UNKEPT, Pages
from expunge.evaluation.passes import Pass, Placed, placed
from expunge.evaluation.speaking import Speaker, turns
from expunge.evaluation.subjects import Policy
from expunge.functional.text import SCORERS, Reply
from expunge.metrics.base import Answer, Need, Numbers, Sampling
from expunge.models.classifier import label_probabilities, load_classifier
from expunge.models.load import LoadedModel
from expunge.storage.progress import UNCOUNTED, Steps
from expunge.storage.secret import Secret

DRAWN = tuple(item.name for item in fields(Sampling))
# Forms that ask for the value itself; reverse, multiple choice and others are answered by something else.
ASKS_FOR_VALUE = ("trained", "paraphrased_question", "casing", "truncation", "cloze")


class Asking(NamedTuple):
    """One generation pass: all needs that ask alike are answered from it; greedy where nothing is drawn."""

    split: str
    form: str
    max_new_tokens: int
    sampling: Sampling | None = None
    transform: Transform | None = None

    @classmethod
    def of(cls, need: Need) -> Asking:
        """Returns the pass that answers a need."""
        params = dict(need.params)
        drawn = {name: params[name] for name in DRAWN if name in params}
        sampling = Sampling(**drawn) if drawn else None
        return cls(need.split, need.form, int(params["max_new_tokens"]), sampling, need.transform)

    @property
    def draws(self) -> int:
        """Replies to each prompt."""
        return self.sampling.samples if self.sampling else 1


@dataclass(frozen=True, kw_only=True, repr=False)
class Replies:
    """Replies of one model to one split in one form.

    Attributes:
        count: number of records of the split.
        owners: for each reply the number of the record that was asked about.
        asked: for each reply the form of the record that was asked.
        texts: what was said.
        values: for each reply the value of the fact, where a form of the record gives it.
        max_new_tokens: length at which replies were cut.
    """

    count: int
    owners: tuple[int, ...]
    asked: tuple[Record, ...]
    texts: tuple[Secret, ...]
    values: tuple[tuple[str, ...], ...]
    max_new_tokens: int

    def by_record(self, numbers: Sequence[Any]) -> Answer:
        """Returns numbers of the replies as an answer: a list for each record, empty where nothing was asked."""
        grouped: list[list[Any]] = [[] for _ in range(self.count)]
        for owner, number in zip(self.owners, numbers, strict=True):
            grouped[owner].append(number)
        return grouped


def generate_replies(
    loaded: LoadedModel,
    splits: Mapping[str, Sequence[Record]],
    asking: Asking,
    *,
    max_length: int,
    batch_size: int,
    policy: Policy | None,
    steps: Steps = UNCOUNTED,
) -> Replies:
    """Continues the prompts of a split, greedily or by drawing each several times; ``steps`` counts the replies.

    A record has no reply, and no number rather than 0, where nothing can be asked: it is plain text, its prompt is
    empty, its prompt is longer than ``max_length``, or the model has no position left for a token after it.
    """
    found = asked_records(splits, asking)
    draws = [
        _hear(loaded, found, asking, draw, steps, max_length=max_length, batch_size=batch_size, policy=policy)
        for draw in range(asking.draws)
    ]
    # What was answered in one draw and not in another, which only a policy can do, has an empty reply there.
    spoken = sorted(set().union(*draws))
    heard = [(found[row], said.get(row, "")) for said in draws for row in spoken]
    heard.sort(key=lambda one: one[0].owner)  # draws of one record side by side
    return replies_of(splits, asking, heard)


def asked_records(splits: Mapping[str, Sequence[Record]], asking: Asking) -> list[Placed]:
    """Returns what is asked, in the order of the split; some of it may leave the model no position for an answer."""
    return [one for one in placed(splits, Pass(asking.split, asking.form, asking.transform)) if can_ask(one.record)]


def replies_of(splits: Mapping[str, Sequence[Record]], asking: Asking, heard: Sequence[tuple[Placed, str]]) -> Replies:
    """Returns what was said to what was asked."""
    records = splits[asking.split]
    has_value = asking.form in ASKS_FOR_VALUE
    return Replies(
        count=len(records),
        owners=tuple(one.owner for one, _ in heard),
        asked=tuple(one.record for one, _ in heard),
        texts=tuple(one.record.answer.relabel(text) for one, text in heard),
        values=tuple(_values(records[one.owner]) if has_value else () for one, _ in heard),
        max_new_tokens=asking.max_new_tokens,
    )


def _hear(
    loaded: LoadedModel,
    found: Sequence[Placed],
    asking: Asking,
    draw: int,
    steps: Steps,
    *,
    max_length: int,
    batch_size: int,
    policy: Policy | None,
) -> dict[int, str]:
    """What was said to each record that can be asked, by its place in ``found``."""
    mute: set[int] = set()

    def continue_texts(prompts: Sequence[tuple[int, str]]) -> list[str]:
        asked = [_with_prompt(found[number].record, text) for number, text in prompts]
        said = _continue(loaded, asked, asking, draw, steps, max_length=max_length, batch_size=batch_size)
        mute.update(number for (number, _), text in zip(prompts, said, strict=True) if text is None)
        return [text or "" for text in said]

    texts = [_prompt_text(one.record) for one in found]
    replies = policy.generate(texts, continue_texts) if policy else continue_texts(list(enumerate(texts)))
    # A policy may still say something of its own where the model cannot.
    return {number: text for number, text in enumerate(replies) if number not in mute or text.strip()}


Scorer = Callable[[Replies], Sequence[Any]]  # one number, or a few, for each reply


def scorer(need: Need) -> Scorer:
    """Returns what makes the numbers of a need; settings of the need beside the length are the scorer's."""
    settings = {name: value for name, value in need.params if name not in ("scorer", "max_new_tokens", *DRAWN)}
    if need.folder:
        classifier = load_classifier(need.folder)
        return lambda heard: label_probabilities(classifier, [text.reveal() for text in heard.texts], settings["label"])
    score = SCORERS[dict(need.params)["scorer"]]
    return lambda heard: score(_as_said(heard), **settings)


def _as_said(replies: Replies) -> list[Reply]:
    return [
        Reply(text=text.reveal(), truth=answer_text(record), prompt=_told_before(record), values=values)
        for text, record, values in zip(replies.texts, replies.asked, replies.values, strict=True)
    ]


def score_replies(replies: Replies, need: Need) -> Answer:
    """Returns the numbers of one scorer for all replies at once."""
    return replies.by_record(scorer(need)(replies))


def judge_replies(
    judge: LoadedModel, replies: Replies, *, max_length: int, batch_size: int, pages: Pages = UNKEPT
) -> Answer:
    """Returns for each reply its negative log-likelihood (nats) and its tokens under another model, after its prompt.

    The end of a reply does not count: one that was cut off has none. An empty reply has no tokens.

    Raises:
        DivergedError: log-probabilities that are not numbers.
    """
    longest = judge.limit(max_length + replies.max_new_tokens)
    examples = [
        _judged_example(record, text, judge.tokenizer, longest)
        for record, text in zip(replies.asked, replies.texts, strict=True)
    ]
    rows = [row for row, example in enumerate(examples) if example is not None]
    read = [example for example in examples if example is not None]
    numbers = [np.zeros(2) for _ in examples]
    logps = Numbers("token_logps")
    found = read_examples(judge, read, [logps], batch_size=batch_size, where="replies", pages=pages)[logps]
    for row, logps_T in zip(rows, found, strict=True):
        numbers[row] = np.array([-float(np.sum(logps_T)), float(len(logps_T))])
    return replies.by_record(numbers)


def _judged_example(record: Record, text: Secret, tokenizer: Any, max_length: int) -> Example | None:
    """The reply in the place of the answer; None where there is nothing to score."""
    said, answer = text.reveal().strip(), answer_text(record)
    if not said:
        return None
    lead = answer[: len(answer) - len(answer.lstrip())]  # a completion may begin with the space after its prompt
    try:
        example = encode(record.with_answer(lead + said), tokenizer, row=0, max_length=max_length)
    except InputError:  # a chat template that rewrites what was said, such as a mark of its own
        return None
    before = example.labels[: example.end]
    example = replace(example, labels=(*before, *(IGNORE,) * (len(example.labels) - len(before))))
    return example if example.scored else None


def can_ask(record: Record) -> bool:
    """Returns whether a record asks anything: plain text does not, and neither does an empty prompt."""
    return record.kind != "text" and bool(_prompt_text(record).strip())


def _continue(
    loaded: LoadedModel,
    records: Sequence[Record],
    asking: Asking,
    draw: int,
    steps: Steps,
    *,
    max_length: int,
    batch_size: int,
) -> list[str | None]:
    """Continuations; None where a prompt is empty, longer than ``max_length``, or leaves no position."""
    prompts = whole_prompts(loaded, records, max_length)
    speaker = Speaker(loaded, asking.sampling, draw)
    texts: list[str | None] = [None] * len(prompts)
    for turn in turns(loaded, prompts, asking.max_new_tokens, batch_size):
        for row, text in zip(turn.rows, speaker.say(turn, prompts), strict=True):
            texts[row] = text
        steps.advance(len(turn.rows))
    return texts


def whole_prompts(loaded: LoadedModel, records: Sequence[Record], max_length: int) -> list[list[int]]:
    """Returns token ids of the prompts; none where there is nothing to ask, or the prompt would be cut."""
    return [_whole_prompt(record, loaded.tokenizer, max_length) if can_ask(record) else [] for record in records]


def _whole_prompt(record: Record, tokenizer: Any, max_length: int) -> list[int]:
    """Token ids of a prompt; none where it is cut, which would be another question, or where it has no answer."""
    example = encode(record, tokenizer, row=0, max_length=max_length + 1)  # one more: the answer's first token
    first = next((place for place, label in enumerate(example.labels) if label != IGNORE), 0)
    return list(example.input_ids[:first])


def _values(record: Record) -> tuple[str, ...]:
    """The value of a record's fact: what its cloze leaves out."""
    return tuple(dict.fromkeys(answer_text(one) for one in record.forms("cloze")))


def _prompt_text(record: Record) -> str:
    """What a user sends: the prompt or question, or the last turn where it is no user's."""
    if record.question is not None:
        return record.question.reveal()
    return record.messages[-1].content.reveal() if record.messages else ""


def _told_before(record: Record) -> str:
    """What is said directly before a reply: the prompt, and what tools said after it."""
    after = () if record.asked_at is None else record.messages[record.asked_at + 1 :]
    return "\n".join((_prompt_text(record), *(turn.content.reveal() for turn in after if turn.role == "tool")))


def _with_prompt(record: Record, text: str) -> Record:
    secret = Secret(text, record.answer.label)
    if record.question is not None:
        return record.asking(secret)
    return replace(record, messages=(*record.messages[:-1], replace(record.messages[-1], content=secret)))
