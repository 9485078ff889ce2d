"""Shapes of published language models, and the peak rate of the devices that run them."""

from dataclasses import replace

from reward_models.networks.decoder import DecoderConfig, RopeScaling

QWEN3_0_6B = DecoderConfig(
    vocab_size=151_936,
    num_layers=28,
    dim=1024,
    num_heads=16,
    num_kv_heads=8,
    head_dim=128,
    hidden_dim=3072,
    rope_theta=1e6,
    qk_norm=True,
)
MODELS = {
    # config.json of Qwen/Qwen3-0.6B, Qwen/Qwen3-1.7B and meta-llama/Llama-3.2-1B
    "qwen3-0.6b": QWEN3_0_6B,
    "qwen3-1.7b": replace(QWEN3_0_6B, dim=2048, hidden_dim=6144),
    "llama-1b": DecoderConfig(
        vocab_size=128_256,
        num_layers=16,
        dim=2048,
        num_heads=32,
        num_kv_heads=8,
        head_dim=64,
        hidden_dim=8192,
        rope_theta=5e5,
        norm_eps=1e-5,
        rope_scaling=RopeScaling(factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0, original_length=8192),
    ),
    "tiny": DecoderConfig(
        vocab_size=512, num_layers=2, dim=64, num_heads=4, num_kv_heads=2, head_dim=16, hidden_dim=192
    ),
}

# Dense bfloat16 FLOP/s of a device as JAX counts them, by the start of its device_kind; the longest start that fits.
# NVIDIA: data sheets of A100, H100 (with sparsity twice as much) and H200. TPU: cloud.google.com/tpu/docs, per chip.
PEAK = {
    "NVIDIA A100": 312e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100 NVL": 835e12,
    "NVIDIA H200": 989e12,
    "TPU v4": 275e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
}


def peak_flops(device_kind: str) -> float | None:
    """Dense bfloat16 FLOP/s of a device, None for one that is not in the table."""
    known = [start for start in PEAK if device_kind.startswith(start)]
    return PEAK[max(known, key=len)] if known else None
