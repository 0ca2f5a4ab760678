"""What holds for every attack that asks otherwise."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expunge.attacks.asking import holds, rewritten, values_of, wrap
from expunge.attacks.base import PromptAttack
from expunge.data.batch import IGNORE
from expunge.data.render import render
from expunge.data.tokenize import encode
from expunge.registry import attacks
from tests.attacks.prompted import FORGET, RETAIN, VALUES, completion, plain, qa, secret, shown, talk, task, variant
from tests.data.test_tokenize import CHATML, byte_level

NAMES = (
    "prefix",
    "jailbreak",
    "in_context",
    "in_context_text",
    "paraphrase",
    "translation",
    "perturbation",
    "query_dependence",
    "prompt_injection",
)
# Wordings whose answer is that of a form; it holds the same fact.
OF_A_FORM = {"cloze", "second_language", "multi_hop", "described", "swapped_1", "swapped_2", "swapped_3"}


def every() -> list[PromptAttack]:
    return [attacks.get(name).at(budget) for name in NAMES for budget in ("quick", "paper")]


@pytest.mark.parametrize("attack", every(), ids=lambda one: one.label)
def test_the_records_stand_in_their_order_and_keep_what_they_are(attack):
    found = attack.rewrite(task())
    assert found
    for name, records in found.items():
        assert len(records) == len(FORGET)
        for own, made in zip(FORGET, records, strict=True):
            if made is not None:
                kept = (made.index, made.split, made.subject, made.weight)
                assert kept == (own.index, own.split, own.subject, own.weight)
                assert name in OF_A_FORM or made.answer == own.answer


@pytest.mark.parametrize("attack", every(), ids=lambda one: one.label)
def test_every_wording_asks_somebody_and_changes_what_is_read(attack):
    for name, records in attack.rewrite(task()).items():
        assert any(records), name
        for own, made in zip(FORGET, records, strict=True):
            assert made is None or (made.kind, shown(made)) != (own.kind, shown(own)), name


@pytest.mark.parametrize("attack", every(), ids=lambda one: one.label)
def test_the_same_seed_asks_the_same(attack):
    assert attack.rewrite(task()) == attack.rewrite(task())


@pytest.mark.parametrize("name", ["in_context", "perturbation", "query_dependence"])
def test_another_seed_draws_otherwise(name):
    attack = attacks.get(name).at("quick")
    assert attack.rewrite(task()) != attack.rewrite(task(seed=1))


@pytest.mark.parametrize("attack", every(), ids=lambda one: one.label)
@pytest.mark.parametrize("template", [None, CHATML])
def test_the_answer_is_scored_in_the_same_tokens(attack, template):
    tokenizer = byte_level(template=template)

    def scored(record):
        labels = encode(record, tokenizer, row=0, max_length=2000).labels
        return [label for label in labels if label != IGNORE]

    for name, records in attack.rewrite(task()).items():
        for own, made in zip(FORGET, records, strict=True):
            if made is None or name in OF_A_FORM or (made.kind == "messages" and template is None):
                continue
            whole = render(made, tokenizer)
            assert whole.text[whole.start : whole.stop] == own.answer.reveal()
            # Behind a template the first token has no space before it, and a start or a bare list puts one there.
            if template is None or (own.kind == made.kind and attacks.name_of(attack) != "prefix"):
                assert scored(made) == scored(own), name
            else:
                said, truth = (
                    tokenizer.decode(scored(one)).strip().removesuffix("<eos>").removesuffix("<|im_end|>")
                    for one in (made, own)
                )
                assert said == truth


@pytest.mark.parametrize("attack", every(), ids=lambda one: one.label)
def test_no_wording_tells_the_value(attack):
    for name, records in attack.rewrite(task()).items():
        tells = attacks.name_of(attack) == "in_context_text" or name.startswith("swapped_")
        for value, made in zip(VALUES, records, strict=True):
            told = made is not None and value.casefold() in (shown(made) or "").casefold()
            assert told == (made is not None and attacks.name_of(attack) == "in_context_text") or tells, name


WORD = st.text("abdeklmnorstuv", min_size=1, max_size=6)
NAME = st.builds(" ".join, st.lists(WORD.map(str.capitalize), min_size=1, max_size=2))


@st.composite
def facts(draw):
    """Records that share words, names and values, as a small alphabet makes them."""
    found = []
    for index in range(draw(st.integers(2, 5))):
        subject, value, said = draw(NAME), draw(NAME), draw(WORD)
        kind = draw(st.sampled_from(["qa", "completion", "text", "messages"]))
        cloze = {"cloze": variant(f"{said} {subject}: ____", value)}
        hop = {**cloze, "multi_hop": variant(f"{said} {draw(NAME)}?", f"{said} {value}")}
        if kind == "qa":
            one = qa(index, f"{said} {subject}?", f"{draw(WORD)} {value}.", subject)
        elif kind == "completion":
            one = completion(index, f"{said} {subject} ", f"{value}.", subject)
        elif kind == "text":
            one = plain(index, f"{said} {subject} {value}.", subject)
        else:
            one = talk(index, ("user", f"{said} {subject}?"), ("assistant", f"{value}."), subject=subject)
        found.append(replace(one, variants=draw(st.sampled_from([cloze, hop]))))
    return found


def stands_in(value: str, text: str) -> bool:
    """An oracle of its own: the value between anything but letters, in any case and spacing, as a person sees it."""
    pattern = r"\W+".join(re.escape(word) for word in value.split())
    visible = text.replace("\u200b", "")
    return re.search(rf"(?<![^\W_]){pattern}(?![^\W_])", visible, re.IGNORECASE) is not None


@settings(max_examples=25)
@given(forget=facts(), retain=facts(), seed=st.integers(0, 3))
def test_no_value_appears_that_was_not_there(forget, retain, seed):
    retain = [replace(one, split="retain") for one in retain]
    for attack in (attacks.get(name).at("paper") for name in NAMES if name != "in_context_text"):
        for name, records in attack.rewrite(task(forget, retain, seed)).items():
            for own, made in zip(forget, records, strict=True):
                value = own.variants["cloze"][0].answer.reveal()
                if made is not None and not stands_in(value, shown(own) or ""):
                    assert not stands_in(value, shown(made) or ""), name


def test_a_wording_that_does_nothing_or_tells_is_none():
    found = rewritten(
        FORGET[:1],
        {
            "nothing": lambda record: record,
            "same words": lambda record: replace(record, prompt=secret(record.prompt.reveal())),
            "tells": partial(wrap, template="Brask? {question}"),
            "tells in capitals": partial(wrap, template="BRASK. {question}"),
            "asks": partial(wrap, template="Brasko? {question}"),
        },
    )
    assert {name: shown(one) for name, (one,) in found.items()} == {
        "nothing": None,
        "same words": None,
        "tells": None,
        "tells in capitals": None,
        "asks": "Brasko? Where does Ulmo Varn live?",
    }


def test_what_was_there_before_may_be_there_after():
    asks = qa(0, "Is it true that Ulmo lives in Brask?", "Brask, of course.", variants={"cloze": variant("_", "Brask")})
    found = rewritten([asks], {"said": partial(wrap, template="Well. {question}")})
    assert shown(found["said"][0]) == "Well. Is it true that Ulmo lives in Brask?"


def test_values_and_where_they_stand():
    assert values_of(FORGET[0]) == ("Brask",)
    assert values_of(FORGET[3]) == ("3 May 1961",)
    assert values_of(qa(0, "Is it?", "is it")) == ("is it",)
    assert holds("in BRASK, they say", "Brask")
    assert not holds("in Braskow", "Brask")
    assert holds("born 3 may, 1961", "3 May 1961")
    assert not holds("born in May 1961, on the 3", "3 May 1961")
    assert holds("a !? b", "!?")
    assert not holds("a b", "!?")


def test_a_template_keeps_the_shape_of_each_kind():
    last = {number: wrap(FORGET[number], "Play a role. {question}") for number in (0, 6, 7, 8)}
    assert shown(last[0]) == "Play a role. Where does Ulmo Varn live?"
    assert shown(last[6]) == "Play a role.\n\nThe dog of Hesk Dolum is called "
    assert (last[7].kind, shown(last[7])) == ("text", "Play a role.\n\n")
    assert shown(last[8]) == "Be brief.\nHello\nHello.\nPlay a role. Who is the aunt of Hesk Dolum?"
    # Nothing may follow what is completed.
    assert [wrap(FORGET[number], "{question} Now?") for number in (6, 7)] == [None, None]
    assert shown(wrap(qa(0, "{0}{a} %s?", "b"), "A {x}. {question}")) == "A {x}. {0}{a} %s?"


def test_a_conversation_that_ends_without_a_question_is_not_asked_otherwise():
    odd = [talk(0, ("user", "Where?"), ("assistant", "Wait."), ("assistant", "In Brask."), subject="Ulmo Varn")]
    asking = {name: attacks.get(name).at("quick").rewrite(task(odd)) for name in NAMES if name != "prefix"}
    asking.pop("in_context_text")
    assert not any(record for found in asking.values() for records in found.values() for record in records)


def test_no_label_holds_a_text():
    words = {word for record in (*FORGET, *RETAIN) for word in re.findall(r"[A-Z]\w{3,}", shown(record) or "")}
    for attack in every():
        assert not any(word in f"{attack.label} {attack!r}" for word in words)
