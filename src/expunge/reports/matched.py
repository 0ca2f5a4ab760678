"""Runs at one utility as a page shows them: their paths to the original, and what is left of the forgetting there.

Wang et al., 2024, https://arxiv.org/abs/2406.09179.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from expunge.functional.testing import detectable_mean
from expunge.functional.tradeoff import Matched, Point, compare_matched, pareto_front
from expunge.reports.charts import Curve, Dot, Spot, plane_chart, unit_axis
from expunge.reports.reading import ORIGINAL, Value
from expunge.reports.sections.figure import Figure, figures
from expunge.reports.svg import Axis, number, place_of
from expunge.reports.words import Label, counted, listed, title, words


class MatchedRun(NamedTuple):
    """One run.

    Attributes:
        name: for the reader.
        path: models from the unlearned to the original one; utilities are shares of the original's.
        at: where the wanted utility is first reached.
        saved: forgetting of the unlearned model itself, with its interval.
        on_front: whether no other run, as saved, beats it.
    """

    name: str
    path: list[Point]
    at: Matched
    saved: Value
    on_front: bool


class Matching(NamedTuple):
    """Runs at one utility, the best forgetting first.

    Attributes:
        utility: share of the original's at which they are compared.
        metric: recorded name of what forgetting is read by; forgetting is one minus its value.
        kept: recorded names of what utility is read by; the one of which least was kept counts.
        runs: best first.
        subjects: of the forget set, behind each number.
        notes: what could not be checked.
    """

    utility: float
    metric: str
    kept: list[str]
    runs: list[MatchedRun]
    subjects: int
    notes: list[str]

    def to_plain(self) -> dict[str, Any]:
        """Plain data, for ``--json``."""
        return {
            "utility": self.utility,
            "forgetting": f"1 - {self.metric}",
            "kept": self.kept,
            "subjects": self.subjects,
            "runs": [
                {
                    "name": run.name,
                    **run.at._asdict(),
                    "saved": {**run.saved._asdict(), "utility": run.path[0].utility, "on_front": run.on_front},
                    "path": [point._asdict() for point in run.path],
                }
                for run in self.runs
            ],
            "notes": self.notes,
        }


def match_paths(
    paths: Mapping[str, Sequence[Point]],
    saved: Mapping[str, Value],
    utility: float,
    *,
    metric: str,
    kept: Sequence[str],
    subjects: int,
    notes: Sequence[str] = (),
) -> Matching:
    """Ranks runs by the forgetting that is left at one utility.

    Args:
        paths: of each run, see ``expunge.functional.tradeoff.matched``; utilities are shares of the original's.
        saved: forgetting of each unlearned model itself, with its interval.
        utility: share of the original's.
        metric: see ``Matching``, like the rest.
        kept: see there.
        subjects: see there.
        notes: see there.

    Raises:
        InputError: points that make no path.
    """
    names = list(paths)
    ordered = {name: sorted(path) for name, path in paths.items()}
    front = {names[place] for place in pareto_front([ordered[name][0][1:] for name in names])}
    runs = [
        MatchedRun(name, ordered[name], at, saved[name], name in front)
        for name, at in compare_matched(paths, utility).items()
    ]
    return Matching(utility, metric, list(kept), runs, subjects, list(notes))


def chart(matching: Matching, roles: Sequence[str]) -> list[Figure]:
    """Returns the plane with every path, the utility asked for, and the front of the runs as they were saved.

    Args:
        matching: the runs.
        roles: models of the page that have a marker; runs that are not among them follow.
    """
    roles = [*roles, *(run.name for run in matching.runs if run.name not in roles)]
    places = {run.name: place_of(run.name, roles) for run in matching.runs}
    lines = [Curve([point[1:] for point in run.path], f"line s{places[run.name]}") for run in matching.runs]
    crossings = [Curve([run.at[1:]], "line", places[run.name]) for run in matching.runs if run.at.share > 0]
    name = f"Paths to the original, compared at utility {number(matching.utility)}"
    svg = plane_chart(
        _spots(matching, places),
        unit_axis(f"forgetting, 1 - {title(matching.metric)}"),
        _utilities(matching),
        title=name,
        curves=[Curve(_steps(matching), "front"), *lines, *crossings],
        level=matching.utility,
        note=f"utility {number(matching.utility)}",
    )
    return figures((name, svg, _sentence(matching)))


def _steps(matching: Matching) -> list[tuple[float, float]]:
    """The front of the saved runs as stairs: what lies below and left of them is beaten by one of the runs."""
    corners = sorted(run.path[0][1:] for run in matching.runs if run.on_front)
    inner = [((left[0], right[1]), right) for left, right in pairwise(corners)]
    return [*corners[:1], *(point for pair in inner for point in pair)]


def _spots(matching: Matching, places: Mapping[str, int]) -> list[Spot]:
    end = matching.runs[0].path[-1]
    spots = [Spot(Dot(0, ORIGINAL, Value(end.forgetting)), Value(end.utility))]
    for run in matching.runs:
        spots.append(Spot(Dot(places[run.name], run.name, run.saved), Value(run.path[0].utility)))
    return spots


def _utilities(matching: Matching) -> Axis:
    found = [point.utility for run in matching.runs for point in run.path]
    low = min(0.8, int(min(*found, matching.utility) * 10) / 10)
    return Axis.linear(low, max(1.05, *found), "utility, original = 1")


def _sentence(matching: Matching) -> str:
    front = [run.name for run in matching.runs if run.on_front]
    stairs = "" if len(front) == 1 else " (the stairs)"
    return (
        "Each line leads from a run as it was saved (its name) to the original; the marker on the dotted line is the "
        "run at the utility asked for, and a run above that line stands as it is. As saved, no other run beats "
        f"{listed(front)} in both numbers{stairs}."
    )


def reading(matching: Matching) -> list[str]:
    """Returns what was done and what the numbers do not say, a paragraph each."""
    splits = listed([words(Label.parse(label).split) for label in matching.kept])
    kept = f"{title(matching.kept[0])} on {splits}{', whichever kept least' if len(matching.kept) > 1 else ''}"
    chance = detectable_mean(max(1, matching.subjects))
    return [
        "Who forgets more and breaks more is no better. Each run's weights are moved towards the original's until the "
        f"model keeps {number(matching.utility)} of the original's utility ({kept}), and forgetting is compared there. "
        "A run that kept that much stands as it was saved.",
        f"The numbers at one utility have no interval. On {counted(matching.subjects, 'subject')} a difference between "
        f"two models is found reliably (5 % level, 80 % power) only from {number(chance)} at worst.",
        *matching.notes,
    ]


def lines(matching: Matching) -> list[str]:
    """The table for a terminal."""
    heads = ["share of original", "utility", "forgetting", "forgetting as saved", "utility as saved"]
    width = 2 + max(len(run.name) for run in matching.runs)
    found = [
        f"At {number(matching.utility)} of the original's utility, best first (forgetting is 1 - {matching.metric}):",
        " " * width + "".join(f"{head:>{len(head) + 2}}" for head in heads),
    ]
    for run in matching.runs:
        values = [*run.at[:1], run.at.utility, run.at.forgetting, run.saved.value, run.path[0].utility]
        cells = "".join(f"{number(value):>{len(head) + 2}}" for value, head in zip(values, heads, strict=True))
        found.append(f"{run.name:<{width}}{cells}{'  on the front' if run.on_front else ''}")
    return [*found, *(f"note: {note}" for note in matching.notes)]
