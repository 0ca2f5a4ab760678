"""Rules of the house that no linter knows: nothing that runs stored code, short files, no trace of the machine."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.structure.sources import ROOT, Module, imports, modules

FILE_LINES, FUNCTION_LINES = 350, 70
RUN_CODE = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
# datasets writes what it reads to its cache in clear, keep_in_memory=True included.
FORBIDDEN_IMPORTS = RUN_CODE | {"datasets"}
FORBIDDEN_CALLS = {"torch.load", "eval", "exec", "hasattr"}
MODULES_OF = {"pyyaml": "yaml", "pyopenssl": "OpenSSL"}  # distributions that are not named like their module
SKIPPED = {".git", ".venv", ".make", "dist", "build", "runs", "shared", "node_modules"}
TEXT = {".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".json", ".jsonl", ".html", ".css", ".js", ".cfg", ""}
# In two parts, so that this file does not hold what it forbids.
MACHINE_PATH = re.compile(
    r"(?<![\w.~:/-])/" + r"(?:home|root|Users|work|mnt|opt/pypi|opt/wheels)/[\w.]|[A-Z]:\\" + "Users"
)
BARE_IGNORE = re.compile(r"#\s*type:\s*" + r"ignore(?!\[)")


def faults(module: Module) -> Iterator[str]:
    """Yields one line for each rule that a module breaks."""
    yield from _import_faults(module)
    yield from _call_faults(module)
    yield from _length_faults(module)
    for number, line in enumerate(module.text.splitlines(), start=1):
        if BARE_IGNORE.search(line):
            yield f"{number}: type: ignore without a code"
    if not ast.get_docstring(module.tree):
        yield "1: no docstring"


def _import_faults(module: Module) -> Iterator[str]:
    for target, line in imports(module):
        if target.split(".")[0] in FORBIDDEN_IMPORTS or target == "torch.load":
            yield f"{line}: imports {target}"


def _call_faults(module: Module) -> Iterator[str]:
    in_command_line = module.name.startswith("expunge.cli")
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if name in FORBIDDEN_CALLS or (name == "print" and not in_command_line):
            yield f"{node.lineno}: calls {name}"
        for keyword in node.keywords:
            unsafe = keyword.arg in ("allow_pickle", "trust_remote_code", "weights_only")
            expected = keyword.arg == "weights_only"
            if unsafe and isinstance(keyword.value, ast.Constant) and keyword.value.value is not expected:
                yield f"{node.lineno}: passes {keyword.arg}={keyword.value.value}"


def _length_faults(module: Module) -> Iterator[str]:
    lines = len(module.text.splitlines())
    if lines > FILE_LINES:
        yield f"{lines}: the file has more than {FILE_LINES} lines"
    for node in ast.walk(module.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                yield f"{node.lineno}: {node.name} has {length} lines, more than {FUNCTION_LINES}"


def texts(root: Path = ROOT) -> Iterator[Path]:
    """Yields the text files of the repository, without what tools leave there."""
    for path in sorted(root.iterdir()):
        if (
            path.is_dir()
            and path.name not in SKIPPED
            and not path.name.endswith(("_cache", "__pycache__", ".egg-info"))
        ):
            yield from texts(path) if path.name != ".hypothesis" else ()
        elif path.is_file() and path.suffix in TEXT and not path.is_symlink():
            yield path


def test_source_keeps_the_rules() -> None:
    found = [f"{module.path.relative_to(ROOT)}:{fault}" for module in modules() for fault in faults(module)]
    assert found == []


def test_no_file_names_a_machine() -> None:
    found = []
    for path in texts():
        content = path.read_text(encoding="utf-8", errors="replace")
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in MACHINE_PATH.finditer(content)]
    assert found == []


def test_imported_libraries_are_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [
        item for extra, items in project.get("optional-dependencies", {}).items() if extra != "dev" for item in items
    ]
    declared = {re.split(r"[^\w.-]", item)[0].lower() for item in [*project["dependencies"], *extras]}
    known = {MODULES_OF.get(name, name.replace("-", "_")) for name in declared}
    assert _third_party() - known == set()


def _third_party() -> set[str]:
    import sys

    found = {target.split(".")[0] for module in modules() for target, _ in imports(module)}
    return found - set(sys.stdlib_module_names) - {"expunge", "*"}


PLANTED = {
    "import pickle": "imports pickle",
    "from pickle import loads": "imports pickle.loads",
    "import importlib\nx = importlib.import_module('datasets')": "imports datasets",
    "def f():\n    import datasets.load": "imports datasets.load",
    "import torch\nx = torch.load('a')": "calls torch.load",
    "from torch import load": "imports torch.load",
    "x = eval('1')": "calls eval",
    "def f():\n    exec('1')": "calls exec",
    "print(1)": "calls print",
    "x = hasattr(1, 'a')": "calls hasattr",
    "import numpy\nx = numpy.load('a', allow_pickle=True)": "passes allow_pickle=True",
    "x = AutoModel.from_pretrained('a', trust_remote_code=True)": "passes trust_remote_code=True",
    "x = load('a', weights_only=False)": "passes weights_only=False",
    "x = 1  # type: " + "ignore": "type: ignore without a code",
    "x = 1\n" * FILE_LINES: "the file has more than",
    "def f():\n" + "    x = 1\n" * FUNCTION_LINES: "f has 71 lines",
}


def planted(text: str, name: str = "expunge.data.planted") -> Module:
    return Module(name, False, Path("planted.py"), text, ast.parse(text))


@pytest.mark.parametrize(("text", "fault"), PLANTED.items(), ids=range(len(PLANTED)))
def test_planted_faults_are_found(text: str, fault: str) -> None:
    found = list(faults(planted(f'"""Docstring."""\n{text}')))
    assert len(found) == 1
    assert fault in found[0]


def test_a_missing_docstring_is_found() -> None:
    assert list(faults(planted("x = 1"))) == ["1: no docstring"]


def test_what_is_allowed_is_not_a_fault() -> None:
    text = '"""Docstring."""\nmodel.eval()\nx = np.load("a", allow_pickle=False)\ny = 1  # type: ignore[arg-type]\n'
    assert list(faults(planted(text))) == []
    assert list(faults(planted('"""Docstring."""\nprint(1)', "expunge.cli.planted"))) == []


@pytest.mark.parametrize(
    "path", ["/" + "home/someone/x", "'/" + "root/.cache'", "cd /" + "work/main", "C:\\" + "Users\\x"]
)
def test_planted_machine_paths_are_found(path: str) -> None:
    assert MACHINE_PATH.search(f"see {path} there")


@pytest.mark.parametrize("path", ["https://host/" + "home/x", "~/" + "work/x", "docs/" + "work/x", "/tmp/x"])
def test_other_paths_are_not(path: str) -> None:
    assert not MACHINE_PATH.search(f"see {path} there")
