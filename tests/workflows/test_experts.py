"""Mixtures of experts from the command line: LoRA reaches the experts, and refusals name the flag that helps."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors import safe_open

from expunge.reports.record import read_record
from expunge.storage.events import read_events
from tests.models.experts import expert_config
from tests.workflows.folders import ROWS, llama_config, make_folder, unlearn

IDS = {"vocab_size": ROWS, "bos_token_id": 0, "eos_token_id": 0}


def folder(tmp_path: Path, kind: str) -> Path:
    return make_folder(tmp_path / "model", expert_config(kind, **IDS))


def changed(before: Path, after: Path) -> set[str]:
    """Names of the tensors that differ."""
    with safe_open(before / "model.safetensors", "pt") as old, safe_open(after / "model.safetensors", "pt") as new:
        assert set(old.keys()) == set(new.keys())
        return {name for name in old.keys() if not old.get_tensor(name).equal(new.get_tensor(name))}  # noqa: SIM118


@pytest.mark.parametrize("kind", ["mixtral", "qwen3_moe"])
def test_lora_changes_every_expert(tmp_path, kind):
    model = folder(tmp_path, kind)
    assert unlearn(model, "--lora", "2", "--set", "learning_rate=0.01") == 0
    touched = changed(model, tmp_path / "out" / "model")
    experts = {name.rpartition(".experts.")[2] for name in touched if ".experts." in name}
    assert {name.split(".")[0] for name in experts} == {"0", "1", "2", "3"}, "transformers saves experts one by one"
    assert len([name for name in touched if ".experts." in name]) == 2 * 4 * 3
    assert not any("gate.weight" in name for name in touched), "routers are no target"


def test_a_rank_above_an_expert_is_refused_before_anything_is_written(tmp_path, capsys):
    model = folder(tmp_path, "qwen3_moe")
    for verb in ("plan", "unlearn"):
        assert unlearn(model, "--lora", "17", verb=verb) == 2
        assert "rank 17 is above 16" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--lora", "64"], "rank 64 is above 16"),
        (["--set", "parameters={name: lora, settings: {rank: 2, targets: [nowhere]}}"], "selects no linear layer"),
        (["--set", "parameters={name: layers, settings: {layers: 0, modules: nowhere}}"], "nothing could change"),
    ],
)
@pytest.mark.parametrize("verb", ["plan", "unlearn"])
def test_weights_that_cannot_be_trained_are_refused_before_anything_is_written(tmp_path, capsys, verb, flags, says):
    assert unlearn(make_folder(tmp_path / "model", llama_config()), *flags, verb=verb) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_rmu_names_the_flag_that_helps(tmp_path, capsys):
    model = folder(tmp_path, "mixtral")
    assert unlearn(model, "--method", "rmu") == 2
    says = capsys.readouterr().err
    assert "Pass --layers 0.1613-0.2258 to change all weights of these layers" in says
    assert not (tmp_path / "out").exists()
    assert unlearn(model, "--method", "rmu", "--layers", "0.1613-0.2258") == 0
    assert {name.split(".")[2] for name in changed(model, tmp_path / "out" / "model")} == {"0"}


def test_the_setting_that_rmu_names_works(tmp_path):
    model = folder(tmp_path, "mixtral")
    settings = "parameters={name: layers, settings: {layers: 0.1613-0.2258, modules: experts.down_proj}}"
    assert unlearn(model, "--method", "rmu", "--set", settings) == 0
    assert {name.split(".")[-2] for name in changed(model, tmp_path / "out" / "model")} == {"w2"}


def test_what_lora_leaves_out_is_in_plan_log_and_record(tmp_path, capsys, monkeypatch, short_suite):
    monkeypatch.setattr("expunge.models.parameters.stacked_matrices", lambda model: {})
    model = folder(tmp_path, "mixtral")
    says = "LoRA leaves 86% of the weights in the layers as they are"
    assert unlearn(model, "--lora", "2", verb="plan") == 0
    assert says in " ".join(capsys.readouterr().out.split())
    assert unlearn(model, "--lora", "2", "--suite", short_suite, "--forms", "none", audit=True) == 0
    warned = [event.data["text"] for event in read_events(tmp_path / "out" / "events.jsonl") if event.kind == "warning"]
    assert any(text.startswith(says) for text in warned)
    assert sum(text.startswith(says) for text in read_record(tmp_path / "out" / "record.json").limits) == 1


def test_a_preset_with_dropout_names_the_flag_that_helps(tmp_path, capsys):
    model = folder(tmp_path, "mixtral")
    assert unlearn(model, "--method", "knowledge_sanitization") == 2
    assert "Pass --lora 8, which has no dropout" in capsys.readouterr().err
    assert unlearn(model, "--method", "knowledge_sanitization", "--lora", "8", verb="plan") == 0
