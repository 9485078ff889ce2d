"""Pairs and a language model for runs of reward models of text."""

import json
from dataclasses import replace

import jax

from irl.text.tokenize import END, PAD, prose_tokenizer
from reward_models.folders.hugging_face import save_hugging_face
from reward_models.networks.decoder import DecoderConfig

TINY = DecoderConfig(vocab_size=320, num_layers=1, dim=16, num_heads=2, num_kv_heads=1, head_dim=8, hidden_dim=32)
TOKENIZER = prose_tokenizer(["Name 1: one 1, the other 4."], 300)
DECODER = replace(TINY, vocab_size=TOKENIZER.get_vocab_size(), context_length=128, tie_embeddings=False)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def comparisons(count):
    """Every third one is a tie."""
    votes = ([1, 1, 1], [2, 2, 1], [0, 0, 0])
    return [
        {"instruction": f"Name {n}", "input": "", "response1": f"one {n}", "response2": f"the other {n * n}"}
        | {"idx": n, **{f"annotator{i + 1}": vote for i, vote in enumerate(votes[n % 3])}}
        for n in range(count)
    ]


def save_base(folder, network=DECODER):
    """A random model with its tokenizer, without a chat template, as it is downloaded."""
    vocabulary = TOKENIZER.get_vocab()
    save_hugging_face(
        folder,
        network=network,
        params=network.make().init(jax.random.key(0)),
        pad_token=vocabulary[PAD],
        eos_token=vocabulary[END],
        files={"tokenizer.json": TOKENIZER.to_str()},
    )
    return folder
