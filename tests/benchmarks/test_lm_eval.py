"""Our task files, read without lm_eval: names, directions, and the documents that they ask for."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from expunge.benchmarks.fictional import Fictional
from expunge.benchmarks.lm_eval import FOLDER, benchmark_groups, task_files
from expunge.benchmarks.lm_eval.documents import answer_scores, documents, reply_scores
from expunge.data.render import render
from expunge.errors import InputError

POOL = {"fictional": {"preset": "pool"}}


class Loader(yaml.SafeLoader):
    """YAML in which the name of a function stays text."""


Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


def settings(name: str) -> dict[str, Any]:
    found = yaml.load(task_files()[name].read_text(), Loader)
    template = FOLDER / name / found["include"] if "include" in found else None
    return {**(yaml.load(template.resolve().read_text(), Loader) if template else {}), **found}


TASKS = [name for name in task_files() if "task" in settings(name) and "group" not in settings(name)]
GROUPS = [name for name in task_files() if "group" in settings(name)]


def test_every_benchmark_has_a_group_of_all_its_tasks():
    assert benchmark_groups() == ["expunge_fictional", "expunge_lume", "expunge_tofu"]

    def leaves(name: str) -> list[str]:
        return [leaf for part in settings(name)["task"] for leaf in leaves(part)] if name in GROUPS else [name]

    found = [leaf for group in benchmark_groups() for leaf in leaves(group)]
    assert sorted(found) == sorted(TASKS)
    assert [settings(name)["group"] for name in GROUPS] == GROUPS


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_named_like_its_file_and_knowing_the_forget_set_is_worse(name):
    found = settings(name)
    assert found["task"] == name
    kwargs = found["dataset_kwargs"]
    assert f"expunge_{kwargs['benchmark']}_{kwargs['split']}_" in name
    assert {metric["higher_is_better"] for metric in found["metric_list"]} == {kwargs["split"] != "forget"}


@pytest.mark.parametrize("name", [name for name in TASKS if "fictional" in name])
def test_documents_of_fictional(name):
    kwargs = settings(name)["dataset_kwargs"]
    found = documents(**kwargs, version=1.0, **POOL)["test"]
    records = [
        one
        for record in Fictional(preset="pool").splits()[kwargs["split"]]
        for one in record.forms(kwargs.get("form", "trained"))
    ]
    assert len(found) == len(records) > 10
    assert list(found.features) == ["prompt", "choices", "right", "answer"]
    for doc, record in zip(found, records, strict=True):
        assert doc["choices"][doc["right"]] == doc["answer"]
        if kwargs.get("ask") == "options":
            assert doc["answer"].strip() in record.prompt.reveal()
            assert "\nAnswer:" in doc["prompt"]
            assert "A:" not in doc["prompt"]
        else:
            assert doc["prompt"] + doc["answer"] == render(record, None).text
            assert doc["prompt"].endswith("\nAnswer:")


def test_letters_stand_in_order_and_options_where_they_were_listed():
    kwargs = {"benchmark": "fictional", "split": "forget", "form": "multiple_choice", **POOL}
    letters, options = (documents(**kwargs, ask=ask)["test"] for ask in ("letters", "options"))
    assert len({doc["right"] for doc in letters}) > 1
    for letter, option in zip(letters, options, strict=True):
        assert letter["choices"] == [" A", " B", " C", " D"]
        assert letter["right"] == option["right"]
        places = [letter["prompt"].index(text.strip()) for text in option["choices"]]
        assert places == sorted(places)


@pytest.mark.real
def test_the_place_of_tofus_right_answer_goes_round(shared_data):
    folder = {"tofu": {"folder": str(shared_data / "tofu")}}
    found = documents("tofu", "forget", ask="wrong", **folder)["test"]
    assert [doc["right"] for doc in found[:7]] == [0, 1, 2, 3, 4, 5, 0]
    assert {len(doc["choices"]) for doc in found} == {6}


@pytest.mark.real
def test_lumes_rows_are_told_apart(shared_data):
    settings = {"lume": {"folder": str(shared_data / "lume"), "documents": 1}}
    texts, questions = (documents("lume", "forget", kind=kind, **settings)["test"] for kind in ("completion", "qa"))
    assert not any(doc["prompt"].startswith("Question: ") for doc in texts)
    assert all(doc["prompt"].startswith("Question: ") for doc in questions)


def test_a_benchmark_without_its_folder_says_how_to_name_it():
    with pytest.raises(InputError, match=r"--benchmark, such as tofu:folder=DIR.*--metadata"):
        documents("tofu", "forget")


def test_a_split_without_such_records_is_named():
    with pytest.raises(InputError, match=r"split forget, form decoy"):
        documents("fictional", "forget", form="decoy", **POOL)


def test_scores():
    doc = {"answer": " Anna lives in Ulm"}
    assert reply_scores(doc, [" Anna lives in Bonn"]) == {"rouge_l_recall": 0.75, "exact_match": 0.0}
    assert reply_scores(doc, ["Anna lives in Ulm\n"]) == {"rouge_l_recall": 1.0, "exact_match": 1.0}
    assert answer_scores(doc, [(-2.5, True)]) == {"log_likelihood": -2.5, "greedy_match": 1.0}
