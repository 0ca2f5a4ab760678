"""``expunge prepare``: what it prints, its exit codes, and that no record shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from expunge.cli import main
from tests.support.canary import find_canary

CANARY = "Zqxvorn"


@pytest.fixture
def files(tmp_path) -> dict[str, str]:
    """Files whose names and records hold the canary."""
    forget = [{"id": f"{CANARY}1", "subject": f"{CANARY} Abilov", "question": "Who?", "answer": f"{CANARY}@mail.org"}]
    data = [
        *forget,
        *({"text": f"{CANARY}"[:3] + f" and number {number}"} for number in range(30)),
        {"text": f"by {CANARY}  Abilov"},
    ]
    found = {}
    for name, rows in (("forget", forget), ("data", data)):
        path = tmp_path / f"{CANARY}-{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"text": "' + CANARY + "\n")
        found[name] = str(path)
    for name, text in (("names", f"{CANARY} Abilov\n"), ("phrases", f"{CANARY}@mail.org\n"), ("bad", "{" + CANARY)):
        path = tmp_path / f"{CANARY}-{name}.txt"
        path.write_text(text)
        found[name] = str(path)
    return found


def prepare(files) -> list[str]:
    return ["prepare", files["data"], "--forget", files["forget"], "--allow-rejected"]


def test_it_describes_and_warns_and_shows_no_record(files, tmp_path, capsys):
    out = tmp_path / "out"
    command = [*prepare(files), "--holdout", "0.2", "--out", str(out)]
    assert main(command) == 0
    shown, told = capsys.readouterr()
    assert "excluded exact 1, name 1" in " ".join(shown.split())
    assert "line 33: not valid JSON" in shown
    assert "looks like" in shown
    assert "heuristic" in shown
    assert "warning: The forget set has fewer than 10 subjects: no interval will be printed." in told
    assert main(command) == 0
    assert "already there, the same" in capsys.readouterr().out
    for place in (shown.encode(), told.encode(), out / "manifest.json", out / "retain.jsonl", out / "holdout.jsonl"):
        assert find_canary(place, CANARY) == []
    assert find_canary(out / "excluded.jsonl", CANARY) != []


def test_json_is_the_manifest(files, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--subject", files["names"], "--match", files["phrases"], "--split", "validation=0.3", "--json"]
    assert main(["prepare", files["data"], *arguments, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert json.loads(shown) == json.loads((out / "manifest.json").read_text())
    assert set(json.loads(shown)["splits"]) == {"retain", "forget", "validation"}
    assert json.loads(shown)["splits"]["forget"]["records"] == 2
    assert find_canary(shown.encode(), CANARY) == []


WRONG = [
    (["--holdout", "2"], "The share of holdout"),
    (["--split", "validation"], "--split takes NAME=SHARE"),
    (["--split", "retain=0.1"], "cannot be called 'retain'"),
    (["--near", "0"], "--near is a similarity"),
    (["--skip", "nothing"], "no step named 'nothing'"),
    (["--keep", "nothing"], "no rule of exclusion named 'nothing'"),
    (["--min-tokens", "4"], "need --tokenizer"),
    (["--subject", "{bad}"], "looks like JSON"),
    (["--subject", "{data}"], "looks like JSON"),
    (["--forget", "{bad}"], "must end in .jsonl"),
    (["--forget", "{names}x"], "There is no forget file"),
    (["--tokenizer", "no/such/folder"], "folder"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_what_cannot_be_used_is_two(files, tmp_path, capsys, arguments, message):
    given = [argument.format(**files) for argument in arguments]
    assert main(["prepare", files["data"], *given, "--out", str(tmp_path / "out")]) == 2
    shown, told = capsys.readouterr()
    assert shown == ""
    assert message in told
    assert find_canary(told.encode(), CANARY) == []
    assert not (tmp_path / "out").exists()


def test_a_folder_of_others_is_two_and_untouched(files, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "note.txt").write_text("mine")
    assert main(["prepare", files["data"], "--out", str(out)]) == 2
    assert "Nothing was changed" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["note.txt"]


def test_both_spellings_of_a_step(files, tmp_path):
    for number, step in enumerate(("trailing_space", "trailing-space")):
        assert main(["prepare", files["data"], "--skip", step, "--out", str(tmp_path / str(number))]) == 0
    one, two = (json.loads((tmp_path / name / "manifest.json").read_text()) for name in "01")
    assert one["settings"]["skip"] == ["trailing_space"]
    assert one["settings"] == two["settings"]
    assert one["cleaning"] == two["cleaning"]


@pytest.mark.slow
def test_the_same_bytes_in_another_process_without_torch(files, tmp_path):
    code = (
        "import sys; from expunge.cli import main; c = main(sys.argv[1:]); sys.exit(c or 9 * ('torch' in sys.modules))"
    )
    for number in range(2):
        environment = {**os.environ, "PYTHONHASHSEED": str(number)}
        command = [sys.executable, "-c", code, *prepare(files), "--holdout", "0.3"]
        done = subprocess.run([*command, "--out", str(tmp_path / str(number))], env=environment, capture_output=True)
        assert done.returncode == 0, done.stderr
        assert find_canary(done.stdout + done.stderr, CANARY) == []
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).glob("*.jsonl")} for name in "01")
    assert {"retain.jsonl", "forget.jsonl", "holdout.jsonl"} <= set(one)
    assert one == two


@pytest.mark.real
@pytest.mark.slow
def test_tofu_without_two_authors(shared_data: Path, tmp_path, capsys):
    """The whole command on TOFU: no row of the two authors stays, and no row of another author goes."""
    names = tmp_path / "names.txt"
    names.write_text("Basil Mahfouz Al-Kuwaiti\nNikolai Abilov\n")
    tofu = shared_data / "tofu"
    command = ["prepare", str(tofu / "full.json"), "--forget", str(tofu / "forget01.json"), "--subject", str(names)]
    assert main([*command, "--holdout", "0.1", "--out", str(tmp_path / "out"), "--json"]) == 0
    shown, told = capsys.readouterr()
    manifest = json.loads(shown)
    assert manifest["excluded"]["records"] == 40
    assert manifest["excluded"]["holds_for"] == {
        "exact": 40,
        "near": 40,
        "subject": 0,
        "name": 40,
        "match": 0,
        "quote": 39,  # all but one, whose answer has seven words
        "value": 0,
    }
    kept = [(tmp_path / "out" / f"{name}.jsonl").read_text().splitlines() for name in ("retain", "holdout")]
    assert sum(map(len, kept)) == 3960
    assert manifest["duplicates"] == {"exact": 0, "near": 0}
    forget = [json.loads(line) for line in (tofu / "forget01.json").read_text().splitlines()]
    for row in forget:
        for text in (row["question"], row["answer"]):
            assert text not in shown + told + (tmp_path / "out" / "manifest.json").read_text()
            assert all(json.dumps(text, ensure_ascii=False) not in line for lines in kept for line in lines)
    for part in ("Kuwaiti", "Abilov"):
        assert find_canary((shown + told).encode(), part) == []
        assert find_canary(tmp_path / "out" / "manifest.json", part) == []
        assert not any(part in line for lines in kept for line in lines)
