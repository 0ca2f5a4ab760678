"""What is given of an answer: rendered inside the answer's turn, in every shape, and never scored."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from expunge.data.batch import IGNORE
from expunge.data.checks import content_digest
from expunge.data.reader import read_records
from expunge.data.record import Variant
from expunge.data.render import render
from expunge.data.tokenize import encode, prompt_ids
from tests.data.test_tokenize import CHATML, byte_level, completion, plain, qa, secret, talk


def split(record, tokenizer) -> tuple[str, str]:
    """What is not scored, and what is."""
    example = encode(record, tokenizer, row=0, max_length=500)
    parts = (
        [token for token, label in zip(example.input_ids, example.labels, strict=True) if (label == IGNORE) is masked]
        for masked in (True, False)
    )
    return tuple(tokenizer.decode(part, clean_up_tokenization_spaces=False) for part in parts)


CASES = [
    (plain("is Paris"), None, ("Anna's home ", " is Paris")),
    (qa("Where?", "is Paris"), None, ("Question: Where?\nAnswer: Anna's home ", " is Paris<eos>")),
    (completion("So, ", "is Paris"), None, ("So, Anna's home ", " is Paris<eos>")),
    (
        qa("Where?", "is Paris"),
        CHATML,
        ("<|im_start|>user\nWhere?<|im_end|>\n<|im_start|>assistant\nAnna's home \n", " is Paris<|im_end|>"),
    ),
    (
        talk("Hi", "Hello", "Where?", "is Paris"),
        CHATML,
        (
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nWhere?<|im_end|>\n"
            "<|im_start|>assistant\nAnna's home \n",
            " is Paris<|im_end|>",
        ),
    ),
]


@pytest.mark.parametrize(("record", "template", "expected"), CASES)
def test_the_start_stands_in_the_answers_turn_and_is_not_scored(record, template, expected):
    tokenizer = byte_level(template=template)
    masked, scored = split(replace(record, given=secret("Anna's home ")), tokenizer)
    # The space before the answer belongs to its first token or not, as the tokenizer cuts.
    assert masked.replace(" ", "") == expected[0].replace(" ", "")
    assert scored.strip() == expected[1].strip()
    rendered = render(replace(record, given=secret("Anna's home ")), tokenizer)
    assert rendered.text[rendered.start : rendered.stop] == "is Paris"
    assert rendered.text[: rendered.start].endswith("Anna's home ")


@pytest.mark.parametrize("template", [None, CHATML])
def test_the_whole_text_is_that_of_the_whole_answer(template):
    tokenizer = byte_level(template=template)
    whole = encode(qa("Where?", "Anna's home is Paris"), tokenizer, row=0, max_length=500)
    parted = encode(qa("Where?", "is Paris", given=secret("Anna's home ")), tokenizer, row=0, max_length=500)
    assert whole.input_ids == parted.input_ids
    assert 0 < parted.scored < whole.scored
    scored = [place for place, label in enumerate(parted.labels) if label != IGNORE]
    assert [whole.labels[place] for place in scored] == [parted.labels[place] for place in scored]


@pytest.mark.parametrize("template", [None, CHATML])
def test_what_goes_on_has_no_scored_end(template):
    tokenizer = byte_level(template=template)
    record = qa("Where?", "Paris", goes_on=True)
    assert split(record, tokenizer)[1].strip() == "Paris"
    end = "<eos>" if template is None else "<|im_end|>"
    assert split(replace(record, goes_on=False), tokenizer)[1].strip() == f"Paris{end}"


def test_generation_begins_after_what_is_given():
    tokenizer = byte_level()
    record = qa("Where?", "Paris", given=secret("Anna's home is"))
    assert tokenizer.decode(prompt_ids(record, tokenizer, max_length=500)).endswith("Answer: Anna's home is")


def test_a_variant_hands_it_on():
    variant = Variant(prompt=secret("q"), given=secret("g"), answer=secret("a"), goes_on=True)
    for record in (qa("x", "y"), completion("x", "y"), talk("x", "y"), plain("y")):
        (one,) = replace(record, variants={"prefix": (variant,)}).forms("prefix")
        assert (one.given.reveal(), one.answer.reveal(), one.goes_on, one.variants) == ("g", "a", True, {})


def test_a_conversation_is_asked_in_other_words():
    record = replace(talk("a", "b", "c", "d"), paraphrased_question=secret("other"))
    (one,) = record.forms("paraphrased_question")
    assert [turn.content.reveal() for turn in one.messages] == ["a", "b", "other"]


@pytest.mark.parametrize("change", [{"given": secret("g")}, {"goes_on": True}])
def test_it_is_in_the_digest(change):
    plainly = Variant(prompt=secret("q"), answer=secret("a"))
    digests = [
        content_digest(replace(qa("q", "a"), variants={"prefix": (one,)}))
        for one in (plainly, replace(plainly, **change))
    ]
    assert digests[0] != digests[1]
    assert content_digest(replace(qa("q", "a"), **change)) != content_digest(qa("q", "a"))


def test_a_file_may_have_it(tmp_path):
    form = {"question": "q", "given": "Anna ", "answer": "lives"}
    path = tmp_path / "forget.jsonl"
    path.write_text(json.dumps({"question": "q", "answer": "a", "forms": {"prefix": [form]}}) + "\n")
    (one,) = read_records(path, "forget").records[0].forms("prefix")
    assert one.given.reveal() == "Anna "
