"""RewardBench 1 by hand: strict wins, sections by example counts, the prior sets at half weight."""

import numpy as np
import pytest

from irl.evaluation.benchmarks.rewardbench import (
    EXAMPLE_COUNTS,
    SECTIONS,
    overall_score,
    rewardbench,
    section_scores,
)
from irl.types import InputError


def score(won: dict[str, list[int]], **options):
    """Pairs whose chosen answer wins (1), ties (0) or loses (-1), by subset."""
    subset = [name for name, row in won.items() for _ in row]
    gap = np.array([value for row in won.values() for value in row], float)
    return rewardbench(gap + 5, np.full(len(gap), 5.0), subset, resamples=20, **options)


def test_the_published_sizes():
    assert len(EXAMPLE_COUNTS) == 23 and EXAMPLE_COUNTS["math-prm"] == 984 == 6 * 164
    totals = {section: sum(inside.values()) for section, inside in SECTIONS.items()}
    assert totals == {"Chat": 358, "Chat Hard": 456, "Safety": 740, "Reasoning": 1968}
    assert sum(EXAMPLE_COUNTS.values()) - 984 + 447 == 2985  # pairs in the data set


def test_by_hand():
    won = {name: [1, -1] for name in EXAMPLE_COUNTS}
    won |= {"alpacaeval-easy": [1, 1], "mt-bench-med": [-1, 0], "math-prm": [1, 1, 1, -1]}
    found = score(won)
    assert found["mt-bench-med"].mean == 0  # a tie is wrong
    assert found["math-prm"][0] == 0.75 and found["math-prm"].num_prompts == 4
    chat = (100 * 1 + 95 * 0.5 + 95 * 0.5 + 28 * 0.5 + 40 * 0) / 358
    assert found["Chat"].mean == pytest.approx(chat)
    assert found["Chat"].num_prompts == 10
    assert found["Reasoning"].mean == pytest.approx((0.75 + 0.5) / 2)
    assert found["overall"].mean == pytest.approx((chat + 0.5 + 0.5 + 0.625) / 4)
    assert found["overall"].num_prompts == 48
    assert found["overall"].low <= found["overall"].mean <= found["overall"].high


def test_all_right():
    found = score({name: [1] for name in EXAMPLE_COUNTS})
    assert found["overall"][:3] == (1.0, 1.0, 1.0)


def test_missing_subsets():
    found = score({"hep-go": [1, 1], "math-prm": [-1]})
    assert found["Reasoning"].mean == pytest.approx(164 / (164 + 984))
    assert np.isnan(found["Chat"].mean) and np.isnan(found["overall"].mean)
    assert "hep-cpp" not in found and "hep-go" in found


def test_overall_is_the_plain_mean_of_sections():
    assert overall_score(dict(zip(SECTIONS, (0.9, 0.5, 0.7, 0.9), strict=True))) == pytest.approx(0.75)
    assert np.isnan(section_scores({})["Chat"])


@pytest.mark.parametrize(
    ("chosen", "subset", "message"),
    [
        ([1.0], ["math-prn"], "did you mean 'math-prm'"),
        ([1.0], ["?"], "none of RewardBench 1; known: alpacaeval-easy"),
        ([np.nan], ["math-prm"], "row 0: a score is NaN"),
        ([1.0], ["math-prm", "hep-go"], "expected one length|Type-check error"),
        ([], [], "expected one length"),
    ],
)
def test_bad_input(chosen, subset, message):
    with pytest.raises((InputError, ValueError, TypeError), match=message):
        rewardbench(np.array(chosen), np.zeros(len(chosen)), subset)
