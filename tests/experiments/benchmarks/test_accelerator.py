"""The benchmark of accelerators, run on the CPU; its arithmetic against numbers worked out by hand."""

import sys

import jax
import numpy as np
import pytest

from experiments.benchmarks import accelerator
from experiments.benchmarks.accelerator import (
    Options,
    policy_flops,
    policy_parameters,
    random_pairs,
    reward_flops,
    reward_parameters,
)
from experiments.benchmarks.shapes import MODELS, peak_flops
from irl.types import InputError


def test_a_table_of_the_cpu(monkeypatch, capsys):
    arguments = "accelerator --model tiny --batch 4 --length 16 --steps 1 --fsdp 2 --tensor 2"
    arguments += " --prompts 2 --samples 3 --prompt-tokens 5 --new-tokens 7"
    monkeypatch.setattr(sys, "argv", arguments.split())
    accelerator.main()
    title, _, head, _, *lines = capsys.readouterr().out.splitlines()
    assert title.startswith("4 x cpu, jax ")
    assert "mesh data 1, fsdp 2, tensor 2; tiny: 0.1M parameters" in title
    columns = [name.strip() for name in head.split("|")[1:-1]]
    works = {"sampling": (42, 6), "scoring": (64, 8), "reward training": (64, 8), "GRPO": (64, 4)}
    for (name, (tokens, sequences)), line in zip(works.items(), lines, strict=True):
        cells = dict(zip(columns, (cell.strip() for cell in line.split("|")[1:-1]), strict=True))
        assert cells[""] == name
        assert cells["utilisation"] == "-", "a CPU has no peak in the table"
        seconds, speed, rate = (float(cells[c].replace(",", "")) for c in ("s/step", "tokens/s", "sequences/s"))
        assert speed == pytest.approx(tokens / seconds, rel=0.05)
        assert rate == pytest.approx(sequences / seconds, rel=0.05)
        assert float(cells["compile s"]) > 0


def test_parameters_and_flops_by_hand():
    """Llama-3.2-1B: 1,235,814,400 parameters with its tied embedding, here with a scalar head."""
    everything, multiplied = reward_parameters("llama-1b")
    assert everything == 1_235_814_400 + 2048
    assert multiplied == everything - 128_256 * 2048
    assert reward_flops("llama-1b", 512) == 2 * multiplied + 4 * 16 * 2048 * 512
    assert policy_flops("llama-1b", 512) == 2 * 1_235_814_400 + 4 * 16 * 2048 * 512


@pytest.mark.parametrize(("model", "millions"), [("qwen3-0.6b", 596.0), ("qwen3-1.7b", 1720.6)])
def test_shapes_have_the_published_sizes(model, millions):
    """As the model cards say, in all: 0.6B and 1.7B."""
    assert policy_parameters(model) / 1e6 == pytest.approx(millions, abs=0.1)
    assert MODELS[model].qk_norm


@pytest.mark.parametrize(
    ("kind", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("TPU v5 lite", 197e12),
        ("TPU v5", 459e12),
        ("TPU v6 lite", 918e12),
        ("cpu", None),
    ],
)
def test_peak(kind, peak):
    assert peak_flops(kind) == peak


def test_rows_are_full_and_every_sequence_is_in_one_pair():
    batch = random_pairs(Options(batch=3, length=12, sequences=4), 50)
    assert (batch.traces.segment[0] == np.repeat([1, 2, 3, 4], 3)).all()
    assert (batch.traces.position[2] == [0, 1, 2] * 4).all()
    assert sorted([*batch.chosen, *batch.rejected]) == list(range(12))
    assert jax.tree.all(jax.tree.map(lambda leaf: leaf.dtype in (np.int32, np.float32, bool), batch))


@pytest.mark.parametrize("sequences", [1, 3, 5])
def test_sequences_that_cannot_be_paired_are_refused(sequences):
    with pytest.raises(InputError, match=f"even number that divides length=2048: {sequences}"):
        Options(sequences=sequences)
