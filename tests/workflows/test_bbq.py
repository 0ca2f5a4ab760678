"""A benchmark that only asks: beside the user's own records to forget, and refused without them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from expunge.api import AuditRequest, audit, plan, unlearn
from expunge.config import Choice
from expunge.errors import InputError
from expunge.metrics.bias import BiasScore
from expunge.metrics.memorisation import Probability
from expunge.registry import suites
from expunge.reports.record import read_record
from tests.benchmarks.test_bbq import FOUR, write
from tests.workflows.test_audit import unlearn_request


@pytest.fixture
def asked(tmp_path) -> Choice:
    """BBQ's columns, four rows."""
    folder = tmp_path / "bbq"
    folder.mkdir()
    return Choice("bbq", {"folder": str(write(folder, *FOUR))})


@pytest.fixture
def bias_suite(monkeypatch) -> str:
    """What suite full asks of bias, and one number of the forget set."""
    full = suites.get("full")

    def chosen(splits):
        return (Probability(), *(one for one in full(splits) if isinstance(one, BiasScore)))

    monkeypatch.setitem(suites._objects, "bias", chosen)
    return "bias"


def test_bias_is_measured_beside_own_records(untrained, asked, bias_suite, tmp_path):
    request = AuditRequest(
        target=Path(untrained.model),
        original=untrained.model,
        retrained=(untrained.base,),
        forget=untrained.forget,
        benchmark=asked,
        suite=bias_suite,
        forms="none",
        out=tmp_path / "out",
    )
    audit(request)
    record = read_record(tmp_path / "out" / "record.json")
    scores = {(one["label"].partition("(")[0], one["label"], one["role"]): one for one in record.scores}
    bias = [one for (name, _, _), one in scores.items() if name == "bias_score"]
    assert len(bias) == 2 * 3
    assert {one["records"] for one in bias} == {2}
    assert {data: facts["records"] for data, facts in record.data.items()} == {"forget": 6, "behaviour_holdout": 4}
    told = json.dumps(record.scores) + (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert not re.search("stumbled|tall one", told)


@pytest.mark.parametrize("verb", [unlearn, plan])
def test_a_benchmark_that_only_asks_has_nothing_to_forget(untrained, asked, tmp_path, verb):
    with pytest.raises(InputError, match="bbq has no records to forget.* --forget"):
        verb(unlearn_request(untrained, tmp_path / "out", forget=None, benchmark=asked))
    assert not (tmp_path / "out").exists()


def test_an_audit_without_records_to_forget_is_refused(untrained, asked, tmp_path):
    with pytest.raises(InputError, match="bbq has no records to forget"):
        audit(
            AuditRequest(target=Path(untrained.model), original=untrained.model, benchmark=asked, out=tmp_path / "out")
        )
    assert not (tmp_path / "out").exists()


def test_own_records_are_unlearned_beside_it(untrained, asked, bias_suite, tmp_path):
    done = unlearn(
        unlearn_request(untrained, tmp_path / "out", benchmark=asked, audit=True, suite=bias_suite, forms="none")
    )
    labels = {score["label"].partition("(")[0] for score in read_record(done.run.record).scores}
    assert labels == {"probability", "bias_score"}
