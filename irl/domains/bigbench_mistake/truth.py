"""Whether a claim is true by the rules of its task (dyck_claims.py, tracking_claims.py, sorting_claims.py).

An oracle for evaluation: no learner may use it.
"""

from irl.domains.bigbench_mistake.dyck import CLOSING
from irl.text.windows import StepWindow


def dyck_holds(claim: StepWindow) -> bool:
    before, claimed = claim.prompt, claim.step
    if before.startswith("pop "):
        return claimed == before[4:][::-1]
    if before.startswith("close "):
        return claimed == "".join(CLOSING.get(bracket, "") for bracket in before[6:])
    stack, _, due = before.rpartition(" ")
    if due == ".":
        return claimed == f". {stack}"
    return claimed == f"{due} {stack + due if due in CLOSING else stack[:-1]}"


def tracking_holds(claim: StepWindow) -> bool:
    parts, claimed = claim.prompt.split(", "), claim.step
    if len(parts) == 1:
        return claimed == parts[0]
    if len(parts) == 2:
        things, thing = parts
        return thing in things and claimed == str(things.index(thing) + 1)
    had, due, name = parts
    state = {pair[0]: pair[1] for pair in had.split()}
    if due:
        state[due[0]], state[due[1]] = state[due[1]], state[due[0]]
    return claimed == state.get(name)


def sorting_holds(claim: StepWindow) -> bool:
    before, claimed = claim.prompt, claim.step
    if "/" in before:
        whole, group, ordered = before.split("/")
        return claimed == " ".join(ordered if entry == group else entry for entry in whole.split())
    entries = before.split()
    if len(entries) == 2 and entries[1].isdigit() and entries[0].islower():
        word, at = entries[0], int(entries[1]) - 1
        return at >= len(word) or claimed == f"{word[at]}{ord(word[at]) - 96}"
    if all(len(entry) == 2 and entry[0].isupper() and entry[1].islower() for entry in entries):
        groups: dict[str, list[str]] = {}
        for entry in entries:
            groups.setdefault(entry[1], []).append(entry[0])
        return claimed == " ".join(letter + "".join(sorted(groups[letter])) for letter in sorted(groups))
    unsorted = next((entry for entry in entries if entry[-1].isdigit()), None)
    if unsorted is None:
        return claimed == "=" + "".join(entries)
    return claimed == f"{unsorted[:-1]}{int(unsorted[-1]) + 1}{unsorted[:-1]}"
