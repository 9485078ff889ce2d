"""Fuzzing of everything that reads a user's input: files, folders, options, templates, configs, texts.

    python -m tests.fuzz --cases 10000 --seed 0

A case is one damaged input, drawn from a seed and a number, and one call that reads it. It is

    accepted    the call returned
    refused     InputError (or exit code 2 with one message) that names the input
    other       anything else: another exception, a message without a place, a warning, a traceback, a time limit,
                a dead process, or a folder with digests that was accepted although a bit of it had changed

and the count of *other* must be 0. `campaign.py` runs cases, `mutate.py` damages inputs, every other file has the
targets of one kind of input. Nothing here needs the network or a data file.
"""
