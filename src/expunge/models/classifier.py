"""A text classifier in a local folder, as a judge of what was said: safetensors only, never code from the folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForSequenceClassification

from expunge.errors import InputError
from expunge.models.folder import check_folder
from expunge.models.load import default_device
from expunge.models.modes import evaluating
from expunge.models.tokenizer import load_config, load_tokenizer
from expunge.registry import suggest

_LONGEST = 512  # tokens of a text that are judged


class Classifier(NamedTuple):
    """A loaded classifier.

    Attributes:
        model: with one logit for each label.
        tokenizer: its tokenizer.
        labels: names of the logits, in order.
        several: whether a text may have several labels, or none; each then has a probability of its own.
    """

    model: Any
    tokenizer: Any
    labels: tuple[str, ...]
    several: bool


def load_classifier(folder: Path | str) -> Classifier:
    """Loads a sequence classifier and its tokenizer.

    Args:
        folder: in Hugging Face layout; ``problem_type`` of its configuration says whether labels exclude each other.

    Raises:
        UnsafeModelError: pickle weights or remote code; nothing of the folder has run.
        InputError: no classifier, or one whose weights are not whole.
    """
    checked = check_folder(folder)
    load_config(checked.path)
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            checked.path,
            dtype=torch.float32,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise InputError(
            f"The folder {checked.path.name!r} cannot be loaded as a classifier ({type(error).__name__}); hand in one "
            "that transformers' AutoModelForSequenceClassification reads."
        ) from error
    lacking = sorted(str(name) for kind in ("missing_keys", "mismatched_keys") for name in info.get(kind, ()))
    if lacking:
        raise InputError(
            f"The folder {checked.path.name!r} lacks {len(lacking)} weights of a classifier, such as {lacking[0]}; "
            "they would be random. Hand in a classifier, not the language model it was made from."
        )
    labels = tuple(str(model.config.id2label[place]) for place in range(model.config.num_labels))
    several = len(labels) == 1 or model.config.problem_type == "multi_label_classification"
    return Classifier(model.to(default_device()).eval(), load_tokenizer(checked.path), labels, several)


def label_probabilities(
    classifier: Classifier, texts: Sequence[str], label: str, *, batch_size: int = 16
) -> list[float]:
    """Returns for each text the probability of a label, 0 to 1; 0 for a text without visible characters.

    Args:
        classifier: the judge.
        texts: what is judged; beyond the length that the classifier reads they are cut.
        label: name of the label, in any case.
        batch_size: texts in one forward pass; changes no number but by rounding.

    Raises:
        InputError: the classifier has no such label.
    """
    names = [name.casefold() for name in classifier.labels]
    if label.casefold() not in names:
        raise InputError(f"The classifier has no label {label!r}.{suggest(label, classifier.labels)}")
    place, found = names.index(label.casefold()), [0.0] * len(texts)
    batch_size = batch_size if classifier.tokenizer.pad_token is not None else 1
    rows = sorted((row for row, text in enumerate(texts) if text.strip()), key=lambda row: len(texts[row]))
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        logits_BL = _logits(classifier, [texts[row] for row in batch])
        shares_BL = logits_BL.sigmoid() if classifier.several else logits_BL.softmax(-1)
        for row, share in zip(batch, shares_BL[:, place].tolist(), strict=True):
            found[row] = float(share)
    return found


@torch.inference_mode()
def _logits(classifier: Classifier, texts: Sequence[str]) -> torch.Tensor:
    model, tokenizer = classifier.model, classifier.tokenizer
    # Some models have two positions more than they can read.
    limit = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", _LONGEST), _LONGEST)
    tokens = tokenizer(list(texts), padding=True, truncation=True, max_length=limit, return_tensors="pt")
    tokens = {name: tokens[name].to(model.device) for name in ("input_ids", "attention_mask")}
    with evaluating(model):
        return torch.as_tensor(model(**tokens).logits).double().cpu()
