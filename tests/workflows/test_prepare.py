"""Prepared folders: what is in them, that they are the same each time, and that nothing else is touched or told."""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import stat
from pathlib import Path
from typing import Any

import pytest

import expunge
from expunge.data.checks import check_splits
from expunge.data.reader import read_records
from expunge.data.selection import Selection
from expunge.errors import InputError
from expunge.workflows.advice import percent
from expunge.workflows.identity import tokenizer_digest
from expunge.workflows.prepare import PrepareRequest, prepare
from expunge.workflows.prepared import Prepared
from tests.support.canary import find_canary

CANARY = "Zqxvorn"
WORDS = [
    "river",
    "stone",
    "maple",
    "window",
    "engine",
    "violet",
    "harbour",
    "candle",
    "meadow",
    "copper",
    "lantern",
    "ivory",
]


def person(name: str, count: int = 4) -> list[dict[str, str]]:
    source = random.Random(name)
    return [
        {
            "id": f"{name}-{number}",
            "subject": name,
            "question": f"What is fact {number} of {name}?",
            "answer": f"{name} has {' '.join(source.choices(WORDS, k=12))}.",
        }
        for number in range(count)
    ]


PEOPLE = [f"Given{number} Family{number}" for number in range(60)]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


@pytest.fixture
def files(tmp_path) -> dict[str, Path]:
    """Data of many persons, and one of them to be forgotten, whose name stands in file names too."""
    forget = person(CANARY + " Abilov")
    data = [row for name in PEOPLE for row in person(name)]
    mixed = [{"text": f"A letter to Abilov, {CANARY}."}, {"text": f"Write to {CANARY}@mail.org"}, *forget]
    found = {
        "data": write(tmp_path / f"{CANARY}-data.jsonl", [*data, *mixed, "{broken " + CANARY]),
        "forget": write(tmp_path / f"{CANARY}.jsonl", [*forget, {"text": f"{CANARY}@mail.org"}, "[]"]),
    }
    return found


def request(files: dict[str, Path], out: Path, **changes: Any) -> PrepareRequest:
    return PrepareRequest(
        **{
            "data": (files["data"],),
            "forget": files["forget"],
            "shares": {"holdout": 0.2},
            "out": out,
            "allow_rejected": True,
            **changes,
        }
    )


def rows(made: Prepared, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (made.folder / f"{name}.jsonl").read_text().splitlines()]


def test_what_a_folder_holds(files, tmp_path):
    made = prepare(request(files, tmp_path / "out"))
    names = {path.name for path in made.folder.iterdir()}
    sets = {"retain.jsonl", "forget.jsonl", "holdout.jsonl"}
    assert names == {*sets, "excluded.jsonl", "manifest.json", "data.key"}
    assert [(row["rule"], row["record"]) for row in rows(made, "excluded")] == [
        ("name", 240),
        ("value", 241),
        *(("exact", number) for number in range(242, 246)),
    ]
    manifest = json.loads((made.folder / "manifest.json").read_text())
    assert manifest == made.manifest
    assert manifest["inputs"]["data"]["rejected"] == [{"line": 247, "reason": "not valid JSON"}]
    assert manifest["inputs"]["forget"]["rejected"] == [{"line": 6, "reason": "not an object"}]
    assert manifest["excluded"]["moved_by"]["exact"] == 4
    assert manifest["splits"]["retain"]["records"] + manifest["splits"]["holdout"]["records"] == 240
    for name, file in manifest["files"].items():
        data = (made.folder / name).read_bytes()
        assert file == {"records": data.count(b"\n"), "hmac": hmac_of(made, data)}
    for role in ("data", "forget"):
        assert manifest["inputs"][role]["hmac"] == hmac_of(made, files[role].read_bytes())


def hmac_of(made: Prepared, data: bytes) -> str:
    key = (made.folder / "data.key").read_bytes()
    return hmac.new(key, hashlib.sha256(data).hexdigest().encode(), hashlib.sha256).hexdigest()


def test_no_file_can_be_guessed_from_the_manifest(tmp_path):
    """A short file has few possible contents; the manifest must not tell which of them it is."""
    source = {name: write(tmp_path / f"{name}.jsonl", [{"text": f"{name} has HIV"}]) for name in ("Ann", "Bo")}
    names = tmp_path / "names.txt"
    names.write_text("Cy Lee\n")
    data = write(tmp_path / "data.jsonl", [{"text": "a letter to Cy Lee"}, {"text": "of the sea"}])
    given = {"data": (data, source["Bo"]), "forget": source["Ann"], "names": names}
    made = [prepare(PrepareRequest(**given, out=tmp_path / place)) for place in ("one", "two")]
    texts = [(one.folder / "manifest.json").read_text() for one in made]
    known = [*source.values(), names, data, *made[0].folder.glob("*.jsonl")]
    assert len(known) == 7
    for path in known:
        assert hashlib.sha256(path.read_bytes()).hexdigest() not in texts[0] + texts[1]
    assert "sha256" not in texts[0]
    one, two = (
        sorted(file["hmac"] for file in [*m.manifest["inputs"].values(), *m.manifest["files"].values()]) for m in made
    )
    assert len(one) == 7
    assert not set(one) & set(two)


def test_a_folder_that_lost_its_key_is_left_as_it_is(files, tmp_path):
    made = prepare(request(files, tmp_path / "out"))
    (made.folder / "data.key").unlink()
    with pytest.raises(InputError, match="changed since"):
        prepare(request(files, made.folder))
    assert not (made.folder / "data.key").exists()


def test_the_sets_are_fit_for_unlearning(files, tmp_path):
    made = prepare(request(files, tmp_path / "out"))
    sets = {name: read_records(made.folder / f"{name}.jsonl", name) for name in ("forget", "retain", "holdout")}
    assert all(not found.rejected for found in sets.values())
    report = check_splits(sets["forget"].records, sets["retain"].records)
    assert (report.overlap, report.retain_duplicates) == (0, 0)
    subjects = {
        name: {record.subject.reveal() for record in found.records if record.subject} for name, found in sets.items()
    }
    assert not subjects["retain"] & subjects["holdout"]
    assert len(subjects["retain"]) + len(subjects["holdout"]) == len(PEOPLE)
    assert find_canary((made.folder / "retain.jsonl").read_bytes(), CANARY) == []
    assert find_canary((made.folder / "holdout.jsonl").read_bytes(), CANARY) == []


def test_the_same_again(files, tmp_path):
    first = prepare(request(files, tmp_path / "out"))
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in first.folder.iterdir()}
    again = prepare(request(files, tmp_path / "out"))
    other = prepare(request(files, tmp_path / "other"))
    assert (first.unchanged, again.unchanged, other.unchanged) == (False, True, False)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in first.folder.iterdir()} == before
    sets = {path.name: data for path, (data, _) in before.items() if path.suffix == ".jsonl"}
    assert len(sets) == 4
    assert all((other.folder / name).read_bytes() == data for name, data in sets.items())


def test_a_further_record_moves_no_other(files, tmp_path):
    before = prepare(request(files, tmp_path / "before"))
    lines = files["data"].read_text().splitlines()
    random.Random(0).shuffle(lines)
    write(files["data"], [*lines, *person("Someone New")])
    after = prepare(request(files, tmp_path / "after"))
    for name in ("retain", "holdout"):
        then, now = ({row["id"] for row in rows(made, name)} for made in (before, after))
        assert then <= now
        assert now - then <= {f"Someone New-{number}" for number in range(4)}
    other = prepare(request(files, tmp_path / "other", seed=1))
    assert {row["id"] for row in rows(other, "holdout")} != {row["id"] for row in rows(after, "holdout")}


def test_modes_and_leftovers(files, tmp_path):
    out = tmp_path / "deep" / "out"
    made = prepare(request(files, out))
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in made.folder.iterdir()} == {0o600}
    assert {path.name for path in out.parent.iterdir()} == {"out", ".out.lock"}


def test_a_killed_run_leaves_nothing_behind(files, tmp_path, monkeypatch):
    out = tmp_path / "here" / "out"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("expunge.storage.atomic._sync_tree", killed)
    monkeypatch.setattr("expunge.storage.atomic.shutil.rmtree", lambda *_, **__: None)  # as if there were no time
    with pytest.raises(KeyboardInterrupt):
        prepare(request(files, out))
    assert find_canary(out.parent, CANARY) != []
    monkeypatch.undo()
    prepare(request(files, out))
    assert {path.name for path in out.parent.iterdir()} == {"out", ".out.lock"}


def test_folders_that_are_refused(files, tmp_path):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "note.txt").write_text("mine")
    with pytest.raises(InputError, match="holds files that prepare did not make"):
        prepare(request(files, foreign))
    assert [path.name for path in foreign.iterdir()] == ["note.txt"]
    made = prepare(request(files, tmp_path / "out"))
    before = {path.name: path.read_bytes() for path in made.folder.iterdir()}
    for changes in ({"seed": 1}, {"shares": {}}, {"selection": Selection(skip=frozenset({"nfc"}))}):
        with pytest.raises(InputError, match="with other settings"):
            prepare(request(files, made.folder, **changes))
    assert {path.name: path.read_bytes() for path in made.folder.iterdir()} == before
    (made.folder / "retain.jsonl").write_text("changed")
    with pytest.raises(InputError, match="changed since"):
        prepare(request(files, made.folder))
    assert (made.folder / "retain.jsonl").read_text() == "changed"
    with pytest.raises(InputError, match="is not a folder"):
        prepare(request(files, files["data"]))
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is not a folder"):
        prepare(request(files, link))


def test_an_empty_folder_is_taken(files, tmp_path):
    (tmp_path / "out").mkdir()
    assert not prepare(request(files, tmp_path / "out")).unchanged


def test_several_files_of_several_shapes(tmp_path):
    (tmp_path / "a.csv").write_text("question,answer\nq,a\nq,A \n")
    (tmp_path / "b.json").write_text('[{"text": "t"}, "u", 17]')
    write(tmp_path / "c.jsonl", [{"prompt": "p ", "completion": "c"}, {"text": "T"}])
    data = tuple(tmp_path / name for name in ("a.csv", "b.json", "c.jsonl"))
    made = prepare(PrepareRequest(data=data, out=tmp_path / "out"))
    assert [row.get("text") or row.get("answer") or row.get("completion") for row in rows(made, "retain")] == [
        "a",
        "t",
        "u",
        "c",
    ]
    assert made.manifest["inputs"]["data 2"]["rejected"] == [{"line": 3, "reason": "not an object"}]
    assert made.manifest["duplicates"] == {"exact": 2, "near": 0}
    assert set(made.manifest["splits"]) == {"retain"}


def test_near_duplicates_are_kept_apart_for_review(tmp_path):
    text = " ".join(f"word{number}" for number in range(40))
    data = write(tmp_path / "data.jsonl", [{"text": text}, {"text": f"{text} more"}, {"text": "other"}])
    made = prepare(PrepareRequest(data=(data,), out=tmp_path / "out"))
    assert [row["text"] for row in rows(made, "retain")] == [text, "other"]
    assert rows(made, "duplicates")[0]["like"] == {"file": 1, "record": 0}
    kept = prepare(PrepareRequest(data=(data,), out=tmp_path / "all", selection=Selection(skip=frozenset({"near"}))))
    assert len(rows(kept, "retain")) == 3


WRONG = [
    ({"shares": {"retain": 0.1}}, "cannot be called 'retain'"),
    ({"shares": {"a b": 0.1}}, "cannot be called 'a b'"),
    ({"shares": {"../x": 0.1}}, "cannot be called"),
    ({"shares": {"holdout": 1.5}}, "share of holdout"),
    ({"selection": Selection(min_tokens=3)}, "need --tokenizer"),
    ({"data": ()}, "at least one file"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_requests_that_are_refused(files, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        prepare(request(files, tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()


def advice_of(tmp_path, data, forget=None, **changes) -> str:
    sources = {"data": (write(tmp_path / "data.jsonl", data),)}
    if forget:
        sources["forget"] = write(tmp_path / "forget.jsonl", forget)
    return "\n".join(prepare(PrepareRequest(**sources, out=tmp_path / "out", **changes)).manifest["warnings"])


def test_advice_on_what_stays(tmp_path):
    data = [
        *({"text": f"{WORDS[number]} {number}"} for number in range(6)),
        {"text": "of Ann Lee"},
        {"text": "Ann Lee, too"},
    ]
    forget = [{"text": "x", "subject": "Ann Lee"}, {"text": "y", "subject": "Rose"}, {"text": "z", "subject": "17"}]
    told = advice_of(tmp_path, data, forget, selection=Selection(keep=frozenset({"name"})))
    assert "25 % of retain records name a forget subject." in told
    assert "1 of the names are a single word" in told
    assert "1 forget subjects are numbers or one character" in told
    assert "No record of the data equals a forget record" in told
    assert "The forget set has fewer than 10 subjects: no interval will be printed." in told
    assert "No record that stays has a subject" in told


def test_advice_on_a_small_holdout_and_names_across(tmp_path):
    data = [row for name in PEOPLE[:20] for row in person(name, 2)]
    held = {
        row["subject"]
        for row in rows(
            prepare(
                PrepareRequest(
                    data=(write(tmp_path / "first.jsonl", data),), out=tmp_path / "first", shares={"holdout": 0.2}
                )
            ),
            "holdout",
        )
    }
    assert 0 < len(held) < 10
    letters = [{"text": f"a letter to {name}"} for name in sorted(held)] * 1
    told = advice_of(tmp_path, [*data, *letters], shares={"holdout": 0.2})
    assert "The holdout set has fewer than 10 subjects: no interval will be printed." in told
    assert "of the retain set name a subject of the holdout set." in told
    assert "No record that stays has a subject" not in told


def test_advice_on_damage_and_shares(tmp_path):
    data = [{"text": "caf\u00c3\u00a9 one"}, {"text": "a &amp; b"}, {"text": "a\ufffd"}, {"text": "Ann Lee"}, "{"]
    told = advice_of(tmp_path, data, [{"text": "Ann Lee"}])
    assert "1 line was rejected" in told
    assert "1 record of the data look like text decoded" in told
    assert "25 % of the data was excluded" in told
    assert "No forget record has a subject and no names were given" in told


def test_advice_on_lost_forget_records_and_files_of_what_was_left_out(tmp_path):
    forget = [{"text": "\u200b"}, {"text": "Ann Lee"}, {"text": "ann lee"}]
    data = [{"text": "kept"}, {"text": "KEPT "}, {"question": "q", "answer": "\u200b"}]
    told = advice_of(tmp_path, data, forget)
    assert "Left out of the forget set: 1 record without visible text; look through dropped.jsonl." in told
    assert "Left out of the forget set: 1 record equal to another; look through duplicates.jsonl." in told
    assert "outside the token limits" not in told
    dropped, doubles = ((tmp_path / "out" / name).read_text() for name in ("dropped.jsonl", "duplicates.jsonl"))
    assert [json.loads(line)["file"] for line in dropped.splitlines()] == [0, 1]
    assert [json.loads(line)["file"] for line in doubles.splitlines()] == [0, 1]


def test_a_forget_file_of_empty_records_is_told_of(tmp_path):
    told = advice_of(tmp_path, [{"text": "kept"}], [{"text": "\u200b"}, {"text": "\u200b\u200b"}])
    assert "Left out of the forget set: 2 records without visible text" in told


def test_shares_in_words():
    assert [percent(*pair) for pair in ((0, 9), (1, 1000), (12, 100), (9, 9))] == [
        "0 %",
        "less than 1 %",
        "12 %",
        "100 %",
    ]


def test_tokens_are_counted_and_limited(shared_models, tmp_path):
    texts = [{"text": f"{who} upon a time " * size} for who in ("Once", "Ann Lee") for size in (1, 8, 40)]
    data, names = write(tmp_path / "data.jsonl", texts), tmp_path / "names.txt"
    names.write_text("Ann Lee\n")
    request = PrepareRequest(
        data=(data,),
        out=tmp_path / "out",
        names=names,
        tokenizer=str(shared_models / "stories260k"),
        selection=Selection(min_tokens=10, max_tokens=150),
    )
    made = prepare(request)
    assert made.manifest["outside_length"] == 2
    assert [row["reason"] for row in rows(made, "dropped")] == ["too_short", "too_long"]
    assert len(rows(made, "forget")) == 3
    told = "Kept in the forget set: 1 record outside the token limits, which hold for other sets only."
    assert told in made.manifest["warnings"]
    tokens = made.manifest["splits"]["retain"]["tokens"]
    assert 10 <= tokens["min"] == tokens["max"] <= 150
    assert made.manifest["settings"]["tokenizer"] == tokenizer_digest(request.tokenizer)
    assert len(made.manifest["settings"]["tokenizer"]) == 64


def test_settings_name_the_version_and_no_tokenizer_where_none_counted(files, tmp_path, monkeypatch):
    made = prepare(request(files, tmp_path / "out"))
    assert made.manifest["settings"]["expunge"] == expunge.__version__
    assert made.manifest["settings"]["tokenizer"] is None
    monkeypatch.setattr("expunge.workflows.prepare.__version__", "0.0.0")
    with pytest.raises(InputError, match="by another version"):
        prepare(request(files, tmp_path / "out"))
