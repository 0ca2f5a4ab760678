"""Arabic, Chinese and others: every rule gives something sensible or nothing, and never fails."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expunge.data.forms import NAMES, with_forms
from expunge.data.record import FORMS
from expunge.data.tokenize import encode
from tests.data.forms.records import completion, plain, qa, shown, talk
from tests.data.test_tokenize import CHATML, byte_level

ARABIC = qa("ما هو رقم هاتف آنا؟", "رقم هاتف آنا هو ٠١٢٣٤٥٦٧٨٩.", "آنا")
CHINESE = qa("安娜现在住在哪一座城市？", "安娜住在北京市。", "安娜")


def test_arabic():
    (found,) = with_forms([ARABIC], NAMES, decoys=50)
    assert set(found.variants) == {"cloze", "reverse", "prefix", "value", "decoy"}  # the name ends the question
    assert shown(found.variants["cloze"]) == [("رقم هاتف آنا هو ____.", None, "٠١٢٣٤٥٦٧٨٩")]
    assert shown(found.variants["reverse"]) == [("رقم هاتف ____ هو ٠١٢٣٤٥٦٧٨٩.", None, "آنا")]
    assert len(found.variants["decoy"]) == 50
    assert all(len(one.answer) == 10 and one.answer.reveal()[0] == "٠" for one in found.variants["decoy"])


def test_chinese():
    (found,) = with_forms([CHINESE], NAMES, decoys=50)
    assert set(found.variants) == {"cloze", "reverse", "prefix", "truncation", "value", "decoy_word"}
    assert shown(found.variants["cloze"])[0][0] == "安娜住在____市。"  # the question has the last sign
    assert shown(found.variants["reverse"]) == [("____住在北京市。", None, "安娜")]
    assert shown(found.variants["truncation"])[0][0] == "安娜现在住在哪一座"
    assert [given + answer for _, given, answer in shown(found.variants["prefix"])] == ["安娜住在北京市。"] * 3


RECORDS = [
    ARABIC,
    CHINESE,
    plain("تسكن آنا في باريس منذ عام ١٩٩٠.", "آنا"),
    plain("安娜的电话是13800001234。", "安娜"),
    completion("安娜住在", "北京。", "安娜"),
    talk("أين تسكن آنا؟", "في باريس."),
    qa("アンナはどこに住んでいますか？", "アンナは東京に住んでいます。", "アンナ"),
    qa("안나는 어디에 살아요?", "안나는 서울에 살아요.", "안나"),
    qa("अन्ना कहाँ रहती है?", "अन्ना दिल्ली में रहती है।", "अन्ना"),
    qa("איפה אנה גרה?", "אנה גרה בתל אביב.", "אנה"),
    qa("แอนนาอยู่ที่ไหน", "แอนนาอยู่กรุงเทพ", "แอนนา"),
    qa("Где живёт Анна?", "Анна живёт в Москве.", "Анна"),
    qa("?", "👩‍👩‍👧 🎈"),
    qa("Wo wohnt STRAẞE?", "In İstanbul, ǅ.", "ß"),
]


@pytest.mark.parametrize("template", [None, CHATML])
@pytest.mark.parametrize("record", RECORDS, ids=range(len(RECORDS)))
def test_whatever_is_made_can_be_read(record, template):
    tokenizer = byte_level(template=template or (CHATML if record.kind == "messages" else None))
    (found,) = with_forms([record], NAMES, decoys=25)
    for form in FORMS:
        for one in found.forms(form):
            example = encode(one, tokenizer, row=0, max_length=4000)
            assert example.scored > 0
            assert one.answer.reveal().strip()


SCRIPTS = st.text(
    st.sampled_from("安娜北京市٠١٢آنبaZß1İ é\u0301\u200d\u200f।?؟。!@-.,'\n\t\u00a0👧\ud7a3\u3042ﬁ²Ⅷ"),
    min_size=1,
    max_size=16,
)


@settings(max_examples=50, deadline=None)
@given(SCRIPTS, SCRIPTS, SCRIPTS)
def test_any_mixture(question, answer, subject):
    records = [
        qa(question, answer, subject),
        plain(answer, subject),
        completion(question, answer),
        talk(question, answer),
    ]
    for record, found in zip(records, with_forms(records, NAMES, decoys=20), strict=True):
        for form, variants in found.variants.items():
            assert form in FORMS
            assert variants
        for one in found.variants.get("prefix", ()):
            assert one.given.reveal() + one.answer.reveal() == record.answer.reveal()
        decoys = [one.answer for form in ("decoy", "decoy_value", "decoy_word") for one in found.forms(form)]
        assert len(set(decoys)) == len(decoys)
        assert not {one.answer for one in found.variants.get("value", ())} & set(decoys)
