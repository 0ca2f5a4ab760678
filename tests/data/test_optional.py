"""Optional fields without a value read as absent in every format; required ones reject the line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from expunge.data.reader import ReadResult, read_records

OPTIONAL = ("id", "subject", "weight", "paraphrased_question", "paraphrased_answer", "perturbed_answer", "forms")
WHOLE = {"question": "Where does Arlo live?", "answer": "In Mirrow."}


def read(folder: Path, item: dict[str, object], suffix: str) -> ReadResult:
    path = folder / f"forget{suffix}"
    if suffix == ".csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, item)
        writer.writeheader()
        writer.writerow(item)
        path.write_text(text.getvalue())
    else:
        path.write_text(json.dumps([item] if suffix == ".json" else item))
    return read_records(path, "forget")


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv"])
@pytest.mark.parametrize("empty", ["", " ", None], ids=["empty", "blank", "null"])
@pytest.mark.parametrize("field", OPTIONAL)
def test_an_empty_optional_field_is_absent(tmp_path, field, empty, suffix):
    assert read(tmp_path, {**WHOLE, field: empty}, suffix) == read(tmp_path, WHOLE, suffix)


def test_empty_elements_of_a_list_and_an_empty_start_are_absent(tmp_path):
    form = {"question": "Who lives in Mirrow?", "answer": "Arlo."}
    item = {**WHOLE, "perturbed_answer": ["", "In Velmor.", None], "forms": {"reverse": [{**form, "given": ""}]}}
    record = read(tmp_path, item, ".jsonl").records[0]
    assert [answer.reveal() for answer in record.perturbed_answers] == ["In Velmor."]
    assert record.variants["reverse"][0].given is None


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv"])
def test_an_empty_required_field_rejects_the_line(tmp_path, suffix):
    path = tmp_path / f"forget{suffix}"
    if suffix == ".csv":
        path.write_text("question,answer\na,b\nc,\n")
    else:
        lines = [json.dumps({"question": "a", "answer": "b"}), json.dumps({"question": "c", "answer": ""})]
        path.write_text("\n".join(lines) if suffix == ".jsonl" else f"[{','.join(lines)}]")
    result = read_records(path, "forget")
    assert len(result.records) == 1
    assert len(result.rejected) == 1
