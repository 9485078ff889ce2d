"""Traces of any domain go through every stage, from a file of 20 lines, with and without answers."""

import json
from dataclasses import replace

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from configs.own_traces import config
from experiments.cli import main
from experiments.traces.demonstrations import Demonstrations
from experiments.traces.experiment import Encoding, run_experiment
from experiments.traces.fit_policy import FitPolicy
from experiments.traces.fit_reward import FitReward
from experiments.traces.improve_policy import ImprovePolicy
from experiments.traces.negatives import Negatives
from experiments.traces.rerank_pool import RerankPool
from irl.algorithms.grpo import Grpo
from irl.algorithms.optimiser import AdamW
from irl.algorithms.pairwise_critic import PairwiseCritic
from irl.algorithms.sft import Sft
from irl.domains.files import TraceFiles
from irl.guidance.beam import BeamSettings
from irl.text.tokenizer_configs import BytePairs, Characters, HuggingFaceTokenizer
from irl.train import Schedule
from irl.types import InputError
from reward_models.networks.critic import CriticConfig
from reward_models.networks.decoder import DecoderConfig

DECODER = DecoderConfig(vocab_size=320, num_layers=1, dim=16, num_heads=2, num_kv_heads=1, head_dim=8, hidden_dim=32)
FAST = AdamW(learning_rate=1e-2, warmup_steps=1, total_steps=6)


def tiny(train, **changes):
    """The config with little of everything."""
    return replace(
        config,
        domain=TraceFiles(train=str(train), held_out=0.2),
        encoding=Encoding(max_length=64, max_steps=8, tokenizer=BytePairs(vocabulary=320)),
        policy=FitPolicy(
            network=DECODER, algorithm=Sft(optimiser=FAST), schedule=Schedule(steps=6), batch_size=4, row_length=64
        ),
        reward=replace(
            config.reward,
            network=replace(config.reward.network, decoder=DECODER),
            demonstrations=Demonstrations(),
            warm_up=Sft(optimiser=FAST),
            warm_up_schedule=Schedule(steps=6),
            warm_up_rows=4,
            row_length=64,
            evaluations=1,
        ),
        rerank=RerankPool(samples=4, vote=4, beginnings=2),
        search=replace(
            config.search, settings=BeamSettings(width=2, expansions=2, max_steps=3, max_step_tokens=8), problems=2
        ),
        improvement=ImprovePolicy(
            algorithm=Grpo(optimiser=FAST, samples_per_prompt=4, mle_steps=2),
            schedule=Schedule(steps=2),
            prompts_per_step=4,
            demonstration_rows=4,
            evaluations=1,
            samples=2,
        ),
        **changes,
    )


def rows(answers):
    end = (lambda n: f"#### {n + 1}") if answers else (lambda n: "Done.")
    return [{"prompt": f"Count on from {n}", "steps": [f"{n} is first", f"next is {n + 1}", end(n)]} for n in range(20)]


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def hugging_face_folder(folder):
    """Byte-level BPE with the chat template of Qwen's models."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([json.dumps(row) for row in rows(False)], trainer)
    folder.mkdir()
    (folder / "tokenizer.json").write_text(tokenizer.to_str())
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    settings = {"chat_template": template, "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return HuggingFaceTokenizer(folder=str(folder))


@pytest.fixture(scope="module", params=["bytes", "hugging face"])
def unanswered(request, tmp_path_factory):
    """A run through all five stages, with a tokenizer of our own and with one of Hugging Face."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "run").mkdir()
    config = tiny(write(folder / "traces.jsonl", rows(False)))
    if request.param == "hugging face":
        tokenizer = hugging_face_folder(folder / "tokenizer")
        config = replace(config, encoding=replace(config.encoding, tokenizer=tokenizer))
    run_experiment(config, folder / "run", "traceward run own_traces")
    return folder / "run"


def test_everything_but_accuracy_is_reported_without_answers(unanswered):
    report = json.loads((unanswered / "report.json").read_text())
    names = [row["name"] for row in report["headline"]]
    assert (
        names[0] == "ended" and "demonstration above samples" in names and "mean reward after training on it" in names
    )
    assert "test_time" not in report and report["search"][0]["name"].endswith("a finished trace")
    assert report["problems"] and report["audit"][0]["findings"]["truncation AUC"]["mean"] is not None
    assert all(trace["correct"] is None for problem in report["problems"] for trace in problem["best"])
    assert "accuracy is not reported" in (unanswered / "log.txt").read_text()
    assert (unanswered / "report.html").stat().st_size > 10_000


def test_the_model_scores_and_reranks_texts_of_the_domain(unanswered, tmp_path, capsys):
    candidates = [{"text": "7 is first\nnext is 8\nDone.", "correct": True}, {"text": "7 is first", "correct": False}]
    file = write(tmp_path / "in.jsonl", [{"prompt": "Count on from 7", "candidates": candidates}])
    with pytest.raises(SystemExit) as stop:
        main(["score", "--model", str(unanswered / "model"), "--input", str(file)])
    assert stop.value.code in (0, None)
    scored = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(scored) == 2 and all(isinstance(line["score"], float) for line in scored)
    assert [len(line["step_scores"]) for line in scored] == [3, 1]
    with pytest.raises(SystemExit) as stop:
        main(["rerank", "--model", str(unanswered / "model"), "--candidates", str(file)])
    assert stop.value.code in (0, None)
    assert "chosen by the learned reward" in capsys.readouterr().err


def test_accuracy_is_reported_with_answers_and_a_critic_takes_rounds(tmp_path):
    plain = tiny(write(tmp_path / "traces.jsonl", rows(True)), seed=1)
    (tmp_path / "run").mkdir()
    reward = FitReward(
        **{name: getattr(plain.reward, name) for name in ("demonstrations", "warm_up", "warm_up_schedule")},
        network=CriticConfig(decoder=DECODER),
        warm_up_rows=4,
        row_length=64,
        evaluations=1,
        critic=PairwiseCritic(optimiser=FAST),
        rounds=1,
        round_schedule=Schedule(steps=2),
        negatives=Negatives(resets=20, sampled=10, samples_per_problem=2, ends=20),
        batch_size=4,
    )
    run_experiment(replace(plain, reward=reward, search=None, improvement=None), tmp_path / "run", "command")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert {"pass@1", "rerank@4", "pass@4"} <= {row["name"] for row in report["headline"]}


def test_traces_that_the_tokenizer_cannot_write_are_refused(tmp_path):
    foreign = [{"prompt": f"Count on from {n}", "steps": [f"{n} → {n + 1}", "Done."]} for n in range(20)]
    config = tiny(write(tmp_path / "traces.jsonl", foreign))
    config = replace(config, encoding=Encoding(max_length=64, max_steps=8, tokenizer=Characters()))
    (tmp_path / "run").mkdir()
    with pytest.raises(InputError, match=r"cannot write \d+ of \d+ training traces .*more than 1%.*give another"):
        run_experiment(config, tmp_path / "run", "traceward run own_traces")
