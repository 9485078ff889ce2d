"""The same numbers as transformers, read from its folders and written for it: every family and head, tiny and random.

Needs torch and transformers, and is skipped without them.
"""

import dataclasses
import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reward_models.folders.hugging_face import load_hugging_face, save_hugging_face
from reward_models.networks.decoder import DecoderConfig
from reward_models.types import TraceBatch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    safetensors_torch = pytest.importorskip("safetensors.torch")

pytestmark = pytest.mark.filterwarnings("ignore")

TOLERANCE = 1e-4
VOCAB, PAD, EOS, WIDTH, STEPS = 23, 0, 2, 12, 3
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 100.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 40,
}
FAMILIES = {
    "Llama": {"rope_parameters": LLAMA3, "rms_norm_eps": 1e-3},
    "Mistral": {"sliding_window": 4},
    "Qwen2": {"rope_parameters": {"rope_type": "default", "rope_theta": 1000.0}},
    "Qwen3": {"head_dim": 8, "use_sliding_window": False},
}
TASKS = ("CausalLM", "SequenceClassification", "TokenClassification")
FULL = [5, 3, 4, 1, 5, 9, 6, 6, 5, 3, 5, EOS]
SHORT = [7, 4, 1, 8, 6, 8, EOS]


def hf_config(family, **changes):
    shape = {
        "vocab_size": VOCAB,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "pad_token_id": PAD,
        "eos_token_id": EOS,
        "bos_token_id": 1,
        "tie_word_embeddings": family == "Qwen3",
    }
    return getattr(transformers, f"{family}Config")(**(shape | FAMILIES[family] | changes))


def randomise(model):
    """Weights at which every part of the network matters."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.normal_(0, 0.3, generator=generator)
            if name.endswith("norm.weight"):
                weight += 1
    return model.eval()


def rows(pad=PAD):
    """(ids, attention mask): no padding, padding on the right, padding on the left."""
    gap = [pad] * (WIDTH - len(SHORT))
    seen, hidden = [1] * len(SHORT), [0] * len(gap)
    return np.array([FULL, SHORT + gap, gap + SHORT]), np.array([[1] * WIDTH, seen + hidden, hidden + seen])


def traces(ids, mask):
    """Our batch of the same rows: a prompt of one token, then steps of two tokens and the rest."""
    position = np.maximum(np.cumsum(mask, axis=1) - 1, 0)
    step = np.where(mask & (position > 0), np.minimum((position - 1) // 2, STEPS - 1), -1)
    there = np.ones((len(ids), STEPS), bool)
    batch = TraceBatch(ids, mask, position * mask, step, there, np.arange(len(ids)))
    return jax.tree.map(jnp.asarray, batch)


def their_logits(model, ids, mask):
    with torch.no_grad():
        return model(torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)).logits.numpy()


def assert_same_scores(model, theirs, batch):
    """Our scores against logits of theirs at the same places."""
    network, there = model.network, batch.segment > 0
    if isinstance(network, DecoderConfig):

        @jax.jit
        def ours(params):
            decoder = network.make().bind(params)
            return decoder.logits(decoder.hidden(batch))

        np.testing.assert_allclose(ours(model.params)[there], theirs[there], atol=TOLERANCE)
        return
    scores = jax.jit(network.make().apply)(model.params, batch)
    if theirs.ndim == 2:
        np.testing.assert_allclose(scores.trace, theirs[:, 0], atol=TOLERANCE)
        assert np.ptp(theirs) > 0.02
        return
    probability = np.exp(theirs[..., 1] - np.logaddexp.reduce(theirs, axis=-1))
    for i, step_id in enumerate(batch.step_id):
        ends = [np.flatnonzero(step_id == step)[-1] for step in range(STEPS)]
        np.testing.assert_allclose(np.exp(scores.step[i]), probability[i, ends], atol=TOLERANCE)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("family", FAMILIES)
def test_read_and_written_with_the_same_scores(family, task, tmp_path):
    labels = 1 if task == "SequenceClassification" else 2
    theirs = randomise(getattr(transformers, f"{family}For{task}")(hf_config(family, num_labels=labels)))
    theirs.save_pretrained(tmp_path / "theirs")
    model = load_hugging_face(tmp_path / "theirs")
    ids, mask = rows()
    expected = their_logits(theirs, ids, mask)
    assert_same_scores(model, expected, traces(ids, mask))

    save_hugging_face(
        tmp_path / "ours", network=model.network, params=model.params, pad_token=PAD, eos_token=EOS, shard_bytes=4000
    )
    auto = getattr(transformers, f"AutoModelFor{task}")
    again, report = auto.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report.values())
    assert type(again) is type(theirs)
    kept = mask > 0 if expected.ndim == 3 else slice(None)
    np.testing.assert_allclose(their_logits(again.eval(), ids, mask)[kept], expected[kept], atol=1e-6)


def test_padding_with_the_end_token(tmp_path):
    """Where pad == eos, transformers reads one token before the end; so do we, and not at the end."""
    theirs = randomise(transformers.Qwen2ForSequenceClassification(hf_config("Qwen2", num_labels=1, pad_token_id=EOS)))
    theirs.save_pretrained(tmp_path / "theirs")
    model = load_hugging_face(tmp_path / "theirs")
    ids, mask = rows(EOS)
    assert_same_scores(model, their_logits(theirs, ids, mask), traces(ids, mask))
    at_end = dataclasses.replace(model.network, read=dataclasses.replace(model.network.read, skip=None))
    scores = at_end.make().apply(model.params, traces(ids, mask)).trace
    assert np.abs(scores - their_logits(theirs, ids, mask)[:, 0]).max() > 0.1


@pytest.mark.parametrize("labels", [1, 2])
def test_two_layer_heads(labels, tmp_path):
    """Qwen2.5-Math's RM and PRM: their trunk with a head put together here, as their code does."""
    trunk = randomise(transformers.Qwen2Model(hf_config("Qwen2")))
    layers = torch.nn.Linear(16, 16), torch.nn.ReLU(), torch.nn.Linear(16, labels)
    head = randomise(torch.nn.Sequential(*layers))
    tensors = {f"model.{name}": weight for name, weight in trunk.state_dict().items()}
    tensors |= {f"score.{name}": weight for name, weight in head.state_dict().items()}
    safetensors_torch.save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    name = "Qwen2ForRewardModel" if labels == 1 else "Qwen2ForProcessRewardModel"
    config = trunk.config.to_dict() | {"architectures": [name], "auto_map": {"AutoModel": f"modeling.{name}"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    ids, mask = rows()
    with torch.no_grad():
        hidden = trunk(torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)).last_hidden_state
        logits = head(hidden).numpy()
    last = [np.flatnonzero(row)[-1] for row in mask]
    expected = logits[np.arange(3), last] if labels == 1 else logits
    assert_same_scores(load_hugging_face(tmp_path), expected, traces(ids, mask))


def test_a_sliding_window_of_every_layer_and_a_cast_head(tmp_path):
    """Qwen3 with windows in all layers; bfloat16 on disk with the head in float32."""
    config = hf_config("Qwen3", num_labels=1, use_sliding_window=True, sliding_window=3, max_window_layers=0)
    theirs = randomise(transformers.Qwen3ForSequenceClassification(config)).to(torch.bfloat16)
    theirs.score.to(torch.float32)
    theirs.save_pretrained(tmp_path / "theirs")
    theirs = type(theirs).from_pretrained(tmp_path / "theirs", dtype=torch.float32).eval()
    model = load_hugging_face(tmp_path / "theirs")
    assert model.network.decoder.sliding_window == 3
    ids, mask = rows()
    assert_same_scores(model, their_logits(theirs, ids, mask), traces(ids, mask))
