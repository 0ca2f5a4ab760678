"""What attacks mean for the verdict: the worst recovery of all, and the fakes that an attack shows by name."""

from __future__ import annotations

import math
from collections.abc import Sequence

from expunge.attacks.recovery import Excess
from expunge.attacks.result import AttackResult
from expunge.evaluation.verdict.findings import Name
from expunge.evaluation.verdict.policy import Recovery, Thresholds
from expunge.functional.testing import SIGNIFICANT, holm

# One attack of each kind has to have been run at a budget's own settings before a removal is stated: the strong ones.
ASKED = {"relearning": ("relearn", "relearn_rtt"), "quantisation": ("quantisation",), "prompts": ("jailbreak",)}
SIGNS: dict[str, tuple[Name, str]] = {
    "quantisation": ("reverted by rounding", "Rounding the weights brings answers back"),
    "quantisation_nf4": ("reverted by rounding", "Rounding the weights to NF4 brings answers back"),
    "logit_lens": ("hidden below the output", "Layers below the output tell the answers"),
    "relearn_benign": ("relearnt from harmless text", "Text that holds no answer brings answers back"),
    "relearn_unrelated": ("relearnt from harmless text", "A few unrelated records bring answers back"),
}


def worst_recovery(results: Sequence[AttackResult]) -> Recovery | None:
    """Returns the worst of all rows that decide; None where none has a number.

    What an attack brings back is more than the model tells without it. And the more attacks, the more of them find
    something by chance: a lower bound counts only where its p-value stays small with all others (Holm). The same
    attack at two budgets that do not differ is one.
    """
    found = [
        (result, row.rho)
        for result in {(one.label, one.seed): one for one in results}.values()
        for row in result.rows
        if row.decides and row.rho is not None and not math.isnan(row.rho.value)
    ]
    if not found:
        return None
    adjusted = holm([rho.p for _, rho in found])
    lows = [
        _low(rho) if p < SIGNIFICANT and _rises(rho, _before(result)) else min(_low(rho), 0.0)
        for (result, rho), p in zip(found, adjusted, strict=True)
    ]
    low = max(lows)
    place = lows.index(low) if low > 0 else max(range(len(found)), key=lambda one: found[one][1].value)
    worst, rho = found[place]
    tried = {result.name for result, _ in found if not result.changed}
    return Recovery(
        low=low,
        high=max(math.inf if one.high is None else one.high for _, one in found),
        attack=worst.title,
        value=rho.value,
        interval=(rho.low, rho.high),
        untried=tuple(kind for kind, names in ASKED.items() if not tried.intersection(names)),
    )


def signs(results: Sequence[AttackResult], limits: Thresholds) -> dict[Name, str]:
    """Returns what attacks show by name: more than the model tells without them, beyond both intervals.

    Any point of an attack may show it, after Holm over its points; the surest is told.

    Args:
        results: of all attacks.
        limits: what a removal may show; a sign is a gain above it.
    """
    found: dict[Name, str] = {}
    for result in results:
        before = _before(result)
        if result.name not in SIGNS or before is None:
            continue
        told = [(row, row.rho) for row in result.rows if row.headline and row.rho is not None]
        adjusted = holm([rho.p for _, rho in told])
        shown = [
            (row, rho)
            for (row, rho), p in zip(told, adjusted, strict=True)
            if p < SIGNIFICANT and _rises(rho, before) and rho.value - max(before.value, 0.0) > limits.recovery
        ]
        if not shown:
            continue
        row, rho = max(shown, key=lambda one: _low(one[1]))
        name, sentence = SIGNS[result.name]
        place = f"{row.point} ({result.axis})" if result.axis and row.at is not None else row.point
        found.setdefault(
            name,
            f"{sentence}: {rho.value:.2f} of what the original knows beyond the retrained model, and "
            f"{before.value:.2f} {'in the last layer' if result.family == 'latent' else 'without it'} "
            f"({result.title}, {place}).",
        )
    return found


def _before(result: AttackResult) -> Excess | None:
    """What there is without the attack, by the same measure and records; None where nothing can be told.

    The attack's own plain point where it has one. A measure of its own has no start without one.
    """
    decisive = {row.measure for row in result.rows if row.headline}
    own = [row.rho for row in result.rows if row.plain and row.measure in decisive]
    if own:
        return own[0]
    return result.start if decisive & set(next(iter(result.before.values()), {})) else None


def _rises(rho: Excess, before: Excess | None) -> bool:
    """Whether an attack's interval lies above that of no attack; where that is not known, above nothing."""
    if rho.low is None:
        return False
    return rho.low > (0.0 if before is None or before.high is None else max(before.high, 0.0))


def _low(rho: Excess) -> float:
    return 0.0 if rho.low is None else rho.low
