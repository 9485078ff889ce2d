"""Traces of BIG-Bench-Mistake's tasks (arXiv 2311.08516) written by program: right ones, and with a mistake planted.

A module of a task has the same four functions, all pure and drawn from `rng` alone:

    problem(like, rng)          a fresh problem of about the size of the problem `like`
    written(problem, rng)       the right steps, in the words of the data set's traces, which vary
    flawed(problem, at, rng)    the same, with a mistake at the share `at` of the trace, carried on from there
    renamed(trace, rng)         a labelled trace with other names for its things: the labels still hold

claims.py reads steps as single claims, apart from all else; truth.py says by the rules whether they hold. Kinds of
mistakes and how often each is planted follow the first mistakes of the traces that are trained on.
"""
