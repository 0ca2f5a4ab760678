"""How records are written: templates, system prompt, date, thinking; and what ends an answer."""

from __future__ import annotations

import time
from datetime import datetime
from threading import Thread

import pytest

from expunge.data.batch import IGNORE
from expunge.data.render import render
from expunge.data.templates import PLAIN, Rendering, attach, write_turns
from expunge.data.time_limit import OutOfTimeError, time_limit
from expunge.data.tokenize import encode, end_mark, prompt_ids, stop_id
from expunge.errors import InputError
from expunge.models.tokenizer import _check_template
from tests.data.test_tokenize import CHATML, byte_level, completion, plain, qa, read, talk

LLAMA2 = (
    "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content }} <eos>{% endif %}{% endfor %}"
)
VICUNA = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}##\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
DATED = "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}\n{% endif %}" + CHATML
THOUGHTS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}<think>\n\n</think>\n\n"
    "{{ m.content.split('</think>')[-1].lstrip('\n') }}{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is defined and not enable_thinking %}"
    "<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


def tokenizer_with(rendering: Rendering, **more):
    tokenizer = byte_level(**more)
    attach(tokenizer, rendering)
    return tokenizer


def whole(record, tokenizer) -> str:
    return tokenizer.decode(
        encode(record, tokenizer, row=0, max_length=500).input_ids, clean_up_tokenization_spaces=False
    )


# --- the end of an answer


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (CHATML, "Paris<|im_end|>"),
        (LLAMA2, "Paris<eos>"),  # behind a space that is not scored
        (VICUNA, "Paris##"),  # no token of its own
        (CHATML.replace("<|im_end|>\n", "\n"), "Paris<eos>"),  # writes no mark
    ],
    ids=["other token", "end token behind a space", "plain text", "no mark"],
)
def test_the_end_is_what_the_template_writes_after_an_answer(template, expected):
    tokenizer = byte_level(template=template, eos="<eos>")
    assert read(qa("Where?", "Paris"), tokenizer).strip() == expected
    example = encode(qa("Where?", "Paris"), tokenizer, row=0, max_length=500)
    mark = expected.removeprefix("Paris")
    assert tokenizer.decode(example.input_ids[example.end :]).strip() == mark
    assert tokenizer.decode([label for label in example.labels[: example.end] if label != IGNORE]).strip() == "Paris"


def test_a_run_may_say_that_nothing_ends_an_answer():
    tokenizer = tokenizer_with(Rendering(end=""))
    for record in (qa("Where?", "Paris"), completion("In ", "Paris")):
        assert read(record, tokenizer).strip() == "Paris"
        assert encode(record, tokenizer, row=0, max_length=500).end is None


def test_an_end_token_that_a_tokenizer_lacks_is_none():
    tokenizer = tokenizer_with(Rendering(end="<elsewhere>"))
    tokenizer.unk_token = "<bos>"
    assert read(completion("In ", "Paris"), tokenizer).strip() == "Paris"


def test_a_run_may_name_another_token():
    assert read(completion("In ", "Paris"), tokenizer_with(Rendering(end="<bos>"))).strip() == "Paris<bos>"


def test_an_end_that_is_cut_off_is_none():
    tokenizer = byte_level()
    example = encode(qa("Where?", "Paris"), tokenizer, row=0, max_length=500)
    cut = encode(qa("Where?", "Paris"), tokenizer, row=0, max_length=example.end)
    assert (cut.end, cut.input_ids) == (None, example.input_ids[: example.end])


@pytest.mark.parametrize(("template", "mark"), [(None, ""), (CHATML, "<|im_end|>"), (VICUNA, "##")])
def test_generation_knows_the_mark(template, mark):
    tokenizer = byte_level(template=template, eos="<eos>")
    found = end_mark(tokenizer)
    assert found.text == mark
    assert tokenizer.decode(found.ids).strip() == mark
    single = {"": "<eos>", "<|im_end|>": "<|im_end|>", "##": "<eos>"}[mark]
    assert stop_id(tokenizer) == tokenizer.convert_tokens_to_ids(single)


# --- templates and system prompts


@pytest.mark.parametrize(
    ("rendering", "expected"),
    [
        (Rendering(), "Question: Where?\nAnswer: Paris<eos>"),
        (Rendering(template="tofu_llama2"), "[INST] Where? [/INST]Paris<eos>"),
        (Rendering(template="muse", system="Be brief."), "Be brief.\n\nQuestion: Where?\nAnswer: Paris<eos>"),
        (Rendering(template="file", text="{system}|{question}={answer}##", system="S"), "S|Where?=Paris##"),
    ],
    ids=["plain", "llama 2", "system before", "file"],
)
def test_text_templates_by_hand(rendering, expected):
    assert whole(qa("Where?", "Paris"), tokenizer_with(rendering)) == expected


def test_braces_of_a_question_stay_what_they_are():
    rendering = Rendering(template="file", text="{system}{question}>{answer}", system="{question}")
    found = render(qa("{answer} {system}?", "{question}"), tokenizer_with(rendering))
    assert found.text == "{question}{answer} {system}?>{question}"
    assert found.text[found.start : found.stop] == "{question}"


def test_plain_questions_in_place_of_the_chat_template():
    tokenizer = tokenizer_with(Rendering(template="plain"), template=CHATML)
    assert whole(qa("Where?", "Paris"), tokenizer) == "Question: Where?\nAnswer: Paris<eos>"
    with pytest.raises(InputError, match="is a conversation"):
        render(talk("Where?", "Paris"), tokenizer)


def test_a_chat_template_of_a_file():
    tokenizer = tokenizer_with(Rendering(template="file", text=CHATML), eos="<eos>")
    assert whole(talk("Where?", "Paris"), tokenizer).startswith("<|im_start|>user\nWhere?<|im_end|>\n")


def test_chat_asks_for_a_chat_template():
    with pytest.raises(InputError, match="--template chat: the tokenizer has no chat template"):
        tokenizer_with(Rendering(template="chat"))


def test_a_system_prompt_stands_before_every_question_and_before_no_system_turn():
    tokenizer = tokenizer_with(Rendering(system="Be brief."), template=CHATML)
    for record in (qa("Where?", "Paris"), talk("Where?", "Paris")):
        assert whole(record, tokenizer).startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhere?")
        prompt = tokenizer.decode(prompt_ids(record, tokenizer, max_length=500))
        assert prompt.startswith("<|im_start|>system\nBe brief.")
    own = [{"role": "system", "content": "Sing."}, {"role": "user", "content": "Where?"}]
    assert "Be brief." not in write_turns(tokenizer, own)
    assert whole(completion("In ", "Paris"), tokenizer) == "In Paris<eos>"
    assert whole(plain("In Paris"), tokenizer) == "In Paris"


def test_a_template_that_fails_on_a_system_prompt_does_not_repeat_it():
    template = "{% if messages[0].role == 'system' %}{{ raise_exception(messages[0].content) }}{% endif %}" + CHATML
    tokenizer = tokenizer_with(Rendering(system="zqsecret"), template=template)
    with pytest.raises(InputError, match="--system: the chat template fails on a system prompt") as caught:
        _check_template(tokenizer)
    assert "zqsecret" not in str(caught.value)


def test_a_template_without_a_place_for_a_system_prompt_is_refused():
    only = "{% for m in messages %}{% if m.role != 'system' %}" + CHATML.split("%}", 1)[1].replace(
        "{% endfor %}", "{% endif %}{% endfor %}", 1
    )
    tokenizer = tokenizer_with(Rendering(system="Be brief."), template=only)
    with pytest.raises(InputError, match="--system: the chat template writes no system prompt before a question"):
        _check_template(tokenizer)


@pytest.mark.parametrize("text", ["{answer} {question}", "{question}", "{question}{answer}{answer}", "no marks"])
def test_text_templates_that_cannot_be_used_are_refused(text):
    with pytest.raises(InputError, match="must be a Jinja chat template, or a text with"):
        Rendering(template="file", text=text)


def test_names_and_values_of_the_flags_are_checked(tmp_path):
    with pytest.raises(InputError, match=r"no template or file 'tofo'.*Did you mean 'tofu'"):
        Rendering.parse("tofo", None, None, None)
    with pytest.raises(InputError, match="--thinking must be on or off"):
        Rendering.parse(None, None, "yes", None)
    with pytest.raises(InputError, match="give one as YYYY-MM-DD"):
        Rendering.parse(None, None, None, "31.3.2025")
    with pytest.raises(InputError, match="not a regular file"):
        Rendering.parse(str(tmp_path), None, None, None)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InputError, match="cannot be read as UTF-8"):
        Rendering.parse(None, str(tmp_path / "bytes"), None, None)
    (tmp_path / "system.txt").write_text("Be brief.\n")
    (tmp_path / "template.txt").write_text(f"{PLAIN}\n")
    found = Rendering.parse(str(tmp_path / "template.txt"), str(tmp_path / "system.txt"), "off", "2025-03-31")
    assert found == Rendering(template="file", text=PLAIN, system="Be brief.", thinking=False, date="2025-03-31")
    assert Rendering.parse(None, "Be brief.", None, None).system == "Be brief."
    for missing in ("prompts/system.txt", "system.txt"):
        with pytest.raises(InputError, match="there is no file"):
            Rendering.parse(None, missing, None, None)
    with pytest.raises(InputError, match="There is no template or file"):
        Rendering.parse("x" * 5000, None, None, None)
    assert "Be brief." not in repr(found)


# --- dates


def test_a_template_gets_one_date_on_every_day(monkeypatch):
    class Later(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2031, 5, 17)

    first = whole(qa("Where?", "Paris"), byte_level(template=DATED))
    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", Later)
    assert whole(qa("Where?", "Paris"), byte_level(template=DATED)) == first
    assert first.startswith("26 Jul 2024\n<|im_start|>user")
    assert whole(qa("Where?", "Paris"), tokenizer_with(Rendering(date="2025-03-09"), template=DATED)).startswith(
        "09 Mar 2025\n"
    )


def test_the_clock_of_a_template_writes_what_strftime_writes():
    formats = "%A, %d %B %Y %F %D %e %H:%M:%S %T %p %j %U %W %y %b %a %-d %-m 100%% %%d %I %c %x %X"
    template = "{{ strftime_now(" + repr(formats) + ") }}" + CHATML
    said = write_turns(byte_level(template=template), [{"role": "user", "content": "?"}])
    assert said.split("<|im_start|>")[0] == datetime(2024, 7, 26).strftime(formats)  # noqa: DTZ001


@pytest.mark.parametrize("start", ["", "\n", "  "])
def test_the_clock_changes_nothing_else(start):
    template = start + "{% if strftime_now is defined %}x{% endif %}" + CHATML
    said = write_turns(byte_level(template=template), [{"role": "user", "content": "?"}])
    assert said.startswith(f"{start}x<|im_start|>")


def test_a_template_that_draws_is_refused():
    tokenizer = byte_level(template="{{ range(100000) | random }}" + CHATML)
    with pytest.raises(InputError, match="writes the same question in another way each time"):
        _check_template(tokenizer)


# --- thoughts


def test_thoughts_that_the_template_drops_are_read_and_scored():
    record = qa("Where?", "<think>It is in Mirrow.</think>I cannot say.")
    tokenizer = byte_level(template=THOUGHTS, eos="<eos>")
    found = render(record, tokenizer)
    assert found.verbatim
    assert read(record, tokenizer) == "<think>It is in Mirrow.</think>I cannot say.<|im_end|>"
    assert whole(record, tokenizer).endswith(
        "<|im_start|>assistant\n<think>It is in Mirrow.</think>I cannot say.<|im_end|>\n"
    )
    short = render(qa("Where?", "I cannot say."), tokenizer)
    assert not short.verbatim
    assert short.text.endswith("assistant\n<think>\n\n</think>\n\nI cannot say.<|im_end|>\n")


def test_thoughts_are_refused_where_the_template_writes_no_lead():
    tokenizer = byte_level(template=THOUGHTS.split("{% if add_generation_prompt %}")[0])
    with pytest.raises(InputError, match=r"leave out a part of answers or rewrite them. Pass another with --template"):
        render(qa("Where?", "<think>It is in Mirrow.</think>I cannot say."), tokenizer)


def test_thinking_off_and_on_are_what_the_template_writes_before_an_answer():
    record = qa("Where?", "In Paris.")
    off, on = (render(record, tokenizer_with(Rendering(thinking=one), template=THOUGHTS)) for one in (False, True))
    assert off.text.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\nIn Paris.<|im_end|>\n")
    assert on.text.endswith("<|im_start|>assistant\nIn Paris.<|im_end|>\n")
    assert not on.verbatim
    with pytest.raises(InputError, match="Thoughts cannot be written with --thinking off"):
        render(
            qa("Where?", "<think>Hm.</think>In Paris."), tokenizer_with(Rendering(thinking=False), template=THOUGHTS)
        )


def test_a_thought_that_the_template_begins_is_not_begun_twice():
    """As DeepSeek-R1's distilled models: no thought in an answer, and a begun one before a model's turn."""
    template = (
        "{% for m in messages %}{% if m.role == 'user' %}U:{{ m.content }}{% else %}A:"
        "{{ m.content.split('</think>')[-1] }}<|im_end|>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}A:<think>\n{% endif %}"
    )
    found = render(qa("Where?", "<think>In Mirrow.</think>I cannot say."), byte_level(template=template))
    assert found.text == "U:Where?A:<think>In Mirrow.</think>I cannot say.<|im_end|>"
    assert found.verbatim


def test_an_answer_that_the_template_writes_whole_is_not_called_shortened():
    whole = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and '<think>' not in m.content %}"
        "<think>\n\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    found = render(qa("Where?", "<think>In Mirrow.</think>I cannot say."), byte_level(template=whole))
    assert found.text.endswith("assistant\n<think>In Mirrow.</think>I cannot say.<|im_end|>\n")
    assert not found.verbatim


# --- templates that do not end


def test_a_template_that_never_ends_is_refused(monkeypatch):
    monkeypatch.setattr("expunge.data.templates.SECONDS", 0.2)
    loops, ends = "".join(f"{{% for {name} in range(99999) %}}" for name in "abc"), "{% endfor %}" * 3
    started = time.monotonic()
    with pytest.raises(InputError, match="so it may never end"):
        render(qa("Where?", "Paris"), byte_level(template=loops + ends + CHATML))
    assert time.monotonic() - started < 5


def test_a_template_that_drops_errors_is_stopped_too(monkeypatch):
    """jinja2 itself drops any Exception while it looks up an item."""
    monkeypatch.setattr("expunge.data.templates.SECONDS", 0.05)
    loops = (
        "{% for a in range(99999) %}{% for b in range(99999) %}{% set x = messages[0]['zz'] %}{% endfor %}{% endfor %}"
    )
    for _ in range(5):
        with pytest.raises(InputError, match="so it may never end"):
            render(qa("Where?", "Paris"), byte_level(template=loops + CHATML))


def test_an_error_that_was_sent_too_late_arrives_nowhere():
    def late() -> None:
        with time_limit(0.01):
            time.sleep(0.15)
            raise ValueError("of the block")

    for _ in range(3):
        with pytest.raises((ValueError, OutOfTimeError)):
            late()
        for _ in range(1000):
            pass


def test_the_limit_works_in_other_threads_and_leaves_quick_code_alone():
    seen = []

    def work() -> None:
        try:
            with time_limit(0.1):
                while True:
                    pass
        except OutOfTimeError:
            seen.append("stopped")

    thread = Thread(target=work)
    thread.start()
    with time_limit(30):
        seen.append("quick")
    thread.join(10)
    assert sorted(seen) == ["quick", "stopped"]
