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


def test_held_out_authors_come_after_the_kept_ones_and_are_never_trained_on(shared_data):
    splits = Tofu(folder=shared_data / "tofu", retained_authors=18, holdout_authors=3).splits()
    holdout = splits["holdout"]
    assert [record.subject.reveal() for record in holdout[::20]] == ["author 18", "author 19", "author 20"]
    assert [record.index for record in holdout] == list(range(60))
    assert {record.split for record in holdout} == {"holdout"}
    # TOFU has paraphrases of authors 18 and 19, and of no later one but 22.
    assert [record.paraphrased_answer is not None for record in holdout] == [True] * 40 + [False] * 20
    assert all(len(record.perturbed_answers) == 5 for record in holdout[:40])
    assert len({record.subject for record in splits["retain"]}) == 18
    trained = {record.prompt for split in ("train_retain", "forget") for record in splits[split]}
    assert not trained & {record.prompt for record in holdout}


def test_all_that_is_not_held_out_is_kept(shared_data):
    splits = Tofu(folder=shared_data / "tofu", holdout_authors=8).splits()
    assert (len(splits["train_retain"]), len(splits["holdout"])) == (3800, 160)
    assert "holdout" not in Tofu(folder=shared_data / "tofu").splits()


def test_a_question_about_two_authors_keeps_them_apart(shared_data):
    splits = Tofu(folder=shared_data / "tofu", retained_authors=10).splits()
    assert {len(splits["retain"]), len(splits["train_retain"])} == {200}
    assert len({record.subject for record in splits["train_retain"]}) == 10


@pytest.mark.parametrize(
    "settings",
    [{"retained_authors": 0}, {"retained_authors": 199}, {"holdout_authors": -1}, {"holdout_authors": 198}]
    + [{"retained_authors": 190, "holdout_authors": 9}],
)
def test_impossible_numbers_of_authors_are_refused(shared_data, settings):
    with pytest.raises(InputError, match="must lie between"):
        Tofu(folder=shared_data / "tofu", **settings).splits()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"full\.json"):
        Tofu(folder=tmp_path).splits()
