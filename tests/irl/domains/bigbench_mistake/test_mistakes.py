"""Writers of traces: right ones as the data set has them, and mistakes found by checkers of the tests' own."""

import re
from itertools import product, takewhile
from pathlib import Path

import numpy as np
import pytest

from irl.data import read_records
from irl.domains.bigbench_mistake import dyck, tracking, word_sorting
from irl.domains.bigbench_mistake.planted import Planted
from irl.types import InputError, LabelledSteps

WORDS = "barn berry bishop candle carbon cargo delta desert dinner eagle early engine fable falcon gravel".split()
STORY = (
    "Alice, Bob, and Claire are playing a game. At the start of the game, they are each holding a ball: Alice has a "
    "red ball, Bob has a blue ball, and Claire has a pink ball.\nAs the game progresses, pairs of players trade balls. "
    "First, Bob and Claire swap balls. Then, Alice and Bob swap balls. Finally, Claire and Alice swap balls. At the "
    "end of the game, Alice has the\nOptions:\n(A) red ball.\n(B) blue ball.\n(C) pink ball."
)


def dyck_holds(problem: str, steps: tuple[str, ...], index: int) -> bool:
    """Whether a step follows from the problem, all before it being right."""
    read = problem.split()[: index - 1]
    open: list[str] = []
    for symbol in read:
        open = open[:-1] if symbol in ")]}>" else [*open, symbol]
    step, count = steps[index], len(problem.split())
    closing = [{"(": ")", "[": "]", "{": "}", "<": ">"}[symbol] for symbol in reversed(open)]
    if index < 2:
        return True
    if index < count + 2:
        return step == f"{read[-1]} ; stack: {' '.join(open) or 'empty'}"
    if index == count + 2:
        return step.startswith("Now") and re.findall(r"[(\[{<)\]}>]", step) == open
    if "So, we need" not in step:
        listed = re.findall(r'"(.)"', step.partition(" So ")[0])
        return listed == open[::-1]
    needed, _, answer = step.partition("So the answer is ")
    return re.findall(r"[(\[{<)\]}>]", needed) == closing and answer.split() == closing


def words_hold(problem: str, steps: tuple[str, ...], index: int) -> bool:
    """The same for word sorting; the state is read from the lines themselves."""
    step = steps[index]
    if step.startswith("I have"):
        return step.rpartition("answer is ")[2].split() == sorted(problem.split())
    spelled = re.findall(r'"(\w+)": "(\w)" \((\d+)\)', step)
    if spelled:
        nth = word_sorting.ORDINALS.index(re.search(r"The (\w+) letter:", step)[1])
        right = all(w[nth] == c and ord(c) - 96 == int(n) for w, c, n in spelled)
        return right and (index == 0 or {w for w, _, _ in spelled} == next_group(problem, steps[:index]))
    chain, _, whole = step.partition(" Hence, we have ")
    words = (
        set(problem.split())
        if index == 1
        else {w for w, _, _ in re.findall(r'"(\w+)": "(\w)" \((\d+)\)', steps[index - 1])}
    )
    depth = 0 if index == 1 else word_sorting.ORDINALS.index(re.search(r"The (\w+) letter:", steps[index - 1])[1])
    return parts(chain) == by_letter(words, depth) and (
        not whole or parts(whole) == resolved(problem, steps[: index + 1])
    )


def parts(text: str) -> list[set[str]]:
    return [set(re.findall(r'"(\w+)"', part)) for part in text.split(" < ")]


def by_letter(words: set[str], depth: int) -> list[set[str]]:
    letters = sorted({word[depth] for word in words})
    return [{word for word in words if word[depth] == letter} for letter in letters]


def resolved(problem: str, steps: tuple[str, ...]) -> list[set[str]]:
    """The list that right steps have come to."""
    state = by_letter(set(problem.split()), 0)
    for step in steps:
        if "letters. The" in step:
            nth = word_sorting.ORDINALS.index(re.search(r"The (\w+) letter:", step)[1])
            group = {word for word, _ in re.findall(r'"(\w+)": "(\w)"', step)}
            at = state.index(group)
            state[at : at + 1] = by_letter(group, nth)
    return state


def next_group(problem: str, steps: tuple[str, ...]) -> set[str]:
    return next((part for part in resolved(problem, steps) if len(part) > 1), set())


def swaps_hold(problem: str, steps: tuple[str, ...], index: int) -> bool:
    """The same for swaps: whoever a step lists has what swaps by hand leave them with."""
    task = tracking.parsed(problem)
    offset = (
        0 if ":" in steps[0] and "swap" not in steps[0] and "trade" not in steps[0] and "switch" not in steps[0] else 1
    )
    has = dict(zip(task.names, task.things, strict=True))
    for first, second in task.swaps[: index + offset]:
        has[first], has[second] = has[second], has[first]
    if "answer is" in steps[index]:
        return steps[index].endswith(f"({'ABCDE'[task.things.index(has[task.asked])]})")
    listed = re.findall(r"\b([A-Z]\w*): ([\w' -]+)", steps[index].replace("At the start: ", "").replace("swap: ", ""))
    full = {name[0]: name for name in task.names}
    return all(what.rstrip(".") in has[full[name[0]]] for name, what in listed if name[0] in full)


HOLDS = {dyck: dyck_holds, word_sorting: words_hold, tracking: swaps_hold}


def problems(module, rng: np.random.Generator) -> str:
    if module is dyck:
        return dyck.problem("( " * int(rng.integers(2, 20)), rng)
    if module is word_sorting:
        return word_sorting.problem("a " * int(rng.integers(5, 12)), rng, WORDS)
    return tracking.problem(STORY, rng)


@pytest.mark.parametrize("module", list(HOLDS), ids=lambda module: module.__name__.rpartition(".")[2])
def test_written_steps_hold_and_planted_mistakes_do_not(module) -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(60):
        problem = problems(module, rng)
        right, wrong = module.written(problem, rng), module.flawed(problem, float(rng.random()), rng)
        assert all(HOLDS[module](problem, right.steps, index) for index in range(len(right.steps))), right
        if wrong.wrong is None:
            assert module is word_sorting
            continue
        assert all(HOLDS[module](problem, wrong.steps, index) for index in range(wrong.wrong)), wrong
        assert not HOLDS[module](problem, wrong.steps, wrong.wrong), wrong
        seen.add(wrong.kind)
    assert len(seen) > 5


def test_dyck_by_hand() -> None:
    style = dyck.Style(pair=False)
    assert dyck.write("[ ( )", style)[1:] == (
        "stack: empty",
        "[ ; stack: [",
        "( ; stack: [ (",
        ") ; stack: [",
        'Now, we have reached the end. The final stack is "[".',
        'We will need to pop out "[" one by one in that order.',
        'So, we need "]". So the answer is ]',
    )


def test_words_by_hand() -> None:
    steps = word_sorting.write("half ouch horizontal", word_sorting.Style(), np.random.default_rng(0))
    assert steps[1:] == (
        'We now have: (8) ["half" ? "horizontal"] < (15) "ouch".',
        'Now let\'s sort this subpart ["half" ? "horizontal"] by looking at their second letters. The second letter: '
        '"half": "a" (1). "horizontal": "o" (15).',
        'We now have: (1) "half" < (15) "horizontal" for the subpart. Hence, we have "half" < "horizontal" < "ouch".',
        "I have now sorted all the words. The answer is half horizontal ouch",
    )


def test_swaps_by_hand() -> None:
    assert tracking.write(STORY, tracking.Style("swap balls")) == (
        "At the start: Alice: red, Bob: blue, Claire: pink.",
        "Bob and Claire swap balls: Alice: red, Bob: pink, Claire: blue.",
        "Alice and Bob swap balls: Alice: pink, Bob: red, Claire: blue.",
        "Claire and Alice swap balls: Alice: blue, Bob: red, Claire: pink.",
        "At the end of the game, Alice has the blue ball. So the answer is (B)",
    )


def test_labels_stop_at_the_mistake() -> None:
    trace = Planted("p", ("a", "b", "c"), 1, "k").labelled("x")
    assert trace.labels == (1.0, 0.0, None) and trace.subset == "k"
    assert Planted("p", ("a", "b"), None).labelled("x").labels == (1.0, 1.0)


@pytest.mark.parametrize("module", list(HOLDS), ids=lambda module: module.__name__.rpartition(".")[2])
def test_other_names_keep_what_holds(module) -> None:
    rng = np.random.default_rng(1)
    for _ in range(12):
        trace = module.flawed(problems(module, rng), 0.6, rng).labelled("x")
        other = module.renamed(trace, rng)
        assert other.labels == trace.labels
        for index in range(len(trace.steps) if trace.first_error is None else trace.first_error + 1):
            assert HOLDS[module](other.prompt, other.steps, index) == (index != trace.first_error), (trace, other)


def test_invented_words_are_new_and_of_the_same_letters() -> None:
    found = word_sorting.invented(WORDS, 40, np.random.default_rng(0))
    assert len(found) == 40 and set("".join(found)) <= set("".join(WORDS))


def test_another_task_is_refused() -> None:
    with pytest.raises(InputError, match="expected a problem of tracking shuffled objects, got 'sort these'"):
        tracking.parsed("sort these")


def real(shared_data: Path, task: str) -> list[LabelledSteps]:
    file = shared_data / "bigbench_mistake" / f"{task}.jsonl.xz"
    return [record for record in read_records(file) if isinstance(record, LabelledSteps)]


def led(ours: tuple[str, ...], theirs: tuple[str, ...]) -> int:
    return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(ours, theirs, strict=False))))


def test_real_traces_of_brackets_are_written_again(shared_data: Path) -> None:
    traces = [trace for trace in real(shared_data, "dyck_languages")[::8] if len(trace.steps) < 60]
    styles = [dyck.Style(*flags) for flags in product([False, True], repeat=4)]
    whole = [
        max(led(dyck.write(t.prompt, s), t.steps) for s in styles) >= (t.first_error or len(t.steps)) for t in traces
    ]
    assert np.mean(whole) > 0.95


def test_real_traces_of_swaps_are_written_again(shared_data: Path) -> None:
    found = []
    for trace in real(shared_data, "tracking_shuffled_objects")[::6]:
        brief = tracking.parsed(trace.prompt).story.brief
        options = product(dict.fromkeys((*brief, "swap")), (0, 1, 2), *[[False, True]] * 3)
        ours = [tracking.write(trace.prompt, tracking.Style(*option)) for option in options]
        found.append(max(led(steps, trace.steps) for steps in ours) >= (trace.first_error or len(trace.steps)))
    assert np.mean(found) > 0.8
