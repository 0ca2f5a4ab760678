"""Where a user's further tokens go: beside the question, wherever a tokenizer or a template puts it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from expunge.data.render import STAND_IN
from expunge.data.tokenize import encode, insertion_place
from tests.data.test_tokenize import CHATML, byte_level, completion, plain, qa, secret, talk


def sides(record, tokenizer, *, after):
    """What stands before and behind the place."""
    place = insertion_place(record, tokenizer, after=after)
    ids = encode(record, tokenizer, row=0, max_length=500).input_ids
    return tokenizer.decode(ids[:place]), tokenizer.decode(ids[place:])


def test_question():
    record, bpe = qa("Where was she born?", "Paris"), byte_level(bos=True)
    # the space before the question is part of its first token
    assert sides(record, bpe, after=False) == ("<bos>Question:", " Where was she born?\nAnswer: Paris<eos>")
    assert sides(record, bpe, after=True) == ("<bos>Question: Where was she born?", "\nAnswer: Paris<eos>")


def test_completion_ends_where_the_answer_begins():
    record, bpe = completion("She was born in ", "Paris"), byte_level()
    assert sides(record, bpe, after=False) == ("", "She was born in Paris<eos>")
    # " Paris" is one token and scored: what is inserted stands before all of it
    assert sides(record, bpe, after=True) == ("She was born in", " Paris<eos>")


@pytest.mark.parametrize("after", [False, True])
def test_a_text_has_its_beginning_only(after):
    assert insertion_place(plain("She was born."), byte_level(bos=True), after=after) == 1
    assert insertion_place(plain("She was born."), byte_level(), after=after) == 0
    begun = replace(plain("born."), given=secret("She was "))
    assert insertion_place(begun, byte_level(bos=True), after=after) == 1


def test_given_stands_behind_what_is_inserted():
    record = replace(qa("Where?", "Paris"), given=secret("In the city of "))
    assert sides(record, byte_level(), after=True)[1] == "\nAnswer: In the city of Paris<eos>"


def test_last_turn_of_a_conversation():
    tokenizer = byte_level(template=CHATML, eos="<|im_end|>")
    record = talk("Where?", "There.", "Where?", "Paris")
    first, second = sides(record, tokenizer, after=False)
    assert first.count("Where?") == 1
    assert first.endswith("<|im_start|>user\n")
    assert second.startswith("Where?<|im_end|>")
    assert sides(record, tokenizer, after=True)[1].startswith("<|im_end|>\n<|im_start|>assistant\nParis")


def test_question_in_a_chat_template():
    tokenizer = byte_level(template=CHATML, eos="<|im_end|>")
    assert sides(qa("Where is user?", "user"), tokenizer, after=True)[0].endswith("user\nWhere is user?")


def test_question_with_the_stand_in():
    question = f"Where {STAND_IN} is?"
    assert sides(qa(question, "Paris"), byte_level(), after=True)[0] == f"Question: {question}"


def test_a_template_that_strips_the_question():
    tokenizer = byte_level(template=CHATML.replace("m['content']", "m['content'] | trim"), eos="<|im_end|>")
    assert sides(qa("  Where? ", "Paris"), tokenizer, after=True)[0].endswith("user\nWhere?")


def test_a_template_that_writes_the_question_twice_has_no_place():
    twice = CHATML.replace("m['content']", "m['content'] + (m['content'] if m['role'] == 'user' else '')")
    assert insertion_place(qa("Where?", "Paris"), byte_level(template=twice, eos="<|im_end|>")) is None


def test_an_empty_question():
    assert sides(qa("", "Paris"), byte_level(), after=True)[0] == "Question: "
