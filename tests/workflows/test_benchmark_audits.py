"""``expunge audit --suite full`` on TOFU and LUME, whose models are trained here: real records, real retraining."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from expunge.benchmarks.base import Benchmark
from expunge.benchmarks.lume import Lume
from expunge.benchmarks.tofu import Tofu
from expunge.data.record import Record
from expunge.registry import suites
from expunge.reports.record import RunRecord, read_record
from tests.conftest import SHARED
from tests.support.canary import find_canary
from tests.support.trained import byte_bpe, text_of, train_pair

pytestmark = [pytest.mark.real, pytest.mark.slow]
COLUMNS = ("original", "retrained", "unlearned")
WORDS = {
    *("not known", "not removed", "removed", "suppressed"),
    *("partly removed", "exposed", "damaged", "not verifiable"),
}
UNLEARNING = {"learning_rate": "1e-3", "epochs": "5", "batch_size": "8", "warmup": "0", "retain_term": "nll"}
STRENGTH = "extraction_strength(split=forget, form=trained)"
CANARY = slice(8, 40)  # characters of an answer that stand nowhere else


class Case(NamedTuple):
    """What is unlearned, and the folder with the models and what came of them."""

    out: Path
    flag: str  # of --benchmark
    splits: dict[str, list[Record]]

    @property
    def models(self) -> list[str]:
        """Flags of the models to compare with."""
        return ["--original", str(self.out / "original"), "--retrained", str(self.out / "retrained")]

    def audit(self, model: Path, out: Path, suite: str) -> RunRecord:
        """Audits a model folder by command."""
        run("audit", str(model), "--benchmark", self.flag, *self.models, "--suite", suite, "--out", str(out))
        return read_record(out / "record.json")


def run(*arguments: str) -> None:
    """Runs a command in a process of its own; it must succeed."""
    command = [sys.executable, "-m", "expunge", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def prepare(
    out: Path, flag: str, benchmark: Benchmark, others: Sequence[Record], *, epochs: int, batch_size: int
) -> Case:
    """Trains both models, with a tokenizer that has seen other records, and makes the original forget with NPO."""
    splits = {split: records for split, records in benchmark.splits().items() if records}
    keep = splits.get("train_retain", splits["retain"])
    told = {text_of(record) for split in ("forget", "holdout") for record in splits[split]}
    tokenizer = byte_bpe(text for text in map(text_of, others) if text not in told)
    train_pair(keep, splits["forget"], tokenizer, out, epochs=epochs, batch_size=batch_size)
    settings = [part for key, item in UNLEARNING.items() for part in ("--set", f"{key}={item}")]
    given = ["--benchmark", flag, "--method", "npo", *settings, "--no-audit"]
    run("unlearn", str(out / "original"), *given, "--out", str(out / "run"))
    return Case(out, flag, splits)


def data(name: str) -> Path:
    folder = SHARED / "data" / name
    if not folder.is_dir():
        pytest.skip(f"real input is not here: ../shared/data/{name}")
    return folder


def tofu_case(out: Path) -> Case:
    folder, numbers = data("tofu"), {"retained_authors": 3, "holdout_authors": 2}
    flag = f"tofu:folder={folder},forget=forget01," + ",".join(f"{key}={item}" for key, item in numbers.items())
    others = Tofu(folder=folder).splits()["train_retain"]
    return prepare(out, flag, Tofu(folder=folder, **numbers), others, epochs=20, batch_size=8)


def lume_case(out: Path) -> Case:
    folder, numbers = data("lume"), {"tasks": "Task1,Task2", "documents": 4, "holdout": 3}
    flag = f"lume:folder={folder}," + ",".join(f"{key}={item}" for key, item in numbers.items())
    others = Lume(folder=folder, tasks=numbers["tasks"]).splits()["retain"]
    return prepare(out, flag, Lume(folder=folder, **numbers), others, epochs=30, batch_size=4)


class Audited(NamedTuple):
    """A case with the record of its full audit."""

    case: Case
    record: RunRecord

    @property
    def folder(self) -> Path:
        """Where the audit wrote."""
        return self.case.out / "audit"

    def value(self, label: str, role: str) -> float:
        """Value of the one metric whose label begins so."""
        (found,) = (
            score["value"] for score in self.record.scores if score["label"].startswith(label) and score["role"] == role
        )
        return found


@pytest.fixture(scope="module", params=[tofu_case, lume_case], ids=["tofu", "lume"])
def audited(request, tmp_path_factory) -> Audited:
    case = request.param(tmp_path_factory.mktemp("case"))
    return Audited(case, case.audit(case.out / "run" / "model", case.out / "audit", "full"))


def test_every_metric_of_the_suite_has_a_number_or_a_reason(audited):
    record = audited.record
    assert tuple(record.columns) == (*COLUMNS, "guardrail")
    scored = {(score["label"], score["role"]) for score in record.scores}
    reasons = {(one["label"], one["role"]): one["reason"] for one in record.omitted}
    assert all(reasons.values())
    labels = [metric.label for metric in suites.get("full")(tuple(audited.case.splits))]
    missing = [
        (label, role)
        for label in labels
        for role in COLUMNS
        if (label, role) not in scored and not {(label, role), (label, "")} & set(reasons)
    ]
    assert not missing
    assert len(scored) > 100


def test_the_original_knows_and_the_retrained_does_not(audited):
    known, never, _ = (audited.value("probability(split=forget, form=trained", role) for role in COLUMNS)
    assert known > 0.8
    assert never < 0.05
    assert audited.value(STRENGTH, "original") - audited.value(STRENGTH, "retrained") > 0.5
    assert audited.value("mia_loss(", "original") > 0.9


def test_the_verdict_is_a_word_that_the_numbers_bear(audited):
    assert audited.record.verdict["word"] in WORDS
    assert audited.record.verdict["reasons"]


def test_the_report_names_every_metric(audited):
    page = (audited.folder / "report.html").read_text(encoding="utf-8")
    for label in {score["label"] for score in audited.record.scores}:
        assert label.replace("'", "&#39;") in page, label


def test_no_text_to_forget_is_left_in_the_run_folders(audited):
    answers = [record.answer.reveal()[CANARY] for record in audited.case.splits["forget"]]
    longest = sorted((answer for answer in answers if len(answer) > 20), key=len)[-3:]
    for folder in (audited.folder, audited.case.out / "run"):
        assert any(folder.rglob("*.json"))
        for canary in longest:
            assert find_canary(folder, canary) == []


def test_the_original_did_not_forget(audited):
    record = audited.case.audit(audited.case.out / "original", audited.case.out / "itself", "quick")
    assert record.verdict["word"] not in ("removed", "not known")
