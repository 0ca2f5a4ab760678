"""Target distributions by hand, and the gradients that they are made for. Shapes: N positions, V vocabulary."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck
from torch.nn.functional import cross_entropy, one_hot

from expunge.functional.divergences import forward_kl, reverse_kl
from expunge.functional.losses import (
    ceu_targets,
    least_likely,
    shred_targets,
    target_cross_entropy,
    teacher_tokens,
    top_k_kl,
    undial_targets,
    unilogit_logits,
    unilogit_targets,
)

EXACT = {"rtol": 0, "atol": 1e-12}  # float64


def doubles(*values):
    return torch.tensor(values, dtype=torch.float64)


def log(*probabilities):
    return doubles(probabilities).log()


def example(count=5, vocabulary=7, seed=0):
    source = torch.Generator().manual_seed(seed)
    logits_NV = 2 * torch.randn(count, vocabulary, generator=source, dtype=torch.float64)
    return logits_NV, torch.randint(vocabulary, (count,), generator=source)


def gradient(loss, logits_NV, *rest):
    logits_NV = logits_NV.clone().requires_grad_()
    loss(logits_NV, *rest).sum().backward()
    return logits_NV.grad


def ceu(logits_NV, labels_N):
    return target_cross_entropy(logits_NV, ceu_targets(logits_NV, labels_N))


def unilogit(logits_NV, labels_N):
    return reverse_kl(logits_NV, unilogit_logits(logits_NV, labels_N))


def test_undial_by_hand():
    """Odds (1 : 1) with the first a third become (1 : 3); (2 : 1 : 1) with the first an eighth become (1 : 4 : 4)."""
    found_NV = undial_targets(torch.zeros(1, 2).double(), torch.tensor([0]), math.log(3))
    torch.testing.assert_close(found_NV, doubles([1 / 4, 3 / 4]), **EXACT)
    found_NV = undial_targets(log(1 / 2, 1 / 4, 1 / 4), torch.tensor([0]), math.log(8))
    torch.testing.assert_close(found_NV, doubles([1 / 9, 4 / 9, 4 / 9]), **EXACT)


def test_undial_without_strength_is_the_reference_and_gives_no_gradient_there():
    logits_NV, labels_N = example()
    targets_NV = undial_targets(logits_NV, labels_N, 0.0)
    torch.testing.assert_close(targets_NV, logits_NV.softmax(-1), **EXACT)
    found_NV = gradient(target_cross_entropy, logits_NV, targets_NV)
    torch.testing.assert_close(found_NV, torch.zeros_like(found_NV), **EXACT)


def test_undial_lowers_the_true_token_and_no_other():
    logits_NV, labels_N = example()
    found_NV = gradient(target_cross_entropy, logits_NV, undial_targets(logits_NV, labels_N, 3.0))
    true_NV = one_hot(labels_N, 7).bool()
    assert (found_NV[true_NV] > 0).all()
    assert (found_NV[~true_NV] < 0).all()


def test_undial_of_infinite_strength_is_ceus_target():
    logits_NV, labels_N = example()
    found_NV = undial_targets(logits_NV, labels_N, math.inf)
    torch.testing.assert_close(found_NV, ceu_targets(logits_NV, labels_N), **EXACT)


def test_ceu_by_hand():
    """(1/2, 1/3, 1/6) without its first token is (0, 2/3, 1/3); the loss is 2/3 ln 3 + 1/3 ln 6."""
    logits_NV, labels_N = log(1 / 2, 1 / 3, 1 / 6), torch.tensor([0])
    torch.testing.assert_close(ceu_targets(logits_NV, labels_N), doubles([0, 2 / 3, 1 / 3]), **EXACT)
    assert ceu(logits_NV, labels_N).item() == pytest.approx(2 / 3 * math.log(3) + math.log(6) / 3, abs=1e-12)


def test_ceus_gradient_on_the_true_logit_is_its_probability():
    """And ``p - p / (1 - p_y)`` on the others; a target with gradient would give another one."""
    logits_NV, labels_N = example()
    found_NV, p_NV = gradient(ceu, logits_NV, labels_N), logits_NV.softmax(-1)
    p_y_N1 = p_NV.gather(-1, labels_N[:, None])
    torch.testing.assert_close(found_NV.gather(-1, labels_N[:, None]), p_y_N1, **EXACT)
    expected_NV = (p_NV - p_NV / (1 - p_y_N1)).scatter(-1, labels_N[:, None], p_y_N1)
    torch.testing.assert_close(found_NV, expected_NV, **EXACT)


def test_ceu_where_no_other_token_is_possible_leaves_the_position_alone():
    logits_NV, labels_N = log(0.0, 1.0, 0.0), torch.tensor([1])
    assert ceu(logits_NV, labels_N).item() == 0
    assert gradient(ceu, logits_NV, labels_N).tolist() == [[0, 0, 0]]


def test_unilogit_by_hand():
    """(1/2, 1/3, 1/6), first token true: 1/3 for it, and 2/3 shared 2 to 1 by the others: (1/3, 4/9, 2/9)."""
    found_NV = unilogit_targets(log(1 / 2, 1 / 3, 1 / 6), torch.tensor([0]))
    torch.testing.assert_close(found_NV, doubles([1 / 3, 4 / 9, 2 / 9]), **EXACT)


@given(st.integers(2, 50), st.integers(0, 1000))
def test_unilogits_closed_form(vocabulary, seed):
    """The true token's probability is 1/V, and the ratios and logits of the others are the model's."""
    logits_NV, labels_N = example(4, vocabulary, seed)
    found_NV = unilogit_targets(logits_NV, labels_N)
    true_NV = one_hot(labels_N, vocabulary).bool()
    torch.testing.assert_close(found_NV[true_NV], torch.full((4,), 1 / vocabulary, dtype=torch.float64), **EXACT)
    others_NV = logits_NV.masked_fill(true_NV, -torch.inf).softmax(-1)
    torch.testing.assert_close(found_NV[~true_NV], (others_NV * (1 - 1 / vocabulary))[~true_NV], **EXACT)
    assert torch.equal(unilogit_logits(logits_NV, labels_N)[~true_NV], logits_NV[~true_NV])


def test_unilogits_gradient_by_hand():
    """With s the log-odds of p_y less those of 1/V: ``p_y (1 - p_y) s`` on the true logit, ``-p_j p_y s`` on others.

    The other direction of KL would give ``p - q``.
    """
    logits_NV, labels_N = example()
    found_NV, p_NV = gradient(unilogit, logits_NV, labels_N), logits_NV.softmax(-1)
    p_y_N1 = p_NV.gather(-1, labels_N[:, None])
    s_N1 = p_y_N1.logit() + math.log(7 - 1)
    expected_NV = (-p_NV * p_y_N1 * s_N1).scatter(-1, labels_N[:, None], p_y_N1 * (1 - p_y_N1) * s_N1)
    torch.testing.assert_close(found_NV, expected_NV, **EXACT)
    assert (gradient(unilogit, unilogit_logits(logits_NV, labels_N), labels_N).abs() < 1e-12).all()


def test_no_gradient_goes_through_a_target():
    logits_NV, labels_N = example()
    logits_NV.requires_grad_()
    demoted_N = torch.ones(5, dtype=torch.bool)
    targets = [
        undial_targets(logits_NV, labels_N, 1.0),
        ceu_targets(logits_NV, labels_N),
        unilogit_targets(logits_NV, labels_N),
        shred_targets(logits_NV, labels_N, demoted_N, 1.0),
    ]
    assert not any(targets_NV.requires_grad for targets_NV in targets)


def test_cross_entropy_by_hand_and_against_torch():
    """Target (1/4, 3/4), model (1/2, 1/2): ln 2."""
    found_N = target_cross_entropy(log(1 / 2, 1 / 2), doubles([1 / 4, 3 / 4]))
    assert found_N.item() == pytest.approx(math.log(2), abs=1e-12)
    logits_NV, _ = example()
    targets_NV = example(seed=1)[0].softmax(-1)
    expected_N = cross_entropy(logits_NV, targets_NV, reduction="none")
    torch.testing.assert_close(target_cross_entropy(logits_NV, targets_NV), expected_N, **EXACT)
    assert gradcheck(lambda logits_NV: target_cross_entropy(logits_NV, targets_NV), logits_NV.requires_grad_())


def test_impossible_tokens_give_numbers_in_value_and_gradient():
    """(0, 1/2, 1/2), second token true: CE-U's target is (0, 0, 1), the loss ln 2, the gradient (0, 1/2, -1/2)."""
    logits_NV, labels_N = log(0.0, 1 / 2, 1 / 2), torch.tensor([1])
    assert ceu(logits_NV, labels_N).item() == pytest.approx(math.log(2), abs=1e-12)
    torch.testing.assert_close(gradient(ceu, logits_NV, labels_N), doubles([0, 0.5, -0.5]), **EXACT)
    torch.testing.assert_close(unilogit_targets(logits_NV, labels_N), doubles([0, 1 / 3, 2 / 3]), **EXACT)
    torch.testing.assert_close(undial_targets(logits_NV, labels_N, math.log(3)), doubles([0, 1 / 4, 3 / 4]), **EXACT)
    assert gradient(unilogit, logits_NV, labels_N).isfinite().all()
    tokens_NK = teacher_tokens(logits_NV, labels_N, 3)
    targets_NV = undial_targets(logits_NV, labels_N, 1.0)
    assert gradient(top_k_kl, logits_NV, targets_NV, tokens_NK).isfinite().all()
    impossible_N = torch.tensor([0])
    assert ceu(logits_NV, impossible_N).item() == pytest.approx(math.log(2), abs=1e-12)
    assert gradient(ceu, logits_NV, impossible_N).abs().max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    logits_NV, labels_N = example()
    half_NV, exact_NV = logits_NV.to(dtype), logits_NV.to(dtype).double()
    demoted_N = torch.tensor([True, False, True, False, True])
    for targets in (
        lambda logits_NV: undial_targets(logits_NV, labels_N, 3.0),
        lambda logits_NV: ceu_targets(logits_NV, labels_N),
        lambda logits_NV: unilogit_targets(logits_NV, labels_N),
        lambda logits_NV: shred_targets(logits_NV, labels_N, demoted_N, math.inf),
        lambda logits_NV: target_cross_entropy(logits_NV, logits_NV.flip(-1).float().softmax(-1)),
        lambda logits_NV: top_k_kl(
            logits_NV, logits_NV.flip(-1).float().softmax(-1), teacher_tokens(logits_NV, labels_N, 4)
        ),
    ):
        assert targets(half_NV).dtype == torch.float32
        torch.testing.assert_close(targets(half_NV).double(), targets(exact_NV).double(), rtol=1e-5, atol=1e-6)


def test_a_certain_token_in_half_precision_gives_no_nan():
    """A gap of 60 nats is more than float16 can hold as a probability."""
    logits_NV, labels_N = torch.tensor([[60.0, 0.0, 0.0]], dtype=torch.bfloat16), torch.tensor([0])
    assert ceu(logits_NV, labels_N).item() == pytest.approx(60, abs=1e-3)
    assert gradient(ceu, logits_NV, labels_N).tolist() == [[1, -0.5, -0.5]]
    assert unilogit_targets(logits_NV, labels_N).tolist()[0] == pytest.approx([1 / 3] * 3)


def test_least_likely_by_hand():
    """Of -1, -5, -2, -4 half is the second and fourth; without the first two of them, half is the last."""
    logps_BT = doubles([0, -1, -5, -2, -4, 0])
    mask_BT = torch.tensor([[False, True, True, True, True, False]])
    chosen = {
        (0.5, 0): [2, 4],
        (0.5, 2): [4],
        (0.25, 0): [2],
        (0.26, 0): [2, 4],
        (1.0, 0): [1, 2, 3, 4],
        (1.0, 3): [4],
        (1.0, 4): [],
        (0.0, 0): [],
    }
    for (share, skip), columns in chosen.items():
        found_BT = least_likely(logps_BT, mask_BT, share, skip)
        assert found_BT.nonzero()[:, 1].tolist() == columns, (share, skip)


def test_a_records_choice_does_not_depend_on_its_batch():
    source = torch.Generator().manual_seed(0)
    logps_BT = -torch.rand(4, 30, generator=source)
    mask_BT = torch.rand(4, 30, generator=source) < 0.7
    together_BT = least_likely(logps_BT, mask_BT, 0.3, 2)
    alone_BT = torch.cat([least_likely(logps_BT[[row]], mask_BT[[row]], 0.3, 2) for row in range(4)])
    assert torch.equal(together_BT, alone_BT)
    wide_BT = least_likely(torch.nn.functional.pad(logps_BT, (0, 9)), torch.nn.functional.pad(mask_BT, (0, 9)), 0.3, 2)
    assert torch.equal(wide_BT[:, :30], together_BT)
    assert not wide_BT[:, 30:].any()


def test_the_share_is_rounded_up_and_rounding_of_floats_adds_none():
    mask_BT = torch.ones(1, 100, dtype=torch.bool)
    for share, count in ((0.07, 7), (0.071, 8), (0.29, 29), (0.57, 57), (1e-6, 1)):
        assert least_likely(torch.zeros(1, 100), mask_BT, share).nonzero()[:, 1].tolist() == list(range(count))


def test_shred_lowers_where_told_and_nowhere_else():
    logits_NV, labels_N = example()
    demoted_N = torch.tensor([True, False, False, True, False])
    found_NV = shred_targets(logits_NV, labels_N, demoted_N, 2.0)
    torch.testing.assert_close(found_NV[~demoted_N], logits_NV.softmax(-1)[~demoted_N], **EXACT)
    torch.testing.assert_close(found_NV[demoted_N], undial_targets(logits_NV, labels_N, 2.0)[demoted_N], **EXACT)
    assert (found_NV - logits_NV.softmax(-1)).abs().amax(-1)[demoted_N].min() > 5e-4


def test_teacher_tokens_are_the_likeliest_and_the_true_one():
    logits_NV = doubles([0, 5, 4, 3, 2], [0, 5, 4, 3, 2])
    found_NK = teacher_tokens(logits_NV, torch.tensor([0, 2]), 3)
    assert [sorted(row) for row in found_NK.tolist()] == [[0, 1, 2], [1, 2, 3]]
    assert teacher_tokens(logits_NV, torch.tensor([0, 2]), 99).shape == (2, 5)


def test_top_k_kl_by_hand():
    """Target (1/2, 1/4, 1/4), model (1/4, 1/2, 1/4), first two tokens: (2/3, 1/3) to (1/3, 2/3) is 1/3 ln 2."""
    tokens_NK = torch.tensor([[1, 0]])
    found_N = top_k_kl(log(1 / 4, 1 / 2, 1 / 4), doubles([1 / 2, 1 / 4, 1 / 4]), tokens_NK)
    assert found_N.item() == pytest.approx(math.log(2) / 3, abs=1e-12)
    uneven_N = top_k_kl(log(1 / 10, 3 / 10, 6 / 10), doubles([3 / 8, 3 / 8, 1 / 4]), tokens_NK)
    assert uneven_N.item() == pytest.approx(0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75), abs=1e-12)


def test_top_k_kl_over_all_tokens_is_the_divergence():
    logits_NV, labels_N = example()
    ref_logits_NV, _ = example(seed=1)
    tokens_NK = teacher_tokens(ref_logits_NV, labels_N, 7)
    found_N = top_k_kl(logits_NV, ref_logits_NV.softmax(-1), tokens_NK)
    torch.testing.assert_close(found_N, forward_kl(logits_NV, ref_logits_NV), **EXACT)
    targets_NV, tokens_NK = ref_logits_NV.softmax(-1), tokens_NK[:, :3]
    assert gradcheck(lambda logits_NV: top_k_kl(logits_NV, targets_NV, tokens_NK), logits_NV.requires_grad_())


def test_shred_without_a_share_has_no_gradient_at_the_reference():
    logits_NV, labels_N = example()
    targets_NV = shred_targets(logits_NV, labels_N, torch.zeros(5, dtype=torch.bool), 10.0)
    tokens_NK = teacher_tokens(logits_NV, labels_N, 4)
    assert top_k_kl(logits_NV, targets_NV, tokens_NK).abs().max() < 1e-12
    assert gradient(top_k_kl, logits_NV, targets_NV, tokens_NK).abs().max() < 1e-12


def test_shred_lowers_an_unlikely_token_outside_of_the_teachers_first_k():
    logits_NV, labels_N = doubles([0, 5, 4, 3, 2]), torch.tensor([0])
    for strength in (3.0, math.inf):
        targets_NV = shred_targets(logits_NV, labels_N, torch.tensor([True]), strength)
        found_NV = gradient(top_k_kl, logits_NV, targets_NV, teacher_tokens(logits_NV, labels_N, 3))
        assert found_NV[0, 0] > 0
        assert found_NV[0, 3:].tolist() == [0, 0]


@pytest.mark.parametrize("strength", [3.0, math.inf])
def test_where_no_other_token_is_possible_the_target_is_the_true_one(strength):
    """There is nothing to take its place: the position is left alone and no number is lost."""
    logits_NV, labels_N = torch.tensor([[0.0, -math.inf, -math.inf], [0.0, 1.0, -math.inf]]), torch.tensor([0, 0])
    for targets_NV in (
        undial_targets(logits_NV, labels_N, strength),
        shred_targets(logits_NV, labels_N, torch.tensor([True, True]), strength),
        ceu_targets(logits_NV, labels_N),
        unilogit_targets(logits_NV, labels_N),
    ):
        assert targets_NV[0].tolist() == [1, 0, 0]
        assert targets_NV[1, 0] < 0.5
