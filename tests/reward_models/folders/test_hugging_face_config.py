"""config.json files exactly as transformers 4 wrote them for published models, and with keys that others leave out."""

import dataclasses

import pytest

from reward_models.folders.hugging_face_config import read_config
from reward_models.networks.decoder import DecoderConfig, RopeScaling
from reward_models.networks.heads import HeadedDecoderConfig, LastToken, LinearHead, StepEnds
from reward_models.records import InputError

COMMON = {"hidden_act": "silu", "initializer_range": 0.02, "torch_dtype": "bfloat16", "use_cache": True}
LLAMA_32_1B = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 128000,
    "eos_token_id": [128001, 128008, 128009],
    "head_dim": 64,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 16,
    "num_key_value_heads": 8,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "factor": 32.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "transformers_version": "4.45.0.dev0",
    "vocab_size": 128256,
} | COMMON
LLAMA_2_7B = {
    "_name_or_path": "meta-llama/Llama-2-7b-hf",
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "max_position_embeddings": 4096,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "transformers_version": "4.34.0.dev0",
    "vocab_size": 32000,
} | COMMON
MISTRAL_7B_V01 = {
    "architectures": ["MistralForCausalLM"],
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 32768,
    "model_type": "mistral",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "sliding_window": 4096,
    "tie_word_embeddings": False,
    "transformers_version": "4.34.0.dev0",
    "vocab_size": 32000,
} | COMMON
MISTRAL_7B_V03 = MISTRAL_7B_V01 | {
    "attention_dropout": 0.0,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "transformers_version": "4.42.0.dev0",
    "vocab_size": 32768,
}
QWEN25_05B = {
    "architectures": ["Qwen2ForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151643,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "max_position_embeddings": 32768,
    "max_window_layers": 24,
    "model_type": "qwen2",
    "num_attention_heads": 14,
    "num_hidden_layers": 24,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "transformers_version": "4.40.1",
    "use_mrope": False,
    "use_sliding_window": False,
    "vocab_size": 151936,
} | COMMON
QWEN3_06B = {
    "architectures": ["Qwen3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "head_dim": 128,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "max_position_embeddings": 40960,
    "max_window_layers": 28,
    "model_type": "qwen3",
    "num_attention_heads": 16,
    "num_hidden_layers": 28,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "transformers_version": "4.51.0",
    "use_sliding_window": False,
    "vocab_size": 151936,
} | COMMON
LAYERS = 28
QWEN3_LATE = {key: value for key, value in QWEN3_06B.items() if key != "torch_dtype"} | {
    "dtype": "bfloat16",
    "layer_types": ["full_attention"] * LAYERS,
    "transformers_version": "4.56.1",
}
"""Late releases of transformers 4: one key of 5 beside the old ones."""

LLAMA_1B = DecoderConfig(
    vocab_size=128256,
    num_layers=16,
    dim=2048,
    num_heads=32,
    num_kv_heads=8,
    head_dim=64,
    hidden_dim=8192,
    rope_theta=500000.0,
    norm_eps=1e-5,
    tie_embeddings=True,
    rope_scaling=RopeScaling(factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0, original_length=8192),
    context_length=131072,
)
LLAMA_7B = DecoderConfig(
    vocab_size=32000,
    num_layers=32,
    dim=4096,
    num_heads=32,
    num_kv_heads=32,
    head_dim=128,
    hidden_dim=11008,
    rope_theta=10000.0,
    norm_eps=1e-5,
    tie_embeddings=False,
    context_length=4096,
)
MISTRAL_7B = dataclasses.replace(LLAMA_7B, num_kv_heads=8, hidden_dim=14336, sliding_window=4096, context_length=32768)
QWEN2_05B = DecoderConfig(
    vocab_size=151936,
    num_layers=24,
    dim=896,
    num_heads=14,
    num_kv_heads=2,
    head_dim=64,
    hidden_dim=4864,
    rope_theta=1e6,
    norm_eps=1e-6,
    attention_bias=True,
    tie_embeddings=True,
    context_length=32768,
)
QWEN3 = DecoderConfig(
    vocab_size=151936,
    num_layers=LAYERS,
    dim=1024,
    num_heads=16,
    num_kv_heads=8,
    head_dim=128,
    hidden_dim=3072,
    rope_theta=1e6,
    norm_eps=1e-6,
    qk_norm=True,
    tie_embeddings=True,
    context_length=40960,
)
PUBLISHED = {
    "meta-llama/Llama-3.2-1B-Instruct": (LLAMA_32_1B, LLAMA_1B),
    "meta-llama/Llama-2-7b-hf": (LLAMA_2_7B, LLAMA_7B),
    "mistralai/Mistral-7B-v0.1": (MISTRAL_7B_V01, MISTRAL_7B),
    "mistralai/Mistral-7B-v0.3": (
        MISTRAL_7B_V03,
        dataclasses.replace(MISTRAL_7B, rope_theta=1e6, sliding_window=None, vocab_size=32768),
    ),
    "Qwen/Qwen2.5-0.5B": (QWEN25_05B, QWEN2_05B),
    "Qwen/Qwen3-0.6B": (QWEN3_06B, QWEN3),
    "Qwen3 as 4.56 writes it": (QWEN3_LATE, QWEN3),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configs(name):
    config, expected = PUBLISHED[name]
    assert read_config(config, dtype=expected.dtype) == expected


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_head_on_a_published_config(name):
    """As TRL's reward trainer leaves it: one label, the padding token named, embeddings as they were."""
    config, decoder = PUBLISHED[name]
    family = config["architectures"][0].removesuffix("ForCausalLM")
    head = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}, "pad_token_id": 7}
    found = read_config(config | head | {"architectures": [f"{family}ForSequenceClassification"]}, dtype=decoder.dtype)
    expected = dataclasses.replace(decoder, tie_embeddings=True)  # an output matrix that nothing reads
    assert found == HeadedDecoderConfig(decoder=expected, head=LinearHead(), read=LastToken(skip=7))


UNUSED = (
    "attention_bias",
    "mlp_bias",
    "pretraining_tp",
    "attention_dropout",
    "use_mrope",
    "rope_scaling",
    "layer_types",
)
WINDOW = ("sliding_window", "use_sliding_window", "max_window_layers")


def without(config, *keys):
    return {key: value for key, value in config.items() if key not in keys}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (without(MISTRAL_7B_V03, *UNUSED), PUBLISHED["mistralai/Mistral-7B-v0.3"][1]),
        (without(QWEN3_LATE, *UNUSED, *WINDOW), QWEN3),
        (without(QWEN25_05B, *UNUSED, *WINDOW), QWEN2_05B),
        (without(LLAMA_32_1B, "head_dim"), LLAMA_1B),
        (without(QWEN3_06B, "head_dim"), QWEN3),
        (MISTRAL_7B_V01 | {"head_dim": None}, MISTRAL_7B),
        (without(LLAMA_32_1B, "tie_word_embeddings"), dataclasses.replace(LLAMA_1B, tie_embeddings=False)),
        (without(QWEN25_05B, "tie_word_embeddings"), dataclasses.replace(QWEN2_05B, tie_embeddings=False)),
        (without(LLAMA_2_7B, "num_key_value_heads"), LLAMA_7B),
        (without(LLAMA_2_7B, "rope_theta"), LLAMA_7B),
        (
            LLAMA_32_1B | {"rope_scaling": LLAMA_32_1B["rope_scaling"] | {"type": "llama3"}},
            LLAMA_1B,
        ),
        (LLAMA_2_7B | {"rope_scaling": {"rope_type": "default"}}, LLAMA_7B),
    ],
)
def test_keys_that_others_leave_out_or_add(config, expected):
    assert read_config(config, dtype=expected.dtype) == expected


@pytest.mark.parametrize("kinds", [None, "sliding_attention", "full_attention"])
def test_layers_with_a_window(kinds):
    """`layer_types`, which late releases write, is asked before `max_window_layers`."""
    told = {} if kinds is None else {"layer_types": [kinds] * LAYERS}
    window = {"use_sliding_window": True, "sliding_window": 4096, "max_window_layers": 0 if kinds is None else LAYERS}
    found = read_config(QWEN3_06B | window | told, dtype=QWEN3.dtype)
    assert found == dataclasses.replace(QWEN3, sliding_window=None if kinds == "full_attention" else 4096)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            QWEN3_LATE
            | {
                "use_sliding_window": True,
                "sliding_window": 4096,
                "layer_types": ["full_attention", *["sliding_attention"] * (LAYERS - 1)],
            },
            "sliding_window: 27 of 28 layers have one; only all or none is supported",
        ),
        (
            LLAMA_2_7B | {"rope_scaling": {"type": "linear", "factor": 2.0}},
            "rotary embeddings .*linear.* not supported",
        ),
        (QWEN25_05B | {"rope_scaling": {"type": "yarn", "factor": 4.0}}, "rotary embeddings .*yarn.* not supported"),
        (LLAMA_2_7B | {"attention_bias": True}, "attention_bias: true is not supported"),
        (LLAMA_2_7B | {"mlp_bias": True}, "mlp_bias: expected False, got True"),
    ],
)
def test_published_features_that_are_refused(config, message):
    with pytest.raises(InputError, match=message):
        read_config(config, dtype="float32")


def classifier(config, task="ForSequenceClassification", **more):
    family = config["architectures"][0].removesuffix("ForCausalLM")
    return config | {"architectures": [family + task], "id2label": {"0": "LABEL_0"}, "pad_token_id": 7} | more


SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
)


@pytest.mark.parametrize("value", [0, -1, 10**12, 10**400, 1.5, True, "4", [4], {"a": 4}])
@pytest.mark.parametrize("key", [*SIZES, "sliding_window"])
def test_sizes_out_of_range(key, value):
    with pytest.raises(InputError, match=rf"config\.json: {key}: expected "):
        read_config(LLAMA_32_1B | {key: value}, dtype="float32")


LLAMA3 = LLAMA_32_1B["rope_scaling"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rope_theta": 0}, r"rope_theta: expected more than 1\.0, got 0"),
        ({"rope_theta": -10_000.0}, "rope_theta: expected more than"),
        ({"rope_theta": 1e300}, "rope_theta: expected at most"),
        ({"rope_theta": float("nan")}, "rope_theta: expected a finite number"),
        ({"rope_theta": float("inf")}, "rope_theta: expected "),
        ({"rope_theta": "10000"}, "rope_theta: expected a number, got '10000'"),
        ({"rope_theta": True}, "rope_theta: expected a number, got True"),
        (
            {"rope_parameters": {"rope_type": "default", "rope_theta": 0.5}},
            "rope_theta: expected more",
        ),
        ({"rope_parameters": {"rope_type": 3}}, "rope_parameters: rope_type: expected a string, got 3"),
        ({"rope_parameters": [1]}, r"rope_parameters: expected an object, got \[1\]"),
        ({"rope_scaling": LLAMA3 | {"factor": 0.5}}, r"rope_scaling: factor: expected at least 1\.0"),
        ({"rope_scaling": LLAMA3 | {"factor": 1e30}}, "rope_scaling: factor: expected at most"),
        ({"rope_scaling": LLAMA3 | {"high_freq_factor": 1.0}}, r"high_freq_factor: expected more than low_freq_factor"),
        ({"rope_scaling": LLAMA3 | {"original_max_position_embeddings": 0}}, "original_max_position_embeddings"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor: expected "),
        ({"rms_norm_eps": 0.0}, "rms_norm_eps: expected at least 1e-12, got 0.0"),
        ({"rms_norm_eps": -1e-6}, "rms_norm_eps: expected at least"),
        ({"rms_norm_eps": 3.0}, r"rms_norm_eps: expected at most 0\.01, got 3\.0"),
        ({"rms_norm_eps": 10**400}, "rms_norm_eps: expected a finite number"),
        ({"num_attention_heads": 30}, "num_key_value_heads: expected a divisor of num_attention_heads .30., got 8"),
        ({"num_attention_heads": 24, "head_dim": None}, "hidden_size: expected a multiple of num_attention_heads"),
        ({"head_dim": 63}, "head_dim: expected an even number, got 63"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings: expected true or false, got 'yes'"),
        ({"architectures": 5}, "architectures: expected a list, got 5"),
        ({"architectures": []}, r"architectures: \[\] is not supported"),
        ({"architectures": [None]}, r"architectures\.0: expected a string"),
        ({"num_hidden_layers": None}, "num_hidden_layers: expected an integer, got None"),
    ],
)
def test_values_out_of_range(change, message):
    with pytest.raises(InputError, match=rf"config\.json: .*{message}"):
        read_config(LLAMA_32_1B | change, dtype="float32")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id2label": {"1": "LABEL_1"}}, 'id2label: expected the keys "0" to "0", got 1'),
        ({"id2label": {"0": "a", "2": "b"}}, 'id2label: expected the keys "0" to "1"'),
        ({"id2label": {"0": 3}}, r"id2label\.0: expected a string"),
        ({"id2label": ["a"]}, "id2label: expected an object"),
        ({"label2id": {"LABEL_0": 5}}, "label2id: expected the ids of id2label, 0 to 0"),
        ({"num_labels": 3}, "num_labels: expected the 1 of id2label, got 3"),
        ({"id2label": None, "num_labels": 0}, "num_labels: expected at least 1"),
        ({"pad_token_id": -1}, r"pad_token_id: expected an id below vocab_size \(128256\) or null, got -1"),
        ({"pad_token_id": 128256}, "pad_token_id: expected an id below vocab_size"),
        ({"pad_token_id": [1]}, "pad_token_id: expected an integer"),
        ({"traceward": {"read": {"class": "LastToken", "label": 99}}}, "the head has 1 label, which is 0; got 99"),
        ({"traceward": {"read": {"class": "os.system"}}}, "traceward.read: unknown class 'os.system'"),
        ({"traceward": {"read": 5}}, "traceward.read: expected an object, got 5"),
        ({"traceward": {"information": "telepathy"}}, "traceward.information: expected 'demonstrations'"),
        ({"traceward": {"reads": {}}}, "traceward.reads: unknown field"),
    ],
)
def test_heads_out_of_range(change, message):
    with pytest.raises(InputError, match=rf"config\.json: .*{message}"):
        read_config(classifier(LLAMA_32_1B, **change), dtype="float32")


@pytest.mark.parametrize(
    ("names", "label", "message"),
    [
        ({"0": "a"}, 99, "label: the head has 1 label, which is 0; got 99"),
        ({"0": "a"}, 1, "label: the head has 1 label, which is 0; got 1"),
        ({"0": "a"}, -1, "label: the head has 1 label, which is 0; got -1"),
        ({"0": "a", "1": "b", "2": "c"}, 3, "label: the head has 3 labels, 0 to 2; got 3"),
    ],
)
@pytest.mark.parametrize("task", ["ForSequenceClassification", "ForTokenClassification"])
def test_labels_that_a_head_does_not_have(names, label, message, task):
    config = classifier(LLAMA_32_1B, task, id2label=names)
    with pytest.raises(InputError, match=message):
        read_config(config, dtype="float32", label=label)


def test_a_label_of_a_language_model():
    with pytest.raises(InputError, match="label: a language model has none; leave it out, got 0"):
        read_config(LLAMA_32_1B, dtype="float32", label=0)


def test_names_of_labels_may_differ():
    """Many published classifiers name their labels in one of the two mappings only."""
    config = classifier(
        LLAMA_32_1B,
        "ForTokenClassification",
        id2label={"0": "bad", "1": "good"},
        label2id={"LABEL_0": 0, "LABEL_1": 1},
    )
    assert read_config(config, dtype="float32").read == StepEnds(label=1)


def test_layer_types_of_another_depth():
    window = {"use_sliding_window": True, "sliding_window": 4096, "layer_types": ["sliding_attention"] * 3}
    with pytest.raises(InputError, match="layer_types: expected one for each of 28 layers, got 3"):
        read_config(QWEN3_06B | window, dtype="float32")
