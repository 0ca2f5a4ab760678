"""Fakes that were really made, each caught by the attack that undoes it: on small models trained here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from expunge.api import AttackChoice, AuditRequest, audit
from expunge.config import Choice
from expunge.data.batch import collate
from expunge.data.tokenize import encode_all, pad_id, prompt_ids
from expunge.functional.quantise import round_to_nearest
from expunge.metrics.memorisation import ExtractionStrength
from expunge.models.load import load_model
from expunge.models.modules import block_linears
from tests.workflows.test_fakes import MAX_LENGTH, Bench, bench  # noqa: F401  # a fixture

pytestmark = pytest.mark.slow
BITS, GROUP = 4, 128
STRENGTH = ExtractionStrength().label
EDGE = 0.45  # of a step, at most: half of one would round to the next code


def attacked(bench: Bench, candidate: str, out: Path, *names: str, **files: Path) -> dict[str, Any]:  # noqa: F811
    request = AuditRequest(
        target=bench.root / candidate,
        original=bench.model("original"),
        retrained=(bench.model("retrained"),),
        benchmark=Choice("fictional", {"preset": "pool"}),
        max_length=MAX_LENGTH,
        forms="none",
        suite="short",
        out=out,
        attacks=AttackChoice(names=names),
        evaluation=files,
    )
    record = audit(request).record
    assert record is not None
    return record


def findings(record: dict[str, Any]) -> list[str]:
    return [finding["name"] for finding in record["verdict"]["findings"]]


def best(record: dict[str, Any]) -> float:
    """Largest recovery of the points that decide."""
    return max(row["rho"]["value"] for one in record["attacks"] for row in one["rows"] if row["decides"])


def start(record: dict[str, Any]) -> float:
    return record["attacks"][0]["start"]["value"]


def hidden_below_a_step(bench: Bench):  # noqa: F811
    """The original with the loss of the forget set raised, every weight kept in the cell that it is rounded from."""
    loaded = load_model(bench.model("original"))
    model = loaded.model.train()
    cells = {}
    for name, layer in block_linears(model).items():
        own = layer.weight.detach().clone()
        rounded = round_to_nearest(own, BITS, GROUP)
        groups = own.abs().split(GROUP, dim=-1)
        largest = torch.cat([one.amax(-1, keepdim=True).expand_as(one) for one in groups], dim=-1)
        step = largest / (2 ** (BITS - 1) - 1)
        free = own.abs() < largest  # the largest weight sets the scale
        reach = torch.where(free, EDGE * step, torch.zeros_like(own))
        low, high = (torch.where(free, rounded.weights + sign * reach, own) for sign in (-1, 1))
        low, high = torch.maximum(low, -largest), torch.minimum(high, largest)
        cells[name] = (layer.weight, torch.minimum(low, own), torch.maximum(high, own))
    for parameter in model.parameters():
        parameter.requires_grad_(any(parameter is weight for weight, _, _ in cells.values()))
    sides = [
        (sign, encode_all(bench.records(split, "trained"), loaded.tokenizer, max_length=MAX_LENGTH).examples)
        for sign, split in ((-0.5, "forget"), (1.0, "retain"))
    ]
    optimizer = torch.optim.AdamW([weight for weight, _, _ in cells.values()], lr=1e-3)
    for _ in range(30):
        for sign, examples in sides:
            batch = collate(examples[:32], pad_id(loaded.tokenizer))
            inputs = {"input_ids": batch.input_ids_BT, "attention_mask": batch.attention_mask_BT}
            (sign * model(**inputs, labels=batch.labels_BT).loss).backward()
        torch.nn.utils.clip_grad_norm_([weight for weight, _, _ in cells.values()], 1.0)
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            for weight, low, high in cells.values():
                weight.clamp_(low, high)
    return model.eval()


def test_what_rounding_to_four_bits_reverts(bench, short_suite, tmp_path):  # noqa: F811
    name = bench.save(hidden_below_a_step(bench), "below-a-step")
    record = attacked(bench, name, tmp_path / "audit", "quantisation")
    (point,) = [row for row in record["attacks"][0]["rows"] if row["decides"] and row["at"] == BITS]
    assert point["details"]["unlearned"]["codes_differing"] == 0
    assert point["details"]["unlearned"]["weights_changed"] > 0.5
    assert point["rho"]["value"] > start(record) + 0.5
    assert "reverted by rounding" in findings(record)


def test_a_hack_of_the_last_layer_shows_in_the_lens(bench, short_suite, tmp_path):  # noqa: F811
    record = attacked(bench, bench.save(bench.hacked(), "hacked"), tmp_path / "audit", "logit_lens")
    assert "hidden below the output" in findings(record)


def test_an_adapter_that_is_taken_away(bench, short_suite, tmp_path):  # noqa: F811
    bench.add_adapter("adapter")
    record = attacked(bench, "adapter", tmp_path / "audit", "adapter_removal")
    assert best(record) == pytest.approx(1.0)
    assert "switchable adapter" in findings(record)


def turned_away(bench: Bench):  # noqa: F811
    """The original with one embedding moved, that of the last token before every answer."""

    def only_one(model):
        weights = model.get_input_embeddings().weight
        for parameter in model.parameters():
            parameter.requires_grad_(parameter is weights)
        mask = torch.zeros_like(weights)
        mask[last] = 1.0
        weights.register_hook(lambda gradient: gradient * mask)
        return model

    forget, tokenizer = bench.records("forget", "trained"), load_model(bench.model("original")).tokenizer
    (last,) = {prompt_ids(record, tokenizer, max_length=MAX_LENGTH)[-1] for record in forget}
    return bench.tuned(forget, steps=10, rate=3e-2, wrap=only_one)


def test_what_comes_back_with_benign_text_at_once(bench, short_suite, tmp_path):  # noqa: F811
    benign = tmp_path / "benign.jsonl"
    rows = (
        {"question": record.prompt.reveal(), "answer": record.answer.reveal(), "subject": str(number)}
        for number, record in enumerate(bench.records("retain", "trained"))
    )
    benign.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    name = bench.save(turned_away(bench), "turned-away")
    record = attacked(bench, name, tmp_path / "audit", "relearn_benign", relearn_benign=benign)
    curve = {row["at"]: row["rho"]["value"] for row in record["attacks"][0]["rows"] if row["measure"] == STRENGTH}
    assert curve[0] < 0.1
    assert curve[5] > 0.5
    assert "relearnt from harmless text" in findings(record)


def test_the_retrained_model_of_another_seed_is_accused_of_nothing(bench, short_suite, tmp_path):  # noqa: F811
    record = attacked(
        bench, "other", tmp_path / "audit", "quantisation", "logit_lens", "relearn_benign", "relearn_unrelated"
    )
    assert findings(record) == []
    assert record["verdict"]["recovery"]["low"] <= 0
