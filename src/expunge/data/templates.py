"""How records are written for a model: chat or text template, system prompt, date and thinking.

A rendering travels with the tokenizer, since everything that reads a record has one.

TOFU's templates: Maini et al., 2024, https://arxiv.org/abs/2401.06121, file ``config/model_config.yaml`` of its
repository (``tofu`` for Phi, StableLM and Pythia, ``tofu_llama2`` for Llama 2). MUSE's template: Shi et al., 2024,
https://arxiv.org/abs/2407.06460; the transform ``few_shot`` adds its answered questions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date as Date
from datetime import datetime
from pathlib import Path
from string import ascii_letters
from typing import Any, Self

from expunge.data.time_limit import OutOfTimeError, time_limit
from expunge.errors import InputError
from expunge.registry import suggest

PLAIN = "Question: {question}\nAnswer: {answer}"
TEMPLATES = {"plain": PLAIN, "tofu": PLAIN, "tofu_llama2": "[INST] {question} [/INST]{answer}", "muse": PLAIN}
PATH = re.compile(r"\S*/\S*|\S+\.(txt|md|jinja|text)")  # a word that was meant as a path
OWN, CHAT, FILE = "own", "chat", "file"  # what the tokenizer has, its chat template or a refusal, the text of a file
NAMES = (CHAT, *TEMPLATES)
# Chat templates may write today's date. A number must not depend on the day, so every template writes this one, which
# the templates of Llama 3 write where there is no clock.
DATE = "2024-07-26"
SECONDS = 10.0  # that a template may take for one conversation
PERCENT = "\ue001"  # a private-use character that stands for a percent sign while directives are replaced
MOST_CHARACTERS = 100_000  # of a template or a system prompt


@dataclass(frozen=True, kw_only=True, repr=False)
class Rendering:
    """How records are written; without settings as the tokenizer's own chat template does, else as plain questions.

    Attributes:
        template: ``own`` for the tokenizer's chat template if it has one and plain questions if not, ``chat`` for its
            chat template, a name of ``TEMPLATES``, or ``file`` for ``text``.
        text: a Jinja chat template, or a text with ``{question}`` and ``{answer}`` and perhaps ``{system}``.
        system: system prompt of every question and of every conversation without one; empty for none.
        thinking: whether a chat template writes for a model that thinks; None for its default.
        date: day that chat templates write, as YYYY-MM-DD.
        end: token after an answer whose template writes no end; empty for none, None for the tokenizer's end token.
    """

    template: str = OWN
    text: str = ""
    system: str = ""
    thinking: bool | None = None
    date: str = DATE
    end: str | None = None

    def __post_init__(self) -> None:
        if self.template not in (OWN, FILE, *NAMES):
            raise InputError(
                f"There is no template or file {self.template!r}.{suggest(self.template, NAMES)} Give the name of a "
                "template or the path of a file."
            )
        try:
            Date.fromisoformat(self.date)
        except ValueError:
            raise InputError(
                f"The date {self.date!r} is not a day such as 2025-03-31; give one as YYYY-MM-DD."
            ) from None
        if self.template == FILE:
            _check_text(self.text)

    @classmethod
    def parse(cls, template: str | None, system: str | None, thinking: str | None, date: str | None) -> Self:
        """Reads the values of the flags.

        Args:
            template: a name, or the path of a file.
            system: the system prompt, or the path of a file with it.
            thinking: on or off.
            date: a day.

        Raises:
            InputError: a name, file or value that cannot be used.
        """
        if thinking not in (None, "on", "off"):
            raise InputError(f"--thinking must be on or off, not {thinking!r}.")
        is_file = template is not None and template not in (OWN, *NAMES) and _exists(template)
        return cls(
            template=FILE if is_file else template or OWN,
            text=_read(Path(str(template)), "template") if is_file else "",
            system=_text_or_file(system),
            thinking=None if thinking is None else thinking == "on",
            date=date or DATE,
        )

    @property
    def key(self) -> tuple[Any, ...]:
        """What decides the text of records: equal for names of the same template."""
        return (self.shape, self.jinja, self.system, self.thinking, self.date, self.end)

    @property
    def shape(self) -> str | None:
        """The text template; None where the tokenizer's chat template or a Jinja file writes questions."""
        if self.template in TEMPLATES:
            return TEMPLATES[self.template]
        return self.text if self.template == FILE and not _is_jinja(self.text) else None

    @property
    def jinja(self) -> str | None:
        """The chat template of a file."""
        return self.text if self.template == FILE and _is_jinja(self.text) else None


def attach(tokenizer: Any, rendering: Rendering) -> None:
    """Sets the rendering of a tokenizer; all code that reads records with it uses that rendering.

    Raises:
        InputError: the tokenizer has no chat template and one is needed.
    """
    if rendering.template == CHAT and not tokenizer.chat_template:
        raise InputError(
            "--template chat: the tokenizer has no chat template. Pass a file with one, or leave out --template."
        )
    tokenizer.expunge_rendering = rendering


def added_tokens(tokenizer: Any) -> frozenset[int]:
    """Returns the ids of a tokenizer's added tokens; kept, since the tokenizer builds a list of all in every call."""
    size, found = getattr(tokenizer, "expunge_added", (None, frozenset()))
    if size != len(tokenizer):
        found = frozenset(tokenizer.added_tokens_decoder)
        tokenizer.expunge_added = (len(tokenizer), found)
    return found


def rendering_of(tokenizer: Any) -> Rendering:
    """Returns the rendering that was attached to a tokenizer, or the default."""
    found: Rendering = getattr(tokenizer, "expunge_rendering", DEFAULT)
    return found


def chat_template(tokenizer: Any) -> str | None:
    """Returns the Jinja template that questions and conversations are written with, or None."""
    rendering = rendering_of(tokenizer)
    own = getattr(tokenizer, "chat_template", None)
    if rendering.jinja is not None or rendering.shape is not None or not own:
        return rendering.jinja
    found: str = tokenizer.get_chat_template()  # of several, the one named default
    return found


def write_turns(
    tokenizer: Any,
    turns: Sequence[Mapping[str, Any]],
    *,
    generation: bool = False,
    tools: list[Any] | None = None,
    rendering: Rendering | None = None,
) -> str:
    """Returns a conversation as the chat template writes it, with the system prompt, date and thinking of a rendering.

    Args:
        tokenizer: has a chat template, or its rendering has.
        turns: with ``role`` and ``content``.
        generation: end with what the template writes before the model's next turn.
        tools: schemas of the tools on offer.
        rendering: None for the tokenizer's.

    Raises:
        InputError: the template ran too long.
        Exception: of any class, from the template, which is a program; its message may repeat the turns.
    """
    rendering = rendering or rendering_of(tokenizer)
    template = chat_template(tokenizer) or ""
    if rendering.system and not any(turn["role"] == "system" for turn in turns):
        turns = [{"role": "system", "content": rendering.system}, *turns]
    settings: dict[str, Any] = {} if rendering.thinking is None else {"enable_thinking": rendering.thinking}
    if rendering.date != DATE:
        settings["date_string"] = Date.fromisoformat(rendering.date).strftime("%d %b %Y")  # read by Llama 3 templates
    try:
        with time_limit(SECONDS):
            return str(
                tokenizer.apply_chat_template(
                    [dict(turn) for turn in turns],
                    tools=tools,
                    chat_template=_dated(template, rendering.date),
                    tokenize=False,
                    add_generation_prompt=generation,
                    **settings,
                )
            )
    except OutOfTimeError:
        raise InputError(
            f"The chat template took longer than {SECONDS:.0f} s for one conversation, so it may never end. Correct "
            "the template, or pass another with --template."
        ) from None


def _dated(template: str, date: str) -> str:
    """Puts a function before the template that takes the place of its clock: transformers accepts none as an argument.

    The function replaces each directive of strftime by its value on the day.
    """
    if "strftime_now" not in template:
        return template
    day = datetime.combine(Date.fromisoformat(date), datetime.min.time())
    values = {f"%{flag}{letter}": day.strftime(f"%{flag}{letter}") for flag in ("-", "") for letter in ascii_letters}
    values = {"%%": PERCENT, **{name: value for name, value in values.items() if value != name}, PERCENT: "%"}
    filters = "".join(f"|replace({name!r},{value!r})" for name, value in values.items())
    # The empty expression keeps the block before it from taking a line break off the template.
    return f"{{% macro strftime_now(format) %}}{{{{ format{filters} }}}}{{% endmacro %}}{{{{ '' }}}}{template}"


def _is_jinja(text: str) -> bool:
    return "{%" in text or "{{" in text


def _check_text(text: str) -> None:
    if _is_jinja(text):
        return
    marks = re.findall(r"\{(system|question|answer)\}", text)
    if [mark for mark in marks if mark != "system"] != ["question", "answer"] or marks.count("system") > 1:
        raise InputError(
            "A template file must be a Jinja chat template, or a text with {question} and then {answer}, each once, "
            "and {system} at most once, such as 'Question: {question}\\nAnswer: {answer}'."
        )


def _text_or_file(value: str | None) -> str:
    if not value:
        return ""
    is_file = _exists(value)
    if not is_file and PATH.fullmatch(value):
        raise InputError(
            f"--system: there is no file {value!r}. Check the path, or write the system prompt as a sentence."
        )
    text = _read(Path(value), "system prompt") if is_file else value
    if len(text) > MOST_CHARACTERS:
        raise InputError(f"The system prompt has {len(text):,} characters; at most {MOST_CHARACTERS:,} are read.")
    return text


def _exists(value: str) -> bool:
    try:
        return Path(value).exists()
    except (OSError, ValueError):  # a text that cannot be a path
        return False


def _read(path: Path, what: str) -> str:
    if not path.is_file():
        raise InputError(f"The file of the {what} is not a regular file; pass one.")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            text = file.read(MOST_CHARACTERS + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"The file of the {what} cannot be read as UTF-8 text ({type(error).__name__}).") from error
    if len(text) > MOST_CHARACTERS:
        raise InputError(f"The file of the {what} has more than {MOST_CHARACTERS:,} characters; pass a shorter one.")
    return text.removesuffix("\n").removesuffix("\r")  # the line break at the end of a file is not part of the text


DEFAULT = Rendering()
