"""Solutions that are judged in words: which tokens the model reads, where it says what, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from irl.rewards.conversations import ConversationScorer
from irl.rewards.judged_steps import TaggedStepEncoder, TurnEncoder, token_of
from irl.rewards.questions import Answer, Question
from irl.text.chat import ChatTemplate
from irl.types import InputError, Message
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.heads import HeadedDecoderConfig, StepEnds, VocabularyHead
from reward_models.types import TraceBatch

WORDS = "<unk> <s> </s> [ ] user assistant system why how be a b c d + - ки".split()
CHAT = "{% for m in messages %} [ {{ m.role }} ] {{ m.content }} </s>{% endfor %}"
DECODER = DecoderConfig(
    vocab_size=len(WORDS), num_layers=1, dim=8, num_heads=2, num_kv_heads=1, head_dim=4, hidden_dim=12
)


def word_tokenizer():
    """A token per word; <s> in front where special tokens are added."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


TOKENIZER = word_tokenizer()
TAG, PLUS, MINUS = (WORDS.index(word) for word in ("ки", "+", "-"))


def ids(text):
    return [WORDS.index(word) for word in text.split()]


def tagged(**options):
    return TaggedStepEncoder(tokenizer=TOKENIZER, marker=" ки\n", tag=TAG, by_step=True, **options)


def turns(source=CHAT, **options):
    return TurnEncoder(tokenizer=TOKENIZER, template=ChatTemplate(source=source), verdict="+", by_step=True, **options)


def asked(prompt, *texts, messages=(), parts=()):
    return Question("q", prompt, messages, tuple(Answer(i, text, parts) for i, text in enumerate(texts)))


def read_at(row, offset=0):
    """The text up to the token after which each step is judged."""
    step_id = np.array([*row.step_id, -1])
    ends = np.flatnonzero((step_id[:-1] >= 0) & (step_id[1:] != step_id[:-1]))
    return [" ".join(WORDS[token] for token in row.tokens[: end + 1]) for end in ends]


def test_a_tag_behind_every_step():
    """Math-Shepherd: the question and the steps in one line each, a tag at their ends."""
    (row,), (steps,) = tagged().many([asked("why", "a b\nc\n")])
    assert row.tokens == ids("<s> why a b ки c ки")
    assert row.step_id == [-1, -1, 0, 0, 0, 1, 1]
    assert steps == ("a b", "c")
    (written,) = tagged().written(asked("why", "a b\nc\n"))
    assert written.text == "why a b ки\nc ки\n"
    (kept,) = tagged().written(asked("why\n", "a"))
    assert kept.text == "why\na ки\n"


def test_a_tag_inside_a_chat_template():
    (row,), _ = tagged(template=ChatTemplate(source=CHAT)).many([asked("why", "a\nb")])
    assert row.tokens == ids("[ user ] why </s> [ assistant ] a ки b ки </s>")
    assert read_at(row) == ["[ user ] why </s> [ assistant ] a ки", "[ user ] why </s> [ assistant ] a ки b ки"]


def test_every_step_is_a_turn():
    """RLHFlow: a step is judged at the token before the assistant's."""
    encoder = turns()
    rows, steps = encoder.many([asked("why", "a b\n\nc", "d")])
    first = "[ user ] why a b </s> [ assistant ]"
    assert rows[0].tokens == ids(f"{first} + </s> [ user ] c </s> [ assistant ] + </s>")
    assert read_at(rows[0]) == [first, f"{first} + </s> [ user ] c </s> [ assistant ]"]
    assert rows[0].step_id.index(0) == 4, "the question is no part of the step"
    assert read_at(rows[1]) == ["[ user ] why d </s> [ assistant ]"]
    assert steps == [("a b", "c"), ("d",)]


def test_turns_before_the_question_stay():
    before = (Message(role="system", content="be"), Message(role="user", content="how"))
    (row,), _ = turns().many([asked("unread", "a", messages=before)])
    assert row.tokens == ids("[ system ] be </s> [ user ] how a </s> [ assistant ] + </s>")


def test_steps_that_the_record_has_are_not_guessed():
    question = asked("why", "a\n\nb\n\nc", parts=("a\n\nb\n\n", "c"))
    for encoder in (turns(), tagged()):
        assert encoder.many([question])[1] == [("a\n\nb", "c")]


@jax.jit
def next_logits(params, row):
    """The language model's logits after the last token of a row that is padded with zeros."""
    there = (row > 0).astype(jnp.int32)
    none = jnp.full(row.shape, -1)
    batch = TraceBatch(row, there, jnp.arange(row.shape[1])[None], none, jnp.zeros((1, 1), bool), jnp.zeros(1, int))
    decoder = DECODER.make().bind(params)
    return decoder.logits(decoder.hidden(batch))[0, there.sum() - 1]


def probability(params, tokens):
    """P(+) out of + and -, from a pass over that row alone."""
    plus, minus = next_logits(params, jnp.array([tokens + [0] * (32 - len(tokens))]))[jnp.array([PLUS, MINUS])]
    return float(jax.nn.sigmoid(plus - minus))


@pytest.mark.parametrize("encoder", [tagged(), turns()], ids=["tagged", "turns"])
def test_scores_are_those_of_a_pass_per_step(encoder):
    read = StepEnds(label=0, scale="probability", aggregate="min")
    network = HeadedDecoderConfig(decoder=DECODER, head=VocabularyHead(tokens=(PLUS, MINUS)), read=read)
    params = network.make().init(jax.random.key(0))
    params = jax.tree.map(lambda leaf: 3 * leaf, params)
    questions = [asked("why", "a b\nc", "d"), asked("how", "c\nd\na b")]
    found = ConversationScorer(network.make(), params, encoder)(questions)
    rows, _ = encoder.many(questions)
    expected = [[probability(params["trunk"], ids(text)) for text in read_at(row)] for row in rows]
    assert np.ptp(np.concatenate(expected)) > 0.01
    for steps, trace, by_hand in zip(found.steps, found.trace, expected, strict=True):
        np.testing.assert_allclose(steps, by_hand, atol=1e-5)
        np.testing.assert_allclose(trace, min(by_hand), atol=1e-5)


# --- refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", [tagged(context=6), turns(context=11)], ids=["tagged", "turns"])
def test_answers_that_do_not_fit(encoder):
    with pytest.raises(InputError, match="q, candidate 1: an empty answer has no score"):
        encoder.many([asked("why", "a", " \n")])
    with pytest.raises(InputError, match=r"q, candidate 0: \d+ tokens are over the model's context"):
        encoder.many([asked("why", "a\nb c d")])


def test_a_question_that_is_not_a_users():
    said = (Message(role="user", content="why"), Message(role="assistant", content="a"))
    with pytest.raises(InputError, match="q, candidate 0: the turn before the answer is of 'assistant'; expected a us"):
        turns().many([asked("why", "b", messages=said)])


def test_templates_that_leave_turns_out():
    with pytest.raises(InputError, match="the chat template writes 1 of 2 turns of the assistant; take the template"):
        turns("{{ messages[0].content }} {{ messages[-1].content }}").many([asked("why", "a\nb")])
    with pytest.raises(
        InputError, match=r"does not write the assistant's '\+' as the token 15; take the tokenizer and"
    ):
        turns(CHAT.replace("{{ m.content }}", "x{{ m.content }}")).many([asked("why", "a\nb")])


def test_tags_that_are_no_tokens():
    other = TaggedStepEncoder(tokenizer=TOKENIZER, marker=" [\n", tag=TAG, by_step=True)
    told = r"q, candidate 0: step 0 \('a'\): the tokenizer does not write ' \[\\n' behind it with the token 17"
    with pytest.raises(InputError, match=told):
        other.many([asked("why", "a")])


def test_token_of_a_word():
    """Where a tokenizer puts a mark of the start of a word in front, the word with the mark is meant."""
    assert token_of(TOKENIZER, "+") == PLUS
    marked = Tokenizer(models.BPE({"▁": 0, "+": 1, "▁+": 2, "-": 3}, [("▁", "+")]))
    marked.pre_tokenizer = pre_tokenizers.Metaspace()
    assert token_of(marked, "+") == 2
    assert token_of(marked, "-") == 3, "by its name, where the start of a text is two tokens"
    with pytest.raises(InputError, match=r"'\+-' is 2 tokens of this tokenizer, not one; name a token it has"):
        token_of(marked, "+-")
