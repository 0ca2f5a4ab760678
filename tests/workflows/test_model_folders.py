"""Model folders as they are found: each is unlearned, or refused with a message that is true, never as a bug."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPTJConfig, GPTNeoConfig

from expunge.errors import InputError
from expunge.models.carry import carry_over
from expunge.models.changes import changes
from expunge.models.folder import check_folder, saved_dtypes
from expunge.models.generate import greedy
from expunge.models.load import load_model, weights_digest
from expunge.storage.events import read_events
from tests.workflows.folders import ROWS, byte_tokenizer, llama_config, make_folder, unlearn

IDS = {"vocab_size": ROWS, "bos_token_id": 0, "eos_token_id": 0}
HEADS = {"n_embd": 16, "n_layer": 1, "n_head": 4, "n_positions": 128}
WITH_MASKS = {
    "gpt2": (GPT2Config(**IDS, **HEADS), "transformer.h.0.attn"),
    "gptj": (GPTJConfig(**IDS, **HEADS, rotary_dim=4), "transformer.h.0.attn"),
    "gpt_neo": (
        GPTNeoConfig(
            **IDS,
            hidden_size=16,
            num_layers=1,
            num_heads=4,
            attention_types=[[["global"], 1]],
            max_position_embeddings=128,
        ),
        "transformer.h.0.attn.attention",
    ),
}


def add_tensors(folder, **tensors) -> None:
    """Adds tensors to the weights of a folder, or replaces them."""
    file = folder / "model.safetensors"
    save_file({**load_file(file), **tensors}, file, metadata={"format": "pt"})


@pytest.mark.parametrize("kind", WITH_MASKS)
def test_causal_masks_of_old_checkpoints_are_no_weights(tmp_path, kind):
    config, attention = WITH_MASKS[kind]
    folder = make_folder(tmp_path / "model", config)
    digest, dtypes = weights_digest(load_model(folder).model), saved_dtypes(check_folder(folder).weights)
    mask = torch.tril(torch.ones(1, 1, 128, 128, dtype=torch.float16))
    add_tensors(folder, **{f"{attention}.bias": mask, f"{attention}.masked_bias": torch.tensor(-1e9)})
    assert weights_digest(load_model(folder).model) == digest
    assert saved_dtypes(check_folder(folder).weights) == dtypes
    assert unlearn(folder) == 0
    assert changes(folder, tmp_path / "out" / "model").share > 0


@pytest.mark.parametrize(
    ("name", "lengths"), [("transformer.h.0.attn.attention.bias", (16,)), ("transformer.extra", (2, 2))]
)
def test_an_unknown_tensor_is_refused_by_its_own_reason(tmp_path, capsys, name, lengths):
    folder = make_folder(tmp_path / "model", WITH_MASKS["gpt_neo"][0])
    add_tensors(folder, **{name: torch.zeros(lengths)})
    assert unlearn(folder) == 2
    says = capsys.readouterr().err
    assert f"unexpected keys, such as {name}. The model has no place for them" in says
    assert "random" not in says


def mixed(folder):
    """Weights in bfloat16, norms and output layer in float32, as training code leaves them."""
    state = load_file(folder / "model.safetensors")
    halves = {name: weight.bfloat16() for name, weight in state.items() if "norm" not in name and "head" not in name}
    add_tensors(folder, **halves)


@pytest.mark.parametrize("dtype", [None, "float32", "bfloat16", "float16"])
def test_weights_in_several_dtypes_are_saved_in_one(tmp_path, dtype):
    mixed(make_folder(tmp_path / "model"))
    assert unlearn(tmp_path / "model", *([] if dtype is None else ["--dtype", dtype])) == 0
    saved = tmp_path / "out" / "model"
    assert list(saved_dtypes(check_folder(saved).weights)) == [dtype or "float32"]
    assert json.loads((saved / "config.json").read_text())["dtype"] == (dtype or "float32")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["settings"].get("dtype") == dtype
    assert saved_event(tmp_path / "out")["dtype"] == (dtype or "float32")


def saved_event(run):
    return next(event.data for event in read_events(run / "events.jsonl") if event.kind == "saved")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--dtype", "int8"], "--dtype accepts float32, bfloat16, float16"),
        (["--dtype", "float16", "--method", "guardrail"], "saves no weights; leave out --dtype"),
    ],
)
@pytest.mark.parametrize("verb", ["unlearn", "plan"])
def test_a_dtype_that_cannot_be_saved_is_refused_before_anything_is_written(tmp_path, capsys, verb, flags, says):
    make_folder(tmp_path / "model")
    assert unlearn(tmp_path / "model", *flags, verb=verb, steps="guardrail" not in flags) == 2
    assert says in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_weights_beyond_float16_are_refused_before_training(tmp_path, capsys):
    folder = make_folder(tmp_path / "model")
    add_tensors(folder, **{"model.norm.weight": torch.full((16,), 1e5)})
    assert unlearn(folder, "--dtype", "float16") == 2
    says = capsys.readouterr().err
    assert "model.norm.weight has values up to 1e+05" in says
    assert "unlearn with npo 1" not in says


def test_padding_needs_no_row_of_its_own(tmp_path):
    folder = make_folder(tmp_path / "model", tokenizer=byte_tokenizer(pad_token="<pad>"))
    loaded = load_model(folder)
    assert loaded.tokenizer.pad_token_id == loaded.tokenizer.eos_token_id == 0
    assert unlearn(folder) == 0
    assert greedy(loaded.model, loaded.tokenizer, [[5, 6], [7]], max_new_tokens=3)


@pytest.mark.parametrize("role", ["eos_token", "bos_token", "unk_token"])
@pytest.mark.parametrize("verb", ["unlearn", "plan"])
def test_a_special_token_without_a_row_is_named(tmp_path, capsys, role, verb):
    folder = make_folder(tmp_path / "model", tokenizer=byte_tokenizer(**{role: "<mark>"}))
    assert unlearn(folder, verb=verb) == 2
    assert f"The {role} '<mark>' of the tokenizer has the id {ROWS}" in capsys.readouterr().err


def test_a_tokenizer_with_more_tokens_than_rows_is_refused(tmp_path, capsys):
    folder = make_folder(tmp_path / "model", llama_config(vocab_size=200))
    assert unlearn(folder) == 2
    assert "The tokenizer has 57 tokens with ids from 200 to 256" in capsys.readouterr().err


def test_another_added_token_without_a_row_matters_only_in_a_text(tmp_path, capsys):
    tokenizer = byte_tokenizer(additional_special_tokens=["<picture>"])
    folder = make_folder(tmp_path / "model", tokenizer=tokenizer)
    assert unlearn(folder) == 0
    tokenizer.chat_template = "{% for turn in messages %}<picture>{{ turn.content }}{% endfor %}"
    make_folder(tmp_path / "other" / "model", tokenizer=tokenizer)
    assert unlearn(tmp_path / "other" / "model") == 2
    assert f"A text contains the token '<picture>' with the id {ROWS}" in capsys.readouterr().err


def test_a_pad_id_of_the_configuration_without_a_row_is_refused(tmp_path, capsys):
    folder = make_folder(tmp_path / "model")
    written = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**written, "pad_token_id": ROWS}))
    assert unlearn(folder) == 2
    assert f"config.json has the pad_token_id {ROWS}" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["unlearn", "plan"])
@pytest.mark.parametrize(
    ("flags", "reads"),
    [
        (["--method", "rmu", "--layers", "2"], "reads the forget records at layer 0"),
        (["--method", "adaptive_rmu", "--layers", "1-2"], "reads the forget records at layer 0"),
        (["--method", "rmu", "--layers", "2", "--set", "layer=2"], "reads the retain records at layer 0"),
        (
            ["--method", "circuit_breaker", "--set", "layers=0,0", "--layers", "2"],
            "reads the forget records at layer 0",
        ),
    ],
)
def test_a_layer_above_what_is_read_is_refused_before_the_model_is_loaded(
    tmp_path, capsys, monkeypatch, verb, flags, reads
):
    folder = make_folder(tmp_path / "model", llama_config(layers=3))
    monkeypatch.setattr("expunge.models.load._load_weights", None)  # calling it fails
    assert unlearn(folder, *flags, verb=verb) == 2
    says = " ".join(capsys.readouterr().err.split())
    assert reads in says
    assert "--layers" in says
    assert not (tmp_path / "out").exists()


def test_layers_up_to_what_is_read_may_change(tmp_path):
    folder = make_folder(tmp_path / "model", llama_config(layers=3))
    assert unlearn(folder, "--method", "rmu", "--layers", "0,2") == 0
    assert unlearn(folder, "--method", "npo", "--layers", "2", verb="plan") == 0


def a_socket(path):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


ODD = {
    "a FIFO": os.mkfifo,
    "a socket": a_socket,
    "a folder": lambda path: path.mkdir(),
    "leads nowhere or to itself": lambda path: path.symlink_to(path.name),
}


@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "tokenizer.json", "generation_config.json", "chat_template.jinja"]
)
@pytest.mark.parametrize("verb", ["unlearn", "plan"])
def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path, monkeypatch, capsys, verb, name, what):
    folder = make_folder(tmp_path / "model")
    (folder / name).unlink(missing_ok=True)
    monkeypatch.chdir(folder)  # the address of a socket is short
    ODD[what](Path(name))
    assert unlearn(folder, verb=verb) == 2
    says = " ".join(capsys.readouterr().err.split())
    assert f"{name} of the model folder" in says
    assert what in says


def test_a_model_folder_that_links_to_itself_is_refused(tmp_path, capsys):
    (tmp_path / "model").symlink_to("model")
    assert unlearn(tmp_path / "model") == 2
    assert "no model folder 'model'" in capsys.readouterr().err


def header(text: bytes, length: int | None = None) -> bytes:
    return (len(text) if length is None else length).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01",
        header(b"{}", 2**63),
        header(b"{}", 10_000),
        header(b"[" * 100_000),
        header(b'{"a": {"dtype": "F32", "shape": 3}}'),
        header(b'{"a": {"dtype": "F32", "shape": ["x"]}}'),
        header(b'{"a": {"dtype": [], "shape": [1]}}'),
        header(b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}'),
        header(b'{"a": {"dtype": "F32", "shape": [99999999999999], "data_offsets": [0, 8]}}') + bytes(8),
        header(b'{"a": {"dtype": "F32", "shape": [2]}}') + bytes(8),
    ],
)
def test_malformed_weights_are_refused(tmp_path, capsys, content):
    folder = make_folder(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(content)
    assert unlearn(folder) == 2
    assert "bug" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('no') }}",
        "{{ messages[9].content.x }}",
        "{{ 1 // 0 }}",
        "{% for",
        "{{ messages + 3 }}",
        17,
        {"default": 3},
    ],
)
@pytest.mark.parametrize("verb", ["unlearn", "plan"])
def test_a_chat_template_that_fails_is_refused(tmp_path, capsys, verb, template):
    folder = make_folder(tmp_path / "model")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": template}))
    assert unlearn(folder, verb=verb) == 2
    says = capsys.readouterr().err
    assert "bug" not in says
    assert "template" in says


CARRIED = {
    "LICENSE": b"Some licence.\r\n",
    "README.md": b"# A model\n",
    "preprocessor_config.json": b'{"size":  3}',
    "generation_config.json": b'{"temperature": 0.6,  "do_sample": false, "eos_token_id": [0, 5]}',
    "special_tokens_map.json": b'{"eos_token":"<end>"}',
    "chat_template.jinja": b"{% for turn in messages %}{{ turn.content }}{% endfor %}",
    "additional_chat_templates/short.jinja": b"{% for turn in messages %}{{ turn.content }}{% endfor %}",
    "added.unknown": b"\x00\xff",
}
LEFT = ["pytorch_model.bin", "optimizer.pt", "scaler.pkl", "modeling.py", "records.jsonl", ".hidden", "model.gguf"]


@pytest.mark.parametrize("flags", [[], ["--dtype", "bfloat16"], ["--lora", "2"]])
def test_all_beside_the_weights_is_carried_over_byte_for_byte(tmp_path, flags):
    folder = make_folder(tmp_path / "model")
    (folder / "additional_chat_templates").mkdir()
    (folder / "checkpoint-1").mkdir()
    (folder / "checkpoint-1" / "config.json").write_text("{}")
    for name, content in CARRIED.items():
        (folder / name).write_bytes(content)
    for name in LEFT:
        (folder / name).write_bytes(b"left")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "own_note": "ä"}))
    tokenizer = {"tokenizer.json", "tokenizer_config.json"}
    before = {name: (folder / name).read_bytes() for name in (*CARRIED, *tokenizer, "config.json")}
    assert unlearn(folder, *flags) == 0
    saved = tmp_path / "out" / "model"
    found = {str(path.relative_to(saved)): path.read_bytes() for path in saved.rglob("*") if path.is_file()}
    assert set(found) == {*before, "model.safetensors"}
    changed = {name for name, content in before.items() if found[name] != content}
    assert changed == ({"config.json"} if "--dtype" in flags else set())
    dtype = "bfloat16" if changed else "float32"
    assert json.loads(found["config.json"]) == {**config, "own_note": "ä", "dtype": dtype}
    AutoModelForCausalLM.from_pretrained(saved)
    warned = [event.data["text"] for event in read_events(tmp_path / "out" / "events.jsonl") if event.kind == "warning"]
    assert any(text.startswith(f"{len(LEFT) + 1} entries of the model folder were not copied") for text in warned)


def test_a_file_that_only_transformers_writes_is_not_kept(tmp_path):
    folder = make_folder(tmp_path / "model")
    (folder / "generation_config.json").unlink()
    assert unlearn(folder) == 0
    assert (tmp_path / "out" / "model" / "model.safetensors").is_file()
    assert not (tmp_path / "out" / "model" / "generation_config.json").exists()


def test_a_file_that_cannot_be_carried_over_is_named(tmp_path, monkeypatch):
    folder = make_folder(tmp_path / "model")
    (folder / "NOTICE").write_text("")
    monkeypatch.setattr(
        Path, "read_bytes", lambda path: (_ for _ in ()).throw(PermissionError(13, "Permission denied"))
    )
    (tmp_path / "new").mkdir()
    with pytest.raises(InputError, match="NOTICE of the model folder cannot be read .Permission denied."):
        carry_over(folder, tmp_path / "new", "float32")


@pytest.mark.parametrize("verb", ["unlearn", "plan"])
def test_more_layers_than_tensors_are_refused_at_once(tmp_path, capsys, verb):
    folder = make_folder(tmp_path / "model", llama_config(layers=2))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 1000, "layer_types": None}))
    assert unlearn(folder, verb=verb) == 2
    assert "1000 layers" in " ".join(capsys.readouterr().err.split())
