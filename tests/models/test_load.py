"""Loading never runs code from a folder and never guesses; saving is whole, plain and bit-exact."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedTokenizerFast

from expunge.errors import ExpungeWarning, InputError, UnsafeModelError
from expunge.models import load as load_module
from expunge.models.folder import check_folder, saved_dtypes
from expunge.models.load import build_model, describe, load_model, save_model, weights_digest
from expunge.models.parameters import LoRA
from tests.models.conftest import CONFIGS, build


@pytest.fixture
def folder(tmp_path, model, tokenizer):
    save_model(model, tokenizer, tmp_path / "model")
    return tmp_path / "model"


def edit(path: Path, **changes):
    """Sets entries of a JSON file; None removes one."""
    loaded = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in loaded.items() if value is not None}))


class Malice:
    """A pickle that leaves a mark when opened."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def poison(folder: Path, mark: Path):
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Malice(mark)}))


# Folders that must not load


def test_the_planted_pickle_works(tmp_path):
    poison(tmp_path, tmp_path / "mark")
    pickle.loads((tmp_path / "pytorch_model.bin").read_bytes())
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "x.pt", "x.pth", "x.ckpt", "x.pkl"]
)
def test_pickle_weights_are_refused_and_never_opened(folder, tmp_path, name):
    mark = tmp_path / "mark"
    (folder / "model.safetensors").unlink()
    poison(folder, mark)
    (folder / "pytorch_model.bin").rename(folder / name)
    with pytest.raises(UnsafeModelError, match=r"only pickle weights.*Convert"):
        load_model(folder)
    assert not mark.exists()


def test_a_pickle_beside_safetensors_is_never_opened(folder, tmp_path, model):
    for name in ("training_args.bin", "optimizer.pt", "adapter_model.bin"):
        poison(folder, tmp_path / "mark")
        shutil.copy(folder / "pytorch_model.bin", folder / name)
    assert weights_digest(load_model(folder).model) == weights_digest(model)
    assert not (tmp_path / "mark").exists()


REMOTE = {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model", "AutoTokenizer": ["code.Tokens", None]}


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("nested", [False, True])
def test_remote_code_is_refused_and_never_imported(folder, tmp_path, name, nested):
    (folder / "code.py").write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'mark')!r}).touch()")
    edit(folder / name, **({"text_config": {"auto_map": REMOTE}} if nested else {"auto_map": REMOTE}))
    with pytest.raises(UnsafeModelError, match="would run code from the folder; Expunge never does"):
        load_model(folder)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation", "experts_implementation"])
def test_kernels_from_elsewhere_are_refused(folder, key):
    edit(folder / "config.json", **{key: "someone/kernel@main"})
    with pytest.raises(UnsafeModelError, match="kernel repository"):
        load_model(folder)
    edit(folder / "config.json", **{key: "eager"})
    load_model(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "no config.json"),
        (lambda f: (f / "config.json").write_text("{"), "config.json of the model folder is not valid JSON"),
        (lambda f: (f / "config.json").write_text("[" * 100_000), "not valid JSON"),
        (lambda f: (f / "config.json").write_bytes(b"\xff\xfe"), "not valid JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "must hold a JSON object, not list"),
        (lambda f: (f / "model.safetensors").unlink(), "has no weights"),
        (lambda f: (f / "tokenizer.json").unlink(), "no tokenizer"),
        (lambda f: (f / "adapter_config.json").write_text("{}"), "adapter.*Merge it first"),
        (lambda f: edit(f / "config.json", transformers_weights="other.safetensors"), "its own weights file"),
        (lambda f: edit(f / "config.json", quantization_config={"quant_method": "x"}), "quantised"),
        (lambda f: edit(f / "config.json", model_type="unheard_of"), "cannot be loaded"),
        (lambda f: edit(f / "config.json", num_hidden_layers=3), "missing keys, such as model.layers.2"),
        (lambda f: edit(f / "config.json", num_hidden_layers=1), "unexpected keys, such as model.layers.1"),
        (lambda f: edit(f / "config.json", intermediate_size=24), "cannot be loaded|mismatched"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "not a whole safetensors file"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 40), "not a safetensors file"),
        (lambda f: (f / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"[]"), "not a safetensors file"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "tokenizer of 'model' cannot be loaded"),
    ],
)
def test_unusable_folders_say_why(folder, change, message):
    change(folder)
    with pytest.raises(InputError, match=message):
        load_model(folder)


def test_a_truncated_file_is_refused(folder):
    data = (folder / "model.safetensors").read_bytes()
    for size in (4, 30, len(data) // 2, len(data) - 1):
        (folder / "model.safetensors").write_bytes(data[:size])
        with pytest.raises(InputError):
            load_model(folder)


def test_an_adapter_folder_alone_is_refused(tmp_path, model):
    LoRA(rank=2).apply(model).save_pretrained(tmp_path / "adapter")
    with pytest.raises(InputError, match="adapter.*Merge it first"):
        load_model(tmp_path / "adapter")


def test_shards(tmp_path, model, tokenizer):
    folder = tmp_path / "shards"
    model.save_pretrained(folder, max_shard_size="20KB")
    tokenizer.save_pretrained(folder)
    assert len(check_folder(folder).weights) > 1
    assert weights_digest(load_model(folder).model) == weights_digest(model)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    for shard in ("../elsewhere.safetensors", "missing.safetensors", "config.json"):
        edit(folder / "model.safetensors.index.json", weight_map={**index["weight_map"], "lm_head.weight": shard})
        with pytest.raises(InputError, match="not a safetensors file of the folder"):
            load_model(folder)
    edit(folder / "model.safetensors.index.json", weight_map={})
    with pytest.raises(InputError, match="no weight_map"):
        load_model(folder)


def test_what_is_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        InputError, match=r"'org/absent' was tried as a local folder .* Hub cache and on the Hugging Face Hub"
    ):
        load_model("org/absent")
    for source in (tmp_path / "nothing", str(tmp_path / "nothing"), "./a/b", "a/b/c", "no spaces please"):
        with pytest.raises(InputError, match="no model folder"):
            load_model(source)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="no model folder"):
        load_model(str(tmp_path / "file"))


def test_a_hub_snapshot_passes_the_same_checks(folder, tmp_path, monkeypatch, model):
    asked = {}

    def snapshot(repo, **options):
        asked.update(options, repo=repo)
        return str(folder)

    monkeypatch.setattr(load_module, "snapshot_download", snapshot)
    loaded = load_model("org/name")
    assert (loaded.source, asked["repo"]) == ("org/name", "org/name")
    assert weights_digest(loaded.model) == weights_digest(model)
    assert not any(pattern.endswith((".bin", ".pt", ".py", "*")) for pattern in asked["allow_patterns"])
    edit(folder / "config.json", auto_map=REMOTE)
    with pytest.raises(UnsafeModelError):
        load_model("org/name")


def test_folder_checks_need_no_torch(folder):
    program = (
        "import sys; from expunge.models.folder import check_folder, saved_dtypes;"
        "saved_dtypes(check_folder(sys.argv[1]).weights);"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", program, str(folder)], check=False).returncode == 0


# What is loaded


def test_loading_switches_off_remote_code_and_pickle_explicitly(folder, monkeypatch):
    seen = []
    for cls in (AutoModelForCausalLM, AutoTokenizer):
        original = cls.from_pretrained
        monkeypatch.setattr(cls, "from_pretrained", lambda *a, o=original, **k: seen.append(k) or o(*a, **k))
    load_model(folder)
    assert [options["trust_remote_code"] for options in seen] == [False, False]
    assert seen[0]["use_safetensors"] is True


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "qwen2"])  # see below
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_round_trip_is_bit_equal(name, dtype, tmp_path, tokenizer):
    model = build(name, dtype=dtype)
    save_model(model, tokenizer, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert not loaded.model.training
    own, theirs = model.state_dict(), loaded.model.state_dict()
    assert own.keys() == theirs.keys()
    assert all(torch.equal(own[key], theirs[key]) and own[key].dtype == theirs[key].dtype for key in own)
    assert weights_digest(loaded.model) == weights_digest(model)
    assert describe(loaded.model).dtype == str(dtype).removeprefix("torch.")
    assert loaded.tokenizer("w5 w6").input_ids == [5, 6]
    assert sorted(path.suffix for path in (tmp_path / "model").iterdir()) == [".json"] * 4 + [".safetensors"]


def bytewise(pieces: int):
    """A byte-level BPE tokenizer; its pre-tokenizer splits into words, or after every ``pieces`` characters."""
    tokenizer = Tokenizer(models.BPE())
    split = [pre_tokenizers.FixedLength(pieces)] if pieces else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(["Anna lives and writes " * 9], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|endoftext|>")


def test_a_tokenizer_that_transformers_replaces_is_refused(tmp_path, tokenizer):
    """For qwen2 it builds its own class from the vocabulary and says nothing."""
    save_model(build("qwen2"), tokenizer, tmp_path / "words")
    with pytest.raises(InputError, match=r"as Qwen2Tokenizer, which is another tokenizer \(BPE in place of WordLevel"):
        load_model(tmp_path / "words")
    # The same, with the one token that this class would add, so that the vocabularies agree.
    words = Tokenizer(models.WordLevel({"<|endoftext|>": 0, "Anna": 1}, unk_token="<|endoftext|>"))
    same = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<|endoftext|>")
    save_model(build("qwen2"), same, tmp_path / "same")
    with pytest.raises(InputError, match="BPE in place of WordLevel"):
        load_model(tmp_path / "same")
    save_model(build("qwen2", vocab_size=300), bytewise(3), tmp_path / "threes")
    with pytest.warns(ExpungeWarning, match="splits text in another way"):
        load_model(tmp_path / "threes")
    save_model(build("llama", vocab_size=300), bytewise(3), tmp_path / "llama")
    ids = load_model(tmp_path / "llama").tokenizer("Anna lives").input_ids
    assert ids == bytewise(3)("Anna lives").input_ids != bytewise(0)("Anna lives").input_ids


def test_saved_dtype_is_that_of_the_weights_not_of_the_configuration(folder, model):
    edit(folder / "config.json", dtype="bfloat16")
    assert weights_digest(load_model(folder).model) == weights_digest(model)
    edit(folder / "config.json", dtype=None)
    assert load_model(folder).model.dtype == torch.float32
    assert load_model(folder, dtype="bfloat16").model.dtype == torch.bfloat16


def test_half_precision_is_not_upcast_unless_asked(tmp_path, tokenizer):
    save_model(build("llama", dtype=torch.bfloat16), tokenizer, tmp_path / "model")
    edit(tmp_path / "model" / "config.json", dtype="float32")
    assert load_model(tmp_path / "model").model.dtype == torch.bfloat16
    assert load_model(tmp_path / "model", dtype="float32").model.dtype == torch.float32


@pytest.mark.parametrize(
    ("most", "head", "holds"),
    [("float32", "bfloat16", "float32"), ("bfloat16", "float16", "float32"), ("float16", "float64", "float64")],
)
def test_mixed_dtypes_are_loaded_in_the_one_that_holds_all(folder, most, head, holds):
    state = {name: weight.to(getattr(torch, most)) for name, weight in load_file(folder / "model.safetensors").items()}
    state["lm_head.weight"] = state["lm_head.weight"].to(getattr(torch, head))
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    assert list(saved_dtypes(check_folder(folder).weights)) == [most, head]
    loaded = load_model(folder).model
    assert {str(weight.dtype) for weight in loaded.parameters()} == {f"torch.{holds}"}
    own = loaded.state_dict()
    assert all(torch.equal(own[name].to(weight.dtype), weight) for name, weight in state.items())
    assert load_model(folder, dtype="bfloat16").model.dtype == torch.bfloat16


def test_a_model_that_transformers_loads_in_several_dtypes_is_loaded_in_one(tmp_path, tokenizer, monkeypatch):
    model = build("llama", dtype=torch.bfloat16)
    save_model(model, tokenizer, tmp_path / "model")
    monkeypatch.setattr(type(model), "_keep_in_fp32_modules_strict", {"norm"})
    loaded = load_model(tmp_path / "model").model
    assert {weight.dtype for weight in loaded.parameters()} == {torch.float32}
    assert weights_digest(loaded.to(torch.bfloat16)) == weights_digest(model)


def test_weights_without_floats_are_refused(folder):
    save_file({"a": torch.ones(3, dtype=torch.int8)}, folder / "model.safetensors")
    with pytest.raises(InputError, match="stored as I8"):
        load_model(folder)


# What is saved


def test_saving_in_another_dtype_leaves_the_model_alone(tmp_path, tokenizer):
    model = build("llama_tied")
    digest = weights_digest(model)
    save_model(model, tokenizer, tmp_path / "half", dtype=torch.bfloat16)
    assert weights_digest(model) == digest
    assert model.dtype == torch.float32
    loaded = load_model(tmp_path / "half").model
    assert loaded.dtype == torch.bfloat16
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == "bfloat16"
    assert weights_digest(loaded) == weights_digest(build("llama_tied", dtype=torch.bfloat16))
    assert "lm_head.weight" not in load_file(tmp_path / "half" / "model.safetensors")  # tied weights are written once
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight


def test_plain_transformers_loads_what_was_saved(folder, model, tokenizer):
    loaded, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values())
    assert weights_digest(loaded) == weights_digest(model)
    assert AutoTokenizer.from_pretrained(folder).get_vocab() == tokenizer.get_vocab()


def test_generation_settings_are_kept_even_odd_ones(tmp_path, model, tokenizer):
    model.generation_config = GenerationConfig(repetition_penalty=1.3, eos_token_id=[2, 7])
    save_model(model, tokenizer, tmp_path / "model")
    edit(
        tmp_path / "model" / "generation_config.json", temperature=0.6, do_sample=False
    )  # transformers calls this invalid
    loaded = load_model(tmp_path / "model")
    assert loaded.model.generation_config.eos_token_id == [2, 7]
    save_model(loaded.model, loaded.tokenizer, tmp_path / "again")
    kept = json.loads((tmp_path / "again" / "generation_config.json").read_text())
    assert (kept["repetition_penalty"], kept["eos_token_id"]) == (1.3, [2, 7])


def test_saving_is_whole_or_not_at_all(tmp_path, model, tokenizer, monkeypatch):
    with pytest.raises(InputError, match="merge its adapter first"):
        save_model(LoRA(rank=2).apply(build("llama")), tokenizer, tmp_path / "adapter")
    save_model(model, tokenizer, tmp_path / "model")
    with pytest.raises(InputError, match="exists already"):
        save_model(build("llama", seed=1), tokenizer, tmp_path / "model")
    assert weights_digest(load_model(tmp_path / "model").model) == weights_digest(model)
    save_model(build("llama", seed=1), tokenizer, tmp_path / "model", replace=True)
    assert weights_digest(load_model(tmp_path / "model").model) != weights_digest(model)

    def fail(_):
        raise RuntimeError("planted")

    monkeypatch.setattr(tokenizer, "save_pretrained", fail)
    with pytest.raises(RuntimeError, match="planted"):
        save_model(model, tokenizer, tmp_path / "broken")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


# Digest, description, new models


def test_digest_notices_one_bit(model):
    before = weights_digest(model)
    bits = model.model.layers[1].mlp.up_proj.weight.data.view(torch.int32)
    bits[3, 4] ^= 1
    assert weights_digest(model) != before
    bits[3, 4] ^= 1
    assert weights_digest(model) == before


def test_digest_knows_names_shapes_dtypes_and_places():
    def of(**weights):
        module = torch.nn.Module()
        for name, value in weights.items():
            module.register_buffer(name, value)
        return weights_digest(module)

    zeros = torch.zeros(2, 4)
    different = [
        of(a=zeros),
        of(b=zeros),
        of(a=zeros.T),
        of(a=torch.zeros(8)),
        of(a=torch.zeros(2, 4, dtype=torch.int32)),
        of(a=zeros, b=torch.zeros(2, 4)),
        of(a=torch.zeros(0), b=torch.zeros(0)),
        of(a=torch.zeros(0)),
    ]
    assert len(set(different)) == len(different)
    assert of(a=zeros, b=zeros) == of(a=zeros)  # tied: the same memory
    assert of(b=zeros, a=torch.ones(1)) == of(a=torch.ones(1), b=zeros)
    assert of(a=torch.arange(6).reshape(2, 3).T) == of(a=torch.tensor([[0, 3], [1, 4], [2, 5]]))
    assert of(a=torch.tensor(1.0, dtype=torch.bfloat16)) != of(a=torch.tensor(1.0))


def test_tied_weights_count_once():
    tied, untied = describe(build("llama_tied")), describe(build("llama"))
    assert untied.parameters - tied.parameters == 97 * 32
    assert untied[1:] == ("float32", 2, 32)


@pytest.mark.parametrize("name", CONFIGS)
def test_new_models_are_seeded_and_leave_the_global_generator_alone(name):
    config = CONFIGS[name]
    before = config.to_dict()
    state = torch.get_rng_state()
    first, same, other = (build_model(config, seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert config.to_dict() == before
    assert weights_digest(first) == weights_digest(same) != weights_digest(other)
    assert not first.training


# The real one


def test_stories260k_loads(shared_models):
    loaded = load_model(shared_models / "stories260k")
    assert describe(loaded.model) == (260_032, "float32", 5, 64)
    ids = loaded.tokenizer("Once upon a time", return_tensors="pt").input_ids
    assert loaded.model(ids).logits.shape == (1, ids.shape[1], 512)
