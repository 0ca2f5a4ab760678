"""One table over many runs: a row for each method, means over seeds, and sentences written from the numbers."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from expunge.evaluation.verdict.policy import Thresholds
from expunge.reports.reading import Reading
from expunge.reports.record import RunRecord
from expunge.reports.words import GROUNDS, Label

DEFAULTS = Thresholds()  # of records that do not say
STRENGTH, OTHER_FORM, ACCURACY, PROBABILITY, MEMBERSHIP, SAID = (
    "extraction strength",
    "worst other form",
    "exact memorisation",
    "probability",
    "membership AUC",
    "ROUGE-L",
)
MEASURES = (STRENGTH, OTHER_FORM, ACCURACY, PROBABILITY, MEMBERSHIP, SAID)


class Triple(NamedTuple):
    """One measure of the original, the retrained and the judged model; NaN where it was not computed."""

    original: float
    retrained: float
    own: float


@dataclass(frozen=True, kw_only=True)
class BenchRow:
    """One run.

    Attributes:
        method: registry name.
        seed: of the run.
        verdict: word, or ``failed``.
        seconds: of unlearning, audit not included.
        measures: forget measures by name, see ``MEASURES``.
        utility: what was kept relative to the original, on the worst split; see ``expunge.evaluation.utility``.
        margin: equivalence margin of the verdict.
        least_utility: that the verdict asks of a removal.
        trouble: why there is no record.
    """

    method: str
    seed: int
    verdict: str
    seconds: float
    measures: Mapping[str, Triple] = field(default_factory=dict)
    utility: float = math.nan
    margin: float = DEFAULTS.margin
    least_utility: float = DEFAULTS.utility
    trouble: str | None = None


def row_of(record: RunRecord, *, method: str, seed: int) -> BenchRow:
    """Reads the few numbers of one record that the table shows."""
    judged = "policy" if "policy" in record.columns else "unlearned"
    scores = {(*_key(score["label"]), score["role"]): float(score["value"]) for score in record.scores}

    def triple(name: str, form: str) -> Triple:
        found = (scores.get((name, "forget", form, role), math.nan) for role in ("original", "retrained", judged))
        return Triple(*found)

    forms = {form for name, split, form, _ in scores if (name, split) == ("extraction_strength", "forget")}
    found = [triple("extraction_strength", form) for form in sorted(forms - {"trained"})]
    others = [one for one in found if not math.isnan(one.own - one.retrained)]
    kept = Reading(record).utility(judged)
    return BenchRow(
        method=method,
        seed=seed,
        verdict=record.verdict["word"],
        seconds=float(record.run["seconds"]),
        measures={
            STRENGTH: triple("extraction_strength", "trained"),
            OTHER_FORM: max(others, key=lambda one: abs(one.own - one.retrained), default=Triple(*[math.nan] * 3)),
            ACCURACY: triple("exact_memorisation", "trained"),
            PROBABILITY: triple("probability", "trained"),
            MEMBERSHIP: triple("mia_loss", ""),
            SAID: triple("rouge", "trained"),
        },
        utility=math.nan if kept is None else kept.kept.value,
        margin=float(record.thresholds.get("margin", DEFAULTS.margin)),
        least_utility=float(record.thresholds.get("utility", DEFAULTS.utility)),
    )


def _key(label: str) -> tuple[str, str, str]:
    found = Label.parse(label)
    return found.name, found.split, found.settings.get("form", "")


class Summary(NamedTuple):
    """A method over its seeds: means and ranges of what its runs found."""

    method: str
    rows: list[BenchRow]

    def values(self, measure: str, column: str = "own") -> list[float]:
        """Numbers of one measure that are known."""
        found = (getattr(row.measures[measure], column) for row in self.rows if measure in row.measures)
        return [value for value in found if not math.isnan(value)]

    @property
    def utilities(self) -> list[float]:
        """Utility of each run, where it is known."""
        return [row.utility for row in self.rows if not math.isnan(row.utility)]

    def gaps(self, measure: str) -> list[float]:
        """Differences of one measure from the retrained model, one for each run where both are known."""
        found = (row.measures[measure] for row in self.rows if measure in row.measures)
        return [one.own - one.retrained for one in found if math.isfinite(one.own - one.retrained)]

    def within(self, measure: str) -> tuple[int, int]:
        """Runs whose measure is within the margin of the retrained model, and runs where both are known."""
        gaps = self.gaps(measure)
        return sum(abs(gap) <= self.rows[0].margin for gap in gaps), len(gaps)


def summaries(rows: Iterable[BenchRow]) -> list[Summary]:
    """Groups rows by method, in order of appearance."""
    found: dict[str, list[BenchRow]] = {}
    for row in rows:
        found.setdefault(row.method, []).append(row)
    return [Summary(method, its) for method, its in found.items()]


def shown(values: Sequence[float]) -> str:
    """Mean, with the range where there are several."""
    if not values:
        return "-"
    middle = f"{statistics.fmean(values):.3g}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.3g} to {max(values):.3g})"


def table(rows: Sequence[BenchRow]) -> list[list[str]]:
    """Header and one line for each method; the first two lines are the models that all are compared with."""
    header = ["method", *MEASURES, "utility", "seconds", "verdicts"]
    lines = [header]
    whole = Summary("", list(rows))
    for column in ("original", "retrained"):
        # The worst form differs from method to method, so these two have none in common.
        cells = ["" if measure == OTHER_FORM else shown(whole.values(measure, column)) for measure in MEASURES]
        lines.append([column, *cells, "", "", ""])
    for one in summaries(rows):
        words = [row.verdict for row in one.rows]
        counted = ", ".join(f"{word} {words.count(word)}" for word in dict.fromkeys(words))
        cells = [shown(one.values(measure)) for measure in MEASURES]
        seconds = [row.seconds for row in one.rows if not math.isnan(row.seconds)]
        lines.append([one.method, *cells, shown(one.utilities), shown(seconds), counted])
    return lines


def paragraph(summary: Summary) -> str:
    """What a method did well and badly, in sentences that each rest on a number of the table."""
    if not any(row.trouble is None for row in summary.rows):
        return f"{summary.method}: no run ended with a record ({summary.rows[0].trouble})"
    sentences = [
        _forgetting(summary),
        *_other_form(summary),
        *_membership(summary),
        *_cost(summary),
        *_verdicts(summary),
    ]
    failed = [row for row in summary.rows if row.trouble is not None]
    if failed:
        sentences.append(f"{len(failed)} of {len(summary.rows)} runs ended without a record.")
    return f"{summary.method}: {' '.join(sentences)}"


def _forgetting(summary: Summary) -> str:
    own, known = summary.values(STRENGTH), summary.values(STRENGTH, "retrained")
    if not own and not summary.values(SAID):
        return "neither its weights nor what it says could be read on these records."
    if not own:
        said, before = statistics.fmean(summary.values(SAID)), statistics.fmean(summary.values(SAID, "original"))
        return (
            f"what is said overlaps the answers by {said:.2f} (ROUGE-L; {before:.2f} before); the weights are the "
            "original's, so whoever holds them has everything."
        )
    within, count = summary.within(STRENGTH)
    before = statistics.fmean(summary.values(STRENGTH, "original"))
    text = f"extraction strength went from {before:.2f} to {statistics.fmean(own):.2f}"
    if not known:
        return f"{text}; there is no retrained model to compare with."
    where = f"within the margin of the retrained model in {within} of {count} runs"
    return f"{text} (retrained {statistics.fmean(known):.2f}, mean distance {_size(summary.gaps(STRENGTH))}), {where}."


def _other_form(summary: Summary) -> list[str]:
    gaps = summary.gaps(OTHER_FORM)
    if not gaps:
        return []
    within, count = summary.within(OTHER_FORM)
    if within == count:
        return ["The worst of the other forms is no further from the retrained model than the margin."]
    return [
        f"The worst of the other forms is {_size(gaps)} from the retrained model ({_sides(gaps)}), "
        f"within the margin in {within} of {count} runs."
    ]


def _membership(summary: Summary) -> list[str]:
    gaps = summary.gaps(MEMBERSHIP)
    if not gaps:
        return []
    left, right = (statistics.fmean(summary.values(MEMBERSHIP, column)) for column in ("own", "retrained"))
    within, count = summary.within(MEMBERSHIP)
    if within == count:
        exposed = _count(summary, "exposed")
        if not exposed:
            return [f"The loss attack shows no difference from the retrained model beyond the margin (AUC {left:.2f})."]
        return [
            f"The loss attack shows no difference beyond the margin (AUC {left:.2f}), but another membership attack "
            f"finds the forget records less likely than unseen ones in {exposed} of {len(summary.rows)} runs."
        ]
    said = f"AUC {left:.2f}, retrained {right:.2f}, {_size(gaps)} apart"
    margin = summary.rows[0].margin
    above, below = sum(gap > margin for gap in gaps), sum(gap < -margin for gap in gaps)
    sides = [(above, "more memorised"), (below, "suspiciously unlikely")]
    found = " and ".join(f"{side} in {number}" for number, side in sides if number)
    return [f"Next to the retrained model, the loss attack finds the forget records {found} of {count} runs ({said})."]


def _size(gaps: Sequence[float]) -> str:
    """Mean size of the distances: signs do not cancel over seeds."""
    return f"{statistics.fmean(map(abs, gaps)):.2f}"


def _sides(gaps: Sequence[float]) -> str:
    more, less = sum(gap > 0 for gap in gaps), sum(gap < 0 for gap in gaps)
    return f"it knows more in {more} runs and less in {less}"


def _cost(summary: Summary) -> list[str]:
    found = []
    if summary.utilities:
        worst = min(summary.utilities)
        enough = worst >= summary.rows[0].least_utility
        kept = "keeps" if enough else "costs utility: it keeps"
        damaged = _count(summary, "damaged") if enough else 0  # by what is said, since utility is kept
        but = f", but replies to retain prompts are out of range in {damaged} of {len(summary.rows)} runs"
        mean = statistics.fmean(summary.utilities)
        found.append(f"It {kept} {mean:.3f} of the original's utility (least {worst:.3f}){but if damaged else ''}.")
    seconds = [row.seconds for row in summary.rows if not math.isnan(row.seconds)]
    if seconds:
        found.append(f"Unlearning took {statistics.fmean(seconds):.1f} s.")
    return found


def _count(summary: Summary, word: str) -> int:
    return sum(row.verdict == word for row in summary.rows)


def _verdicts(summary: Summary) -> list[str]:
    """Each verdict with its grounds, so that no number above has to be read as the verdict."""
    words = dict.fromkeys(row.verdict for row in summary.rows if row.verdict in GROUNDS)
    return [
        f"Verdict {word} in {_count(summary, word)} of {len(summary.rows)} runs: {GROUNDS[word]}." for word in words
    ]


def to_markdown(rows: Sequence[BenchRow], *, title: str) -> str:
    """The table and the paragraphs as Markdown."""
    header, *lines = table(rows)
    seeds = sorted({row.seed for row in rows})
    marks = [" | ".join(cells) for cells in (header, ["---"] * len(header), *lines)]
    text = "\n".join(f"| {line} |" for line in marks)
    said = "\n".join(f"- {paragraph(one)}" for one in summaries(rows))
    note = f"Means over seeds {', '.join(map(str, seeds))}, ranges in brackets."
    return f"## {title}\n\n{note}\n\n{text}\n\n{said}\n"


def to_csv(rows: Sequence[BenchRow]) -> str:
    """One line for each run, measure and model."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["method", "seed", "verdict", "seconds", "utility", "measure", "original", "retrained", "own"])
    for row in rows:
        for measure, values in row.measures.items():
            writer.writerow([row.method, row.seed, row.verdict, row.seconds, row.utility, measure, *values])
    return out.getvalue()
