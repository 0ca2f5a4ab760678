"""Shift, mask and selection against a loop, torch's and transformers' own losses. Shapes as in the code under test."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, pad
from transformers import LlamaConfig, LlamaForCausalLM

from expunge.functional.logprobs import (
    IGNORE,
    moments,
    packed_logps,
    predicting_mask,
    ranks,
    scored_positions,
    token_logps,
    unpack,
)

EXACT = {"rtol": 0, "atol": 1e-12}  # float64
SINGLE = {"rtol": 1e-5, "atol": 1e-5}  # float32, another order of additions
VOCABULARY = 11


def example(batch=3, length=7, seed=0, dtype=torch.float64):
    """Logits and labels, with masked labels at the start, in the middle and at the end."""
    source = torch.Generator().manual_seed(seed)
    logits_BTV = 3 * torch.randn(batch, length, VOCABULARY, generator=source, dtype=dtype)
    labels_BT = torch.randint(VOCABULARY, (batch, length), generator=source)
    labels_BT[torch.rand(batch, length, generator=source) < 0.3] = IGNORE
    return logits_BTV, labels_BT


def by_loop(logits_BTV, labels_BT):
    """The definition: the token at t is scored by the logits at t - 1."""
    logps_BT = torch.zeros(labels_BT.shape, dtype=logits_BTV.dtype)
    for row, labels in enumerate(labels_BT.tolist()):
        for column in range(1, len(labels)):
            if labels[column] != -100:
                exponentials = logits_BTV[row, column - 1].exp()
                logps_BT[row, column] = (exponentials[labels[column]] / exponentials.sum()).log()
    return logps_BT


def by_log_softmax(logits_BTV, labels_BT):
    """The slow code that ``token_logps`` equals: all rows, all of the vocabulary."""
    logps_BTV = logits_BTV[:, :-1].log_softmax(-1)
    targets_BT = labels_BT[:, 1:]
    picked_BT = logps_BTV.gather(-1, targets_BT.clamp(min=0)[..., None]).squeeze(-1)
    return pad(picked_BT * targets_BT.ne(-100), (1, 0))


labels_strategy = st.integers(1, 4).flatmap(
    lambda length: st.lists(
        st.lists(st.sampled_from([-100, 0, 1, VOCABULARY - 1]), min_size=length, max_size=length),
        min_size=1,
        max_size=4,
    )
)


@given(labels_strategy, st.integers(0, 1000))
def test_equals_a_loop(labels, seed):
    labels_BT = torch.tensor(labels)
    logits_BTV, _ = example(*labels_BT.shape, seed=seed)
    logps_BT, mask_BT = token_logps(logits_BTV, labels_BT)
    torch.testing.assert_close(logps_BT, by_loop(logits_BTV, labels_BT), **EXACT)
    assert mask_BT.tolist() == [[place > 0 and label != -100 for place, label in enumerate(row)] for row in labels]


def test_values_and_gradients_equal_log_softmax_and_gather():
    logits_BTV, labels_BT = example()
    weights_BT = torch.randn(labels_BT.shape, dtype=torch.float64)
    found, expected = (
        torch.autograd.grad((score(leaf, labels_BT) * weights_BT).sum(), leaf)[0]
        for score, leaf in (
            (lambda logits, labels: token_logps(logits, labels).logps_BT, logits_BTV.clone().requires_grad_()),
            (by_log_softmax, logits_BTV.clone().requires_grad_()),
        )
    )
    torch.testing.assert_close(token_logps(logits_BTV, labels_BT).logps_BT, by_log_softmax(logits_BTV, labels_BT))
    torch.testing.assert_close(found, expected, **EXACT)
    assert found[:, -1].abs().max() == 0  # the last logits predict nothing
    assert found.abs().max() > 0.1


def test_sum_is_torchs_cross_entropy():
    logits_BTV, labels_BT = example()
    logps_BT, mask_BT = token_logps(logits_BTV, labels_BT)
    expected = cross_entropy(logits_BTV[:, :-1].reshape(-1, VOCABULARY), labels_BT[:, 1:].reshape(-1))
    torch.testing.assert_close(-logps_BT.sum() / mask_BT.sum(), expected, **EXACT)


def test_mean_is_transformers_loss_of_a_llama():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        initializer_range=0.5,
    )
    model = LlamaForCausalLM(config).eval()
    _, labels_BT = example(4, 9)
    input_ids_BT = torch.randint(VOCABULARY, labels_BT.shape)
    labels_BT = torch.where(labels_BT.eq(IGNORE), IGNORE, input_ids_BT)
    with torch.no_grad():
        output = model(input_ids=input_ids_BT, labels=labels_BT)
    logps_BT, mask_BT = token_logps(output.logits, labels_BT)
    torch.testing.assert_close(-logps_BT.sum() / mask_BT.sum(), output.loss, **SINGLE)


def test_logits_score_the_next_column_only():
    logits_BTV, labels_BT = example()
    labels_BT = labels_BT.clamp(min=0)
    before_BT = token_logps(logits_BTV, labels_BT).logps_BT
    for column in range(labels_BT.shape[1]):
        changed_BTV = logits_BTV.clone()
        changed_BTV[:, column, 0] += 5
        moved = (token_logps(changed_BTV, labels_BT).logps_BT != before_BT).any(0).nonzero().flatten().tolist()
        assert moved == ([column + 1] if column + 1 < labels_BT.shape[1] else [])


def test_first_column_and_masked_labels_are_zero_and_unscored():
    logits_BTV, labels_BT = example()
    labels_BT[:, 0] = 3
    logps_BT, mask_BT = token_logps(logits_BTV, labels_BT)
    assert not mask_BT[:, 0].any()
    assert (logps_BT[~mask_BT] == 0).all()
    assert (logps_BT[mask_BT] < 0).all()


def test_nothing_scored_gives_zeros_with_a_gradient_of_zero():
    logits_BTV = example()[0].requires_grad_()
    logps_BT, mask_BT = token_logps(logits_BTV, torch.full((3, 7), IGNORE))
    logps_BT.sum().backward()
    assert not mask_BT.any()
    assert logps_BT.abs().max() == 0
    assert logits_BTV.grad.abs().max() == 0


def test_labels_are_left_alone():
    logits_BTV, labels_BT = example()
    labels_BT[:, 0] = 3
    kept_BT = labels_BT.clone()
    token_logps(logits_BTV, labels_BT)
    assert labels_BT.equal(kept_BT)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_at_least_float32_whatever_the_logits(dtype):
    logits_BTV, labels_BT = example()
    logits_BTV = logits_BTV.to(dtype)
    logps_BT = token_logps(logits_BTV, labels_BT).logps_BT
    assert logps_BT.dtype == torch.float32
    torch.testing.assert_close(logps_BT.double(), by_loop(logits_BTV.double(), labels_BT), **SINGLE)


def test_float64_stays():
    assert token_logps(*example()).logps_BT.dtype == torch.float64


def test_padding_changes_nothing():
    logits_BTV, labels_BT = example()
    wide = token_logps(pad(logits_BTV, (0, 0, 0, 5), value=9.0), pad(labels_BT, (0, 5), value=IGNORE))
    narrow = token_logps(logits_BTV, labels_BT)
    assert wide.logps_BT[:, :7].equal(narrow.logps_BT)
    assert wide.logps_BT[:, 7:].abs().max() == 0
    assert wide.mask_BT[:, :7].equal(narrow.mask_BT)
    assert not wide.mask_BT[:, 7:].any()


def test_a_row_does_not_depend_on_its_batch():
    logits_BTV, labels_BT = example()
    together_BT = token_logps(logits_BTV, labels_BT).logps_BT
    alone_BT = torch.cat([token_logps(logits_BTV[[row]], labels_BT[[row]]).logps_BT for row in range(3)])
    torch.testing.assert_close(alone_BT, together_BT, **EXACT)


@pytest.mark.parametrize("offset", [-500.0, 500.0])
def test_large_logits_do_not_overflow(offset):
    logits_BTV, labels_BT = example(dtype=torch.float32)
    torch.testing.assert_close(
        token_logps(logits_BTV + offset, labels_BT).logps_BT,
        token_logps(logits_BTV, labels_BT).logps_BT,
        rtol=0,
        atol=2e-4,  # float32 knows 500 to 3e-5
    )


def test_an_impossible_token_has_minus_infinity():
    logits_BTV = torch.zeros(1, 2, VOCABULARY)
    logits_BTV[..., 4] = -math.inf
    assert token_logps(logits_BTV, torch.tensor([[1, 4]])).logps_BT[0, 1] == -math.inf
    assert token_logps(logits_BTV, torch.tensor([[1, 5]])).logps_BT[0, 1] == pytest.approx(-math.log(10))


@given(labels_strategy)
def test_predicting_mask_is_the_scored_mask_moved_left(labels):
    labels_BT = torch.tensor(labels)
    scored = {(row, column) for row, column in scored_positions(labels_BT).nonzero().tolist()}
    predicting = {(row, column + 1) for row, column in predicting_mask(labels_BT).nonzero().tolist()}
    assert (
        scored == predicting == {(b, t) for b, row in enumerate(labels) for t in range(1, len(row)) if row[t] != -100}
    )


def test_packed_rows_line_up():
    logits_BTV, labels_BT = example()
    mask_BT = scored_positions(labels_BT)
    logps_N = packed_logps(logits_BTV[predicting_mask(labels_BT)], labels_BT[mask_BT])
    torch.testing.assert_close(logps_N, by_loop(logits_BTV, labels_BT)[mask_BT], **EXACT)


def test_unpack_puts_values_back_and_fills():
    mask_BT = torch.tensor([[False, True, False], [True, False, True]])
    assert unpack(torch.tensor([1.0, 2.0, 3.0]), mask_BT).tolist() == [[0, 1, 0], [2, 0, 3]]
    assert unpack(torch.tensor([1.0, 2.0, 3.0]), mask_BT, fill=-1.0).tolist() == [[-1, 1, -1], [2, -1, 3]]
    assert unpack(torch.zeros(0), torch.zeros(2, 3, dtype=torch.bool), fill=7.0).tolist() == [[7] * 3] * 2


def test_unpack_is_differentiable():
    mask_BT = torch.tensor([[False, True, False], [True, False, True]])
    values_N = torch.randn(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda values: unpack(values, mask_BT, fill=2.0), values_N)


def test_moments_by_hand():
    """With p = 1/2, 1/4, 1/4: E log p = -1.5 ln 2 and E log^2 p = 2.5 ln^2 2, so the variance is 0.25 ln^2 2."""
    logits_NV = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64).log() + 7
    mean_N, std_N = moments(logits_NV)
    assert mean_N.item() == pytest.approx(-1.5 * math.log(2), abs=1e-12)
    assert std_N.item() == pytest.approx(0.5 * math.log(2), abs=1e-12)


def test_moments_equal_the_textbook_formula():
    logits_NV = example()[0].flatten(0, 1)
    probabilities_NV = logits_NV.softmax(-1)
    mean_N = (probabilities_NV * probabilities_NV.log()).sum(-1)
    variance_N = (probabilities_NV * probabilities_NV.log().square()).sum(-1) - mean_N.square()
    torch.testing.assert_close(moments(logits_NV).mean_N, mean_N, **EXACT)
    torch.testing.assert_close(moments(logits_NV).std_N, variance_N.sqrt(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_moments_of_flat_and_of_certain_rows_have_no_spread(dtype):
    rows_NV = torch.zeros(2, VOCABULARY, dtype=dtype)
    rows_NV[1, 0] = 60_000
    mean_N, std_N = moments(rows_NV)
    assert mean_N.dtype == std_N.dtype == torch.float32
    torch.testing.assert_close(mean_N, torch.tensor([-math.log(VOCABULARY), 0.0]), **SINGLE)
    assert std_N.max() < 1e-5


def test_moments_leave_out_impossible_tokens():
    possible_NV = example()[0].flatten(0, 1)
    with_impossible_NV = pad(possible_NV, (1, 1), value=-math.inf)
    for found, expected in zip(moments(with_impossible_NV), moments(possible_NV), strict=True):
        torch.testing.assert_close(found, expected, **EXACT)


# Few distinct values, so that ties are common; NaN where a model is broken.
rows = st.lists(st.sampled_from([-math.inf, -1.0, 0.0, 2.0]), min_size=1, max_size=6)


@given(rows)
def test_ranks_follow_a_stable_sort(row):
    logits_NV = torch.tensor([row] * len(row))
    order = sorted(range(len(row)), key=lambda place: -row[place])  # Python's sort keeps ties in order
    found = ranks(logits_NV, torch.arange(len(row))).tolist()
    assert found == [order.index(label) for label in range(len(row))]
    assert found.index(0) == logits_NV[0].argmax()


def test_ranks_count_what_is_strictly_greater_and_smaller_ids_among_ties():
    logits_NV = torch.tensor([[1.0, 3.0, 2.0, 3.0, 2.0]] * 5, dtype=torch.bfloat16)
    assert ranks(logits_NV, torch.arange(5)).tolist() == [4, 0, 2, 1, 3]


def test_a_broken_model_is_never_right():
    logits_NV = torch.tensor([[math.nan, 1.0, 0.0], [1.0, math.nan, 0.0], [math.nan] * 3])
    assert (ranks(logits_NV, torch.tensor([1, 1, 0])) > 0).all()
