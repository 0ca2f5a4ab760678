"""What unlearning did to the weights, part by part: how many have another value, and how far they moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from expunge.reports.reading import Reading
from expunge.reports.sections.figure import Figure, figures
from expunge.reports.svg import BOTTOM, LEFT, RIGHT, WIDTH, Axis, Scale, bar, figure, line, number, text, ticks
from expunge.reports.words import listed

_TRACK, _GAP = 104, 40  # pixels: height of one row of bars, and what is between two
_FEW = 14  # parts that a table shows beside the chart; more are folded
_WIDEST = 34.0  # pixels of a bar
_NAME = 66  # pixels of the longest name under one


class PartRow(NamedTuple):
    """One part: its name, weights, share of them that changed, and the norm of the change beside the weights'."""

    name: str
    weights: int
    share: float
    relative: float

    @property
    def is_block(self) -> bool:
        """Whether it is one of the blocks."""
        return self.name.startswith("block ")


class Weights(NamedTuple):
    """The chart, what it says, its numbers, and whether these are too many to stand beside it.

    Of many parts those alone are told that changed.
    """

    figure: Figure
    parts: list[PartRow]
    is_long: bool


def weights(reading: Reading) -> Weights | None:
    """Returns the section; None where no weights were compared."""
    found = reading.record.changes
    parts = [_part(one) for one in found["parts"]] if found else []
    if found is None or not parts:
        return None
    name = "What changed in the weights"
    (chart,) = figures((name, _chart(parts, name), _sentence(parts, found["share"])))
    is_long = len(parts) > _FEW
    return Weights(chart, [part for part in parts if part.share > 0] if is_long else parts, is_long)


def _part(one: Mapping[str, Any]) -> PartRow:
    name = f"block {one['part']}" if one["part"].isdigit() else one["part"]
    return PartRow(name, one["weights"], one["changed"] / max(1, one["weights"]), one["relative"])


def _sentence(parts: Sequence[PartRow], share: float) -> str:
    total = sum(part.weights for part in parts)
    changed = [part for part in parts if part.share > 0]
    if not changed:
        return f"None of the {total:,} weights has another value: the model is the original."
    told = "Every one" if share == 1 else percent(share)
    where = "in every part" if len(changed) == len(parts) else f"in {_places(changed)}; all others are the original's"
    most = max(changed, key=lambda part: part.relative)
    return (
        f"{told} of the {total:,} weights {'has' if share == 1 else 'have'} another value, {where}. "
        f"The largest change is in {_places([most])}: its norm is {number(most.relative)} of the weights' own."
    )


def percent(share: float) -> str:
    """A share as a percentage in which all and none are said of all and none alone."""
    if share in (0, 1):
        return f"{100 * share:.0f} %"
    return f"{number(min(100 * share, 99.9))} %"


def _places(parts: Sequence[PartRow]) -> str:
    """Names of parts, neighbouring blocks as a range."""
    ranges: list[list[int]] = []
    for block in sorted(int(part.name.removeprefix("block ")) for part in parts if part.is_block):
        if ranges and block == ranges[-1][1] + 1:
            ranges[-1][1] = block
        else:
            ranges.append([block, block])
    spans = [str(low) if low == high else f"{low} to {high}" for low, high in ranges]
    plural = "" if len(ranges) == 1 and ranges[0][0] == ranges[0][1] else "s"
    blocks = [f"block{plural} {listed(spans)}"] if spans else []
    others = [part.name for part in parts if not part.is_block]
    return listed([f"the {name}" for name in others if name == "embeddings"] + blocks + [
        f"the {name}" for name in others if name != "embeddings"
    ])  # fmt: skip


def _chart(parts: Sequence[PartRow], name: str) -> str:
    """Two rows of bars over the same parts: shares from 0 to 1, and norms from 0 to the largest."""
    most = max(part.relative for part in parts)
    marks = ticks(0.0, most, 3) if most > 0 else [0.0]
    top = max(most, marks[-1]) or 1.0
    shares = Axis(0.0, 1.0, "share of weights changed", [(0.0, "0"), (0.5, "0.5"), (1.0, "1")])
    norms = Axis(0.0, top, "norm of the change / norm of the weights", [(mark, number(mark)) for mark in marks])
    first = 24.0
    second = first + _TRACK + _GAP
    drawn = [
        _track(parts, shares, first, [part.share for part in parts]),
        _track(parts, norms, second, [part.relative for part in parts]),
        _names(parts, second + _TRACK),
    ]
    return figure(drawn, second + _TRACK + BOTTOM, name)


def _centres(parts: Sequence[PartRow]) -> tuple[list[float], float]:
    """Middle of each bar, pixels, and the room that each has."""
    room = (WIDTH - RIGHT - LEFT) / len(parts)
    return [LEFT + room * (place + 0.5) for place in range(len(parts))], room


def _track(parts: Sequence[PartRow], axis: Axis, top: float, values: Sequence[float]) -> str:
    scale = Scale(axis.low, axis.high, top + _TRACK, top)
    centres, room = _centres(parts)
    half = min(_WIDEST, 0.76 * room) / 2
    drawn = [text(0, top - 12, axis.label, style="name")]
    for value, mark in axis.ticks:
        drawn += [line(LEFT, scale(value), WIDTH - RIGHT, scale(value), "grid")]
        drawn += [text(LEFT - 7, scale(value) + 4, mark, anchor="end")]
    for part, centre, value in zip(parts, centres, values, strict=True):
        sides = (centre - half, centre + half)
        drawn.append(bar(sides, (scale.clipped(value), scale.start), f"{part.name}: {number(value)}"))
    return "".join(drawn)


def _names(parts: Sequence[PartRow], floor: float) -> str:
    """Numbers of blocks at round places, and below them what the parts are."""
    centres, room = _centres(parts)
    blocks = [(centre, int(part.name.removeprefix("block "))) for part, centre in zip(parts, centres, strict=True)
              if part.is_block]  # fmt: skip
    drawn = []
    if blocks:
        step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 1000) if len(blocks) <= 12 * step)
        drawn = [text(centre, floor + 16, str(block), anchor="middle") for centre, block in blocks if block % step == 0]
        middle = (blocks[0][0] + blocks[-1][0]) / 2
        drawn.append(text(middle, floor + 33, "block", anchor="middle", style="name"))
    ends = {"embeddings": (LEFT, "start"), "output": (WIDTH - RIGHT, "end")}
    for part, centre in zip(parts, centres, strict=True):
        if part.name in ends:
            x, anchor = (centre, "middle") if room > _NAME else ends[part.name]
            drawn.append(text(x, floor + 33, part.name, anchor=anchor, style="name"))
    return "".join(drawn)
