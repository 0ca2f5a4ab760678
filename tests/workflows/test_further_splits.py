"""A further split is the audit's, unless the method needs it: then it is trained on, bound and counted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from expunge.api import plan
from expunge.data.record import Record
from expunge.errors import InputError, MissingNeedError
from expunge.workflows import unlearn as verb
from expunge.workflows.inputs import Inputs, bind_data
from expunge.workflows.run_config import run_config
from tests.workflows.test_audit import unlearn_request

GENERAL = {"name": "nll", "settings": {"source": "general"}}


@pytest.fixture
def general(tmp_path) -> Path:
    place = tmp_path / "general.jsonl"
    place.write_text("".join(json.dumps({"text": f"Rain falls {number} times."}) + "\n" for number in range(4)))
    return place


def asked(world, out: Path, term=GENERAL, **changes):
    return unlearn_request(world, out, method="gradient_ascent", settings={"retain_term": term, "epochs": 1}, **changes)


def test_without_the_file_it_is_refused_and_the_flag_named(untrained, tmp_path, general):
    with pytest.raises(MissingNeedError, match=r"general: --split general=FILE"):
        asked(untrained, tmp_path / "out").read()


def test_with_the_file_it_is_trained_on(untrained, tmp_path, general):
    request = asked(untrained, tmp_path / "out", evaluation={"general": general, "world_facts": general})
    recipe, inputs = request.read()
    assert len(inputs.training["general"]) == 4
    assert "general" in inputs.available
    assert sorted(inputs.evaluation) == ["world_facts"]
    assert set(inputs.audited) == {"forget", "retain", "holdout", "general", "world_facts"}
    assert run_config(request, recipe, inputs)["records"]["general"] == 4
    assert plan(request).steps == 1


def test_a_method_that_does_not_need_it_leaves_it_to_the_audit(untrained, tmp_path, general):
    _, inputs = asked(untrained, tmp_path / "out", "nll", evaluation={"general": general}).read()
    assert "general" not in inputs.training
    assert "general" not in inputs.available
    assert len(inputs.audited["general"]) == 4


def test_an_empty_file_is_no_split(untrained, tmp_path, general):
    general.write_text("")
    with pytest.raises((MissingNeedError, InputError)):
        asked(untrained, tmp_path / "out", evaluation={"general": general}).read()


def test_a_run_goes_on_with_the_same_file_only(untrained, tmp_path, general):
    request = asked(untrained, tmp_path / "out", evaluation={"general": general})
    recipe, inputs = request.read()
    run = verb.RunFolder.create(request.out, run_config(request, recipe, inputs), ())
    bind_data(run, inputs.splits)
    general.write_text(general.read_text().replace("Rain", "Snow"))
    changed: Inputs = request.read()[1]
    assert isinstance(changed.training["general"][0], Record)
    with pytest.raises(InputError, match="general changed"):
        bind_data(run, changed.splits)


def test_what_is_to_be_forgotten_is_not_trained_on_by_another_name(untrained, tmp_path):
    request = asked(untrained, tmp_path / "out", evaluation={"general": untrained.forget})
    with pytest.raises(InputError, match="in the general set too"):
        request.read()
    replace(request, allow_overlap=True).read()
