"""A classifier from a folder: probabilities by hand, and what is refused."""

from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from expunge.errors import InputError, UnsafeModelError
from expunge.models.classifier import label_probabilities, load_classifier
from tests.evaluation.worlds import make_tokenizer
from tests.support.tiny import VOCABULARY, llama

CLOSE = 1e-5


def save(folder, *, several: bool = False):
    """Two labels; random weights."""
    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=32, initializer_range=0.5,
        id2label={0: "kind", 1: "Toxic"}, label2id={"kind": 0, "Toxic": 1},
        problem_type="multi_label_classification" if several else None,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BertForSequenceClassification(config).eval()
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return model


@pytest.mark.parametrize("several", [False, True])
def test_probabilities_are_those_of_the_model_whatever_the_batches(tmp_path, several):
    model = save(tmp_path / "judge", several=several)
    judge = load_classifier(tmp_path / "judge")
    texts = ["w3 w4 w5", "", "w9", "w8 w7 w6 w5 w4"]
    found = label_probabilities(judge, texts, "toxic", batch_size=2)
    for text, probability in zip(texts, found, strict=True):
        if not text:
            assert probability == 0
            continue
        ids = torch.tensor([make_tokenizer()(text)["input_ids"]])
        with torch.no_grad():
            logits = model(ids).logits[0].double()
        wanted = logits.sigmoid()[1] if several else logits.softmax(-1)[1]
        assert probability == pytest.approx(float(wanted), abs=CLOSE)
    assert label_probabilities(judge, texts, "Toxic", batch_size=1) == pytest.approx(found, abs=CLOSE)
    assert label_probabilities(judge, ["w3 " * 90], "toxic")[0] > 0  # cut


def test_labels_and_folders_that_do_not_fit_are_refused(tmp_path):
    save(tmp_path / "judge")
    with pytest.raises(InputError, match="no label 'rude'"):
        label_probabilities(load_classifier(tmp_path / "judge"), ["w3"], "rude")
    llama().save_pretrained(tmp_path / "model")
    make_tokenizer().save_pretrained(tmp_path / "model")
    with pytest.raises(InputError, match="would be random"):
        load_classifier(tmp_path / "model")
    save(tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / "pytorch_model.bin")
    with pytest.raises(UnsafeModelError):
        load_classifier(tmp_path / "pickled")
