"""What the parts of a finished reward contribute, on the samples that its runs kept.

    python -m experiments.traces.ablation runs/seed1 runs/seed2 runs/seed3

A row is one way to choose among N of the test samples: one member of the ensemble alone, the members' mean and minimum,
the mean with some of the policy's log-probability (a log-pi term) or less all of it (the log-ratio). Values are means
over runs and problems; the interval is a bootstrap over problems, which the runs share. Correctness is looked at only
to report.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from experiments.commands.run import read_config
from experiments.core.workspace import Workspace
from experiments.traces.experiment import Experiment
from experiments.traces.rerank_pool import score_pool
from experiments.traces.sampling import TextSamples
from irl.evaluation.estimators import best_of_k, bootstrap_interval
from irl.policies.base import FittedPolicy
from irl.policies.language_model import LanguageModel
from irl.rewards.scoring import TextScorer
from irl.types import InputError
from reward_models.networks.ensemble import EnsembleConfig


def main(folders: Sequence[str]) -> None:
    if not folders:
        raise InputError("usage: python -m experiments.traces.ablation RUN [RUN ...]")
    ways = [_ways(Path(folder)) for folder in folders]
    ks = (1, 16, 64, 256, 1000)
    table = Table("choice", *map(str, ks), title=f"{len(folders)} runs")
    for name in ways[0]:
        found = [bootstrap_interval(np.mean([best_of_k(*way[name], k) for way in ways], axis=0)) for k in ks]
        last = f"{found[-1].mean:.3f} [{found[-1].low:.2f}, {found[-1].high:.2f}]"
        table.add_row(name, *(f"{f.mean:.3f}" for f in found[:-1]), last)
    Console().print(table)


def _ways(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name -> (scores, correct), both [problems, samples]."""
    config = read_config(folder / "config.json")
    if not isinstance(config, Experiment):
        raise InputError(f"{folder}: expected the run of an Experiment, found {type(config).__name__}")
    encoder = config.encoding.encoder(config.domain)
    workspace = Workspace(folder, config.seed, environment=config.domain, encoder=encoder)
    model, policy = workspace.load_model("model"), workspace.load_model("policy")
    if model is None or policy is None or not isinstance(model.network, EnsembleConfig):
        raise InputError(f"{folder}: expected a finished run whose reward has several members")
    problems = config.domain.problems("test")[: config.rerank.problems]
    fitted = FittedPolicy(LanguageModel(network=policy.network), policy.params)
    pool = config.rerank.pool(workspace, fitted, problems)
    with np.load(folder / "samples" / "test_scores.npz") as saved:
        correct = saved["correct"]
    members = _member_scores(workspace, model, problems, pool).reshape(model.network.members, *correct.shape)
    mean, log_prob = members.mean(axis=0), pool.log_prob
    scores = {f"member {i + 1}": member for i, member in enumerate(members)}
    scores |= {"mean of members": mean, "minimum of members": members.min(axis=0)}
    scores |= {"mean + 0.3 log pi": mean + 0.3 * log_prob, "mean + log pi": mean + log_prob}
    scores |= {"mean - log pi (log-ratio)": mean - log_prob}
    return {name: (values, correct) for name, values in scores.items()}


def _member_scores(workspace: Workspace, model, problems, pool: TextSamples) -> np.ndarray:
    """Float[members, traces]"""
    network = model.network.member.make()
    split = workspace.environment.split_steps
    scorers = (
        TextScorer(network, params, workspace.encoder, split, windows=workspace.windows)
        for params in model.network.member_params(model.params)
    )
    return np.stack([score_pool(scorer, problems, pool).trace for scorer in scorers])


if __name__ == "__main__":
    main(sys.argv[1:])
