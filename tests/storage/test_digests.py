from __future__ import annotations

import hashlib
import hmac
import os
import pickle
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.errors import InputError
from expunge.storage.digests import KEY_NAME, DataKey, file_digest, folder_digest, text_digest
from expunge.storage.lock import lock
from expunge.storage.secret import Secret
from tests.storage.processes import at_once
from tests.support.canary import find_canary
from tests.support.killing import fill_disk_at_every_write, kill_at_every_write

# SHA-256 of "abc", FIPS 180-2, appendix B.1.
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
KEY = DataKey(b"\x0b" * 32)


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "model"
    (root / "sub" / "empty").mkdir(parents=True)
    (root / "b.txt").write_bytes(b"abc")
    (root / "sub" / "a").write_bytes(b"")
    (root / "sub.txt").write_bytes(b"1")
    return root


def test_published_value(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert file_digest(tmp_path / "x") == text_digest("abc") == ABC
    with pytest.raises(InputError, match="cannot be read"):
        file_digest(tmp_path / "none")


def test_folder_by_hand(tree):
    found = folder_digest(tree)
    empty, one = hashlib.sha256(b"").hexdigest(), hashlib.sha256(b"1").hexdigest()
    assert list(found.files.items()) == [("b.txt", ABC), ("sub.txt", one), ("sub/a", empty)]
    lines = f"{ABC}  b.txt\n{one}  sub.txt\n{empty}  sub/a\n"
    assert found.root == hashlib.sha256(lines.encode()).hexdigest()


def test_folder_against_sha256sum(tree):
    (tree / "Zo\u00eb \U0001f600 name").write_bytes(b"x")
    command = "find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    shown = subprocess.run(command, shell=True, cwd=tree, capture_output=True, check=True, text=True)
    assert folder_digest(tree).root == shown.stdout.split()[0]


def test_every_change_of_content_or_name_changes_the_root(tree):
    roots = {folder_digest(tree).root}
    (tree / "b.txt").write_bytes(b"abd")
    roots.add(folder_digest(tree).root)
    (tree / "b.txt").rename(tree / "c.txt")
    roots.add(folder_digest(tree).root)
    (tree / "extra").touch()
    roots.add(folder_digest(tree).root)
    (tree / "extra").rename(tree / "sub" / "extra")
    roots.add(folder_digest(tree).root)
    assert len(roots) == 5


def test_what_is_left_out(tree):
    before = folder_digest(tree)
    with lock(tree, "the model"):
        assert folder_digest(tree) == before
    assert (tree / ".lock").exists()
    assert folder_digest(tree) == before
    assert list(folder_digest(tree, exclude=["sub", "b.txt"]).files) == ["sub.txt"]
    assert list(folder_digest(tree, exclude=["sub/a", "a"]).files) == ["b.txt", "sub.txt"]
    (tree / "sub" / ".lock").write_bytes(b"hidden")  # only the folder's own lock is left out
    assert "sub/.lock" in folder_digest(tree).files


def test_links_and_devices_are_refused(tree, tmp_path):
    for make in (lambda path: path.symlink_to(tree / "b.txt"), lambda path: path.symlink_to(tree / "sub"), os.mkfifo):
        make(tree / "sub" / "x")
        with pytest.raises(InputError, match="link or a device"):
            folder_digest(tree)
        (tree / "sub" / "x").unlink()
    (tmp_path / "link").symlink_to(tree)
    for place in (tmp_path / "link", tmp_path / "none", tree / "b.txt"):
        with pytest.raises(InputError, match="is not a folder"):
            folder_digest(place)


def test_links_are_followed_where_that_is_asked_for(tree, tmp_path):
    """A Hub snapshot is a folder of links: its digest is that of a copy, and changes with what they point to."""
    before, blob = folder_digest(tree), tmp_path / "blob"
    (tree / "b.txt").rename(blob)
    (tree / "b.txt").symlink_to(blob)
    assert folder_digest(tree, follow_links=True) == before
    (tmp_path / "link").symlink_to(tree)
    assert folder_digest(tmp_path / "link", follow_links=True) == before
    blob.write_bytes(b"abd")
    assert folder_digest(tree, follow_links=True).root != before.root
    with pytest.raises(InputError, match="link or a device"):
        folder_digest(tree)


def test_links_to_nothing_and_to_folders_are_refused_all_the_same(tree, tmp_path):
    """A link to a folder could lead round in a circle."""
    for goal in (tmp_path / "none", tree, tree / "sub"):
        (tree / "sub" / "x").symlink_to(goal)
        with pytest.raises(InputError, match="link or a device"):
            folder_digest(tree, follow_links=True)
        (tree / "sub" / "x").unlink()


@pytest.mark.parametrize("name", [b"a\nb", b"a\\b", b"a\rb", b"a\xffb"])
def test_names_that_could_fake_a_line_are_refused(tree, name):
    (tree / os.fsdecode(name)).touch()
    with pytest.raises(InputError, match="rename it"):
        folder_digest(tree)


def test_hmac_of_a_published_case():
    # RFC 4231, test case 1, has this key of 20 bytes; HMAC pads keys with zeros, so these 32 are the same key.
    key = DataKey(b"\x0b" * 20 + bytes(12))
    assert key.hmac("Hi There") == "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
    assert key.hmac(Secret("Hi There", "record 1")) == key.hmac("Hi There")


def test_hmac_many_by_hand():
    message = b"\xff" + bytes(7) + b"\x02" + "\u00e9".encode() + bytes(7) + b"\x01" + b"b"
    expected = hmac.new(b"\x0b" * 32, message, hashlib.sha256).hexdigest()
    assert KEY.hmac_many(["\u00e9", Secret("b", "record 2")]) == expected


@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(max_size=5), max_size=4))
def test_hmac_many_tells_all_lists_apart(one, other):
    assert (KEY.hmac_many(one) == KEY.hmac_many(iter(other))) == (one == other)
    assert KEY.hmac_many(one) != KEY.hmac("".join(one))


def test_framing_cannot_be_forged():
    inner = "b" + "\0" * 7 + "\x01" + "c"
    assert KEY.hmac_many([inner]) != KEY.hmac_many(["b", "c"])
    assert KEY.hmac_many(["ab", "c"]) != KEY.hmac_many(["a", "bc"])
    assert KEY.hmac_many([]) != KEY.hmac_many([""])
    assert KEY.hmac("\ud800")  # a lone surrogate in a record


def test_secrets_have_no_plain_digest():
    with pytest.raises(TypeError):
        text_digest(Secret("quokka", "record 1"))


def test_a_key_is_made_once_and_private(tmp_path, lax_umask):
    folder = tmp_path / "run"
    key = DataKey.load_or_create(folder)
    path = folder / KEY_NAME
    assert [child.name for child in folder.iterdir()] == [KEY_NAME]
    assert len(path.read_bytes()) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert DataKey.load_or_create(folder).hmac("a") == key.hmac("a") == DataKey(path.read_bytes()).hmac("a")
    assert DataKey.load_or_create(tmp_path / "other").hmac("a") != key.hmac("a")


def test_a_key_does_not_show(tmp_path):
    secret = "quokka-7491-zebra-and-more-bytes"
    key = DataKey(secret.encode())
    assert find_canary(f"{key} {key!r} {[key]}".encode(), secret) == []
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(key)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_damaged_key_is_not_used_or_replaced(tmp_path, size):
    (tmp_path / KEY_NAME).write_bytes(b"q" * size)
    with pytest.raises(InputError, match=f"{size} bytes instead of 32"):
        DataKey.load_or_create(tmp_path)
    assert (tmp_path / KEY_NAME).read_bytes() == b"q" * size
    with pytest.raises(InputError, match="32 bytes"):
        DataKey(b"q" * size)


@pytest.mark.parametrize("stays_full", [True, False, None])
def test_a_key_is_whole_or_absent(places, stays_full):
    script = "from expunge.storage.digests import DataKey; DataKey.load_or_create(folder)"

    def check(place, point):
        path = place / KEY_NAME
        before = path.read_bytes() if path.exists() else None
        assert before is None or len(before) == 32
        DataKey.load_or_create(place)
        assert before in (None, path.read_bytes())

    if stays_full is None:
        kill_at_every_write(script, check, places)
    else:
        fill_disk_at_every_write(script, check, places, stays_full=stays_full)


def test_all_processes_get_one_key(tmp_path):
    script = (
        "import sys, pathlib; from expunge.storage.digests import DataKey; sys.stdin.readline();"
        "print(DataKey.load_or_create(pathlib.Path(sys.argv[1])).hmac('a'))"
    )
    assert len(set(at_once(script, [str(tmp_path)], 8))) == 1
    assert [child.name for child in tmp_path.iterdir()] == [KEY_NAME]


def test_all_threads_get_one_key(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: DataKey.load_or_create(tmp_path).hmac("a"), range(32)))) == 1
