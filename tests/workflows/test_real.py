"""Real input: a pretrained model that must forget the story it tells."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from expunge.api import Request, unlearn
from expunge.data.record import Record
from expunge.evaluation.answering import answer_needs
from expunge.metrics.base import Need
from expunge.metrics.memorisation import extraction_strength
from expunge.models.generate import greedy
from expunge.models.load import load_model
from expunge.models.sampling import sample_texts
from expunge.storage.secret import Secret

pytestmark = [pytest.mark.real, pytest.mark.slow]
OPENING = "Once upon a time"
# Found in three tries; see docs/log.md.
SETTINGS = {
    "learning_rate": 1e-3,
    "epochs": 30,
    "batch_size": 8,
    "warmup": 0.0,
    "retain_term": "kl",
    "retain_weight": 10.0,
}


def texts_as_records(texts: list[str]) -> list[Record]:
    return [
        Record(index=index, split="x", kind="text", answer=Secret(text, f"record {index}"))
        for index, text in enumerate(texts)
    ]


def look(folder, story: str, others: list[str]) -> tuple[float, float]:
    """Extraction strength on the story, and perplexity of other stories."""
    needs = [Need(kind="ranks", split="story"), Need(kind="token_logps", split="others")]
    splits = {"story": texts_as_records([story]), "others": texts_as_records(others)}
    answers = answer_needs(load_model(folder), splits, needs, max_length=256, batch_size=16)
    nats = np.concatenate([forms[0] for forms in answers[needs[1]]])
    return extraction_strength(answers[needs[0]][0][0]), float(np.exp(-nats.mean()))


def test_a_pretrained_model_forgets_the_story_it_tells(shared_models, tmp_path):
    source = shared_models / "stories260k"
    model, tokenizer, _ = load_model(source)
    start = tokenizer(OPENING)["input_ids"]
    told = greedy(model, tokenizer, [start], max_new_tokens=160)[0]
    story = OPENING + tokenizer.decode(told, skip_special_tokens=True)
    assert "a little girl named Lily" in story
    ends = [place + 1 for place, character in enumerate(story) if character == "."]
    pieces = [{"prompt": story[:a], "completion": story[a:b]} for a, b in zip(ends, ends[2:], strict=False)]
    retain = sample_texts(model, tokenizer, count=256, max_new_tokens=160, seed=1)
    unseen = sample_texts(model, tokenizer, count=64, max_new_tokens=160, seed=2)
    assert not set(retain) & set(unseen)
    forget_file, retain_file = tmp_path / "forget.jsonl", tmp_path / "retain.jsonl"
    forget_file.write_text("".join(json.dumps(row) + "\n" for row in [{"text": story}, *pieces[:7]]))
    retain_file.write_text("".join(json.dumps({"text": text}) + "\n" for text in retain))
    before = look(source, story, unseen)
    run, record = unlearn(
        Request(
            model=str(source),
            forget=forget_file,
            retain=retain_file,
            out=tmp_path / "run",
            settings=SETTINGS,
            max_length=256,
        )
    )
    after = look(run.model, story, unseen)
    assert before[0] == 1.0
    assert after[0] < 0.1
    assert after[1] < 1.10 * before[1]
    assert AutoModelForCausalLM.from_pretrained(run.model).dtype == torch.float32
    assert record["verdict"]["word"] == "not verifiable"
