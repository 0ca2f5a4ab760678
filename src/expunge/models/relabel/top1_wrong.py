"""Adversarial labels. Yao et al., 2024, "Machine Unlearning of Pre-trained LLMs", https://arxiv.org/abs/2402.15159."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from expunge.data.batch import Example, collate
from expunge.data.batching import length_buckets
from expunge.data.tokenize import pad_id
from expunge.models.modes import evaluating
from expunge.models.reading import read
from expunge.models.relabel.base import Relabeller, RelabelTask
from expunge.models.relabel.vocabulary import changeable, vocabulary_of
from expunge.registry import relabellers

BATCH = 16


@relabellers.register("top1_wrong")
@dataclass(frozen=True, kw_only=True)
class Top1Wrong(Relabeller):
    """The original's likeliest wrong token in place of each scored one. Yao et al., 2024, arXiv 2402.15159.

    The label of token t is the argmax over v != x_t of p_0(v | x_<t), teacher-forced, inputs as they are. For records
    of every kind. Special tokens keep their label and become no label. There is one such label, whatever the sample.
    The authors' code leaves out the true token one position too late; here it is left out where it is predicted.
    """

    @torch.no_grad()
    def relabel_tokens(self, examples: Sequence[Example], task: RelabelTask, sample: int = 0) -> list[Example]:
        """Reads the labels off one pass of the original over each example."""
        known, found = vocabulary_of(task.tokenizer, task.model), list(examples)
        with evaluating(task.model):
            for bucket in length_buckets([len(example.input_ids) for example in examples], BATCH):
                batch = collate([examples[place] for place in bucket], pad_id(task.tokenizer)).to(task.model.device)
                reading = read(task.model, batch)
                wrong_BT = batch.labels_BT.clone()
                allowed_V = known.allowed(reading.logits.shape[-1]).to(reading.logits.device)
                wrong_BT[reading.mask_BT] = likeliest_wrong(reading.logits, reading.labels, allowed_V)
                for wrong_T, place in zip(wrong_BT.tolist(), bucket, strict=True):
                    labels = list(examples[place].labels)
                    for token in changeable(examples[place], known.special):
                        labels[token] = wrong_T[token]
                    found[place] = replace(examples[place], labels=tuple(labels))
        return found


def likeliest_wrong(logits_NV: Tensor, labels_N: Tensor, allowed_V: Tensor) -> Tensor:
    """Returns (N,) for each position the allowed token with the highest logit that is not the label.

    Args:
        logits_NV: that predict the labels.
        labels_N: token ids.
        allowed_V: True for tokens that may be chosen.
    """
    masked_NV = logits_NV.float().masked_fill(~allowed_V, float("-inf"))
    masked_NV = masked_NV.scatter(1, labels_N[:, None], float("-inf"))
    return masked_NV.argmax(-1)
