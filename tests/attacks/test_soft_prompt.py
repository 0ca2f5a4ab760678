"""A soft prompt opens what a model holds of persons it was not trained on, and nothing where nothing is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from expunge.attacks.base import AttackTask
from expunge.attacks.insertion import input_embedding, read_slots
from expunge.attacks.soft_prompt import SoftPrompt, _batches, _Found
from expunge.errors import InputError, InterruptedRunError, MissingNeedError
from expunge.models.load import LoadedModel, weights_digest
from tests.attacks.backdoor import VALUES, secrets, taught, word_tokenizer
from tests.support.tiny import llama

QUICK = SoftPrompt(length=2, place="after", steps=20, every=8, learning_rate=0.1, controls=3)
TASK = AttackTask(splits={"forget": secrets()}, max_length=64)


@pytest.mark.slow
def test_it_opens_persons_it_was_not_trained_on():
    loaded = taught(backdoor=True)
    before = weights_digest(loaded.model)
    shown = QUICK.probe(loaded, TASK)
    assert list(shown.values) == ["step 0", "step 8", "step 16", "step 20"]
    assert (shown.best, shown.at["step 8"]) == ("step 20", 8.0)
    assert shown.values["step 20"].shape == (12,)
    assert np.mean(shown.values["step 20"]) > 0.95
    assert np.mean(shown.values["step 0"]) < 0.85
    assert shown.details["loss_last_step"] < 0.2 < shown.details["loss_first_step"]
    assert shown.details["elicits_true"] == 1.0
    assert weights_digest(loaded.model) == before
    assert all(weight.grad is None for weight in loaded.model.parameters())


@pytest.mark.slow
def test_nothing_is_found_where_nothing_is():
    shown = QUICK.probe(taught(backdoor=False), TASK)
    assert np.mean(shown.values[shown.best]) < 0.2


@pytest.mark.slow
def test_with_enough_steps_a_model_says_what_it_never_saw():
    """Why only unseen subjects count."""
    loaded, groups = taught(backdoor=True), [[row] for row in range(12)]
    attack = SoftPrompt(length=2, place="after", steps=50, every=50, learning_rate=0.1, controls=4)
    shown = attack._controls(loaded, groups, TASK)
    assert shown["elicits_true"] == 1.0
    assert shown["elicits_never_seen"] > 0


def test_signed_steps():
    """Each step moves every coordinate by the learning rate, against the gradient."""
    attack = SoftPrompt(length=2, steps=1, every=1, optimizer="sign", learning_rate=0.5, controls=0)
    loaded = LoadedModel(llama().double(), word_tokenizer(), "tiny")
    slots = attack._slots(TASK.forget, loaded, TASK)
    found = attack._search(loaded, iter([slots]), TASK)
    moved_LD = found.prompts[1] - found.prompts[0]
    assert torch.allclose(moved_LD.abs(), torch.full_like(moved_LD, 0.5))
    tiny = replace(attack, learning_rate=1e-4)
    (lower,) = tiny._search(loaded, iter([slots]), TASK).losses
    there_LD = tiny._search(loaded, iter([slots]), TASK).prompts[1]
    after = -read_slots(loaded.model, slots, 0, there_LD).mean_logps.detach().mean()
    assert float(after) < lower


def test_embeddings_are_kept_as_they_were_at_each_look():
    attack = SoftPrompt(length=2, steps=3, every=1, optimizer="sign", learning_rate=0.5, controls=0)
    loaded = LoadedModel(llama().double(), word_tokenizer(), "tiny")
    slots = attack._slots(TASK.forget, loaded, TASK)
    found = attack._search(loaded, iter([slots] * 3), TASK)
    assert list(found.prompts) == [0, 1, 2, 3]
    for done in range(3):
        moved_LD = found.prompts[done + 1] - found.prompts[done]
        assert torch.allclose(moved_LD.abs(), torch.full_like(moved_LD, 0.5))


def test_controls_are_one_record_of_a_subject_with_a_true_and_a_wrong_answer(monkeypatch):
    pairs = [*secrets(), *(replace(one, index=12 + row) for row, one in enumerate(secrets(seed=1)))]
    asked = []

    def eliciting(attack, loaded, records, task):
        asked.append(records)
        return float(len(asked))

    monkeypatch.setattr(SoftPrompt, "_elicited", eliciting)
    groups = [[row, row + 12] for row in range(12)]
    found = SoftPrompt(controls=3)._controls(taught(backdoor=False), groups, replace(TASK, splits={"forget": pairs}))
    assert found == {"elicits_true": 1, "elicits_never_seen": 2}
    true, wrong = asked
    assert list(true) == pairs[:3]
    assert all(one.prompt == own.prompt and one.answer != own.answer for one, own in zip(wrong, true, strict=True))


def test_only_whole_answers_are_elicited(monkeypatch):
    monkeypatch.setattr(SoftPrompt, "_search", lambda *_: _Found({60: torch.zeros(4, 20, 32)}, []))
    monkeypatch.setattr(SoftPrompt, "_read", lambda *_: np.array([1.0, 0.9, 0.0, 1.0]))
    loaded = LoadedModel(llama(), word_tokenizer(), "tiny")
    assert SoftPrompt()._elicited(loaded, secrets()[:4], TASK) == 0.5


@pytest.mark.parametrize("target", ["answers", "affirmative"])
def test_the_true_answer_is_read(monkeypatch, target):
    read = []
    monkeypatch.setattr(SoftPrompt, "_search", lambda *_: _Found({0: torch.zeros(1)}, [0.0]))
    monkeypatch.setattr(SoftPrompt, "_read", lambda self, loaded, slots, *_: read.extend(slots) or 0.0)
    loaded = LoadedModel(llama(), word_tokenizer(), "tiny")
    SoftPrompt(length=1, controls=0, target=target).probe(loaded, TASK)
    values = set(loaded.tokenizer.convert_tokens_to_ids(VALUES))
    assert len(read) == 12
    assert all(values & set(slot.example.labels) for slot in read)


def test_where_it_starts():
    loaded = LoadedModel(llama(), word_tokenizer(), "tiny")
    table_VD = input_embedding(loaded.model).weight
    mark = loaded.tokenizer.convert_tokens_to_ids("!")
    assert torch.equal(SoftPrompt(length=3)._begin(loaded), table_VD[mark].repeat(3, 1))


def test_where_it_starts_in_the_middle():
    loaded = taught(backdoor=False)
    wanted = input_embedding(loaded.model).weight.mean(0)
    found = SoftPrompt(length=3, start="mean")._begin(loaded)
    torch.testing.assert_close(found, wanted.repeat(3, 1))


@pytest.mark.slow
def test_prompts_of_their_own_do_not_meet():
    """One record's prompt is found as if it were alone."""
    attack = SoftPrompt(length=2, steps=3, every=3, learning_rate=0.1)
    loaded = taught(backdoor=True)
    slots = attack._slots(TASK.forget[:3], loaded, TASK)

    def forever(items):
        while True:
            yield items

    together = attack._search(loaded, forever(slots), TASK, (3,)).prompts[3]
    alone = attack._search(loaded, forever(slots[1:2]), TASK, (1,)).prompts[3]
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)


def test_batches_leave_the_held_out_rows_out():
    slots = SoftPrompt()._slots(TASK.forget, taught(backdoor=False), TASK)
    batches = _batches([*slots[:5], None, *slots[6:]], {0, 1, 2}, 3, 0)
    seen = [[slot.example.row for slot in next(batches)] for _ in range(6)]
    assert [len(batch) for batch in seen] == [3, 3, 2] * 2
    assert sorted(seen[0] + seen[1] + seen[2]) == sorted(seen[3] + seen[4] + seen[5]) == [3, 4, 6, 7, 8, 9, 10, 11]
    assert seen[:3] != seen[3:]
    other = _batches(slots, {0, 1, 2, 5}, 3, 1)
    assert [[slot.example.row for slot in next(other)] for _ in range(3)] != seen[:3]
    with pytest.raises(InputError, match="No record"):
        next(_batches(slots, set(range(12)), 3, 0))


@pytest.mark.slow
def test_same_seed_same_numbers_and_no_global_generator():
    state = torch.get_rng_state()
    attack = SoftPrompt(length=2, steps=2, every=2, controls=2)
    loaded = taught(backdoor=True)
    one, other = (attack.probe(loaded, TASK) for _ in range(2))
    assert one.details == other.details
    np.testing.assert_array_equal(one.values["step 2"], other.values["step 2"])
    assert torch.equal(torch.get_rng_state(), state)
    assert attack.probe(loaded, replace(TASK, seed=5)).details != one.details


def test_each_record_is_read_with_what_was_found_without_its_subject(monkeypatch):
    """A prompt's place among the folds is that of the subjects it has not seen."""
    taken = []

    def watching(slots, held, size, seed):
        taken.append(held)
        return _batches(slots, held, size, seed)

    monkeypatch.setattr("expunge.attacks.soft_prompt._batches", watching)
    attack = SoftPrompt(length=1, steps=1, every=1, controls=0, folds=3)
    shown = attack.probe(taught(backdoor=False), TASK)
    assert [len(held) for held in taken] == [4, 4, 4]
    assert set().union(*taken) == set(range(12))
    assert not np.isnan(shown.values["step 1"]).any()
    attack.probe(taught(backdoor=False), replace(TASK, seed=1))
    assert taken[3:] != taken[:3]


@pytest.mark.parametrize("place", ["before", "after"])
def test_agreement(place):
    attack = replace(QUICK, target="affirmative", place=place)
    shown = attack.probe(taught(backdoor=True), TASK)
    assert shown.details["loss_last_step"] < shown.details["loss_first_step"]
    assert "elicits_true" not in shown.details


def test_steps_too_small_for_half_precision_add_up():
    half = LoadedModel(llama().bfloat16(), word_tokenizer(), "tiny")
    attack = SoftPrompt(length=1, steps=2, every=2, controls=1, learning_rate=1e-6)
    found = attack._search(half, iter([attack._slots(TASK.forget, half, TASK)] * 2), TASK)
    moved_LD = found.prompts[2] - found.prompts[0]
    assert moved_LD.dtype == torch.float32
    assert 0 < float(moved_LD.abs().max()) < 1e-5
    assert not np.isnan(attack.probe(half, TASK).values["step 2"]).any()


def test_it_stops_when_asked():
    asked = iter([False, True])
    with pytest.raises(InterruptedRunError, match="soft_prompt"):
        QUICK.probe(taught(backdoor=False), replace(TASK, stop_requested=lambda: next(asked)))


def test_one_subject_is_refused_before_a_model_is_loaded():
    with pytest.raises(MissingNeedError, match="subjects"):
        QUICK.check(replace(TASK, splits={"forget": secrets()[:1]}))
    QUICK.check(TASK)


def test_settings():
    assert "optimizer=sign, learning_rate=0.001, steps=100, every=10" in SoftPrompt.at("paper").label
    for wrong in ({"length": 0}, {"folds": 1}, {"controls": -1}):
        with pytest.raises(InputError, match="at least"):
            SoftPrompt(**wrong)
