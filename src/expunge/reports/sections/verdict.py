"""The verdict's box: the reasons, what was found by name, and whether the policy is met."""

from __future__ import annotations

from typing import NamedTuple

from expunge.reports.reading import Reading
from expunge.reports.words import MEANINGS, TONES, either, plainly, sentence, words


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
    """

    word: str
    meaning: str
    tone: str
    reasons: list[str]
    findings: list[tuple[str, str]]
    policy: str
    advice: list[str]


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
    )


def policy_sentence(reading: Reading) -> str:
    """Returns which words the policy accepts, and whether the verdict is one of them."""
    accepted, met = reading.record.policy.get("accept"), reading.record.policy.get("met")
    if not accepted or met is None:
        return ""
    return f"The policy accepts {either(accepted)}: {'met' if met else 'not met'}."
