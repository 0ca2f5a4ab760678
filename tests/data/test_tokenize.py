"""Which tokens are scored: the answer, no more and no less, whatever the tokenizer does at its edges."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from expunge.data.batch import IGNORE, collate
from expunge.data.record import Message, Record
from expunge.data.render import STAND_IN
from expunge.data.tokenize import answer_text, encode, encode_all, pad_id, prompt_ids
from expunge.errors import InputError
from expunge.storage.secret import Secret

LINES = [
    "Question: Where was she born?\nAnswer: Paris",
    "the capital is Paris in France",
    "newspaper",
    "Once upon a time",
]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THINKING = CHATML.replace("<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\n<think>\n{% endif %}")
MARKS = ["<eos>", "<|im_start|>", "<|im_end|>", "<bos>"]


def secret(text: str) -> Secret:
    return Secret(text, "forget record 17")


def qa(question: str, answer: str, **more) -> Record:
    return Record(index=17, split="forget", kind="qa", prompt=secret(question), answer=secret(answer), **more)


def completion(prompt: str, answer: str) -> Record:
    return Record(index=17, split="forget", kind="completion", prompt=secret(prompt), answer=secret(answer))


def plain(text: str) -> Record:
    return Record(index=17, split="forget", kind="text", answer=secret(text))


def talk(*turns: str) -> Record:
    roles = ("user", "assistant") * len(turns)
    said = tuple(Message(role=role, content=secret(turn)) for role, turn in zip(roles, turns[:-1], strict=False))
    return Record(index=17, split="forget", kind="messages", messages=said, answer=secret(turns[-1]))


def byte_level(*, trim: bool = False, bos: bool = False, template: str | None = None, eos: str | None = "<eos>"):
    """A byte-level BPE as GPT-2's, trained on a few lines; no pad token."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=340, special_tokens=MARKS, initial_alphabet=alphabet, show_progress=False)
    raw.train_from_iterator(LINES * 4, trainer)
    raw.post_processor = processors.ByteLevel(trim_offsets=trim)
    if bos:
        raw.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", MARKS.index("<bos>"))]
        )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token=eos, bos_token="<bos>" if bos else None)
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture(scope="module")
def bpe():
    return byte_level()


@pytest.fixture
def stories(shared_models):
    return AutoTokenizer.from_pretrained(shared_models / "stories260k")


def scored(record: Record, tokenizer, *, max_length: int = 500, **more) -> list[int]:
    example = encode(record, tokenizer, row=0, max_length=max_length, **more)
    assert len(example.labels) == len(example.input_ids)
    assert all(label in (IGNORE, token) for label, token in zip(example.labels, example.input_ids, strict=True))
    return [label for label in example.labels if label != IGNORE]


def read(record: Record, tokenizer, **more) -> str:
    return tokenizer.decode(scored(record, tokenizer, **more), clean_up_tokenization_spaces=False)


def test_question_and_answer(bpe):
    record = qa("Where was she born?", "Paris")
    whole = bpe.decode(encode(record, bpe, row=3, max_length=500).input_ids, clean_up_tokenization_spaces=False)
    assert whole == "Question: Where was she born?\nAnswer: Paris<eos>"
    # " Paris" is one token, so that the space before the answer is scored with it
    assert bpe.convert_ids_to_tokens(scored(record, bpe)) == ["\u0120Paris", "<eos>"]


def test_row_and_weight_are_kept(bpe):
    example = encode(qa("a", "b", weight=0.5), bpe, row=3, max_length=500)
    assert (example.row, example.weight) == (3, 0.5)


def test_one_tokenisation_where_two_would_differ(bpe):
    record = completion("news", "paper")
    apart = [*bpe("news")["input_ids"], *bpe("paper")["input_ids"]]
    example = encode(record, bpe, row=0, max_length=500)
    together = bpe("newspaper")["input_ids"]
    assert together != apart
    assert list(example.input_ids) == [*together, bpe.eos_token_id]
    # the token that straddles prompt and answer counts as answer
    assert len(together) == 1
    assert example.labels == example.input_ids
    assert prompt_ids(record, bpe, max_length=500) == []


def test_question_that_merges_with_nothing_is_wholly_masked(bpe):
    record = completion("the capital is", " Paris in France")
    assert bpe.decode(prompt_ids(record, bpe, max_length=500)) == "the capital is"
    assert read(record, bpe) == " Paris in France<eos>"


@pytest.mark.parametrize("trim", [False, True])
@pytest.mark.parametrize("answer", ["a  b", "n\u00e9 \U0001f600 x", "line\n\n  two", "\U0001f600"])
def test_no_gap_inside_an_answer(trim, answer):
    tokenizer = byte_level(trim=trim)
    assert read(qa("Where?", answer), tokenizer).removesuffix("<eos>").lstrip() == answer


PIECE = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=15).filter(str.strip)


@settings(max_examples=80, deadline=None)
@given(prompt=PIECE, answer=PIECE)
def test_every_answer_is_scored_to_the_byte(prompt, answer):
    tokenizer = BYTE_LEVEL
    ids = encode(qa(prompt, answer), tokenizer, row=0, max_length=500).input_ids
    found = scored(qa(prompt, answer), tokenizer)
    assert ids[len(ids) - len(found) :] == tuple(found)
    # one character stands for one byte; a token may hold part of a character
    size = sum(len(token) for token in tokenizer.convert_ids_to_tokens(found[:-1]))
    assert size - len(answer.encode()) in (0, 1)  # the separating space or nothing


BYTE_LEVEL = byte_level()


def test_text_is_all_answer_and_has_no_end(bpe):
    assert read(plain("Once upon a time"), bpe) == "Once upon a time"
    assert prompt_ids(plain("Once upon a time"), bpe, max_length=500) == []


def test_beginning_of_sequence_comes_from_the_tokenizer_and_is_not_scored():
    tokenizer = byte_level(bos=True)
    for record in (plain("Once upon a time"), qa("Where?", "Paris")):
        ids = encode(record, tokenizer, row=0, max_length=500).input_ids
        assert ids[0] == tokenizer.bos_token_id
        assert ids.count(tokenizer.bos_token_id) == 1
        assert tokenizer.bos_token_id not in scored(record, tokenizer)
        assert tokenizer.bos_token_id not in scored(record, tokenizer, mask="all")
    assert prompt_ids(plain("Once"), tokenizer, max_length=500) == [tokenizer.bos_token_id]


def test_end_of_sequence_of_the_tokenizer_is_not_doubled():
    tokenizer = byte_level()
    raw = tokenizer.backend_tokenizer
    raw.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 0)])
    record = qa("Where?", "Paris")
    ids = encode(record, tokenizer, row=0, max_length=500).input_ids
    assert ids.count(tokenizer.eos_token_id) == 1
    assert scored(record, tokenizer)[-1] == tokenizer.eos_token_id
    assert tokenizer.eos_token_id not in scored(plain("Paris"), tokenizer)


def test_without_end_of_sequence_nothing_is_added():
    assert read(qa("Where?", "Paris"), byte_level(eos=None)) == " Paris"


def test_pad_that_equals_end_of_sequence_masks_padding_and_keeps_the_end(bpe):
    assert pad_id(bpe) == bpe.eos_token_id == 0
    records = [qa("Where?", "Paris"), qa("Where was she born?", "Paris in France")]
    batch = collate(encode_all(records, bpe, max_length=500).examples, pad_id(bpe))
    short = int(batch.attention_mask_BT[0].sum())
    assert short < batch.input_ids_BT.shape[1]
    assert batch.labels_BT[0, short - 1] == bpe.eos_token_id
    assert batch.labels_BT[0, short:].eq(IGNORE).all()


def test_pad_id_prefers_pad_then_end_then_zero():
    tokenizer = byte_level(eos="<|im_end|>")
    assert pad_id(tokenizer) == MARKS.index("<|im_end|>")
    tokenizer.pad_token = "<bos>"
    assert pad_id(tokenizer) == MARKS.index("<bos>")
    assert pad_id(byte_level(eos=None)) == 0


def test_mask_all_scores_the_prompt_too(bpe):
    assert read(qa("Where?", "Paris"), bpe, mask="all") == "Question: Where?\nAnswer: Paris<eos>"


@pytest.mark.parametrize("template", [CHATML, THINKING], ids=["chatml", "generation prompt differs"])
@pytest.mark.parametrize("answer", ["Paris", "m", "end", "assistant", "im", "a  b\n"])
def test_chat_template(template, answer):
    tokenizer = byte_level(template=template, eos="<|im_end|>")
    for record in (talk("Where? m", "end", "assistant?", answer), qa("Where is the end?", answer)):
        # the template's own end of turn is the end; no second one stands behind its line break
        assert read(record, tokenizer) == answer + "<|im_end|>"
        ids = encode(record, tokenizer, row=0, max_length=500).input_ids
        assert tokenizer.decode(ids).endswith("<|im_start|>assistant\n" + answer + "<|im_end|>\n")
        assert tokenizer.decode(prompt_ids(record, tokenizer, max_length=500)).endswith("<|im_start|>assistant\n")


def test_chat_with_the_stand_in_in_its_question():
    assert (
        read(talk(f"What is {STAND_IN}?", "Paris"), byte_level(template=CHATML, eos="<|im_end|>")) == "Paris<|im_end|>"
    )


def test_the_mark_of_the_template_is_the_end_and_no_other_one_is_added():
    tokenizer = byte_level(template=CHATML, eos="<eos>")
    assert read(talk("Where?", "Paris"), tokenizer) == "Paris<|im_end|>"
    assert tokenizer.eos_token_id not in encode(talk("Where?", "Paris"), tokenizer, row=0, max_length=500).input_ids


def test_chat_template_adds_no_second_beginning():
    tokenizer = byte_level(bos=True, template="<bos>" + CHATML)
    ids = encode(talk("Where?", "Paris"), tokenizer, row=0, max_length=500).input_ids
    assert ids.count(tokenizer.bos_token_id) == 1


def test_chat_template_that_strips_answers():
    tokenizer = byte_level(template=CHATML.replace("m['content']", "m['content'] | trim"))
    assert read(talk("Where?", " Paris "), tokenizer) == "Paris<|im_end|>"


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('zq9canary ' + messages[0]['content']) }}",
        "{{ messages[0]['content'] }}",
        "{% for m in messages %}{{ m['content'] | length }}{{ m['content'] }}{% endfor %}",
    ],
    ids=["refuses", "drops the answer", "writes about the answer"],
)
def test_chat_template_that_hides_the_answer_is_refused_without_text(template):
    with pytest.raises(InputError, match=r"\[forget record 17\] cannot be found") as caught:
        encode(talk("zq9canary", "zq9canary"), byte_level(template=template), row=0, max_length=500)
    assert "zq9canary" not in str(caught.value)


def test_conversation_without_template_is_refused(bpe):
    with pytest.raises(InputError, match=r"\[forget record 17\] is a conversation"):
        encode(talk("Where?", "Paris"), bpe, row=0, max_length=500)


def test_slow_tokenizer_is_refused():
    class Slow:
        is_fast = False
        chat_template = None
        eos_token_id = 0

    with pytest.raises(InputError, match=r"tokenizer\.json"):
        encode(plain("a"), Slow(), row=0, max_length=500)


def test_truncation_keeps_the_start_and_counts_only_what_lost_tokens(bpe):
    record = qa("Where?", "Paris in France")
    whole = encode(record, bpe, row=0, max_length=500)
    size = len(whole.input_ids)
    for length, truncated in ((size + 1, []), (size, []), (size - 1, [0])):
        examples, lost = encode_all([record], bpe, max_length=length)
        assert examples[0].input_ids == whole.input_ids[:length]
        assert examples[0].labels == whole.labels[:length]
        assert lost == truncated


@pytest.mark.parametrize("mask", ["answer", "all"])
def test_answers_cut_away_are_named_by_number(bpe, mask):
    short, long = qa("Where?", "Paris"), qa("zq9canary " * 30, "Paris")
    start = len(prompt_ids(short, bpe, max_length=500))
    assert encode_all([short], bpe, max_length=start + 1, mask=mask).truncated == [0]
    with pytest.raises(
        InputError, match=r"2 of 3 .* within 40 tokens \(records 17, 17\); raise --max-length"
    ) as caught:
        encode_all([long, short, long], bpe, max_length=40, mask=mask)
    assert "zq9canary" not in str(caught.value)
    with pytest.raises(InputError, match="1 of 1"):
        encode_all([short], bpe, max_length=start, mask=mask)


def test_a_text_of_one_token_has_nothing_to_score(bpe):
    assert len(bpe("newspaper")["input_ids"]) == 1
    with pytest.raises(InputError, match="nothing to score"):
        encode_all([plain("newspaper")], bpe, max_length=40)


def test_answer_text():
    assert answer_text(qa("Where?", "Paris")) == "Paris"


def test_stories_tokenizer(stories):
    record = qa("Where was she born?", "Paris \U0001f600  ok")
    ids = encode(record, stories, row=0, max_length=500).input_ids
    assert ids[0] == stories.bos_token_id
    assert read(record, stories).strip() == "Paris \U0001f600  ok</s>"
    # prompt and scored tokens are one tokenisation, in order
    assert [*prompt_ids(record, stories, max_length=500), *scored(record, stories)] == list(ids)
    assert read(plain("Once upon a time"), stories) == "Once upon a time"
