"""TRL's side of `reward_training`: a program of its own, for a Python that has trl and need not have this library.

    PYTHON trl_side.py FOLDER

FOLDER holds model/ (Hugging Face, with its tokenizer), pairs.json (token ids of chosen and of rejected) and
settings.json. The last line printed is JSON: versions, the rewards of the first pairs, and for each sampling strategy
seconds and tokens.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import accelerate
import torch
import transformers
import trl
from datasets import Dataset
from trl.trainer.reward_trainer import DataCollatorForPreference


class Counted:
    """TRL's collator, and for every batch the tokens that are no padding and those that are computed."""

    def __init__(self, pad_token: int):
        self._collate = DataCollatorForPreference(pad_token_id=pad_token)
        self.counts: list[tuple[int, int]] = []

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = self._collate(examples)
        self.counts.append((int(batch["attention_mask"].sum()), batch["attention_mask"].numel()))
        return batch


class Clock(transformers.TrainerCallback):
    """When each update was over."""

    def __init__(self):
        self.ends: list[float] = []

    def on_step_end(self, args, state, control, **kwargs):
        self.ends.append(time.perf_counter())


def main() -> None:
    folder = Path(sys.argv[1])
    settings = json.loads((folder / "settings.json").read_text())
    torch.set_num_threads(settings["threads"])
    pairs = json.loads((folder / "pairs.json").read_text())
    length = [max(map(len, pair)) for pair in zip(pairs["chosen"], pairs["rejected"], strict=True)]
    data = Dataset.from_dict({"chosen_ids": pairs["chosen"], "rejected_ids": pairs["rejected"], "length": length})
    result: dict[str, Any] = {
        "versions": {module.__name__: module.__version__ for module in (trl, transformers, accelerate, torch)},
        "rewards": first_rewards(folder, data.select(range(settings["compared"]))),
        "runs": {strategy: train(folder, data, settings, strategy) for strategy in settings["strategies"]},
    }
    print(json.dumps(result))


def first_rewards(folder: Path, data: Dataset) -> list[list[float]]:
    """Rewards of [chosen, rejected] before any update."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder / "model", num_labels=1)
    batch = DataCollatorForPreference(pad_token_id=model.config.pad_token_id)(list(data))
    with torch.inference_mode():
        rewards = model.eval()(**batch).logits[:, 0]
    return rewards.reshape(2, -1).tolist()


def train(folder: Path, data: Dataset, settings: dict[str, Any], strategy: str) -> dict[str, float]:
    """Train from the folder's weights; seconds and tokens of the updates after the warm-up."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder / "model", num_labels=1, dtype=torch.float32
    )
    collator, clock = Counted(model.config.pad_token_id), Clock()
    trl.RewardTrainer(
        model=model,
        args=reward_config(folder, settings, strategy),
        data_collator=collator,
        train_dataset=data,
        processing_class=transformers.AutoTokenizer.from_pretrained(folder / "model"),
        callbacks=[clock],
    ).train()
    warmup, steps = settings["warmup"], settings["warmup"] + settings["updates"]
    parts = settings["pairs_per_update"] // settings["micro_batch"]
    useful, computed = map(sum, zip(*collator.counts[warmup * parts : steps * parts], strict=True))
    return {"seconds": clock.ends[steps - 1] - clock.ends[warmup - 1], "useful": useful, "computed": computed}


def reward_config(folder: Path, settings: dict[str, Any], strategy: str) -> trl.RewardConfig:
    """float32, no recomputation, no saving; all else as TRL has it."""
    return trl.RewardConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=settings["micro_batch"],
        gradient_accumulation_steps=settings["pairs_per_update"] // settings["micro_batch"],
        max_steps=settings["warmup"] + settings["updates"],
        max_length=settings["max_length"],
        learning_rate=settings["learning_rate"],
        train_sampling_strategy=strategy,
        remove_unused_columns=False,  # the column of lengths is not removed before the sampler has read it
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        seed=settings["seed"],
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


if __name__ == "__main__":
    main()
