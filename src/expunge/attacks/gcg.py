"""GCG: tokens, searched greedily along the gradient, that bring back what a model still holds.

Zou et al., 2023, Universal and transferable adversarial attacks on aligned language models,
https://arxiv.org/abs/2307.15043 (algorithms 1 and 2). One prompt for some questions, tested on others, with a term
that keeps it likely: Łucki et al., 2024, An adversarial perspective on machine unlearning for AI safety,
https://arxiv.org/abs/2409.18025.

Shapes: L inserted tokens, C candidates, K swaps of a position, A tokens that may be inserted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from expunge.attacks.base import AttackTask, Probe, Threat
from expunge.attacks.insertion import Place, Slot, find_slots, inserted, strengths
from expunge.attacks.one_hot import best_swaps, candidate_losses, one_hot_gradient, pose
from expunge.attacks.targets import SearchedPrompt, Target, aimed, never_seen, probed, subject_groups
from expunge.attacks.writable import is_writable, starting_tokens, writable_tokens
from expunge.data.record import Record
from expunge.data.tokenize import pad_id
from expunge.errors import InputError
from expunge.metrics.memorisation import ExtractionStrength
from expunge.models.load import LoadedModel
from expunge.models.modes import evaluating
from expunge.registry import attacks


class _Found(NamedTuple):
    """The best tokens, and their loss at the start and after each step; it never rises."""

    ids_L: Tensor
    losses: list[float]


@attacks.register("gcg")
@dataclass(frozen=True, kw_only=True)
class GCG(SearchedPrompt):
    """Searches tokens that make the model tell of a few subjects, and asks for all others with them.

    In each step every position's ``top_k`` tokens by the gradient are its swaps, ``candidates`` single swaps are drawn
    evenly, and the best one is kept. A record's number is its extraction strength with the tokens found; records of
    subjects searched on have none.

    Departures from Zou et al.: all training questions count from the first step; a step that finds nothing better
    keeps what it had, so that the loss never rises; the target is the true answer unless ``target`` says otherwise.
    Candidates are what the tokenizer makes of their own text, as long as there are any.

    Attributes:
        length: number of tokens.
        place: after the question, or before it.
        steps: of the search.
        candidates: tried in one step.
        top_k: tokens that a position may be swapped for.
        prompts: records that the search is trained on, each of another subject.
        target: ``answers``, or ``affirmative`` for an agreement to tell, behind which the answer is then read.
        fluency: weight of the tokens' own negative log-likelihood, nats per token; 0 lets them be anything.
        never_seen: run the same search with wrong answers too; the details tell how far its loss falls.
        max_tokens: most tokens in one forward pass.
    """

    length: int = 20
    place: Place = "after"
    steps: int = 60
    candidates: int = 64
    top_k: int = 256
    prompts: int = 5
    target: Target = "answers"
    fluency: float = 0.0
    never_seen: bool = True
    max_tokens: int = 16384

    threat: ClassVar[Threat] = Threat(
        "prompts",
        "weights",
        "Zou et al., 2023, https://arxiv.org/abs/2307.15043; Łucki et al., 2024, https://arxiv.org/abs/2409.18025",
    )
    title: ClassVar[str] = "greedy coordinate gradient"
    axis: ClassVar[str] = "steps"
    unit: ClassVar[str] = ExtractionStrength().label
    # Zou et al., section 3: 512 candidates of the top 256, 500 steps, 20 tokens. 5 questions: Łucki et al.
    paper_budget: ClassVar[Mapping[str, Any]] = {"steps": 500, "candidates": 512}

    def __post_init__(self) -> None:
        counts = (self.length, self.steps, self.candidates, self.top_k, self.prompts, self.max_tokens)
        if min(counts) < 1 or self.fluency < 0:
            raise InputError(
                "length, steps, candidates, top_k, prompts and max_tokens of GCG are at least 1 and fluency at least "
                f"0; they are {', '.join(map(str, counts))} and {self.fluency}."
            )

    def count(self, task: AttackTask) -> int:
        """Steps of the search, and of the one with wrong answers."""
        return self.steps * (2 if self.never_seen and self.target == "answers" else 1)

    def probe(self, loaded: LoadedModel, task: AttackTask) -> Probe:
        """Returns the extraction strengths with the tokens at the start and with those found."""
        records, pad = task.forget, pad_id(loaded.tokenizer)
        groups = subject_groups(records, task.seed)
        taught = groups[: min(self.prompts, len(groups) // 2)]
        rows = [Random(f"{task.seed}:gcg {group[0]}").choice(group) for group in taught]  # noqa: S311 - no secrets
        allowed_A = writable_tokens(loaded.tokenizer)
        start_L = starting_tokens(loaded.tokenizer, self.length, allowed_A)
        search = partial(self._search, start_L, allowed_A, loaded, task)
        found = search([aimed(records[row], self.target) for row in rows])
        slots = self._slots([probed(record, self.target) for record in records], loaded, task)
        held = [row for group in groups[len(taught) :] for row in group if slots[row] is not None]
        values = {}
        for done, ids_L in ((0, start_L), (self.steps, found.ids_L)):
            filled = [inserted(slot, ids_L.tolist()) for row in held if (slot := slots[row]) is not None]
            values[f"step {done}"] = np.full(len(records), np.nan)
            values[f"step {done}"][held] = strengths(loaded.model, filled, pad, task.batch_size)
        details = {
            "training_records": float(len(rows)),
            "loss_at_start": found.losses[0],
            "loss_found": found.losses[-1],
            "can_be_written": float(is_writable(loaded.tokenizer, found.ids_L.tolist())),
        }
        wrong = [record for record in never_seen(records, rows, task.seed) if record is not None]
        if self.never_seen and self.target == "answers" and wrong:
            losses = search(wrong).losses
            details |= {"never_seen_loss_at_start": losses[0], "never_seen_loss_found": losses[-1]}
        return Probe(values, f"step {self.steps}", details, {"step 0": 0.0, f"step {self.steps}": float(self.steps)})

    def _slots(self, records: Sequence[Record], loaded: LoadedModel, task: AttackTask) -> list[Slot | None]:
        return find_slots(records, loaded, place=self.place, max_length=task.max_length, room=self.length)

    def _search(
        self, ids_L: Tensor, allowed_A: Tensor, loaded: LoadedModel, task: AttackTask, records: Sequence[Record]
    ) -> _Found:
        slots = [slot for slot in self._slots(records, loaded, task) if slot is not None]
        if not slots:
            raise InputError("No training record has a question and an answer that the model can read.")
        problem = pose(loaded.model, slots, self.length, pad_id(loaded.tokenizer), self.fluency)
        draws = torch.Generator().manual_seed(Random(f"{task.seed}:gcg").getrandbits(63))  # noqa: S311 - no secrets
        swaps_LK = None
        with evaluating(loaded.model):
            losses = [float(candidate_losses(problem, ids_L[None], self.max_tokens))]
            for _ in range(self.steps):
                task.check_stop("gcg")
                if swaps_LK is None:  # the gradient hangs on the tokens alone
                    swaps_LK = best_swaps(one_hot_gradient(problem, ids_L), allowed_A, self.top_k)
                tried_CL = self._candidates(ids_L, swaps_LK, loaded.tokenizer, draws)
                losses_C = candidate_losses(problem, tried_CL, self.max_tokens)
                best = int(losses_C.nan_to_num(torch.inf).argmin())
                if losses_C[best] < losses[-1]:
                    ids_L, swaps_LK = tried_CL[best], None
                losses.append(min(losses[-1], float(losses_C[best])))
                task.steps.advance()
        return _Found(ids_L, losses)

    def _candidates(self, ids_L: Tensor, swaps_LK: Tensor, tokenizer: Any, draws: torch.Generator) -> Tensor:
        """Single swaps (C, L), drawn evenly over positions and over each position's swaps."""
        places_C = torch.randint(len(ids_L), (self.candidates,), generator=draws)
        kinds_C = torch.randint(swaps_LK.shape[1], (self.candidates,), generator=draws)
        tried_CL = ids_L.repeat(self.candidates, 1)
        tried_CL[torch.arange(self.candidates), places_C] = swaps_LK[places_C, kinds_C]
        written = [is_writable(tokenizer, ids) for ids in tried_CL.tolist()]
        return tried_CL[torch.tensor(written)] if any(written) else tried_CL
