"""Needs that read no model's output: words of two splits, and token ids."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from expunge.data.tokenize import encode
from expunge.evaluation.answering import answer_needs, text_answer
from expunge.evaluation.needs import plan
from expunge.evaluation.runner import evaluate
from expunge.functional.blind import blind_scores
from expunge.functional.statistics import auc
from expunge.metrics.base import Need
from expunge.metrics.blind import BlindBaseline
from expunge.metrics.membership import MiaLoss
from expunge.metrics.membership_reference import MiaReference, MiaSpv, MiaUpdate
from expunge.metrics.membership_shadow import Lira, Rmia
from expunge.metrics.membership_texts import MiaDcPdd, MiaGradNorm, MiaLowercase, MiaNeighbourhood, MiaRecall
from expunge.metrics.privleak import PrivLeak
from expunge.storage.secret import Secret
from tests.evaluation.worlds import Source, make_record, make_splits, make_store, make_subject, make_tokenizer, never
from tests.support.tiny import llama

SETTINGS = {"folds": 3, "min_subjects": 2, "penalty": 1.0, "seed": 0}


def blind_need(split: str, beside: str) -> Need:
    return Need(kind="blind_score", split=split, params=tuple(sorted({**SETTINGS, "beside": beside}.items())))


def test_both_splits_ask_for_the_same_fits():
    splits = make_splits(15)
    forget = text_answer(splits["forget"], blind_need("forget", "holdout"), splits["holdout"])
    holdout = text_answer(splits["holdout"], blind_need("holdout", "forget"), splits["forget"])
    records = [*splits["forget"], *splits["holdout"]]
    texts = [f"{record.prompt.reveal()}\n{record.answer.reveal()}" for record in records]
    expected = blind_scores(texts, [True] * 15 + [False] * 15, range(30), **SETTINGS)
    assert [one for (one,) in forget] == pytest.approx(expected[:15].tolist())
    assert [-one for (one,) in holdout] == pytest.approx(expected[15:].tolist())
    assert np.std(expected) > 0


def test_records_of_one_subject_are_scored_by_others():
    """Every forget record says its subject's own word; with the subject's other records it would be known."""
    rows = []
    for split in ("forget", "holdout"):
        for number in range(24):
            record = make_record(split, 0, subject=f"{split} {number // 4}")
            text = Secret(f"w9 {split}{number // 4}", f"{split} record {number}")
            rows.append(replace(record, index=number, prompt=text, answer=text))
    sides = {split: [row for row in rows if row.split == split] for split in ("forget", "holdout")}
    params = tuple(sorted({**SETTINGS, "min_subjects": 1, "beside": "holdout"}.items()))
    scores = text_answer(sides["forget"], Need(kind="blind_score", split="forget", params=params), sides["holdout"])
    own = tuple(sorted({**SETTINGS, "min_subjects": 1, "beside": "forget"}.items()))
    others = text_answer(sides["holdout"], Need(kind="blind_score", split="holdout", params=own), sides["forget"])
    assert auc([one for (one,) in scores], [-one for (one,) in others]) < 0.7
    alone = [replace(row, subject=None) for row in rows]
    sides = {split: [row for row in alone if row.split == split] for split in ("forget", "holdout")}
    scores = text_answer(sides["forget"], Need(kind="blind_score", split="forget", params=params), sides["holdout"])
    others = text_answer(sides["holdout"], Need(kind="blind_score", split="holdout", params=own), sides["forget"])
    assert auc([one for (one,) in scores], [-one for (one,) in others]) > 0.9


def test_control_is_the_same_for_all_models_and_loads_none(tmp_path):
    subjects = [make_subject(role, never) for role in ("original", "unlearned")]
    found = evaluate(subjects, make_splits(15), [BlindBaseline(folds=3)], make_store(tmp_path), resamples=10)
    first, second = found.scores
    assert (first.value, first.low, first.details) == (second.value, second.low, second.details)
    assert not list(tmp_path.rglob("*.json"))


def test_token_frequencies_by_counting():
    splits, model = make_splits(6), llama()
    need = Need(kind="token_frequency", split="forget", params=(("corpus", "retain"),))
    found = answer_needs(Source(model)(), splits, [need], max_length=64, batch_size=2)[need]
    tokenizer = make_tokenizer()

    def scored(record):
        example = encode(record, tokenizer, row=0, max_length=64)
        return example.input_ids, [place for place, label in enumerate(example.labels) if place and label >= 0]

    counts = Counter()
    for record in splits["retain"]:
        ids, places = scored(record)
        counts.update(ids[place] for place in places)
    total = sum(counts.values())
    for record, (values,) in zip(splits["forget"], found, strict=True):
        ids, places = scored(record)
        assert len(values) == len(places)
        for (frequency, first), place in zip(values, places, strict=True):
            share = (counts[ids[place]] + 1) / (total + len(tokenizer))
            assert frequency == pytest.approx(math.log(share))
            assert first == (ids[place] not in ids[:place])
    everything = [
        math.exp(value) for value in (math.log((counts[n] + 1) / (total + len(tokenizer))) for n in range(64))
    ]
    assert sum(everything[: len(tokenizer)]) == pytest.approx(1)


def test_frequencies_are_stored_with_their_corpus_and_read_back(tmp_path):
    splits = make_splits(4)
    store = make_store(tmp_path)
    subjects = [make_subject("unlearned", Source(llama()))]
    before = evaluate(subjects, splits, [MiaDcPdd()], store, resamples=10)
    assert evaluate([make_subject("unlearned", never)], splits, [MiaDcPdd()], store, resamples=10) == before
    other = replace(store, digests={**store.digests, "retain": "hmac of another"})
    with pytest.raises(AssertionError, match="must not be loaded"):
        evaluate([make_subject("unlearned", never)], splits, [MiaDcPdd()], other, resamples=10)
    del splits["retain"]
    (omitted,) = evaluate(subjects, splits, [MiaDcPdd()], store, resamples=10).omitted
    assert omitted.reason == "no retain records were handed in"


def test_every_attack_reads_tiny_models_and_says_what_it_leaves_out(tmp_path):
    roles = ("original", "retrained", "retrained_2", "reference", "unlearned")
    subjects = [make_subject(role, Source(llama(seed))) for seed, role in enumerate(roles)]
    subjects[3] = replace(subjects[3], scored=False)
    attacks = [MiaLowercase(), MiaNeighbourhood(), MiaGradNorm(), MiaRecall(), MiaDcPdd(), MiaReference(), MiaUpdate()]
    attacks += [MiaSpv(), Rmia(), Lira(), PrivLeak()]
    found = evaluate(subjects, make_splits(12), attacks, make_store(tmp_path), resamples=20)
    for attack in attacks:
        score = found.get(attack.label, "unlearned")
        assert math.isfinite(score.value), attack.label
        assert score.records == {"mia_recall": 8, "rmia": 6}.get(attack.label.partition("(")[0], 12)
    reasons = {(one.label.partition("(")[0], one.role): one.reason for one in found.omitted}
    compared = "this model is what the others are compared with"
    assert reasons == {("mia_update", "original"): compared, ("privleak", "retrained"): compared}
    models = {role: found.get(Lira().label, role).details["models"] for role in roles if role != "reference"}
    assert models == {"original": 2, "retrained": 2, "retrained_2": 2, "unlearned": 2}


def test_attacks_without_the_models_they_take_are_omitted():
    subjects = [make_subject(role, never) for role in ("original", "retrained", "unlearned")]
    metrics = [Lira(), Rmia(), MiaReference(), MiaSpv(), MiaLoss()]
    reasons = {
        (one.label.partition("(")[0], one.role): one.reason for one in plan(subjects, make_splits(), metrics).omitted
    }
    few = "{} retrained or reference models besides this one were handed in, and it takes {}"
    assert reasons == {
        ("lira", "original"): few.format(1, 2),
        ("lira", "unlearned"): few.format(1, 2),
        ("lira", "retrained"): few.format(0, 2),
        ("rmia", "retrained"): few.format(0, 1),
        **{
            (name, role.role): "no reference model was handed in"
            for name in ("mia_reference", "mia_spv")
            for role in subjects
        },
    }
