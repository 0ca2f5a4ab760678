"""SHRED: distillation with the least likely true tokens lowered. Hu et al., 2026, https://arxiv.org/abs/2605.07482."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from expunge.config import Choice
from expunge.errors import InputError
from expunge.functional.logprobs import unpack
from expunge.functional.losses import least_likely, shred_targets, teacher_tokens, top_k_kl
from expunge.methods.base import LossMethod, Spec, State, Views, ViewSpec
from expunge.methods.ceu import check_skip
from expunge.methods.preset import Axes, Preset, Training
from expunge.methods.terms import Term, per_token
from expunge.methods.undial import check_strength
from expunge.registry import methods


@methods.register("shred")
@dataclass(frozen=True, kw_only=True)
class SHRED(LossMethod):
    """Distils the original, but lowers the answers' most surprising tokens; the others hold the model as it was."""

    spec: ClassVar[Spec] = Spec(paper="Hu et al., 2026, https://arxiv.org/abs/2605.07482")
    preset: ClassVar[Preset] = Preset(
        method=Choice("shred"),
        axes=Axes(retain_term=Choice("none")),
        training=Training(epochs=10.0),
        source="the loss and learning rate 1e-5 from paper and project page; share, strength, top_k, skip and 10 "
        "epochs are ours",
        departs="No code and no settings were public. The share is of each record's tokens, so that batches change "
        "nothing; the true token is always among the top_k, or lowering it would have no effect; tokens outside of "
        "them are left free.",
    )

    share: float = 0.2  # of a record's answer tokens, the least likely ones first, that are lowered
    strength: float = 10.0  # nats by which a true token's logit is lowered; infinity takes it out
    top_k: int = 100  # tokens of the original's distribution that are distilled
    skip: int = 0  # answer tokens at the start that are never lowered

    def __post_init__(self) -> None:
        """Refuses settings without meaning."""
        check_strength(self.strength)
        check_skip(self.skip)
        if not 0 <= self.share <= 1:
            raise InputError(f"share is a share of the answer tokens between 0 and 1, not {self.share}.")
        if self.top_k < 2:
            raise InputError(f"top_k needs the true token and at least one other, so 2 or more, not {self.top_k}.")

    def views(self) -> tuple[ViewSpec, ...]:
        """The forget set, with the original's distributions."""
        return (ViewSpec(name="forget", reference=frozenset({"logits"})),)

    def forget_term(self, views: Views, state: State) -> Term:
        """Token mean of the divergence to the original, with the least likely true tokens lowered."""
        forget = views["forget"]
        scored_BT, labels_N = forget.batch.labels_scored_BT, forget.policy.labels
        ref_logits_NV = forget.reference.logits
        demoted_BT = least_likely(forget.reference.token_logps, scored_BT, self.share, self.skip)
        targets_NV = shred_targets(ref_logits_NV, labels_N, demoted_BT[scored_BT], self.strength)
        tokens_NK = teacher_tokens(ref_logits_NV, labels_N, self.top_k)
        return per_token(unpack(top_k_kl(forget.policy.logits, targets_NV, tokens_NK), scored_BT))
