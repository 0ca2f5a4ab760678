"""The guardrail refuses what is only in the forget set, and keeps no text."""

from __future__ import annotations

import json

import pytest

from expunge.data.record import Record
from expunge.errors import InputError
from expunge.methods.base import WrapTask
from expunge.methods.guardrail import Guardrail, GuardrailPolicy
from expunge.storage.secret import Secret


def qa(index: int, question: str, answer: str) -> Record:
    label = f"record {index}"
    return Record(index=index, split="forget", kind="qa", prompt=Secret(question, label), answer=Secret(answer, label))


FORGET = [qa(0, "Where does Ulmo Varn live?", "In the town of Brask.")]
RETAIN = [qa(0, "Where does Iska Tol live?", "In the town of Pell.")]
KEY = b"k" * 32


def echo(texts):
    return [text.removeprefix("Q: ") for _, text in texts]


def wrap(forget: list[Record], **settings) -> GuardrailPolicy:
    task = WrapTask(forget=tuple(forget), retain=tuple(RETAIN), secret=KEY)
    return Guardrail(**settings).wrap(None, task)


def policy(**settings) -> GuardrailPolicy:
    return wrap(FORGET, **settings)


def test_forget_prompt_is_refused_and_retain_prompt_passes():
    answers = policy().generate(["Tell me: ULMO  varn?", "Where does Iska Tol live?"], echo)
    assert answers == ["I don't know.", "Where does Iska Tol live?"]


def test_output_filter_stops_the_answer_whatever_was_asked():
    made = policy(filter_input=False)
    assert made.generate(["He lives in the town of Brask"], echo) == ["I don't know."]
    assert made.generate(["In the town of Pell."], echo) == ["In the town of Pell."]
    assert policy(filter_input=False, filter_output=False, instruction="Q: ").generate(["Ulmo Varn"], echo) == [
        "Ulmo Varn"
    ]


def test_the_model_never_sees_a_refused_prompt():
    seen: list[tuple[int, str]] = []
    policy().generate(["Ulmo Varn", "hello"], lambda texts: seen.extend(texts) or ["fine"])
    assert seen == [(1, "hello")]


def test_saved_policy_holds_no_text_and_works_again():
    plain = json.loads(json.dumps(policy().to_plain()))
    written = json.dumps(plain).casefold()
    for word in ("ulmo", "varn", "brask", "iska"):
        assert word not in written
    assert GuardrailPolicy.from_plain(plain).generate(["Ulmo Varn"], echo) == ["I don't know."]


def test_nonsense_is_refused():
    with pytest.raises(InputError, match="does nothing"):
        Guardrail(filter_input=False, filter_output=False)
    with pytest.raises(InputError, match="at least 1"):
        Guardrail(words=0)


def test_a_one_word_answer_is_found_inside_a_sentence():
    made = wrap([qa(0, "Who is it?", "Quorvek")], filter_input=False)
    assert made.generate(["It is Quorvek, of course"], echo) == ["I don't know."]
    assert made.generate(["It is Pell, of course"], echo) == ["It is Pell, of course"]
    common = wrap([qa(0, "Who is it?", "town")], filter_input=False)
    assert common.generate(["a town by the sea"], echo) == ["a town by the sea"]  # the retain set says it too
