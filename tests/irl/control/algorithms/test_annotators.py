"""Synthetic answers against probabilities worked out by hand; folders and people that stop in the middle."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.control.algorithms.annotators import (
    QueryFolder,
    Synthetic,
    Unanswered,
    from_command_line,
    from_files,
    parse_answer,
    table,
)
from irl.control.algorithms.fragments import Fragments
from irl.control.types import Transitions
from irl.types import InputError

KEY = jax.random.key(1)


def paying(rewards):
    """Queries whose steps pay these rewards [queries, items, length]."""
    rewards = jnp.asarray(rewards, jnp.float32)
    seen = jnp.zeros((*rewards.shape, 1))
    no = jnp.zeros(rewards.shape, bool)
    return Fragments(Transitions(seen, seen, seen, no), ~no, rewards)


def drawn(count=3, items=2, length=4, seed=0):
    """Queries of a world with two observed numbers and whole-number actions, the last step of each not present."""
    rng = np.random.default_rng(seed)
    shape = (count, items, length)
    seen, led = rng.normal(size=(2, *shape, 2)).astype(np.float32)
    action = rng.integers(0, 3, shape).astype(np.int32)
    present = np.ones(shape, bool)
    present[..., -1] = False
    return Fragments(Transitions(seen, action, led, rng.random(shape) < 0.5), present, np.ones(shape, np.float32))


def share(synthetic, rewards, asked=4000):
    """Mean answers of many judges."""
    queries = jax.tree.map(lambda leaf: jnp.repeat(leaf, asked, axis=0), paying([rewards]))
    return synthetic.answers(queries, KEY).mean(axis=0)


@pytest.mark.parametrize(
    ("synthetic", "expected"),
    [
        (Synthetic(), 1 / (1 + np.exp(-1.0))),
        (Synthetic(temperature=0.5), 1 / (1 + np.exp(-2.0))),
        (Synthetic(discount=0.5), 1 / (1 + np.exp(1.0))),
        (Synthetic(temperature=0.0), 1.0),
        (Synthetic(temperature=0.0, noise=0.5), 0.75),
        (Synthetic(tie=1.0), 0.5),
        (Synthetic(temperature=0.0, tie=0.9), 1.0),
    ],
)
def test_pairs_by_hand(synthetic, expected):
    """Rewards 0, 4 against 3, 0: returns 4 and 3, discounted by half 2 and 3."""
    first, second = share(synthetic, [[0.0, 4.0], [3.0, 0.0]])
    assert abs(first - expected) < 5 * 0.5 / np.sqrt(4000) and abs(first + second - 1) < 1e-6


def test_steps_after_the_end_do_not_count():
    queries = paying([[[1.0, 9.0], [2.0, 0.0]]])
    queries = queries._replace(present=jnp.array([[[True, False], [True, True]]]))
    assert Synthetic(temperature=0.0).answers(queries, KEY).tolist() == [[0.0, 1.0]]


def test_judges_give_shares():
    queries = paying([[[1.0], [0.0]]] * 200)
    answers = Synthetic(judges=4).answers(queries, KEY)
    assert set(np.unique(answers[:, 0] * 4).tolist()) == {0, 1, 2, 3, 4}
    np.testing.assert_allclose(answers.sum(axis=1), 1)


def test_rankings_count_who_is_beaten():
    queries = paying([[[3.0], [1.0], [2.0]], [[1.0], [1.0], [2.0]], [[0.0], [0.0], [0.0]]])
    answers = Synthetic(temperature=0.0).answers(queries, KEY)
    assert answers.tolist() == [[2, 0, 1], [0.5, 0.5, 2], [1, 1, 1]]


def test_rankings_are_plackett_luce():
    """Weights 4, 2, 1: the best with 4/7, 2/7, 1/7; the order 1 2 3 with 4/7 * 2/3."""
    rewards = np.log([[[4.0], [2.0], [1.0]]])
    answers = np.asarray(Synthetic().answers(paying(np.repeat(rewards, 8000, axis=0)), KEY))
    np.testing.assert_allclose((answers == 2).mean(axis=0), [4 / 7, 2 / 7, 1 / 7], atol=0.03)
    assert abs((answers == [2, 1, 0]).all(axis=1).mean() - 8 / 21) < 0.03


@pytest.mark.parametrize("wrong", [{"temperature": -1.0}, {"noise": 1.5}, {"tie": -0.1}, {"judges": 0}])
def test_synthetic_checks(wrong):
    with pytest.raises(InputError, match=f"Synthetic.{next(iter(wrong))}: expected at"):
        Synthetic(**wrong)


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_files_are_asked_filled_in_and_read_back(tmp_path):
    queries = drawn()
    message = (
        r'queries_004.jsonl: 3 of 3 .* first 4-0; add lines such as \{"id": "4-0", "answer": \[1, 0\]\} to .*answers'
    )
    with pytest.raises(Unanswered, match=message):
        from_files(tmp_path)(4, queries)
    write(tmp_path / "answers_004.jsonl", {"id": "4-2", "answer": [0, 1]}, {"id": "4-0", "answer": None})
    with pytest.raises(Unanswered, match="1 of 3 queries are not answered, first 4-1"):
        from_files(tmp_path)(4, queries)
    with open(tmp_path / "answers_004.jsonl", "a") as more:
        more.write('{"id": "4-1", "answer": [0.5, 0.5]}\n{"id": "4-2", "answer": [1, 0]}\n')
    answered = from_files(tmp_path)(4, drawn(seed=9))  # another run's world went on differently
    np.testing.assert_array_equal(answered.answers, [[np.nan, np.nan], [0.5, 0.5], [1, 0]])
    kept = answered.queries._replace(reward=queries.reward)
    assert not answered.queries.reward.any()  # the true reward is in no file
    for mine, theirs in zip(jax.tree.leaves(kept), jax.tree.leaves(queries), strict=True):
        assert mine.dtype == theirs.dtype and np.array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "0-3", "answer": [1, 0]}, r"line 1, id: expected one of 0-0 to 0-2, got '0-3'"),
        ({"id": 7, "answer": [1, 0]}, r"line 1, id: expected one of 0-0 to 0-2, got 7"),
        ({"id": "0-0"}, r"line 1: expected the fields id and answer, got id"),
        ({"id": "0-0", "answer": [2, 0]}, r"line 1, answer: expected 2 numbers.*sum 1 \(\[1, 0\].*got \[2, 0\]"),
        ({"id": "0-0", "answer": [1, 0, 0]}, r"expected 2 numbers.*got \[1, 0, 0\]"),
        ({"id": "0-0", "answer": [2, -1]}, r"expected 2 numbers.*got \[2, -1\]"),
        ({"id": "0-0", "answer": [float("nan"), 1]}, r"line 1: NaN is not a JSON number; write a finite number"),
        ({"id": "0-0", "answer": "first"}, r'expected 2 numbers.*got "first"'),
    ],
)
def test_bad_answers(tmp_path, row, message):
    write(tmp_path / "answers_000.jsonl", row)
    with pytest.raises(InputError, match=rf"answers_000.jsonl, {message}" if message[0] == "l" else message):
        from_files(tmp_path)(0, drawn())


def test_bad_query_files(tmp_path):
    files = QueryFolder(tmp_path)
    files.ask(0, drawn())
    path = files.queries_file(0)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    with pytest.raises(InputError, match=r"queries_000.jsonl: expected 2 queries, got 3; use a new folder for a"):
        files.ask(0, drawn(2))
    with pytest.raises(InputError, match=r"line 1, fragments: expected a list of 3"):
        files.ask(0, drawn(items=3))
    with pytest.raises(InputError, match=r"fragments, observation: expected shape \(2, 5, 2\), got \(2, 4, 2\)"):
        files.ask(0, drawn(length=5))
    del rows[1]["fragments"][0]["action"]
    write(path, *rows)
    with pytest.raises(InputError, match=r"line 2, fragments, action: expected numbers of shape \(2, 4\) \('action'\)"):
        files.ask(0, drawn())


def test_a_person_is_interrupted_and_goes_on(tmp_path):
    replies, shown = iter(["2", "both", "s"]), []

    def interrupted(question):
        reply = next(replies, None)
        if reply is None:
            raise KeyboardInterrupt
        return reply

    with pytest.raises(KeyboardInterrupt):
        from_command_line(tmp_path, ask=interrupted, show=shown.append)(0, drawn())
    assert [text.split("\n")[0] for text in shown] == [
        "query 0-0, 3 left",
        "query 0-1, 2 left",
        "expected 1, 2, = (tied) or s (undecided), got 'both'",
        "query 0-2, 1 left",
    ]
    shown.clear()
    answered = from_command_line(tmp_path, ask=lambda question: "=", show=shown.append)(0, drawn(seed=9))
    assert [text.split("\n")[0] for text in shown] == ["query 0-2, 1 left"]
    np.testing.assert_array_equal(answered.answers, [[0, 1], [np.nan, np.nan], [0.5, 0.5]])
    np.testing.assert_array_equal(answered.queries.transitions.action, drawn().transitions.action)


def test_nobody_is_there_any_more(tmp_path):
    replies = iter(["2"])

    def ask(question):
        for reply in replies:
            return reply
        raise EOFError

    with pytest.raises(
        Unanswered, match=r"end of input before the last query; the answers so far are in .*answers_000.jsonl"
    ):
        from_command_line(tmp_path, ask=ask, show=lambda text: None)(0, drawn())
    assert list(QueryFolder(tmp_path).answers(0, 3, 2)) == [0]


def test_table():
    seen = np.array([[[1.0, -0.5], [2.0, 1 / 3], [3.0, 0.0]], [[0.0, 0.0], [0.0, 1.0], [9.0, 9.0]]], np.float32)
    steps = Transitions(seen, np.array([[0, 1, 2], [2, 0, 1]], np.int32), seen, np.zeros((2, 3), bool))
    query = Fragments(steps, np.array([[True] * 3, [True, True, False]]), np.zeros((2, 3), np.float32))
    assert table(query).split("\n") == [
        "step  1: observation -> action  2: observation -> action",
        "0     1 -0.5 -> 0               0 0 -> 2",
        "1     2 0.333 -> 1              0 1 -> 0",
        "2     3 0 -> 2",
    ]
    assert [line.split()[0] for line in table(query, rows=2).split("\n")] == ["step", "0", "2"]


@pytest.mark.parametrize(
    ("reply", "items", "expected"),
    [
        ("1", 2, [1, 0]),
        (" 2 ", 2, [0, 1]),
        ("2 1", 2, [0, 1]),
        ("=", 2, [0.5, 0.5]),
        ("2 1 3", 3, [1, 2, 0]),
        ("2 > 1 = 3", 3, [0.5, 2, 0.5]),
        ("3=1 2", 3, [1.5, 0, 1.5]),
        ("=", 3, [1, 1, 1]),
        ("S", 3, [np.nan] * 3),
    ],
)
def test_replies(reply, items, expected):
    np.testing.assert_array_equal(parse_answer(reply, items), expected)


@pytest.mark.parametrize(("reply", "items"), [("", 2), ("3", 2), ("1 1", 2), ("1", 3), ("1 2", 3), ("1 2 x3", 3)])
def test_bad_replies(reply, items):
    expected = r"1, 2, = \(tied\)" if items == 2 else "1 2 3 in order, best first,"
    with pytest.raises(InputError, match=rf"expected {expected} or s \(undecided\), got "):
        parse_answer(reply, items)
