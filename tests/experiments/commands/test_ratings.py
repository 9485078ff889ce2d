"""`traceward ratings`: a table by hand, PandaLM's judges, and rows that are no comparisons."""

import json
import re

import pytest

from experiments.cli import main


def ratings(capsys, path, *options):
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["ratings", str(path), *options])
    out = capsys.readouterr()
    return stop.value.code or 0, out.out, out.err


def write(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def games(wins, losses, **more):
    return [{"first": "new", "second": "old", "score": score, **more} for score in [1] * wins + [0] * losses]


def test_two_systems_by_hand(capsys, tmp_path, monkeypatch):
    """30 wins of 40: odds of 3 are 400 log10(3) = 191 points, half of them on either side of the mean."""
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = ratings(capsys, write(tmp_path / "games.jsonl", games(30, 10)))
    first, second = (line for line in out.splitlines() if line.startswith("│"))
    assert code == 0 and "2 systems, 40 comparisons" in out
    assert "new" in first and "1095 [" in first and "191 [67, 315]" in first and "0.750 [" in first
    assert "old" in second and "905 [" in second and "0.250 [" in second


def test_categories_and_winners(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    rows = games(1, 1, category="maths")
    row = {"model_a": "old", "model_b": "new", "category": "prose"}
    rows += [row | {"winner": winner} for winner in ("model_b", "model_b", "tie", "model_a")]
    code, out, _ = ratings(capsys, write(tmp_path / "games.jsonl", rows), "--ties", "davidson")
    new = next(line for line in out.splitlines() if "new" in line)
    assert code == 0 and "win rate, maths" in out and "0.500 [" in new and "0.625 [" in new


def test_order_of_pandalm(capsys, shared_data, monkeypatch):
    """Wang et al. 2023 (arXiv 2306.05087): LLaMA first, Pythia and Bloom close, OPT, then Cerebras."""
    monkeypatch.setenv("COLUMNS", "200")
    _, out, _ = ratings(capsys, shared_data / "pandalm_test" / "testset-v1.json.xz")
    order = [line.split()[1] for line in out.splitlines() if line.startswith("│")]
    assert order[0] == "llama-7b" and order[-2:] == ["opt-7b", "cerebras-gpt-6.7B"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"first": "a", "second": "b"}], "row 1, field score: missing"),
        ([{"model_a": "a", "model_b": "b", "winner": "a"}], "row 1, field winner: expected one of model_a, model_b"),
        ([{"cmp_key": "a", "annotator1": 1}], "row 1, field cmp_key: expected two systems"),
        ([{"cmp_key": "a_b", "annotator1": True}], "field annotator1: expected one of 1, 2, 0"),
        ([{"first": "a", "second": "a", "score": 1}], "is a player against itself"),
        (games(3, 0), "lost every game.*give ridge"),
    ],
)
def test_bad_rows(capsys, tmp_path, rows, message):
    code, _, err = ratings(capsys, write(tmp_path / "games.jsonl", rows))
    assert code == 2 and err.startswith("traceward: ") and len(err.splitlines()) == 1
    assert re.search(message, err), err


def test_ridge_rates_a_system_that_won_everything(capsys, tmp_path):
    code, out, _ = ratings(capsys, write(tmp_path / "games.jsonl", games(3, 0)), "--ridge", "0.1")
    assert code == 0 and "new" in out
