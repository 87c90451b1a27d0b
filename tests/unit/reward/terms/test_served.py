"""Metrics of a server as a term: weighed and mapped, asked about what can be scored only."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import make_study
from tests.metric_server import FaultyServer, length_share

from orapo.errors import RunPaused, SettingError
from orapo.reward import WeightedReward

ORACLE = "Small left pleural effusion."
REPORTS = ["Left effusion.", "", "No pneumothorax is seen today.", "Left effusion."]


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with FaultyServer() as running:
        yield running


def reward(server: FaultyServer, folder: Path, **settings: Any) -> WeightedReward:
    given = {
        "api_base": server.api_base,
        "cache_path": str(folder / "values.sqlite"),
        "metrics": {"share": {}},
        "max_tries": 1,
        "pause_seconds": 0.05,
        "pause_limit_seconds": 0.1,
        **settings,
    }
    return WeightedReward({"facts": 1, "served": 1}, term_settings={"served": given})


def values(paid: WeightedReward, reports: list[str], oracle: str = ORACLE) -> list[float | None]:
    studies = [make_study("a", oracle)] * len(reports)
    return [breakdown.terms["served"] for breakdown in paid.score(reports, studies)]


def test_a_metrics_values_are_the_terms(server: FaultyServer, tmp_path: Path) -> None:
    paid = reward(server, tmp_path)
    expected = [length_share(ORACLE, report) if report else 0.0 for report in REPORTS]
    assert values(paid, REPORTS) == pytest.approx(expected)
    asked = [hyp for call in server.calls for hyp in call["hyps"]]
    assert sorted(asked) == sorted({report for report in REPORTS if report}), "equal ones once, empty ones never"
    assert paid.totals()["served_calls"] >= 1
    assert "calls" not in paid.totals(), "the judge's calls are others"


def test_metrics_are_weighed_and_mapped_as_declared(server: FaultyServer, tmp_path: Path) -> None:
    metrics = {"share": {}, "other": {"high": 2.0, "lower_is_better": True}}
    share = length_share(ORACLE, REPORTS[0])
    alike = values(reward(server, tmp_path, metrics=metrics), REPORTS[:1])
    assert alike == pytest.approx([0.5 * share + 0.5 * (1 - share)])
    weighed = values(reward(server, tmp_path, metrics=metrics, weights={"share": 3, "other": 1}), REPORTS[:1])
    assert weighed == pytest.approx([0.75 * share + 0.25 * (1 - share)])


def test_a_study_without_a_report_leaves_it_undefined(server: FaultyServer, tmp_path: Path) -> None:
    assert values(reward(server, tmp_path), ["Left effusion."], oracle="N/A") == [None]
    assert not server.calls


def test_a_server_that_gives_nothing_pauses_the_run(server: FaultyServer, tmp_path: Path) -> None:
    server.faults = ["500"] * 20
    with pytest.raises(RunPaused, match="metric server"):
        values(reward(server, tmp_path), REPORTS[:1])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"weights": {"bleu": 1}}, "reward.term_settings.served.weights is of bleu; it must be of share"),
        ({"metrics": {}}, "reward.term_settings.served.metrics is empty"),
        ({"api_base": "http://gpu7:8500"}, "reward.term_settings.served.allow_external is false"),
        ({"batch_size": 0}, "reward.term_settings.served.batch_size is 0; it must be a whole number, at least 1"),
        ({"metrics": {"share": {"lov": 1}}}, "lov is not a setting (did you mean "),
    ],
)
def test_wrong_settings_are_one_line(server: FaultyServer, tmp_path: Path, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingError) as raised:
        reward(server, tmp_path, **settings)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)
