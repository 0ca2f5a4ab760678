"""``expunge doctor``."""

from __future__ import annotations

import importlib
import json
import os
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from expunge.cli import doctor, main
from expunge.cli.doctor import Check, cache_home, examine

Capture = pytest.CaptureFixture[str]


def by_name() -> dict[str, Check]:
    return {check.name: check for check in examine()}


def test_json_is_one_document(capsys: Capture) -> None:
    code = main(["doctor", "--json"])
    out, _ = capsys.readouterr()
    found = json.loads(out)
    assert code == (0 if found["ok"] else 5)
    names = [check["name"] for check in found["checks"]]
    expected = {"python", "torch", "bf16", "transformers", "accelerate", "peft", "cores", "memory", "umask"}
    assert expected | {"current folder", "EXPUNGE_HOME", "offline mode"} <= set(names)
    assert any(name.startswith("device") for name in names)
    for check in found["checks"]:
        assert check["status"] in ("ok", "warn", "fail")
        assert bool(check["fix"]) == (check["status"] != "ok")
        assert check["value"]


def test_text_has_a_line_for_each_check(capsys: Capture) -> None:
    main(["doctor"])
    text = capsys.readouterr().out
    assert all(f" {check.name} " in text for check in examine())


def test_nothing_of_the_user_is_in_the_answer(capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "canary-3c1f").mkdir()
    monkeypatch.chdir(tmp_path / "canary-3c1f")
    monkeypatch.setenv("EXPUNGE_HOME", str(tmp_path / "canary-3c1f" / "home"))
    main(["doctor"])
    assert "canary-3c1f" not in "".join(capsys.readouterr())
    assert not (tmp_path / "canary-3c1f" / "home").exists()


def test_an_old_python_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.version_info", (3, 10, 4))
    assert by_name()["python"].status == "fail"


def test_an_old_torch_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.__version__", "2.9.1+cpu")
    assert by_name()["torch"].status == "fail"
    monkeypatch.setattr("torch.__version__", "2.10.0")
    assert by_name()["torch"].status == "ok"


def test_a_broken_library_fails_and_gives_the_command(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    real = importlib.import_module

    def broken(name: str, *rest: Any) -> Any:
        if name == "peft":
            raise ImportError("canary-3c1f")
        return real(name, *rest)

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    assert by_name()["peft"] == Check("peft", "fail", "cannot be imported (ImportError)", "pip install -U peft")
    assert main(["doctor"]) == 5
    out, err = capsys.readouterr()
    assert "cannot run Expunge yet" in out
    assert "canary-3c1f" not in out + err


def test_a_check_that_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_disk", _broken)
    assert by_name()["broken"].status == "fail"


def _broken() -> list[Check]:
    raise ValueError("canary-3c1f")


def test_little_memory_and_disk_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = namedtuple("memory", "available total")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory(2**30, 2**31))
    monkeypatch.setattr("shutil.disk_usage", lambda place: usage(9, 9, 2**20))
    found = by_name()
    assert found["memory"].status == "warn"
    assert found["memory"].value == "1.0 of 2.0 GiB free"
    assert found["current folder"].status == found["EXPUNGE_HOME"].status == "warn"


def test_a_cache_that_cannot_be_written_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_is_writable", lambda folder: False)
    found = by_name()
    assert found["EXPUNGE_HOME"].status == "fail"
    assert found["current folder"].status == "warn"
    assert "EXPUNGE_HOME=" in found["EXPUNGE_HOME"].fix


def test_writing_is_tried(tmp_path: Path) -> None:
    assert doctor._is_writable(tmp_path)
    assert not doctor._is_writable(tmp_path / "missing")
    assert list(tmp_path.iterdir()) == []


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EXPUNGE_HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_home() == tmp_path / ".cache" / "expunge"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_home() == tmp_path / "x" / "expunge"
    monkeypatch.setenv("EXPUNGE_HOME", str(tmp_path / "y"))
    assert cache_home() == tmp_path / "y"


@pytest.mark.parametrize(("value", "shown"), [("1", "on"), ("true", "on"), ("0", "off"), ("", "off")])
def test_offline_mode(monkeypatch: pytest.MonkeyPatch, value: str, shown: str) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert by_name()["offline mode"].value.startswith(shown)


def test_an_open_umask_is_warned_of_and_left_alone() -> None:
    os.umask(0o022)
    assert by_name()["umask"] == Check("umask", "warn", "022", "Run Expunge through its own command.")
    assert os.umask(0o022) == 0o022
