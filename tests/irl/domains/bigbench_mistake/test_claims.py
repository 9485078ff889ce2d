"""Claims of steps: written out by hand, true in right traces, false first where a mistake was planted."""

import numpy as np
import pytest

from irl.data import read_records
from irl.domains.bigbench_mistake import dyck, tracking, word_sorting
from irl.domains.bigbench_mistake.claims import DYCK, SORTING, TRACKING, Claims, claims, holds, task_of
from irl.text.encode import Encoder
from irl.text.tokenize import UNKNOWN, character_tokenizer
from irl.text.windows import UNREAD, encode_windows
from irl.types import InputError

WORDS = "barn berry bishop candle carbon cargo delta desert dinner eagle early engine fable falcon gravel".split()
STORY = (
    "Alice, Bob, and Claire are playing a game. At the start of the game, they are each holding a ball: Alice has a "
    "red ball, Bob has a blue ball, and Claire has a pink ball.\nAs the game progresses, pairs of players trade balls. "
    "First, Bob and Claire swap balls. Then, Alice and Bob swap balls. Finally, Claire and Alice swap balls. At the "
    "end of the game, Alice has the\nOptions:\n(A) red ball.\n(B) blue ball.\n(C) pink ball."
)


def told(problem, steps):
    return [[(claim.prompt, claim.step) for claim in step] for step in claims(problem, steps)]


def first_false(problem, steps):
    found = claims(problem, steps)
    return next((i for i, step in enumerate(found) if not all(holds(problem, claim) for claim in step)), None)


def test_brackets_by_hand():
    steps = dyck.write("( [ ]", dyck.Style())
    assert told("( [ ]", steps) == [
        [],
        [],
        [(" (", "( (")],
        [("( [", "[ ([")],
        [("([ ]", "] (")],
        [("( .", ". (")],
        [("pop (", "(")],
        [("close (", ")"), ("close (", ")")],
    ]


def test_swaps_by_hand():
    steps = ["Bob and Claire swap balls: Alice: red, Claire: blue.", "Alice has pink ball. So the answer is (C)"]
    (state, *others), answer = told(STORY, steps)
    had = dict(pair for pair in state[0].partition(",")[0].split())
    assert set(had) == set("ABC") and len(set(had.values())) == 3
    assert state == (f"A{had['A']} B{had['B']} C{had['C']}, BC, A", had["A"])
    assert others == [(state[0][:-1] + "C", had["B"]), ("BC", "BC")]
    now = f"A{had['A']} B{had['C']} C{had['B']}"
    things = had["A"] + had["B"] + had["C"]
    assert answer == [(f"{now}, AB, A", had["C"]), (f"{things}, {had['C']}", "3")]


def test_words_by_hand():
    lines = word_sorting.write("half ouch horizontal", word_sorting.Style(), np.random.default_rng(0))
    first, chain, subpart, order, answer = told("half ouch horizontal", lines)
    assert first == [("half 1", "h8"), ("ouch 1", "o15"), ("horizontal 1", "h8")]
    ((before, ordered),) = chain
    half, ouch, horizontal = (name[0] for name in before.split())
    group = "".join(sorted(half + horizontal))
    assert before == f"{half}h {ouch}o {horizontal}h" and ordered == f"h{group} o{ouch}"
    assert subpart == [(f"{group}1 {ouch}", f"{group}2{group}"), ("half 2", "a1"), ("horizontal 2", "o15")]
    assert order[0] == (" ".join(c[1:3] for c in (f" {half}a", f" {horizontal}o")), f"a{half} o{horizontal}")
    assert order[1] == (f"{group} {ouch}/{group}/{half} {horizontal}", f"{half} {horizontal} {ouch}")
    assert answer == [(f"{half} {horizontal} {ouch}", f"={half}{horizontal}{ouch}")]


WRITERS = {
    "dyck": (dyck, lambda rng: dyck.problem("( [ { < ( [", rng)),
    "tracking": (tracking, lambda rng: tracking.problem(STORY, rng)),
    "sorting": (word_sorting, lambda rng: word_sorting.problem("a b c d e f g h", rng, WORDS)),
}


@pytest.mark.parametrize("task", WRITERS)
def test_right_traces_claim_truths_and_wrong_ones_a_falsehood_where_they_go_wrong(task):
    writer, problem = WRITERS[task]
    rng, late = np.random.default_rng(0), 0
    for number in range(60):
        right = writer.written(problem(rng), rng)
        assert first_false(right.problem, right.steps) is None
        wrong = writer.flawed(problem(rng), number / 60, rng)
        late += wrong.wrong is not None and first_false(wrong.problem, wrong.steps) != wrong.wrong
    assert late <= 3  # a misread letter behind the end of a word; a thing put where its like was


def test_names_are_the_same_whenever_a_trace_is_read_and_differ_between_problems():
    lines = word_sorting.write("half ouch horizontal", word_sorting.Style(), np.random.default_rng(0))
    assert claims("half ouch horizontal", lines) == claims("half ouch horizontal", lines)
    others = {told("half ouch horizontal zebra" + "s" * n, lines)[1][0][0] for n in range(5)}
    assert len(others) > 1


def test_what_cannot_be_read_is_a_claim_as_it_stands():
    for problem, steps in (("half ouch", ["What? " * 20]), (STORY, ["What? " * 20]), ("( [", ["", "", "What? " * 20])):
        (claim,) = claims(problem, steps)[-1]
        assert claim.step == ("What? " * 20)[:UNREAD] and not holds(problem, claim)


def test_other_problems_are_refused():
    assert [task_of(p) for p in ("( [", STORY, "half ouch l's")] == [DYCK, TRACKING, SORTING]
    for problem in ("What is 2+2?", "", "one"):
        with pytest.raises(InputError, match="expected a problem of Dyck languages, tracking shuffled objects or word"):
            claims(problem, ["So 4."])


def test_characters_are_tokens():
    tokenizer = character_tokenizer()
    found = tokenizer.encode("A-z\n ~é").tokens
    assert found == ["A", "-", "z", "\n", " ", "~", UNKNOWN]


@pytest.mark.parametrize(
    ("file", "least"), [("dyck_languages", 0.98), ("tracking_shuffled_objects", 0.94), ("word_sorting", 0.95)]
)
def test_the_rules_find_the_first_mistakes_of_the_data(file, least, shared_data):
    traces = list(read_records(shared_data / "bigbench_mistake" / f"{file}.jsonl.xz", "bigbench_mistake"))
    assert np.mean([first_false(t.prompt, t.steps) == t.first_error for t in traces]) >= least
    encoder = Encoder(Claims().tokenizer(), Claims.longest, 1)
    read = [claim for t in traces[:100] for step in claims(t.prompt, t.steps) for claim in step]
    assert all(encoder.fits(row) for row in encode_windows(encoder, read))
