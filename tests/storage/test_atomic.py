from __future__ import annotations

import errno
import os
import stat
import threading

import pytest
from hypothesis import HealthCheck, given, settings

from expunge.errors import InputError, ResourceError
from expunge.storage import atomic
from expunge.storage.disk import is_leftover, remove
from tests.storage.test_plain import PLAIN, same
from tests.support.killing import fill_disk_at_every_write, kill_at_every_write, trace
from tests.support.params import few

OLD, NEW = b"old" * 100, b"new" * 5000


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


def content(folder):
    """Relative path to bytes of everything below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("stays_full", [True, False, None])
@pytest.mark.parametrize("existed", [True, False])
def test_a_file_is_old_or_new_whatever_happens(places, stays_full, existed):
    script = f"from expunge.storage import atomic; atomic.write_bytes(folder / 'sub' / 'x', {NEW!r})"

    def factory():
        place = places()
        if existed:
            (place / "sub").mkdir()
            (place / "sub" / "x").write_bytes(OLD)
        return place

    seen = set()

    def check(place, point):
        path = place / "sub" / "x"
        seen.add(path.read_bytes() if path.exists() else None)
        if stays_full is not None:
            assert [name for name in content(place) if is_leftover(name.split("/")[-1])] == []
        atomic.write_bytes(path, NEW)
        atomic.recover(path)
        assert content(place) == {"sub/x": NEW}

    if stays_full is None:
        points = kill_at_every_write(script, check, factory)
    else:
        points = fill_disk_at_every_write(script, check, factory, stays_full=stays_full)
    assert seen == {OLD if existed else None, NEW}
    assert points >= 7  # open, write twice, fsync, replace, unlink, open and fsync of the folder


@pytest.mark.parametrize("stays_full", [True, False, None])
def test_create_is_all_or_nothing(places, stays_full):
    script = f"from expunge.storage import atomic; assert atomic.create_bytes(folder / 'x', {NEW!r})"

    def check(place, point):
        path = place / "x"
        assert not path.exists() or path.read_bytes() == NEW
        assert atomic.create_bytes(path, NEW) or path.read_bytes() == NEW
        atomic.recover(path)
        assert content(place) == {"x": NEW}

    if stays_full is None:
        kill_at_every_write(script, check, places)
    else:
        fill_disk_at_every_write(script, check, places, stays_full=stays_full)


FOLDER_SCRIPT = """
from expunge.storage import atomic
with atomic.folder(folder / "model", replace={replace}) as temporary:
    atomic.write_bytes(temporary / "a", b"new a" * 1000)
    (temporary / "sub").mkdir()
    (temporary / "sub" / "b").write_bytes(b"new b")
"""
NEW_FOLDER = {"a": b"new a" * 1000, "sub/b": b"new b"}
OLD_FOLDER = {"a": b"old a", "sub/c": b"old c", "sub/d": b"old d"}


def make_old(place):
    (place / "model" / "sub").mkdir(parents=True)
    for name, data in OLD_FOLDER.items():
        (place / "model" / name).write_bytes(data)


@pytest.mark.parametrize("stays_full", [True, False, None])
def test_a_new_folder_is_whole_or_absent(places, stays_full):
    script = FOLDER_SCRIPT.format(replace=False)
    seen = set()

    def check(place, point):
        model = place / "model"
        seen.add(model.exists())
        assert not model.exists() or content(model) == NEW_FOLDER
        atomic.recover(model)
        assert {child.name for child in place.iterdir()} <= {"model"}
        if not model.exists():
            exec(script, {"folder": place})
        assert content(place) == {f"model/{name}": data for name, data in NEW_FOLDER.items()}

    if stays_full is None:
        points = kill_at_every_write(script, check, places)
    else:
        points = fill_disk_at_every_write(script, check, places, stays_full=stays_full)
    assert seen == {True, False}
    assert points > 20


@pytest.mark.parametrize("stays_full", few([None, True, False]))
def test_a_replaced_folder_is_the_old_or_the_new(places, stays_full):
    script = FOLDER_SCRIPT.format(replace=True)
    seen = set()

    def factory():
        place = places()
        make_old(place)
        return place

    def check(place, point):
        model = place / "model"
        # A single failure is undone at once; after a kill, or on a disk that stays full, it takes recover.
        assert model.exists() or stays_full is not False
        assert not model.exists() or content(model) in (OLD_FOLDER, NEW_FOLDER)
        atomic.recover(model)
        assert content(model) in (OLD_FOLDER, NEW_FOLDER)
        assert [child.name for child in place.iterdir()] == ["model"]
        seen.add(content(model) == NEW_FOLDER)
        exec(script, {"folder": place})
        assert content(place) == {f"model/{name}": data for name, data in NEW_FOLDER.items()}

    if stays_full is None:
        kill_at_every_write(script, check, factory)
    else:
        fill_disk_at_every_write(script, check, factory, stays_full=stays_full)
    assert seen == {True, False}


def test_recovery_itself_may_be_killed(places):
    script = "from expunge.storage import atomic; atomic.recover(folder / 'model')"

    def factory():
        place = places()
        make_old(place)
        (place / "model").rename(place / ".old-model")
        make_old(place)
        (place / "model" / "a").write_bytes(b"new")
        return place

    def check(place, point):
        assert content(place / "model")["a"] == b"new"
        atomic.recover(place / "model")
        assert [child.name for child in place.iterdir()] == ["model"]

    assert kill_at_every_write(script, check, factory) > 5


def test_half_an_old_folder_never_comes_back(places):
    """Killed while the old folder is deleted, then the new one is lost: what is left of the old one is not restored."""

    def factory():
        place = places()
        make_old(place)
        return place

    def check(place, point):
        model = place / "model"
        if model.exists():
            remove(model)
            atomic.recover(model)
            assert not model.exists() or content(model) == OLD_FOLDER

    kill_at_every_write(FOLDER_SCRIPT.format(replace=True), check, factory)


def test_bytes_are_on_disk_before_they_get_their_name(places):
    calls = [
        call.split()[0]
        for call in trace("from expunge.storage import atomic; atomic.write_bytes(folder / 'x', b'1')", places())
    ]
    assert calls == ["open", "write", "fsync", "replace", "unlink", "open", "fsync"]
    place = places()
    calls = trace(FOLDER_SCRIPT.format(replace=False), place)
    renamed = next(number for number, call in enumerate(calls) if call.startswith("rename .tmp-"))
    forced = [calls[number - 1] for number, call in enumerate(calls[:renamed]) if call.startswith("fsync")]
    for name in ("a", "sub", "b"):
        assert f"open {name}" in forced
    assert [call.split()[0] for call in calls[renamed:]] == ["rename", "open", "fsync"]
    assert calls[renamed + 1] == f"open {place.name}"


@given(PLAIN)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_json_files_come_back(tmp_path, value):
    atomic.write_json(tmp_path / "x.json", value)
    assert same(atomic.read_json(tmp_path / "x.json"), value)


def test_json_files_can_be_read_by_people(tmp_path):
    atomic.write_json(tmp_path / "x.json", {"b": 1, "a": [0.5]})
    assert (tmp_path / "x.json").read_text() == '{\n  "b": 1,\n  "a": [\n    0.5\n  ]\n}\n'


def test_what_is_not_plain_leaves_the_old_file(tmp_path):
    atomic.write_json(tmp_path / "x.json", 1)
    with pytest.raises(TypeError):
        atomic.write_json(tmp_path / "x.json", {"a": object()})
    assert content(tmp_path) == {"x.json": b"1\n"}


def test_reading_json_says_what_is_wrong(tmp_path):
    with pytest.raises(InputError, match=r"x\.json .* cannot be read: No such file"):
        atomic.read_json(tmp_path / "x.json")
    (tmp_path / "x.json").write_text('{"quokka": NaN}')
    with pytest.raises(InputError, match="not valid JSON") as caught:
        atomic.read_json(tmp_path / "x.json")
    assert "quokka" not in str(caught.value)


def test_modes_whatever_the_umask(tmp_path, lax_umask):
    atomic.write_text(tmp_path / "a" / "b" / "x", "text")
    assert [mode(tmp_path / name) for name in ("a", "a/b", "a/b/x")] == [0o700, 0o700, 0o600]
    with atomic.folder(tmp_path / "model") as temporary:
        assert mode(temporary) == 0o700
        (temporary / "sub").mkdir()
        (temporary / "sub" / "weights").write_bytes(b"1")
        assert mode(temporary / "sub" / "weights") == 0o666  # written by a library; tightened at the end
    assert [mode(tmp_path / name) for name in ("model", "model/sub", "model/sub/weights")] == [0o700, 0o700, 0o600]
    atomic.copy_file(tmp_path / "model" / "sub" / "weights", tmp_path / "copy")
    assert mode(tmp_path / "copy") == 0o600
    (tmp_path / "lax").touch()
    assert mode(tmp_path / "lax") == 0o666
    atomic.write_bytes(tmp_path / "lax", b"1")
    assert mode(tmp_path / "lax") == 0o600


def test_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "theirs").write_bytes(b"theirs")
    (tmp_path / "x").symlink_to(tmp_path / "theirs")
    atomic.write_bytes(tmp_path / "x", b"ours")
    assert (tmp_path / "theirs").read_bytes() == b"theirs"
    assert not (tmp_path / "x").is_symlink()


def test_copies_are_exact_and_follow_links(tmp_path):
    data = os.urandom((1 << 20) + 17)
    (tmp_path / "blob").write_bytes(data)
    (tmp_path / "link").symlink_to(tmp_path / "blob")
    atomic.copy_file(tmp_path / "link", tmp_path / "out" / "copy")
    assert (tmp_path / "out" / "copy").read_bytes() == data
    assert not (tmp_path / "out" / "copy").is_symlink()
    for source in (tmp_path / "none", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            atomic.copy_file(source, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_full_disk_says_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(OLD)

    def full(*_):
        raise OSError(errno.EDQUOT, "quota", "quokka")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(ResourceError, match="is full.*Free some space") as caught:
        atomic.write_bytes(tmp_path / "x", NEW)
    assert str(tmp_path) in str(caught.value)
    assert "quokka" not in str(caught.value)
    assert caught.value.__suppress_context__
    assert content(tmp_path) == {"x": OLD}


def test_a_full_disk_inside_a_folder_block(tmp_path):
    with pytest.raises(ResourceError), atomic.folder(tmp_path / "model"):
        raise OSError(errno.ENOSPC, "full")
    assert list(tmp_path.iterdir()) == []


def test_a_forbidden_place(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "x", tmp_path / ("n" * 300)):
        with pytest.raises(InputError, match="cannot be written to|is not"):
            atomic.write_bytes(path / "y", b"1")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="Is a directory"):
        atomic.write_bytes(tmp_path / "folder", b"1")
    assert sorted(child.name for child in tmp_path.iterdir()) == ["file", "folder"]


def test_an_error_in_the_block_leaves_nothing_and_passes(tmp_path):
    for error in (KeyError("x"), PermissionError(errno.EACCES, "elsewhere"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught:  # noqa: PT012, SIM117
            with atomic.folder(tmp_path / "model") as temporary:
                (temporary / "x").write_bytes(b"1")
                raise error
        assert caught.value is error
        assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_refused_unless_replaced(tmp_path):
    make_old(tmp_path)
    with pytest.raises(InputError, match="exists already"), atomic.folder(tmp_path / "model"):
        pytest.fail("must not start")
    assert content(tmp_path / "model") == OLD_FOLDER
    with pytest.raises(KeyError), atomic.folder(tmp_path / "model", replace=True):
        raise KeyError
    assert content(tmp_path / "model") == OLD_FOLDER
    exec(FOLDER_SCRIPT.format(replace=True), {"folder": tmp_path})
    assert content(tmp_path) == {f"model/{name}": data for name, data in NEW_FOLDER.items()}
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="exists already"), atomic.folder(tmp_path / "empty"):
        pytest.fail("must not start")


def test_a_folder_made_meanwhile_is_not_overwritten(tmp_path):
    with pytest.raises(InputError, match="exists already"), atomic.folder(tmp_path / "model"):
        make_old(tmp_path)
    assert content(tmp_path / "model") == OLD_FOLDER


def test_links_are_not_kept(tmp_path):
    with pytest.raises(InputError, match="link"), atomic.folder(tmp_path / "model") as temporary:
        (temporary / "x").symlink_to("elsewhere")
    assert list(tmp_path.iterdir()) == []


def test_recovery_leaves_strangers_alone(tmp_path):
    names = [".tmp-mine", ".old-other", "model", ".tmp-0123456789ab-0123456789abcdef", "model.old"]
    for name in names:
        (tmp_path / name).mkdir()
    atomic.recover(tmp_path / "model")
    assert sorted(child.name for child in tmp_path.iterdir()) == sorted(names)
    atomic.recover(tmp_path / "missing" / "model")
    assert not (tmp_path / "missing").exists()


def test_recover_tree_goes_everywhere(tmp_path):
    leftover = ".tmp-0123456789ab-0123456789abcdef"
    for name in (leftover, f"a/{leftover}", "a/.old-step-1", "a/b/.old-step-2", "a/b/step-2"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "x").write_bytes(name.encode())
    atomic.recover_tree(tmp_path)
    assert content(tmp_path) == {"a/step-1/x": b"a/.old-step-1", "a/b/step-2/x": b"a/b/step-2"}


def test_only_one_creator_wins(tmp_path):
    results: list[tuple[int, bool]] = []
    gate = threading.Barrier(8)

    def create(number):
        gate.wait()
        results.append((number, atomic.create_bytes(tmp_path / "x", bytes([number]) * 9)))

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [winner] = [number for number, won in results if won]
    assert content(tmp_path) == {"x": bytes([winner]) * 9}


def test_file_systems_without_links(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", none)
    assert atomic.create_bytes(tmp_path / "x", b"1")
    assert not atomic.create_bytes(tmp_path / "x", b"2")
    assert content(tmp_path) == {"x": b"1"}
