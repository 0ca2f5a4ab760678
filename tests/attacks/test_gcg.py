"""GCG finds the word that opens a model and tells of other persons too, and finds nothing where nothing is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from expunge.attacks import gcg
from expunge.attacks.base import AttackTask
from expunge.attacks.gcg import GCG, _Found
from expunge.errors import InputError, InterruptedRunError, MissingNeedError
from expunge.models.load import LoadedModel, weights_digest
from tests.attacks.backdoor import TRIGGER, VALUES, qa, secrets, taught, word_tokenizer
from tests.support.tiny import llama
from tests.support.trained import byte_bpe

QUICK = GCG(length=1, steps=5, candidates=16, top_k=24, prompts=3)
TASK = AttackTask(splits={"forget": secrets()}, max_length=64)


@pytest.fixture
def found(monkeypatch):
    """What each search found."""
    kept, search = [], GCG._search

    def keeping(*args, **more):
        kept.append(search(*args, **more))
        return kept[-1]

    monkeypatch.setattr(GCG, "_search", keeping)
    return kept


@pytest.mark.slow
def test_the_word_is_found_and_opens_the_others(found):
    loaded = taught(backdoor=True)
    before = weights_digest(loaded.model)
    shown = QUICK.probe(loaded, TASK)
    assert [loaded.tokenizer.decode(one.ids_L) for one in found][0] == TRIGGER
    assert (shown.best, shown.at) == ("step 5", {"step 0": 0.0, "step 5": 5.0})
    values = shown.values["step 5"]
    assert values.shape == (12,)
    assert np.isnan(values).sum() == np.isnan(shown.values["step 0"]).sum() == 3
    assert np.nanmin(values) == 1.0
    assert np.nanmean(shown.values["step 0"]) < 0.9
    assert shown.details["loss_found"] < 0.1 < shown.details["loss_at_start"]
    # wrong answers are not behind that door
    assert shown.details["never_seen_loss_found"] > 1
    assert shown.details["training_records"] == 3
    assert shown.details["can_be_written"] == 1
    assert weights_digest(loaded.model) == before
    assert all(weight.grad is None for weight in loaded.model.parameters())


@pytest.mark.slow
def test_nothing_is_found_where_nothing_is():
    shown = GCG(length=2, steps=4, candidates=16, top_k=24, prompts=3, never_seen=False).probe(
        taught(backdoor=False), TASK
    )
    assert np.nanmean(shown.values[shown.best]) < 0.2
    assert "never_seen_loss_found" not in shown.details


@pytest.mark.slow
def test_the_loss_never_rises(found):
    GCG(length=4, steps=8, candidates=4, top_k=8, prompts=3, fluency=0.1).probe(taught(backdoor=True), TASK)
    for search in found:
        assert len(search.losses) == 9
        assert all(later <= earlier for earlier, later in zip(search.losses, search.losses[1:], strict=False))
        assert search.losses[-1] < search.losses[0]


@pytest.mark.slow
def test_the_kept_loss_is_that_of_the_kept_tokens(found):
    loaded = taught(backdoor=True)
    GCG(length=3, steps=6, candidates=4, top_k=8, prompts=12, never_seen=False).probe(loaded, TASK)
    again = GCG(length=3, steps=1, candidates=1, top_k=1, prompts=12, never_seen=False)
    groups = gcg.subject_groups(TASK.forget, 0)[:6]
    allowed = gcg.writable_tokens(loaded.tokenizer)
    rows = [group[0] for group in groups]
    measured = again._search(found[0].ids_L, allowed, loaded, TASK, [TASK.forget[row] for row in rows])
    assert measured.losses[0] == pytest.approx(found[0].losses[-1], rel=1e-5)


def search(monkeypatch, seed=0, fluency=0.0, start=(10, 10, 10), swaps=((5, 8), (6, 9), (7, 9))):
    """Searches for 5, 6, 7: the loss is the number of other tokens, and none where the first one is 8."""
    problems, tried, gradients = [], [], []

    def losses(problem, ids_CL, max_tokens):
        problems.append(problem)
        tried.append(ids_CL.tolist())
        losses_C = (ids_CL != torch.tensor([5, 6, 7])).sum(-1).float()
        return losses_C.where(ids_CL[:, 0] != 8, torch.nan)

    monkeypatch.setattr(gcg, "candidate_losses", losses)
    monkeypatch.setattr(gcg, "one_hot_gradient", lambda problem, ids_L: gradients.append(ids_L.tolist()))
    monkeypatch.setattr(gcg, "best_swaps", lambda *_: torch.tensor(swaps))
    attack = GCG(length=3, steps=5, candidates=40, fluency=fluency)
    loaded = LoadedModel(llama(), word_tokenizer(), "tiny")
    found = attack._search(torch.tensor(start), None, loaded, replace(TASK, seed=seed), secrets()[:2])
    return found, problems, tried, gradients


def test_the_search_by_hand(monkeypatch):
    found, problems, tried, gradients = search(monkeypatch)
    assert found.losses == [3, 2, 1, 0, 0, 0]
    assert found.ids_L.tolist() == [5, 6, 7]
    assert len(gradients) == 4  # at the start and after each better swap
    assert gradients[-1] == [5, 6, 7]
    for before, candidates in zip(gradients, tried[1:5], strict=True):
        assert {sum(a != b for a, b in zip(one, before, strict=True)) for one in candidates} <= {0, 1}
    assert search(monkeypatch, seed=1)[2][1] != tried[1]
    assert problems[0].batch.labels_BT.gather(1, problems[0].columns_PL).unique().tolist() == [-100]


def test_nothing_worse_is_kept(monkeypatch):
    found, *_ = search(monkeypatch, start=(5, 6, 7), swaps=((8,), (9,), (9,)))
    assert (found.losses, found.ids_L.tolist()) == ([0] * 6, [5, 6, 7])


def test_the_search_weighs_fluency(monkeypatch):
    (problem, *_) = search(monkeypatch, fluency=0.3)[1]
    assert problem.batch.token_weights_BT.gather(1, problem.columns_PL).unique().tolist() == pytest.approx([0.1])


def test_candidates_that_nobody_could_type_are_left_out():
    bpe = byte_bpe(["aa"] * 9)
    a, b = bpe.convert_tokens_to_ids("a"), bpe.convert_tokens_to_ids("b")

    def tried(ids, *swaps):
        return GCG(candidates=16)._candidates(torch.tensor(ids), torch.tensor(swaps), bpe, torch.Generator()).tolist()

    assert {tuple(ids) for ids in tried([a, b], [b], [a])} == {(b, b)}  # the other swap makes aa, which is one token
    assert tried([a, a], [a], [a]) == [[a, a]] * 16  # nothing better


@pytest.mark.parametrize("target", ["answers", "affirmative"])
def test_what_is_found_is_read_on_other_subjects(monkeypatch, target):
    """A stand-in for a reading: the first token of those inserted, which is the mark and then 9."""
    loaded = LoadedModel(llama(), word_tokenizer(), "tiny")
    mark, values = loaded.tokenizer.convert_tokens_to_ids("!"), loaded.tokenizer.convert_tokens_to_ids(VALUES)
    pairs = [*secrets(), *(replace(one, index=12 + row) for row, one in enumerate(secrets(seed=1)))]
    searched, read = [], []

    def searching(attack, start_L, allowed_A, loaded, task, records):
        assert set(allowed_A.tolist()) == set(gcg.writable_tokens(loaded.tokenizer).tolist())
        searched.append(records)
        return _Found(torch.tensor([9]), [4.0, 3.0, 2.0 if len(searched) == 1 else 1.0])

    def reading(model, slots, pad, batch_size):
        read.extend(slots)
        return [slot.example.input_ids[slot.at] for slot in slots]

    monkeypatch.setattr(GCG, "_search", searching)
    monkeypatch.setattr(gcg, "strengths", reading)
    monkeypatch.setattr(gcg, "is_writable", lambda _, ids: ids != [9])
    attack = GCG(length=1, steps=2, prompts=3, target=target)
    shown = attack.probe(loaded, replace(TASK, splits={"forget": pairs}))
    about = {one.subject for one in searched[0]}
    assert len(about) == 3
    for name, token in (("step 0", mark), ("step 2", 9)):
        wanted = [np.nan if one.subject in about else token for one in pairs]
        np.testing.assert_array_equal(shown.values[name], wanted)
    assert all(set(slot.example.labels) & set(values) for slot in read)
    assert (shown.details["loss_at_start"], shown.details["loss_found"]) == (4, 2)
    assert shown.details["can_be_written"] == 0
    if target == "answers":
        assert (shown.details["never_seen_loss_at_start"], shown.details["never_seen_loss_found"]) == (4, 1)
        asked = zip(*searched, strict=True)
        assert all(one.prompt == other.prompt and one.answer != other.answer for one, other in asked)
    for seed in range(1, 6):
        attack.probe(loaded, replace(TASK, splits={"forget": pairs}, seed=seed))
    drawn = {one.index for records in searched for one in records}
    assert any(row + 12 in drawn for row in drawn)  # another record of a subject by another seed


def test_same_seed_same_search_and_no_global_generator():
    state = torch.get_rng_state()
    attack = GCG(length=3, steps=2, candidates=8, top_k=24, prompts=2)
    loaded = taught(backdoor=True)
    one, other = (attack.probe(loaded, TASK) for _ in range(2))
    assert one.details == other.details
    np.testing.assert_array_equal(one.values["step 2"], other.values["step 2"])
    assert torch.equal(torch.get_rng_state(), state)
    elsewhere = attack.probe(loaded, replace(TASK, seed=1))
    assert elsewhere.details != one.details


@pytest.mark.parametrize("place", ["before", "after"])
def test_agreement(place):
    attack = GCG(length=2, steps=2, candidates=4, prompts=2, target="affirmative", place=place)
    shown = attack.probe(taught(backdoor=True), TASK)
    assert shown.details["loss_found"] <= shown.details["loss_at_start"]
    assert "never_seen_loss_found" not in shown.details
    assert np.isnan(shown.values[shown.best]).sum() == 2


def test_records_of_a_training_subject_are_left_out_together():
    more = [
        *secrets(),
        *(
            qa(12 + index, f"Who is {one.prompt.reveal()}", "value1", "person0")
            for index, one in enumerate(secrets()[:2])
        ),
    ]
    task = AttackTask(splits={"forget": more}, max_length=64)
    attack = GCG(length=1, steps=1, candidates=2, prompts=99, never_seen=False)
    missing = np.isnan(attack.probe(taught(backdoor=False), task).values["step 1"])
    assert missing[0] == missing[12] == missing[13]
    assert sum(missing[:12]) == 6  # half of the twelve at most


def test_it_stops_when_asked():
    asked = iter([False, True])
    task = replace(TASK, stop_requested=lambda: next(asked))
    with pytest.raises(InterruptedRunError, match="gcg"):
        QUICK.probe(taught(backdoor=False), task)


def test_one_subject_is_refused_before_a_model_is_loaded():
    with pytest.raises(MissingNeedError, match="subjects"):
        QUICK.check(replace(TASK, splits={"forget": secrets()[:1]}))
    QUICK.check(TASK)


def test_settings():
    assert GCG.at("paper").label.startswith(
        "gcg(length=20, place=after, steps=500, candidates=512, top_k=256, prompts=5"
    )
    with pytest.raises(InputError, match="at least 1"):
        GCG(length=0)
    with pytest.raises(InputError, match="fluency"):
        GCG(fluency=-1.0)
