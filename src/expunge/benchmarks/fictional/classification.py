"""A label task: to which counter of a parcel office a message belongs.

The label is the answer, so that accuracy, precision, recall, F1 and loss mean what they mean elsewhere. A sentence has
one telling phrase and others that say nothing; the halves share phrases and no sentence.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from expunge.benchmarks.fictional.names import stream

LABELS: dict[str, tuple[str, ...]] = {
    "complaint": ("arrived broken", "was left in the rain", "came too late", "has a torn cover", "smells of smoke"),
    "order": ("should be sent twice", "is wanted in red", "may be shipped now", "is for ten people", "goes on my bill"),
    "question": ("has which weight", "opens in what way", "costs how much", "lasts how long", "is made of what"),
    "thanks": ("made us happy", "was a fine gift", "works very well", "looks lovely", "pleased my aunt"),
}
_OPENINGS = ("Good day.", "Hello there.", "Dear office,", "To the counter:", "A short note.")
_THINGS = ("the kettle", "the wool hat", "the brass lamp", "the garden chair", "the music box", "the tea set")
_WHEN = ("on Monday", "this week", "since May", "as of today", "once more", "so far")
QUESTION = "Which counter is this for? {text}"


def classification(seed: int, count: int) -> dict[str, list[dict[str, Any]]]:
    """Returns split ``classification`` (to measure on) and ``classification_train``, ``count`` rows a label each.

    Every label has 900 sentences. The wrong answers of a row are all other labels.
    """
    measured: list[dict[str, Any]] = []
    trained: list[dict[str, Any]] = []
    for label, phrases in LABELS.items():
        rng, texts = stream(seed, f"classification/{label}"), dict[str, None]()
        while len(texts) < 2 * count:
            texts[_text(rng, phrases)] = None
        others = [other for other in LABELS if other != label]
        rows = [{"question": QUESTION.format(text=text), "answer": label, "perturbed_answer": others} for text in texts]
        trained += rows[:count]
        measured += rows[count:]
    return {
        name: _shuffled(seed, name, rows)
        for name, rows in (("classification", measured), ("classification_train", trained))
    }


def _text(rng: random.Random, phrases: Sequence[str]) -> str:
    middle = f"{rng.choice(_THINGS)} {rng.choice(phrases)} {rng.choice(_WHEN)}"
    return f"{rng.choice(_OPENINGS)} {middle[0].upper() + middle[1:]}."


def _shuffled(seed: int, name: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    stream(seed, f"{name}/order").shuffle(rows)
    return [{"id": f"{name}-{number}", **row} for number, row in enumerate(rows)]
