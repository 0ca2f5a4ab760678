"""Adapters from the command line: read with the tokenizer and template of their own folder, and added rows."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from expunge.cli import main
from expunge.models.adapter import load_with_adapter
from expunge.models.load import load_model, save_model
from expunge.reports.record import read_record
from tests.workflows.folders import ROWS, byte_tokenizer, make_folder, records

TEMPLATE = "{% for turn in messages %}[{{ turn.role }}] {{ turn.content }}{{ eos_token }}{% endfor %}"
PICTURE = "{% for turn in messages %}<picture>{{ turn.content }}{% endfor %}"


def templated(template: str | None = TEMPLATE, **specials):
    tokenizer = byte_tokenizer(**specials)
    tokenizer.chat_template = template
    return tokenizer


def make(root: Path, tokenizer=None, rows: int = ROWS) -> tuple[Path, Path]:
    """A base without a template, and an adapter on it whose model had so many rows."""
    base = make_folder(root / "base")
    model = load_model(base).model
    if rows != ROWS:
        model.resize_token_embeddings(rows, mean_resizing=False)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        wrapped = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj", "up_proj"]))
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2, generator=torch.Generator().manual_seed(0))
        wrapped.save_pretrained(root / "adapter")
    if tokenizer is not None:
        tokenizer.save_pretrained(root / "adapter")
    return base, root / "adapter"


def audit(root: Path, base: Path, target: Path, out: str, suite: str) -> int:
    files = records(root)
    line = ["audit", str(target), "--original", str(base), "--forget", str(files["forget"])]
    return main([*line, "--suite", suite, "--forms", "none", "--out", str(root / out)])


def numbers(root: Path, out: str, role: str = "unlearned") -> dict[str, float]:
    found = read_record(root / out / "record.json").scores
    return {score["label"]: score["value"] for score in found if score["role"] == role}


def says(root: Path, out: str) -> str:
    return " ".join(read_record(root / out / "record.json").limits)


def only_template(adapter: Path) -> None:
    for file in adapter.glob("tokenizer*"):
        file.unlink()


def only_settings(adapter: Path) -> None:
    """The template as older versions of transformers wrote it, and no vocabulary."""
    template = adapter / "chat_template.jinja"
    (adapter / "tokenizer.json").unlink()
    settings = json.loads((adapter / "tokenizer_config.json").read_text())
    (adapter / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": template.read_text()}))
    template.unlink()


def without_settings(adapter: Path) -> None:
    (adapter / "tokenizer_config.json").unlink()


@pytest.mark.parametrize(
    ("thin", "what"),
    [
        (lambda adapter: None, "tokenizer and chat template"),
        (only_template, "chat template"),
        (only_settings, "tokenizer and chat template"),
        (without_settings, "tokenizer and chat template"),
    ],
)
def test_the_template_of_the_adapter_is_used_for_its_column(tmp_path, short_suite, thin, what):
    base, adapter = make(tmp_path, templated())
    thin(adapter)
    assert audit(tmp_path, base, adapter, "out", short_suite) == 0
    # The same model as one folder, with the template.
    save_model(load_with_adapter(str(base), adapter).model, templated(), tmp_path / "merged")
    assert audit(tmp_path, base, tmp_path / "merged", "whole", short_suite) == 0
    assert numbers(tmp_path, "out") == pytest.approx(numbers(tmp_path, "whole"), rel=1e-5)
    assert numbers(tmp_path, "out", "original") == numbers(tmp_path, "whole", "original")
    assert f"The adapter is read with the {what} of its own folder." in says(tmp_path, "out")
    assert "Its vocabulary" not in says(tmp_path, "out")
    assert f"with the {what} of its own folder" in (tmp_path / "out" / "report.html").read_text()


def test_without_files_of_its_own_an_adapter_is_read_with_the_originals(tmp_path, short_suite):
    base, adapter = make(tmp_path)
    assert audit(tmp_path, base, adapter, "out", short_suite) == 0
    assert "of its own folder" not in says(tmp_path, "out")
    save_model(load_with_adapter(str(base), adapter).model, byte_tokenizer(), tmp_path / "merged")
    assert audit(tmp_path, base, tmp_path / "merged", "whole", short_suite) == 0
    assert numbers(tmp_path, "out") == pytest.approx(numbers(tmp_path, "whole"), rel=1e-5)


def test_stored_numbers_are_those_of_the_template(tmp_path, short_suite):
    """The key of what is stored has the digest of the whole folder: another template is read anew."""
    base, adapter = make(tmp_path, templated())
    assert audit(tmp_path, base, adapter, "out", short_suite) == 0
    before = numbers(tmp_path, "out")
    (adapter / "chat_template.jinja").write_text(TEMPLATE.replace("[", "("))
    assert audit(tmp_path, base, adapter, "out", short_suite) == 0
    assert numbers(tmp_path, "out") != before


def test_added_tokens_with_their_rows_are_read(tmp_path, short_suite):
    tokenizer = templated(PICTURE, additional_special_tokens=["<picture>"])
    base, adapter = make(tmp_path, tokenizer, rows=ROWS + 1)
    assert audit(tmp_path, base, adapter, "out", short_suite) == 0
    save_model(load_with_adapter(str(base), adapter).model, tokenizer, tmp_path / "merged")
    assert audit(tmp_path, base, tmp_path / "merged", "whole", short_suite) == 0
    assert numbers(tmp_path, "out") == pytest.approx(numbers(tmp_path, "whole"), rel=1e-5)
    assert "Its vocabulary is not the original's: numbers per token are over other tokens" in says(tmp_path, "out")


@pytest.mark.parametrize(
    ("specials", "reason"),
    [
        ({"eos_token": "<stop>"}, f"The eos_token '<stop>' of the tokenizer has the id {ROWS}"),
        ({"bos_token": "<go>"}, "save_embedding_layers=True"),
    ],
)
def test_a_token_that_the_model_needs_without_a_row_is_refused_at_once(tmp_path, capsys, short_suite, specials, reason):
    base, adapter = make(tmp_path, byte_tokenizer(**specials))
    assert audit(tmp_path, base, adapter, "out", short_suite) == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_added_pad_token_needs_no_row(tmp_path, short_suite):
    base, adapter = make(tmp_path, templated(pad_token="<pad>"))
    assert audit(tmp_path, base, adapter, "out", short_suite) == 0


def test_rows_that_are_not_there_are_named_at_once(tmp_path, capsys, short_suite):
    """Trained after resizing, and saved with the adapter of the embedding alone."""
    base = make_folder(tmp_path / "base")
    model = load_model(base).model
    model.resize_token_embeddings(ROWS + 2, mean_resizing=False)
    wrapped = get_peft_model(model, LoraConfig(r=2, target_modules=["embed_tokens"]))
    wrapped.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    assert audit(tmp_path, base, tmp_path / "adapter", "out", short_suite) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert f"has {ROWS + 2} rows and that of the original {ROWS}" in told
    assert "save_embedding_layers=True" in told
    assert not (tmp_path / "out").exists()


def test_code_in_the_tokenizer_of_an_adapter_is_refused(tmp_path, capsys, short_suite):
    base, adapter = make(tmp_path, templated())
    settings = json.loads((adapter / "tokenizer_config.json").read_text())
    (adapter / "tokenizer_config.json").write_text(json.dumps({**settings, "auto_map": {"AutoTokenizer": "x.Y"}}))
    assert audit(tmp_path, base, adapter, "out", short_suite) == 2
    assert "tokenizer_config.json has auto_map" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_template_of_the_adapter_that_fails_is_refused_at_once(tmp_path, capsys, short_suite):
    base, adapter = make(tmp_path)
    (adapter / "chat_template.jinja").write_text("{{ raise_exception('no') }}")
    assert audit(tmp_path, base, adapter, "out", short_suite) == 2
    assert "The chat template of the tokenizer fails" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_template_that_a_base_has_gives_way(tmp_path):
    """Also where the base has its template in a file and the adapter in its settings."""
    base, adapter = make(tmp_path, templated())
    only_settings(adapter)
    (base / "chat_template.jinja").write_text("{{ messages[0].content }}{{ messages[1].content }}")
    assert load_with_adapter(str(base), adapter).tokenizer.chat_template == TEMPLATE
    shutil.rmtree(adapter)
    (tmp_path / "base").rename(tmp_path / "earlier")
    _, adapter = make(tmp_path)
    assert load_with_adapter(str(tmp_path / "earlier"), adapter).tokenizer.chat_template.startswith("{{ messages[0]")


def test_the_verdict_says_that_it_is_about_the_weights_without_the_adapter(tmp_path):
    base, adapter = make(tmp_path, templated())
    assert audit(tmp_path, base, adapter, "out", "muse") == 0
    assert "The verdict is about the original's weights without the adapter" in says(tmp_path, "out")


def test_an_adapter_with_a_broken_template_can_be_asked_plain_questions(tmp_path):
    base, adapter = make(tmp_path, templated("{{ raise_exception('no') }}"))
    files = records(tmp_path)
    line = ["audit", str(adapter), "--original", str(base), "--forget", str(files["forget"]), "--suite", "muse"]
    assert main([*line, "--forms", "none", "--out", str(tmp_path / "own")]) == 2
    assert main([*line, "--forms", "none", "--template", "plain", "--out", str(tmp_path / "plain")]) == 0
