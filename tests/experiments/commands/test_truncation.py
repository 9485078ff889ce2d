"""No candidate wins by stopping early: rewards trained on demonstrations, and every way of using them."""

import json

import jax
import numpy as np
import pytest

from experiments.commands.truncation import Options, beginnings, compare
from experiments.core.workspace import Workspace
from experiments.reporting.model_card import write_model_card
from experiments.traces.demonstrations import Demonstrations
from experiments.traces.fit_reward import FitReward
from experiments.traces.improve_policy import ImprovePolicy
from experiments.traces.negatives import Negatives
from experiments.traces.rollouts import Rollouts
from irl.algorithms.optimiser import AdamW
from irl.algorithms.pairwise_critic import PairwiseCritic
from irl.algorithms.sft import Sft
from irl.domains.modchain import ModChain
from irl.evaluation.audit import Finding, truncation_finding, truncation_warnings
from irl.policies.base import FittedPolicy
from irl.policies.language_model import LanguageModel
from irl.text.encode import Encoder
from irl.text.tokenize import number_tokenizer
from irl.train import Schedule
from reward_models.networks.critic import CriticConfig
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.soft_advantage import SoftAdvantageConfig

TOKENIZER = number_tokenizer()
DECODER = DecoderConfig(
    vocab_size=TOKENIZER.get_vocab_size(), num_layers=1, dim=32, num_heads=2, num_kv_heads=1, head_dim=16, hidden_dim=64
)
CHAINS = ModChain(num_ops=3, modulus=3, train_size=250, test_size=40)
STEPS = 600


def stage(network, **changes):
    return FitReward(
        network=network,
        demonstrations=Demonstrations(count=600),
        warm_up=Sft(optimiser=AdamW(learning_rate=1e-2, total_steps=STEPS)),
        warm_up_schedule=Schedule(steps=STEPS),
        warm_up_rows=16,
        evaluations=1,
        **changes,
    )


ADVANTAGE = stage(SoftAdvantageConfig(decoder=DECODER), rounds=0)
ENSEMBLE = stage(SoftAdvantageConfig(decoder=DECODER), rounds=0, members=2)
CRITIC = stage(
    CriticConfig(decoder=DECODER),
    critic=PairwiseCritic(optimiser=AdamW(learning_rate=3e-3, total_steps=60)),
    rounds=1,
    round_schedule=Schedule(steps=60),
    negatives=Negatives(resets=0, sampled=0, ends=600),
    batch_size=32,
)


@pytest.fixture(scope="module")
def policy():
    return FittedPolicy(LanguageModel(network=DECODER), DECODER.make().init(jax.random.key(0)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, policy):
    """name -> (workspace, scorer) of every reward, trained once; the advantage is the first member of the ensemble."""
    rewards = {}
    for name, fit in (("ensemble", ENSEMBLE), ("critic", CRITIC)):
        folder, encoder = tmp_path_factory.mktemp(name), Encoder(TOKENIZER, 64, 8)
        workspace = Workspace(folder, 0, environment=CHAINS, encoder=encoder)
        params = fit.run(workspace, policy)
        rewards[name] = workspace, fit.scorer(workspace, params)
        if name == "ensemble":
            rewards["advantage"] = workspace, ADVANTAGE.scorer(workspace, fit.finished.member_params(params)[0])
    return rewards


def demonstrations():
    rng = np.random.default_rng(7)
    return [(p.prompt, [s.text for s in CHAINS.expert(p, rng).steps]) for p in CHAINS.problems("test")]


def scores_of(scorer, traces, ended=None):
    return scorer([prompt for prompt, _ in traces], ["\n".join(steps) for _, steps in traces], ended).trace


@pytest.mark.parametrize("name", ["advantage", "ensemble", "critic"])
def test_whole_demonstrations_win_against_every_cut_of_theirs(name, trained):
    _, scorer = trained[name]
    finding = truncation_finding(lambda traces: scores_of(scorer, traces), demonstrations())
    assert finding.mean >= 0.99 and finding.num_prompts == len(CHAINS.problems("test"))
    assert truncation_warnings(finding) == []


@pytest.mark.parametrize("name", ["advantage", "ensemble"])
def test_an_end_in_the_middle_of_a_step_is_unlikely_too(name, trained):
    _, scorer = trained[name]
    for prompt, steps in demonstrations()[:10]:
        text = "\n".join(steps)
        cuts = [text[:length] for length in range(1, len(text) - 1)]
        scores = scorer([prompt] * (len(cuts) + 1), [*cuts, text]).trace
        assert scores[:-1].max() < scores[-1]


def test_the_end_is_what_tells_a_cut_trace_from_an_unfinished_one(trained):
    _, scorer = trained["advantage"]
    begun = [(prompt, steps[:2]) for prompt, steps in demonstrations()]
    unfinished = scores_of(scorer, begun, [False] * len(begun))
    assert (scores_of(scorer, begun) < unfinished - 2).all()
    assert (unfinished > scores_of(scorer, demonstrations()) - 2).all(), "a beam may grow"


def test_policy_training_pays_nothing_for_an_early_end(trained, policy):
    workspace, scorer = trained["advantage"]
    rollouts = Rollouts(workspace, policy, scorer, ImprovePolicy(demonstrations=Demonstrations(count=100)), level=0.1)
    whole = demonstrations()
    prompts = [prompt for prompt, _ in whole]
    texts, ended = ["\n".join(steps) for _, steps in whole], np.ones(len(whole), bool)
    complete = rollouts.reward_of(prompts, texts, ended)
    early = rollouts.reward_of(prompts, [steps[0] for _, steps in whole], ended)
    assert complete.mean() > 0.5 and early.max() <= 0.1 + 1e-9
    assert (rollouts.reward_of(prompts, texts, ~ended) == 0).all(), "cut at the limit on tokens"


def test_beginnings_are_proper_ones():
    rng = np.random.default_rng(0)
    made = beginnings(["a\nb\nc", "d"], str.splitlines, 20, rng)
    assert set(made) == {"a", "a\nb"} and len(made) == 20
    assert beginnings(["d"], str.splitlines, 5, rng) == []


def test_the_command_compares_the_choice_with_and_without_beginnings(trained, tmp_path):
    workspace, _ = trained["advantage"]
    rows = [
        {"prompt": prompt, "candidates": [{"text": "\n".join(steps), "correct": True}, {"text": "1", "correct": False}]}
        for prompt, steps in demonstrations()[:12]
    ]
    file = tmp_path / "candidates.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = compare(Options(model=workspace.folder / "model", candidates=file))
    assert lines[0].startswith("the candidates alone: right in 1.000")
    assert lines[1].startswith("with 5 beginnings per problem: right in 1.000")
    assert lines[2] == "a beginning is chosen in 0 of 12 problems"


def test_a_reward_that_fails_the_probe_says_so_first_in_its_card(trained):
    workspace, _ = trained["advantage"]
    good, bad = Finding(0.99, 0.98, 1.0, 40), Finding(0.2, 0.1, 0.3, 40)
    card = write_model_card(workspace.folder / "model", {"truncation AUC": good}).read_text()
    assert "Warning" not in card and "| truncation AUC | 0.990 | [0.980, 1.000] | 40 |" in card
    card = write_model_card(workspace.folder / "model", {"calculations: truncation AUC": bad}).read_text()
    assert card.index("**Warning (calculations: truncation AUC).** TRUNCATION: this reward fails") < card.index("## ")
