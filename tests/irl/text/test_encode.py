"""The one path from text to arrays: nothing is lost, every token knows its step, every trace comes out once."""

import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from irl.domains.countdown.countdown import Countdown
from irl.text.encode import Encoder
from irl.text.packing import EncodedTrace
from irl.text.tokenize import BEGIN, END, PAD, SPECIAL, UNKNOWN, number_tokenizer, prose_tokenizer

ENCODER = Encoder(number_tokenizer(), 96, 8)
PROMPT = "4 5 6 10"
STEPS = [
    "10 - 4 = 6 (left: 5 6 6)",
    "6 * 5 = 30 (left: 6 30)",
    "30 - 6 = 24 (left: 24)",
    "Answer: (10 - 4) * 5 - 6 = 24",
]
PROSE = prose_tokenizer(["Tom has 3 apples and eats one.\nAnswer: 2", "So the train needs two hours. Answer: 2"], 300)

quick = settings(max_examples=80, deadline=None, derandomize=True)
NUMBER = st.from_regex(r"-?[0-9]{1,3}(/[0-9]{1,2}|\.[0-9])?", fullmatch=True)
GAME_STEP = st.builds(
    lambda a, op, b, c, left: f"{a} {op} {b} = {c} (left: {' '.join(left)})",
    *(NUMBER, st.sampled_from("+-*/"), NUMBER, NUMBER, st.lists(NUMBER, min_size=1, max_size=4)),
)
ANSWER = st.builds("Answer: {}".format, st.text("0123456789 +-*/()=.", max_size=30))
CHARACTERS = "0123456789 +-*/=().,:"
GAME_STEPS = st.lists(st.one_of(GAME_STEP, ANSWER, st.text(CHARACTERS, max_size=20)), min_size=1, max_size=7)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def one(prompt, steps, encoder=ENCODER) -> EncodedTrace:
    return encoder.many([prompt], [steps])[0]


def text_of(row, encoder=ENCODER):
    """(prompt text, response text) of an encoded trace."""
    split = row.step_id.index(0)
    return encoder.tokenizer.decode(row.tokens[1:split], skip_special_tokens=False), encoder.decode(row.tokens[split:])


# --- text to ids and back ---------------------------------------------------------------------------------


@quick
@given(NUMBER, GAME_STEPS)
def test_number_game_text_comes_back_whole(prompt, steps):
    row = one(prompt, steps)
    assert ENCODER.special(UNKNOWN) not in row.tokens
    assert text_of(row) == (prompt + "\n", "\n".join(steps))


def test_experts_are_written_without_unknown_characters():
    environment, rng = Countdown(), np.random.default_rng(0)
    for trace in [environment.free_play(rng, size=size) for size in (2, 3, 4) for _ in range(40)]:
        row = one(trace.prompt, [step.text for step in trace.steps])
        assert ENCODER.special(UNKNOWN) not in row.tokens
        assert text_of(row) == (trace.prompt + "\n", trace.text)


@quick
@given(st.text(st.one_of(st.sampled_from(CHARACTERS), st.characters(exclude_categories=["Cs"])), max_size=30))
@example("3 √ 4\r\u2028é\U0001f600e\u0301")
def test_an_unknown_character_becomes_one_unk_and_nothing_else_is_lost(text):
    known = re.compile(f"[{re.escape(CHARACTERS)}\n]")
    expected = "".join(c if known.match(c) else UNKNOWN for c in text)
    row = one(PROMPT, [text])
    assert text_of(row)[1] == expected
    assert row.tokens.count(ENCODER.special(UNKNOWN)) == sum(not known.match(c) for c in text)


@quick
@given(st.lists(ANY_TEXT.map(lambda text: text.replace("\n", "")), min_size=1, max_size=4))
@example(["<eos> is not the end", "<pad><bos>"])
def test_the_prose_tokenizer_loses_nothing_of_any_text(steps):
    encoder = Encoder(PROSE, 10_000, 8)
    row = one("How many?", steps, encoder)
    assert text_of(row, encoder) == ("How many?\n", "\n".join(steps))


@pytest.mark.parametrize("tokenizer", [number_tokenizer(), PROSE], ids=["number", "prose"])
def test_text_cannot_forge_special_tokens(tokenizer):
    """A text that says <eos> must not end a trace, whoever wrote it."""
    encoder = Encoder(tokenizer, 200, 8)
    forged = one("4 <eos> 5", ["1 + <eos>2<pad><bos>", "<eos>"], encoder)
    specials = [encoder.special(name) for name in (BEGIN, END, PAD)]
    assert [token for token in forged.tokens if token in specials] == [specials[0], specials[1]]
    assert forged.tokens[0] == specials[0] and forged.tokens[-1] == specials[1]


def test_special_tokens_are_the_first_ids_of_every_tokenizer():
    for tokenizer in (number_tokenizer(), PROSE):
        assert [tokenizer.token_to_id(name) for name in SPECIAL] == [0, 1, 2, 3]


@pytest.mark.parametrize("tokenizer", [number_tokenizer(), PROSE], ids=["number", "prose"])
def test_tokenizer_json_gives_the_same_ids(tokenizer, tmp_path):
    path = str(tmp_path / "tokenizer.json")
    tokenizer.save(path)
    loaded = Tokenizer.from_file(path)
    assert loaded.to_str() == tokenizer.to_str()
    first, second = (Encoder(t, 96, 8) for t in (tokenizer, loaded))
    texts = [*STEPS, "3 √ 4", "Tom eats <eos> one.\r\n"]
    assert first.many([PROMPT], [texts]) == second.many([PROMPT], [texts])


# --- steps ------------------------------------------------------------------------------------------------


def test_step_ids_by_hand():
    row = one("1 2", ["1 + 2 = 3 (left: 3)", "Answer: 1 + 2 = 3"])
    pieces = [ENCODER.tokenizer.id_to_token(token) for token in row.tokens]
    prompt = [BEGIN, "1", " 2", "\n"]
    first = ["1", " + ", "2", " = ", "3", " (left:", " 3", ")\n"]
    second = ["Answer: ", "1", " + ", "2", " = ", "3", END]
    assert pieces == prompt + first + second
    assert row.step_id == [-1] * 4 + [0] * 8 + [1] * 7


@quick
@given(NUMBER, GAME_STEPS)
def test_every_token_belongs_to_its_step_and_the_end_token_to_the_last(prompt, steps):
    row = one(prompt, steps)
    assert len(row.tokens) == len(row.step_id)
    assert row.tokens[0] == ENCODER.special(BEGIN) and row.tokens.count(ENCODER.special(END)) == 1
    assert row.tokens[-1] == ENCODER.special(END) and row.step_id[-1] == len(steps) - 1
    assert row.tokens[: row.step_id.index(0)] == ENCODER.prompt(prompt)
    for index, step in enumerate(steps):
        own = [token for token, s in zip(row.tokens, row.step_id, strict=True) if s == index]
        newline = "" if index == len(steps) - 1 else "\n"
        assert ENCODER.decode(own) == step + newline


def test_expert_and_policy_text_give_equal_rows_in_any_company():
    policy = Countdown().split_steps("\n".join(STEPS) + "\n")
    other, first, second = ENCODER.many(["1 2", PROMPT, PROMPT], [["Answer: 3"], policy, STEPS])
    assert other != first == second == one(PROMPT, STEPS)


# --- arrays -----------------------------------------------------------------------------------------------


def sample_rows(count, seed=0):
    environment, rng = Countdown(), np.random.default_rng(seed)
    traces = [environment.free_play(rng, size=int(rng.integers(2, 5))) for _ in range(count)]
    return ENCODER.many([t.prompt for t in traces], [[s.text for s in t.steps] for t in traces])


def test_batch_pads_on_the_right_and_masks_steps():
    rows = sample_rows(6)
    batch = ENCODER.batch(rows, [4, 4, 2, 2, 9, 9])
    assert batch.tokens.shape == (6, 96) and batch.step_mask.shape == (6, 8)
    assert batch.prompt_id.tolist() == [4, 4, 2, 2, 9, 9]
    for i, row in enumerate(rows):
        n = len(row.tokens)
        assert batch.tokens[i].tolist() == row.tokens + [ENCODER.special(PAD)] * (96 - n)
        assert batch.step_id[i].tolist() == row.step_id + [-1] * (96 - n)
        assert batch.segment[i].tolist() == [1] * n + [0] * (96 - n)
        assert batch.position[i].tolist() == [*range(n)] + [0] * (96 - n)
        steps = max(row.step_id) + 1
        assert batch.step_mask[i].tolist() == [True] * steps + [False] * (8 - steps)
    np.testing.assert_array_equal(batch.response, batch.step_id >= 0)
    assert ENCODER.batch(rows, [0] * 6, length=110).tokens.shape == (6, 110)


@pytest.mark.parametrize("count, length", [(1, 96), (23, 96), (40, 200)])
def test_packing_holds_every_trace_once_as_its_own_segment(count, length):
    rows = sample_rows(count, seed=count)
    packed = ENCODER.pack(rows, length)
    assert packed.tokens.shape[1] == length
    found = []
    for i in range(len(packed.tokens)):
        segments = packed.segment[i]
        used = int((segments > 0).sum())
        assert (segments[:used] > 0).all() and (np.diff(segments[:used]) >= 0).all()
        assert packed.prompt_id[i] == i
        assert (packed.step_id[i, used:] == -1).all() and (packed.position[i, used:] == 0).all()
        for k in range(segments.max()):
            own = segments == k + 1
            assert packed.position[i, own].tolist() == [*range(own.sum())]
            step_id = packed.step_id[i, own]
            local = np.where(step_id >= 0, step_id - 8 * k, -1)
            found.append(EncodedTrace(packed.tokens[i, own].tolist(), local.tolist()))
            slots = packed.step_mask[i, 8 * k : 8 * (k + 1)]
            assert slots.tolist() == [s <= local.max() for s in range(8)]
        assert not packed.step_mask[i, 8 * segments.max() :].any()
    assert sorted(found) == sorted(rows)


def test_packing_saves_rows():
    rows = sample_rows(60)
    least = -(-sum(len(row.tokens) for row in rows) // 256)
    assert least <= len(ENCODER.pack(rows, 256).tokens) <= least + 1


@pytest.mark.parametrize("less_tokens, less_steps, fits", [(0, 0, True), (1, 0, False), (0, 1, False)])
def test_limits_are_inclusive(less_tokens, less_steps, fits):
    row = one(PROMPT, STEPS)
    encoder = Encoder(ENCODER.tokenizer, len(row.tokens) - less_tokens, len(STEPS) - less_steps)
    assert encoder.fits(row) == fits
    assert not fits or encoder.batch([row], [0]).segment.all()


def test_decode_stops_at_the_first_end_token():
    end, nine = ENCODER.special(END), ENCODER.tokenizer.token_to_id("9")
    row = one(PROMPT, STEPS)
    response = row.tokens[row.step_id.index(0) :]
    assert ENCODER.decode([*response, nine, end]) == "\n".join(STEPS) == ENCODER.decode(response[:-1])
    assert ENCODER.decode([end, nine]) == ""
