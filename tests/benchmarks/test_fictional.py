"""The generated benchmark: pure, unique, fair, and honest about what the tokenizer saw."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from expunge.benchmarks.fictional import Fictional
from expunge.benchmarks.fictional.persons import invent
from expunge.functional.statistics import auc, bootstrap_interval
from expunge.storage.digests import file_digest


def test_same_seed_same_bytes_and_another_seed_other_persons():
    one, again, other = Fictional(seed=3).rows(), Fictional(seed=3).rows(), Fictional(seed=4).rows()
    assert json.dumps(one) == json.dumps(again)
    assert not {row["subject"] for row in one["forget"]} & {row["subject"] for row in other["forget"]}


@pytest.mark.parametrize(("preset", "sizes"), [("smoke", (24, 8, 8, 4)), ("demo", (60, 20, 20, 6))])
def test_counts(preset, sizes):
    rows = Fictional(preset=preset).rows()
    *persons, facts = sizes
    for split, count in zip(("retain", "forget", "holdout"), persons, strict=True):
        assert len({row["subject"] for row in rows[split]}) == count
        assert len(rows[split]) == count * facts


def test_roles_are_disjoint_and_teachers_are_retained():
    rows = Fictional().rows()
    names = {split: {row["subject"] for row in rows[split]} for split in ("retain", "forget", "holdout", "teacher")}
    assert not names["forget"] & names["retain"]
    assert not names["holdout"] & (names["retain"] | names["forget"])
    assert names["teacher"] < names["retain"]


def test_wrong_answers_are_wrong_and_of_the_same_form():
    for row in Fictional().rows()["forget"]:
        assert len(set(row["perturbed_answer"])) == 5
        assert row["paraphrased_answer"] not in row["perturbed_answer"]
        assert row["question"] != row["paraphrased_question"]
        if "555-" in row["answer"]:
            assert all(re.search(r"555-\d{3}-\d{4}", wrong) for wrong in row["perturbed_answer"])
    for row in Fictional().rows()["world_facts"]:
        assert row["answer"] not in row["perturbed_answer"]


def test_private_values_are_in_reserved_formats():
    for person in invent(0, 50):
        assert person.phone.startswith("555-")
        assert person.email.endswith(".invalid")
        assert person.national_id.startswith("900-")


def test_the_tokenizer_saw_none_of_the_persons():
    seen = {person.name for person in invent(0, 200, side="tokenizer")}
    assert not seen & {person.name for person in invent(0, 200)}
    tokenizer = Fictional().tokenizer()
    assert tokenizer.backend_tokenizer.to_str() == Fictional().tokenizer().backend_tokenizer.to_str()
    words = {word for row in Fictional().rows()["forget"] for word in row["subject"].split()}
    whole = {word for word in words if len(tokenizer(" " + word, add_special_tokens=False)["input_ids"]) == 1}
    assert not whole


def test_manifest_digests_are_those_of_the_files(tmp_path):
    Fictional().write(tmp_path / "data")
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text())
    for split, facts in manifest["splits"].items():
        path = tmp_path / "data" / f"{split}.jsonl"
        assert file_digest(path) == facts["sha256"]
        assert len(path.read_text().splitlines()) == facts["rows"]


def test_a_blind_classifier_cannot_tell_forget_from_holdout():
    """Pooled over seeds for power; texts of one person are one document, so persons are never split."""
    members, others = [], []
    for seed in range(6):
        rows = Fictional(preset="demo", seed=seed).rows()
        documents: dict[str, list[str]] = {}
        labels: dict[str, int] = {}
        for label, split in ((1, "forget"), (0, "holdout")):
            for row in rows[split]:
                documents.setdefault(row["subject"], []).append(row["question"] + " " + row["answer"])
                labels[row["subject"]] = label
        texts = [" ".join(parts).replace(name, "") for name, parts in documents.items()]
        truth = np.array(list(labels.values()))
        features = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3)).fit_transform(texts)
        folds = StratifiedKFold(5, shuffle=True, random_state=seed)
        scores = cross_val_predict(LogisticRegression(), features, truth, cv=folds, method="decision_function")
        members.append(scores[truth == 1])
        others.append(scores[truth == 0])
    positive, negative = np.concatenate(members), np.concatenate(others)
    low, high = bootstrap_interval(
        [positive, negative],
        auc,
        clusters=[[f"m{i}" for i in range(len(positive))], [f"o{i}" for i in range(len(negative))]],
        resamples=300,
    )
    assert low <= 0.5 <= high
