"""Every rule that sorts answers, in several languages, and on the replies of two real models."""

from __future__ import annotations

import json
import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.functional.answers import (
    FAR,
    FEW_TOKENS,
    Features,
    contains,
    features,
    is_correct,
    is_repetitive,
    kind_of,
    likelihood_limit,
    new_word_recall,
)
from expunge.functional.rouge import rouge_l
from expunge.functional.words import words

LIMIT = 5.0

# Question, true answer, value; and a reply of each kind that is no refusal.
CASES = {
    "English": (
        ("Where does Anna live?", "Anna lives in Brask.", "Brask"),
        ("She lives in Brask, I think.", "Anna lives in Oldenholm.", "zzq prt vlk qqn"),
    ),
    "German": (
        ("Wo wohnt Anna?", "Anna wohnt in Köln.", "Köln"),
        ("In KÖLN wohnt sie.", "Anna wohnt in Bremen.", "ääö öüß ßßä üüö"),
    ),
    "Russian": (
        ("Где живёт Анна?", "Анна живёт в городе Казань.", "Казань"),
        ("Это Казань.", "Анна живёт в городе Пермь.", "ыъ щщф жжы ццй"),
    ),
    "Arabic": (
        ("أين تسكن ليلى؟", "تسكن ليلى في مدينة حلب", "حلب"),
        ("تسكن في حلب", "تسكن ليلى في مدينة دمشق", "ظظظ ضضق ثثص غغط"),
    ),
    "Hindi": (
        ("मीरा कहाँ रहती है?", "मीरा जयपुर में रहती है।", "जयपुर"),
        ("वह जयपुर में है", "मीरा दिल्ली में रहती है।", "ढढ ठठ ङङ ञञ"),
    ),
    "Chinese": (
        ("王小明住在哪里？", "王小明住在杭州。", "杭州"),
        ("他住在杭州市。", "王小明住在北京。", "龘靐齉爩鱻麤龗"),
    ),
    "Thai": (
        ("สมชายอยู่ที่ไหน", "สมชายอยู่ที่เชียงใหม่", "เชียงใหม่"),
        ("เขาอยู่เชียงใหม่", "สมชายอยู่ที่ภูเก็ต", "ฎฏฐฑฒณฬฮฌฆฅฃ"),
    ),
    "Korean": (
        ("민수는 어디에 사나요?", "민수는 부산에 살고 있습니다.", "부산"),
        ("부산에서 살고 있습니다.", "민수는 서울에 살고 있습니다.", "뷁 쀍 뙗 쒧 뛟"),
    ),
}


def sort(reply, question, truth, values=(), nats=10.0, tokens=10.0):
    vocabulary = {*words(question), *words(truth)}
    return kind_of(features(reply, truth, question, values, vocabulary), nats, tokens, LIMIT)


@pytest.mark.parametrize("language", CASES)
def test_kinds_in_several_languages(language):
    (question, truth, value), (correct, fabricated, gibberish) = CASES[language]
    assert sort(truth, question, truth) == "correct"
    assert sort(truth, question, truth, (value,)) == "correct"
    assert sort(correct, question, truth, (value,)) == "correct"
    assert sort(fabricated, question, truth, (value,)) == "fabricated"
    assert sort(gibberish, question, truth, (value,)) == "gibberish"
    assert sort("I don't know.", question, truth, (value,)) == "refusal"


@pytest.mark.parametrize("given_value", [True, False])
@pytest.mark.parametrize("language", CASES)
def test_other_casing_punctuation_and_encoding_are_still_correct(language, given_value):
    (question, truth, value), _ = CASES[language]
    values = (value,) if given_value else ()
    bare = "".join(char for char in truth if not unicodedata.category(char).startswith("P"))
    texts = [
        truth.upper(),
        truth.lower(),
        truth.title(),
        bare,
        f"**{truth}**!!",
        f'"{bare}"...',
        truth.replace(" ", "  "),
    ]
    texts += [unicodedata.normalize(form, truth) for form in ("NFC", "NFD", "NFKC", "NFKD")]
    assert {sort(text, question, truth, values) for text in texts} == {"correct"}


@given(st.data())
def test_no_casing_and_no_punctuation_makes_a_correct_answer_fabricated(data):
    truth = "Anna Brask was born in St. Ives, U.K., on 4 May 1972"
    chars = [data.draw(st.sampled_from([char.upper(), char.lower()])) for char in truth]
    chars = [char + data.draw(st.sampled_from(["", ".", ",", "!"])) if char == " " else char for char in chars]
    text = (
        data.draw(st.sampled_from(["", "* ", '"'])) + "".join(chars) + data.draw(st.sampled_from(["", ".", "!!", "\n"]))
    )
    assert sort(text, "Who is she?", truth) == sort(text, "Who is she?", truth, ("St Ives",)) == "correct"


def test_order_of_the_rules():
    question, truth, values = "Where does Anna live?", "Anna lives in Brask.", ("Brask",)
    assert sort("I don't know, but it is Brask Brask Brask Brask", question, truth, values) == "correct"
    assert sort("I don't know. I don't know. I don't know.", question, truth, values) == "refusal"
    assert sort("Anna lives Anna lives Anna lives Anna lives", question, truth, values) == "gibberish"


@pytest.mark.parametrize(
    ("found", "nats", "tokens", "kind"),
    [
        (Features(1, 1, 1, 0, 0), 900, 10, "correct"),
        (Features(0, 1, 1, 0, 9), 900, 10, "refusal"),
        (Features(0, 0, 0, 1, 0), 0, 0, "gibberish"),  # nothing said
        (Features(0, 0, 1, 1, 9), 0, 9, "gibberish"),
        (Features(0, 0, 0, 0.19, 4), 0, 9, "gibberish"),
        (Features(0, 0, 0, 0.2, 4), 0, 9, "fabricated"),
        (Features(0, 0, 0, 0, 3), 0, 9, "fabricated"),  # three unknown words may be a name
        (Features(0, 0, 0, 1, 9), LIMIT * FEW_TOKENS + 0.1, FEW_TOKENS, "gibberish"),
        (Features(0, 0, 0, 1, 9), LIMIT * FEW_TOKENS, FEW_TOKENS, "fabricated"),
        (Features(0, 0, 0, 1, 9), 900, FEW_TOKENS - 1, "fabricated"),
    ],
)
def test_bounds_are_where_they_are_said_to_be(found, nats, tokens, kind):
    assert kind_of(found, nats, tokens, LIMIT) == kind


def test_limit_is_above_the_least_likely_reply_of_the_original():
    assert likelihood_limit([2.0, 9.0, 0.0], [4.0, 6.0, 0.0]) == pytest.approx(1.5 + FAR)
    assert likelihood_limit([], []) == math.inf
    assert likelihood_limit([0.0], [0.0]) == math.inf


def test_recall_of_new_words_by_hand():
    """Anna and in stand in the question; lives and Brask are new."""
    question, truth = "In which city is Anna?", "Anna lives in Brask"
    assert new_word_recall("Anna lives in Oldenholm", truth, question) == 0.5
    assert rouge_l("Anna lives in Oldenholm", truth).recall == 0.75
    assert new_word_recall("Brask", truth, question) == 0.5
    assert new_word_recall("she lives at Brask", truth, question) == 1
    assert new_word_recall("in Brask lives", truth, question) == 0.5  # in order
    assert new_word_recall("yes", "Yes", "yes or no?") == 1  # nothing is new: all count
    assert new_word_recall("yes", "", "") == 0


def test_without_a_value_two_thirds_of_the_new_words_are_asked():
    assert is_correct("a b x", "a b c")
    assert is_correct("It is the U.S.A.", "USA", "Which country?")
    assert not is_correct("It is the U.K.", "USA", "Which country?")
    assert not is_correct("a x y", "a b c")
    assert not is_correct("Anna lives at the city of Oldenholm", "Anna lives at the city of Brask", "", ("Brask",))


@pytest.mark.parametrize(
    ("text", "value", "found"),
    [
        ("It is Brask.", "brask", True),
        ("It is Braskville.", "Brask", False),
        ("born in 1925", "25", False),
        ("born in ١٩٢٥", "1925", True),
        ("New Old York", "New York", False),
        ("in NEW  york!", "New York", True),
        ("in NEW-YORK.", "New York", True),
        ("in the U.S.A. since", "USA", True),
        ("in the usa", "U.S.A.", True),
        ("in the USAF", "U.S.A.", False),
        ("O’BRIEN", "O'Brien", True),
        ("obrien", "O'Brien", True),
        ("a Renewyork", "New York", False),
        ("it is 🐘!", "🐘", True),
        ("it is 🦊!", "🐘", False),
        ("café", "CAFÉ", True),
        ("他叫金。", "金", True),
        ("東京都 2020年", "東京", True),
        ("부산에서", "부산", True),
        ("대부산", "부산", False),
        ("anything", "", False),
        ("", "Brask", False),
    ],
)
def test_contains_by_hand(text, value, found):
    assert contains(text, value) is found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("yes yes yes", True),
        ("no no", False),
        ("aaaaaaaaaaaa", True),
        ("00000000000", False),  # eleven characters
        ("10000000000000", True),
        ("a b c d e f a b c d e f g", False),
        ("the cat and the cat and the cat and the", True),
        ("New York, New York", False),
    ],
)
def test_repetitive_by_hand(text, found):
    assert is_repetitive(text) is found


@pytest.mark.real
@pytest.mark.parametrize(("model", "low", "high"), [("llama2_7b_full", 0.97, 0.99), ("llama2_7b_retain90", 0.02, 0.04)])
def test_two_real_models_are_told_apart(shared_data, model, low, high):
    """Replies of Llama-2-7B to the forget set of TOFU: one saw it, the other did not, and neither speaks gibberish."""
    log = json.loads((shared_data / "tofu_logs" / f"{model}.json").read_text())["eval_log_forget.json"]
    rows = [
        (prompt.replace("[INST]", "").replace("[/INST]", ""), reply, truth)
        for prompt, reply, truth in log["generated_text"].values()
    ]
    vocabulary = {word for prompt, _, truth in rows for text in (prompt, truth) for word in words(text)}
    kinds = [kind_of(features(reply, truth, prompt, (), vocabulary), 0, 0, math.inf) for prompt, reply, truth in rows]
    assert low < kinds.count("correct") / len(kinds) < high
    assert kinds.count("gibberish") == kinds.count("refusal") == 0
    recalls = [rouge_l(reply, truth).recall for _, reply, truth in rows]
    assert model != "llama2_7b_retain90" or sum(recall >= 2 / 3 for recall in recalls) / len(recalls) > 0.07
