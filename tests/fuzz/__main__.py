"""The command `python -m tests.fuzz`: cases in a process of their own, which may die without ending the campaign."""

import argparse
import dataclasses
import json
import os
import resource
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.fuzz.campaign import Campaign, Result, table
from tests.fuzz.cases import OTHER, Outcome

MEMORY = 8 << 30
"""Bytes that a process may take beyond what it has when its imports are done."""
HANGING = 600.0
"""Seconds without a result, imports included, after which a process hangs where no signal ends it. A busy machine can
take minutes for a case of a second."""


def main() -> int:
    options = _parser().parse_args()
    sys.stdout.reconfigure(errors="backslashreplace")  # cases hold lone surrogates
    if options.worker is not None:
        return _work(options)
    if options.case is not None:
        return _show(options)
    start = time.perf_counter()
    results = list(_collect(options))
    print(table(results, _targets(options.targets)))
    seconds = time.perf_counter() - start
    print(
        f"\n{len(results)} cases of seed {options.seed} in {seconds:.0f} s,"
        f" {1000 * seconds / len(results):.1f} s / 1,000"
    )
    return 1 if any(result.outcome.kind == OTHER for result in results) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz everything that reads an input.")
    parser.add_argument("--cases", type=int, default=1000, help="how many cases (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all cases (default 0)")
    parser.add_argument("--targets", default="", help="names with commas between; all by default")
    parser.add_argument("--case", type=int, help="run this case alone, with its traceback")
    parser.add_argument("--verbose", action="store_true", help="print every case that is other, as it comes")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    return parser


def _targets(names: str):
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("TRACEWARD_COMPILATION_CACHE", "off")
    import jax

    from tests.fuzz.targets import TARGETS

    jax.config.update("jax_disable_most_optimizations", True)  # the time of a case would be the compiler's
    wanted = [name for name in names.split(",") if name]
    unknown = set(wanted) - {target.name for target in TARGETS}
    if unknown:
        raise SystemExit(f"--targets: unknown {', '.join(unknown)}; known: {', '.join(t.name for t in TARGETS)}")
    return [target for target in TARGETS if not wanted or target.name in wanted]


def _show(options: argparse.Namespace) -> int:
    """One case, its input kept, with the traceback."""
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(_targets(options.targets), options.seed, Path(folder))
        result = next(campaign.run([options.case]))
    print(f"case {result.number}, {result.target}: {result.what}\n{result.outcome.kind} {result.outcome.error}")
    print(result.outcome.trace or result.outcome.message)
    return 1 if result.outcome.kind == OTHER else 0


# --------------------------------------------------------------------------------------------------- processes


def _work(options: argparse.Namespace) -> int:
    """Cases from `--worker` to `--cases`, a JSON line each on standard output."""
    targets = _targets(options.targets)
    limit = _size() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with tempfile.TemporaryDirectory() as folder:
        for result in Campaign(targets, options.seed, Path(folder)).run(range(options.worker, options.cases)):
            trace = dataclasses.replace(result.outcome, trace="")
            out.write(json.dumps([*result._replace(outcome=dataclasses.astuple(trace))]) + "\n")
            out.flush()
    return 0


def _size() -> int:
    """Bytes of address space that this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    return pages * resource.getpagesize()


def _collect(options: argparse.Namespace) -> Iterator[Result]:
    """The results of all cases; a worker that dies or hangs costs the case it was at."""
    done = 0
    while done < options.cases:
        command = [sys.executable, "-m", "tests.fuzz", "--seed", options.seed, "--cases", options.cases]
        command += ["--targets", options.targets, "--worker", done]
        with tempfile.TemporaryFile() as errors, Worker(list(map(str, command)), errors) as worker:
            for result in worker.results():
                done = result.number + 1
                _report(result, options)
                yield result
            if done < options.cases:
                errors.seek(0)
                printed = errors.read().decode(errors="replace").strip()
                if worker.end == "exit code 1":  # no case can do that
                    raise SystemExit(f"the fuzzer itself failed at case {done}:\n{printed}")
                last = printed.splitlines()[-1:]
                target = Campaign(_targets(options.targets), options.seed, Path()).target(done).name
                outcome = Outcome(OTHER, worker.end, "the process", " ".join(last))
                result = Result(done, target, "", outcome, 0.0)
                done += 1
                _report(result, options)
                yield result


def _report(result: Result, options: argparse.Namespace) -> None:
    if options.verbose and result.outcome.kind == OTHER:
        outcome = result.outcome
        head = f"{result.target}, case {result.number}, {outcome.error} at {outcome.where}"
        print(f"{head}: {result.what[:100]}: {outcome.message[:200]!r}", flush=True)


class Worker:
    """A process that runs cases, and how it ended."""

    def __init__(self, command: Sequence[str], errors):
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
        self.end = ""

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_) -> None:
        self._process.kill()
        self._process.communicate()

    def results(self) -> Iterator[Result]:
        pipe = self._process.stdout
        assert pipe is not None
        while True:
            ready, _, _ = select.select([pipe], [], [], HANGING)
            line = pipe.readline() if ready else b""
            if not line:
                self.end = f"exit code {self._process.wait()}" if ready else "no answer"
                return
            number, target, what, outcome, seconds = json.loads(line)
            yield Result(number, target, what, Outcome(*outcome), seconds)


if __name__ == "__main__":
    sys.exit(main())
