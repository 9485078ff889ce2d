"""PEFT folders: written and read back, a layout typed in by hand, edited folders refused by name; parity with PEFT.

The last part needs torch, transformers and peft, and is skipped without them.
"""

import dataclasses
import json
import warnings

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from reward_models.folders.hugging_face import load_hugging_face, save_hugging_face
from reward_models.folders.native import ModelFolderError
from reward_models.folders.peft import load_peft, save_peft
from reward_models.folders.tensor_file import flatten
from reward_models.frozen import without_frozen
from reward_models.networks.adapters import TARGETS, LowRank
from reward_models.networks.critic import CriticConfig
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.heads import (
    HeadedDecoderConfig,
    LastToken,
    LinearHead,
    MLPHead,
    PrefixValue,
    StepEnds,
    VocabularyHead,
    from_critic,
)
from reward_models.networks.soft_advantage import SoftAdvantageConfig
from reward_models.types import TraceBatch

PAD, EOS, VOCAB = 0, 2, 11
DECODER = DecoderConfig(vocab_size=VOCAB, num_layers=2, dim=8, num_heads=2, num_kv_heads=1, head_dim=4, hidden_dim=12)
SCORE = HeadedDecoderConfig(decoder=DECODER, head=LinearHead(), read=LastToken(skip=PAD))
STEPS = HeadedDecoderConfig(
    decoder=dataclasses.replace(DECODER, attention_bias=True),
    head=LinearHead(labels=2, bias=True),
    read=StepEnds(),
    information="step labels",
)
WORDS = HeadedDecoderConfig(decoder=DECODER, head=VocabularyHead(tokens=(3, 4)), read=StepEnds())
ADVANTAGE = SoftAdvantageConfig(decoder=dataclasses.replace(DECODER, tie_embeddings=False), information="none")
MLP = HeadedDecoderConfig(decoder=DECODER, head=MLPHead(), read=LastToken())
CONFIGS = {
    "SEQ_CLS": SCORE.adapted(LowRank(rank=3, targets=("query", "value", "down"))),
    "TOKEN_CLS": STEPS.adapted(LowRank(rank=2, alpha=2.5, rank_stabilised=True)),
    "CAUSAL_LM": ADVANTAGE.adapted(LowRank(rank=2, targets=("output",))),
    "CAUSAL_LM words": WORDS.adapted(LowRank(rank=2, targets=("up",))),
    "SEQ_CLS two layers": MLP.adapted(LowRank(rank=2, targets=("key",))),
}


def noise(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(0.5 * rng.standard_normal(leaf.shape), jnp.float32), shapes)


def random_params(config, seed=0):
    return noise(jax.eval_shape(config.make().init, jax.random.key(0)), seed)


def assert_equal(found, expected):
    found, expected = flatten(found), flatten(expected)
    assert found.keys() == expected.keys()
    for name, leaf in expected.items():
        np.testing.assert_array_equal(found[name], leaf, err_msg=name)


def base_of(config, params):
    """The base, with the head of the trained network: the adapter brings its own."""
    return config.with_trunk(params, config.trunk_of(params)["base"].tree)


@pytest.mark.parametrize("name", CONFIGS)
def test_an_adapter_comes_back_with_its_head(name, tmp_path):
    config, params = CONFIGS[name], random_params(CONFIGS[name])
    save_peft(tmp_path / "a", network=config, params=params, base_model="somebody/base", files={"tokenizer.json": "{}"})
    written = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert written["task_type"] == name.split()[0]
    assert written["modules_to_save"] == (["score"] if config.has_head else None)
    base = jax.tree.map(jnp.zeros_like, base_of(config, params))
    base = config.with_trunk(base, config.trunk_of(base_of(config, params)))
    model = load_peft(tmp_path / "a", network=config.adapted(None), params=base)
    assert (model.network, model.base_model) == (config, "somebody/base")
    assert_equal(model.params, params)
    assert sorted(f.name for f in (tmp_path / "a").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "tokenizer.json",
    ]


def test_a_recorded_adapter_of_the_head(tmp_path):
    """Without a task type PEFT takes the head for one linear layer among others."""

    def adapt(tensors):
        del tensors[SCORE_WEIGHT]
        tensors["base_model.model.score.lora_A.weight"] = np.arange(16.0, dtype=np.float32).reshape(2, 8)
        tensors["base_model.model.score.lora_B.weight"] = np.array([[1.0, -1.0]], np.float32)

    change = {"task_type": None, "modules_to_save": None, "target_modules": ["q_proj", "down_proj", "score"]}
    record(tmp_path / "a", lambda c: c.update(change), adapt)
    base = random_params(SCORE)
    model = load_peft(tmp_path / "a", network=SCORE, params=base)
    expected = base["head"]["kernel"][:, 0] + 2.0 * (np.arange(8) - np.arange(8, 16))
    np.testing.assert_allclose(model.params["head"]["kernel"][:, 0], expected)
    record(tmp_path / "b", lambda c: c.update({**change, "modules_to_save": []}), lambda t: t.pop(SCORE_WEIGHT))
    with pytest.raises(ModelFolderError, match=r"adapter_config\.json: 'score' is the head of a classifier, and the"):
        load_peft(tmp_path / "b", network=DECODER, params=language_model())


SCORE_WEIGHT = "base_model.model.score.weight"
RECORDED = {
    "peft_type": "LORA",
    "peft_version": "0.21.2",
    "task_type": "SEQ_CLS",
    "auto_mapping": None,
    "base_model_name_or_path": "base",
    "bias": "none",
    "exclude_modules": None,
    "fan_in_fan_out": False,
    "inference_mode": True,
    "init_lora_weights": True,
    "layers_to_transform": None,
    "lora_alpha": 4,
    "lora_dropout": 0.1,
    "modules_to_save": ["classifier", "score"],
    "r": 2,
    "rank_pattern": {},
    "target_modules": ["down_proj", "q_proj"],
    "use_dora": False,
    "use_rslora": False,
}
SHAPES = {
    "base_model.model.model.layers.{}.self_attn.q_proj.lora_A.weight": (2, 8),
    "base_model.model.model.layers.{}.self_attn.q_proj.lora_B.weight": (8, 2),
    "base_model.model.model.layers.{}.mlp.down_proj.lora_A.weight": (2, 12),
    "base_model.model.model.layers.{}.mlp.down_proj.lora_B.weight": (8, 2),
    "base_model.model.score.weight": (1, 8),
}


def record(folder, change=None, change_tensors=None):
    """A folder as PEFT writes it for a reward model, and its tensors."""
    rng = np.random.default_rng(0)
    tensors = {
        name.format(layer): rng.standard_normal(shape).astype(np.float32)
        for name, shape in SHAPES.items()
        for layer in (range(2) if "{}" in name else [0])
    }
    config = dict(RECORDED)
    (change or (lambda c: None))(config)
    (change_tensors or (lambda t: None))(tensors)
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(config))
    safetensors.numpy.save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return tensors


def language_model():
    return noise(jax.eval_shape(DECODER.make().init, jax.random.key(0)))


def test_a_recorded_adapter_on_a_language_model(tmp_path):
    """The head comes from the adapter; W' = W + alpha / r B A in their orientation, layer by layer."""
    tensors, trunk = record(tmp_path / "a"), language_model()
    model = load_peft(tmp_path / "a", network=DECODER, params=trunk, pad_token=PAD)
    assert model.network == SCORE.adapted(LowRank(rank=2, alpha=4.0, targets=("query", "down")))
    network, merged = model.network.merged(model.params)
    assert network == SCORE
    np.testing.assert_array_equal(merged["head"]["kernel"], tensors["base_model.model.score.weight"].T)
    for layer in range(2):
        for module, ours in (("self_attn.q_proj", "query"), ("mlp.down_proj", "down")):
            name = f"base_model.model.model.layers.{layer}.{module}.lora"
            product = tensors[f"{name}_B.weight"] @ tensors[f"{name}_A.weight"]
            expected = trunk["blocks"][ours]["kernel"][layer] + 2.0 * product.T
            np.testing.assert_allclose(merged["trunk"]["blocks"][ours]["kernel"][layer], expected, atol=1e-6)
    np.testing.assert_array_equal(merged["trunk"]["blocks"]["up"]["kernel"], trunk["blocks"]["up"]["kernel"])
    expected = jax.eval_shape(model.network.make().init, jax.random.key(0))
    assert jax.tree.map(jnp.shape, model.params) == jax.tree.map(jnp.shape, expected)


def test_half_precision_and_all_linear(tmp_path):
    """Tensors become float32; a base with an output matrix of its own loses it to the head."""

    def halve(tensors):
        tensors |= {name: tensor.astype(np.float16) for name, tensor in tensors.items()}

    tensors = record(tmp_path / "a", change_tensors=halve)
    untied = dataclasses.replace(DECODER, tie_embeddings=False)
    base = noise(jax.eval_shape(untied.make().init, jax.random.key(0)))
    model = load_peft(tmp_path / "a", network=untied, params=base)
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(without_frozen(model.params))} == {"float32"}
    assert "head" not in model.params["trunk"]["base"].tree and model.network.adapted(None).decoder == DECODER
    np.testing.assert_array_equal(
        model.params["head"]["kernel"], tensors["base_model.model.score.weight"].T.astype(np.float32)
    )
    everything = {"target_modules": "all-linear", "task_type": "CAUSAL_LM", "modules_to_save": None}
    with pytest.raises(ModelFolderError, match=r"layers.0.mlp.gate_proj.lora_A.weight' is missing"):
        record(tmp_path / "b", lambda c: c.update(everything))
        load_peft(tmp_path / "b", network=DECODER, params=language_model())


def test_a_language_model_stays_one_or_judges_steps(tmp_path):
    def as_words(tensors):
        del tensors["base_model.model.score.weight"]

    record(tmp_path / "a", lambda c: c.update(task_type="CAUSAL_LM", modules_to_save=None), as_words)
    model = load_peft(tmp_path / "a", network=DECODER, params=language_model(), information="demonstrations")
    assert model.network.adapted(None) == SoftAdvantageConfig(decoder=DECODER, information="demonstrations")

    def as_steps(tensors):
        tensors["base_model.model.score.weight"] = np.ones((2, 8), np.float32)
        tensors["base_model.model.score.bias"] = np.array([0.0, 1.0], np.float32)

    record(tmp_path / "b", lambda c: c.update(task_type="TOKEN_CLS"), as_steps)
    model = load_peft(tmp_path / "b", network=DECODER, params=language_model())
    assert model.network.adapted(None) == dataclasses.replace(STEPS, decoder=DECODER)
    np.testing.assert_array_equal(model.params["head"]["bias"], [0, 1])


def test_a_step_critic_is_written_as_a_token_classifier(tmp_path):
    critic = CriticConfig(decoder=DECODER)
    config = critic.adapted(LowRank(rank=2, targets=("query",)))
    params = random_params(config)
    save_peft(tmp_path / "a", network=config, params=without_frozen(params), base_model="base")
    headed, base = from_critic(critic, base_of(config, params))
    model = load_peft(tmp_path / "a", network=headed, params=base)
    batch = traces(*rows())
    ours = jax.jit(config.make().apply)(params, batch)
    theirs = jax.jit(model.network.make().apply)(model.params, batch)
    np.testing.assert_allclose(theirs.step, ours.step, atol=1e-5)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"peft_type": "IA3"}, "peft_type: expected 'LORA', got 'IA3'"),
        ({"use_dora": True}, "use_dora: True is not supported"),
        ({"rank_pattern": {"q_proj": 4}}, "rank_pattern: {'q_proj': 4} is not supported"),
        ({"bias": "all"}, "bias: 'all' is not supported"),
        ({"a_key_of_tomorrow": [1]}, r"a_key_of_tomorrow: \[1\] is not supported"),
        ({"init_lora_weights": "pissa"}, "'pissa' may have changed the base"),
        ({"target_modules": ["q_proj", "lm_head"]}, "target_modules: 'lm_head' is not supported, only down_proj"),
        ({"target_modules": ".*proj"}, "target_modules: '.*proj' is not supported, only a list of"),
        ({"target_modules": []}, "expected names of linear layers, found none"),
        ({"target_modules": ["score"]}, "target_modules: an adapter of 'score' alone is not supported; merge it"),
        ({"modules_to_save": ["embed_tokens"]}, "modules_to_save: 'embed_tokens' is not supported, only classifier"),
        ({"r": 0}, "r: expected at least 1, got 0"),
        ({"r": 10**12}, "r: expected at most 65536"),
        ({"r": True}, "r: expected an integer, got True"),
        ({"lora_alpha": None}, "lora_alpha: expected a number, got None"),
        ({"lora_alpha": 10**400}, "lora_alpha: expected a finite number"),
        ({"lora_alpha": 0}, "lora_alpha: expected more than 0"),
        ({"target_modules": {"q_proj": 1}}, "target_modules.*: expected a list"),
        ({"target_modules": [3]}, "target_modules.*: expected a string"),
        ({"modules_to_save": "score"}, "modules_to_save: expected a list, got 'score'"),
        ({"use_rslora": "yes"}, "use_rslora: expected true or false, got 'yes'"),
        ({"init_lora_weights": ["pissa"]}, "init_lora_weights.*: expected"),
        ({"base_model_name_or_path": 3}, "base_model_name_or_path: expected a string, got 3"),
        ({"task_type": "SEQ_2_SEQ_LM"}, "task_type: expected 'SEQ_CLS', .*, got 'SEQ_2_SEQ_LM'"),
        ({"r": 3}, r"lora_A.weight': expected \[3, 12\] by r of adapter_config.json .*, got \[2, 12\]"),
        ({"target_modules": ["q_proj"]}, "mlp.down_proj.lora_A.weight' is none of an adapter with this"),
    ],
)
def test_what_is_not_supported_is_named(change, message, tmp_path):
    record(tmp_path / "a", lambda config: config.update(change))
    with pytest.raises(ModelFolderError, match=f"adapter_.*: .*{message}"):
        load_peft(tmp_path / "a", network=DECODER, params=language_model())


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t.pop(SCORE_WEIGHT), "score.weight' is missing, and a language model has no head"),
        (lambda t: t.update({SCORE_WEIGHT: np.ones((3, 8), np.float32)}), "a head of 3 labels"),
        (lambda t: t.update({SCORE_WEIGHT: np.ones((1, 9), np.float32)}), r"expected \[1, 8\] .*, got \[1, 9\]"),
        (lambda t: t.update({SCORE_WEIGHT: np.ones((1, 8), np.int32)}), "score.weight' is I32, expected F32"),
        (lambda t: t.update({SCORE_WEIGHT: np.ones((1, 8), ml_dtypes.float8_e4m3fn)}), "is F8_E4M3, expected F32"),
        (lambda t: t.update({SCORE_WEIGHT: np.ones((), np.float32)}), r"expected \[labels, width\], got \[\]"),
        (lambda t: t.update({SCORE_WEIGHT: np.full((1, 8), np.nan, np.float32)}), "8 of 8 values are NaN"),
        (
            lambda t: t.pop("base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight"),
            "layers.1.self_attn.q_proj.lora_B.weight' is missing",
        ),
    ],
)
def test_damaged_tensors_are_named(change, message, tmp_path):
    record(tmp_path / "a", change_tensors=change)
    with pytest.raises(ModelFolderError, match=f"adapter_model.safetensors: .*{message}"):
        load_peft(tmp_path / "a", network=DECODER, params=language_model())


def test_the_wrong_base_and_no_adapter_at_all(tmp_path):
    record(tmp_path / "a")
    params = random_params(STEPS)
    with pytest.raises(ModelFolderError, match="task_type: 'SEQ_CLS', but the base given is for TOKEN_CLS"):
        load_peft(tmp_path / "a", network=STEPS, params=params)
    (tmp_path / "a" / "adapter_model.safetensors").write_bytes(b"cut")
    with pytest.raises(ModelFolderError, match="truncated or damaged"):
        load_peft(tmp_path / "a", network=DECODER, params=language_model())
    (tmp_path / "a" / "adapter_model.safetensors").rename(tmp_path / "a" / "adapter_model.bin")
    with pytest.raises(ModelFolderError, match="pickled weights are never read"):
        load_peft(tmp_path / "a", network=DECODER, params=language_model())
    with pytest.raises(ModelFolderError, match=r"adapter_config.json: no such file"):
        load_peft(tmp_path, network=DECODER, params=language_model())


@pytest.mark.parametrize(
    "config, message",
    [
        (SCORE, "adapters: none; export the model with save_hugging_face"),
        (dataclasses.replace(SCORE, read=PrefixValue()).adapted(LowRank(rank=1)), "no transformers class"),
    ],
)
def test_what_peft_has_no_place_for_is_not_written(config, message, tmp_path):
    with pytest.raises(ModelFolderError, match=f"a: not saved: .*{message}"):
        save_peft(tmp_path / "a", network=config, params=random_params(config), base_model="base")
    assert not list(tmp_path.iterdir())


def test_params_of_another_rank_or_not_finite_are_not_written(tmp_path):
    config, params = CONFIGS["SEQ_CLS"], random_params(CONFIGS["SEQ_CLS"])
    of_rank_4 = config.adapted(dataclasses.replace(config.decoder.adapters, rank=4))
    with pytest.raises(ModelFolderError, match=r"expected float32\[2, 12, 4\], found float32\[2, 12, 3\]"):
        save_peft(tmp_path / "a", network=of_rank_4, params=params, base_model="base")
    params["head"]["kernel"] = params["head"]["kernel"].at[0].set(jnp.inf)
    with pytest.raises(ModelFolderError, match=r"score.weight': not finite"):
        save_peft(tmp_path / "a", network=config, params=params, base_model="base")
    (tmp_path / "a").mkdir()
    with pytest.raises(ModelFolderError, match="exists; give a new folder"):
        save_peft(tmp_path / "a", network=config, params=params, base_model="base")


# --- with PEFT itself -------------------------------------------------------------------------------------


def rows():
    """(ids, attention mask) with padding on the right."""
    return np.array([[5, 3, 4, 1, 5, 9, EOS], [7, 4, 1, 8, EOS, PAD, PAD]]), np.array([[1] * 7, [1] * 5 + [0] * 2])


def traces(ids, mask):
    """A prompt of one token, then steps of two tokens."""
    position = np.maximum(np.cumsum(mask, axis=1) - 1, 0) * mask
    step = np.where(mask & (position > 0), (position - 1) // 2, -1)
    there = np.arange(3) <= step.max(axis=1, keepdims=True)
    return jax.tree.map(jnp.asarray, TraceBatch(ids, mask, position, step, there, np.arange(2)))


@pytest.fixture(scope="module")
def peft():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("torch")
        pytest.importorskip("transformers")
        return pytest.importorskip("peft")


def their_logits(model):
    import torch

    ids, mask = (torch.from_numpy(array) for array in rows())
    with torch.no_grad():
        return model.eval()(ids, attention_mask=mask).logits.numpy()


def score_and_theirs(config, params, logits):
    """Our scores and those that logits of theirs stand for: per trace, or the probabilities of step ends."""
    batch = traces(*rows())
    scores = jax.jit(config.make().apply)(params, batch)
    if config.head.labels == 1:
        return scores.trace, logits[:, 0]
    log_prob = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    ends = [[np.flatnonzero(row == step)[-1] for step in range(2)] for row in np.asarray(batch.step_id)]
    return scores.step[:, :2], np.stack([row[end, 1] for row, end in zip(log_prob, ends, strict=True)])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name, task", [("SEQ_CLS", "Sequence"), ("TOKEN_CLS", "Token")])
def test_peft_reads_what_we_write_and_we_read_what_it_writes(name, task, peft, tmp_path):
    import transformers

    config, params = CONFIGS[name], random_params(CONFIGS[name])
    base = str(tmp_path / "base")
    plain = base_of(config, params)
    save_hugging_face(base, network=config.adapted(None), params=plain, pad_token=PAD, eos_token=EOS)
    auto = getattr(transformers, f"AutoModelFor{task}Classification")
    plain = their_logits(auto.from_pretrained(base))
    save_peft(tmp_path / "ours", network=config, params=params, base_model=base)
    theirs = peft.PeftModel.from_pretrained(auto.from_pretrained(base), tmp_path / "ours")
    logits = their_logits(theirs)
    assert np.abs(logits - plain).max() > 0.1
    np.testing.assert_allclose(*score_and_theirs(config, params, logits), atol=1e-4)

    theirs.save_pretrained(tmp_path / "theirs")
    loaded = load_hugging_face(base)
    model = load_peft(tmp_path / "theirs", network=loaded.network, params=loaded.params)
    assert model.network == config
    assert_equal(without_frozen(model.params), without_frozen(params))


@pytest.mark.filterwarnings("ignore")
def test_a_fresh_adapter_of_peft_on_a_language_model(peft, tmp_path):
    """The usual way to a reward model: a language model, a new head, adapters, all made there."""
    import torch
    import transformers

    base = str(tmp_path / "base")
    save_hugging_face(base, network=DECODER, params=language_model(), pad_token=PAD, eos_token=EOS)
    start = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    settings = peft.LoraConfig(task_type="SEQ_CLS", r=4, lora_alpha=8, target_modules="all-linear")
    theirs = peft.get_peft_model(start, settings)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in theirs.parameters():
            if parameter.requires_grad:
                parameter.normal_(0, 0.5, generator=generator)
    theirs.save_pretrained(tmp_path / "theirs")
    loaded = load_hugging_face(base)
    model = load_peft(tmp_path / "theirs", network=loaded.network, params=loaded.params, pad_token=PAD)
    assert model.network.decoder.adapters.targets == TARGETS
    np.testing.assert_allclose(*score_and_theirs(model.network, model.params, their_logits(theirs)), atol=1e-4)
