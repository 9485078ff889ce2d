"""Adversarial rounds on texts: what each side reads, and the stage from its start to the report."""

import json
import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest

from configs.modchain_adversarial import config as modchain
from experiments.core.workspace import Workspace
from experiments.traces.adversarial_rounds import POLICY, REWARD, STAGE, AdversarialRounds
from experiments.traces.demonstrations import Demonstrations
from experiments.traces.fit_reward import FitReward
from experiments.traces.rollouts import AdversarialRollouts, Drawn
from experiments.traces.sampling import sample_texts
from experiments.traces.train_time import RewardCurve
from irl.algorithms.grpo import Grpo
from irl.algorithms.maxent import MaxEnt
from irl.algorithms.rounds import Adversary, RoundsState
from irl.domains.countdown.countdown import Countdown
from irl.domains.files import TraceFiles
from irl.domains.modchain import ModChain
from irl.policies.base import FittedPolicy
from irl.policies.language_model import LanguageModel
from irl.text.encode import Encoder
from irl.text.tokenize import number_tokenizer
from irl.train import Schedule
from irl.types import InputError
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.soft_advantage import SoftAdvantageConfig

pytestmark = pytest.mark.usefixtures("shared_programs")
CHAINS = ModChain(num_ops=3, train_size=40, test_size=8)
SETTINGS = AdversarialRounds(
    algorithm=Grpo(samples_per_prompt=2),
    demonstrations=Demonstrations(count=40),
    schedule=Schedule(steps=3, log_every=1, save_every=1),
    prompts_per_step=4,
    demonstration_rows=4,
    evaluations=1,
    samples=2,
    reward=Adversary(prompts_per_update=4, replay_rounds=2),
)


def decoder(tokenizer):
    size = tokenizer.get_vocab_size()
    return DecoderConfig(vocab_size=size, num_layers=1, dim=16, num_heads=2, num_kv_heads=1, head_dim=8, hidden_dim=24)


def own_traces(folder):
    """The chains as a file of traces, whose domain names no states."""
    rng, rows = np.random.default_rng(0), []
    for problem in CHAINS.problems("train"):
        steps = [step.text for step in CHAINS.expert(problem, rng).steps]
        rows.append(json.dumps({"prompt": problem.prompt, "steps": steps}) + "\n")
    (folder / "traces.jsonl").write_text("".join(rows))
    return TraceFiles(train=str(folder / "traces.jsonl"))


def workspace_of(name, folder):
    domains = {"modchain": lambda: CHAINS, "countdown": lambda: Countdown(held_out=8)}
    domain = domains[name]() if name in domains else own_traces(folder)
    return Workspace(folder, 0, environment=domain, encoder=Encoder(number_tokenizer(), 96, 8))


def policy_of(workspace, seed=0):
    config = decoder(workspace.encoder.tokenizer)
    return FittedPolicy(LanguageModel(network=config), config.make().init(jax.random.key(seed)))


@pytest.mark.parametrize("name", ["modchain", "countdown", "file"])
def test_each_side_reads_the_same_trace_as_everywhere_else(name, tmp_path):
    """The reward's score of a row is that of its text, and the log-probability that of the whole trace."""
    workspace = workspace_of(name, tmp_path)
    encoder, policy = workspace.encoder, policy_of(workspace)
    source = AdversarialRollouts(workspace, policy, SETTINGS)
    reward = FitReward(network=SoftAdvantageConfig(decoder=policy.model.network))
    rng, problems = np.random.default_rng(0), workspace.problems("train")[:4]
    experts = [workspace.environment.expert(problem, rng) for problem in problems]
    texts = [expert.text for expert in experts]
    rows = encoder.many([e.prompt for e in experts], [[s.text for s in e.steps] for e in experts])
    traces = encoder.batch(rows, range(4))
    drawn = Drawn(np.arange(4), [e.prompt for e in experts], texts, np.array([True, True, False, True]), traces)
    negative = source._negatives(drawn, np.arange(4))
    assert negative.step_mask.any(axis=1).tolist() == [True, True, False, True], "a trace that did not end"
    network, other = reward.network.make(), policy_of(workspace, 1).params
    scores = reward.scorer(workspace, other)([e.prompt for e in experts], texts).trace
    found = np.asarray(jax.jit(network.apply)(other, negative).trace)
    np.testing.assert_allclose(found[drawn.ended], scores[drawn.ended], rtol=1e-4)
    assert found[2] == 0
    expected = np.asarray(policy.model.log_prob(policy.params, traces)).sum(axis=1)
    np.testing.assert_allclose(source._step_log_prob(policy.params, traces, negative).sum(axis=1), expected, rtol=1e-5)


def test_demonstrations_are_of_the_prompts_that_are_sampled(tmp_path):
    workspace = workspace_of("modchain", tmp_path)
    source, policy = AdversarialRollouts(workspace, policy_of(workspace), SETTINGS), policy_of(workspace)
    data = source.next(RoundsState(policy=policy))
    pad = workspace.encoder.pad
    problems = workspace.problems("train")
    for index, row, segment in zip(*data.contrasts.expert[5:6], *data.contrasts.expert[:2], strict=True):
        first = row[segment == 1][1:].tolist()
        assert workspace.encoder.decode(first).startswith(problems[index].prompt) and pad not in first
    assert data.contrasts.negative.prompt_id.tolist() == np.repeat(data.contrasts.expert.prompt_id, 2).tolist()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The stage without a break: its folder and its result."""
    folder = tmp_path_factory.mktemp("run") / "whole"
    folder.mkdir()
    return folder, run(folder)


REWARD_STAGE = FitReward(network=SoftAdvantageConfig(decoder=decoder(number_tokenizer())))


def run(folder, settings=SETTINGS):
    workspace = workspace_of("modchain", folder)
    policy = policy_of(workspace)
    problems = workspace.problems("test")
    pool = sample_texts(workspace, policy, problems, 4, "test")
    curve = RewardCurve(workspace=workspace, problems=tuple(problems), pool=pool, name="rounds", ks=(4,))
    params = jax.device_get(policy_of(workspace, 1).params)
    return settings.run(workspace, policy, REWARD_STAGE, params, curve)


def test_the_stage_reports_both_sides(whole):
    folder, result = whole
    panels = {panel["name"] for panel in result["train_time"]}
    assert {"policy in adversarial rounds", "tokens in adversarial rounds", "reward in training"} <= panels
    assert all(panel["series"][0]["x"] == [0, 3] for panel in result["train_time"])
    assert [row["name"] for row in result["headline"]] == ["pass@1 after adversarial rounds"]
    assert result["headline"][0]["information"] == "demonstrations"
    workspace = workspace_of("modchain", folder)
    before = jax.device_get(policy_of(workspace, 1).params), policy_of(workspace).params
    for name, start in zip((REWARD, POLICY), before, strict=True):
        saved = workspace.load_model(name)
        assert saved.manifest.windows == ("states" if name == REWARD else "whole trace")
        moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), saved.params, start)
        assert max(jax.tree.leaves(moved)) > 0, f"{name} was trained"
    assert run(folder) == result, "read back"


def test_a_killed_stage_ends_with_the_same_pair(whole, tmp_path):
    folder = shutil.copytree(whole[0], tmp_path / "killed")
    for name in ("rounds.json", f"{POLICY}/manifest.json", f"{REWARD}/manifest.json"):
        (folder / name).unlink()
    shutil.rmtree(folder / "checkpoints" / STAGE / "3")
    assert run(folder) == whole[1]
    for name in (POLICY, REWARD):
        weights = f"{name}/model.safetensors"
        assert (folder / weights).read_bytes() == (whole[0] / weights).read_bytes()


def test_settings_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(InputError, match="prompts_per_update: expected at most 4, its prompts_per_step, got 5"):
        replace(SETTINGS, reward=Adversary(prompts_per_update=5))
    with pytest.raises(InputError, match=r"AdversarialRounds\.evaluations: expected at most 3"):
        replace(SETTINGS, evaluations=4)
    workspace = workspace_of("modchain", tmp_path)
    with pytest.raises(InputError, match=r"rounds\.prompts_per_step: 64 exceeds the 40 training problems"):
        AdversarialRollouts(workspace, policy_of(workspace), replace(SETTINGS, prompts_per_step=64))


def test_the_config_takes_other_algorithms_on_the_command_line():
    from experiments.commands.run import override

    changed = override(modchain, ["--rounds.reward.algorithm", "max-ent", "--rounds.reward.algorithm.l2", "0.1"])
    assert changed.rounds.reward.algorithm == MaxEnt(l2=0.1)
