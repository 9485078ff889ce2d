"""The benchmark against TRL: our side, what the other side is given, and the table."""

import json
import sys

import jax
import numpy as np
import pytest

from experiments.benchmarks.reward_training import (
    Options,
    Ours,
    Run,
    check_peer,
    main,
    read_pairs,
    table,
    useful_tokens,
    write_folder,
)
from irl.text.encode import Encoder
from irl.types import InputError
from reward_models.folders.hugging_face import load_hugging_face

WORDS = "the a cat dog sat ran on under near mat log it was not very happy today".split()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """24 pairs of 3 to 30 words, the last of them too long."""
    rng = np.random.default_rng(0)

    def text(most):
        return " ".join(rng.choice(WORDS, size=rng.integers(1, most)))

    rows = [{"prompt": text(12), "chosen": f"{text(9)} a", "rejected": f"{text(9)} b"} for _ in range(23)]
    rows.append({"prompt": text(5), "chosen": "cat " * 100, "rejected": "dog"})
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def tiny(pairs, **changes):
    shape = {"dim": 16, "layers": 1, "heads": 2, "kv_heads": 1, "vocab": 300, "max_length": 64, "row": 64}
    run = {"pairs_per_update": 8, "micro_batch": 4, "warmup": 1, "updates": 3, "repeats": 1, "compared": 5}
    return Options(pairs=pairs, **{**shape, **run, **changes})


@pytest.fixture(scope="module")
def ours(pairs):
    options = tiny(pairs)
    data = read_pairs(options)
    return options, data, Ours(options, data)


def test_updates_hold_as_many_pairs_and_every_token_counts_once_an_epoch(ours):
    options, data, side = ours
    assert len(data.chosen) == 23 and data.left_out == 1
    source = side.source(side.rows)
    useful = [useful_tokens(source.next()) for _ in range(source.batches_per_epoch())]
    assert sum(useful) == sum(len(row.tokens) for row in (*data.chosen, *data.rejected))
    assert side.pairs_per_update(side.rows) >= options.pairs_per_update - 0.5 > side.pairs_per_update(side.rows - 1)


def test_our_side_is_timed_without_the_first_updates(ours):
    options, _, side = ours
    run = side.run()
    assert run.seconds > 0 and run.computed == options.updates * side.rows * options.row
    source = side.source(side.rows)
    assert run.useful == sum([useful_tokens(source.next()) for _ in range(4)][1:])


def test_rewards_are_those_of_padded_sequences(ours):
    options, data, side = ours
    encoder = Encoder(data.tokenizer, options.max_length, 1)
    score = jax.jit(side.config.make().apply)
    sides = (encoder.batch(rows[:5], [0] * 5) for rows in (data.chosen, data.rejected))
    padded = [score(side.params, traces).trace for traces in sides]
    np.testing.assert_allclose(side.first_rewards(), padded, atol=1e-5)


def test_the_peer_gets_the_same_weights_and_tokens(ours, tmp_path):
    options, data, side = ours
    write_folder(tmp_path, options, data, side)
    model = load_hugging_face(tmp_path / "model")
    given = json.loads((tmp_path / "pairs.json").read_text())
    np.testing.assert_array_equal(model.params["head"]["kernel"], side.params["head"]["kernel"])
    assert given["rejected"] == [row.tokens for row in data.rejected]
    assert json.loads((tmp_path / "settings.json").read_text())["strategies"] == ["random", "group_by_length"]


def test_the_table_divides_medians(ours):
    options, data, _ = ours
    several = [Run(1.0, 100, 200), Run(2.0, 100, 200), Run(4.0, 100, 200)]
    runs = {"TRL": several, "ours": [run._replace(seconds=run.seconds / 3) for run in several]}
    text = table(options, data, {"trl": "1.0"}, runs)
    (line,) = [line for line in text.splitlines() if line.startswith("TRL")]
    assert line.split() == ["TRL", "50", "25-100", "50%", "3.00", "x"]
    assert "23 pairs (1 longer than 64 tokens left out)" in text and "trl 1.0" in text


def test_a_python_without_trl_is_named(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'trl'\" >&2\nexit 1\n")
    python.chmod(0o700)
    with pytest.raises(SystemExit, match=r"No module named 'trl'\); install it there: .*/python -m pip install trl"):
        check_peer(str(python))
    with pytest.raises(SystemExit, match=r"nowhere: cannot import trl \(.*No such file"):
        check_peer(str(tmp_path / "nowhere"))


def test_a_file_without_pairs_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "a", "completion": "b", "label": True}) + "\n")
    with pytest.raises(InputError, match=r"rows.jsonl: no preference pairs"):
        read_pairs(tiny(path))


def test_both_sides_agree(pairs, monkeypatch, capsys):
    pytest.importorskip("trl")
    shape = "--dim 16 --layers 1 --heads 2 --kv-heads 1 --vocab 300 --max-length 64 --row 64 --compared 5".split()
    run = "--pairs-per-update 4 --micro-batch 4 --warmup 1 --updates 2 --repeats 1".split()
    monkeypatch.setattr(sys, "argv", ["reward_training", "--pairs", str(pairs), *shape, *run])
    main()
    assert "TRL, like lengths together" in capsys.readouterr().out
