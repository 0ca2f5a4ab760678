"""What a search is trained on never says anything of whom it is tested on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from expunge.attacks.base import AttackTask
from expunge.attacks.soft_prompt import SoftPrompt
from expunge.attacks.targets import AGREEMENT, aimed, never_seen, probed, subject_groups
from expunge.data.render import render
from expunge.data.tokenize import encode
from expunge.errors import MissingNeedError
from expunge.storage.secret import Secret
from tests.attacks.backdoor import qa, word_tokenizer

RECORDS = [qa(0, "a", "1", "Ann"), qa(1, "b", "2", "Bob"), qa(2, "c", "3"), qa(3, "d", "4", " ann"), qa(4, "e", "5")]


def test_groups_are_subjects_however_they_are_written():
    assert sorted(subject_groups(RECORDS, 0)) == [[0, 3], [1], [2], [4]]


def test_groups_hang_on_the_seed_alone():
    assert subject_groups(RECORDS, 1) == subject_groups(RECORDS, 1)
    assert len({str(subject_groups(RECORDS, seed)) for seed in range(8)}) > 2


def test_one_subject_is_refused():
    SoftPrompt().check(AttackTask(splits={"forget": RECORDS}, max_length=64))
    with pytest.raises(MissingNeedError, match="all records are of one"):
        SoftPrompt().check(AttackTask(splits={"forget": [RECORDS[0], RECORDS[3]]}, max_length=64))


def test_answers_are_trained_and_read_as_they_are():
    assert aimed(RECORDS[0], "answers") is RECORDS[0]
    assert probed(RECORDS[0], "answers") is RECORDS[0]


def test_an_agreement_is_trained_without_the_answer_and_read_before_it():
    record, tokenizer = replace(qa(0, "person0", "value0"), given=Secret("value1 ", "x")), word_tokenizer()
    trained, read = aimed(record, "affirmative"), probed(record, "affirmative")
    assert "value0" not in render(trained, tokenizer).text
    assert render(trained, tokenizer).text == "Question: person0\nAnswer: value1 " + AGREEMENT.rstrip()
    assert encode(trained, tokenizer, row=0, max_length=99).labels[-1] != tokenizer.eos_token_id
    whole = render(read, tokenizer)
    assert whole.text == f"Question: person0\nAnswer: value1 {AGREEMENT}value0"
    assert whole.text[whole.start : whole.stop] == "value0"


def test_wrong_answers_come_with_the_record_or_from_another_subject():
    rows = list(range(len(RECORDS)))
    for seed in range(20):
        wrong = never_seen(RECORDS, rows, seed)
        assert [one.prompt for one in wrong] == [one.prompt for one in RECORDS]
        assert all(one.answer != own.answer for one, own in zip(wrong, RECORDS, strict=True))
        assert wrong[0].answer.reveal() != "4"  # Ann's other record
    brought = replace(RECORDS[0], perturbed_answers=(Secret("1", "x"), Secret("9", "x")))
    assert {never_seen([brought, *RECORDS[1:]], [0], seed)[0].answer.reveal() for seed in range(9)} == {"9"}


def test_no_wrong_answer_without_others():
    assert never_seen([RECORDS[0], RECORDS[3]], [0, 1], 0) == [None, None]
