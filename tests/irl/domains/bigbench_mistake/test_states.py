"""What a step follows from: hand-written states of the three tasks, and steps that follow from nothing else."""

import numpy as np
import pytest

from irl.domains.bigbench_mistake import dyck, tracking
from irl.domains.bigbench_mistake.states import state_before

STORY = (
    "Alice, Bob, and Claire are dancers at a square dance. At the start of a song, they each have a partner: Alice "
    "is dancing with Karl, Bob is dancing with Lola, and Claire is dancing with Ophelia.\nThroughout the song, the "
    "dancers often trade partners. First, Claire and Bob switch partners. Finally, Bob and Alice switch partners. At "
    "the end of the dance, Alice is dancing with\nOptions:\n(A) Karl.\n(B) Lola.\n(C) Ophelia."
)
TOLD = "Alice: Karl, Bob: Lola, Claire: Ophelia"
LINES = (
    f"At the start: {TOLD}.",
    "Claire and Bob switch partners: Alice: Karl, Bob: Ophelia, Claire: Lola.",
    "Bob and Alice switch partners: Alice: Ophelia, Bob: Karl, Claire: Lola.",
    "At the end of the dance, Alice is dancing with Ophelia. So the answer is (C)",
)


def test_tracking():
    assert [state_before(STORY, LINES, index) for index in range(4)] == [
        TOLD,
        f"due: Claire and Bob\n{TOLD}",
        f"due: Bob and Alice\n{LINES[1]}",
        f"due: Alice?\n(A) Karl.\n(B) Lola.\n(C) Ophelia.\n{LINES[2]}",
    ]
    without_start = LINES[1:]
    assert state_before(STORY, without_start, 0) == f"due: Claire and Bob\n{TOLD}"
    assert state_before(STORY, without_start, 1) == f"due: Bob and Alice\n{LINES[1]}"


def test_dyck():
    steps = dyck.write("( [", dyck.Style())
    states = [state_before("( [", steps, index) for index in range(len(steps))]
    assert states[0] == "due: begin" and states[1] == f"due: begin\n{dyck.HEAD[0]}"
    assert states[2:5] == ["due: (\nstack: empty", "due: [\n( ; stack: (", "due: end\n[ ; stack: ( ["]


def test_word_sorting():
    steps = ("first letters", "we have", "seconds", "now")
    assert state_before("b a", steps, 0) == "b a"
    assert state_before("b a", steps, 1) == "b a\nfirst letters"
    assert state_before("b a", steps, 3) == "-\nwe have\nseconds"


@pytest.mark.parametrize("task", [dyck, tracking], ids=["dyck", "tracking"])
def test_right_steps_follow_from_their_state(task):
    """The same state and the same style never lead to two different right lines."""
    rng, seen = np.random.default_rng(0), {}
    like = STORY if task is tracking else "( [ { } ] ( <"
    for _ in range(40):
        problem = task.problem(like, rng)
        style = (
            dyck.Style() if task is dyck else tracking.drawn_style(tracking.parsed(problem), np.random.default_rng(1))
        )
        steps = task.write(problem, style)
        for index, step in enumerate(steps):
            state = state_before(problem, steps, index)
            if "due: end" not in state:
                assert seen.setdefault((state, style), step) == step
    assert len(seen) > 50
