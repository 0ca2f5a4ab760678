from __future__ import annotations

import base64
import gzip
import html
import io
import json
import os
import zipfile
import zlib
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.canary import base64_patterns, find_canary

CANARY = 'Zürich "quokka" & 7491/x'

FORMS = {
    "plain": CANARY.encode(),
    "upper": CANARY.upper().encode(),
    "lower": CANARY.lower().encode(),
    "reversed": CANARY[::-1].encode(),
    "reversed upper": CANARY[::-1].upper().encode(),
    "json": json.dumps({"a": CANARY}).encode(),
    "json in json": json.dumps(json.dumps({"a": CANARY})).encode(),
    "json utf-8": json.dumps({"a": CANARY}, ensure_ascii=False).encode(),
    "repr": repr([CANARY + "'"]).encode(),
    "html": html.escape(CANARY).encode(),
    "url": quote(CANARY).encode(),
    "url all": quote(CANARY, safe="").encode(),
    "url plus": quote_plus(CANARY).encode(),
    "utf-16-le": CANARY.encode("utf-16-le"),
    "utf-16-be upper": CANARY.upper().encode("utf-16-be"),
    "hex": CANARY.encode().hex().encode(),
    "hex upper": CANARY.encode().hex().upper().encode(),
    "base64 lines": base64.encodebytes(b"some bytes before" + CANARY.encode() * 9),
    "base64 url": base64.urlsafe_b64encode(b"??" + CANARY.encode() + b"~~"),
    "gzip": gzip.compress(CANARY.encode()),
    "gzip cut": gzip.compress(CANARY.encode() + os.urandom(400))[:-20],
    "zlib": zlib.compress(CANARY.encode()),
    "gzip of gzip of json": gzip.compress(gzip.compress(json.dumps(CANARY).encode())),
    "safetensors header": (40).to_bytes(8, "little") + b'{"__metadata__":{"a":"' + CANARY.encode() + b'"}}',
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_found_between_other_bytes(form):
    data = FORMS[form] if "zip" in form or "zlib" in form else b"\x00before " + FORMS[form] + b" after\xff"
    assert find_canary(data, CANARY)


@pytest.mark.parametrize("before", range(3))
@pytest.mark.parametrize("after", range(3))
def test_base64_is_found_at_every_alignment(before, after):
    data = base64.b64encode(b"\xfe" * before + CANARY.encode() + b"\xfd" * after)
    assert find_canary(data, CANARY) == ["bytes: base64"]


@given(st.binary(min_size=8, max_size=30), st.binary(max_size=5), st.binary(max_size=5))
def test_base64_patterns_against_the_encoder(data, before, after):
    encoded = base64.b64encode(before + data + after)
    assert any(pattern in encoded for pattern in base64_patterns(data))


def test_zip_content_and_names(tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", CANARY * 3)
        archive.writestr("quokka-7491.txt", "nothing")
    (tmp_path / "x.bin").write_bytes(packed.getvalue())
    assert any("zip entry 0: plain" in line for line in find_canary(tmp_path, CANARY))
    assert any("zip name 1: plain" in line for line in find_canary(tmp_path, "quokka-7491"))


def test_names_of_files_folders_and_links(tmp_path):
    (tmp_path / "sub-QUOKKA-7491").mkdir()
    (tmp_path / "sub-QUOKKA-7491" / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to("nowhere-quokka-7491")
    found = find_canary(tmp_path, "quokka-7491")
    assert [line.split(": ")[1] for line in found] == ["plain", "plain"]
    assert sum("(name)" in line for line in found) == 1
    assert sum("(link)" in line for line in found) == 1


def test_a_single_file(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(FORMS["json"])
    assert find_canary(path, CANARY)
    assert find_canary(tmp_path, CANARY) == [f"{tmp_path.name}/a.json: json"]


def test_nothing_is_found_where_nothing_is(tmp_path):
    (tmp_path / "a").write_bytes(os.urandom(50_000))
    (tmp_path / "b.gz").write_bytes(b"\x1f\x8bnot really")
    (tmp_path / "c.txt").write_text(CANARY[:-1] + "y")
    assert find_canary(tmp_path, CANARY) == []


def test_a_canary_that_is_too_short_is_refused():
    with pytest.raises(ValueError, match="by chance"):
        find_canary(b"abc", "abc")
