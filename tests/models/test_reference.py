"""Frozen copy, adapter off and cached numbers: one interface, the same numbers, no gradient."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from expunge.data.batch import IGNORE, collate
from expunge.errors import InputError, StaleCacheError
from expunge.models.parameters import LoRA
from expunge.models.reading import read
from expunge.models.reference import AdapterOffReference, CachedReference, FrozenReference, freeze
from tests.models.conftest import build, make_examples

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
BOTH = frozenset({"token_logps", "logits"})
NAMES = ("token_logps", "sequence_logps", "mean_logps", "logits", "labels", "mask_BT")


def trained_adapter(name="llama", **settings):
    """An adapter that changes the model visibly, in training mode with dropout."""
    model = LoRA(rank=4, dropout=0.3, **settings).apply(build(name))
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    return model.train()


def references(name="llama"):
    batches = [collate(make_examples()[:2], 0), collate(make_examples()[2:], 0)]
    return {
        "frozen": FrozenReference(freeze(build(name))),
        "adapter_off": AdapterOffReference(trained_adapter(name)),
        "cached": CachedReference.compute(build(name), batches, BOTH),
    }


@pytest.mark.parametrize("kind", ["frozen", "adapter_off", "cached"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "phi"])
def test_every_kind_reads_what_the_original_says(kind, name, batch):
    """Whatever batch a row was computed in."""
    reading, expected = references(name)[kind].read(batch), read(build(name), batch)
    for attribute in NAMES:
        torch.testing.assert_close(getattr(reading, attribute), getattr(expected, attribute), **TOLERANCE)
        assert not getattr(reading, attribute).requires_grad


@pytest.mark.parametrize("kind", ["frozen", "adapter_off"])
def test_hidden_states(kind, batch):
    expected = read(build("llama"), batch, hidden_layers=(1,)).hidden(1)
    reading = references()[kind].read(batch, hidden_layers=(1,))
    torch.testing.assert_close(reading.hidden(1), expected, **TOLERANCE)
    assert not reading.hidden(1).requires_grad


def test_numbers_can_stand_in_a_loss(batch):
    """Not inference tensors: a product keeps the reference for its backward pass."""
    model = build("llama", seed=1)
    for reference in references().values():
        model.zero_grad()
        (read(model, batch).logits * reference.read(batch).logits).sum().backward()
        assert model.lm_head.weight.grad.abs().sum() > 0


def test_adapter_off_leaves_mode_gradients_and_adapter_as_they_were(batch):
    model = trained_adapter()
    model.base_model.model.model.norm.eval()  # one module frozen on purpose
    modes = [module.training for module in model.modules()]
    wants = [parameter.requires_grad for parameter in model.parameters()]
    _ = AdapterOffReference(model).read(batch).logits
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == wants
    model.eval()
    assert not torch.allclose(read(model, batch).logits, AdapterOffReference(model).read(batch).logits, atol=1e-3)
    read(model, batch).sequence_logps.sum().backward()
    assert any(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_adapter_off_needs_an_adapter():
    with pytest.raises(InputError, match="no adapter"):
        AdapterOffReference(build("llama"))


def test_freezing_copies(batch):
    model = build("llama").train()
    frozen = freeze(model)
    before = FrozenReference(frozen).read(batch).sequence_logps
    with torch.no_grad():
        model.lm_head.weight.add_(1.0)
        model.model.layers[0].mlp.up_proj.weight.zero_()
    assert model.training
    assert not frozen.training
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert torch.equal(FrozenReference(frozen).read(batch).sequence_logps, before)


def test_dropout_of_the_student_does_not_leak_into_cached_numbers(batch):
    model = build("gpt2").train()  # GPT-2 drops out by default
    cached = CachedReference.compute(model, [batch])
    assert model.training
    torch.testing.assert_close(
        cached.read(batch).token_logps, read(build("gpt2"), batch).token_logps, rtol=1e-6, atol=1e-6
    )


def test_cache_is_by_row_not_by_place(batch):
    cached = CachedReference.compute(build("llama"), [batch], BOTH)
    turned = collate(make_examples()[::-1], 0, length=20)
    expected = read(build("llama"), turned)
    torch.testing.assert_close(cached.read(turned).token_logps, expected.token_logps, **TOLERANCE)
    torch.testing.assert_close(cached.read(turned).logits, expected.logits, **TOLERANCE)


def test_logits_keep_the_dtype_and_own_their_memory(batch):
    cached = CachedReference.compute(build("llama", dtype=torch.bfloat16), [batch], frozenset({"logits"}))
    logits = cached.numbers[0].logits
    assert logits.dtype == torch.bfloat16
    assert logits.shape == (make_examples()[0].scored, 97)
    assert logits.untyped_storage().nbytes() == logits.numel() * 2
    # Only logits were kept; log-probabilities follow from them.
    expected = read(build("llama", dtype=torch.bfloat16), batch).token_logps
    torch.testing.assert_close(cached.read(batch).token_logps, expected)


def test_what_was_not_computed_is_refused(batch):
    cached = CachedReference.compute(build("llama"), [batch])
    with pytest.raises(InputError, match="computed with token_logps, not logits"):
        _ = cached.read(batch).logits
    with pytest.raises(InputError, match="no hidden states"):
        cached.read(batch, hidden_layers=(1,))
    with pytest.raises(InputError, match="no hidden states"):
        cached.read(batch).hidden(1)
    with pytest.raises(InputError, match="not nonsense"):
        CachedReference.compute(build("llama"), [batch], frozenset({"nonsense"}))


def test_other_rows_tokens_or_labels_are_refused(batch):
    cached = CachedReference.compute(build("llama"), [batch])
    with pytest.raises(StaleCacheError, match="Row 5 is not among the 5 rows"):
        cached.read(replace(batch, rows_B=batch.rows_B + 5))
    fewer_BT = batch.labels_BT.clone()
    fewer_BT[2, make_examples()[2].labels.index(make_examples()[2].labels[-1])] = IGNORE
    other_BT = batch.input_ids_BT.clone()
    other_BT[2, 0] += 3
    for changed in ({"labels_BT": fewer_BT}, {"input_ids_BT": other_BT}):
        with pytest.raises(StaleCacheError, match="Row 2 has other tokens"):
            cached.read(replace(batch, **changed))
    with pytest.raises(RuntimeError):
        cached.read(replace(batch, rows_B=batch.rows_B + 5))
