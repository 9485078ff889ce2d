"""Tasks of reasoning-gym as domains: splits, answers, its verifier, demonstrations of a file, a run."""

import json
from dataclasses import replace

import numpy as np
import pytest

from configs.smoke import config as smoke
from experiments.traces.demonstrations import Demonstrations
from experiments.traces.experiment import Encoding
from irl.domains import reasoning_gym as module
from irl.domains.base import Environment, HasDemonstrations, ReadsFiles
from irl.domains.reasoning_gym import ReasoningGym
from irl.text.tokenize import character_tokenizer
from irl.text.tokenizer_configs import Characters
from irl.types import InputError, Problem

library = pytest.importorskip("reasoning_gym")
SUMS = ReasoningGym(task="chain_sum", train_size=40, validation_size=8, test_size=10)
TASKS = ["chain_sum", "mini_sudoku", "countdown", "word_sorting", "syllogism", "base_conversion", "simple_equations"]


def test_capabilities():
    assert isinstance(SUMS, Environment) and isinstance(SUMS, HasDemonstrations) and isinstance(SUMS, ReadsFiles)


@pytest.mark.parametrize("task", TASKS)
def test_splits_share_no_prompt_and_answers_are_correct(task):
    """The verifier of the task accepts the demonstration of a problem, and rejects that of another problem."""
    domain = ReasoningGym(task=task, train_size=20, validation_size=5, test_size=5)
    splits = [domain.problems(split) for split in ("train", "validation", "test")]
    prompts = [problem.prompt for split in splits for problem in split]
    assert len({domain.canonical(prompt) for prompt in prompts}) == len(prompts)
    assert replace(domain).problems("train") == splits[0]
    rng, answers = np.random.default_rng(0), set()
    for problem in (problem for split in splits for problem in split):
        trace = domain.expert(problem, rng)
        assert domain.verify(problem, trace.text).correct, trace.text
        assert tuple(step.text for step in trace.steps) == domain.split_steps(trace.text)
        answers.add(domain.answer_key(problem, trace.text))
        assert domain.verify(problem, "").outcome == "malformed"
        assert not domain.verify(problem, "Answer: no such thing").correct
    assert len(answers) > 1


def test_answers_follow_the_last_marker():
    problem = SUMS.problems("test")[0]
    assert SUMS.answer_key(problem, "1 + 1 = 2\nAnswer: 3\nno\nAnswer:  1 \n 2 ") == "1\n 2"
    assert SUMS.answer_key(problem, "Answer:") is None and SUMS.answer_key(problem, "the answer is 2") is None
    answer = problem.truth["entry"]["answer"]
    assert SUMS.verify(problem, f"first\nAnswer: {answer}").correct


def test_a_verifier_that_raises_rejects_the_answer(monkeypatch):
    problem = SUMS.problems("test")[0]

    def broken(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(module._task(SUMS).verifier, "score_answer", broken)
    verdict = SUMS.verify(problem, "Answer: 1")
    assert verdict.outcome == "wrong" and "ZeroDivisionError" in verdict.reason


def test_demonstrations_of_a_file(tmp_path):
    first, second = SUMS.problems("train")[:2]
    rows = [
        {"prompt": first.prompt, "steps": ["slowly", f"Answer: {first.truth['entry']['answer']}"]},
        {"prompt": second.truth["entry"]["question"], "steps": ["at once", "Answer: 0"]},
        {"prompt": "of another task", "steps": ["Answer: 0"]},
    ]
    file = tmp_path / "traces.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    domain = replace(SUMS, file=str(file))
    assert [trace.prompt for trace in domain.demonstrations("train")] == [first.prompt, second.prompt]
    assert domain.expert(first, np.random.default_rng(0)).steps[0].text == "slowly"
    assert domain.files == (str(file),) and "2 traces as demonstrations" in domain.summary()[0]
    file.write_text(json.dumps(rows[2]) + "\n")
    with pytest.raises(InputError, match=r"traces.jsonl: no trace is of one of the \d+ training problems"):
        replace(SUMS, file=str(file), seed=1).problems("train")


def test_what_is_refused(monkeypatch):
    with pytest.raises(InputError, match=r"no task 'chain_sums' in reasoning-gym; did you mean chain_sum"):
        ReasoningGym(task="chain_sums").problems("train")
    with pytest.raises(InputError, match="unknown split 'dev'"):
        SUMS.problems("dev")
    with pytest.raises(InputError, match=r"prompt 'what\?': not a problem of chain_sum"):
        SUMS.verify(Problem(id="x", prompt="what?"), "Answer: 1")
    monkeypatch.setitem(__import__("sys").modules, "reasoning_gym", None)
    with pytest.raises(InputError, match=r"pip install 'traceward\[tasks\]'"):
        ReasoningGym(task="chain_sum", seed=5).problems("train")


@pytest.mark.usefixtures("shared_programs")
def test_a_run(tmp_path):
    """The policy and the reward of the smoke run on a task, to the report."""
    size = character_tokenizer().get_vocab_size()
    decoder = replace(smoke.policy.network, vocab_size=size)
    every = Demonstrations(count=40)
    config = replace(
        smoke,
        domain=SUMS,
        encoding=Encoding(max_length=256, max_steps=4, tokenizer=Characters()),
        policy=replace(smoke.policy, network=decoder, demonstrations=every, row_length=256, batch_size=4),
        reward=replace(
            smoke.reward,
            network=replace(smoke.reward.network, decoder=decoder),
            demonstrations=every,
            warm_up_rows=4,
            row_length=256,
            rounds=0,
        ),
        search=None,
        improvement=None,
    )
    config.run(tmp_path, "traceward run mine")
    report = json.loads((tmp_path / "report.json").read_text())
    assert any(row["name"].startswith("rerank@") for row in report["headline"])
    assert "chain_sum: " in report["summary"][0]
