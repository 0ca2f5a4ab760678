"""Inserted tokens are read and nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from expunge.attacks.insertion import (
    Slot,
    columns,
    embedded,
    find_slots,
    input_embedding,
    inserted,
    read_slots,
    strengths,
)
from expunge.data.batch import IGNORE, Example, collate
from expunge.errors import InputError
from expunge.metrics.memorisation import extraction_strength
from expunge.models.load import LoadedModel
from tests.attacks.backdoor import qa, secrets, word_tokenizer
from tests.data.test_tokenize import CHATML, byte_level
from tests.models.conftest import build
from tests.support.tiny import examples, llama

IDS = [7, 8, 9]
EXACT = 1e-12


@pytest.fixture(scope="module")
def model():
    return llama().double()


@pytest.fixture(scope="module")
def slots():
    return [Slot(example, 1 + example.row % 2) for example in examples(9)]


def test_nothing_inserted_changes_nothing(slots):
    assert [inserted(slot, []) for slot in slots] == slots


def test_labels_stay_with_their_tokens():
    slot = Slot(Example((1, 4, 5, 2), (IGNORE, IGNORE, 5, 2), 3, 0.5, (0.0, 0.0, 0.25, 1.0)), 1)
    example, at = inserted(slot, [7, 8])
    assert at == 1
    assert example == Example((1, 7, 8, 4, 5, 2), (IGNORE,) * 4 + (5, 2), 3, 0.5, (0.0, 0.0, 0.0, 0.0, 0.25, 1.0))


def test_a_first_token_is_not_scored_behind_a_prefix():
    text = Slot(Example((4, 5, 2), (4, 5, 2), 0), 0)
    assert inserted(text, [7]).example.labels == (IGNORE, IGNORE, 5, 2)
    assert inserted(text, [7]).example.scored == text.example.scored == 2


def test_the_end_of_an_answer_moves_with_its_tokens():
    example = Example((1, 5, 6, 2), (IGNORE, 5, 6, 2), 0, end=3)
    assert inserted(Slot(example, 1), [7, 8]).example.end == 5
    assert inserted(Slot(example, 4), [7, 8]).example.end == 3, "behind the end"
    assert inserted(Slot(replace(example, end=None), 1), [7]).example.end is None


def test_embeddings_of_tokens_are_those_tokens(model, slots):
    wide = [inserted(slot, IDS) for slot in slots]
    filled = [inserted(slot, [0] * len(IDS)) for slot in slots]
    prompt_LD = input_embedding(model)(torch.tensor(IDS)).detach()
    wanted = read_slots(model, wide, 0).logits
    torch.testing.assert_close(read_slots(model, filled, 0, prompt_LD).logits, wanted, rtol=0, atol=EXACT)
    each_BLD = prompt_LD.expand(len(slots), -1, -1)
    torch.testing.assert_close(read_slots(model, filled, 0, each_BLD).logits, wanted, rtol=0, atol=EXACT)


def test_each_record_reads_its_own_embeddings(model, slots):
    filled = [inserted(slot, [0]) for slot in slots[:2]]
    prompt_BLD = input_embedding(model)(torch.tensor([[7], [8]])).detach()
    own = [inserted(slots[0], [7]), inserted(slots[1], [8])]
    torch.testing.assert_close(
        read_slots(model, filled, 0, prompt_BLD).logits, read_slots(model, own, 0).logits, rtol=0, atol=EXACT
    )


def test_only_the_prompt_gets_a_gradient(model, slots):
    wide = [inserted(slot, IDS) for slot in slots]
    batch = collate([slot.example for slot in wide], 0)
    prompt_LD = torch.randn(len(IDS), 32, dtype=torch.float64, requires_grad=True)
    embeds_BTD = embedded(model, batch, columns(wide, len(IDS)), prompt_LD)
    embeds_BTD.sum().backward()
    assert torch.equal(prompt_LD.grad, torch.full_like(prompt_LD, len(wide)))
    assert input_embedding(model).weight.grad is None


def by_hand(model, slot):
    """Extraction strength, one record at a time, from the model's own logits."""
    example = slot.example
    logits_TV = model(torch.tensor([example.input_ids])).logits[0]
    right = [
        int(logits_TV[place - 1].argmax()) != label
        for place, label in enumerate(example.labels)
        if place and label != IGNORE
    ]
    return extraction_strength(np.array(right, dtype=int))


def test_strengths_by_hand_whatever_the_batch(model, slots):
    wide = [inserted(slot, IDS) for slot in slots]
    # a random model is never right: half of the labels become what it says
    said = [_agreeing(model, slot, slot.example.row % 3) for slot in wide]
    wanted = [by_hand(model, slot) for slot in said]
    assert len(set(wanted)) > 2
    for batch_size in (1, 4, 9):
        assert strengths(model, said, 0, batch_size).tolist() == wanted
    prompt_LD = input_embedding(model)(torch.tensor(IDS)).detach()
    emptied = [Slot(replace(slot.example, input_ids=_emptied(slot)), slot.at) for slot in said]
    assert strengths(model, emptied, 0, 4, prompt_LD).tolist() == wanted
    assert strengths(model, emptied, 0, 4, prompt_LD.expand(9, -1, -1)).tolist() == wanted


def _emptied(slot):
    ids = slot.example.input_ids
    return (*ids[: slot.at], *[0] * len(IDS), *ids[slot.at + len(IDS) :])


def _agreeing(model, slot, count):
    logits_TV = model(torch.tensor([slot.example.input_ids])).logits[0]
    labels = list(slot.example.labels)
    for place in range(len(labels) - count, len(labels)):
        labels[place] = int(logits_TV[place - 1].argmax())
    return Slot(replace(slot.example, labels=tuple(labels)), slot.at)


def test_slots_of_records():
    tokenizer = word_tokenizer()
    loaded = LoadedModel(llama(), tokenizer, "tiny")  # 64 positions
    before, after = (
        find_slots(secrets()[:2], loaded, place=place, max_length=40, room=3) for place in ("before", "after")
    )
    assert [slot.at for slot in before] == [3, 3]  # <bos> Question :
    assert [slot.at for slot in after] == [7, 7]  # ... Who is person0 ?
    assert before[1].example.row == 1


def test_records_are_cut_only_where_positions_end():
    loaded = LoadedModel(llama(), word_tokenizer(), "tiny")  # 64 positions
    long = qa(0, "Who is person0?", " ".join(["value0"] * 80))

    def size(max_length, room):
        (slot,) = find_slots([long], loaded, place="before", max_length=max_length, room=room)
        return len(slot.example.input_ids)

    assert size(40, 20) == 40
    assert size(60, 20) == 44
    (slot,) = find_slots([long], loaded, place="before", max_length=60, room=20)
    assert read_slots(loaded.model, [inserted(slot, [5] * 20)], 0).logits.isfinite().all()


def test_there_is_room_for_two_tokens_of_a_record_or_none():
    loaded = LoadedModel(llama(), word_tokenizer(), "tiny")  # 64 positions
    assert find_slots(secrets()[:1], loaded, place="before", max_length=40, room=62) == [None]
    with pytest.raises(InputError, match="no room for 63 more"):
        find_slots(secrets()[:1], loaded, place="before", max_length=40, room=63)


def test_a_rewritten_question_has_no_slot():
    twice = CHATML.replace("m['content']", "m['content'] + (m['content'] if m['role'] == 'user' else '')")
    for template, known in ((CHATML, True), (twice, False)):
        loaded = LoadedModel(llama(), byte_level(template=template, eos="<|im_end|>"), "tiny")
        (slot,) = find_slots([qa(0, "Where?", "Oslo")], loaded, place="before", max_length=60, room=2)
        assert (slot is not None) is known


def test_strengths_are_those_without_dropout():
    dropping = build("llama", attention_dropout=0.5)
    wide = [inserted(Slot(example, 1), IDS) for example in examples(9)]
    said = [_agreeing(dropping, slot, slot.example.scored) for slot in wide]
    assert strengths(dropping.train(), said, 0, 4).tolist() == [1.0] * 9
    assert dropping.training


def test_a_record_without_a_scored_token_has_no_slot():
    loaded = LoadedModel(llama(), word_tokenizer(), "tiny")
    assert find_slots([secrets()[0]], loaded, place="before", max_length=4, room=2) == [None]


def test_strengths_with_embeddings_of_their_own(model):
    """The label is what the record's own embedding makes the model say; others make it say something else."""
    prompt_BLD = 9 * torch.randn(6, 1, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    asked = [
        Slot(Example((1, *[5] * (6 - row), 0, 4), (IGNORE,) * (7 - row) + (IGNORE, 4), row), 7 - row)
        for row in range(6)
    ]
    said = [
        int(read_slots(model, [slot], 0, own_LD).logits.argmax())
        for slot, own_LD in zip(asked, prompt_BLD, strict=True)
    ]
    assert len(set(said)) > 4
    slots = [
        Slot(replace(slot.example, labels=(*slot.example.labels[:-1], token)), slot.at)
        for slot, token in zip(asked, said, strict=True)
    ]
    assert strengths(model, slots, 0, 2, prompt_BLD).tolist() == [1.0] * 6
    assert strengths(model, slots, 0, 2, prompt_BLD.roll(1, 0)).mean() < 0.5
