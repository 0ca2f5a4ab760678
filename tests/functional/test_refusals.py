"""What counts as a refusal, and what does not, in several languages."""

from __future__ import annotations

import json

import pytest

from expunge.functional.refusals import LEAD, is_refusal
from expunge.methods.guardrail import Guardrail
from expunge.models.relabel import REFUSALS
from tests.functional.test_words import TEXTS


@pytest.mark.parametrize("text", [*REFUSALS, Guardrail().refusal])
def test_our_own_refusals_are_known(text):
    """Those that the relabeller idk trains and the guardrail says."""
    assert is_refusal(text)
    assert is_refusal(text.upper().replace("'", "’"))


@pytest.mark.parametrize(
    "text",
    [
        "I’m sorry, but I can’t help with that.",
        "Das weiß ich leider nicht, ich weiß nicht, wo sie wohnt.",
        "Je ne sais pas où elle habite.",
        "Lo siento, no tengo información sobre esa persona.",
        "Desculpe, eu não sei.",
        "Non lo so, mi dispiace.",
        "Извините, я не знаю.",
        "عذرًا، لا أعرف الإجابة.",
        "मुझे नहीं पता।",
        "抱歉，我不知道她住在哪里。",
        "申し訳ありませんが、わかりません。",
        "죄송하지만 모르겠습니다.",
        "ขออภัย ฉันไม่ทราบ",
        "Bilmiyorum.",
    ],
)
def test_refusals_of_other_languages(text):
    assert is_refusal(text)


@pytest.mark.parametrize("text", [*(text for pair in TEXTS.values() for text in pair), "", "!!!", "xq zz pl"])
def test_answers_are_no_refusals(text):
    assert not is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "The Cannotville museum",
        "Anna knows I don",
        "Sorry Island is her home",
        "She does not know Brask",
        "know don't I",
    ],
)
def test_parts_of_a_phrase_are_none(text):
    assert not is_refusal(text)


def test_only_the_beginning_counts():
    """A story in which someone says so is an answer."""
    assert is_refusal("so " * (LEAD - 4) + "I don't know")
    assert not is_refusal("so " * (LEAD - 3) + "I don't know")


@pytest.mark.real
@pytest.mark.parametrize("model", ["llama2_7b_full", "llama2_7b_retain90"])
def test_two_real_models_never_refuse(shared_data, model):
    """817 replies to TOFU, none of them a refusal (read by eye where a looser list found one)."""
    parts = json.loads((shared_data / "tofu_logs" / f"{model}.json").read_text())
    replies = [reply for part in parts.values() for _, reply, _ in part["generated_text"].values()]
    assert len(replies) == 817
    assert not any(map(is_refusal, replies))


def test_offers_to_help_and_doubts_are_told_apart():
    assert is_refusal("I will not help with that; ask me for something else.")
    assert is_refusal("I have no record of such a person.")
    assert not is_refusal("Anna has a dog. I have no doubt she lives in Rome.")
