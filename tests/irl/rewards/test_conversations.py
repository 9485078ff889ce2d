"""Texts that models read: where the answer and its steps stand in them, and scores against hand-tokenised rows."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from irl.rewards.conversations import ConversationEncoder, ConversationScorer
from irl.rewards.questions import Answer, Question, question_of, split_parts
from irl.text.chat import ChatTemplate
from irl.text.hugging_face import tokenizer_of
from irl.types import (
    Candidate,
    Candidates,
    Comparison,
    InputError,
    LabelledResponse,
    LabelledSteps,
    Message,
    Preference,
    Problem,
    RankedResponses,
    Step,
    Trace,
)
from reward_models.folders.tokenizer_files import TokenizerFiles
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.heads import HeadedDecoderConfig, LastToken, LinearHead, StepEnds
from reward_models.types import TraceBatch

SPECIAL = ("<s>", "<|start|>", "<|end|>", "<extra_0>")
CHATML = "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
TRIMMING = CHATML.replace("m.content", "m.content | trim")


def byte_tokenizer(trim_offsets=False):
    """A token per byte, for two line breaks, and for each special text; <s> in front where special tokens are added."""
    vocabulary = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))} | {"ĊĊ": 256}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("Ċ", "Ċ")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.add_special_tokens(list(SPECIAL))
    begin = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=trim_offsets), begin])
    return tokenizer


TOKENIZER = byte_tokenizer()
DECODER = DecoderConfig(
    vocab_size=TOKENIZER.get_vocab_size(),
    num_layers=1,
    dim=8,
    num_heads=2,
    num_kv_heads=1,
    head_dim=4,
    hidden_dim=12,
)
OUTCOME = HeadedDecoderConfig(decoder=DECODER, head=LinearHead(), read=LastToken())
PROCESS = HeadedDecoderConfig(decoder=DECODER, head=LinearHead(labels=2, bias=True), read=StepEnds())


def by_hand(*pieces):
    """Token ids of pieces: a special text, two line breaks, or text whose characters are one byte each."""
    names = {" ": "Ġ", "\n": "Ċ"}
    ids = []
    for piece in pieces:
        tokens = [piece] if piece in SPECIAL else ["ĊĊ"] if piece == "\n\n" else [names.get(c, c) for c in piece]
        ids += [TOKENIZER.token_to_id(token) for token in tokens]
    return ids


def row(tokens, step_id):
    """One sequence as arrays, without the code under test."""
    tokens, step_id = np.array([tokens], np.int32), np.array([step_id], np.int32)
    position = np.arange(tokens.shape[1], dtype=np.int32)[None]
    mask = np.ones((1, step_id.max() + 1), bool)
    batch = TraceBatch(tokens, np.ones_like(tokens), position, step_id, mask, np.zeros(1, np.int32))
    return jax.tree.map(jnp.asarray, batch)


@functools.cache
def random_params(config):
    return config.make().init(jax.random.key(0))


def asked(prompt, *texts, messages=(), parts=()):
    return Question("q", prompt, messages, tuple(Answer(i, text, parts) for i, text in enumerate(texts)))


def scorer(config, **options):
    return ConversationScorer(config.make(), random_params(config), ConversationEncoder(tokenizer=TOKENIZER, **options))


# --- records to questions ---------------------------------------------------------------------------------


def test_every_record_becomes_its_answers_in_order():
    turns = (Message(role="user", content="p"),)
    several = Candidates(
        id="c", prompt="p", candidates=(Candidate(text="a"), Candidate(text="", correct=False)), messages=turns
    )
    assert question_of(several, "row-1") == Question("c", "p", turns, (Answer(0, "a"), Answer(1, "")))
    pair = Preference(prompt="p", chosen="a", rejected="b", messages=turns)
    assert question_of(pair, "row-2") == Question("row-2", "p", turns, (Answer("chosen", "a"), Answer("rejected", "b")))
    assert question_of(dataclasses.replace(pair, id="own"), "row-2").id == "own"
    ranked = RankedResponses(prompt="p", responses=("a", "b"), ranks=(1, 0))
    assert question_of(ranked, "r").answers == (Answer(0, "a"), Answer(1, "b")), "in the order of the file"
    judged = Comparison(id="j", prompt="p", first="a", second="b", first_votes=0, tie_votes=1, second_votes=0)
    assert question_of(judged, "r") == Question("j", "p", (), (Answer(0, "a"), Answer(1, "b")))
    assert question_of(LabelledResponse(prompt="p", completion="a", label=True), "r").answers == (Answer(0, "a"),)
    steps = LabelledSteps(id="s", prompt="p", steps=("a\n\nb", "c"), labels=(1.0, None))
    assert question_of(steps, "r").answers == (Answer(0, "a\n\nb\n\nc", ("a\n\nb\n\n", "c")),)
    trace = Trace(problem_id="t", prompt="p", steps=(Step(text="a"), Step(text="b")))
    assert question_of(trace, "r") == Question("t", "p", (), (Answer(0, "a\nb", ("a\n", "b")),))


def test_a_record_without_answers_is_refused():
    with pytest.raises(InputError, match="row-3: expected a record with answers to score, got Problem"):
        question_of(Problem(id="x", prompt="p"), "row-3")


# --- steps ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("one", ["one"]),
        ("a\nb\n", ["a\n", "b\n"]),
        ("a\n\nb\nc\n\nd", ["a\n\n", "b\nc\n\n", "d"]),
        ("a\n\n\n\nb\n\n \n\n", ["a\n\n\n\n", "b\n\n \n\n"]),
        ("\n\na\n\nb", ["\n\na\n\n", "b"]),
        ("a\nb\n\n", ["a\n", "b\n\n"]),
    ],
)
def test_steps_are_paragraphs_or_lines(text, parts):
    assert list(split_parts(text)) == parts


@given(st.text(alphabet="ab \n").filter(str.strip))
def test_steps_are_the_whole_text_and_none_is_blank(text):
    parts = split_parts(text)
    assert "".join(parts) == text
    assert all(part.strip() for part in parts)


# --- tokens -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trim_offsets", [False, True])
def test_tokens_of_the_answer_by_hand(trim_offsets):
    encoder = ConversationEncoder(tokenizer=byte_tokenizer(trim_offsets), by_step=True)
    (found,), (steps,) = encoder.many([asked("2 + 2?\n", "so 4\n\nor 5\n\n")])
    pieces = ("<s>", "2 + 2?\n", "so 4", "\n\n", "or 5", "\n\n")
    assert found.tokens == by_hand(*pieces)
    assert found.step_id == [-1] * 8 + [0] * 5 + [1] * 5, "a step has the line breaks behind it"
    assert steps == ("so 4", "or 5")


@pytest.mark.parametrize("by_step", [False, True])
def test_tokens_in_a_chat_template_by_hand(by_step):
    encoder = ConversationEncoder(tokenizer=TOKENIZER, template=ChatTemplate(source=CHATML), by_step=by_step)
    turns = (
        Message(role="user", content="hi"),
        Message(role="assistant", content="ho"),
        Message(role="user", content="a"),
    )
    (found,), (steps,) = encoder.many([asked("unread", "a\n\nb", messages=turns)])
    before = ("<|start|>", "user\nhi", "<|end|>", "\n", "<|start|>", "assistant\nho", "<|end|>", "\n")
    before += ("<|start|>", "user\na", "<|end|>", "\n", "<|start|>", "assistant\n")
    assert found.tokens == by_hand(*before, "a", "\n\n", "b", "<|end|>", "\n"), "no <s>: the template writes all"
    said = [0, 0, 1] if by_step else [0, 0, 0]
    assert found.step_id == [-1] * len(by_hand(*before)) + said + [-1, -1]
    assert steps == (("a", "b") if by_step else ("a\n\nb",))


def test_an_answer_that_stands_elsewhere_too_is_found_in_its_place():
    encoder = ConversationEncoder(tokenizer=TOKENIZER, template=ChatTemplate(source=CHATML))
    for said in ("end", "user", "<|end|>\n", "assistant\n", "a"):
        (found,) = encoder.written(asked("end user a", said))
        assert found.text[found.start : found.end] == said
        assert found.text[: found.start].endswith("<|start|>assistant\n")
        assert found.text[found.end :] == "<|end|>\n"


def test_a_template_that_trims():
    encoder = ConversationEncoder(tokenizer=TOKENIZER, template=ChatTemplate(source=TRIMMING), by_step=True)
    (found,) = encoder.written(asked("p", " \n a\n\nb \n"))
    assert found.text[found.start : found.end] == "a\n\nb"
    assert [found.text[cut:] for cut in found.cuts] == ["a\n\nb<|end|>\n", "b<|end|>\n"]


def test_a_template_that_rewrites():
    source = CHATML.replace("m.content", "m.content.replace('x', '')")
    encoder = ConversationEncoder(tokenizer=TOKENIZER, template=ChatTemplate(source=source), by_step=True)
    (found,) = encoder.written(asked("p", "axa\nbxb"))
    assert found.text[found.start : found.end] == "aa\nbb"
    assert [found.text[cut : cut + 2] for cut in found.cuts] == ["aa", "bb"]
    with pytest.raises(InputError, match="q, candidate 0: the chat template leaves nothing of the answer"):
        encoder.many([asked("p", "xx")])


def test_a_marker_stands_in_the_place_of_breaks():
    """Qwen2.5-Math-PRM: "<extra_0>" after each step, the last one too."""
    encoder = ConversationEncoder(tokenizer=TOKENIZER, by_step=True, marker="<extra_0>")
    (found,), (steps,) = encoder.many([asked("p", "a\n\nb\n")])
    assert found.tokens == by_hand("<s>", "p", "a", "<extra_0>", "b", "<extra_0>")
    assert found.step_id == [-1, -1, 0, 0, 1, 1]
    assert steps == ("a", "b")


def test_steps_that_the_record_has_are_not_guessed():
    encoder = ConversationEncoder(tokenizer=TOKENIZER, by_step=True)
    (found,), (steps,) = encoder.many([asked("p", "a\n\nb\n\nc", parts=("a\n\nb\n\n", "c"))])
    assert found.step_id == [-1, -1, 0, 0, 0, 0, 1]
    assert steps == ("a\n\nb", "c")


def test_characters_of_many_bytes():
    encoder = ConversationEncoder(tokenizer=TOKENIZER, by_step=True)
    (found,), _ = encoder.many([asked("é", "€\n😀")])
    assert found.step_id == [-1] * 3 + [0] * 4 + [1] * 4


def test_what_the_tokenizer_would_cut_or_pad_is_neither():
    tokenizer = byte_tokenizer()
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=20)
    (found,), _ = ConversationEncoder(tokenizer=tokenizer).many([asked("pp", "abcdef")])
    assert len(found.tokens) == 9


# --- refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" \n", "q, candidate 1: an empty answer has no score; leave it out"),
        ("abcde", "q, candidate 1: 8 tokens are over the model's context of 7; shorten it or leave it out, nothing is"),
    ],
)
def test_answers_that_do_not_fit(text, message):
    encoder = ConversationEncoder(tokenizer=TOKENIZER, context=7)
    assert len(encoder.many([asked("pp", "abcd")])[0][0].tokens) == 7
    with pytest.raises(InputError, match=message):
        encoder.many([asked("pp", "ok", text)])


def test_a_step_without_tokens():
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.CharDelimiterSplit("x")
    encoder = ConversationEncoder(tokenizer=tokenizer, by_step=True)
    with pytest.raises(InputError, match=r"q, candidate 0: step 1 \('x'\) has no token of its own"):
        encoder.many([asked("p", "a\nx")])


def test_a_template_without_assistants():
    source = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
    encoder = ConversationEncoder(tokenizer=TOKENIZER, template=ChatTemplate(source=source))
    with pytest.raises(InputError, match="q, candidate 0: the chat template does not write what the assistant says"):
        encoder.many([asked("p", "a")])


def test_tokenizers_of_other_models(tmp_path):
    def opened(text):
        return TokenizerFiles(tmp_path, {} if text is None else {"tokenizer.json": text})

    with pytest.raises(InputError, match=r"tokenizer.json: missing; download the tokenizer"):
        tokenizer_of(opened(None), 261)
    with pytest.raises(
        InputError, match=r"tokenizer.json: the tokenizer fails \(.*; take the tokenizer.json of this model"
    ):
        tokenizer_of(opened("{}"), 261)
    assert tokenizer_of(opened(TOKENIZER.to_str()), 261).get_vocab_size() == 261
    with pytest.raises(InputError, match="token '<extra_0>' has the id 260, but the model knows 260 ids"):
        tokenizer_of(opened(TOKENIZER.to_str()), 260)


def test_scores_that_are_no_numbers():
    params = jax.tree.map(lambda leaf: leaf * np.nan, random_params(OUTCOME))
    broken = ConversationScorer(OUTCOME.make(), params, ConversationEncoder(tokenizer=TOKENIZER))
    with pytest.raises(
        InputError, match="q, candidate 0: the score is nan, not a finite number; the model overflows: score in float32"
    ):
        broken([asked("p", "a")])


# --- scores -----------------------------------------------------------------------------------------------


def test_scores_of_traces_by_hand():
    """Answers of several questions and lengths, beside each other, against one hand-made row each."""
    found = scorer(OUTCOME, template=ChatTemplate(source=CHATML))([asked("p", "a", "b" * 40), asked("q" * 9, "c")])
    for prompt, said, trace, steps in zip("pp", ("a", "b" * 40), found.trace, found.steps, strict=False):
        before = by_hand("<|start|>", f"user\n{prompt}", "<|end|>", "\n", "<|start|>", "assistant\n")
        tokens = before + by_hand(said, "<|end|>", "\n")
        step_id = [-1] * len(before) + [0] * len(said) + [-1, -1]
        expected = OUTCOME.make().apply(random_params(OUTCOME), row(tokens, step_id)).trace[0]
        np.testing.assert_allclose([trace, *steps], [expected, expected], rtol=1e-5, atol=2e-6)
    assert found.step_texts == [("a",), ("b" * 40,), ("c",)]


def test_scores_of_steps_by_hand():
    found = scorer(PROCESS, by_step=True)([asked("p", "a\n\nbc\n\nd", "e")])
    tokens = by_hand("<s>", "p", "a", "\n\n", "bc", "\n\n", "d")
    expected = PROCESS.make().apply(random_params(PROCESS), row(tokens, [-1, -1, 0, 0, 1, 1, 1, 2]))
    np.testing.assert_allclose(found.steps[0], expected.step[0], rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(found.trace[0], np.sum(found.steps[0]), rtol=1e-5, atol=2e-6)
    assert [len(steps) for steps in found.steps] == [3, 1]


def test_a_long_prompt_of_many_answers_gives_the_scores_of_each_alone():
    """With the prompt computed once, where the network can."""
    score = scorer(OUTCOME)
    texts = [letter * (index + 1) for index, letter in enumerate("abcdef")]
    together = score([asked("w" * 50, *texts)]).trace
    alone = [score([asked("w" * 50, text)]).trace[0] for text in texts]
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=2e-6)
