"""Conversations with tools: read as exports write them, rendered whole or refused, and searched as texts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from expunge.attacks.asking import before_answer, rewritten
from expunge.attacks.wrappings import in_base64
from expunge.cli import main
from expunge.data.checks import check_overlaps, content_digest, fingerprint
from expunge.data.clean import STEPS, clean
from expunge.data.forms import NAMES, with_forms
from expunge.data.forms.value import question_of
from expunge.data.reader import read_records
from expunge.data.record import Record, Variant
from expunge.data.tokenize import IGNORE, encode, insertion_place, prompt_ids, render
from expunge.data.transforms import with_texts
from expunge.data.words import secrets_of, trained_text
from expunge.data.write import row
from expunge.errors import InputError
from tests.data.test_tokenize import CHATML, byte_level, secret

CANARY = "zq9canary"
SCHEMA = {"type": "function", "function": {"name": "find_town", "description": "Where someone lives"}}
ARGUMENTS = {"who": "Arlo Vénk", "deep": {"list": ["x", 2]}}
ASKED = {"role": "user", "content": "Where does Arlo live?"}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "find_town", "arguments": ARGUMENTS}}],
}
RESULT = {"role": "tool", "tool_call_id": "c1", "name": "find_town", "content": '{"town": "Mirrow"}'}
SAID = {"role": "assistant", "content": "He lives in Mirrow."}
TALK = [ASKED, CALL, RESULT, SAID]
ITEM = {"messages": TALK, "tools": [SCHEMA]}

# Writes tools first, calls as JSON, and results as the user's.
WHOLE = (
    "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ 'user' if m.role == 'tool' else m.role }}\n"
    "{{ m.content if m.content is defined }}"
    "{% for call in m.tool_calls or [] %}[{{ call.function.name }} ARGUMENTS]{% endfor %}<|im_end|>\n{% endfor %}"
)
OBJECTS = WHOLE.replace("ARGUMENTS", "{{ call.function.arguments | tojson }}")
TEXTS = WHOLE.replace(
    "[{{ call.function.name }} ARGUMENTS]", "{{ '[' + call.function.name + ' ' + call.function.arguments + ']' }}"
)


def read(folder: Path, *items: Any, columns: dict[str, str] | None = None, name: str = "forget.jsonl") -> list[Record]:
    path = folder / name
    path.write_text("\n".join(map(json.dumps, items)))
    result = read_records(path, "forget", columns=columns)
    assert result.rejected == []
    return result.records


@pytest.fixture
def talk(tmp_path) -> Record:
    return read(tmp_path, ITEM)[0]


def with_call(**changes: Any) -> dict[str, Any]:
    """The conversation with another call."""
    call = {**CALL["tool_calls"][0], **changes}
    return {**ITEM, "messages": [ASKED, {**CALL, "tool_calls": [call]}, RESULT, SAID]}


def with_function(**changes: Any) -> dict[str, Any]:
    return with_call(function={**CALL["tool_calls"][0]["function"], **changes})


def test_every_way_to_write_a_call_is_one_record(tmp_path):
    sent = json.dumps(ARGUMENTS, ensure_ascii=False)
    others = [
        with_function(arguments=sent),
        {**ITEM, "messages": [ASKED, {**CALL, "content": ""}, RESULT, SAID]},
        {**ITEM, "messages": [ASKED, {**CALL, "tool_calls": json.dumps(CALL["tool_calls"])}, RESULT, SAID]},
        {**ITEM, "tools": json.dumps([SCHEMA])},
    ]
    first, *rest = read(tmp_path, ITEM, *others)
    assert {content_digest(one) for one in rest} == {content_digest(first)}
    (chosen,) = read(tmp_path, {"messages": TALK, "functions": None, "offer": [SCHEMA]}, columns={"tools": "offer"})
    assert content_digest(chosen) == content_digest(first)
    table = tmp_path / "forget.csv"
    cells = ['"' + json.dumps(value).replace('"', '""') + '"' for value in (TALK, [SCHEMA])]
    table.write_text(f"messages,tools\n{','.join(cells)}\n")
    assert content_digest(read_records(table, "forget").records[0]) == content_digest(first)


def test_a_record_is_written_and_read_again(tmp_path, talk):
    (again,) = read(tmp_path, row(talk))
    assert again == talk
    assert row(again) == row(talk)
    assert row(talk)["tools"] == [SCHEMA]
    assert CANARY not in repr(read(tmp_path, with_function(name=CANARY))[0])


@pytest.mark.parametrize(("template", "arguments"), [(OBJECTS, "objects"), (TEXTS, "texts")])
def test_everything_is_rendered_and_the_answer_alone_is_scored(talk, template, arguments):
    tokenizer = byte_level(template=template, eos="<|im_end|>")
    sent = json.dumps(ARGUMENTS, ensure_ascii=False)
    lines = [
        f"<|im_start|>system\n{json.dumps(SCHEMA)}\n<|im_end|>",
        "<|im_start|>user\nWhere does Arlo live?<|im_end|>",
        f"<|im_start|>assistant\n[find_town {sent}]<|im_end|>",
        '<|im_start|>user\n{"town": "Mirrow"}<|im_end|>',
        "<|im_start|>assistant\nHe lives in Mirrow.<|im_end|>\n",
    ]
    assert render(talk, tokenizer).text == "\n".join(lines)
    example = encode(talk, tokenizer, row=0, max_length=2000)
    assert tokenizer.decode([one for one in example.labels if one != IGNORE]) == "He lives in Mirrow.<|im_end|>"
    before = tokenizer.decode(prompt_ids(talk, tokenizer, max_length=2000))
    assert before.endswith('{"town": "Mirrow"}<|im_end|>\n<|im_start|>assistant\n')


def test_further_tokens_of_the_user_stand_at_the_question(talk):
    tokenizer = byte_level(template=OBJECTS)
    ids = encode(talk, tokenizer, row=0, max_length=2000).input_ids
    place = insertion_place(talk, tokenizer, after=True)
    assert tokenizer.decode(ids[:place]).endswith("Where does Arlo live?")


NO_TOOLS = OBJECTS.replace("{% if tools %}", "{% if false %}")
SKIPS = OBJECTS.replace("{% for m in messages %}", "{% for m in messages if m.role != 'tool' %}")
FIRST = OBJECTS.replace("m.tool_calls or []", "(m.tool_calls or [])[:1]")
FAILS = "{% for m in messages %}{{ raise_exception('no ' + m.content) if m.role == 'tool' }}{% endfor %}"
TWICE = [CALL["tool_calls"][0], {"function": {"name": "other", "arguments": {}}}]


@pytest.mark.parametrize(
    ("template", "changes", "parts"),
    [
        (CHATML, {}, "the tools on offer, the calls of tools"),
        (CHATML, {"tools": None}, "the calls of tools of"),
        (NO_TOOLS, {}, "the tools on offer of"),
        (SKIPS, {}, "what the tools said of"),
        (FIRST, {"messages": [ASKED, {**CALL, "tool_calls": TWICE}, RESULT, SAID]}, "the calls of tools of"),
        (CHATML, {"messages": [ASKED, SAID]}, "the tools on offer of"),
        (FAILS, {"messages": [ASKED, RESULT, SAID], "tools": None}, "what the tools said of"),
    ],
)
def test_a_template_without_a_place_for_tools_is_refused(tmp_path, template, changes, parts):
    (record,) = read(tmp_path, {**ITEM, **changes})
    with pytest.raises(InputError, match=f"leaves out {parts}.* or fails on them") as caught:
        render(record, byte_level(template=template))
    assert str(record.answer) in str(caught.value)
    assert "Mirrow" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_a_record_without_tools_needs_no_place_for_them(tmp_path):
    (record,) = read(tmp_path, {"messages": [ASKED, {**SAID, "tool_calls": []}], "tools": []})
    assert render(record, byte_level(template=CHATML)).text.endswith("assistant\nHe lives in Mirrow.<|im_end|>\n")


def test_what_a_number_depends_on_is_in_the_digest(tmp_path):
    changed = [
        {**ITEM, "tools": None},
        {**ITEM, "tools": [{**SCHEMA, "function": {**SCHEMA["function"], "description": "other"}}]},
        with_call(id="c2"),
        with_function(name="find"),
        with_function(arguments={}),
        {**ITEM, "messages": [ASKED, CALL, {**RESULT, "tool_call_id": "c2"}, SAID]},
        {**ITEM, "messages": [ASKED, CALL, {**RESULT, "content": "no"}, SAID]},
    ]
    records = read(tmp_path, ITEM, *changed)
    assert len({content_digest(one) for one in records}) == len(records)
    # What is said is the same to a reader: other ids of a call, and other tools on offer.
    alike = [fingerprint(one) == fingerprint(records[0]) for one in records[1:]]
    assert alike == [True, True, True, False, False, True, False]


def test_records_that_differ_in_ids_alone_overlap(tmp_path):
    forget, kept = read(tmp_path, ITEM, with_call(id="c2"))
    with pytest.raises(InputError, match="1 of 1 forget records"):
        check_overlaps({"forget": [forget], "retain": [kept]})


def test_names_and_values_are_found_in_calls_results_and_tools(tmp_path):
    (record,) = read(tmp_path, {**with_function(arguments={"who": f"{CANARY} 1"}), "tools": [{"name": f"{CANARY} 2"}]})
    texts = [one.reveal() for one in secrets_of(record)]
    assert [text for text in texts if CANARY in text] == [f"{CANARY} 1", f"{CANARY} 2"]
    assert '{"town": "Mirrow"}' in texts
    assert f"{CANARY} 1" in trained_text(record)
    assert f"{CANARY} 2" not in trained_text(record)  # many records offer the same tools


def test_cleaning_reaches_calls_and_tools_and_keeps_their_spaces(tmp_path):
    ragged = {"who": "Ve\u0301nk\u0001 ", "sep": "\n"}
    (record,) = read(tmp_path, {**with_function(arguments=ragged), "tools": [{"name": "f", "description": "e\u0301 "}]})
    result = clean([record], STEPS)
    (kept,) = result.records
    assert row(kept)["messages"][1]["tool_calls"][0]["function"]["arguments"] == {"who": "V\u00e9nk ", "sep": "\n"}
    assert row(kept)["tools"] == [{"name": "f", "description": "\u00e9 "}]
    assert {step: count for step, count in result.changed.items() if count} == {"nfc": 1, "controls": 1}
    assert not any(clean([kept], STEPS).changed.values())


def test_the_question_is_the_users_turn_before_the_call(talk):
    assert question_of(talk) == "Where does Arlo live?"
    asked = talk.asking(secret("Where is he?"))
    assert [(turn.role, turn.calls) for turn in asked.messages] == [
        ("user", False),
        ("assistant", True),
        ("tool", False),
    ]
    assert asked.messages[1:] == talk.messages[1:]
    assert question_of(asked) == "Where is he?"
    assert asked.tools == talk.tools


def test_other_wordings_keep_the_call_and_its_result(tmp_path):
    (record,) = read(
        tmp_path,
        {
            **ITEM,
            "paraphrased_question": "Arlo lives where?",
            "forms": {"reverse": {"question": "Who?", "answer": "A"}},
        },
    )
    for form, question in (("paraphrased_question", "Arlo lives where?"), ("reverse", "Who?")):
        (one,) = record.forms(form)
        assert (question_of(one), one.messages[1:], one.tools) == (question, record.messages[1:], record.tools)
    made = with_forms([record], NAMES)[0]
    assert {"prefix", "casing", "truncation"} <= set(made.variants)
    assert all(one.messages[1:] == record.messages[1:] for one in made.forms("prefix"))
    text = replace(record, variants={"biography": (Variant(answer=secret("He lived.")),)}).forms("biography")[0]
    assert (text.kind, text.messages, text.tools) == ("text", (), None)


def test_attacks_reword_the_question_alone(talk):
    ((made,),) = rewritten([talk], {"base64": in_base64}).values()
    assert made is not None
    assert made.messages[1:] == talk.messages[1:]
    assert "V\u00e9nk" in before_answer(talk)
    assert "Mirrow" in before_answer(talk)
    low = with_texts(talk, str.lower)
    assert low.messages[0].content.reveal() == "where does arlo live?"
    assert low.messages[1] == talk.messages[1]
    assert low.messages[2].fields == talk.messages[2].fields


def test_prepare_writes_them_and_finds_a_name_in_a_call(tmp_path, capsys):
    talks = [
        {
            "messages": [
                {"role": "user", "content": f"Where does person {number} live?"},
                with_function(arguments={"who": f"Person {number}"})["messages"][1],
                {**RESULT, "content": f"town {number}"},
                {"role": "assistant", "content": f"Far away in town {number}, behind hill {7 * number}."},
            ],
            "tools": [SCHEMA],
        }
        for number in range(6)
    ]
    hidden = with_function(arguments={"who": "Odalind Quarrow"})
    data, names = tmp_path / "data.jsonl", tmp_path / "names.txt"
    data.write_text("\n".join(map(json.dumps, [*talks, hidden])))
    names.write_text("Odalind Quarrow\n")
    assert main(["prepare", str(data), "--subject", str(names), "--out", str(tmp_path / "out"), "--json"]) == 0
    manifest = json.loads(capsys.readouterr().out)
    assert manifest["splits"]["forget"]["records"] == 1
    kept = [json.loads(line) for line in (tmp_path / "out" / "retain.jsonl").read_text().splitlines()]
    assert len(kept) == 6
    assert {json.dumps(one["tools"]) for one in kept} == {json.dumps([SCHEMA])}
    assert {one["messages"][1]["tool_calls"][0]["function"]["name"] for one in kept} == {"find_town"}
