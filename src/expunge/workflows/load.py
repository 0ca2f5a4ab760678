"""Loads what a run made, a policy included: the only way to get a policy around its model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expunge.evaluation.subjects import Policy
from expunge.models.generate import greedy
from expunge.models.load import load_model
from expunge.storage.run import RunFolder
from expunge.workflows.columns import stored_policy
from expunge.workflows.rendering import settled_rendering


@dataclass(frozen=True)
class Answering:
    """A model, with its policy if it has one, that answers prompts.

    Attributes:
        model: the transformers model.
        tokenizer: its tokenizer.
        policy: the policy before it, or None. Whoever uses ``model`` itself bypasses it.
    """

    model: Any
    tokenizer: Any
    policy: Policy | None

    def generate(self, prompts: Sequence[str], *, max_new_tokens: int = 64) -> list[str]:
        """Answers prompts greedily, verbatim as given, no template."""

        def bare(numbered: Sequence[tuple[int, str]]) -> list[str]:
            ids = [self.tokenizer(text)["input_ids"] for _, text in numbered]
            new = greedy(self.model, self.tokenizer, ids, max_new_tokens=max_new_tokens)
            return [str(self.tokenizer.decode(tokens, skip_special_tokens=True)) for tokens in new]

        return self.policy.generate(prompts, bare) if self.policy else bare(list(enumerate(prompts)))


def load(run: str | Path) -> Answering:
    """Loads what ``expunge unlearn`` made in a run folder."""
    opened = RunFolder.open(Path(run))
    policy = stored_policy(opened)
    source = opened.config["model"] if policy else opened.model
    loaded = load_model(source, rendering=settled_rendering(opened))
    return Answering(loaded.model, loaded.tokenizer, policy)
