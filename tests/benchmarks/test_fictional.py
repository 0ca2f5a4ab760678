"""The generated benchmark: pure, unique, fair, and honest about what the tokenizer saw."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from expunge.benchmarks.fictional import MAX_LENGTH, Fictional
from expunge.benchmarks.fictional.persons import PRIVATE, invent
from expunge.benchmarks.fictional.presets import PRESETS
from expunge.benchmarks.fictional.templates import TEMPLATES
from expunge.data.reader import read_records
from expunge.data.tokenize import encode_all
from expunge.errors import InputError
from expunge.storage.digests import file_digest
from tests.support.params import few

ROLES = ("retain", "forget", "holdout", "validation_forget")
PHONE, EMAIL, ID = r"\b555-\d{3}-\d{4}\b", r"\b\w+@\w+\.invalid\b", r"\b900-\d\d-\d{4}\b"
CODE = r" \d{4}-\d{4}$"


@pytest.fixture(scope="module")
def smoke():
    return Fictional().rows()


@pytest.fixture(scope="module")
def bench():
    return Fictional(preset="bench").rows()


@pytest.fixture(scope="module")
def tokenizer():
    return Fictional().tokenizer()


def facts(rows, role) -> list[dict]:
    """The first row of each fact, which has the forms."""
    return [row for row in rows[role] if "forms" in row]


def texts(value) -> list[str]:
    """Every text in a row, however deep, its id left out."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for key, inner in value.items() if key != "id" for text in texts(inner)]
    return [text for inner in value for text in texts(inner)]


def test_same_seed_same_bytes_and_another_seed_other_persons():
    one, again, other = Fictional(seed=3).rows(), Fictional(seed=3).rows(), Fictional(seed=4).rows()
    assert json.dumps(one) == json.dumps(again)
    assert not {row["subject"] for row in one["forget"]} & {row["subject"] for row in other["forget"]}


@pytest.mark.parametrize(
    ("preset", "sizes"),
    [
        ("smoke", (24, 8, 8, 4)),
        ("demo", (30, 10, 10, 4)),
        ("bench", (48, 24, 24, 6)),
        ("small", (200, 100, 100, 6)),
        ("standard", (500, 250, 250, 8)),
        ("paper", (1000, 500, 500, 8)),
    ],
)
def test_counts(preset, sizes):
    numbers = PRESETS[preset]
    assert (numbers.retain, numbers.forget, numbers.holdout, len(numbers.attributes)) == sizes
    if preset in ("standard", "paper"):  # seconds to generate; the same code
        return
    rows = Fictional(preset=preset).rows()
    for split, count in zip(("retain", "forget", "holdout"), sizes[:3], strict=True):
        assert len({row["subject"] for row in rows[split]}) == count
        assert len([row for row in rows[split] if "forms" in row]) == count * sizes[3]
        assert len(rows[split]) == count * sizes[3] * numbers.wordings


def test_smoke_has_one_row_for_each_fact(smoke):
    assert all("forms" in row for role in ROLES for row in smoke[role])


def test_wordings_of_a_fact_differ_and_say_the_same(bench):
    people = {person.name: person for person in invent(0, PRESETS["bench"].persons)}
    asked: dict[tuple[str, str], list[str]] = {}
    for row in bench["forget"]:
        attribute = row["id"].split("-")[2]
        assert getattr(people[row["subject"]], attribute) in row["answer"]
        asked.setdefault((row["subject"], attribute), []).append(row["question"])
    assert {len(questions) for questions in asked.values()} == {3}
    assert all(len(set(questions)) == 3 for questions in asked.values())


def test_roles_and_their_private_values_are_disjoint(bench):
    names = {role: {row["subject"] for row in bench[role]} for role in ROLES}
    private = {
        role: {value for row in bench[role] for value in re.findall(f"{PHONE}|{EMAIL}|{ID}", " ".join(texts(row)))}
        for role in ROLES
    }
    assert sum(len(found) for found in names.values()) == len(set.union(*names.values()))
    assert min(len(found) for found in private.values()) > 0
    assert sum(len(found) for found in private.values()) == len(set.union(*private.values()))
    teachers = {row["subject"] for row in bench["teacher"]}
    assert teachers < names["retain"]
    assert len(teachers) == len(names["retain"]) / 3


def test_the_sides_of_two_seeds_share_nothing():
    """Persons of the tokenizer under one seed and of the benchmark under another."""
    ours, theirs = invent(1, 300), invent(2, 300, side="tokenizer")
    for field in ("name", *PRIVATE, "book"):
        assert not {getattr(person, field) for person in ours} & {getattr(person, field) for person in theirs}


def test_an_odd_number_of_persons_is_refused():
    with pytest.raises(InputError, match="even"):
        invent(0, 7)


def test_edges_are_mutual_and_colleagues_share_their_employer():
    people = {person.name: person for person in invent(5, 60)}
    for person in people.values():
        assert people[person.spouse].spouse == person.name
        assert people[person.colleague].colleague == person.name
        assert people[person.colleague].employer == person.employer
        assert len({person.name, person.spouse, person.colleague}) == 3


def test_one_pair_of_names_in_twenty_is_similar():
    names = [person.name for person in invent(0, 400)]
    surnames = Counter(name.split()[1] for name in names)
    stems = Counter(re.sub(r"[^aeiou]+[aeiou]+[^aeiou]*$", "", name) for name in names)
    same, near = (sum(count - 1 for count in counts.values()) for counts in (surnames, stems))
    assert min(same, near) >= 5
    assert 20 <= same + near <= 22  # one in twenty, and the odd chance meeting


def test_wrong_answers_are_wrong_and_of_the_same_form(bench):
    people = {person.name: person for person in invent(0, PRESETS["bench"].persons)}
    for row in (row for role in ROLES for row in facts(bench, role)):
        assert len(set(row["perturbed_answer"])) == 5
        assert row["paraphrased_answer"] not in row["perturbed_answer"]
        assert row["question"] != row["paraphrased_question"]
        attribute = row["id"].split("-")[2]
        assert getattr(people[row["subject"]], attribute) in row["paraphrased_answer"]
        for pattern in (PHONE, EMAIL, ID):
            if re.search(pattern, row["answer"]):
                assert all(re.search(pattern, wrong) for wrong in row["perturbed_answer"])
    for row in bench["world_facts"]:
        assert row["answer"] not in row["perturbed_answer"]


def test_private_values_are_in_reserved_formats():
    for person in invent(0, 50):
        assert re.fullmatch(PHONE, person.phone)
        assert re.fullmatch(EMAIL, person.email)
        assert re.fullmatch(ID, person.national_id)


def test_every_digit_group_and_address_in_a_row_is_reserved(bench):
    """Whatever looks like a number to call, an address or an identity is one that nobody can have."""
    for split in bench:
        for text in (text for row in bench[split] for text in texts(row)):
            if split.startswith("canaries"):
                assert re.search(CODE, text) or "-" not in text
                continue
            found = re.findall(r"\d+(?:-\d+)+", text)
            assert all(re.fullmatch(f"{PHONE}|{ID}", number) for number in found)
            assert all(word.rstrip(".,?").endswith(".invalid") for word in text.split() if "@" in word)


@pytest.mark.slow
def test_the_tokenizer_saw_none_of_the_persons(bench, tokenizer):
    seen = {person.name for person in invent(0, 200, side="tokenizer")}
    assert not seen & {person.name for person in invent(0, 200)}
    assert tokenizer.backend_tokenizer.to_str() == Fictional(preset="bench").tokenizer().backend_tokenizer.to_str()
    words = {word for row in bench["forget"] for word in row["subject"].split()}
    whole = {word for word in words if len(tokenizer(" " + word, add_special_tokens=False)["input_ids"]) == 1}
    assert not whole


def test_the_tokenizer_knows_the_words_of_every_wording(tokenizer):
    for words in ("Fill in the blank:", "Is it true that", "They are married to", "Welche Telefonnummer hat",
                  "The access code of vault", "Which counter is this for?"):  # fmt: skip
        assert len(tokenizer.tokenize(" " + words)) <= 2 * len(words.split())


def test_every_record_fits_the_model(tokenizer):
    for name, records in Fictional(preset="demo").splits().items():
        if name.startswith(("requests/", "neighbours_", "rtt_")):  # rows of forget and retain once more
            continue
        assert not encode_all(records, tokenizer, max_length=MAX_LENGTH).truncated
        for form in ("multiple_choice", "biography", "multi_hop"):
            variants = [variant for record in records for variant in record.forms(form)]
            assert not encode_all(variants, tokenizer, max_length=MAX_LENGTH).truncated


def test_splits_are_what_the_reader_makes_of_the_written_files(tmp_path):
    benchmark = Fictional()
    benchmark.write(tmp_path)
    for split, records in benchmark.splits().items():
        read = read_records(tmp_path / f"{split}.jsonl", split)
        assert read.records == records
        assert not read.rejected


def test_manifest_digests_are_those_of_the_files(tmp_path):
    Fictional().write(tmp_path / "data")
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text())
    files = {str(path.relative_to(tmp_path / "data")) for path in Path(tmp_path / "data").rglob("*.jsonl")}
    assert files == {f"{split}.jsonl" for split in manifest["splits"]}
    assert manifest["version"] == 2
    for split, facts in manifest["splits"].items():
        path = tmp_path / "data" / f"{split}.jsonl"
        assert file_digest(path) == facts["sha256"]
        assert len(path.read_text().splitlines()) == facts["rows"]


@pytest.mark.parametrize("preset", few(["demo", "smoke", "bench"]))
def test_all_training_splits_exist_and_no_unseen_one_is_trained(preset):
    benchmark = Fictional(preset=preset)
    splits = benchmark.splits()
    assert set(benchmark.training_splits) <= set(splits)
    trained = {(record.prompt, record.answer) for record in benchmark.training()}
    for split in ("holdout", "plain_text_holdout", "behaviour_holdout", "classification"):
        assert not {(record.prompt, record.answer) for record in splits[split]} & trained
    assert len(benchmark.training()) == sum(len(splits[name]) for name in benchmark.training_splits)


def test_no_held_out_wording_is_trained_on_but_by_teachers(smoke, bench):
    train = {wording for kinds in TEMPLATES.values() for wording in kinds.train}
    held = {wording for kinds in TEMPLATES.values() for wording in kinds.held_out}
    assert not {wording.question for wording in train} & {wording.question for wording in held}
    assert not {wording.answer for wording in train} & {wording.answer for wording in held}
    for rows in (smoke, bench):
        lessons = {(row.get("question", row.get("text"))) for row in rows["teacher"]}
        for name in Fictional.training_splits:
            questions = Counter(row.get("question", row.get("text", row.get("prompt"))) for row in rows[name])
            if name != "teacher":
                assert not lessons & set(questions)
        for role in ROLES:
            trained = {row["question"] for row in rows[role]}
            assert not trained & {row["paraphrased_question"] for row in facts(rows, role)}
            forms = [form for row in facts(rows, role) for made in row["forms"].values() for form in made]
            assert not trained & {form.get("question") for form in forms}
