"""Lines that interrupted runs left: found by the content of their rows, whatever became of the files."""

import numpy as np
import pytest

from experiments.commands.scored_rows import NO_KEY, Kept, ScoredLines, renamed, resume, row_keys
from irl.rewards.questions import Answer, Question
from irl.types import InputError, Message

IDENTITY = {"model": "a" * 64}


def question(prompt, *texts, messages=(), id="q"):
    return Question(id, prompt, messages, tuple(Answer(i, text) for i, text in enumerate(texts)))


@pytest.fixture
def lines(tmp_path):
    """The present lines, those of interrupted runs, and what was written: six blocks of five lines."""
    part, old = ScoredLines(tmp_path / "out.part"), ScoredLines(tmp_path / "out.part.old")
    written, rng = {}, np.random.default_rng(0)
    for _ in range(6):
        keys = rng.integers(1, 2**63, 5).astype(np.uint64)
        block = {int(key): b'{"id": "%d", "candidate": 0, "score": 1.0}\n' % key for key in keys}
        part.append(IDENTITY, keys, b"".join(block.values()))
        written |= block
    return part, old, written


def test_keys_are_of_prompt_turns_and_answer():
    turn = (Message(role="user", content="p"),)
    distinct = [question("p", "a", "b"), question("pa", ""), question("p", "a", messages=turn), question("", "pa")]
    keys = row_keys(distinct)
    assert keys.dtype == np.uint64 and len(set(keys.tolist())) == 5 and NO_KEY not in keys
    assert row_keys([question("p", "b", "a", id="other")]).tolist() == keys[[1, 0]].tolist()
    parts = Question("q", "p", (), (Answer(0, "ab", ("a", "b")), Answer(1, "ab")))
    assert len(set(row_keys([parts]).tolist())) == 2, "an answer in steps is read step by step"
    assert row_keys([question("p", "\ud800")]).shape == (1,)


def test_lines_of_several_interrupted_runs(lines):
    part, old, written = lines
    keys = np.array([*written, 7], np.uint64)
    assert resume(part, old, part.path.with_name("out"), IDENTITY).lines(keys) == [*written.values(), None]
    assert not part.path.exists() and not part.note.exists()
    part.append(IDENTITY, np.array([7, NO_KEY], np.uint64), b"seven\nnothing\n")
    kept = resume(part, old, part.path.with_name("out"), IDENTITY)
    assert kept.lines(keys) == [*written.values(), b"seven\n"] and len(kept) == 31
    assert kept.lines(np.array([NO_KEY + 1], np.uint64)) == [None]
    size = old.path.stat().st_size
    part.append(IDENTITY, keys[:5], b"".join(written.values())[:5])
    resume(part, old, part.path.with_name("out"), IDENTITY)
    assert old.path.stat().st_size == size, "what is known is not kept twice"
    with pytest.raises(InputError, match=r"out.part.old: was begun with another model; give --overwrite"):
        resume(part, old, part.path.with_name("out"), {"model": "b" * 64})


@pytest.mark.parametrize("seed", range(3))
def test_damage_loses_lines_and_never_changes_one(lines, seed):
    """Bits, bytes and ends of both files: a line that is found is the line that was written."""
    part, old, written = lines
    whole, note, rng = part.path.read_bytes(), part.note.read_bytes(), np.random.default_rng(seed)
    keys, found = np.array(list(written), np.uint64), 0
    for _ in range(60):
        damaged = [bytearray(whole), bytearray(note)]
        which, first = (0, 0) if rng.integers(2) else (1, note.index(b"\n") + 1)
        content = damaged[which]
        place = int(rng.integers(first, len(content)))
        match rng.integers(5):
            case 0:
                content[place] ^= 1 << int(rng.integers(8))
            case 1:
                del content[place : place + int(rng.integers(1, 40))]
            case 2:
                content[place:place] = rng.bytes(int(rng.integers(1, 20)))
            case 3:
                del content[place:]
            case 4:
                content[place : place + 1] = b"9" * int(rng.integers(1, 30))
        old.remove()
        part.path.write_bytes(damaged[0])
        part.note.write_bytes(damaged[1])
        for line, expected in zip(
            resume(part, old, part.path.with_name("out"), IDENTITY).lines(keys), written.values(), strict=True
        ):
            assert line is None or line == expected
            found += line is not None
    assert found > 600, "the other blocks are found"


def test_nothing_is_kept_of_nothing(tmp_path):
    part, old = ScoredLines(tmp_path / "out.part"), ScoredLines(tmp_path / "out.part.old")
    kept = resume(part, old, part.path.with_name("out"), IDENTITY)
    assert len(kept) == 0 and kept.lines(np.array([1], np.uint64)) == [None] and not list(tmp_path.iterdir())


def test_a_line_takes_the_name_of_its_row():
    line = b'{"id": "row-1", "candidate": 0, "score": -1.2345678901234567, "steps": ["\xc3\xa9"]}\n'
    assert renamed(line, "row-1", 0) is line
    assert renamed(line, "row-12", "chosen") == line.replace(b'"row-1"', b'"row-12"').replace(b" 0,", b' "chosen",')


def test_memory_of_a_row_is_two_numbers(tmp_path):
    part = ScoredLines(tmp_path / "out.part")
    keys = np.arange(1, 20_001, dtype=np.uint64)
    part.append(IDENTITY, keys, b"x\n" * len(keys))
    kept = Kept(part)
    assert kept._keys.nbytes + kept._order.nbytes == 16 * len(keys)
