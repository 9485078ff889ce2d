"""Inverse RL in tables from the command: the closed form is met, and what is written is what was learned."""

import json
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy

from configs import cliff_mce_irl, random_mdp_mce_irl
from irl.control.tabular.cliff_world import CliffWorld
from irl.control.tabular.maxent_irl import MaxEntIrl
from irl.control.tabular.mce_irl import MceIrl
from irl.control.tabular.random_mdp import RandomMdp
from irl.types import InputError

CLIFF = replace(
    cliff_mce_irl.config,
    world=CliffWorld(width=3, height=2, horizon=4, discount=0.9),
    mce=MceIrl(),
    maxent=MaxEntIrl(),
    seeds=2,
)
ENDLESS = replace(random_mdp_mce_irl.config, world=RandomMdp(states=5, features=2, horizon=None, discount=0.8), seeds=2)


def run(config, folder):
    folder.mkdir(parents=True)
    assert config.run(folder, "traceward run mine").stat().st_size > 0
    report = json.loads((folder / "report.json").read_text())
    return report, {row["name"]: row for row in report["headline"]}


@pytest.fixture(scope="module")
def cliff(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cliff") / "run"
    return folder, *run(CLIFF, folder)


def test_the_closed_form_is_met(cliff):
    _, _, rows = cliff
    assert rows["MCE-IRL, exact occupancy: occupancy error"]["value"] < 1e-6
    assert abs(rows["MCE-IRL, exact occupancy: regret"]["value"]) < 1e-5
    assert rows["MCE-IRL, exact occupancy: occupancy error"]["low"] is None, "one fit has no interval"


def test_wind_misleads_maxent_irl_and_not_mce_irl(cliff):
    _, _, rows = cliff
    for name in ("occupancy error", "STARC distance, weighted by the expert"):
        wrong, right = (rows[f"{method}, exact occupancy: {name}"]["value"] for method in ("MaxEnt IRL", "MCE-IRL"))
        assert wrong > 10 * right


def test_demonstrations_cost_what_they_are_short_of(cliff):
    _, _, rows = cliff
    learned, themselves = (
        rows["MCE-IRL, demonstrations: occupancy error"],
        rows["demonstrations themselves: occupancy error"],
    )
    assert 0 < learned["value"] < 3 * themselves["value"] and learned["low"] <= learned["value"] <= learned["high"]
    assert learned["information"] == "demonstrations" and themselves["information"] == "none"


def test_maps_lie_as_the_world_does(cliff):
    folder, report, _ = cliff
    tables = safetensors.numpy.load_file(folder / "rewards.safetensors")
    assert tables["MCE-IRL, demonstrations"].shape == (2, 6) and tables["true reward"].dtype == np.float64
    (maps,) = report["maps"]
    panels = {panel["name"]: np.array(panel["cells"]) for panel in maps["panels"]}
    np.testing.assert_array_equal(panels["true reward"], [[-1, -10, 10], [-1, -1, -1]])
    np.testing.assert_array_equal(panels["MaxEnt IRL, exact"], tables["MaxEnt IRL, exact"].reshape(2, 3))
    np.testing.assert_array_equal(panels["MCE-IRL, demonstrations"].ravel(), tables["MCE-IRL, demonstrations"][0])
    visits = panels["the expert's visits to a state"]
    assert visits.sum() == pytest.approx(1 + 0.9 + 0.81 + 0.729) and visits[0, 0] >= 1
    assert (folder / "figures" / "map_0.png").stat().st_size > 0


def test_without_a_horizon_from_features(tmp_path):
    report, rows = run(ENDLESS, tmp_path / "run")
    assert rows["MCE-IRL, exact occupancy: occupancy error"]["value"] < 1e-6
    assert rows["MCE-IRL, exact occupancy: EPIC distance"]["value"] < 1e-4, "theta is recovered: few features"
    assert not any("MaxEnt" in name for name in rows)
    assert len(report["maps"][0]["panels"][0]["cells"]) == 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (replace(ENDLESS, episode=None), "TabularImitation.episode: expected only with an infinite horizon"),
        (replace(CLIFF, episode=5), "TabularImitation.episode: expected only with an infinite horizon"),
        (
            replace(ENDLESS, maxent=cliff_mce_irl.config.maxent),
            "TabularImitation.maxent: expected None with an infinite horizon",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(config, message, tmp_path):
    with pytest.raises(InputError, match=message):
        run(config, tmp_path / "run")
