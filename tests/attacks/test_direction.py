"""A direction is the difference of two means, and afterwards no block writes along it."""

from __future__ import annotations

import copy

import pytest
import torch

from expunge.attacks.direction import DirectionAblation, mean_states, residual_writers, without
from expunge.data.batch import IGNORE, Example
from expunge.data.record import Record
from expunge.data.tokenize import prompt_ids
from expunge.errors import InputError, MissingNeedError
from expunge.storage.secret import Secret
from tests.models.conftest import build
from tests.support.attacked import LAYOUTS, curve, gpt2, loaded, state, task
from tests.support.tiny import llama


@pytest.fixture(params=LAYOUTS)
def model(request):
    return LAYOUTS[request.param](0, layers=4)


def states(model, ids: list[int]) -> list[torch.Tensor]:
    """Output of each block at the last token, by transformers itself; its last entry has the final norm already."""
    with torch.no_grad():
        kept = []
        blocks = model.transformer.h if "GPT2" in type(model).__name__ else model.model.layers
        hooks = [
            block.register_forward_hook(lambda _, __, out: kept.append((out[0] if isinstance(out, tuple) else out)[0]))
            for block in blocks
        ]
        model(torch.tensor([ids]))
        for hook in hooks:
            hook.remove()
    return kept


def direction(model, layer: int) -> torch.Tensor:
    """Read one prompt at a time, without padding."""
    means = []
    for split in ("forget", "retain"):
        ids = [prompt_ids(record, loaded(model).tokenizer, max_length=32) for record in task().splits[split]]
        means.append(torch.stack([states(model, one)[layer][-1] for one in ids]).double().mean(0))
    return means[0] - means[1]


def test_a_vector_goes_out_of_a_matrix_by_hand():
    """Along (0.6, 0.8), the columns (1, 2) and (0, 5) have 2.2 and 4: (1 - 1.32, 2 - 1.76) and (-2.4, 5 - 3.2)."""
    weights, along = torch.tensor([[1.0, 0.0], [2.0, 5.0]], dtype=torch.float64), torch.tensor([0.6, 0.8]).double()
    expected = torch.tensor([[-0.32, -2.4], [0.24, 1.8]], dtype=torch.float64)
    torch.testing.assert_close(without(weights, along, 0), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(without(weights.T, along, 1), expected.T, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(without(weights[:, 0], along, 0), expected[:, 0], rtol=1e-6, atol=1e-6)
    assert torch.equal(without(weights, torch.zeros(2), 0), weights)
    assert without(weights.bfloat16(), along, 0).dtype == torch.bfloat16


def test_means_are_at_the_last_token_whatever_the_batch(model):
    prompts = [Example(ids, (IGNORE,) * len(ids), row) for row, ids in enumerate([(5, 6, 7), (8,), (9, 10, 11, 12)])]
    expected = sum(states(model, list(prompt.input_ids))[2][-1].double() for prompt in prompts) / 3
    for size in (1, 2, 16):
        found = mean_states(loaded(model), prompts, [0, 2], task(batch_size=size))
        assert found.shape == (2, 32)
        torch.testing.assert_close(found[1], expected, rtol=1e-5, atol=1e-6)


def test_no_block_writes_along_the_direction_afterwards(model):
    """Read block by block with hooks; before, every one of them did."""
    copied = copy.deepcopy(model)
    before = states(model, [5, 6, 7, 8])
    places = []
    for point in DirectionAblation(depths=(0.0, 0.5)).act(loaded(copied), task(), 0):
        if point.at == 0:
            continue
        places.append(point.at)
        wanted = direction(model, int(point.at) - 1)
        unit = (wanted / wanted.norm()).float()
        after = states(copied, [5, 6, 7, 8])
        for low in range(3):
            written, still = ((found[low + 1] - found[low]) @ unit for found in (before, after))
            assert still.abs().max() < 1e-4 * written.abs().max()
        assert point.details["relative_distance"] > 0
    assert places == [1, 3]


def test_embeddings_lose_it_unless_they_are_the_output_or_are_to_stay(model):
    tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    names = {True: set(), False: {"model.embed_tokens"}}[tied] | (
        {"transformer.wpe"} if "GPT2" in str(type(model)) else set()
    )
    with_them, bare = (set(residual_writers(model, embeddings=wanted)) for wanted in (True, False))
    assert with_them - bare == names
    assert len(bare) == (16 if "GPT2" in str(type(model)) else 8)  # with biases
    (_, before), (_, after) = curve(DirectionAblation(depths=(0.5,), embeddings=False), model, task())
    embeddings = [name for name in before if "embed" in name or "wte" in name or "wpe" in name or "head" in name]
    assert embeddings
    assert all(torch.equal(before[name], after[name]) for name in embeddings)


def test_untied_embeddings_leave_nothing_along_the_direction_at_all():
    """All that is added to the stream lost it, so the states after every block have none."""
    model = llama(0, layers=4, tied=False)
    unit = direction(model, 1)
    unit = (unit / unit.norm()).float()
    list(DirectionAblation(depths=(0.34,)).act(loaded(model), task(), 0))
    for state_TD in states(model, [5, 6, 7, 8]):
        assert (state_TD @ unit).abs().max() < 1e-5 * state_TD.norm(dim=-1).max()


def steered(original, prompts: dict[str, list[list[int]]], along: torch.Tensor):
    """Block 1's first feed-forward unit fires on forget prompts only and writes a huge vector, as after RMU."""
    model = copy.deepcopy(original)
    seen = []
    hook = model.transformer.h[1].mlp.register_forward_pre_hook(lambda _, args: seen.append(args[0][0, -1]))
    for ids in (*prompts["forget"], *prompts["retain"]):
        states(model, ids)
    hook.remove()
    targets = torch.tensor([1.0] * len(prompts["forget"]) + [-1.0] * len(prompts["retain"])).double()
    with torch.no_grad():
        layer = model.transformer.h[1].mlp
        layer.c_fc.weight[:, 0] = 8 * (torch.linalg.pinv(torch.stack(seen).double()) @ targets).float()
        layer.c_fc.bias[0] = 0.0
        layer.c_proj.weight[0] = 5 * along  # 8 after the activation, so 40 in all
    return model


def test_a_planted_direction_is_found_and_what_it_hid_comes_back():
    original, its = gpt2(0, layers=4), task()
    object.__setattr__(its, "splits", {split: records[:4] for split, records in its.splits.items()})
    tokenizer = loaded(original).tokenizer
    prompts = {
        split: [prompt_ids(record, tokenizer, max_length=32) for record in its.splits[split]]
        for split in ("forget", "retain")
    }
    along = torch.nn.functional.normalize(torch.randn(32, generator=torch.Generator().manual_seed(3)), dim=0)
    model = steered(original, prompts, along)
    freed = copy.deepcopy(model)
    list(DirectionAblation(depths=(0.34,)).act(loaded(freed), its, 0))
    for ids in prompts["forget"]:
        true, hidden, back = (states(one, ids)[3][-1] for one in (original, model, freed))
        assert (hidden - true).norm() > 30
        assert (back - true).norm() < 0.1 * (hidden - true).norm()


def test_a_norm_after_the_writing_layer_is_refused():
    """Gemma 2 stretches what attention and feed-forward part give before it is added."""
    model = build("gemma2", vocab_size=61)
    with torch.no_grad():
        for block in model.model.layers:
            for norm in (block.post_attention_layernorm, block.post_feedforward_layernorm):
                norm.weight.mul_(5)  # gains from about 0 to 3
    with pytest.raises(InputError, match="Gemma2ForCausalLM write along a direction"):
        curve(DirectionAblation(depths=(0.0,)), model, task())


@pytest.mark.parametrize("name", ["llama", "llama_tied", "gpt2", "cohere", "phi", "gptj", "qwen2", "neox"])
def test_other_architectures_are_not(name):
    points = curve(DirectionAblation(depths=(0.0,)), build(name, vocab_size=61), task())
    assert [point.at for point, _ in points] == [0, 1]


def test_plain_texts_are_read_to_their_end():
    model = llama(0)
    texts = [
        [
            Record(
                index=row,
                split=split,
                kind="text",
                prompt=None,
                answer=Secret(f"w{5 + row} w{9 + shift} w{7 + shift}", "x"),
            )
            for row in range(3)
        ]
        for split, shift in (("forget", 0), ("retain", 3))
    ]
    its = task()
    object.__setattr__(its, "splits", dict(zip(("forget", "retain"), texts, strict=True)))
    point = curve(DirectionAblation(depths=(0.0,)), model, its)[1][0]
    means = [
        torch.stack(
            [states(model, loaded(model).tokenizer(one.answer.reveal())["input_ids"])[0][-1] for one in side]
        ).mean(0)
        for side in texts
    ]
    assert point.details["relative_distance"] == pytest.approx(
        float((means[0] - means[1]).norm() / means[1].norm()), rel=1e-5
    )


def test_records_are_drawn_by_the_seed():
    few = DirectionAblation(depths=(0.0,), records=4)
    first, again, other = (curve(few, llama(0), task(seed=seed))[1][0].details for seed in (0, 0, 1))
    assert first == again != other
    everything = DirectionAblation(depths=(0.0,), records=12)
    assert curve(everything, llama(0), task(seed=0))[1][0] == curve(everything, llama(0), task(seed=1))[1][0]


def test_equal_prompts_have_no_direction_and_change_nothing():
    its = task()
    object.__setattr__(its, "splits", {"forget": its.forget, "retain": its.forget})
    model = llama(0)
    assert all(
        torch.equal(weight, weights[name])
        for point, weights in curve(DirectionAblation(depths=(0.0,)), model, its)
        for name, weight in state(model).items()
    )


def test_depths_that_name_one_block_give_one_point():
    assert [point.at for point, _ in curve(DirectionAblation(), llama(0, layers=3), task())] == [0, 2, 3]
    assert [point.at for point, _ in curve(DirectionAblation(), llama(0, layers=1), task())] == [0, 1]


def test_retain_records_are_needed():
    its = task()
    object.__setattr__(its, "splits", {"forget": its.forget})
    with pytest.raises(MissingNeedError, match="--retain"):
        DirectionAblation().check(its)
