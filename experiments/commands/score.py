"""`traceward score`: the scores of every candidate of a file, a line per candidate.

Questions are scored in blocks that depend on the file alone, so a resumed run ends with the same bytes as an
uninterrupted one. A plain output file grows as OUTPUT.part (scored_rows.py). The same command resumes it, after an edit
of the input too: rows that are as they were keep their scores, and only the others are scored.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from experiments.commands.candidate_files import Skipped, finite, named, output_file, say, write_answers
from experiments.commands.options import ScoreOptions
from experiments.commands.scored_rows import NO_KEY, Kept, ScoredLines, renamed, resume, row_keys
from experiments.core.locks import exclusive
from irl.data import read_records
from irl.data.json_lines import Row, is_compressed, json_line, why_unwritable
from irl.rewards.questions import AnswerScores, Question, question_of
from irl.types import InputError

CANDIDATES_AT_ONCE = 512
_CHUNK = 1 << 20

Block = list["Numbered"]
ScoreQuestions = Callable[[Sequence[Question]], AnswerScores]


class Numbered(NamedTuple):
    """A question and the number of its row."""

    row: int
    question: Question


class Source(NamedTuple):
    """The questions of a file, and how far it has been read."""

    path: Path
    questions: Iterator[Numbered]
    rows: Callable[[], int]
    unfit: Callable[[], str]
    """Report on the rows that do not fit the format; empty where all fit."""


def main(options: ScoreOptions) -> int:
    path = _input(options)
    if options.output is not None:
        output_file(options.output, path, options.folders())
    with nullcontext() if options.output is None else exclusive(options.output):
        _score(options, path)
    return 0


def _score(options: ScoreOptions, path: Path) -> None:
    source, skipped = _source(options, path), Skipped(path, options.strict)
    model = options.open()
    score = named(model, path)
    remark = model.remark((each.question for each in _source(options, path).questions), path) if path.is_file() else ""
    blocks = _shown(_blocks(source.questions), source)
    if options.output is not None and not is_compressed(options.output) and path.is_file():
        _write_part(options, blocks, score, skipped, source)
    else:
        rows = (row for block in blocks for row, _ in _rows(block, score([q for _, q in block]), skipped))
        write_answers(options.output, _checked(rows, skipped))
    summary = f"{skipped.scored} candidates scored; information level: {model.spec.information}"
    for line in filter(None, (source.unfit(), *skipped.report(), remark, summary)):
        say(line)


def _input(options: ScoreOptions) -> Path:
    path = options.input or options.candidates
    if path is None or (options.input and options.candidates):
        raise InputError("give the file to score by --input FILE, or by --candidates FILE, and by one of them")
    if options.candidates and options.format:
        raise InputError("--format: --candidates has one format; give the file by --input")
    return path


def _source(options: ScoreOptions, path: Path) -> Source:
    reading = read_records(path, "candidates" if options.candidates else options.format)

    def questions() -> Iterator[Numbered]:
        for record in reading:
            _stop_at_unfit()
            yield Numbered(reading.rows, question_of(record, f"row-{reading.rows}"))
        _stop_at_unfit()

    def _stop_at_unfit() -> None:
        if options.strict and reading.report.unfit:
            first = reading.report.listed[0]
            raise InputError(f"{path}: row {first.row} ({first.id}): {first.reason}; without --strict it is skipped")

    return Source(path, questions(), lambda: reading.rows, lambda: str(reading.report) if reading.report.unfit else "")


def _checked(rows: Iterable[Row], skipped: Skipped) -> Iterator[Row]:
    """The rows, and an InputError at their end where no candidate has a score."""
    yield from rows
    skipped.report()


def _blocks(questions: Iterable[Numbered]) -> Iterator[Block]:
    """Whole questions, together at least CANDIDATES_AT_ONCE answers but for the last block."""
    block: Block = []
    size = 0
    for numbered in questions:
        block.append(numbered)
        size += len(numbered.question.answers)
        if size >= CANDIDATES_AT_ONCE:
            yield block
            block, size = [], 0
    if block:
        yield block


def _size(block: Block) -> int:
    return sum(len(question.answers) for _, question in block)


def _rows(block: Block, scores: AnswerScores, skipped: Skipped) -> Iterator[tuple[Row, bool]]:
    """The output of a block: a row per answer, and whether it has a score."""
    index = 0
    for number, question in block:
        skipped.add(number, question, scores.reasons[index : index + len(question.answers)])
        for answer in question.answers:
            reason = scores.reasons[index]
            row = {
                "id": question.id,
                "candidate": answer.name,
                "score": finite(scores.trace[index : index + 1])[0],
                "step_scores": finite(scores.steps[index]),
                "steps": list(scores.step_texts[index]),
            }
            yield (row | {"reason": reason} if reason else row), not reason
            index += 1


def _shown(blocks: Iterator[Block], source: Source) -> Iterator[Block]:
    """The blocks, with a progress bar on a terminal: candidates, their rate, and the time left where rows can be told
    in advance."""
    console = Console(stderr=True)
    columns = (
        TextColumn("scoring {task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[done]} candidates, {task.fields[rate]:.0f}/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        total = _lines(source.path) if console.is_terminal else None
        task = bar.add_task(source.path.name, total=total, done=0, rate=0.0)
        done = 0
        for block in blocks:
            yield block
            done += _size(block)
            elapsed = bar.tasks[task].elapsed or 1e-9
            bar.update(task, completed=source.rows(), done=done, rate=done / elapsed)


def _lines(path: Path) -> int | None:
    """Rows of a plain file of lines, None of any other."""
    if not path.is_file() or is_compressed(path) or path.suffix.lower() in (".json", ".parquet"):
        return None
    return sum(chunk.count(b"\n") for chunk in _chunks(path))


# ------------------------------------------------------------------------------------------ resuming


def _write_part(
    options: ScoreOptions, blocks: Iterator[Block], score: ScoreQuestions, skipped: Skipped, source: Source
) -> None:
    """Write OUTPUT.part block by block and give it its name. A run without a score leaves nothing."""
    assert options.output is not None
    output = Path(os.path.realpath(options.output))
    part, old = (ScoredLines(output.with_name(f"{output.name}.{end}")) for end in ("part", "part.old"))
    identity = _identity(options)
    with _writing(output):
        kept = _kept(part, old, output, identity, options.overwrite)
    for block in blocks:
        keys, lines = _merged(block, score, kept, skipped)
        with _writing(output):
            part.append(identity, keys, lines)
    try:
        skipped.report()
    except InputError:
        part.remove()
        raise
    with _writing(output):
        part.finish(output, keep_note=bool(skipped.count or source.unfit()))
        old.remove()


def _merged(block: Block, score: ScoreQuestions, kept: Kept, skipped: Skipped) -> tuple[np.ndarray, bytes]:
    """Keys and lines of a block. Only answers without a line in `kept` are scored."""
    keys = row_keys([question for _, question in block])
    known = kept.lines(keys)
    rest = iter(known)
    missing = [Numbered(n, q._replace(answers=tuple(a for a in q.answers if next(rest) is None))) for n, q in block]
    missing = [each for each in missing if each.question.answers]
    fresh = _rows(missing, score([question for _, question in missing]), skipped) if missing else iter(())
    skipped.add_scored(sum(line is not None for line in known))
    lines = []
    answers = [(question, answer) for _, question in block for answer in question.answers]
    for index, (question, answer) in enumerate(answers):
        line = known[index]
        if line is not None:
            lines.append(renamed(line, question.id, answer.name))
            continue
        row, has_score = next(fresh)
        lines.append(json_line(row))
        if not has_score:
            keys[index] = NO_KEY
    return keys, b"".join(lines)


@contextmanager
def _writing(output: Path) -> Iterator[None]:
    """An error of the disk as a message that says what to do."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{output}: {why_unwritable(error)} and run again: scored candidates are kept") from error


def _kept(part: ScoredLines, old: ScoredLines, output: Path, identity: Row, overwrite: bool) -> Kept:
    """The lines of interrupted runs, and of a finished one that has rows without a score."""
    if overwrite:
        for lines in (part, old):
            if lines.path.exists():
                say(f"{lines.path}: removed (--overwrite)")
            lines.remove()
    kept = resume(part, old, output, identity)
    if len(kept):
        say(f"{part.path}: resuming, {len(kept)} candidates are scored")
    return kept


def _identity(options: ScoreOptions) -> Row:
    """What the scores depend on besides the rows of the input."""
    return {
        "model": _sha256([file for folder in options.folders() for file in _model_files(folder)]),
        **options.for_hugging_face,
        "date": None if options.date is None else options.date.isoformat(),
        "block size": CANDIDATES_AT_ONCE,
    }


def _model_files(folder: Path) -> list[Path]:
    """Weights, configs, tokenizer and templates."""
    return sorted(
        file for file in folder.iterdir() if file.suffix in (".json", ".safetensors", ".jinja") and file.is_file()
    )


def _sha256(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
        for chunk in _chunks(file):
            digest.update(chunk)
    return digest.hexdigest()


def _chunks(file: Path) -> Iterator[bytes]:
    with open(file, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk
