"""The outcome model learns from labels: right above wrong, on problems it has not seen."""

import numpy as np
import pytest

from experiments.core.workspace import Workspace
from experiments.traces.fit_outcome_model import FitOutcomeModel
from irl.algorithms.bradley_terry import BradleyTerry
from irl.algorithms.optimiser import AdamW
from irl.domains.modchain import ModChain
from irl.policies.base import FittedPolicy
from irl.policies.language_model import LanguageModel
from irl.text.encode import Encoder
from irl.text.tokenize import END, number_tokenizer
from irl.train import Schedule
from irl.types import InputError
from reward_models.networks.decoder import DecoderConfig

TOKENIZER = number_tokenizer()
POLICY = DecoderConfig(vocab_size=TOKENIZER.get_vocab_size(), num_layers=1, dim=16, num_heads=2, num_kv_heads=1)
ENVIRONMENT = ModChain(train_size=200)
STAGE = FitOutcomeModel(
    algorithm=BradleyTerry(optimiser=AdamW(learning_rate=3e-3, warmup_steps=39, total_steps=40)),
    schedule=Schedule(steps=40),
    samples_per_problem=4,
    batch_size=16,
)


def shouted(text):
    """A wrong text that one glance gives away: the last word is said twice."""
    return f"{text} {text.split()[-1]}"


def write_pool(workspace, problems, wrong):
    """samples/outcomes.npz as the sampler would leave it: two expert traces and two others of each problem."""
    encoder, rng = workspace.encoder, np.random.default_rng(0)
    end = encoder.special(END)
    rows = []
    for problem in problems:
        texts = [ENVIRONMENT.expert(problem, rng).text for _ in range(2)]
        rows.append([[*TOKENIZER.encode(t).ids, end] for t in [*texts, *(map(shouted, texts) if wrong else texts)]])
    width = max(len(row) for group in rows for row in group)
    tokens = np.array([[row + [0] * (width - len(row)) for row in group] for group in rows], np.uint16)
    length = np.array([[len(row) for row in group] for group in rows])
    folder = workspace.folder / "samples"
    folder.mkdir()
    np.savez(folder / "outcomes.npz", tokens=tokens, length=length, ended=length > 0, log_prob=-length.astype(float))


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path, 0, environment=ENVIRONMENT, encoder=Encoder(TOKENIZER, 96, 16))


@pytest.fixture
def policy():
    import jax

    return FittedPolicy(LanguageModel(network=POLICY), POLICY.make().init(jax.random.key(0)))


def test_right_stands_above_wrong_on_other_problems(workspace, policy):
    write_pool(workspace, ENVIRONMENT.problems("train"), wrong=True)
    scorer = STAGE.run(workspace, policy)
    assert scorer.spec.information == "outcome labels" and scorer.spec.aggregate == "last"
    problems = ENVIRONMENT.problems("test")[:50]
    texts = [ENVIRONMENT.expert(problem, np.random.default_rng(1)).text for problem in problems]
    assert all(ENVIRONMENT.verify(p, t).correct for p, t in zip(problems, texts, strict=True))
    prompts = [problem.prompt for problem in problems]
    right, wrong = scorer(prompts, texts).trace, scorer(prompts, list(map(shouted, texts))).trace
    assert np.mean(right > wrong) > 0.9
    cut = [text.rpartition("\n")[0] for text in texts]
    assert np.mean(right > scorer(prompts, cut).trace) > 0.9, "a right trace that stops early is not right"
    again = STAGE.run(workspace, policy)
    np.testing.assert_array_equal(again(prompts, texts).trace, right)


def test_a_policy_that_is_always_right_teaches_nothing(workspace, policy):
    write_pool(workspace, ENVIRONMENT.problems("train"), wrong=False)
    with pytest.raises(InputError, match=r"only 0 pairs of a better and a worse trace.*--outcome-model None"):
        STAGE.run(workspace, policy)
