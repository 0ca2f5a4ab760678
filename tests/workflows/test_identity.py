"""Digest of a tokenizer: of the files that make tokens, and of no other."""

from __future__ import annotations

import hashlib

from expunge.workflows.identity import tokenizer_digest


def test_a_tokenizer_is_known_by_its_files_alone(tmp_path):
    for name, text in (("tokenizer_config.json", "{}"), ("tokenizer.json", "x"), ("model.safetensors", "w")):
        (tmp_path / name).write_text(text)
    one, two = (hashlib.sha256(text).hexdigest() for text in (b"x", b"{}"))
    lines = f"{one}  tokenizer.json\n{two}  tokenizer_config.json\n"
    digest = tokenizer_digest(str(tmp_path))
    assert digest == hashlib.sha256(lines.encode()).hexdigest()
    (tmp_path / "model.safetensors").write_text("other")
    assert tokenizer_digest(str(tmp_path)) == digest
    (tmp_path / "vocab.txt").write_text("y")
    assert tokenizer_digest(str(tmp_path)) != digest
