"""No verb writes into a model folder, or makes a folder of results around one."""

from __future__ import annotations

from pathlib import Path

import pytest

from expunge.cli import main
from expunge.storage.run import RunFolder
from tests.workflows.conftest import World


def tree(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*"))


def commands(world: World, out: Path) -> dict[str, list[str]]:
    forget, retain = str(world.forget), str(world.retain)
    records = ["--forget", forget, "--retain", retain, "--out", str(out)]
    return {
        "unlearn": ["unlearn", world.model, *records],
        "base": ["unlearn", world.base, "--base", world.model, *records],
        "unlearn retrained": ["unlearn", world.base, "--retrained", world.model, *records],
        "paraphraser": ["unlearn", world.base, "--paraphraser", world.model, *records],
        "plan": ["plan", world.model, *records],
        "audit": ["audit", world.model, "--original", world.base, *records],
        "audit original": ["audit", world.base, "--original", world.model, *records],
        "audit reference": ["audit", world.base, "--original", world.base, "--reference", world.model, *records],
        "bench": ["bench", world.model, "--methods", "npo", *records],
        "guesses": ["guesses", world.model, "--records", forget, "--out", str(out)],
        "prepare": ["prepare", forget, "--tokenizer", world.model, "--out", str(out)],
    }


NAMES = tuple(commands(World(Path("x")), Path("y")))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", ["is", "is inside", "contains", "link"])
def test_a_model_folder_is_refused_as_a_place(untrained, tmp_path, capfd, name, place):
    model = Path(untrained.model)
    out = {"is": model, "is inside": model / "a" / "run", "contains": model.parent, "link": tmp_path / "link" / "run"}
    (tmp_path / "link").symlink_to(model, target_is_directory=True)
    before = tree(untrained.root)
    assert main(commands(untrained, out[place])[name]) == 2
    told = capfd.readouterr().err
    relation, folder = {"link": ("is inside", model), "contains": (place, model.parent)}.get(place, (place, model))
    assert f"--out {out[place]} {relation} the model folder {folder}" in told
    assert tree(untrained.root) == before


def test_a_page_of_a_comparison_is_refused_too(untrained, tmp_path, capfd):
    run = RunFolder.create(tmp_path / "run", {"verb": "unlearn", "model": untrained.model})
    run.model.mkdir()
    for folder in (run.model, Path(untrained.model)):
        out = folder / "compare.html"
        assert main(["compare", str(run.root), str(run.root), "--out", str(out)]) == 2
        assert f"is inside the model folder {folder}," in capfd.readouterr().err
        assert main(["shadows", str(run.root), "--out", str(folder / "shadows")]) == 2
        assert f"is inside the model folder {folder}," in capfd.readouterr().err


def test_a_place_beside_the_model_is_free(tmp_path):
    from expunge.workflows.places import refuse_model_folder

    (tmp_path / "model").mkdir()
    refuse_model_folder(tmp_path / "model-run", [tmp_path / "model", "org/name", "https://host/v1#name", None])
