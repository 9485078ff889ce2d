"""A policy and its rewards on one language model: adapters, all weights, frozen; what is saved, shared and resumed."""

import json
import re
import shutil
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.smoke import config as smoke
from experiments.benchmarks import sampling
from experiments.cli import main
from experiments.commands.run import load_config
from experiments.core.frame import refuse_changed_files
from experiments.core.workspace import Workspace
from experiments.traces.demonstrations import Demonstrations
from experiments.traces.experiment import Encoding, Experiment
from experiments.traces.own_traces import OwnTraces
from experiments.traces.rerank_pool import RerankPool
from experiments.traces.sizes import Sizes
from irl.domains.files import TraceFiles
from irl.policies.rollouts import rows_at_once
from irl.policies.truncation import Truncation
from irl.rewards import open_scorer
from irl.text.tokenizer_configs import HuggingFaceTokenizer
from irl.types import InputError
from reward_models.config_json import decode, encode
from reward_models.folders.hugging_face import save_hugging_face
from reward_models.folders.native import WEIGHTS
from reward_models.folders.opening import open_base, open_model
from reward_models.frozen import on_host, split, without_frozen
from reward_models.networks.adapters import LowRank
from reward_models.networks.advantage import AdvantageConfig
from reward_models.networks.base import flatten, parameter_count
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.ensemble import EnsembleConfig
from reward_models.registry import REGISTERED
from reward_models.types import TraceBatch
from tests.experiments.traces.test_own_traces import hugging_face_folder, rows, write
from tests.experiments.traces.test_run import TRACES, shrunk

DECODER = DecoderConfig(vocab_size=320, num_layers=2, dim=16, num_heads=2, num_kv_heads=1, head_dim=8, hidden_dim=32)
pytestmark = pytest.mark.usefixtures("shared_programs")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A random language model with the chat template of Qwen's models."""
    folder = tmp_path_factory.mktemp("hub") / "tokenizer"
    tokenizer = hugging_face_folder(folder)
    files = {file.name: file.read_text() for file in folder.iterdir()}
    model = folder.with_name("base")
    params = DECODER.make().init(jax.random.key(0))
    save_hugging_face(model, network=DECODER, params=params, pad_token=0, eos_token=0, files=files)
    assert tokenizer.most <= DECODER.vocab_size
    return model


@pytest.fixture(scope="module")
def config(tmp_path_factory, base) -> Experiment:
    file = write(tmp_path_factory.mktemp("data") / "traces.jsonl", rows(True))
    every = Demonstrations(count=100)
    return replace(
        smoke,
        domain=TraceFiles(train=str(file)),
        encoding=Encoding(max_length=64, max_steps=8),
        policy=replace(smoke.policy, base=str(base), adapters=LowRank(rank=2), demonstrations=every, batch_size=4),
        reward=replace(
            smoke.reward,
            network=AdvantageConfig(decoder=DECODER),
            start="policy",
            demonstrations=every,
            warm_up_rows=4,
            members=2,
            rounds=0,
        ),
        rerank=RerankPool(samples=4, problems=2, vote=4),
        improvement=replace(smoke.improvement, demonstrations=every, prompts_per_step=4),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory, config):
    """The folder of a run with adapters through every stage."""
    folder = tmp_path_factory.mktemp("run")
    config.run(folder, "traceward run mine")
    return folder


@pytest.mark.parametrize("name", ["policy", "model", "improved-policy"])
def test_adapters_alone_are_saved(run, base, name):
    model = open_model(run / name)
    assert model.manifest.base == str(base)
    own = without_frozen(model.params)
    assert parameter_count(own) == sum(leaf.size for leaf in jax.tree.leaves(split(model.params).trained))
    assert (run / name / WEIGHTS).stat().st_size < 5 * 4 * parameter_count(own)
    assert any(np.abs(leaf).max() > 0 for path, leaf in flatten(own).items() if path.endswith(".b"))


def test_checkpoints_do_not_hold_the_base(run, base):
    of_base = (base / WEIGHTS).stat().st_size
    for stage in ("policy", "reward-1-likelihood", "improved-policy"):
        steps = [path for path in (run / "checkpoints" / stage).iterdir() if path.name.isdigit()]
        assert steps
        arrays = json.loads((steps[0] / "manifest.json").read_text())["arrays"]
        assert arrays and not any("embedding" in name for name in arrays), stage
        assert of_base > 0


def test_policy_and_rewards_share_the_weights_of_the_base(run, base):
    """Opened in one process, the arrays under every model are the same objects."""
    first = jax.tree.leaves(split(open_model(run / "policy").params).frozen)
    for name in ("model", "improved-policy"):
        others = jax.tree.leaves(split(open_model(run / name).params).frozen)
        assert all(one is other for one, other in zip(first, others, strict=True))
    assert first[0] is jax.tree.leaves(open_base(str(base), "float32").params)[0]


def test_training_copies_no_weight_of_the_base(tmp_path, config, base):
    """The state of a training holds the buffers that it was given."""
    resolved = config.resolved()
    workspace = resolved.open(tmp_path)
    policy = resolved.policy.run(workspace)
    state = resolved.reward._initial(workspace, policy, "reward-1")
    before = [leaf.unsafe_buffer_pointer() for leaf in _on_one_device(policy.params)]
    after = [leaf.unsafe_buffer_pointer() for leaf in _on_one_device(state)]
    assert before == after


def _on_one_device(params):
    return [leaf.addressable_shards[0].data for leaf in jax.tree.leaves(split(params).frozen)]


def test_a_killed_run_ends_with_the_same_adapters(run, config, tmp_path):
    """Stopped in the middle of the policy, then of the reward, and started again."""
    for stage in ("policy", "reward-1-likelihood"):
        with pytest.MonkeyPatch.context() as patch:
            original = Workspace.record

            def stop(self, name, step, metrics, stage=stage, original=original):
                original(self, name, step, metrics)
                if (name, step) == (stage, 6):
                    raise KeyboardInterrupt

            patch.setattr(Workspace, "record", stop)
            with pytest.raises(KeyboardInterrupt):
                config.run(tmp_path, "traceward run mine")
    config.run(tmp_path, "traceward run mine")
    for name in ("policy", "model", "improved-policy"):
        assert (tmp_path / name / WEIGHTS).read_bytes() == (run / name / WEIGHTS).read_bytes()


def test_members_have_adapters_of_their_own_on_one_base(run):
    model = open_model(run / "model")
    assert isinstance(model.network, EnsembleConfig) and model.network.shared == "base"
    first, second = (without_frozen(params) for params in model.network.member_params(model.params))
    assert any(
        np.abs(one - other).max() > 1e-4 for one, other in zip(*map(jax.tree.leaves, (first, second)), strict=True)
    )
    scorer = open_scorer(run / "model")
    assert np.isfinite(scorer(["Count on from 3"], ["3 is first\nnext is 4\n#### 4"]).trace).all()


def test_all_weights_are_trained_without_adapters(config, tmp_path, base):
    full = replace(config, policy=replace(config.policy, adapters=None), reward=replace(config.reward, members=1))
    full = replace(full, improvement=None, search=None).resolved()
    workspace = full.open(tmp_path)
    policy = full.policy.run(workspace)
    moved = jax.tree.map(
        lambda x, y: float(np.abs(x - y).max()), on_host(policy.params), open_base(str(base), "float32").params
    )
    assert all(distance > 0 for distance in jax.tree.leaves(moved))
    assert open_model(tmp_path / "policy").manifest.base is None


def test_a_frozen_policy_is_the_base_as_it_is(config, tmp_path, base):
    frozen = replace(config, policy=replace(config.policy, adapters=None, schedule=None)).resolved()
    policy = frozen.policy.run(frozen.open(tmp_path))
    assert policy.params is open_base(str(base), "float32").params


@pytest.mark.parametrize("name", [file.stem for file in TRACES if load_config(file.stem).policy.base is not None])
def test_config_can_be_stepped(name, config, base, tmp_path):
    """Policy and reward learn for two steps on a small language model, and the reward is read back."""
    given = shrunk(load_config(name))
    domain = config.domain if isinstance(given.domain, TraceFiles) else given.domain
    encoding = replace(given.encoding, max_length=128, max_response=None)
    policy = replace(given.policy, base=str(base), batch_size=4)
    small = replace(given, domain=domain, encoding=encoding, policy=policy).resolved()
    workspace = small.open(tmp_path)
    reward = small.reward.run(workspace, small.policy.run(workspace))
    expert = domain.expert(domain.problems("train")[0], np.random.default_rng(0))
    scores = small.reward.scorer(workspace, reward)([expert.prompt], [expert.text])
    assert np.isfinite(scores.trace).all() and len(scores.steps[0]) == len(expert.steps)
    again = open_scorer(tmp_path / "model")([expert.prompt], [expert.text])
    np.testing.assert_allclose(again.trace, scores.trace, atol=1e-5)


def test_own_traces_start_from_a_language_model(config, base):
    """The plan has the tokenizer, the decoder and the adapters of the base; it is that of a run folder."""
    own = OwnTraces(domain=config.domain, base=str(base), adapters=LowRank(rank=3), sizes=Sizes(policy_steps=2))
    plan, estimate = own.plan()
    assert plan.policy.network == replace(DECODER, adapters=LowRank(rank=3), remat=True, norm_eps=1e-6)
    assert plan.reward.network.decoder == plan.policy.network and plan.reward.start == "policy"
    assert plan.encoding.tokenizer == HuggingFaceTokenizer(folder=str(base))
    assert estimate["policy"] > 0
    assert decode(encode(plan, "plan"), REGISTERED, "plan") == plan


def test_rows_in_flight_fit_a_cache():
    large = replace(DECODER, num_layers=30, num_kv_heads=3, num_heads=9, head_dim=64)
    assert rows_at_once(DECODER, 64) == 512 and rows_at_once(large, 256) == 182
    assert rows_at_once(replace(large, dtype="bfloat16"), 256) == 364


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("layout", ["hugging_face", "peft"])
def test_transformers_reads_the_policy_with_the_same_logits(run, base, tmp_path, layout):
    """The merged weights, and the adapters on their base by PEFT."""
    torch, transformers, peft = map(pytest.importorskip, ("torch", "transformers", "peft"))
    with pytest.raises(SystemExit) as stop:
        main(["convert", str(run / "policy"), str(tmp_path / "out"), "--to", layout])
    assert stop.value.code == 0
    if layout == "peft":
        plain = transformers.AutoModelForCausalLM.from_pretrained(base)
        theirs = peft.PeftModel.from_pretrained(plain, tmp_path / "out")
    else:
        theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokens = np.arange(3, 27)[None]
    with torch.no_grad():
        expected = theirs.eval()(torch.tensor(tokens)).logits.numpy()
    ours = open_model(run / "policy")
    ones = np.ones_like(tokens)
    arrays = TraceBatch(tokens, ones, np.arange(24)[None], ones, np.ones((1, 2), bool), np.zeros(1, int))
    batch = jax.tree.map(jnp.asarray, arrays)
    decoder = ours.network.make().bind(ours.params)
    np.testing.assert_allclose(decoder.logits(decoder.hidden(batch)), expected, atol=1e-4)
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "out").chat_template is not None


def test_adapters_need_a_base(config):
    with pytest.raises(InputError, match=r"policy\.adapters: adapters need trained weights .* policy\.base"):
        replace(config.policy, base=None)
    with pytest.raises(InputError, match=r"policy\.schedule: None, so nothing is trained; .* policy\.base"):
        replace(config.policy, base=None, adapters=None, schedule=None)
    with pytest.raises(InputError, match=r"reward\.start: base, but the policy has none"):
        replace(
            config, policy=replace(config.policy, base=None, adapters=None), reward=replace(config.reward, start="base")
        )


def test_a_base_that_changed_is_reported(run, config, base, tmp_path):
    """A run is not resumed with other weights of the same shape; manifests name the base by its whole path."""
    assert open_model(run / "policy").manifest.base == str(base.resolve())
    changed = tmp_path / "base"
    shutil.copytree(base, changed)
    small = replace(config, policy=replace(config.policy, base=str(changed)))
    refuse_changed_files(small.open(tmp_path), small.files())
    (changed / WEIGHTS).write_bytes(b"other weights")
    with pytest.raises(InputError, match=r"model\.safetensors: its content has changed since the run"):
        refuse_changed_files(small.open(tmp_path), small.files())


def test_samples_are_truncated_as_the_option_says(config, tmp_path):
    """Of the most likely token alone, all samples of a problem are equal."""
    small = replace(config, policy=replace(config.policy, schedule=None), rerank=RerankPool(samples=3, problems=2))
    resolved = small.resolved()
    workspace = resolved.open(tmp_path)
    policy = resolved.policy.run(workspace)
    greedy = replace(resolved.rerank, truncation=Truncation(top_k=1))
    for texts in greedy.pool(workspace, policy, workspace.problems("test")[:2]).texts:
        assert len(texts) == 3 and len(set(texts)) == 1


@pytest.mark.filterwarnings("ignore")
def test_the_benchmark_of_sampling(base, monkeypatch, capsys):
    """Both sides run, and transformers' log-probabilities are ours."""
    pytest.importorskip("transformers")
    arguments = f"sampling --model {base} --samples 4 --tokens 5 --repeats 1"
    monkeypatch.setattr(sys, "argv", arguments.split())
    sampling.main()
    out = capsys.readouterr().out
    assert re.search(r"4 samples of 5 tokens behind \d+ tokens", out) and re.search(r"[\d.]+ times as fast", out)


def test_a_base_that_moved_is_reported(run, tmp_path, base):
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in (run / "policy").iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((copy / "manifest.json").read_text())
    assert manifest["base"] == str(base)
    assert open_model(copy, base=base).manifest.base == str(base)
    other = tmp_path / "other"
    wide = replace(DECODER, hidden_dim=48)
    save_hugging_face(other, network=wide, params=wide.make().init(jax.random.key(0)), pad_token=0, eos_token=0)
    with pytest.raises(InputError, match=r"base: .*other.* has another shape than the adapters; .*--base"):
        open_model(copy, base=other)
    with pytest.raises(InputError, match=r"base: .*nowhere.* does not exist here; .*--base"):
        open_model(copy, base=tmp_path / "nowhere")
