"""config.json of a Hugging Face model folder <-> our network configs. No code of the folder is run.

Keys of transformers 4 (`torch_dtype`, `rope_theta` with `rope_scaling`) and of transformers 5 (`dtype`,
`rope_parameters`) are read; both are written. What a decoder of ours cannot compute is refused by name, never
approximated. Absent keys have the value that transformers gives them. Two traps of the format:

1. The number of labels is not stored: it is the length of `id2label`, and 2 when that is absent.
2. A scalar head needs `problem_type: regression`, or vLLM passes the score through a sigmoid.
"""

from collections.abc import Mapping
from typing import Any

from reward_models import config_json
from reward_models.folders.hugging_face_record import HuggingFaceConfig, Llama3Rope, Origin, Ours, Rope
from reward_models.networks.decoder import DecoderConfig, RopeScaling
from reward_models.networks.heads import (
    HeadedDecoderConfig,
    LastToken,
    LinearHead,
    MLPHead,
    PrefixValue,
    StepEnds,
    check_label,
)
from reward_models.records import InputError, as_part
from reward_models.types import Information

HuggingFaceNetwork = DecoderConfig | HeadedDecoderConfig

FAMILIES = ("Llama", "Mistral", "Qwen2", "Qwen3")
TASKS = ("ForCausalLM", "ForSequenceClassification", "ForTokenClassification")
QWEN_MLP = ("Qwen2ForRewardModel", "Qwen2ForProcessRewardModel")
"""Published with code of their own; known here by their tensors."""
SUPPORTED = (*(family + task for family in FAMILIES for task in TASKS), *QWEN_MLP)

_READINGS: dict[str, type] = {c.__name__: c for c in (LastToken, StepEnds, PrefixValue)}
_OURS = "traceward"
"""Key under which the reading and the information level travel; others ignore it."""
_ABSENT: dict[str, dict[str, Any]] = {
    "Llama": {},
    "Mistral": {"num_key_value_heads": 8, "sliding_window": 4096},
    "Qwen2": {"num_key_value_heads": 32, "sliding_window": 4096, "max_window_layers": 28},
    "Qwen3": {"num_key_value_heads": 32, "head_dim": 128, "sliding_window": 4096, "max_window_layers": 28},
}


def read_config(
    config: Mapping[str, Any],
    *,
    dtype: str,
    label: int | None = None,
    information: Information | None = None,
    where: str = "config.json",
) -> HuggingFaceNetwork:
    """The network that a config.json describes, computing in `dtype`. InputError names `where` and the key."""
    architecture = architecture_of(config, where)
    family, _ = architecture.split("For")
    fields = as_part(HuggingFaceConfig, _ABSENT[family] | dict(config), where)
    try:
        return _network(fields, architecture, dtype, label, information)
    except (ValueError, InputError) as error:
        raise InputError(f"{where}: {error}") from error


def architecture_of(config: Any, where: str) -> str:
    """The class of transformers that a config.json names. InputError for one that is not supported."""
    origin = as_part(Origin, config, where)
    name = origin.architectures[0] if origin.architectures else None
    supported = f"supported: {', '.join(SUPPORTED)}"
    if origin.auto_map and name not in QWEN_MLP:
        needs = f"{name} needs code from its folder (auto_map: {origin.auto_map})"
        raise InputError(f"{where}: {needs}, which is never run; {supported}")
    if name not in SUPPORTED:
        raise InputError(f"{where}: architectures: {origin.architectures!r} is not supported; {supported}")
    if origin.quantization_config:
        advice = "quantised weights are not read; take the float weights of this model"
        raise InputError(f"{where}: quantization_config: {advice}")
    return name


def _network(
    config: HuggingFaceConfig, architecture: str, dtype: str, label: int | None, information: Information | None
) -> HuggingFaceNetwork:
    family, task = architecture.split("For")
    causal = task == "CausalLM"
    decoder = _decoder(config, family, tied=bool(config.tie_word_embeddings) or not causal, dtype=dtype)
    if causal:
        if label is not None:
            raise ValueError(f"label: a language model has none; leave it out, got {label}")
        return decoder
    ours = config.traceward or Ours()
    read = None if ours.read is None else config_json.decode(ours.read, _READINGS, f"{_OURS}.read")
    pad = _pad_token(config)
    head: LinearHead | MLPHead
    default: LastToken | StepEnds
    level: Information
    match task:
        case "SequenceClassification" | "RewardModel":
            head = MLPHead() if task == "RewardModel" else LinearHead(labels=_count_labels(config))
            default, level = LastToken(label=_choose(config, head.labels, label, sure=1), skip=pad), "preferences"
        case _:
            head = (
                MLPHead(labels=2) if architecture in QWEN_MLP else LinearHead(labels=_count_labels(config), bias=True)
            )
            default, level = StepEnds(label=_choose(config, head.labels, label, sure=2)), "step labels"
    read = default if read is None or label is not None else read
    level = information or ours.information or level
    return HeadedDecoderConfig(decoder=decoder, head=head, read=read, information=level)


def write_config(
    network: HuggingFaceNetwork, *, pad_token: int, eos_token: int | None, bos_token: int | None, dtype: str
) -> dict[str, Any]:
    """The config.json of a network. ValueError for what no transformers class can compute."""
    decoder = network if isinstance(network, DecoderConfig) else network.decoder
    family = _family(decoder)
    config = {
        "model_type": family.lower(),
        "vocab_size": decoder.vocab_size,
        "hidden_size": decoder.dim,
        "intermediate_size": decoder.hidden_dim,
        "num_hidden_layers": decoder.num_layers,
        "num_attention_heads": decoder.num_heads,
        "num_key_value_heads": decoder.num_kv_heads,
        "head_dim": decoder.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": decoder.norm_eps,
        "tie_word_embeddings": decoder.tie_embeddings,
        "dtype": dtype,
        "torch_dtype": dtype,
        "pad_token_id": pad_token,
        "eos_token_id": eos_token,
        "bos_token_id": bos_token,
    }
    if decoder.context_length is not None:
        config["max_position_embeddings"] = decoder.context_length
    config |= _write_rope(decoder) | _write_window(decoder, family)
    if isinstance(network, DecoderConfig):
        return {"architectures": [f"{family}ForCausalLM"], **config}
    return {"architectures": [family + _task(network, family)], **config, **_write_head(network)}


def _pad_token(config: HuggingFaceConfig) -> int | None:
    if config.pad_token_id is not None and not 0 <= config.pad_token_id < config.vocab_size:
        ids = f"an id below vocab_size ({config.vocab_size}) or null"
        raise ValueError(f"pad_token_id: expected {ids}, got {config.pad_token_id}")
    return config.pad_token_id


def _decoder(config: HuggingFaceConfig, family: str, *, tied: bool, dtype: Any) -> DecoderConfig:
    if config.attention_bias and family != "Qwen2":
        raise ValueError("attention_bias: true is not supported, only false (Qwen2 has its biases without this key)")
    heads = config.num_attention_heads
    key_heads = heads if config.num_key_value_heads is None else config.num_key_value_heads
    if heads % key_heads:
        raise ValueError(f"num_key_value_heads: expected a divisor of num_attention_heads ({heads}), got {key_heads}")
    theta, scaling = _rope(config)
    return DecoderConfig(
        vocab_size=config.vocab_size,
        num_layers=config.num_hidden_layers,
        dim=config.hidden_size,
        num_heads=heads,
        num_kv_heads=key_heads,
        head_dim=config.head_dim or config.hidden_size // heads,
        hidden_dim=config.intermediate_size,
        rope_theta=theta,
        norm_eps=config.rms_norm_eps,
        qk_norm=family == "Qwen3",
        attention_bias=family == "Qwen2",
        tie_embeddings=tied,
        dtype=dtype,
        rope_scaling=scaling,
        sliding_window=_window(config, family),
        context_length=config.max_position_embeddings,
    )


def _rope(config: HuggingFaceConfig) -> tuple[float, RopeScaling | None]:
    """(theta, scaling) of either generation of keys."""
    key = "rope_parameters" if config.rope_parameters else "rope_scaling"
    given = config.rope_parameters or config.rope_scaling or {}
    rope = as_part(Rope, given, key)
    theta = config.rope_theta if rope.rope_theta is None else rope.rope_theta
    kind = rope.rope_type or rope.type or "default"
    if kind not in ("default", "llama3"):
        raise ValueError(f"rotary embeddings {given} are not supported, only 'default' and 'llama3'")
    if kind == "default":
        return theta, None
    stretched = as_part(Llama3Rope, given, key)
    return theta, RopeScaling(
        factor=stretched.factor,
        low_freq_factor=stretched.low_freq_factor,
        high_freq_factor=stretched.high_freq_factor,
        original_length=stretched.original_max_position_embeddings,
    )


def _write_rope(decoder: DecoderConfig) -> dict[str, Any]:
    scaling = None
    if decoder.rope_scaling is not None:
        scaling = {
            "rope_type": "llama3",
            "factor": decoder.rope_scaling.factor,
            "low_freq_factor": decoder.rope_scaling.low_freq_factor,
            "high_freq_factor": decoder.rope_scaling.high_freq_factor,
            "original_max_position_embeddings": decoder.rope_scaling.original_length,
        }
    parameters = {"rope_type": "default"} if scaling is None else scaling
    theta = {"rope_theta": decoder.rope_theta}
    return {**theta, "rope_scaling": scaling, "rope_parameters": {**theta, **parameters}}


def _window(config: HuggingFaceConfig, family: str) -> int | None:
    """The sliding window that every layer has; models that mix windowed and full layers are refused."""
    window = config.sliding_window
    if family == "Llama" or window is None:
        return None
    if family == "Mistral":
        return window
    layers = full = config.num_hidden_layers
    if config.use_sliding_window and config.layer_types:
        if len(config.layer_types) != layers:
            raise ValueError(f"layer_types: expected one for each of {layers} layers, got {len(config.layer_types)}")
        full = config.layer_types.count("full_attention")
    elif config.use_sliding_window:
        full = min(config.max_window_layers or 0, layers)
    if 0 < full < layers:
        raise ValueError(f"sliding_window: {layers - full} of {layers} layers have one; only all or none is supported")
    return window if full == 0 else None


def _write_window(decoder: DecoderConfig, family: str) -> dict[str, Any]:
    if family == "Mistral" or decoder.sliding_window is None:
        return {"sliding_window": decoder.sliding_window}
    layers = ["sliding_attention"] * decoder.num_layers
    window = {"use_sliding_window": True, "sliding_window": decoder.sliding_window}
    return {**window, "max_window_layers": 0, "layer_types": layers}


def _family(decoder: DecoderConfig) -> str:
    if decoder.qk_norm and decoder.attention_bias:
        raise ValueError("qk_norm and attention_bias: no supported family has both (Qwen3 has norms, Qwen2 biases)")
    if decoder.qk_norm:
        return "Qwen3"
    if decoder.attention_bias:
        return "Qwen2"
    return "Llama" if decoder.sliding_window is None else "Mistral"


def _task(network: HeadedDecoderConfig, family: str) -> str:
    match network.head, network.read:
        case LinearHead(bias=False), LastToken():
            return "ForSequenceClassification"
        case LinearHead(bias=True), StepEnds():
            return "ForTokenClassification"
        case MLPHead(labels=1), LastToken() if family == "Qwen2":
            return "ForRewardModel"
        case MLPHead(labels=2), StepEnds() if family == "Qwen2":
            return "ForProcessRewardModel"
    raise ValueError(
        f"no transformers class has {network.head} read by {network.read} on {family}; it has LinearHead(bias=False) "
        "with LastToken, LinearHead(bias=True) with StepEnds and, on Qwen2, MLPHead with either"
    )


def _write_head(network: HeadedDecoderConfig) -> dict[str, Any]:
    names = [f"LABEL_{i}" for i in range(network.head.labels)]
    ours = {"read": config_json.encode(network.read, "read"), "information": network.information}
    head = {"id2label": {str(i): name for i, name in enumerate(names)}, "label2id": {n: i for i, n in enumerate(names)}}
    scalar = isinstance(network.read, LastToken) and network.head.labels == 1
    return {**head, **({"problem_type": "regression"} if scalar else {}), _OURS: ours}


def _count_labels(config: HuggingFaceConfig) -> int:
    return len(config.id2label) if config.id2label else config.num_labels or 2


def _choose(config: HuggingFaceConfig, labels: int, label: int | None, *, sure: int) -> int:
    """The label that is the score: the last of at most `sure`; with more of them somebody has to say."""
    if label is None and labels > sure:
        names = config.id2label or f"{labels} labels, since there is no id2label"
        raise ValueError(f"id2label: {names}; name the one that is the score: --label 0 to {labels - 1}")
    if label is None:
        return labels - 1
    check_label(label, labels)
    return label
