"""Traces of BIG-Bench-Mistake's tasks (arXiv 2311.08516), written by program: correct ones, and with a planted mistake.

The module of every task has the same four functions, pure functions of their arguments and `rng`:

    problem(like, rng)          a fresh problem of about the size of the problem `like`
    written(problem, rng)       the correct steps, in a random wording of the data set
    flawed(problem, at, rng)    the same, with a mistake at the share `at` of the trace and its consequences
    renamed(trace, rng)         a labelled trace with renamed objects; the labels still hold

claims.py splits steps into independent claims; truth.py checks them by the rules. The kinds of mistakes and their
frequencies follow the first mistakes of the training traces.
"""
