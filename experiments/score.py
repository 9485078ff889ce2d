"""`traceward score`: the scores of every candidate of a file, a line per candidate.

Questions are scored in blocks that depend on the file alone, so that a score comes out the same to the last bit
whether a run was interrupted or not. A plain output file grows as OUTPUT.part and takes its name when it is complete;
OUTPUT.part.json says which model, input and options it belongs to, and the same command goes on from there.
"""

import datetime
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from experiments.adapters import base_of, holds_adapters, load_adapters
from experiments.candidate_files import (
    check_output,
    finite,
    is_hugging_face,
    load_conversations,
    load_scorer,
    say,
    write_answers,
)
from experiments.fit_claims import holds_claims, load_claims, without_claims
from irl.traces.conversations import Question, question_of
from irl.traces.formats import read_candidates
from irl.traces.json_lines import Row, is_compressed, json_line, why_unwritable
from irl.traces.reward_data import Reading, read_records
from irl.traces.scoring import TextScores
from irl.types import InputError

CANDIDATES_AT_ONCE = 512
_CHUNK = 1 << 20

Block = list[Question]
ScoreBlock = Callable[[Block], TextScores]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Score candidates: {"id", "candidate", "score", "step_scores", "steps"} per candidate, in the file's order.

    "candidate" is a number from 0, or "chosen" and "rejected". Interrupted, the same command goes on where it stopped,
    unless the output is compressed or standard output.
    """

    model: Path
    """A reward model folder, such as runs/quickstart/model or the calculations-seed-0 of a run, a Hugging Face folder
    as it was downloaded, or a PEFT folder of low-rank adapters."""
    input: Path | None = None
    """JSON lines (compressed or not), .json or Parquet: {"prompt", "candidates": [{"text"}]}, {"prompt", "completion"},
    {"prompt", "chosen", "rejected"}, {"messages"} and other formats. Rows that do not fit are listed at the end."""
    candidates: Path | None = None
    """Instead of --input: JSON lines {"id", "prompt", "candidates": [{"text"}]}, of which every line must fit."""
    output: Path | None = None
    """Where the scores go; standard output by default."""
    format: str | None = None
    """Name of the input's format; its columns tell by default."""
    date: datetime.date | None = None
    """Hugging Face folders: the date that is told to a chat template that asks for it, YYYY-MM-DD."""
    label: int | None = None
    """Hugging Face folders: which label is the score, where the head has several."""
    step_tokens: str | None = None
    """Hugging Face language models that judge steps: the token for a right step and the one for a wrong step, such as
    "+,-". Every step is a user's turn and the token the assistant's (RLHFlow), unless there is a --step-marker. The
    score of a step is the probability of the first token among the two, that of an answer their mean."""
    step_marker: str | None = None
    """With --step-tokens: the word behind every step where the model says whether it is right, such as "ки"
    (Math-Shepherd). The score of an answer is that of its lowest step."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Hugging Face folders: what the network computes in."""
    base: Path | None = None
    """PEFT folders: the Hugging Face folder of their base, where it is not the one that adapter_config.json names."""
    overwrite: bool = False
    """Remove what an interrupted run left of the output and start anew."""


class Source(NamedTuple):
    """The questions of a file, and how far it has been read."""

    path: Path
    format: str
    questions: Iterator[Question]
    rows: Callable[[], int]
    epilogue: Callable[[], str]
    """What is to be said of rows that did not fit."""


def main(arguments: Sequence[str]) -> int:
    options = tyro.cli(Options, args=list(arguments), prog="traceward score")
    path = _input(options)
    check_output(options.output, path)
    source = _open(options, path)
    score, information = _load(options)
    told = ""
    if holds_claims(options.model) and path.is_file():
        told = without_claims(load_claims(options.model).reading, _open(options, path).questions, path)
    blocks = _shown(_blocks(source.questions), source)
    resumable = options.output is not None and not is_compressed(options.output) and path.is_file()
    if options.output is not None and resumable:
        count = _write_part(options, source, blocks, score)
    else:
        count = write_answers(options.output, (row for block in blocks for row in _rows(block, score(block))))
    for line in filter(None, (source.epilogue(), told, f"{count} candidates scored; information level: {information}")):
        say(line)
    return 0


def _input(options: Options) -> Path:
    path = options.input or options.candidates
    if path is None or (options.input and options.candidates):
        raise InputError("give the file to score by --input FILE, or by --candidates FILE, and by one of them")
    if options.candidates and options.format:
        raise InputError("--format: --candidates has one format; give the file by --input")
    return path


def _load(options: Options) -> tuple[ScoreBlock, str]:
    """What scores a block, and the information level of its scores."""
    if holds_adapters(options.model):
        return _load_adapters(options)
    if options.base is not None:
        raise InputError(f"{options.model}: --base is for PEFT folders (adapter_config.json); leave it out")
    if is_hugging_face(options.model):
        scorer = load_conversations(options.model, **_for_hugging_face(options))
        return _naming(scorer, options), scorer.spec.information
    if _for_hugging_face(options) != _for_hugging_face(Options(model=options.model)):
        names = "--date, --label, --dtype, --step-tokens and --step-marker"
        raise InputError(f"{options.model}: {names} are for Hugging Face folders; leave them out")
    if holds_claims(options.model):
        claims = load_claims(options.model)
        return _naming(claims.answers, options), claims.spec.information
    texts, _ = load_scorer(options.model)

    def score(block: Block) -> TextScores:
        pairs = [(question.prompt, answer.text) for question in block for answer in question.answers]
        return texts([prompt for prompt, _ in pairs], [text for _, text in pairs])

    return _naming(score, options), texts.spec.information


def _load_adapters(options: Options) -> tuple[ScoreBlock, str]:
    if (options.step_tokens, options.step_marker) != (None, None):
        told = "--step-tokens and --step-marker: adapters have a head and do not judge in words"
        raise InputError(f"{options.model}: {told}; leave them out")
    adapted = load_adapters(
        options.model, base=options.base, dtype=options.dtype, label=options.label, date=options.date
    )
    return _naming(adapted, options), adapted.spec.information


def _for_hugging_face(options: Options) -> dict[str, Any]:
    """The options that only Hugging Face folders have."""
    return {
        "date": options.date,
        "label": options.label,
        "dtype": options.dtype,
        "step_tokens": options.step_tokens,
        "step_marker": options.step_marker,
    }


def _naming(score: ScoreBlock, options: Options) -> ScoreBlock:
    """`score`, with the file in front of what it has to say."""

    def named(block: Block) -> TextScores:
        try:
            return score(block)
        except InputError as error:
            between = f"problems {block[0].id!r} to {block[-1].id!r}"
            raise InputError(f"{_input(options)}: {between}: {error}") from error

    return named


def _open(options: Options, path: Path) -> Source:
    return _strict(path) if options.candidates else _source(path, options.format)


def _source(path: Path, format: str | None) -> Source:
    reading: Reading = read_records(path, format)

    def questions() -> Iterator[Question]:
        for record in reading:
            yield question_of(record, f"row-{reading.rows}")

    def epilogue() -> str:
        return str(reading.report) if reading.report.unfit else ""

    return Source(path, reading.report.format, questions(), lambda: reading.rows, epilogue)


def _strict(path: Path) -> Source:
    """A file of our candidates, read as `rerank` reads it."""
    read = 0

    def questions() -> Iterator[Question]:
        nonlocal read
        for record in read_candidates(path):
            read += 1
            yield question_of(record, record.id)

    return Source(path, "candidates, every line", questions(), lambda: read, lambda: "")


def _blocks(questions: Iterable[Question]) -> Iterator[Block]:
    """Whole questions, together at least CANDIDATES_AT_ONCE answers but for the last block."""
    block: Block = []
    size = 0
    for question in questions:
        block.append(question)
        size += len(question.answers)
        if size >= CANDIDATES_AT_ONCE:
            yield block
            block, size = [], 0
    if block:
        yield block


def _size(block: Block) -> int:
    return sum(len(question.answers) for question in block)


def _rows(block: Block, scores: TextScores) -> Iterator[Row]:
    """The output of a block."""
    named = [(question.id, answer.name) for question in block for answer in question.answers]
    for index, (id, name) in enumerate(named):
        yield {
            "id": id,
            "candidate": name,
            "score": finite(scores.trace[index : index + 1])[0],
            "step_scores": finite(scores.steps[index]),
            "steps": list(scores.step_texts[index]),
        }


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


# ------------------------------------------------------------------------------------------ going on


def _write_part(options: Options, source: Source, blocks: Iterator[Block], score: ScoreBlock) -> int:
    """Score what OUTPUT.part does not hold yet, and give it its name. A run that scored nothing leaves nothing."""
    assert options.output is not None
    output = Path(os.path.realpath(options.output))
    part, note = output.with_name(f"{output.name}.part"), output.with_name(f"{output.name}.part.json")
    identity = _identity(options, source)
    with _writing(output):
        kept = _kept(part, note, identity, options.overwrite)
    done = 0
    for block in blocks:
        missing = max(kept - done, 0)
        if missing < _size(block):
            lines = b"".join(list(map(json_line, _rows(block, score(block))))[missing:])
            with _writing(output):
                if not part.exists():
                    note.write_text(json.dumps(identity, indent=1) + "\n", encoding="utf-8")
                with open(part, "ab") as file:
                    file.write(lines)
        done += _size(block)
    if done < kept:
        raise InputError(f"{part}: holds {kept} lines for {done} candidates; delete it, or give --overwrite")
    with _writing(output):
        with open(part, "ab") as file:
            os.fsync(file.fileno())
        os.replace(part, output)
        note.unlink()
    return done


@contextmanager
def _writing(output: Path) -> Iterator[None]:
    """An error of the disk as a message that says what to do."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{output}: {why_unwritable(error)} and run again: it goes on from what is scored") from error


def _kept(part: Path, note: Path, identity: Row, overwrite: bool) -> int:
    """Whole lines that an interrupted run left; a last one that was cut off is removed."""
    if overwrite and part.exists():
        part.unlink()
        say(f"{part}: removed (--overwrite)")
    if not part.exists():
        return 0
    _check_same(part, note, identity)
    lines, end, place = 0, 0, 0
    for chunk in _chunks(part):
        lines += chunk.count(b"\n")
        end = place + chunk.rfind(b"\n") + 1 if b"\n" in chunk else end
        place += len(chunk)
    os.truncate(part, end)
    say(f"{part}: going on after {lines} candidates")
    return lines


def _check_same(part: Path, note: Path, identity: Row) -> None:
    advice = "give --overwrite to start anew, or delete it, or take another --output"
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        raise InputError(f"{part}: is there, but {note.name} does not tell what it belongs to; {advice}") from None
    other = [name for name, value in identity.items() if not isinstance(found, dict) or found.get(name) != value]
    if other:
        raise InputError(f"{part}: was begun with another {' and '.join(other)}; {advice}")


def _identity(options: Options, source: Source) -> Row:
    """What decides the lines of the output."""
    return {
        "model": _sha256([file for folder in _model_folders(options) for file in _model_files(folder)]),
        "input": _sha256([source.path]),
        "format": source.format,
        **_for_hugging_face(options),
        "date": None if options.date is None else options.date.isoformat(),
        "block size": CANDIDATES_AT_ONCE,
    }


def _model_folders(options: Options) -> list[Path]:
    """With the base of adapters."""
    adapters = holds_adapters(options.model)
    return [options.model, base_of(options.model, options.base)] if adapters else [options.model]


def _model_files(folder: Path) -> list[Path]:
    """Weights, configs, tokenizer and templates."""
    return sorted(file for file in folder.iterdir() if file.suffix in (".json", ".safetensors", ".jinja"))


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
