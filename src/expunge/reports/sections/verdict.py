"""The verdict's box: the reasons, what was found by name, and whether the policy is met."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from expunge.functional.testing import SIGNIFICANT
from expunge.reports.reading import Reading
from expunge.reports.words import MEANINGS, TONES, counted, either, plainly, sentence, words

HALF = 0.5  # of the way
SHOWN = 0.001  # smallest p-value that is written out


class Box(NamedTuple):
    """What stands in the box.

    Attributes:
        word: the verdict.
        meaning: what it means.
        tone: class of the style sheet.
        reasons: sentences, those of the findings left out.
        findings: name and sentence of each.
        policy: what was asked for and whether it is met; empty where nothing was.
        advice: what to change in the next run.
        relative: whether the model is nearer to the retrained model or to the original; empty where not tested.
    """

    word: str
    meaning: str
    tone: str
    reasons: list[str]
    findings: list[tuple[str, str]]
    policy: str
    advice: list[str]
    relative: str


def box(reading: Reading) -> Box:
    """Returns the box of a record; records of before know no findings and no policy."""
    verdict = reading.record.verdict
    found = verdict.get("findings", ())
    said = {finding["sentence"] for finding in found}
    return Box(
        verdict["word"],
        MEANINGS.get(verdict["word"], ""),
        TONES.get(verdict["word"], ""),
        [plainly(reason, reading.names) for reason in verdict["reasons"] if reason not in said],
        [(sentence(words(one["name"])), plainly(one["sentence"], reading.names)) for one in found],
        policy_sentence(reading),
        reading.record.advice,
        relative_sentence(verdict.get("relative")),
    )


def relative_sentence(facts: Mapping[str, Any] | None) -> str:
    """Returns the outcome of the relative test; empty without one."""
    if facts is None:
        return ""
    share, subjects = facts["share"], counted(facts["subjects"], "subject")
    way = f"Relative test: the model has moved {share:.0%} of the way from the original to the retrained model"
    if facts["p"] is None:
        return f"{way} ({subjects}, too few for a p-value)."
    p = "< 0.001" if facts["p"] < SHOWN else f"= {facts['p']:.2g}"
    if facts["p"] >= SIGNIFICANT:
        return f"{way}. It is not shown to be nearer to either of them ({subjects}, p {p})."
    return f"{way}. It is nearer to the {'retrained model' if share > HALF else 'original'} ({subjects}, p {p})."


def policy_sentence(reading: Reading) -> str:
    """Returns which words the policy accepts, and whether the verdict is one of them."""
    accepted, met = reading.record.policy.get("accept"), reading.record.policy.get("met")
    if not accepted or met is None:
        return ""
    return f"The policy accepts {either(accepted)}: {'met' if met else 'not met'}."
