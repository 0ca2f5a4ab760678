"""Stored answers: exact, found by everything that decides them, never trusted when damaged, and without text."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from expunge.data.transforms import AfterOthers
from expunge.errors import InputError
from expunge.evaluation.runner import evaluate
from expunge.evaluation.store import Store
from expunge.evaluation.suites import quick
from expunge.evaluation.surroundings import surroundings
from expunge.metrics.base import Need
from expunge.metrics.leakage import LeakAtK
from expunge.metrics.memorisation import Probability
from tests.evaluation.worlds import IDENTITY, Source, make_splits, make_store, make_subject
from tests.support.tiny import llama

NEED = Need(
    kind="token_logps", split="forget", form="trained", params=(("max_new_tokens", 8), ("scorer", "rouge_l_recall"))
)
ANSWER = [[np.array([-0.1, -1 / 3, -1e-300, -np.inf])], [], [np.array([]), np.array([np.nextafter(-1, 0)])]]


def same(one, other) -> bool:
    return all(
        len(left) == len(right) and all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))
        for left, right in zip(one, other, strict=True)
    )


def test_numbers_come_back_to_the_last_bit(tmp_path):
    store = make_store(tmp_path)
    assert store.get(IDENTITY, NEED) is None
    store.put(IDENTITY, NEED, ANSWER)
    assert same(store.get(IDENTITY, NEED), ANSWER)
    moments = replace(NEED, kind="moments")
    store.put(IDENTITY, moments, [[np.zeros((0, 2))], [np.array([[-1.0, 0.5]])]])
    assert [form.shape for record in store.get(IDENTITY, moments) for form in record] == [(0, 2), (1, 2)]
    scores = replace(NEED, kind="generation_score")
    store.put(IDENTITY, scores, [[0.25], []])
    assert float(store.get(IDENTITY, scores)[0][0]) == 0.25


JUDGED = Need(kind="reply_nats", split="forget", params=(("judge", "original"), ("max_new_tokens", 8)))


@pytest.mark.parametrize("name", sorted(IDENTITY))
def test_every_part_of_the_judge_counts(tmp_path, name):
    """Where the original is another one, it finds something else of the same replies."""
    store = make_store(tmp_path)
    store.put(IDENTITY, JUDGED, [[np.array([2.5, 4.0])]], IDENTITY)
    assert store.get(IDENTITY, JUDGED, {**IDENTITY, name: "other"}) is None
    assert same(store.get(IDENTITY, JUDGED, dict(IDENTITY)), [[np.array([2.5, 4.0])]])
    with pytest.raises(InputError, match="depend on the original model"):
        store.get(IDENTITY, JUDGED)
    store.put(IDENTITY, NEED, ANSWER)  # for everything else the judge does not matter
    assert store.get(IDENTITY, NEED, {**IDENTITY, name: "other"}) is not None


@pytest.mark.parametrize("name", sorted(IDENTITY))
def test_every_part_of_the_identity_counts(tmp_path, name):
    store = make_store(tmp_path)
    store.put(IDENTITY, NEED, ANSWER)
    assert store.get({**IDENTITY, name: "other"}, NEED) is None
    assert store.get({key: value for key, value in IDENTITY.items() if key != name}, NEED) is None
    assert store.get(dict(reversed(IDENTITY.items())), NEED) is not None


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "ranks"},
        {"split": "retain"},
        {"form": "paraphrased_answer"},
        {"params": (("max_new_tokens", 9), ("scorer", "rouge_l_recall"))},
        {"params": (("max_new_tokens", 8), ("scorer", "other"))},
        {"params": ()},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_part_of_the_need_counts(tmp_path, change):
    store = Store(tmp_path, {"forget": "h", "retain": "h"}, 64)
    store.put(IDENTITY, NEED, ANSWER)
    assert store.get(IDENTITY, replace(NEED, **change)) is None


def test_what_is_read_in_place_of_a_record_counts(tmp_path):
    store = make_store(tmp_path)
    changed = replace(NEED, transform=AfterOthers(split="holdout"))
    store.put(IDENTITY, changed, ANSWER)
    assert store.get(IDENTITY, NEED) is None
    assert store.get(IDENTITY, replace(NEED, transform=AfterOthers(split="holdout", count=1))) is None
    others = replace(store, digests={**store.digests, "holdout": "other records"})
    assert others.get(IDENTITY, changed) is None
    assert same(store.get(IDENTITY, changed), ANSWER)
    with pytest.raises(InputError, match="nobody records have no digest"):
        store.get(IDENTITY, replace(NEED, transform=AfterOthers(split="nobody")))


DRAWN = Need(
    kind="generation_score", split="forget", params=(("max_new_tokens", 8), ("samples", 2), ("scorer", "length"))
)


@pytest.mark.parametrize("name", sorted(surroundings(16)))
def test_batches_device_and_libraries_count_for_what_is_drawn_alone(tmp_path, name):
    store = replace(make_store(tmp_path), surroundings=surroundings(16))
    other = replace(store, surroundings={**surroundings(16), name: "other"})
    for need in (DRAWN, replace(DRAWN, kind="reply_nats", params=(("judge", "original"), ("top_p", 0.9)))):
        store.put(IDENTITY, need, [[1.0, 2.0]], IDENTITY)
        assert other.get(IDENTITY, need, IDENTITY) is None
        assert same(store.get(IDENTITY, need, IDENTITY), [[1.0, 2.0]])
    for need in (NEED, JUDGED, replace(DRAWN, params=(("max_new_tokens", 8), ("scorer", "length")))):
        store.put(IDENTITY, need, [[1.0, 2.0]], IDENTITY)
        assert same(other.get(IDENTITY, need, IDENTITY), [[1.0, 2.0]])


def test_an_evaluation_in_other_batches_draws_anew_and_reads_the_rest_back(tmp_path):
    splits, drawn, read = make_splits(4), LeakAtK(k=1, samples=2, max_new_tokens=3), Probability()
    source = Source(llama())
    subject = make_subject("original", source)
    for metrics, size, loads in (((drawn, read), 2, 1), ((drawn, read), 2, 1), ((read,), 3, 1), ((drawn,), 3, 2)):
        evaluate([subject], splits, metrics, make_store(tmp_path), batch_size=size, resamples=2)
        assert source.loads == loads


def test_other_code_computes_anew(tmp_path):
    store = make_store(tmp_path)
    store.put(IDENTITY, NEED, ANSWER)
    assert replace(store, code="other").get(IDENTITY, NEED) is None
    assert same(store.get(IDENTITY, NEED), ANSWER)


def test_records_and_length_count(tmp_path):
    Store(tmp_path, {"forget": "h"}, 64).put(IDENTITY, NEED, ANSWER)
    assert Store(tmp_path, {"forget": "h"}, 64).get(IDENTITY, NEED) is not None
    assert Store(tmp_path, {"forget": "g"}, 64).get(IDENTITY, NEED) is None
    assert Store(tmp_path, {"forget": "h"}, 65).get(IDENTITY, NEED) is None
    with pytest.raises(InputError, match="forget records have no digest"):
        Store(tmp_path, {}, 64).get(IDENTITY, NEED)


def damage(text: str) -> list[bytes]:
    data = text.encode()
    number = text.index("0.333")
    return [
        b"",
        data[: len(data) // 2],
        data[:-3],
        data.replace(b"0.333", b"0.334", 1),
        data.replace(b'"version": 3', b'"version": 4', 1),
        text[:number].encode() + b"\xff" + text[number + 1 :].encode(),
        b"[]",
        b"null",
        b"{}",
        json.dumps({"key": json.loads(text)["key"], "answer": [["text"]], "digest": "0"}).encode(),
    ]


@pytest.mark.parametrize("case", range(10))
def test_a_damaged_file_is_not_trusted(tmp_path, case):
    store = make_store(tmp_path)
    store.put(IDENTITY, NEED, ANSWER)
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_text())[case])
    assert store.get(IDENTITY, NEED) is None
    store.put(IDENTITY, NEED, ANSWER)
    assert same(store.get(IDENTITY, NEED), ANSWER)


def test_a_damaged_answer_is_computed_again(tmp_path):
    splits, metrics, source = make_splits(4), quick(("forget", "retain", "holdout")), Source(llama())
    subject = make_subject("original", source)
    first = evaluate([subject], splits, metrics, make_store(tmp_path), resamples=5)
    victim = sorted(tmp_path.iterdir())[0]
    victim.write_text(victim.read_text()[:-40])
    again = evaluate([subject], splits, metrics, make_store(tmp_path), resamples=5)
    assert repr(again) == repr(first)  # there is no answer mix without a retrained model, and NaN is not itself
    assert source.loads == 2


def test_another_file_under_the_name_is_not_taken(tmp_path):
    """A copied or renamed file answers another question than its name says."""
    store = make_store(tmp_path)
    other = replace(NEED, form="paraphrased_answer")
    store.put(IDENTITY, NEED, ANSWER)
    (path,) = tmp_path.iterdir()
    text = path.read_text()
    store.put(IDENTITY, other, ANSWER)
    (second,) = set(tmp_path.iterdir()) - {path}
    second.write_text(text)
    assert store.get(IDENTITY, other) is None


def test_no_text_of_a_record_is_stored(tmp_path):
    """Answers are words w3, w4, ...; generated text would be too."""
    splits = make_splits(4)
    subjects = [make_subject("original", Source(llama())), make_subject("retrained", Source(llama(seed=1)))]
    evaluate(subjects, splits, quick(tuple(splits)), make_store(tmp_path), resamples=2)
    files = list(tmp_path.iterdir())
    assert len(files) == 2 * 24
    texts = [
        secret.reveal()
        for records in splits.values()
        for record in records
        for secret in (record.prompt, record.answer)
    ]
    for path in files:
        stored = path.read_text()
        assert not any(text in stored for text in texts)
        assert not any(f"w{number}" in stored for number in range(3, 61))
        assert path.stat().st_mode & 0o077 == 0
