"""`traceward evaluate`: accuracy against the number of candidates on a labelled file, beside baselines."""

import numpy as np
from rich.console import Console
from rich.table import Table

from experiments.commands.benchmark import evaluate_benchmark
from experiments.commands.candidate_files import Skipped, questions, say, scored
from experiments.commands.options import EvaluateOptions
from experiments.traces.rerank_pool import powers_of_two
from irl.evaluation.estimators import best_of_k, bootstrap_interval, majority_at_k, pass_at_k
from irl.types import InputError, Problem


def main(options: EvaluateOptions) -> int:
    if options.benchmark is not None:
        return evaluate_benchmark(options)
    if options.candidates is None:
        raise InputError("evaluate: expected the option --candidates FILE, or --benchmark NAME FILE ...")
    model, path = options.open(), options.candidates
    remark = model.remark(questions(path), path) if path.is_file() else ""
    skipped = Skipped(path, options.strict)
    learned, correct, length, keys = [], [], [], []
    for record, scores in scored(model, path, skipped):
        if any(candidate.correct is None for candidate in record.candidates):
            raise InputError(f"{path}: problem {record.id!r}: a candidate without 'correct'")
        problem = Problem(id=record.id, prompt=record.prompt)
        learned.append(scores.trace)
        correct.append([bool(candidate.correct) for candidate in record.candidates])
        length.append([len(candidate.text) for candidate in record.candidates])
        if model.domain is not None:
            names = [model.domain.answer_key(problem, candidate.text) for candidate in record.candidates]
            known = {name: i for i, name in enumerate(dict.fromkeys(n for n in names if n is not None))}
            keys.append(np.array([-1 if name is None else known[name] for name in names]))
    sizes = {len(row) for row in correct}
    if len(sizes) != 1:
        found = f"problems have {min(sizes)} to {max(sizes)} candidates"
        raise InputError(f"{path}: {found}; make them equal")
    for line in filter(None, (*skipped.report(), remark)):
        say(line)
    _show(model.spec.information, np.array(learned), np.array(correct), np.array(length), keys)
    return 0


def _show(information: str, learned, correct, length, keys) -> None:
    ks = powers_of_two(correct.shape[1])
    table = Table(title=f"{len(correct)} problems, 95% bootstrap intervals over problems")
    rows = [
        ("learned reward", information, lambda k: best_of_k(learned, correct, k)),
        *([("majority", "none", lambda k: majority_at_k(keys, correct, k).value)] if keys else []),
        ("shortest", "none", lambda k: best_of_k(-length, correct, k)),
        ("oracle", "verifier", lambda k: pass_at_k(correct, k)),
    ]
    table.add_column("candidates")
    for name, level, _ in rows:
        table.add_column(f"{name}\n{level}")
    for k in ks:
        found = [bootstrap_interval(value(k)) for _, _, value in rows]
        table.add_row(str(k), *(f"{f.mean:.3f}\n[{f.low:.2f}, {f.high:.2f}]" for f in found))
    Console().print(table)
