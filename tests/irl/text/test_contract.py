"""The contract of the encoder of every registered tokenizer: round trips, steps, limits and packing."""

import json

import numpy as np
import pytest

from irl.domains.countdown.countdown import Countdown, demonstrations
from irl.text.steps import step_rule
from irl.text.tokenize import prose_tokenizer
from irl.text.tokenizer_configs import HuggingFaceTokenizer, TokenizerConfig
from reward_models.registry import classes, import_all

ENVIRONMENT = Countdown()
TRACES = list(demonstrations(ENVIRONMENT, ENVIRONMENT.problems("train"), 12, seed=0))
PROMPTS, STEPS = [trace.prompt for trace in TRACES], [[step.text for step in trace.steps] for trace in TRACES]
TEXTS = [f"{trace.prompt}\n{trace.text}" for trace in TRACES]


def tokenizers():
    import_all("irl.text")
    return [kind for kind in classes() if issubclass(kind, TokenizerConfig) and kind.__module__.startswith("irl.")]


@pytest.fixture(scope="module", params=tokenizers(), ids=lambda kind: kind.__name__)
def config(request, tmp_path_factory):
    if request.param is not HuggingFaceTokenizer:
        return request.param()
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "tokenizer.json").write_text(prose_tokenizer(TEXTS, 400).to_str(), encoding="utf-8")
    special = {"eos_token": "<eos>", "bos_token": "<bos>", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(special), encoding="utf-8")
    return HuggingFaceTokenizer(folder=str(folder))


@pytest.fixture(scope="module")
def encoder(config):
    return config.encoder(TEXTS, 256, 8, step_rule("lines"))


def test_texts_come_back(config, encoder):
    rows = encoder.many(PROMPTS, STEPS)
    assert [encoder.decode(row.response) for row in rows] == [trace.text for trace in TRACES]
    assert encoder.decode_many([row.response for row in rows]) == [trace.text for trace in TRACES]
    assert not encoder.unwritable(PROMPTS, [trace.text for trace in TRACES])
    assert max(token for row in rows for token in row.tokens) < encoder.vocab_size <= config.most


def test_rows_begin_with_the_prompt_and_end_with_the_end_token(encoder):
    for prompt, steps, row in zip(PROMPTS, STEPS, encoder.many(PROMPTS, STEPS), strict=True):
        head = encoder.prompt(prompt)
        assert row.tokens[: len(head)] == head and row.response == row.tokens[len(head) :]
        assert row.tokens[-1] == encoder.end and row.tokens.count(encoder.end) == 1
        assert set(np.diff(row.step_id)) <= {0, 1} and row.step_id[-1] == len(steps) - 1
        for index, step in enumerate(steps):
            own = [token for token, number in zip(*row, strict=True) if number == index]
            assert encoder.decode(own).strip() == step and own[-1] in encoder.stops
        assert encoder.many([prompt], [steps]) == [row], "the company of a row does not matter"


def test_a_trace_that_is_still_written_has_no_end_token(encoder):
    ends = [index % 2 == 0 for index in range(len(TRACES))]
    for ended, row in zip(ends, encoder.many(PROMPTS, STEPS, ends), strict=True):
        assert (encoder.end in row.tokens) == ended and row.tokens[-1] in encoder.stops


def test_batches_and_packed_rows_hold_the_same_tokens(encoder):
    rows = encoder.many(PROMPTS, STEPS)
    assert all(map(encoder.fits, rows))
    batch, packed = encoder.batch(rows, range(len(rows))), encoder.pack(rows, 512)
    assert len(packed.tokens) < len(rows)
    for traces in (batch, packed):
        kept = traces.segment > 0
        assert sorted(traces.tokens[kept]) == sorted(token for row in rows for token in row.tokens)
        assert (traces.tokens[~kept] == encoder.pad).all() and (traces.step_id[~kept] == -1).all()
    assert [row.tolist() for row in batch.step_mask] == [[step < len(steps) for step in range(8)] for steps in STEPS]
