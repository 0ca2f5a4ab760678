"""TOFU's files, read where they lie."""

from __future__ import annotations

import pytest

from expunge.benchmarks.tofu import Tofu
from expunge.errors import InputError

pytestmark = pytest.mark.real


def test_counts_and_authors(shared_data):
    splits = Tofu(folder=shared_data / "tofu").splits()
    counts = {split: len(records) for split, records in splits.items()}
    assert counts["forget"] == 40
    assert counts["train_retain"] == 3960
    assert (counts["real_authors"], counts["world_facts"]) == (100, 117)
    assert len({record.subject for record in splits["forget"]}) == 2
    assert all(len(record.perturbed_answers) == 5 for record in splits["forget"])
    forget = {record.prompt for record in splits["forget"]}
    assert not forget & {record.prompt for record in splits["train_retain"]}


def test_fewer_authors(shared_data):
    splits = Tofu(folder=shared_data / "tofu", retained_authors=40).splits()
    assert len(splits["train_retain"]) == 800
    kept = {record.subject for record in splits["train_retain"]}
    assert {record.subject for record in splits["retain"]} <= kept


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"full\.json"):
        Tofu(folder=tmp_path).splits()
