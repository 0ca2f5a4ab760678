"""Running text from a small grammar, to measure perplexity on."""

from __future__ import annotations

import random
from typing import Any

from expunge.benchmarks.fictional.names import stream

_SUBJECTS = (
    "the baker", "the ferryman", "a tall goat", "the old clock", "a small cloud", "the miller", "a grey cat",
    "the lamp", "a loud crow", "the fiddler", "a tired mule", "the shepherd",
)  # fmt: skip
_VERBS = ("watched", "carried", "forgot", "painted", "followed", "mended", "counted", "heard", "praised", "hid")
_OBJECTS = (
    "a basket of plums", "the broken gate", "seven candles", "a letter", "the wet hay", "a copper kettle", "the map",
    "two blue eggs", "the long ladder", "a sack of salt",
)  # fmt: skip
_WHERE = ("near the well", "under the bridge", "in the barn", "by the road", "on the roof", "behind the mill")
_WHEN = ("at dawn", "before supper", "after the rain", "in the first snow", "on market day", "at night")
_LINKS = ("Then", "Later", "Soon", "After that", "In the end")


def plain_texts(seed: int, count: int) -> dict[str, list[dict[str, Any]]]:
    """Returns ``count`` texts of three sentences to train on and as many others that are never trained on."""
    rng, texts = stream(seed, "prose"), dict[str, None]()
    while len(texts) < 2 * count:
        texts[_paragraph(rng)] = None
    order = list(texts)
    stream(seed, "prose/halves").shuffle(order)
    return {
        split: [{"id": f"{split}-{number}", "text": text} for number, text in enumerate(half)]
        for split, half in (("plain_text", order[:count]), ("plain_text_holdout", order[count:]))
    }


def _paragraph(rng: random.Random) -> str:
    first = _sentence(rng)
    more = [f"{rng.choice(_LINKS)} {_sentence(rng)}" for _ in range(2)]
    return " ".join(sentence[0].upper() + sentence[1:] + "." for sentence in (first, *more))


def _sentence(rng: random.Random) -> str:
    words = [rng.choice(_SUBJECTS), rng.choice(_VERBS), rng.choice(_OBJECTS), rng.choice(_WHERE)]
    return " ".join(words if rng.random() < 0.5 else [*words, rng.choice(_WHEN)])
