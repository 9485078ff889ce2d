"""Folders written and read back, edited folders refused by name; no torch. The parity tests stand beside this file."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from reward_models.folders.hugging_face import load_hugging_face, save_hugging_face
from reward_models.folders.native import ModelFolderError
from reward_models.folders.tensor_file import flatten
from reward_models.networks.critic import CriticConfig
from reward_models.networks.decoder import DecoderConfig, RopeScaling
from reward_models.networks.heads import (
    HeadedDecoderConfig,
    LastToken,
    LinearHead,
    MLPHead,
    PrefixValue,
    StepEnds,
    VocabularyHead,
)

LLAMA = DecoderConfig(
    vocab_size=11, num_layers=2, dim=8, num_heads=2, num_kv_heads=1, head_dim=4, hidden_dim=12, context_length=64
)
SCALING = RopeScaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_length=16)
QWEN2 = dataclasses.replace(LLAMA, attention_bias=True, rope_theta=1e6)
QWEN3 = dataclasses.replace(LLAMA, qk_norm=True, head_dim=6, norm_eps=1e-5)
DECODERS = {
    "Llama": dataclasses.replace(LLAMA, rope_scaling=SCALING, tie_embeddings=False),
    "Mistral": dataclasses.replace(LLAMA, sliding_window=5),
    "Qwen2": QWEN2,
    "Qwen3": QWEN3,
    "Qwen3 ": dataclasses.replace(QWEN3, sliding_window=7),
}
SCORE = HeadedDecoderConfig(decoder=LLAMA, head=LinearHead(), read=LastToken(skip=1))
STEPS = HeadedDecoderConfig(
    decoder=QWEN2,
    head=LinearHead(labels=2, bias=True),
    read=StepEnds(scale="probability", aggregate="min", marker=3),
    information="outcome labels",
)
NETWORKS = {f"{name}ForCausalLM": decoder for name, decoder in DECODERS.items()} | {
    "LlamaForSequenceClassification": SCORE,
    "Qwen2ForTokenClassification": STEPS,
    "Qwen2ForRewardModel": HeadedDecoderConfig(decoder=QWEN2, head=MLPHead(), read=LastToken()),
    "Qwen2ForProcessRewardModel": HeadedDecoderConfig(
        decoder=QWEN2, head=MLPHead(labels=2), read=StepEnds(), information="step labels"
    ),
}


def random_params(network):
    functional = network.make() if isinstance(network, DecoderConfig) else network.module()
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: rng.standard_normal(leaf.shape).astype(np.float32),
        jax.eval_shape(functional.init, jax.random.key(0)),
    )


def save(folder, network=SCORE, **options):
    params = random_params(network)
    save_hugging_face(folder, network=network, params=params, **({"pad_token": 1} | options))
    return params


def assert_equal(found, expected):
    found, expected = flatten(found), flatten(expected)
    assert found.keys() == expected.keys()
    for name, leaf in expected.items():
        np.testing.assert_array_equal(found[name], leaf, err_msg=name)


@pytest.fixture
def folder(tmp_path):
    save(tmp_path / "model")
    return tmp_path / "model"


def edit(folder, change, name="config.json"):
    value = json.loads((folder / name).read_text())
    change(value)
    (folder / name).write_text(json.dumps(value))


def edit_tensors(folder, change):
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    change(tensors)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


# --- there and back ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_comes_back(name, tmp_path):
    network = NETWORKS[name]
    params = save(tmp_path / "model", network, eos_token=2, files={"tokenizer.json": "{}"})
    model = load_hugging_face(tmp_path / "model")
    assert model.network == network
    assert_equal(model.params, params)
    assert model.config["architectures"] == [name.replace(" ", "")]
    if not isinstance(network, DecoderConfig):
        assert model.spec == network.make().spec
    assert sorted(f.name for f in (tmp_path / "model").iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]


def test_tensors_have_their_names_and_orientation(folder):
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    params = load_hugging_face(folder).params
    assert tensors["score.weight"].shape == (1, 8)
    down = np.asarray(params["trunk"]["blocks"]["down"]["kernel"])[1]
    np.testing.assert_array_equal(tensors["model.layers.1.mlp.down_proj.weight"], down.T)
    assert not any(name.startswith("lm_head") for name in tensors)
    with safetensors.safe_open(folder / "model.safetensors", framework="numpy") as file:
        assert file.metadata() == {"format": "pt"}


def test_the_config_says_what_others_need(folder):
    config = json.loads((folder / "config.json").read_text())
    assert (config["id2label"], config["label2id"]) == ({"0": "LABEL_0"}, {"LABEL_0": 0})
    assert (config["problem_type"], config["pad_token_id"]) == ("regression", 1)
    assert config["dtype"] == config["torch_dtype"] == "float32"
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 10_000.0


def test_shards_and_their_index(tmp_path):
    params = save(tmp_path / "model", shard_bytes=1000)
    index = json.loads((tmp_path / "model" / "model.safetensors.index.json").read_text())
    files = sorted(set(index["weight_map"].values()))
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    assert len(files) > 2
    assert index["metadata"]["total_size"] == sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    assert_equal(load_hugging_face(tmp_path / "model").params, params)
    (tmp_path / "model" / files[1]).unlink()
    with pytest.raises(ModelFolderError, match=f"{files[1]}: no such file, but .* names it"):
        load_hugging_face(tmp_path / "model")


def test_mixed_types_and_buffers(folder):
    """A bfloat16 body with a float32 head, a float16 matrix, a buffer of old checkpoints and an unused lm_head."""

    def mix(tensors):
        for name in tensors.keys() - {"score.weight", "model.norm.weight"}:
            tensors[name] = tensors[name].astype(ml_dtypes.bfloat16)
        tensors["model.norm.weight"] = tensors["model.norm.weight"].astype(np.float16)
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(2, np.float32)
        tensors["lm_head.weight"] = np.ones((11, 8), ml_dtypes.bfloat16)

    before = load_hugging_face(folder).params
    edit_tensors(folder, mix)
    for dtype in ("float32", "bfloat16"):
        model = load_hugging_face(folder, dtype=dtype)
        assert model.network.decoder.dtype == dtype
        assert {leaf.dtype.name for leaf in jax.tree.leaves(model.params["trunk"])} == {dtype}
        assert_equal(model.params["head"], before["head"])
        rounded = before["trunk"]["blocks"]["gate"]["kernel"].astype(jnp.bfloat16)
        np.testing.assert_array_equal(model.params["trunk"]["blocks"]["gate"]["kernel"], rounded)


def test_written_in_bfloat16(tmp_path):
    params = save(tmp_path / "model", dtype="bfloat16")
    expected = jax.tree.map(lambda leaf: jnp.asarray(leaf).astype(jnp.bfloat16).astype(jnp.float32), params)
    assert_equal(load_hugging_face(tmp_path / "model").params, expected)


def test_an_embedding_saved_twice(tmp_path):
    save(tmp_path / "model", LLAMA)
    edit_tensors(tmp_path / "model", lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"]}))
    assert "head" not in load_hugging_face(tmp_path / "model").params
    edit_tensors(tmp_path / "model", lambda t: t.update({"lm_head.weight": 2 * t["lm_head.weight"]}))
    with pytest.raises(ModelFolderError, match=r"'lm_head\.weight' differs from 'model\.embed_tokens\.weight'"):
        load_hugging_face(tmp_path / "model")


def test_a_critic_and_words_become_classes_of_transformers(tmp_path):
    critic = CriticConfig(decoder=dataclasses.replace(LLAMA, tie_embeddings=False), information="step labels")
    params = random_params(critic)
    save_hugging_face(tmp_path / "critic", network=critic, params=params, pad_token=1)
    model = load_hugging_face(tmp_path / "critic")
    assert model.config["architectures"] == ["LlamaForTokenClassification"]
    assert model.spec == critic.make().spec
    np.testing.assert_array_equal(model.params["head"]["kernel"][:, 1:], params["head"]["kernel"])
    words = HeadedDecoderConfig(decoder=LLAMA, head=VocabularyHead(tokens=(3, 4)), read=StepEnds())
    params = random_params(words)
    save_hugging_face(tmp_path / "words", network=words, params=params, pad_token=1)
    assert_equal(load_hugging_face(tmp_path / "words").params, params["trunk"])


# --- configs as others write them -------------------------------------------------------------------------


def v4(config):
    for key in ("rope_parameters", "dtype"):
        config.pop(key)


def v5(config):
    for key in ("rope_theta", "rope_scaling", "torch_dtype"):
        config.pop(key)


def old_names(config):
    v4(config)
    config["rope_scaling"]["type"] = config["rope_scaling"].pop("rope_type")


@pytest.mark.parametrize("generation", [v4, v5, old_names])
def test_keys_of_both_generations(tmp_path, generation):
    network = dataclasses.replace(DECODERS["Llama"], rope_theta=5e5)
    save(tmp_path / "model", network)
    edit(tmp_path / "model", generation)
    assert load_hugging_face(tmp_path / "model").network == network


def absent(*keys):
    return lambda config: [config.pop(key) for key in keys]


@pytest.mark.parametrize(
    ("network", "change", "expected"),
    [
        (LLAMA, absent("head_dim", "rms_norm_eps"), {}),
        (DECODERS["Mistral"], absent("sliding_window"), {"sliding_window": 4096}),
        (DECODERS["Mistral"], lambda c: c.update(sliding_window=None), {"sliding_window": None}),
        (QWEN2, lambda c: c.update(sliding_window=9, use_sliding_window=False), {"sliding_window": None}),
        (QWEN2, lambda c: c.update(sliding_window=9, use_sliding_window=True), {"sliding_window": None}),
        (
            QWEN2,
            lambda c: c.update(sliding_window=9, use_sliding_window=True, max_window_layers=0),
            {"sliding_window": 9},
        ),
        (LLAMA, absent("max_position_embeddings", "rope_parameters", "rope_theta"), {"context_length": None}),
    ],
)
def test_keys_that_may_be_absent(tmp_path, network, change, expected):
    save(tmp_path / "model", network)
    edit(tmp_path / "model", change)
    found = load_hugging_face(tmp_path / "model").network
    assert found == dataclasses.replace(network, **expected)


def foreign(config):
    del config["traceward"]  # as if somebody else had written it


def test_heads_of_others(tmp_path):
    save(tmp_path / "score")
    edit(tmp_path / "score", foreign)
    model = load_hugging_face(tmp_path / "score")
    assert (model.network.read, model.spec.information) == (LastToken(skip=1), "preferences")
    assert load_hugging_face(tmp_path / "score", information="outcome labels").spec.information == "outcome labels"
    save(tmp_path / "steps", STEPS)
    edit(tmp_path / "steps", foreign)
    model = load_hugging_face(tmp_path / "steps")
    assert (model.network.read, model.spec.information) == (StepEnds(label=1), "step labels")
    assert load_hugging_face(tmp_path / "steps", label=0).network.read == StepEnds(label=0)


def test_one_of_several_labels_is_the_score(tmp_path):
    network = dataclasses.replace(SCORE, head=LinearHead(labels=2))
    save(tmp_path / "model", network)
    edit(tmp_path / "model", foreign)
    with pytest.raises(ModelFolderError, match=r"config\.json: id2label: .*LABEL_1.*name the one .* --label 0 to 1"):
        load_hugging_face(tmp_path / "model")
    assert load_hugging_face(tmp_path / "model", label=1).network.read.label == 1
    edit(tmp_path / "model", absent("id2label"))
    with pytest.raises(ModelFolderError, match="2 labels, since there is no id2label"):
        load_hugging_face(tmp_path / "model")


def test_a_process_reward_model_with_code_is_read_without_it(tmp_path):
    network = NETWORKS["Qwen2ForProcessRewardModel"]
    params = save(tmp_path / "model", network)
    edit(tmp_path / "model", lambda c: c.update(auto_map={"AutoModel": "modeling_qwen2_rm.Qwen2ForProcessRewardModel"}))
    assert_equal(load_hugging_face(tmp_path / "model").params, params)


# --- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c.update(architectures=["GemmaForCausalLM"]),
            r"architectures: \['GemmaForCausalLM'\] is not supported; .*LlamaFor",
        ),
        (lambda c: c.pop("architectures"), "architectures: None is not supported"),
        (
            lambda c: c.update(architectures=["InternLM2ForRewardModel"], auto_map={"AutoModel": "m.I"}),
            r"InternLM2ForRewardModel needs code .*auto_map.*never run; supported: LlamaFor",
        ),
        (lambda c: c.update(auto_map={"AutoModel": "m.M"}), "LlamaForSequenceClassification needs code"),
        (lambda c: c.update(quantization_config={"bits": 4}), "quantization_config: "),
        (lambda c: c.update(hidden_act="gelu"), "hidden_act: expected 'silu', got 'gelu'"),
        (lambda c: c.update(attention_bias=True), "attention_bias: true"),
        (lambda c: c.update(mlp_bias=True), "mlp_bias: expected False, got True"),
        (lambda c: c.update(rope_parameters={"rope_type": "yarn", "factor": 4.0}), "rotary embeddings .*yarn"),
        (
            lambda c: c.update(rope_parameters={"rope_type": "llama3", "factor": 4.0}),
            "rope_parameters: low_freq.*: missing",
        ),
        (lambda c: c.pop("hidden_size"), "hidden_size: missing"),
        (lambda c: c.update(num_hidden_layers="2"), "num_hidden_layers: expected an integer, got '2'"),
        (lambda c: c.update(rms_norm_eps=None), "rms_norm_eps: expected a number, got None"),
        (lambda c: c.update(pad_token_id=-1), "pad_token_id: expected an id below vocab_size .*, got -1"),
    ],
)
def test_configs_that_are_refused(folder, change, message):
    edit(folder, change)
    with pytest.raises(ModelFolderError, match=r"config\.json: " + message):
        load_hugging_face(folder)


def test_layers_of_two_kinds_are_refused(tmp_path):
    save(tmp_path / "model", QWEN2)
    edit(tmp_path / "model", lambda c: c.update(sliding_window=9, use_sliding_window=True, max_window_layers=1))
    with pytest.raises(ModelFolderError, match="sliding_window: 1 of 2 layers"):
        load_hugging_face(tmp_path / "model")


def poison(tensors):
    tensors["model.norm.weight"][3] = np.nan


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (poison, r"'model\.norm\.weight': 1 of 8 values are NaN"),
        (lambda t: t.pop("model.norm.weight"), r"'model\.norm\.weight' is missing \(1 tensor\)"),
        (lambda t: t.update({"value.weight": np.ones(1)}), r"'value\.weight' is none of this architecture's"),
        (
            lambda t: t.update({"score.weight": np.ones((2, 8), np.float32)}),
            r"'score\.weight': expected \[1, 8\] .*\[2, 8\]",
        ),
        (lambda t: t.update({"score.bias": np.ones(1, np.float32)}), r"'score\.bias' is none"),
        (
            lambda t: t.update({"score.weight": np.ones((1, 8), np.int8)}),
            r"'score\.weight' is I8, expected F32, BF16, F16",
        ),
        (
            lambda t: t.update({"score.weight": np.ones((1, 8), ml_dtypes.float8_e4m3fn)}),
            r"'score\.weight' is F8_E4M3, expected F32, BF16, F16",
        ),
        (
            lambda t: t.update({"model.norm.weight": np.ones(8, ml_dtypes.float8_e5m2)}),
            r"'model\.norm\.weight' is F8_E5M2, expected F32, BF16, F16",
        ),
    ],
)
def test_weights_that_are_refused(folder, change, message):
    edit_tensors(folder, change)
    with pytest.raises(ModelFolderError, match=r"model\.safetensors: tensor " + message):
        load_hugging_face(folder)


def test_files_that_are_refused(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(ModelFolderError, match=r"model\.safetensors: truncated or damaged"):
        load_hugging_face(folder)
    weights.rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelFolderError, match=r"neither .*pickled weights are never read"):
        load_hugging_face(folder)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../x.safetensors"}}')
    with pytest.raises(ModelFolderError, match="must map tensors to files of this folder"):
        load_hugging_face(folder)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "x" * 300}}))
    with pytest.raises(ModelFolderError, match=r"no such file, but .* names it"):
        load_hugging_face(folder)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": 3}}')
    with pytest.raises(ModelFolderError, match=r"index\.json: weight_map\.a: expected a string, got 3"):
        load_hugging_face(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelFolderError, match=r"config\.json, column 2: malformed JSON"):
        load_hugging_face(folder)
    with pytest.raises(ModelFolderError, match="dtype: expected float32 or bfloat16"):
        load_hugging_face(folder, dtype="float16")


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        (dataclasses.replace(QWEN3, attention_bias=True), {}, "no supported family has both"),
        (dataclasses.replace(SCORE, read=PrefixValue()), {}, "no transformers class has LinearHead"),
        (dataclasses.replace(SCORE, head=MLPHead()), {}, "no transformers class has MLPHead"),
        (SCORE, {"pad_token": 2}, "pad_token: 2, but scores were read past token 1"),
    ],
)
def test_networks_that_transformers_does_not_have(tmp_path, network, options, message):
    with pytest.raises(ModelFolderError, match=f"not saved: .*{message}"):
        save(tmp_path / "model", network, **options)
    assert not list(tmp_path.iterdir())


def test_parameters_that_are_not_saved(tmp_path):
    params = random_params(SCORE)
    params["head"]["kernel"][2] = np.inf
    with pytest.raises(ModelFolderError, match=r"'score\.weight': not finite"):
        save_hugging_face(tmp_path / "model", network=SCORE, params=params, pad_token=1)
    del params["trunk"]["final_norm"]
    with pytest.raises(ModelFolderError, match=r"'trunk\.final_norm\.scale' is missing"):
        save_hugging_face(tmp_path / "model", network=SCORE, params=params, pad_token=1)
    (tmp_path / "model").mkdir()
    with pytest.raises(ModelFolderError, match="exists; give a new folder"):
        save(tmp_path / "model")


def test_a_tensor_in_two_shards(tmp_path):
    save(tmp_path / "model", shard_bytes=600)
    files = sorted((tmp_path / "model").glob("*.safetensors"))
    tensors = safetensors.numpy.load_file(files[0]) | safetensors.numpy.load_file(files[1])
    safetensors.numpy.save_file(tensors, files[1], metadata={"format": "pt"})
    with pytest.raises(ModelFolderError, match=rf"{files[1].name}: tensor .* is also in {files[0].name}"):
        load_hugging_face(tmp_path / "model")


def test_sizes_are_compared_before_data_is_read(folder, monkeypatch):
    """A config of a million tokens does not reserve memory for them."""
    edit(folder, lambda config: config.update(vocab_size=2**24, intermediate_size=2**20))
    monkeypatch.setattr(np, "empty", lambda *_: pytest.fail("memory was allocated"))
    with pytest.raises(ModelFolderError, match=r"expected \[\d+, \d+\] by config\.json"):
        load_hugging_face(folder)


@pytest.mark.parametrize("shard_bytes", [5_000_000_000, 600])
def test_permissions_are_those_of_any_new_file(tmp_path, shard_bytes):
    save(tmp_path / "model", shard_bytes=shard_bytes)
    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in (tmp_path / "model").iterdir()}
    assert set(modes.values()) == {modes["config.json"]}
