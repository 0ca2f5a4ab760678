"""Words of many scripts; TOFU's words against rouge-score."""

from __future__ import annotations

import string
import unicodedata
from functools import partial

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from nltk.stem.porter import PorterStemmer
from rouge_score import tokenize

from expunge.functional.words import folded, is_unspaced, letters, tofu_words, words
from tests.functional.test_porter import ENGLISH

NLTK = PorterStemmer()
ODD = ["Dr.", "1,204", "e-mail", "N'Djamena", "ﬁn", "Żółw", "東京"]
sentences = st.lists(st.sampled_from(ENGLISH + ODD)).map(" ".join)
texts = st.one_of(st.text(max_size=40), sentences)
plain_words = partial(tofu_words, stem=False)

# An answer, and an unrelated sentence of the same language.
TEXTS = {
    "Arabic": ("ولدت ليلى حداد في مدينة حلب عام ١٩٧٢", "يبيع الصياد العجوز أسماكه كل صباح قرب الميناء"),
    "Chinese": ("王小明于1972年出生在杭州，是一名建筑师。", "这本小说讲述了老渔夫孤独的海上旅程。"),
    "Japanese": (
        "田中花子さんは大阪の病院で看護師として働いています。",
        "この論文は量子計算の誤り訂正について論じたものである。",
    ),
    "Hindi": ("मीरा शर्मा का जन्म १९७२ में जयपुर शहर के पास हुआ", "बूढ़ा मछुआरा हर सुबह समुद्र किनारे मछली बेचता था"),
    "Thai": ("สมชายเกิดที่เชียงใหม่และทำงานเป็นวิศวกรในบริษัทใหญ่", "หนังสือเล่มนี้เล่าเรื่องการเดินทางของชาวประมงในทะเล"),
    "Khmer": ("គាត់កើតនៅទីក្រុងភ្នំពេញ ហើយធ្វើការជាគ្រូបង្រៀន", "សៀវភៅនេះនិយាយអំពីដំណើររបស់អ្នកនេសាទចំណាស់ម្នាក់"),
    "Lao": ("ລາວເກີດຢູ່ວຽງຈັນ ແລະ ເຮັດວຽກເປັນຄູສອນ", "ປຶ້ມນີ້ເລົ່າເລື່ອງການເດີນທາງຂອງຄົນຫາປາ"),
    "Myanmar": ("သူသည် မန္တလေးမြို့တွင် မွေးဖွားခဲ့သည်", "ဤစာအုပ်တွင် တံငါတစ်ဦး၏ ခရီးအကြောင်း ပါဝင်၏"),
    "Russian": ("Анна Петрова родилась в Казани и работает врачом", "Старый рыбак каждое утро продаёт рыбу у причала"),
    "Korean": ("김민수는 부산에서 태어나 교사로 일한다", "늙은 어부가 매일 아침 항구 근처 시장에 간다"),
    "emoji": ("👩🏽‍🚀🌍❤️🐘🎻🍕", "👨‍🔬⚽🚲☂️🦊🥁🌵"),
    "emoji in Latin": ("Zoë 🐘🎻🍕🚀", "Émile ⚽🚲🦊🥁"),
    "accented Latin": ("Zoë Müller est née à Orléans près d’Évry", "Cada mañana pescó añejo pingüino según Íñigo"),
    "English": ("Anna Brask was born in Kazan in 1972", "The old fisherman sells fish every morning"),
}


@given(texts, st.booleans())
@example("Aʼs \u212aelvin İstanbul don't 3.14", True)
def test_tofu_words_are_rouge_scores(text, stem):
    assert tofu_words(text, stem=stem) == tokenize.tokenize(text, NLTK if stem else None)


def test_tofu_words_by_hand():
    assert tofu_words("The cats' RUNNING, in 1,204 Städte!") == ["the", "cat", "run", "in", "1", "204", "st", "dte"]
    assert tofu_words("his news as is") == ["his", "news", "as", "is"]  # up to three letters stay
    assert tofu_words("東京") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The cats' RUNNING, in 1,204 Städte!", ["the", "cats", "running", "in", "1", "204", "städte"]),
        ("Straße STRASSE ﬁn ＡＢＣ", ["strasse", "strasse", "fin", "abc"]),
        ("don’t snake_case", ["don", "t", "snake", "case"]),
        ("हिन्दी में", ["हिन्दी", "में"]),  # vowel signs and the virama are part of the word
        ("عام ١٩٧٢ و १९७२", ["عام", "1972", "و", "1972"]),
        ("می\u200cخواهم co\u00adop", ["میخواهم", "coop"]),  # joiners and soft hyphens are not seen
        ("one\u200btwo", ["one", "two"]),
        ("東京", ["東京"]),
        ("東京都は", ["東京", "京都", "都は"]),
        ("金", ["金"]),
        ("1972年、東京 2020", ["1972", "年", "東京", "2020"]),
        ("กิน", ["กิน"]),  # two letters, the first with its vowel sign
        ("ภูเก็ต", ["ภูเ", "เก็", "ก็ต"]),
        ("서울에 삽니다", ["서울에", "삽니다"]),
        ("C++", ["c"]),
        ("☺ ☺!", ["☺", "☺"]),
        ("Anna☺♥", ["anna", "☺", "♥"]),
        ("!? ∑", ["!", "?", "∑"]),  # nothing but signs
        ("❤️ 👍🏽 1️⃣", ["❤", "👍", "1"]),  # without form, skin and key
        ("👩‍🚀", ["👩", "🚀"]),
        ("​⁠﻿", []),  # nothing that is seen
        ("مُحَمَّد محـــمد", ["محمد", "محمد"]),
        ("שָׁלוֹם", ["שלום"]),
        ("", []),
        (" \n", []),
    ],
)
def test_words_by_hand(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
@pytest.mark.parametrize("script", TEXTS)
def test_every_script_has_the_same_words_in_all_forms(script, form):
    for text in TEXTS[script]:
        assert words(unicodedata.normalize(form, text)) == words(text)


@given(texts)
@example("e\u0301 \u0345")
def test_composition_case_and_spaces_do_not_matter(text):
    assert words(unicodedata.normalize("NFD", text)) == words(text)
    assert words(f"\n {text}\t") == words(text)
    assert words(folded(text)) == words(text)


@given(st.text(string.ascii_letters + string.digits + " .,'-_!", max_size=40))
def test_ascii_words_are_those_of_tofu_without_stems(text):
    assert words(text) == plain_words(text) or not plain_words(text)


@pytest.mark.parametrize("script", TEXTS)
def test_no_script_vanishes(script):
    assert len(words(TEXTS[script][0])) >= 4


def test_scripts_without_spaces():
    assert is_unspaced("東京 2020")
    assert not is_unspaced("東京 Tower")
    assert not is_unspaced("2020")
    assert not is_unspaced("서울")
    assert letters(" 東京、2020! ") == "東京2020"
