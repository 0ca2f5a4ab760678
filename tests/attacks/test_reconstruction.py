"""Values among candidates: ranks by hand, and sums against the model read one text at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from expunge.attacks.reconstruction import PIIReconstruction, rank_of_first, sums
from expunge.errors import DivergedError, InputError, InterruptedRunError
from expunge.storage.secret import Secret
from tests.attacks.knowing import after, as_text, broken, forget, ignorant, knowing, says_nothing, task

FEW = PIIReconstruction(candidates=20)


def test_ranks_by_hand():
    assert rank_of_first(np.array([-1.0, -2.0, -3.0])) == 1
    assert rank_of_first(np.array([-2.0, -1.0, -3.0])) == 2
    assert rank_of_first(np.array([-3.0, -1.0, -2.0])) == 3
    assert rank_of_first(np.array([-1.0, -1.0, -1.0, -2.0])) == 3  # equal ones stand before it


def test_places_from_ranks(monkeypatch):
    ranks = iter([1, 5, 6, 21])
    monkeypatch.setattr("expunge.attacks.reconstruction.rank_of_first", lambda scores: next(ranks))
    probe = PIIReconstruction(candidates=20, records=4).probe(knowing(), task())
    rows = ~np.isnan(probe.values["top 1"])
    assert probe.values["top 1"][rows].tolist() == [1, 0, 0, 0]
    assert probe.values["top 5"][rows].tolist() == [1, 1, 0, 0]
    assert probe.values["rank"][rows].tolist() == pytest.approx([1, 0.8, 0.75, 0])
    assert probe.details == {"records probed": 4.0, "candidates for a record": 21.0}
    assert probe.best == "top 1"


def test_a_model_that_knows_names_every_value():
    probe = FEW.probe(knowing(), task())
    assert all((place == 1).all() for place in probe.values.values())
    assert len(probe.values["rank"]) == 12


def test_a_model_that_does_not_know_names_few():
    probe = FEW.probe(ignorant(), task())
    assert probe.values["top 1"].mean() <= 0.25
    assert 0.2 < probe.values["rank"].mean() < 0.8


def texts_of(attack, row, records=None):
    return [one.answer.reveal() for one in attack._texts(task(records))[row]]


def test_candidates_stand_between_both_contexts_and_the_true_one_is_first():
    for row, (left, right) in {0: ("Ada Birch lives in ", " now."), 1: ("The number of Bela Chalk is ", ".")}.items():
        texts = texts_of(FEW, row)
        assert texts[0] == forget()[row].answer.reveal()
        assert len(set(texts)) == len(texts) == 21
        assert all(text.startswith(left) and text.endswith(right) for text in texts)
    assert all(text[28:32] == "555-" for text in texts_of(FEW, 1))


def test_values_of_other_records():
    numbers = [replace(forget()[1], index=n, answer=Secret(f"It is 555-{n:04d} now.", f"r {n}")) for n in range(24)]
    own = [f"It is 555-{n:04d} now." for n in range(24)]
    texts = texts_of(PIIReconstruction(candidates=23, source="records"), 3, numbers)
    assert texts[0] == own[3]
    assert sorted(texts) == own
    few = texts_of(PIIReconstruction(candidates=19, source="records"), 3, numbers)
    assert len(few) == 20
    assert PIIReconstruction(source="records")._texts(task()) == {}  # six of a kind show nothing


def slow_sums(loaded, record, row):
    """Sum over the candidate and all that follows it, in the same turn, the end included."""
    found = []
    for text in texts_of(FEW, row):
        whole = f"Question: {record.prompt.reveal()}\nAnswer: {text}"
        ids = torch.tensor([[*loaded.tokenizer(whole)["input_ids"], loaded.tokenizer.eos_token_id]])
        offsets = loaded.tokenizer(whole, return_offsets_mapping=True)["offset_mapping"]
        start = whole.index(text) + len("The number of Bela Chalk is 555-") - 5
        with torch.no_grad():
            logps = loaded.model(ids).logits[0, :-1].double().log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
        after_left = [stop > start for _, stop in offsets[1:]] + [True]
        found.append(float(logps[torch.tensor(after_left)].sum()))
    return np.array(found)


def test_differences_are_those_of_the_candidate_and_all_that_follows():
    texts = FEW._texts(task())[1]
    own = sums(knowing(), texts, task())
    slow = slow_sums(knowing(), forget()[1], 1)
    assert own - own[0] == pytest.approx(slow - slow[0], abs=1e-3)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_batches_change_nothing(batch_size):
    texts = FEW._texts(task())[0]
    assert sums(knowing(), texts, task(batch_size=batch_size)) == pytest.approx(
        sums(knowing(), texts, task()), abs=1e-3
    )


def test_what_cannot_be_probed_has_no_number():
    long = replace(forget()[1], prompt=Secret("why " * 100, "r"))
    plain = replace(forget()[0], answer=Secret("yes", "r"), prompt=Secret("yes?", "r"))
    found = FEW.probe(knowing(), task([long, plain, forget()[3], as_text(forget()[5])]))
    assert np.isnan(found.values["rank"]).tolist() == [True, True, False, False]
    assert found.details["records probed"] == 2.0
    nothing = FEW.probe(knowing(), task([plain]))
    assert np.isnan(nothing.values["top 1"]).all()
    assert nothing.details["candidates for a record"] == 0.0


def test_the_same_seed_makes_the_same_candidates():
    one, again, other = (FEW._texts(task(seed=seed))[1] for seed in (0, 0, 1))
    assert one == again != other


def test_few_records_are_spread():
    found = PIIReconstruction(candidates=20, records=3).probe(knowing(), task()).values["rank"]
    assert np.flatnonzero(~np.isnan(found)).tolist() == [0, 4, 8]


@pytest.mark.parametrize("calls", [0, 2])
def test_stopping(calls):
    with pytest.raises(InterruptedRunError, match="pii_reconstruction"):
        FEW.probe(knowing(), task(stop_requested=after(calls)))


def test_nothing_is_said():
    assert says_nothing(repr(FEW.probe(knowing(), task())))
    with pytest.raises(DivergedError) as caught:
        FEW.probe(broken(), task())
    assert says_nothing(str(caught.value))


def test_settings_that_cannot_be():
    with pytest.raises(InputError, match="candidates=18"):
        PIIReconstruction(candidates=18)
