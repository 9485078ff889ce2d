"""The keys of a Hugging Face config.json that decide scores, as a typed record; all other keys are left unread."""

from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from reward_models.networks.base import Layers, Length, Vocabulary, Width
from reward_models.networks.decoder import NormEps, RopeTheta
from reward_models.records import record
from reward_models.types import Information

One = Annotated[float, Ge(1.0), Le(1.0)]
Scale = Annotated[float, Gt(0.0), Le(1e6)]


@record
class Origin:
    """What a folder is, before its family is known."""

    architectures: list[str] | None = None
    auto_map: Any = None
    quantization_config: Any = None


@record
class Ours:
    """What `save_hugging_face` adds to the format."""

    read: dict[str, Any] | None = None
    information: Information | None = None


@record
class HuggingFaceConfig:
    """Sizes and settings by the names of transformers. What a decoder of ours cannot compute has one value."""

    vocab_size: Vocabulary
    hidden_size: Width
    intermediate_size: Width
    num_hidden_layers: Layers
    num_attention_heads: Width
    num_key_value_heads: Width | None = None
    head_dim: Width | None = None
    max_position_embeddings: Length | None = None
    rms_norm_eps: NormEps = 1e-6
    rope_theta: RopeTheta = 10_000.0
    rope_parameters: dict[str, Any] | None = None
    rope_scaling: dict[str, Any] | None = None
    partial_rotary_factor: One = 1.0
    hidden_act: Literal["silu"] = "silu"
    mlp_bias: Literal[False] | None = None
    attention_bias: bool | None = None
    tie_word_embeddings: bool | None = None
    sliding_window: Length | None = None
    use_sliding_window: bool | None = None
    max_window_layers: Annotated[int, Ge(0)] | None = None
    layer_types: list[str] | None = None
    id2label: dict[str, str] | None = None
    label2id: dict[str, int] | None = None
    num_labels: Width | None = None
    pad_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    bos_token_id: int | list[int] | None = None
    traceward: Ours | None = None

    def __post_init__(self):
        if self.head_dim is None and self.hidden_size % self.num_attention_heads:
            expected = f"a multiple of num_attention_heads ({self.num_attention_heads})"
            raise ValueError(f"hidden_size: expected {expected}, got {self.hidden_size}; or head_dim")
        labels = self.id2label
        if labels and sorted(labels) != sorted(map(str, range(len(labels)))):
            raise ValueError(f'id2label: expected the keys "0" to "{len(labels) - 1}", got {", ".join(sorted(labels))}')
        if labels and self.num_labels not in (None, len(labels)):
            raise ValueError(f"num_labels: expected the {len(labels)} of id2label, got {self.num_labels}")
        if labels and self.label2id and set(self.label2id.values()) != set(range(len(labels))):
            raise ValueError(f"label2id: expected the ids of id2label, 0 to {len(labels) - 1}, got {self.label2id}")


@record
class Rope:
    """`rope_parameters` or `rope_scaling`, whatever their kind."""

    rope_type: str | None = None
    type: str | None = None
    rope_theta: RopeTheta | None = None
    partial_rotary_factor: One = 1.0


@record
class Llama3Rope:
    """The same of the kind `llama3`."""

    factor: Annotated[float, Ge(1.0), Le(1e6)]
    low_freq_factor: Scale
    high_freq_factor: Scale
    original_max_position_embeddings: Length
