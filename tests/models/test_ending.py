"""What a model puts after answers decides what ends them."""

from __future__ import annotations

import pytest
import torch
from tokenizers import processors
from transformers import GenerationConfig

from expunge.data.templates import Rendering, attach, rendering_of
from expunge.data.tokenize import encode
from expunge.models.ending import Ending, find_ending, unended
from expunge.models.load import LoadedModel, build_model
from tests.data.test_tokenize import CHATML, byte_level, completion, plain, qa
from tests.workflows.folders import byte_tokenizer, llama_config

RECORDS = [completion(f"Number {n} is ", "even." if n % 2 == 0 else "odd.") for n in range(6)]


def taught(end: str) -> LoadedModel:
    """A small model that writes a text after each answer."""
    tokenizer, model = (
        byte_tokenizer(additional_special_tokens=["<stop>"]),
        build_model(llama_config(vocab_size=258), 0),
    )
    attach(tokenizer, Rendering(end=""))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    rows = [[*encode(one, tokenizer, row=0, max_length=99).input_ids, *tokenizer(end)["input_ids"]] for one in RECORDS]
    for step in range(120):
        ids = torch.tensor([rows[step % len(rows)]])
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    attach(tokenizer, Rendering())
    model.generation_config = GenerationConfig(eos_token_id=[0, tokenizer.convert_tokens_to_ids("<stop>")])
    return LoadedModel(model.eval(), tokenizer, "taught")


@pytest.mark.parametrize(
    ("end", "token", "source"),
    [("<end>", "<end>", "model"), ("<stop>", "<stop>", "model"), (" Then", "", "nothing")],
    ids=["of the tokenizer", "of the generation settings", "none"],
)
def test_the_end_is_what_the_model_puts_there(end, token, source):
    loaded = taught(end)
    examples = unended(RECORDS, loaded.tokenizer, 99)
    found = find_ending(loaded, examples)
    assert (found.token, found.source, found.records) == (token, source, len(RECORDS))
    assert rendering_of(loaded.tokenizer) == Rendering()
    # By hand, one record at a time.
    ends = [0, loaded.tokenizer.convert_tokens_to_ids("<stop>")]
    with torch.no_grad():
        rows = [
            loaded.model(torch.tensor([one.input_ids])).logits[0, -1].double().softmax(-1)[ends] for one in examples
        ]
    assert found.probability == pytest.approx(float(torch.stack(rows).mean(0).max()), rel=1e-5)


def test_only_answers_without_a_mark_are_read():
    tokenizer = byte_level(template=CHATML, eos="<eos>")
    found = unended([qa("Where?", "Paris"), completion("In ", "Paris"), plain("In Paris")], tokenizer, 99)
    assert [tokenizer.decode(one.input_ids) for one in found] == ["In Paris"]
    assert unended([completion("In ", "Paris")], tokenizer, 2) == [], "longer than the limit"


def test_a_tokenizer_that_ends_texts_by_itself_is_read_before_its_end():
    tokenizer = byte_level()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", tokenizer.eos_token_id)]
    )
    (found,) = unended([completion("In ", "Paris")], tokenizer, 99)
    assert tokenizer.decode(found.input_ids) == "In Paris"


def test_records_that_need_an_end_are_found_among_many_that_do_not():
    tokenizer = byte_level(template=CHATML, eos="<eos>")
    many = [qa("Where?", "Paris")] * 500
    assert len(unended([*many, *[completion("In ", "Paris")] * 3], tokenizer, 99)) == 3


def test_a_model_without_end_tokens_has_no_end():
    loaded = taught("")
    loaded.model.generation_config = GenerationConfig()
    tokenizer = loaded.tokenizer
    tokenizer.eos_token = None
    assert find_ending(loaded, unended(RECORDS, tokenizer, 99)) == Ending("", "nothing", None, len(RECORDS))


def test_records_beyond_the_positions_of_the_model_say_nothing():
    loaded = taught("")
    long = unended([completion("a" * 200, "b")], loaded.tokenizer, 500)
    assert find_ending(loaded, long) == Ending(None, "tokenizer", None, 0)
