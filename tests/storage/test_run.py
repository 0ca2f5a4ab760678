from __future__ import annotations

import json
import math
import os
import stat
import threading

import pytest

from expunge.errors import InputError, LockedError
from expunge.storage import atomic
from expunge.storage.digests import DataKey, folder_digest
from expunge.storage.events import read_events
from expunge.storage.run import RunFolder, harden_umask
from expunge.storage.secret import Secret
from tests.support.killing import fill_disk_at_every_write, kill_at_every_write
from tests.support.params import few

CONFIG = {"method": {"name": "npo", "settings": {"beta": 0.1}}, "seed": 0, "axes": [1, 2], "limit": math.nan}


def everything(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")
    }


@pytest.fixture
def run(tmp_path):
    return RunFolder.create(tmp_path / "run", CONFIG)


def test_a_new_run(run):
    assert json.loads(run.config_path.read_text())["format"] == "expunge-run"
    assert run.state == "created"
    assert [event.kind for event in read_events(run.events_path)] == ["state"]
    opened = RunFolder.open(run.root)
    assert repr(opened.config) == repr(CONFIG)
    names = ("model", "record.json", "events.jsonl", "scores", "report.html", "config.json", "checkpoints", "helpers", "keep-text", "data.key")  # fmt: skip  # noqa: E501
    paths = (run.model, run.record, run.events_path, run.scores, run.report, run.config_path, run.checkpoints, run.helpers, run.keep_text, run.key_path)  # fmt: skip  # noqa: E501
    assert paths == tuple(run.root / name for name in names)


def test_states(run):
    heard = []
    other = RunFolder.open(run.root, listeners=(heard.append,))
    for state in ("running", "interrupted", "running", "diverged", "done"):
        other.set_state(state, step=3)
        assert run.state == RunFolder.open(run.root).state == state
    assert [event.data for event in heard][-1] == {"state": "done", "step": 3}
    other.events.append("metric", state="not one")
    assert run.state == "done"
    with pytest.raises(InputError, match="no state 'finished'; known: created, running"):
        run.set_state("finished")


def test_the_same_settings_go_on(run):
    run.set_state("interrupted")
    run.model.mkdir()
    again = RunFolder.create(run.root, {**CONFIG, "axes": (1, 2)})
    assert again.state == "interrupted"
    assert len(read_events(run.events_path)) == 2
    assert run.model.is_dir()


def test_other_settings_are_named_and_nothing_changes(run):
    before = everything(run.root)
    other = {"method": {"name": "npo", "settings": {"beta": 0.2}}, "seed": False, "limit": math.nan, "extra": {}}
    with pytest.raises(InputError) as caught:
        RunFolder.create(run.root, other)
    shown = str(caught.value).partition("(")[2].partition(")")[0]
    assert shown == (
        "method.settings.beta: 0.1 there, 0.2 now; seed: 0 there, false now; axes: [1, 2] there, not set now; "
        "extra: not set there, {} now"
    )
    assert everything(run.root) == before


def test_long_differences_are_cut(run):
    with pytest.raises(InputError) as caught:
        RunFolder.create(run.root, {**CONFIG, **{f"k{number}": "v" * 500 for number in range(30)}})
    assert "and 18 more" in str(caught.value)
    assert 'k0: not set there, "' + "v" * 79 + "... now; k1" in str(caught.value)
    assert len(str(caught.value)) < 2000


def test_strangers_are_not_touched(tmp_path):
    (tmp_path / "theirs").mkdir(mode=0o755)
    (tmp_path / "theirs" / "photo").touch()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text('{"format": "expunge-run"')
    (tmp_path / "file").touch()
    before = everything(tmp_path)
    for name, said in (
        ("theirs", "is not a run folder"),
        ("model", "is not a run folder"),
        ("broken", "is not a run folder"),
        ("file", "is not a folder"),
    ):
        with pytest.raises(InputError, match=said):
            RunFolder.create(tmp_path / name, CONFIG)
        assert not RunFolder.is_run(tmp_path / name)
    assert everything(tmp_path) == before
    assert stat.S_IMODE((tmp_path / "theirs").stat().st_mode) == 0o755


def test_an_empty_folder_is_taken_and_closed(tmp_path, lax_umask):
    (tmp_path / "run").mkdir(mode=0o777)
    run = RunFolder.create(tmp_path / "run", CONFIG)
    run.events.append("a")
    DataKey.load_or_create(run.root)
    with run.locked():
        atomic.write_json(run.scores / "a.json", 1)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (run.root, *run.root.rglob("*"))}
    files = ("config.json", "events.jsonl", ".events.jsonl.lock", ".lock", "data.key", "a.json")
    assert modes == {"run": 0o700, "scores": 0o700, **dict.fromkeys(files, 0o600)}


def test_open_says_what_is_missing(tmp_path, run):
    with pytest.raises(InputError, match="There is no run folder"):
        RunFolder.open(tmp_path / "none")
    with pytest.raises(InputError, match=r"it has no config\.json"):
        RunFolder.open(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(InputError, match="is not a run folder"):
        RunFolder.open(tmp_path)
    assert RunFolder.is_run(run.root)


@pytest.mark.parametrize("version", [2, 0, "1", None])
def test_a_folder_of_another_version_is_refused_and_unchanged(tmp_path, run, version):
    header = json.loads(run.config_path.read_text())
    run.config_path.write_text(json.dumps({**header, "version": version}))
    before = everything(run.root)
    for use in (RunFolder.open, RunFolder.watch, lambda path: RunFolder.create(path, CONFIG)):
        with pytest.raises(InputError, match=f"of version {version}; this Expunge reads 1. Use the Expunge that wrote"):
            use(run.root)
    assert everything(run.root) == before


def test_a_config_is_plain(tmp_path):
    with pytest.raises(TypeError):
        RunFolder.create(tmp_path / "run", {"a": Secret("quokka", "record 1")})
    assert not (tmp_path / "run").exists()


def test_the_lock_comes_with_clearing_up(run):
    leftover = run.root / "checkpoints" / ".tmp-0123456789ab-0123456789abcdef"
    leftover.mkdir(parents=True)
    (run.root / ".old-model").mkdir()
    with run.locked():
        assert not leftover.exists()
        assert run.model.is_dir()
        leftover.mkdir()
        with pytest.raises(LockedError, match="the run folder"), RunFolder.open(run.root).locked():
            pytest.fail("two at once")
        assert leftover.exists()  # only the holder clears up


def fill(run):
    for name in ("model/model.safetensors", "model/config.json", "checkpoints/step-1/model.safetensors",
                 "checkpoints/step-1/state.json", "helpers/reinforced/model.safetensors", "helpers/a.json",
                 "keep-text/a.jsonl", "scores/a.json", "record.json", "report.html", "notes.txt",
                 "scores/.tmp-0123456789ab-0123456789abcdef", "their/photo"):  # fmt: skip
        atomic.write_bytes(run.root / name, name.encode())
    DataKey.load_or_create(run.root)


def test_inventory(run):
    fill(run)
    (run.root / "link").symlink_to("/nowhere")
    with run.locked():
        (run.root / "scores" / ".tmp-0123456789ab-0123456789abcdef").touch()
    items = {item.path: (item.holds, item.sensitive) for item in run.inventory()}
    assert items == {
        ".events.jsonl.lock": ("settings", False),
        ".lock": ("settings", False),
        "checkpoints/step-1/model.safetensors": ("weights", True),
        "checkpoints/step-1/state.json": ("settings", True),
        "config.json": ("settings", False),
        "data.key": ("key", True),
        "events.jsonl": ("numbers", False),
        "helpers/a.json": ("settings", True),
        "helpers/reinforced/model.safetensors": ("weights", True),
        "keep-text/a.jsonl": ("text", True),
        "link": ("text", True),
        "model/config.json": ("settings", False),
        "model/model.safetensors": ("weights", False),
        "notes.txt": ("text", True),
        "record.json": ("numbers", False),
        "report.html": ("numbers", False),
        "scores/.tmp-0123456789ab-0123456789abcdef": ("text", True),
        "scores/a.json": ("numbers", False),
        "their/photo": ("text", True),
    }
    sizes = {item.path: item.bytes for item in run.inventory()}
    assert sizes["model/config.json"] == len("model/config.json")
    assert sum(sizes.values()) == sum(
        path.lstat().st_size for path in run.root.rglob("*") if not path.is_dir() or path.is_symlink()
    )


def test_purge(run):
    fill(run)
    before = set(everything(run.root))
    removed = run.purge(["helpers", "helpers/a.json", "keep-text/", "scores/a.json"])
    gone = {"helpers/a.json", "helpers/reinforced/model.safetensors", "keep-text/a.jsonl", "scores/a.json"}
    assert {item.path for item in removed} == gone
    assert before - set(everything(run.root)) == gone | {"helpers", "helpers/reinforced", "keep-text"}
    event = read_events(run.events_path)[-1]
    assert event.kind == "purge"
    assert event.data == {"files": 4, "bytes": sum(len(name) for name in gone)}


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        ".",
        "..",
        "../theirs",
        "helpers/../../theirs",
        "/etc/passwd",
        "none",
        "help",
        "config.json",
        "events.jsonl",
        "model\0",
    ],
)
def test_purge_stays_inside_and_is_all_or_nothing(run, name):
    fill(run)
    atomic.write_bytes(run.root.parent / "theirs" / "photo", b"1")
    before = everything(run.root.parent)
    with pytest.raises(InputError, match="to purge; it has|stays"):
        run.purge(["helpers", name])
    assert everything(run.root.parent) == before


def test_purge_does_not_follow_links(run):
    atomic.write_bytes(run.root.parent / "theirs" / "photo", b"1")
    (run.root / "helpers").symlink_to(run.root.parent / "theirs")
    with pytest.raises(InputError):
        run.purge(["helpers/photo"])
    assert [item.path for item in run.purge(["helpers"])] == ["helpers"]
    assert (run.root.parent / "theirs" / "photo").exists()
    assert not os.path.lexists(run.root / "helpers")


def test_the_lock_is_not_in_the_models_digest(run):
    fill(run)
    before = folder_digest(run.model)
    with run.locked():
        assert folder_digest(run.model) == before


def test_two_creators_agree_or_one_is_refused(tmp_path):
    results = []
    gate = threading.Barrier(8)

    def create(number):
        gate.wait()
        try:
            results.append((number % 2, RunFolder.create(tmp_path / "run", {"seed": number % 2}).config["seed"]))
        except InputError:
            results.append((number % 2, None))

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seed = RunFolder.open(tmp_path / "run").config["seed"]
    assert sorted(results, key=str) == sorted([(seed, seed)] * 4 + [(1 - seed, None)] * 4, key=str)


SCRIPT = """
from expunge.storage import atomic
from expunge.storage.run import RunFolder
run = RunFolder.create(folder / "run", {"seed": 1})
with run.locked():
    run.set_state("running")
    with atomic.folder(run.model, replace=True) as temporary:
        atomic.write_bytes(temporary / "model.safetensors", b"weights" * 100)
    run.set_state("done")
"""


@pytest.mark.parametrize("stays_full", few([None, True, False]))
def test_a_run_goes_on_from_wherever_it_ended(places, stays_full):
    states = set()

    def check(place, point):
        root = place / "run"
        if root.exists() and RunFolder.is_run(root):
            run = RunFolder.open(root)
            states.add(run.state)
            assert run.config == {"seed": 1}
            assert run.inventory()
            if run.model.exists():
                assert everything(run.model) == {"model.safetensors": b"weights" * 100}
            if run.state == "done":
                assert run.model.exists()
        exec(SCRIPT, {"folder": place})
        assert RunFolder.open(root).state == "done"
        assert {name for name in everything(root) if not name.endswith(".lock")} == {
            "config.json", "events.jsonl", "model", "model/model.safetensors"
        }  # fmt: skip

    if stays_full is None:
        points = kill_at_every_write(SCRIPT, check, places)
    else:
        points = fill_disk_at_every_write(SCRIPT, check, places, stays_full=stays_full)
    assert states == {"created", "running", "done"}
    assert points > 40


def test_harden_umask(tmp_path, lax_umask):
    harden_umask()
    (tmp_path / "x").touch()
    (tmp_path / "folder").mkdir()
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o700
