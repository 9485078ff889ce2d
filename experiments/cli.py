"""The command `traceward`: run, score, rerank, evaluate, convert, ratings, report.

The imports of this file are few: until `main` has installed its signal handlers, Ctrl-C ends in a traceback.
"""

import errno
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

from experiments.core.stopping import stop_at_signals, stop_inside_calls

USAGE = """usage: traceward COMMAND ...

  run CONFIG [--a.b value ...]   train and evaluate by a config: a name in configs/, a .py or a run's config.json
  score                          write the scores of every answer of a file, whatever its format
  rerank                         choose the best candidate of each problem of a file
  evaluate                       accuracy of reranking, or the metrics of a benchmark, beside baselines
  convert MODEL OUT              write a model, such as a GGUF file, as a Hugging Face folder
  ratings FILE                   rate systems by pairwise comparisons
  report FOLDER                  write report.html of a run folder again

`traceward COMMAND --help` lists the options of a command."""

COMMANDS = ("run", "score", "rerank", "evaluate", "convert", "ratings", "report")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point. A problem that the user can solve ends in one line on stderr and exit code 2.

    Without `arguments` this is the process of the command: SIGINT and SIGTERM stop it. A caller that gives arguments
    keeps its own handlers.
    """
    if arguments is None:
        stop_at_signals()
    from experiments.core.memory import keep_freed_memory
    from reward_models.records import InputError

    keep_freed_memory()  # before any thread
    if arguments is None:
        stop_inside_calls()
    try:
        code = _dispatch(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
        sys.exit(code)
    except InputError as error:
        print(f"traceward: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # the reader (`| head`) has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):  # only a path of the user
            print(f"traceward: {error.filename}: {error.strerror}; check the path", file=sys.stderr)
            sys.exit(2)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        advice = "free some space and run the same command again: a run resumes from its last checkpoint"
        print(f"traceward: {error.filename or 'disk'}: disk full; {advice}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("traceward: stopped; the same command resumes from what is saved", file=sys.stderr)
        sys.exit(130)


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    command, rest = arguments[0], arguments[1:]
    if command not in COMMANDS:
        from reward_models.records import InputError

        raise InputError(f"unknown command {command!r}; expected one of {', '.join(COMMANDS)}")
    if command in ("run", "ratings", "report"):
        return importlib.import_module(f"experiments.commands.{command}").main(rest)
    import tyro

    from experiments.commands.options import OPTIONS

    options: Any = tyro.cli(OPTIONS[command], args=rest, prog=f"traceward {command}")
    return importlib.import_module(f"experiments.commands.{command}").main(options)  # with JAX, after --help


if __name__ == "__main__":
    main()
