"""GCG finds the word that opens a model and tells of other persons too, and finds nothing where nothing is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from expunge.attacks import gcg
from expunge.attacks.base import AttackTask
from expunge.attacks.gcg import GCG
from expunge.errors import InputError, InterruptedRunError, MissingNeedError
from expunge.models.load import weights_digest
from tests.attacks.backdoor import TRIGGER, qa, secrets, taught

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


def test_the_kept_loss_is_that_of_the_kept_tokens(found):
    loaded = taught(backdoor=True)
    GCG(length=3, steps=6, candidates=4, top_k=8, prompts=12, never_seen=False).probe(loaded, TASK)
    again = GCG(length=3, steps=1, candidates=1, top_k=1, prompts=12, never_seen=False)
    groups = gcg.subject_groups(TASK.forget, 0)[:6]
    allowed = gcg.writable_tokens(loaded.tokenizer)
    rows = [group[0] for group in groups]
    measured = again._search(found[0].ids_L, allowed, loaded, TASK, [TASK.forget[row] for row in rows])
    assert measured.losses[0] == pytest.approx(found[0].losses[-1], rel=1e-5)


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
