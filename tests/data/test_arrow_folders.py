"""Parquet files and folders of saved data sets on the command line: what is refused before pyarrow is asked for."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from expunge.cli import main

CANARY = "zq9canary"
USAGE = 2


def refused(capsys, forget: Path) -> str:
    """What ``plan`` says when it refuses a file; there is no model, and none is looked for."""
    assert main(["plan", "no-model", "--method", "gradient_ascent", "--forget", str(forget)]) == USAGE
    said = "".join(capsys.readouterr())
    assert CANARY not in said
    return " ".join(said.split())


def saved(folder: Path, **state: Any) -> Path:
    folder.mkdir()
    (folder / "state.json").write_text(json.dumps(state))
    return folder


@pytest.fixture
def without_pyarrow(monkeypatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_missing_extra_is_named_with_its_command(tmp_path, capsys, without_pyarrow, kind):
    if kind == "file":
        path = tmp_path / "people.parquet"
        path.write_bytes(b"PAR1")
    else:
        path = saved(tmp_path / "people", _data_files=[{"filename": "data.arrow"}])
        (path / "data.arrow").write_bytes(b"")
    said = refused(capsys, path)
    assert 'pyarrow is not installed: pip install "expunge[parquet]"' in said


def test_a_folder_of_several_splits_lists_them(tmp_path, capsys):
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    said = refused(capsys, tmp_path)
    assert "The forget file is a folder of several splits (train, test); pass one of them, such as" in said
    assert str(tmp_path / "train") in said.replace(" ", "")


def test_a_folder_of_something_else_is_refused(tmp_path, capsys):
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    said = refused(capsys, tmp_path)
    assert "The forget file is a folder, not a regular file; pass a file in it." in said
    assert "with state.json" in said


@pytest.mark.parametrize(
    "state",
    [
        {"_data_files": [{"filename": f"../{CANARY}"}]},
        {"_data_files": [{"filename": f"/{CANARY}"}]},
        {"_data_files": [{"filename": ".."}]},
        {"_data_files": [{"name": CANARY}]},
        {"_data_files": CANARY},
        {"_data_files": None},
        {},
    ],
)
def test_names_that_lead_out_of_the_folder_are_refused(tmp_path, capsys, state):
    (tmp_path / CANARY).write_bytes(b"")
    assert "state.json of the forget data set does not name its files" in refused(
        capsys, saved(tmp_path / "a", **state)
    )


def test_a_selection_that_is_kept_apart_is_refused(tmp_path, capsys):
    state = {"_data_files": [{"filename": "a.arrow"}], "_indices_data_files": [{"filename": "b.arrow"}]}
    assert "a selection of its rows in a file of its own" in refused(capsys, saved(tmp_path / "a", **state))


@pytest.mark.parametrize("text", [CANARY, "[1]", "[" * 5000, " " * 1_000_001])
def test_a_state_that_cannot_be_read_is_refused(tmp_path, capsys, text):
    (tmp_path / "state.json").write_text(text)
    assert "state.json of the forget data set cannot be read" in refused(capsys, tmp_path)


def test_pipes_and_missing_files_are_refused_at_once(tmp_path, capsys):
    os.mkfifo(tmp_path / "people.parquet")
    assert "The forget file is a named pipe" in refused(capsys, tmp_path / "people.parquet")
    folder = saved(tmp_path / "a", _data_files=[{"filename": "data.arrow"}])
    assert "The forget file cannot be read: No such file" in refused(capsys, folder)
    os.mkfifo(folder / "data.arrow")
    assert "The forget file is a named pipe" in refused(capsys, folder)
    (folder / "state.json").unlink()
    os.mkfifo(folder / "state.json")
    assert "The forget file is a named pipe" in refused(capsys, folder)
