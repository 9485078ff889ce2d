"""Commands that take a GGUF file where they take a model folder."""

import json

import numpy as np
import pytest

from experiments.cli import main
from experiments.text_rewards.text_model import TextModel
from experiments.traces.fit_policy import FitPolicy
from irl.text.tokenizer_configs import HuggingFaceTokenizer
from irl.types import InputError
from reward_models.networks.decoder import DecoderConfig
from tests.gguf_files import DECODERS, tiny_gguf

pytestmark = pytest.mark.usefixtures("shared_programs")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_gguf(tmp_path_factory.mktemp("gguf") / "model.gguf", kind="Q8_0")


@pytest.fixture
def candidates(tmp_path):
    file = tmp_path / "candidates.jsonl"
    texts = ["7 is first\nnext is 8.", "Done"]
    record = {"id": "a", "prompt": "Count on from 7", "candidates": [{"text": text, "correct": True} for text in texts]}
    file.write_text(json.dumps(record) + "\n")
    return file


@pytest.fixture
def traceward(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            main(list(map(str, arguments)))
        return stop.value.code, *capsys.readouterr()

    return run


def test_a_language_model_judges_steps_in_words(traceward, model, candidates):
    code, out, _ = traceward("score", "--model", model, "--candidates", candidates, "--step-tokens", "a,b")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [len(row["step_scores"]) for row in rows] == [2, 1]
    assert np.allclose([row["score"] for row in rows], [np.mean(row["step_scores"]) for row in rows])
    code, out, _ = traceward("rerank", "--model", model, "--candidates", candidates, "--step-tokens", "a,b")
    assert code == 0 and json.loads(out)["scores"] == [row["score"] for row in rows]


def test_a_bare_language_model_has_no_score(traceward, model, candidates):
    for command in ("score", "rerank", "evaluate"):
        code, _, err = traceward(command, "--model", model, "--candidates", candidates)
        assert code == 2 and err.startswith(f"traceward: {model}: this model is a language model without a reward head")
    code, _, err = traceward(
        "score", "--model", model, "--candidates", candidates, "--label", 0, "--step-tokens", "a,b"
    )
    assert code == 2 and "--label: the first of --step-tokens is the score" in err


def test_what_starts_from_a_file(model):
    """A policy, and the decoder of a reward model of text."""
    policy = FitPolicy(network=DecoderConfig(vocab_size=8), base=str(model)).resolved()
    tokenizer = HuggingFaceTokenizer(folder=str(model))
    assert policy.network == DECODERS["llama"] and tokenizer.most == policy.network.vocab_size
    base = TextModel(base=str(model), context=64).start([], by_step=True)
    assert base.decoder == DECODERS["llama"] and (base.pad, base.eos, base.folder) == (0, 2, model)
    assert base.trunk is not None and base.files.keys() == {"tokenizer.json", "tokenizer_config.json"}


def test_a_reward_model_of_text_needs_a_padding_token(tmp_path):
    file = tiny_gguf(tmp_path / "model.gguf", without=["tokenizer.ggml.padding_token_id"])
    with pytest.raises(
        InputError, match=r"model.gguf: metadata: pad_token_id: expected a token id, got None: .*convert"
    ):
        TextModel(base=str(file), context=64).start([], by_step=True)


def test_a_file_of_another_format(traceward, candidates):
    code, _, err = traceward("score", "--model", candidates, "--candidates", candidates, "--step-tokens", "a,b")
    expected = "expected a model folder or a GGUF file, which begins with 'GGUF'; check the path"
    assert code == 2 and err == f"traceward: {candidates}: {expected}\n"


def test_the_file_is_not_overwritten(traceward, model, candidates):
    given = ("--model", model, "--candidates", candidates, "--step-tokens", "a,b", "--output", model)
    code, _, err = traceward("score", *given)
    assert code == 2 and str(model) in err and model.read_bytes()[:4] == b"GGUF"
