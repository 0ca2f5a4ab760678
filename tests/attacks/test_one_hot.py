"""The gradient by one-hot vectors against finite differences, and candidates against one at a time."""

from __future__ import annotations

import pytest
import torch

from expunge.attacks import one_hot
from expunge.attacks.insertion import Slot, input_embedding, inserted
from expunge.attacks.one_hot import best_swaps, candidate_losses, one_hot_gradient, pose
from expunge.data.batch import IGNORE
from tests.support.tiny import VOCABULARY, examples, llama

IDS_L = torch.tensor([11, 12, 13])
STEP, CLOSE = 1e-5, 1e-7


@pytest.fixture(scope="module")
def model():
    found = llama(seed=3).double()
    for name, norm in [pair for pair in found.named_modules() if "norm" in pair[0]]:
        # Llama's own computes in float32, which leaves too few digits for a difference.
        exact = torch.nn.RMSNorm(norm.weight.shape, eps=norm.variance_epsilon, dtype=torch.float64)
        parent, _, own = name.rpartition(".")
        setattr(found.get_submodule(parent), own, exact)
    return found


@pytest.fixture(scope="module")
def slots():
    # one stands at the very beginning, where the first inserted token has no prediction
    return [Slot(example, (1, 0, 2)[example.row]) for example in examples(3)]


def slow_loss(model, slots, one_hot_LV, fluency):
    """The loss of mixed tokens, a record at a time, without batches, masks or packing."""
    losses = []
    for example, at in slots:
        length = len(one_hot_LV)
        hot_TV = torch.nn.functional.one_hot(torch.tensor(example.input_ids), VOCABULARY).double()
        hot_TV = torch.cat([hot_TV[:at], one_hot_LV, hot_TV[at:]])
        logps_TV = model(inputs_embeds=(hot_TV @ input_embedding(model).weight)[None]).logits[0].log_softmax(-1)
        terms_T = [-(hot_TV[place] * logps_TV[place - 1]).sum() for place in range(1, len(hot_TV))]
        scored = [
            place + (length if place >= at else 0)
            for place, label in enumerate(example.labels)
            if place and label != IGNORE
        ]
        inside = [place for place in range(at, at + length) if place]
        own = sum(terms_T[place - 1] for place in inside) / length
        losses.append(sum(terms_T[place - 1] for place in scored) / len(scored) + fluency * own)
    return sum(losses) / len(losses)


def hot(ids_L):
    return torch.nn.functional.one_hot(ids_L, VOCABULARY).double()


@pytest.mark.parametrize("fluency", [0.0, 0.3])
def test_gradient_is_the_slope_of_the_loss(model, slots, fluency):
    problem = pose(model, slots, len(IDS_L), 0, fluency)
    found_LV = one_hot_gradient(problem, IDS_L)
    assert found_LV.shape == (len(IDS_L), VOCABULARY)
    with torch.no_grad():
        for place, token in [(0, 5), (0, 11), (1, 40), (2, 0), (2, 60)]:
            nudge_LV = torch.zeros(len(IDS_L), VOCABULARY, dtype=torch.float64)
            nudge_LV[place, token] = STEP
            up, down = (slow_loss(model, slots, hot(IDS_L) + sign * nudge_LV, fluency) for sign in (1, -1))
            assert float(found_LV[place, token]) == pytest.approx(float(up - down) / (2 * STEP), abs=CLOSE)


@pytest.mark.parametrize("fluency", [0.0, 0.3])
@pytest.mark.parametrize("max_tokens", [1, 100, 100_000])
def test_candidates_are_judged_as_one_at_a_time(model, slots, fluency, max_tokens):
    tried_CL = torch.randint(3, VOCABULARY, (7, 3), generator=torch.Generator().manual_seed(0))
    found_C = candidate_losses(pose(model, slots, 3, 0, fluency), tried_CL, max_tokens)
    with torch.no_grad():
        wanted = [float(slow_loss(model, slots, hot(ids_L), fluency)) for ids_L in tried_CL]
    # the weights of tokens are float32
    assert found_C.tolist() == pytest.approx(wanted, rel=1e-6)


def test_passes_hold_as_many_candidates_as_fit(model, slots, monkeypatch):
    sizes, read = [], one_hot.read

    def watching(asked, batch):
        sizes.append(batch.input_ids_BT.numel())
        return read(asked, batch)

    monkeypatch.setattr(one_hot, "read", watching)
    problem = pose(model, slots, 3, 0)
    one = problem.batch.input_ids_BT.numel()
    candidate_losses(problem, IDS_L.repeat(5, 1), 2 * one)
    assert sizes == [2 * one, 2 * one, one]


def test_room_is_as_good_as_the_tokens(model, slots):
    """Posed with other tokens in the room, a candidate is judged alike, also if it is the padding."""
    tried_CL = torch.tensor([[0, 0, 0], [7, 0, 2]])
    one, other = (candidate_losses(pose(model, slots, 3, pad, 0.2), tried_CL, 1000) for pad in (0, 9))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_the_problem_is_not_changed_by_a_candidate(model, slots):
    problem = pose(model, slots, 3, 0)
    before = problem.batch.input_ids_BT.clone()
    candidate_losses(problem, IDS_L[None], 1000)
    one_hot_gradient(problem, IDS_L)
    assert torch.equal(problem.batch.input_ids_BT, before)
    assert before[0, 1:4].tolist() == [0, 0, 0]
    assert inserted(slots[0], [0, 0, 0]).example.input_ids == tuple(
        before[0, : len(slots[0].example.input_ids) + 3].tolist()
    )


def test_best_swaps_are_the_lowest_slopes_among_the_allowed():
    gradient_LV = torch.tensor([[0.0, -9.0, 3.0, -1.0], [5.0, 0.0, -2.0, 1.0]])
    assert best_swaps(gradient_LV, torch.tensor([0, 2, 3]), 2).tolist() == [[3, 0], [2, 3]]
    assert best_swaps(gradient_LV, torch.tensor([2, 3]), 256).tolist() == [[3, 2], [2, 3]]
