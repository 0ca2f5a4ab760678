"""Readings equal the model's own full logits and loss on every architecture, and leave nothing behind."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from expunge.data.batch import IGNORE, Example, collate
from expunge.errors import InputError
from expunge.functional.logprobs import token_logps
from expunge.models.modules import blocks, output_head
from expunge.models.parameters import LoRA
from expunge.models.reading import mean_hidden, read
from expunge.models.reference import AdapterOffReference, CachedReference, FrozenReference, freeze
from tests.models.conftest import build, make_examples

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}  # float32 products of other shapes


def full(model, batch, **more):
    return model(input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT, use_cache=False, **more)


def predicting_rows(batch):
    """Positions before a scored token, one by one, independent of the library."""
    return [
        (row, column - 1)
        for row in range(len(batch))
        for column in range(1, batch.labels_BT.shape[1])
        if batch.labels_BT[row, column] != IGNORE
    ]


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_logits_equal_the_models_own(any_model, batch):
    logits_BTV = full(any_model, batch).logits
    expected_NV = torch.stack([logits_BTV[row, column] for row, column in predicting_rows(batch)])
    torch.testing.assert_close(read(any_model, batch).logits, expected_NV, **TOLERANCE)


def test_log_probabilities_equal_functional_on_full_logits(any_model, batch):
    reading = read(any_model, batch)
    expected = token_logps(full(any_model, batch).logits, batch.labels_BT)
    torch.testing.assert_close(reading.token_logps, expected.logps_BT, **TOLERANCE)
    assert torch.equal(reading.mask_BT, expected.mask_BT)
    assert torch.equal(reading.labels, batch.labels_BT[expected.mask_BT])
    assert reading.token_logps[~reading.mask_BT].abs().sum() == 0


def test_mean_equals_the_loss_of_transformers(any_model, batch):
    reading = read(any_model, batch)
    loss = full(any_model, batch, labels=batch.labels_BT).loss
    torch.testing.assert_close(-reading.token_logps.sum() / reading.mask_BT.sum(), loss, **TOLERANCE)


def test_sequences_equal_one_record_at_a_time(any_model, batch):
    reading = read(any_model, batch)
    for row, example in enumerate(make_examples()):
        alone = collate([example], pad_id=5)
        loss = full(any_model, alone, labels=alone.labels_BT).loss
        torch.testing.assert_close(-reading.mean_logps[row], loss, **TOLERANCE)
        torch.testing.assert_close(-reading.sequence_logps[row] / example.scored, loss, **TOLERANCE)


def test_padding_changes_nothing(any_model, batch):
    wide = collate(make_examples(), pad_id=3, length=batch.input_ids_BT.shape[1] + 9)
    near, far = read(any_model, batch), read(any_model, wide)
    torch.testing.assert_close(near.logits, far.logits, **TOLERANCE)
    torch.testing.assert_close(near.sequence_logps, far.sequence_logps, **TOLERANCE)


def test_hidden_is_the_output_of_the_block(any_model, batch):
    states = full(any_model, batch, output_hidden_states=True).hidden_states
    reading = read(any_model, batch, hidden_layers=(0, 1))
    # hidden_states[i + 1] is the output of block i, but for the last one, which is normed already.
    torch.testing.assert_close(reading.hidden(0), states[1], **TOLERANCE)
    assert reading.hidden(1).shape == (*batch.input_ids_BT.shape, 32)
    assert not torch.allclose(reading.hidden(1), states[2])


def test_last_hidden_leads_to_the_logits(batch):
    model = build("llama")
    reading = read(model, batch, hidden_layers=(1,))
    logits_BTV = model.lm_head(model.model.norm(reading.hidden(1)))
    expected_NV = torch.stack([logits_BTV[row, column] for row, column in predicting_rows(batch)])
    torch.testing.assert_close(reading.logits, expected_NV, **TOLERANCE)


def test_hidden_carries_gradient_to_its_own_block_and_below_only(any_model, batch):
    states = full(any_model, batch, output_hidden_states=True).hidden_states[1]
    weight = next(p for p in blocks(any_model)[0].parameters() if p.ndim > 1)
    (expected,) = torch.autograd.grad(states.square().sum(), weight)
    read(any_model, batch, hidden_layers=(0,)).hidden(0).square().sum().backward()
    torch.testing.assert_close(weight.grad, expected, rtol=1e-4, atol=1e-4)
    assert all(parameter.grad is None for parameter in blocks(any_model)[1].parameters())


def test_head_sees_only_the_scored_positions(any_model, batch):
    seen = []
    handle = output_head(any_model).register_forward_hook(lambda _, args, output: seen.append(tuple(args[0].shape)))
    reading = read(any_model, batch)
    assert seen == []  # nothing runs before the first access
    assert len(reading.logits) == len(reading.labels) == len(predicting_rows(batch))
    _ = reading.token_logps, reading.sequence_logps, reading.mean_logps
    handle.remove()
    assert seen == [(1, len(predicting_rows(batch)), 32)]  # once


def test_gradient_equals_that_of_the_loss(any_model, batch):
    full(any_model, batch, labels=batch.labels_BT).loss.backward()
    expected = {name: parameter.grad.clone() for name, parameter in any_model.named_parameters()}
    any_model.zero_grad()
    reading = read(any_model, batch)
    (-reading.token_logps.sum() / reading.mask_BT.sum()).backward()
    for name, parameter in any_model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-6)


def test_hooks_are_gone_afterwards_and_after_an_exception(any_model, batch):
    before = hooks(any_model)
    _ = read(any_model, batch, hidden_layers=(0,), interventions={1: lambda hidden: hidden}).logits
    assert hooks(any_model) == before

    def fail(hidden):
        raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"):
        _ = read(any_model, batch, interventions={0: fail}).logits
    assert hooks(any_model) == before
    torch.testing.assert_close(full(any_model, batch).logits.shape[:2], batch.input_ids_BT.shape)


def test_interventions_act_on_the_block_output(any_model, batch):
    """Adding v to a block's output equals adding it by hand, on architectures that return tensors and tuples."""
    shift_D = torch.linspace(-1, 1, 32)
    reading = read(any_model, batch, hidden_layers=(0,), interventions={0: lambda hidden: hidden + shift_D})
    plain = read(any_model, batch, hidden_layers=(0,))
    torch.testing.assert_close(reading.hidden(0), plain.hidden(0) + shift_D, **TOLERANCE)

    def by_hand(_, args, output):
        return (output[0] + shift_D, *output[1:]) if isinstance(output, tuple) else output + shift_D

    handle = blocks(any_model)[0].register_forward_hook(by_hand)
    expected = token_logps(full(any_model, batch).logits, batch.labels_BT).logps_BT
    handle.remove()
    torch.testing.assert_close(reading.token_logps, expected, **TOLERANCE)
    assert not torch.allclose(reading.token_logps, plain.token_logps)


def test_intervention_carries_gradient(model, batch):
    shift_D = torch.zeros(32, requires_grad=True)
    read(model, batch, interventions={0: lambda hidden: hidden + shift_D}).sequence_logps.sum().backward()
    assert shift_D.grad.abs().sum() > 0


def test_embeddings_in_place_of_tokens(any_model, batch):
    embeds_BTD = any_model.get_input_embeddings()(batch.input_ids_BT).detach().requires_grad_()
    reading = read(any_model, batch, inputs_embeds=embeds_BTD)
    torch.testing.assert_close(reading.token_logps, read(any_model, batch).token_logps, **TOLERANCE)
    reading.sequence_logps.sum().backward()
    assert embeds_BTD.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["llama", "gptj"])
def test_gradient_checkpointing_changes_nothing(name, batch):
    """Recomputation in the backward pass must see the same interventions."""
    shift_D = torch.linspace(-1, 1, 32)
    grads = []
    for checkpointing in (False, True):
        model = build(name).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        reading = read(model, batch, hidden_layers=(0,), interventions={0: lambda hidden: hidden + shift_D})
        (reading.sequence_logps.sum() + reading.hidden(0).square().sum()).backward()
        grads.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad, rtol=1e-4, atol=1e-4)


def test_half_precision_is_scored_in_float32(batch):
    model = build("llama", dtype=torch.bfloat16)
    reading = read(model, batch)
    assert reading.logits.dtype == torch.bfloat16
    assert reading.token_logps.dtype == torch.float32
    expected = reading.logits.double().log_softmax(-1).gather(-1, reading.labels[:, None]).squeeze(-1)
    torch.testing.assert_close(reading.token_logps[reading.mask_BT].double(), expected, rtol=1e-5, atol=1e-5)


def test_nothing_scored(model, batch):
    silent = replace(batch, labels_BT=torch.full_like(batch.labels_BT, IGNORE))
    reading = read(model, silent)
    assert reading.logits.shape == (0, 97)
    assert reading.mean_logps.tolist() == [0.0] * len(batch)


def test_mode_is_left_alone(model, batch):
    model.train()
    _ = read(model, batch).logits
    assert model.training


def test_a_layer_must_be_declared_and_exist(model, batch):
    with pytest.raises(InputError, match="not asked for"):
        read(model, batch, hidden_layers=(0,)).hidden(1)
    with pytest.raises(InputError, match="no layer 2"):
        read(model, batch, hidden_layers=(2,))
    with pytest.raises(InputError, match="no layer 7"):
        _ = read(model, batch, interventions={7: lambda hidden: hidden}).logits
    with pytest.raises(InputError, match="keep the shape"):
        _ = read(model, batch, interventions={0: lambda hidden: hidden[0]}).logits


def test_a_model_that_uses_its_head_otherwise_is_refused_by_name(batch):
    class Twice(type(build("llama"))):
        def forward(self, **inputs):
            output = super().forward(**inputs)
            self.lm_head(torch.zeros(*batch.input_ids_BT.shape, 32))
            return output

    model = build("llama")
    model.__class__ = Twice
    with pytest.raises(InputError, match="Twice does not call its output layer exactly once"):
        _ = read(model, batch).logits

    class Flat(type(build("llama"))):
        def forward(self, **inputs):
            return self.lm_head(torch.zeros(batch.input_ids_BT.numel(), 32))

    model.__class__ = Flat
    with pytest.raises(InputError, match="Flat does not hand its output layer all positions"):
        _ = read(model, batch).logits
    assert hooks(model) == 0


def three_blocks(name="llama", **changes):
    """Three blocks; the numbers of GPT-2-like configurations have other names."""
    return build(name, **{"n_layer" if name in ("gpt2", "gptj") else "num_hidden_layers": 3}, **changes)


def counted(model):
    """Calls of each block, counted by hooks of the test; the handles are the caller's to remove."""
    calls = [0] * len(blocks(model))

    def count(layer):
        def hook(*_):
            calls[layer] += 1

        return hook

    handles = [block.register_forward_pre_hook(count(layer)) for layer, block in enumerate(blocks(model))]
    return calls, handles


@pytest.mark.parametrize("name", ["llama", "gpt2", "gptj", "neox"])
def test_blocks_above_the_last_one_needed_do_not_run(name, batch):
    model = three_blocks(name)
    calls, handles = counted(model)
    head = []
    handles.append(output_head(model).register_forward_pre_hook(lambda *_: head.append(1)))
    low = read(model, batch, hidden_layers=(0,), logits=False).hidden(0)
    assert (calls, head) == ([1, 0, 0], [])
    middle = read(model, batch, hidden_layers=(0, 1), logits=False)
    assert list(middle.hidden_states) == [0, 1]
    assert (calls, head) == ([2, 1, 0], [])
    whole = read(model, batch, hidden_layers=(0, 1))
    for layer in (0, 1):
        assert torch.equal(middle.hidden(layer), whole.hidden(layer))
    assert torch.equal(low, whole.hidden(0))
    assert (calls, head) == ([3, 2, 1], [1])
    for handle in handles:
        handle.remove()
    assert hooks(model) == 0


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_pass_that_ends_early_has_the_same_gradients(batch, checkpointing):
    grads = []
    for logits in (True, False):
        model = three_blocks().train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        read(model, batch, hidden_layers=(0, 1), logits=logits).hidden(1).square().sum().backward()
        grads.append({name: parameter.grad for name, parameter in model.named_parameters()})
    assert grads[0]["model.layers.0.mlp.up_proj.weight"].abs().sum() > 0
    for name, grad in grads[0].items():
        assert (grads[1][name] is None) == (grad is None), name
        assert grad is None or torch.equal(grads[1][name], grad), name


def test_a_pass_that_ends_early_has_no_logits_and_leaves_no_hooks(batch):
    model = three_blocks()
    reading = read(model, batch, hidden_layers=(1,), logits=False)
    assert reading.hidden(1).shape == (*batch.input_ids_BT.shape, 32)
    assert hooks(model) == 0
    for number in ("logits", "token_logps", "sequence_logps"):
        with pytest.raises(InputError, match="ends below the output layer"):
            getattr(reading, number)
    with pytest.raises(InputError, match="not asked for"):
        reading.hidden(2)
    torch.testing.assert_close(read(model, batch).logits, read(three_blocks(), batch).logits)


def test_interventions_below_act_and_those_above_do_not_run(batch):
    model = three_blocks()
    above = []
    interventions = {0: lambda hidden: hidden + 1.0, 2: lambda hidden: above.append(1) or hidden}
    early = read(model, batch, hidden_layers=(1,), interventions=interventions, logits=False).hidden(1)
    assert above == []
    assert torch.equal(early, read(model, batch, hidden_layers=(1,), interventions=interventions).hidden(1))
    assert not torch.allclose(early, read(model, batch, hidden_layers=(1,)).hidden(1))
    assert hooks(model) == 0


def test_the_reference_ends_early_too_and_an_adapter_wrapper_changes_nothing(batch):
    model = LoRA(rank=2).apply(three_blocks())
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data += 0.3
    calls, handles = counted(model)
    policy = read(model, batch, hidden_layers=(0,), logits=False).hidden(0)
    for reference in (AdapterOffReference(model), FrozenReference(freeze(three_blocks()))):
        states = reference.read(batch, hidden_layers=(0,), logits=False).hidden_states
        torch.testing.assert_close(states[0], read(three_blocks(), batch, hidden_layers=(0,)).hidden(0), **TOLERANCE)
        assert not torch.allclose(states[0], policy)
        assert not states[0].requires_grad
    assert calls == [2, 0, 0]
    for handle in handles:
        handle.remove()
    assert hooks(model) == 0


def test_mean_hidden_counts_prompts_record_by_record():
    """Prompts by hand; a record that is scored from its second token on counts in full."""
    model = three_blocks()
    records = [*make_examples(), Example((1, 8, 9), (IGNORE, 8, 9), 9)]
    counted_states = []
    for example in records:
        states = full(model, collate([example], pad_id=0), output_hidden_states=True).hidden_states[2][0]
        first = next(place for place, label in enumerate(example.labels) if place and label != IGNORE)
        prompt = range(1, first)
        counted_states += [states[place][None] for place in prompt] or [states]
    expected = torch.cat(counted_states).double().mean(0).float()
    calls, _ = counted(model)
    found = mean_hidden(model, records, "1", pad_id=0, batch_size=2)
    assert list(found) == [1]
    torch.testing.assert_close(found[1], expected, **TOLERANCE)
    assert calls == [3, 3, 0]


@pytest.mark.parametrize("kind", ["policy", "cached"])
def test_sums_and_means_go_by_the_weights_of_the_tokens(kind):
    """A token of weight 0 is out, whatever its log-probability; a record without any weight has the mean 0."""
    model, batch = build("llama"), collate(make_examples(3), 0)
    weights_BT = torch.rand(batch.labels_BT.shape, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    weights_BT[2] = 0
    weighted = batch.with_token_weights(weights_BT)
    with torch.no_grad():
        logps_BT = read(model, batch).token_logps
        assert torch.equal(read(model, batch).sequence_logps, logps_BT.sum(-1))
        found = read(model, weighted) if kind == "policy" else CachedReference.compute(model, [batch]).read(weighted)
        expected_B = (logps_BT * weighted.token_weights_BT).sum(-1)
        torch.testing.assert_close(found.sequence_logps, expected_B)
        torch.testing.assert_close(found.mean_logps[:2], expected_B[:2] / weighted.token_weights_BT[:2].sum(-1))
    assert found.mean_logps[2] == 0
    assert (expected_B[:2] - logps_BT[:2].sum(-1)).abs().min() > 0.1


def test_a_prompt_ends_before_the_first_scored_token():
    """The first token and what a template writes behind the answer are no prompt; without any other all counts."""
    rows = [
        Example((1, 5, 6, 7, 8), (IGNORE, IGNORE, 6, IGNORE, IGNORE), 0),
        Example((1, 5, 6), (1, 5, 6), 1),
        Example((1, 5, 6, 7), (IGNORE, 5, IGNORE, 7), 2),
    ]
    assert collate(rows, 0).prompts_BT.int().tolist() == [[0, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]]
