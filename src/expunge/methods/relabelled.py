"""Fine-tuning on other answers to the forget prompts: refusals, other persons' facts, random or masked labels.

With refusals it is the "PO" of TOFU: Maini et al., 2024, https://arxiv.org/abs/2401.06121.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from expunge.config import Choice
from expunge.errors import InputError
from expunge.methods.base import LossMethod, Spec, State, Views, ViewSpec
from expunge.methods.preset import LLAMA_2_7B_ON_TOFU, Axes, Preset, Training
from expunge.methods.terms import Term, joined, per_token
from expunge.registry import methods


@methods.register("idk")
@dataclass(frozen=True, kw_only=True)
class RelabelledNLL(LossMethod):
    """Learns the relabeller's answers to the forget prompts; the true answers are never read.

    Behavioural: an answer that is not read is not lowered by itself, but crowded out by the new one.
    """

    spec: ClassVar[Spec] = Spec(
        guarantee="behavioural",
        paper="Maini et al. (TOFU), 2024, https://arxiv.org/abs/2401.06121",
    )
    preset: ClassVar[Preset] = Preset(
        method=Choice("idk"),
        axes=Axes(retain_term=Choice("nll"), relabel=Choice("idk")),
        published=LLAMA_2_7B_ON_TOFU,
        source='TOFU\'s code, where it is called "PO": learning rate 1e-5, batch 32, 5 epochs, weight decay 0.01',
        departs=(
            "Refusals and retain answers are two token means of weight 1. TOFU takes one mean over both, in which the "
            "longer retain answers weigh more. A record keeps its refusal for the whole run; TOFU draws anew each time."
        ),
    )

    answers: int = 1  # other answers to each forget prompt, learned side by side

    def __post_init__(self) -> None:
        """Refuses a number of answers that has no meaning."""
        if self.answers < 1:
            raise InputError(f"answers counts the other answers to each prompt and is at least 1, not {self.answers}.")

    def views(self) -> tuple[ViewSpec, ...]:
        """The forget prompts with each of the other answers: ``forget``, ``forget_1``, ..."""
        return tuple(
            ViewSpec(name="forget" if sample == 0 else f"forget_{sample}", relabel=True, sample=sample)
            for sample in range(self.answers)
        )

    def forget_term(self, views: Views, state: State) -> Term:
        """Negative log-likelihood, mean over the tokens of all answers."""
        return joined([per_token(-views[spec.name].policy.token_logps, spec.name) for spec in self.views()])


methods.register("idk_ap")(
    Preset(
        method=Choice("idk"),
        axes=Axes(retain_term=Choice("ap", {"beta": 0.1}), relabel=Choice("idk")),
        published=LLAMA_2_7B_ON_TOFU,
        source=(
            "IDK+AP of the code of Yuan et al., 2024, https://arxiv.org/abs/2410.08109, on TOFU: beta 0.1, learning "
            "rate 1e-5, batch 32, 5 epochs, weight decay 0.01, both weights 1"
        ),
        departs=(
            "A forget record and its retain partner have each their own refusal; the code draws one for both, by the "
            "number of the forget record."
        ),
    )
)

methods.register("knowledge_sanitization")(
    Preset(
        method=Choice("idk"),
        axes=Axes(
            retain_term=Choice("nll"),
            relabel=Choice("idk", {"answers": ["I don't know."]}),
            tokens=Choice("all"),
            parameters=Choice("lora", {"rank": 8, "alpha": 16.0, "dropout": 0.05}),
        ),
        training=Training(learning_rate=3e-4, epochs=20.0, batch_size=128, weight_decay=0.0),
        source=(
            "the code of Ishibashi and Shimodaira, 2023, https://arxiv.org/abs/2309.11852: LoRA of rank 8, alpha 16, "
            "dropout 0.05, learning rate 3e-4, batch 128, 20 epochs, prompt and answer"
        ),
        departs=(
            "The code trains on one shuffled file of which 85 % is to be retained, prompts included. Here each step "
            "holds as many retain as forget records, in two token means of weight 1, and retain prompts are not "
            "trained. The adapter is on all linear layers but the output layer, in the code on q_proj, v_proj and "
            "gate_proj, which not every model has; the warm-up is a tenth of the steps instead of 100."
        ),
    )
)
