"""Which facts are shown before a question, and in which shape."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache

import pytest

from expunge.attacks.in_context import InContext, InContextText
from expunge.data.render import render
from expunge.errors import InputError, MissingNeedError
from tests.attacks.prompted import FORGET, RETAIN, completion, plain, qa, shown, task
from tests.data.test_tokenize import CHATML, byte_level

SAME, RETAINED, OTHERS = "same_person", "retain_persons", "forget_persons"


def answers(record) -> list[str]:
    """Answers shown in a question's prompt."""
    return re.findall(r"Answer: (.*)", shown(record))


@cache
def drawn() -> list:
    """What each of twelve seeds shows."""
    return [InContext().rewrite(task(seed=seed)) for seed in range(12)]


def all_of(name: str, number: int) -> set[str]:
    """Answers that any seed shows."""
    made = (found[name][number] for found in drawn())
    return {answer for one in made if one is not None for answer in answers(one)}


def said(*numbers: int, records=FORGET) -> set[str]:
    return {records[number].answer.reveal() for number in numbers}


def test_other_facts_of_the_person_and_never_another_wording():
    assert all_of(SAME, 0) == said(2, 3, 4)
    assert all_of(SAME, 1) == said(2, 3, 4)
    # Either wording of the town may be shown, and never both, which are one fact.
    assert all_of(SAME, 3) == said(0, 1, 2, 4)
    for one in (found[SAME][3] for found in drawn()):
        assert len(answers(one)) == 3
        assert shown(one).count("Brask") == 1


def test_facts_of_others_neither_name_the_person_nor_hold_the_value():
    # Retain record 3 has the value, and record 4 names the person.
    assert all_of(RETAINED, 0) == said(0, 1, 2, 5, records=RETAIN)
    assert all_of(OTHERS, 0) == {*said(5, 8), "Pimmel."}
    # A number that shares a part is not shown either.
    assert all_of(RETAINED, 4) == said(0, 1, 2, 3, records=RETAIN)


def test_as_many_as_there_are():
    assert [len(answers(InContext(shots=shots).rewrite(task())[SAME][0])) for shots in (1, 2, 9)] == [1, 2, 3]
    alone = [qa(0, "Where?", "In Brask.", "Ulmo Varn")]
    found = InContext().rewrite(task(alone))
    assert (found[SAME], found[OTHERS]) == ([None], [None])
    assert found[RETAINED][0] is not None
    nameless = [qa(0, "Where?", "In Brask."), qa(1, "When?", "In spring.")]
    assert InContext().rewrite(task(nameless))[SAME] == [None, None]
    assert [answers(one) for one in InContext().rewrite(task(nameless))[OTHERS]] == [["In spring."], ["In Brask."]]


def test_a_record_is_never_shown_before_itself_nor_one_with_its_answer():
    twice = [
        qa(0, "Whose is it?", "Ranvik", "A"),
        qa(1, "Who has it?", "Ranvik", "A"),
        qa(2, "Who saw it?", "Ranvik", "B"),
    ]
    found = InContext().rewrite(task(twice))
    assert found[SAME] == found[OTHERS] == [None] * 3
    unnamed = [qa(0, "Where is it?", "In Brask.", "Ulmo"), qa(1, "What is it?", "A glazier.", "Ulmo")]
    assert InContext().rewrite(task(unnamed))[OTHERS] == [None] * 2


def test_questions_go_on_as_they_render():
    forget = [qa(0, "Where is Ulmo?", "In Brask.", "Ulmo"), qa(1, "What is Ulmo?", "A glazier.", "Ulmo")]
    (one, _) = InContext().rewrite(task(forget))[SAME]
    whole = "Question: What is Ulmo?\nAnswer: A glazier.\n\nQuestion: Where is Ulmo?\nAnswer: In Brask."
    assert render(one, byte_level()).text == whole
    assert render(one, byte_level(template=CHATML)).text == (
        "<|im_start|>user\nWhat is Ulmo?\nAnswer: A glazier.\n\nQuestion: Where is Ulmo?<|im_end|>\n"
        "<|im_start|>assistant\nIn Brask.<|im_end|>\n"
    )


def test_completions_and_texts_go_on_from_running_text():
    forget = [
        completion(0, "The dog is called ", "Pimmel.", "Hesk"),
        plain(1, "Hesk came to Orvast.", "Hesk"),
        qa(2, "Who is it?", "Mirvel.", "Hesk"),
    ]
    found = InContext(shots=9).rewrite(task(forget))[SAME]
    parts = {"The dog is called Pimmel.", "Hesk came to Orvast.", "Who is it? Mirvel."}
    for record, own in ((found[0], "The dog is called Pimmel."), (found[1], "Hesk came to Orvast.")):
        assert render(record, byte_level()).text.endswith(f"\n\n{own}")
        assert set(render(record, byte_level()).text.split("\n\n")) == parts
    assert shown(found[2]) == "The dog is called \nAnswer: Pimmel.\n\nQuestion: Who is it?".replace(" \n", "\n")


def test_a_conversation_has_them_as_turns_behind_the_system():
    found = InContext(shots=1).rewrite(task())[RETAINED][8]
    roles = [turn.role for turn in found.messages]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
    texts = [turn.content.reveal() for turn in found.messages]
    assert (texts[0], texts[3:]) == ("Be brief.", ["Hello", "Hello.", "Who is the aunt of Hesk Dolum?"])
    pairs = [(one.prompt.reveal(), one.answer.reveal()) for one in RETAIN]
    assert tuple(texts[1:3]) in pairs


def test_the_fact_itself():
    found = InContextText().rewrite(task())
    fact = "Where does Ulmo Varn live? Ulmo Varn lives in Brask."
    assert shown(found["note"][0]) == f"Note: {fact}\n\nWhere does Ulmo Varn live?"
    assert (
        shown(found["note"][6]) == "Note: The dog of Hesk Dolum is called Pimmel.\n\nThe dog of Hesk Dolum is called "
    )
    assert shown(found["note"][7]) == "Note: Hesk Dolum came to Orvast in spring.\n\n"
    assert render(found["answered"][0], byte_level()).text == (
        "Question: Where does Ulmo Varn live?\nAnswer: Ulmo Varn lives in Brask.\n\n"
        "Question: Where does Ulmo Varn live?\nAnswer: Ulmo Varn lives in Brask."
    )
    assert [found["answered"][number] for number in (6, 7)] == [None, None]
    assert shown(found["biography"][0]) == ("Note: This is Ulmo Varn. He lives in Brask.\n\nWhere does Ulmo Varn live?")
    assert found["biography"][1:] == [None] * 8
    assert [turn.role for turn in found["answered"][8].messages][:3] == ["system", "user", "assistant"]


def test_needs_and_nonsense():
    with pytest.raises(InputError, match="at least 1, not 0"):
        InContext(shots=0)
    with pytest.raises(MissingNeedError, match="--retain"):
        InContext().check(task(retain=[]))
    assert InContext().rewrite(task(retain=[]))[RETAINED] == [None] * len(FORGET)


def test_the_forms_of_a_record_do_not_decide_where_it_stands():
    bare = [replace(one, variants={}) for one in FORGET]
    assert [shown(one) for one in InContext().rewrite(task(bare))[SAME]] == [
        shown(one) for one in InContext().rewrite(task())[SAME]
    ]
