"""How records are written, from the command line to the record, and in every later audit of the run."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from expunge.api import load
from expunge.cli import main
from expunge.data.batch import IGNORE
from expunge.data.reader import read_records
from expunge.data.record import Message, Record
from expunge.data.render import render
from expunge.data.templates import Rendering
from expunge.errors import InputError
from expunge.evaluation.speaking import Speaker, Turn
from expunge.evaluation.subjects import Decoding
from expunge.models.load import build_model, load_model, save_model
from expunge.reports.record import read_record
from expunge.storage.events import read_events
from expunge.storage.run import RunFolder
from expunge.storage.secret import Secret
from expunge.workflows.prompted import PromptedModel
from expunge.workflows.rendering import keep_rendering, kept_rendering, rendering_config, settle_end
from tests.workflows.folders import byte_tokenizer, llama_config, make_folder, records, unlearn

SYSTEM = "zqsystemprompt: answer in one word"
TURNS = (
    "{% for m in messages %}<turn_start>{{ m['role'] }}\n{{ m['content'] | trim }}<turn_end>\n{% endfor %}"
    "{% if add_generation_prompt %}<turn_start>assistant\n{% endif %}"
)


def chat_tokenizer(template: str = TURNS):
    tokenizer = byte_tokenizer(additional_special_tokens=["<turn_start>", "<turn_end>"])
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture(scope="module")
def chatting(tmp_path_factory):
    """A model that was taught to end its turns as its template does, which is not the end token of its tokenizer."""
    place = tmp_path_factory.mktemp("chatting")
    tokenizer = chat_tokenizer()
    model = build_model(llama_config(2, vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128), seed=0)
    rows = [json.loads(line) for file in records(place).values() for line in file.open()]
    texts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}],
            tokenize=False,
        )
        for row in rows
    ]
    ids = [torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    inputs, labels = (pad_sequence(ids, batch_first=True, padding_value=filler) for filler in (0, IGNORE))
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    for _ in range(400):
        model(input_ids=inputs, attention_mask=(labels != IGNORE).long(), labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    save_model(model.eval(), tokenizer, place / "model")
    return place / "model"


def audit(model, out, *flags: str) -> int:
    files = records(model.parent)
    given = [flag for split, file in files.items() for flag in (f"--{split}", str(file))]
    return main(["audit", str(model), "--original", str(model), *given, "--forms", "none", "--out", str(out), *flags])


def score(out, name: str) -> float:
    found = read_record(out / "record.json")
    labels = [
        one["label"]
        for one in found.scores
        if one["role"] == "original" and one["label"].startswith(f"{name}(split=forget")
    ]
    return next(one["value"] for one in found.scores if one["label"] == labels[0] and one["role"] == "original")


def test_the_end_of_a_turn_is_the_template_s(chatting, tmp_path):
    """The case end_of_turn: the foreign end token made extraction strength 0 where greedy decoding is right."""
    assert audit(chatting, tmp_path / "out") == 0
    assert score(tmp_path / "out", "extraction_strength") > 0.9
    assert score(tmp_path / "out", "rouge") > 0.99
    written = read_record(tmp_path / "out" / "record.json").rendering
    assert (written["mark"], written["source"], written["end"]) == ("<turn_end>", "template", None)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "&lt;turn_end&gt;, written by the template" in page


def test_flags_reach_the_model_and_later_audits_and_leave_no_text_behind(tmp_path, capsys):
    model = make_folder(tmp_path / "model", llama_config(vocab_size=259), chat_tokenizer())
    out = tmp_path / "out"
    flags = ("--system", SYSTEM, "--date", "2025-03-09")
    assert unlearn(model, *flags) == 0
    settings = RunFolder.open(out).config["rendering"]
    assert (settings["has_system"], settings["date"], settings["template"]) == (True, "2025-03-09", "own")
    for file in ("config.json", "events.jsonl"):
        assert "zqsystemprompt" not in (out / file).read_text()
    assert (out / "rendering.json").stat().st_mode & 0o077 == 0
    found = {item.path: item for item in RunFolder.open(out).inventory()}
    assert (found["rendering.json"].holds, found["rendering.json"].sensitive) == ("text", True)
    given = [flag for split, file in records(tmp_path).items() for flag in (f"--{split}", str(file))]
    again = ["audit", str(out), *given, "--forms", "none"]
    seen = spy_prompts(again)
    assert seen
    assert all(text.startswith(f"<turn_start>system\n{SYSTEM}<turn_end>\n") for text in seen)
    assert read_record(out / "record.json").rendering["has_system"] is True
    capsys.readouterr()
    assert main([*again, "--system", "Another one."]) == 2
    assert "were written in another way when it was made" in capsys.readouterr().err
    (out / "rendering.json").unlink()
    assert main(again) == 2
    assert "rendering.json" in capsys.readouterr().err


def spy_prompts(command: list[str]) -> list[str]:
    """Runs a command and returns the texts of all answers to questions that were rendered."""
    seen: list[str] = []

    def watched(record: Record, tokenizer):
        found = render(record, tokenizer)
        if record.kind == "qa" and record.split != "probe":
            seen.append(found.text)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("expunge.data.tokenize.render", watched)
        assert main(command) == 0
    return seen


def test_a_run_with_another_system_prompt_is_another_run(tmp_path, capsys):
    model = make_folder(tmp_path / "model", llama_config(vocab_size=259), chat_tokenizer())
    assert unlearn(model) == 0
    assert unlearn(model, "--system", SYSTEM) == 2
    said = capsys.readouterr().err
    assert "holds a run with other settings" in said
    assert "zqsystemprompt" not in said


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--template", "chat"), "has no chat template"),
        (("--template", "tofo"), "Did you mean 'tofu'"),
        (("--thinking", "on"), "no chat template that knows of thinking writes these records"),
        (("--date", "today"), "give one as YYYY-MM-DD"),
    ],
)
def test_flags_that_change_nothing_or_cannot_be_used_are_refused(tmp_path, capsys, flags, message):
    model = make_folder(tmp_path / "model")
    assert unlearn(model, *flags) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_template_that_never_ends_ends_with_two(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("expunge.data.templates.SECONDS", 0.2)
    loops = "".join(f"{{% for {name} in range(99999) %}}" for name in "abc") + "{% endfor %}" * 3
    model = make_folder(tmp_path / "model", llama_config(vocab_size=259), chat_tokenizer(loops + TURNS))
    assert unlearn(model) == 2
    assert "it may never end" in capsys.readouterr().err


def test_the_key_of_a_number_has_the_template_and_the_system_prompt(tmp_path):
    model = str(make_folder(tmp_path / "model"))
    from expunge.workflows.columns import Columns

    keys = {
        Columns(original=model, candidate=model, rendering=one).subjects()[0].identity["template"]
        for one in (
            Rendering(),
            Rendering(system="x"),
            Rendering(template="muse"),
            Rendering(end=""),
            Rendering(date="2025-01-01"),
        )
    }
    assert len(keys) == 5
    assert len({Rendering(template=name).key for name in ("plain", "tofu", "muse")}) == 1, "one template by three names"


def test_the_original_says_once_what_ends_an_answer(tmp_path):
    """An untrained model expects no end token, so none is trained; a run that goes on keeps what was found."""
    model = make_folder(tmp_path / "model")
    assert unlearn(model) == 0
    found = [event.data for event in read_events(tmp_path / "out" / "events.jsonl") if event.kind == "rendering"]
    assert [(one["end"], one["source"], one["records"]) for one in found] == [("", "nothing", 3)]
    given = [flag for split, file in records(tmp_path).items() for flag in (f"--{split}", str(file))]
    assert main(["audit", str(tmp_path / "out"), *given, "--forms", "none"]) == 0
    after = [event for event in read_events(tmp_path / "out" / "events.jsonl") if event.kind == "rendering"]
    assert len(after) == 1
    assert read_record(tmp_path / "out" / "record.json").rendering["end"] == ""


def test_loading_attaches_the_rendering(tmp_path):
    model = make_folder(tmp_path / "model", llama_config(vocab_size=259), chat_tokenizer())
    loaded = load_model(model, rendering=Rendering(template="tofu_llama2"))
    record = Record(index=0, split="forget", kind="qa", prompt=Secret("Where?", "x"), answer=Secret("Here", "x"))
    assert render(record, loaded.tokenizer).text == "[INST] Where? [/INST]Here"


def test_a_tokenizer_with_a_broken_template_can_be_used_with_plain_questions(tmp_path):
    broken = "{{ raise_exception('not for us') }}"
    model = make_folder(tmp_path / "model", llama_config(vocab_size=259), chat_tokenizer(broken))
    assert unlearn(model, "--template", "plain") == 0
    assert load(tmp_path / "out").generate(["?"], max_new_tokens=2) is not None


def test_splits_that_nobody_trained_on_say_what_ends_their_answers(tmp_path):
    """Plain text to forget and to keep, and questions beside them: the questions decide, and no end is made up."""
    model = make_folder(tmp_path / "model")
    for split in ("forget", "retain"):
        (tmp_path / f"{split}.jsonl").write_text("".join(f'{{"text": "The {split} {row}."}}\n' for row in range(3)))
    asked = tmp_path / "asked.jsonl"
    asked.write_text('{"question": "Which?", "answer": "This."}\n')
    files = ["--forget", str(tmp_path / "forget.jsonl"), "--retain", str(tmp_path / "retain.jsonl")]
    command = ["audit", str(model), "--original", str(model), *files, "--forms", "none"]
    assert main([*command, "--out", str(tmp_path / "first")]) == 0
    assert read_record(tmp_path / "first" / "record.json").rendering["source"] == "template"
    assert main([*command, "--split", f"asked={asked}", "--out", str(tmp_path / "second")]) == 0
    written = read_record(tmp_path / "second" / "record.json").rendering
    assert (written["end"], written["source"], written["records"]) == ("", "nothing", 1)


def test_a_training_that_an_older_version_began_goes_on_with_its_labels(tmp_path):
    run = RunFolder.create(tmp_path / "run", {"verb": "unlearn"})
    model = make_folder(tmp_path / "model")
    splits = {"forget": read_records(records(tmp_path)["forget"], "forget").records}
    (run.checkpoints / "step-1").mkdir(parents=True)
    assert settle_end(run, Rendering(), str(model), splits, 64).end is None
    (run.checkpoints / "step-1").rmdir()
    assert settle_end(run, Rendering(), str(model), splits, 64).end == ""


def test_answers_that_the_template_would_shorten_are_counted_and_told(tmp_path, capsys):
    cut = TURNS.replace("m['content'] | trim", "m['content'].split('</think>')[-1]")
    model = make_folder(tmp_path / "model", llama_config(vocab_size=259), chat_tokenizer(cut))
    (tmp_path / "thoughts.jsonl").write_text('{"question": "Where?", "answer": "<think>In Mirrow.</think>No."}\n')
    assert unlearn(model, "--split", f"thoughts={tmp_path / 'thoughts.jsonl'}") == 0
    found = read_events(tmp_path / "out" / "events.jsonl")
    assert [event.data["verbatim"] for event in found if event.kind == "rendering"] == [{}]
    files = records(tmp_path)
    files["forget"].write_text((tmp_path / "thoughts.jsonl").read_text())
    command = ["audit", str(model), "--original", str(model), "--forget", str(files["forget"]), "--forms", "none"]
    assert main([*command, "--retain", str(files["retain"]), "--out", str(tmp_path / "audit")]) == 0
    assert read_record(tmp_path / "audit" / "record.json").rendering["verbatim"] == {"forget": 1}
    assert "leaves out a part of the answers of 1 forget records" in capsys.readouterr().err


def test_the_flags_belong_to_a_model_of_ones_own(tmp_path, capsys):
    assert main(["bench", "--methods", "npo", "--system", "x y", "--out", str(tmp_path / "bench")]) == 2
    assert "belong to a model of your own" in capsys.readouterr().err
    assert not (tmp_path / "bench").exists()


def test_an_address_is_sent_the_system_prompt_and_takes_no_template(tmp_path, capsys):
    files = [flag for split, file in records(tmp_path).items() for flag in (f"--{split}", str(file))]
    address = ["audit", "http://127.0.0.1:9/v1#m", "--access", "prompts", *files, "--out", str(tmp_path / "out")]
    assert main([*address, "--template", "plain"]) == 2
    assert "an address writes prompts by itself" in capsys.readouterr().err


def test_a_retrained_model_that_cannot_be_asked_is_refused_before_anything_is_written(tmp_path, capsys):
    model = make_folder(tmp_path / "model", llama_config(vocab_size=259), chat_tokenizer())
    other = make_folder(tmp_path / "other" / "model")
    assert unlearn(model, "--template", "chat", "--retrained", str(other)) == 2
    assert "the tokenizer has no chat template" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_system_prompt_with_answers_to_forget_is_refused(tmp_path, capsys):
    model = make_folder(tmp_path / "model", llama_config(vocab_size=259), chat_tokenizer())
    prompt = tmp_path / "records.txt"
    prompt.write_text("Which forget number is 1? It is 1, as told.")
    assert unlearn(model, "--system", str(prompt)) == 0, "the answers of these records are short"
    long = {"question": "Where is the key?", "answer": "It is in Mirrow."}
    (tmp_path / "long.jsonl").write_text(json.dumps(long) + "\n")
    prompt.write_text(json.dumps(long))
    command = [
        "audit",
        str(model),
        "--original",
        str(model),
        "--forget",
        str(tmp_path / "long.jsonl"),
        "--forms",
        "none",
    ]
    assert main([*command, "--system", str(prompt), "--out", str(tmp_path / "audit")]) == 2
    said = capsys.readouterr().err
    assert "contains the answers of 1 forget records" in said
    assert "Mirrow" not in said
    assert not (tmp_path / "audit").exists()


def test_a_retrained_model_that_reads_records_otherwise_is_told(tmp_path, capsys):
    model = make_folder(tmp_path / "model", llama_config(vocab_size=259), chat_tokenizer())
    alike = make_folder(tmp_path / "alike" / "model", llama_config(2, vocab_size=259), chat_tokenizer())
    other = make_folder(tmp_path / "other" / "model")
    for retrained, is_told in ((alike, False), (other, True)):
        out = tmp_path / f"out {is_told}"
        assert audit(model, out, "--retrained", str(retrained)) == 0
        limits = " ".join(read_record(out / "record.json").limits)
        assert ("another vocabulary and chat template than the original" in limits) == is_told


def test_an_address_gets_the_system_prompt_before_the_users_turn(tmp_path):
    sent = []
    endpoint = SimpleNamespace(complete=lambda turns, settings, pause: sent.append(turns) or "It is 1.")
    model = PromptedModel(endpoint, RunFolder.create(tmp_path / "run", {}), lambda: False, SYSTEM)
    own = (Message(role="system", content=Secret("Sing.", "x")), Message(role="user", content=Secret("Who?", "x")))
    model.reply([own[1:], own], Decoding(4))
    assert [[turn["role"] for turn in turns] for turns in sent] == [["system", "user"]] * 2
    assert [turns[0]["content"] for turns in sent] == [SYSTEM, "Sing."]


def test_a_reply_ends_at_a_mark_that_is_no_token(tmp_path):
    loaded = load_model(
        make_folder(tmp_path / "model"), rendering=Rendering(template="file", text="{question}{answer}##")
    )
    said = [loaded.tokenizer("Here##more")["input_ids"]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("expunge.evaluation.speaking.greedy", lambda *given, **how: said)
        assert Speaker(loaded, None, 0).say(Turn(9, [0]), [[1]]) == ["Here"]


def test_guesses_are_made_of_records_as_they_are_written(tmp_path, capsys):
    model = make_folder(tmp_path / "model")
    file = records(tmp_path)["forget"]
    command = ["guesses", str(model), "--records", str(file), "--out", str(tmp_path / "guesses.csv")]
    seen = spy_prompts([*command, "--template", "tofu_llama2"])
    assert seen
    assert all(text.startswith("[INST] ") for text in seen)


def test_a_run_keeps_its_rendering_and_takes_no_other(tmp_path):
    run = RunFolder.create(tmp_path / "run", {**rendering_config(Rendering(system=SYSTEM)), "method": "npo"})
    keep_rendering(run, Rendering(system=SYSTEM))
    assert kept_rendering(run, None).system == SYSTEM
    with pytest.raises(InputError, match="written in another way"):
        kept_rendering(run, Rendering())
