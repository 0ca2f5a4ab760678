"""Which tokens count: by hand on word-level and byte-level tokens, and in the weights of a batch."""

from __future__ import annotations

import pytest
import torch

from expunge.config import Choice
from expunge.data.batch import IGNORE, Example, collate
from expunge.data.record import Message, Record
from expunge.data.tokenize import encode_all
from expunge.errors import InputError
from expunge.models.tokens.base import TokenTask
from expunge.models.tokens.entities import Entities
from expunge.models.tokens.least_likely import LeastLikely
from expunge.models.tokens.skip_first import SkipFirst
from expunge.registry import token_choices
from expunge.storage.secret import Secret
from tests.data.test_tokenize import CHATML, byte_level

TOWNS = ("Ulm", "Bonn", "Kiel", "Trier", "Jena")
EXAMPLE = Example((1, 5, 6, 7, 8, 2), (1, IGNORE, 6, 7, 8, 2), 0)


def record(index: int, kind: str = "qa", answer: str | None = None) -> Record:
    label, town = f"record {index}", TOWNS[index]
    text = f"She was born in {town}." if answer is None else answer
    turns = (Message(role="user", content=Secret("Where?", label)),) if kind == "messages" else ()
    prompt = Secret("Where?", label) if kind in ("qa", "completion") else None
    return Record(index=index, split="forget", kind=kind, prompt=prompt, messages=turns, answer=Secret(text, label))


def task(records=(), tokenizer=None, logps=None, **more) -> TokenTask:
    return TokenTask(records=records, tokenizer=tokenizer, logps=logps, **more)


def chosen(records, tokenizer, **settings) -> list[str]:
    """The text of the tokens that count, after the choice."""
    examples = encode_all(records, tokenizer, max_length=200).examples
    found = Entities(**settings).choose(examples, task(records, tokenizer))
    assert [one.input_ids for one in found] == [one.input_ids for one in examples]
    return [tokenizer.decode([label for label in one.labels if label != IGNORE]) for one in found]


@pytest.mark.parametrize("trim", [False, True])
@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("kind", ["qa", "completion", "messages"])
def test_the_value_alone_counts_whatever_the_tokenizer_does(kind, bos, trim):
    if kind == "messages" and bos:
        pytest.skip("a template writes its own start")
    tokenizer = byte_level(trim=trim, bos=bos, template=CHATML if kind == "messages" else None)
    records = [record(index, kind) for index in range(5)]
    assert [text.strip() for text in chosen(records, tokenizer)] == list(TOWNS)


def test_every_value_of_a_plain_text_counts():
    tokenizer = byte_level()
    records = [record(0, "text", "It was Ada Byron who met Max Born in Ulm, and Max Born left.")]
    (text,) = chosen(records, tokenizer)
    assert text.replace(" ", "") == "AdaByronMaxBorninUlmMaxBorn"


def test_a_template_that_strips_the_answer_moves_no_place():
    stripping = CHATML.replace("m['content']", "m['content'] | trim")
    tokenizer = byte_level(template=stripping)
    records = [record(index, "messages", f"   She was born in {TOWNS[index]}.") for index in range(5)]
    assert [text.strip() for text in chosen(records, tokenizer)] == list(TOWNS)


def test_other_tokens_keep_a_weight_and_padding_none():
    tokenizer = byte_level()
    records = [record(index) for index in range(5)]
    examples = encode_all(records, tokenizer, max_length=200).examples
    found = Entities(outside=0.25).choose(examples, task(records, tokenizer))
    assert [one.labels for one in found] == [one.labels for one in examples]
    batch, plain = collate(found, 0), collate(examples, 0)
    assert torch.equal(batch.labels_BT, plain.labels_BT)
    only = collate(Entities().choose(examples, task(records, tokenizer)), 0).labels_scored_BT
    assert torch.equal(batch.token_weights_BT[only], torch.ones(int(only.sum())))
    rest = plain.labels_scored_BT & ~only
    assert torch.equal(batch.token_weights_BT[rest], torch.full((int(rest.sum()),), 0.25))
    assert not batch.token_weights_BT[~plain.labels_scored_BT].any()
    assert rest.sum() > 5


def test_weights_of_one_record_leave_the_others_alone():
    weighted = Example((1, 5, 6), (1, 5, 6), 0, 1.0, (9.0, 0.5, 2.0))
    batch = collate([EXAMPLE, weighted], 0)
    assert batch.token_weights_BT.tolist() == [[0, 0, 1, 1, 1, 1], [0, 0.5, 2, 0, 0, 0]]


def test_a_record_without_a_value_counts_whole_and_it_is_said():
    tokenizer, said = byte_level(), []
    records = [*(record(index) for index in range(4)), record(4, answer="...")]
    examples = encode_all(records, tokenizer, max_length=200).examples
    found = Entities().choose(examples, task(records, tokenizer, warn=said.append))
    assert found[4] == examples[4]
    assert said == ["1 of 5 records have nothing that a rule takes for a value; they count whole."]


def test_a_value_that_was_cut_off_leaves_the_rest():
    tokenizer, said = byte_level(), []
    records = [record(index) for index in range(5)]
    long = encode_all(records, tokenizer, max_length=200).examples
    first = min(place for place, label in enumerate(long[0].labels) if label != IGNORE)
    examples = encode_all(records, tokenizer, max_length=first + 2).examples
    assert Entities().choose(examples, task(records, tokenizer, warn=said.append)) == examples
    assert said[0].startswith("5 of 5")


@pytest.mark.parametrize(
    ("share", "labels"),
    [
        (0.5, (IGNORE, IGNORE, IGNORE, 7, 8, IGNORE)),
        (0.25, (IGNORE, IGNORE, IGNORE, 7, IGNORE, IGNORE)),
        (0.01, (IGNORE, IGNORE, IGNORE, 7, IGNORE, IGNORE)),
        (0.75, (IGNORE, IGNORE, 6, 7, 8, IGNORE)),
        (1.0, (IGNORE, IGNORE, 6, 7, 8, 2)),
    ],
)
def test_the_least_likely_by_hand(share, labels):
    """Of two equally likely ones the first; the first token, which nothing predicts, is never among them."""
    given = task(logps=lambda examples: [torch.tensor([-9.0, -9.0, -1.0, -5.0, -3.0, -1.0])])
    (found,) = LeastLikely(share=share).choose([EXAMPLE], given)
    assert found.labels == labels
    assert found.input_ids == EXAMPLE.input_ids


@pytest.mark.parametrize(("count", "kept"), [(0, (6, 7, 8, 2)), (1, (7, 8, 2)), (3, (2,)), (4, (2,)), (100, (2,))])
def test_skipping_by_hand(count, kept):
    (found,) = SkipFirst(count=count).choose([EXAMPLE], task())
    assert found.labels == (IGNORE,) * (6 - len(kept)) + kept


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("entities", {"outside": -0.1}),
        ("entities", {"outside": 1.1}),
        ("entities", {"outside": float("nan")}),
        ("least_likely", {"share": 0.0}),
        ("least_likely", {"share": 1.5}),
        ("skip_first", {"count": -1}),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(name, settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        Choice(name, settings).create(token_choices)
