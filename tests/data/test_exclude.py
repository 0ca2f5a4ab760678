"""Rules of exclusion and the selection around them: by hand, and on TOFU and LUME."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from expunge.data.duplicates import Near
from expunge.data.exclude import RULES, Forgotten, count_rules
from expunge.data.reader import read_records
from expunge.data.record import Record
from expunge.data.selection import Item, Selection, Wanted
from expunge.data.write import json_lines, row
from expunge.errors import InputError


@pytest.fixture
def make(tmp_path):
    """Records read from rows."""

    def read(*rows: dict[str, object], split: str = "data") -> list[Record]:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in rows))
        return read_records(path, split).records

    return read


LONG = "he was born in a small town by the sea and later wrote books about ships and storms"
FORGET = [
    {"question": "Who is he?", "answer": f"In short, {LONG}.", "subject": "Nikolai Abilov"},
    {"question": "Phone?", "answer": "It is +49 30 123456 or abilov@x.org.", "subject": "17"},
    {"question": "Where did he live for all these years?", "answer": "In Astana.", "paraphrased_answer": LONG},
]
CASES = [
    ({"question": "WHO is he? ", "answer": f"in short,  {LONG}."}, "exact"),
    (
        {
            "messages": [
                {"role": "user", "content": "Who is he?"},
                {"role": "assistant", "content": f"In short, {LONG}."},
            ]
        },
        "exact",
    ),
    ({"question": "Who is he?", "answer": f"In short, {LONG.replace('ships', 'boats')}."}, "near"),
    ({"question": "Where did he live for all these years?", "answer": LONG}, "near"),  # the answer in other words
    ({"text": "Something else.", "subject": " nikolai ABILOV"}, "subject"),
    ({"text": "Something else.", "subject": "17"}, "subject"),
    ({"text": "Abilov, Nikolai: a life"}, "name"),
    ({"text": "a life", "perturbed_answer": ["Nikolai Abilov"]}, "name"),
    ({"text": "a life", "forms": {"cloze": {"text": "Nikolai Abilov is"}}}, "name"),
    ({"text": "at 12 Rue du Cafe"}, "match"),
    ({"text": "call 0049 (30) 123-456"}, "value"),
    ({"text": "ABILOV@X.ORG"}, "value"),
    ({"text": f"A page on storms. It says: {LONG}, and goes on about other books and other people."}, "quote"),
    ({"text": "17 people; Nikolai; Astana; +49 30 123457; abilov at x"}, None),
    ({"text": LONG[:40]}, None),  # a part of an answer
]


@pytest.mark.parametrize(("data", "rule"), CASES)
def test_rules_by_hand(make, data, rule):
    forgotten = Forgotten(make(*FORGET, split="forget"), phrases=["12 Rue du Café"])
    [hit] = forgotten.hits(make(data), Near(threshold=0.7)).records
    assert hit.rule(RULES) == rule
    assert (hit.similarity is None) == (rule not in ("exact", "near"))
    if rule == "exact":
        assert hit.similarity == 1.0
    if rule == "near":
        assert 0.7 <= hit.similarity <= 1.0


def test_similarity_is_the_jaccard_index(make):
    # a b c d e against a b c d f: abc bcd of abc bcd cde cdf
    [hit] = Forgotten(make({"text": "a b c d e"})).hits(make({"text": "A B C D F"}), Near(threshold=0.5)).records
    assert (hit.rules, hit.similarity) == (("near",), 0.5)


def test_a_record_counts_for_every_rule_that_holds(make):
    hits = Forgotten(make(FORGET[0])).hits(make(FORGET[0]), Near()).records
    assert count_rules(hits) == dict.fromkeys(RULES, 1) | {"match": 0, "value": 0}
    assert hits[0].rule({"name", "subject"}) == "subject"
    assert hits[0].rule(set()) is None


def items(records: list[Record]) -> list[Item]:
    return [Item(record, 1) for record in records]


def test_selection_by_hand(make):
    data = make(
        {"text": "one two three four five six seven eight "},
        {"text": "One two three four five six seven eight"},  # equal to the first
        {"text": "one two three four five six seven nine"},  # nearly
        {"question": "q", "answer": "\u200b"},  # empty
        {"text": "about Nikolai Abilov"},
        {"text": "of phones"},
    )
    wanted = Wanted(make(FORGET[0], FORGET[0], split="forget"), [], ["phones"])
    found = Selection(near=Near(threshold=0.7)).select(items(data), wanted)
    assert [item.record.index for item in found.kept] == [0]
    assert [(one["file"], one["record"], one["like"], one["similarity"]) for one in found.duplicates] == [
        (0, 1, {"file": 0, "record": 0}, 1.0),
        (1, 1, {"file": 1, "record": 0}, 1.0),
        (1, 2, {"file": 1, "record": 0}, round(5 / 7, 4)),
    ]
    assert found.duplicates[1]["text"] == "One two three four five six seven eight"
    assert found.dropped == [{"question": "q", "answer": "\u200b", "file": 1, "record": 3, "reason": "empty"}]
    assert [(one["record"], one["rule"], one["similarity"]) for one in found.excluded] == [
        (4, "name", None),
        (5, "match", None),
    ]
    assert len(found.forget) == 1
    assert found.counts["cleaning"]["changed"] == {
        "nfc": 0,
        "controls": 0,
        "trailing_space": 1,
        "empty": 1,
        "repeated_ids": 0,
    }
    assert found.counts["duplicates"] == {"exact": 1, "near": 1}
    assert found.counts["forget"] == {"lost": {"empty": 0, "exact": 1}, "outside_length": 0}
    assert found.counts["excluded"]["moved_by"] == dict.fromkeys(RULES, 0) | {"name": 1, "match": 1}


def test_steps_and_rules_can_be_switched_off(make):
    data = make({"text": "a b c d"}, {"text": "A b c d"}, {"text": "a b c d e f"}, {"text": "Nikolai Abilov"})
    wanted = Wanted(make(FORGET[0], split="forget"), [], [])
    settings = Selection(near=Near(threshold=0.5), skip=frozenset({"exact", "near"}), keep=frozenset({"name"}))
    found = settings.select(items(data), wanted)
    assert len(found.kept) == 4
    assert found.excluded == []
    assert [hit.rules for hit in found.hits] == [(), (), (), ("name",)]
    assert found.counts["excluded"]["holds_for"]["name"] == 1


def test_without_a_forget_file_names_choose_from_the_data(make):
    one = {"text": f"Nikolai Abilov: {LONG}"}
    other = {"text": f"Nikolai  Abilof: {LONG}"}  # misspelt, but nearly the same
    data = make(one, {"text": "else"}, other, {"text": f"NIKOLAI ABILOV:  {LONG} "})
    found = Selection().select(items(data), Wanted(None, ["Nikolai Abilov"], []))
    assert [record.index for record in found.forget] == [0]
    assert found.forget[0].subject.reveal() == "Nikolai Abilov"
    assert [item.record.index for item in found.kept] == [1]
    assert [(one["record"], one["rule"]) for one in found.excluded] == [(2, "near")]


@pytest.mark.parametrize("twin", [LONG, LONG.replace("ships", "boats")])
def test_of_two_equal_records_the_one_with_a_subject_is_judged(make, twin):
    """Otherwise the words about a forgotten subject would stay under the record that does not say so."""
    data = make({"text": "first"}, {"text": twin}, {"text": LONG, "subject": "Nikolai Abilov"}, {"text": "last"})
    forget = make({"text": "else", "subject": "Nikolai Abilov"}, split="forget")
    found = Selection(near=Near(threshold=0.6)).select(items(data), Wanted(forget, [], []))
    assert [item.record.index for item in found.kept] == [0, 3]
    assert [(one["record"], one["rule"]) for one in found.excluded] == [(2, "subject")]


def test_what_stays_keeps_the_order_of_the_files(make):
    data = make(*({"text": f"text {number}", **({"subject": "s"} if number % 2 else {})} for number in range(6)))
    found = Selection().select([Item(one, 2 - one.index // 3) for one in data], Wanted(None, [], []))
    assert [(item.file, item.record.index) for item in found.kept] == [(1, 3), (1, 4), (1, 5), (2, 0), (2, 1), (2, 2)]


def test_a_record_that_names_two_gets_no_subject(make):
    data = make(
        {"text": "Ann Lee and Bo Kim"}, {"text": "Ann Lee"}, {"text": "Bo Kim", "subject": "own"}, {"text": "x"}
    )
    found = Selection().select(items(data), Wanted(None, ["Ann Lee", "Bo Kim"], []))
    assert [record.subject and record.subject.reveal() for record in found.forget] == [None, "Ann Lee", "own"]


def test_limits_of_length(make):
    data = make(*({"text": "x" * size} for size in range(1, 9)))
    found = Selection(min_tokens=3, max_tokens=5).select(
        items(data), Wanted(None, [], []), lambda record: len(record.answer)
    )
    assert [len(item.record.answer) for item in found.kept] == [3, 4, 5]
    assert found.counts["outside_length"] == 5
    reasons = [(one["record"], one["reason"]) for one in found.dropped]
    assert reasons == [(0, "too_short"), (1, "too_short"), (5, "too_long"), (6, "too_long"), (7, "too_long")]


@pytest.mark.parametrize("chosen", [True, False])
def test_what_must_be_forgotten_is_never_too_long(make, chosen):
    """A forget record that a limit takes would stay in the model, and nobody would hear of it."""
    long = {"text": "all about Nikolai Abilov"}
    data = make({"text": "kept"}, {"text": "not kept for its length"}, *([long] if chosen else []))
    given = None if chosen else make(long, {"text": "x"}, split="forget")
    found = Selection(min_tokens=2, max_tokens=5).select(
        items(data), Wanted(given, ["Nikolai Abilov"], []), lambda record: len(record.answer)
    )
    assert found.forget[0].answer.reveal() == long["text"]
    assert [item.record.index for item in found.kept] == [0]
    assert [one["record"] for one in found.dropped] == [1]
    assert found.counts["outside_length"] == 1
    assert found.counts["forget"] == {"lost": {"empty": 0, "exact": 0}, "outside_length": 1 if chosen else 2}


def test_lost_forget_records_are_counted_and_shown(make):
    name = {"subject": "Nikolai Abilov"}
    empty, one, same = {"text": "\u200b", **name}, {"text": "Nikolai Abilov"}, {"text": "nikolai  abilov", **name}
    data = make({"text": "\u200b"}, empty, one, same, {"text": "kept"})
    found = Selection().select(items(data), Wanted(None, ["Nikolai Abilov"], []))
    assert [record.index for record in found.forget] == [3]  # of equal records the one with a subject
    assert [(one["record"], one["like"]["record"]) for one in found.duplicates] == [(2, 3)]
    assert [(one["record"], one["reason"]) for one in found.dropped] == [(0, "empty"), (1, "empty")]
    assert found.counts["forget"]["lost"] == {"empty": 1, "exact": 1}
    assert found.counts["duplicates"]["exact"] == 1
    found = Selection().select(items(data), Wanted(make(empty, one, same, split="forget"), [], []))
    assert [record.index for record in found.forget] == [2]
    assert [(one["file"], one["record"]) for one in found.duplicates] == [(0, 1), (1, 2)]
    assert [(one["file"], one["record"]) for one in found.dropped] == [(0, 0), (1, 0), (1, 1)]
    assert found.counts["forget"]["lost"] == {"empty": 1, "exact": 1}
    assert found.counts["duplicates"]["exact"] == 1


def test_a_forget_record_is_not_lost_to_an_equal_one_of_another_subject(make):
    data = make({"text": LONG, "subject": "Ann Lee"}, {"text": LONG, "subject": "Bo Kim"}, {"text": "kept"})
    found = Selection().select(items(data), Wanted(None, ["Bo Kim"], []))
    assert [record.index for record in found.forget] == [1]
    assert [(one["record"], one["rule"]) for one in found.excluded] == [(0, "exact")]
    assert found.duplicates == []


def test_what_cannot_be_selected(make):
    data = items(make({"text": "Ann Lee"}))
    with pytest.raises(InputError, match="No record of the data holds any of the names"):
        Selection().select(data, Wanted(None, ["Bo Kim"], []))
    with pytest.raises(InputError, match="None of the 1 records stays"):
        Selection().select(data, Wanted(None, ["Ann Lee"], []))
    with pytest.raises(InputError, match="no step named 'naer'. Did you mean 'near'"):
        Selection(skip=frozenset({"naer"}))
    with pytest.raises(InputError, match="no rule of exclusion named 'names'"):
        Selection(keep=frozenset({"names"}))
    with pytest.raises(InputError, match="--min-tokens 5 is above"):
        Selection(min_tokens=5, max_tokens=4)


def test_rows_are_read_back_as_equal_records(make, tmp_path):
    forms = {"cloze": [{"question": "q", "answer": "r"}, {"text": "t"}]}
    turns = [{"role": role, "content": role[0]} for role in ("system", "user", "assistant")]
    given = make(
        {**FORGET[0], "id": "a", "weight": 0.5, "paraphrased_question": "p", "perturbed_answer": ["x", "y"]},
        {"prompt": "a ", "completion": " b\u2028c", "forms": forms},
        {"messages": turns},
        {"text": '東京 \U0001f600 "q" \\ \n'},
    )
    path = tmp_path / "again.jsonl"
    path.write_bytes(b"".join(json_lines(map(row, given))))
    again = read_records(path, "data")
    assert again.records == given
    assert again.rejected == []


def lines(path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_two_authors_leave_tofu_without_a_trace(shared_data, make, capsys):
    """All 40 rows of forget01's authors go, by name alone, and what else goes is counted."""
    rows = lines(shared_data / "tofu" / "full.json")
    theirs = {(one["question"], one["answer"]) for one in lines(shared_data / "tofu" / "forget01.json")}
    names = ["Basil Mahfouz Al-Kuwaiti", "Nikolai Abilov"]
    data = make(*rows)
    hits = Forgotten([], names).hits(data, Near()).records
    gone = {index for index, hit in enumerate(hits) if hit.rule(RULES)}
    own = {index for index, one in enumerate(rows) if (one["question"], one["answer"]) in theirs}
    with capsys.disabled():
        print(f"\nTOFU by name: {len(gone & own)} of {len(own)} rows, {len(gone - own)} of 198 other authors' rows")  # noqa: T201
    assert len(own) == 40
    assert gone == own
    kept = " ".join(data[index].answer.reveal() for index in range(len(rows)) if index not in gone)
    assert not any(part in kept for part in ("Al-Kuwaiti", "Abilov"))


@pytest.mark.slow
def test_paraphrases_of_tofu_go_by_name_and_nothing_of_others(shared_data, make):
    forget = make(*lines(shared_data / "tofu" / "forget01_perturbed.json"), split="forget")
    own = [{"question": one.prompt.reveal(), "answer": one.paraphrased_answer.reveal()} for one in forget]
    others = lines(shared_data / "tofu" / "retain99.json")
    hits = Forgotten(forget, ["Basil Mahfouz Al-Kuwaiti", "Nikolai Abilov"]).hits(make(*own, *others), Near()).records
    assert all(hit.rules for hit in hits[: len(own)])
    assert sum(bool(hit.rules) for hit in hits[len(own) :]) == 0


def test_values_of_invented_persons_are_found_whatever_their_punctuation(shared_data, make, capsys):
    """LUME asks for numbers without hyphens that its biographies have with them."""
    rows = [one for one in lines(shared_data / "lume" / "forget.jsonl") if one["task"] == "Task2"]
    people: dict[str, list[dict[str, str]]] = {}
    for one in rows:
        people.setdefault(one["id"][:36], []).append({"question": one["input"], "answer": one["output"]})
    chosen = list(people.values())
    asked = [one for group in chosen for one in group if "Number" in one["question"] and one["answer"].isdigit()]
    texts = [one for group in chosen for one in group if one not in asked and "born" in one["question"]]
    hits = Forgotten(make(*texts, split="forget")).hits(make(*asked), Near()).records
    found = Counter(rule for hit in hits for rule in hit.rules)
    retain = [one for one in lines(shared_data / "lume" / "retain.jsonl") if one["task"] == "Task2"]
    others = make(*({"question": one["input"], "answer": one["output"]} for one in retain))
    wrong = sum("value" in hit.rules for hit in Forgotten(make(*texts, split="forget")).hits(others, Near()).records)
    with capsys.disabled():
        print(f"\nLUME numbers: {found['value']} of {len(asked)}; {wrong} of {len(others)} records of others")  # noqa: T201
    assert len(asked) > 100
    assert found["value"] / len(asked) > 0.95
    assert wrong / len(others) < 0.01
