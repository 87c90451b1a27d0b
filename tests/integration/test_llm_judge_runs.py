"""Whole training runs whose judge is a language model behind a real HTTP server that fails."""

import csv
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.judge_server import (
    ATTRIBUTE_FAULTS,
    FAULTS,
    HOSTILE_FAULTS,
    RUBRIC_FAULTS,
    TEXT_FAULTS,
    JudgeServer,
)
from benchmarks.phantom_reader import GrammarReader
from omegaconf import DictConfig
from tests import forks
from tests.configs import composed

from orapo.data.phantoms import PhantomSource
from orapo.errors import RunPaused, SettingError
from orapo.experiment.run import train
from orapo.experiment.train_command import saved_config

pytestmark = pytest.mark.slow

SMALL = [
    "seed=1",  # one of the first rollouts of 0 is no statement that the stand-in can repeat
    "data.source.num_train=60",
    "data.source.num_validate=4",
    "data.source.num_test=4",
    "data.subset.num_studies=10",
    "data.max_report_tokens=24",
    "rollout.per_study=4",
    "training.batch_size=4",
    "training.num_steps=3",
    "training.validate_every_steps=null",
    "callbacks.rollouts_every_steps=1",
    "callbacks.rollouts_studies=4",
    "trainer.accelerator=cpu",
    "reward.model=openai/judge",
    "reward.timeout_seconds=3",
    "reward.max_tries=12",
    "reward.prices=[2.0,8.0]",
    "reward.identity=judge",  # the servers of these tests have other ports
]


def asks(server: JudgeServer, folder: Path) -> list[str]:
    return [f"reward.api_base={server.api_base}", f"reward.cache_path={folder / 'cache.sqlite'}"]


def run_config(server: JudgeServer, folder: Path, *overrides: str, reward: str = "fact_score_llm") -> DictConfig:
    return composed(f"reward={reward}", *SMALL, *asks(server, folder), *overrides)


def run_in(folder: Path, config: DictConfig) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    train(config, folder)
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def rollouts(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rollouts.jsonl").read_text().splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"])


def assert_same_run(one: Path, other: Path) -> None:
    assert [row["reward"] for row in rows(one)] == [row["reward"] for row in rows(other)]
    assert rollouts(one) == rollouts(other)
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())


@pytest.fixture(scope="module")
def faultless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faultless")
    with JudgeServer() as server:
        return run_in(folder / "run", run_config(server, folder))


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with JudgeServer() as running:
        yield running


def test_a_run_in_which_three_calls_of_ten_fail_earns_the_same_rewards(faultless: Path, tmp_path: Path) -> None:
    with JudgeServer(fault_rate=0.3, faults=FAULTS, slow_seconds=8.0, seed=5) as server:
        folder = run_in(tmp_path / "run", run_config(server, tmp_path))
        assert_same_run(faultless, folder)
        met = {call.fault for call in server.calls if call.fault}
        assert len(met) >= 8, met
        paid = [(call.stage, call.subject) for call in server.good_calls()]
        assert len(paid) == len(set(paid)), "a question was paid for twice"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["judge"]["paid_calls"] == len(paid)
    assert sum(float(row["judge_cost_usd"]) for row in rows(folder)) == pytest.approx(summary["judge"]["cost_usd"])
    assert sum(float(row["judge_retries"]) for row in rows(folder)) > 0


def command(server: JudgeServer, folder: Path, *overrides: str) -> list[str]:
    """A run as a user starts it."""
    return ["train", "reward=fact_score_llm", *SMALL, *asks(server, folder), f"hydra.run.dir={folder}/run", *overrides]


def test_rubbish_of_a_judge_changes_nothing(faultless: Path, tmp_path: Path) -> None:
    """Errors of 120 kB that took a regular expression for ever, endless words, and counts of tokens that are none."""
    with JudgeServer(fault_rate=0.4, faults=HOSTILE_FAULTS) as server:
        run = forks.run(command(server, tmp_path), tmp_path / "log", tmp_path)
        assert run.wait() == 0, run.text()
        assert {call.fault for call in server.calls} == {None, *HOSTILE_FAULTS}
        assert_same_run(faultless, tmp_path / "run")
        spent = json.loads((tmp_path / "run" / "summary.json").read_text())["judge"]
        longest = 10_000 * 2e-6 + 2048 * 8e-6  # dollars, of one call
        assert 0 < spent["cost_usd"] < len(server.calls) * longest
        assert spent["paid_calls"] == sum(call.fault in (None, "odd_usage") for call in server.calls)

        texts = [f"{600 * 'a'}.", f"There is {600 * 'a'} effusion.", 300 * "no,", 30_000 * "a"]
        changed = [
            row | {"generated_report": text} for row, text in zip(rollouts(tmp_path / "run"), texts, strict=False)
        ]
        (tmp_path / "rollouts.jsonl").write_text("\n".join(map(json.dumps, changed)))
        own = [*asks(server, tmp_path), *(each for each in SMALL if each.startswith("reward."))]
        judge = ["judge", "compare", "--reports", f"{tmp_path}/rollouts.jsonl", "reward=fact_score_llm", *own]
        judged = forks.run(judge, tmp_path / "judge.log", tmp_path)
        assert judged.wait() == 0, judged.text()


def test_a_step_whose_judge_is_gone_is_taken_back_after_one_signal(faultless: Path, tmp_path: Path) -> None:
    with JudgeServer() as server:
        run = forks.start(command(server, tmp_path), tmp_path / "log", tmp_path)
        assert run.until(lambda: "training: step 1 of 3 begins" in run.text()), run.text()
        server.status = 503
        asked = len(server.calls)
        assert run.until(lambda: len(server.calls) > asked + 4), run.text()
        run.send(signal.SIGTERM)
        began = time.monotonic()
        assert run.wait() == 143, run.text()
        assert time.monotonic() - began < 40
        assert "stopped by SIGTERM while waiting for an answer" in run.text()
        assert json.loads((tmp_path / "run" / "run_state.json").read_text())["state"] == "interrupted"
        server.status = 0
        resumed = forks.run(["train", f"resume={tmp_path}/run"], tmp_path / "resumed.log", tmp_path)
        assert resumed.wait() == 0, resumed.text()
    assert_same_run(faultless, tmp_path / "run")


def test_ctrl_c_while_a_judge_says_no_at_length(tmp_path: Path) -> None:
    with JudgeServer(always="endless_no") as server:
        run = forks.start(command(server, tmp_path), tmp_path / "log", tmp_path)
        assert run.until(lambda: len(server.calls) > 4), run.text()
        run.send(signal.SIGINT)
        assert run.until(lambda: "finishing this step" in run.text(), 10), run.text()
        time.sleep(0.6)
        run.send(signal.SIGINT)
        began = time.monotonic()
        assert run.wait() == 130, run.text()
        assert time.monotonic() - began < 20
    assert json.loads((tmp_path / "run" / "run_state.json").read_text())["state"] == "interrupted"


def test_a_read_only_cache_replays_the_run_without_a_server(faultless: Path, tmp_path: Path) -> None:
    with JudgeServer() as server:
        config = run_config(server, faultless.parent, "reward.cache=read_only")
    folder = run_in(tmp_path / "run", config)
    assert_same_run(faultless, folder)
    assert json.loads((folder / "summary.json").read_text())["judge"]["calls"] == 0


RUBRIC = """
criteria:
  - {name: effusion, asks: 'Does the report say "effusion"?', weight: 2}
  - {name: heart, asks: 'Does the report say "heart"?', weight: 1}
  - {name: clear, asks: 'Does the report say "clear"?', weight: -1}
"""


def test_terms_that_ask_the_model_are_paid_logged_and_counted(server: JudgeServer, tmp_path: Path) -> None:
    server.fault_rate, server.retry_after = 0.3, "0.05"
    server.faults = (*RUBRIC_FAULTS, *ATTRIBUTE_FAULTS, *TEXT_FAULTS, "503")
    server.attributes = GrammarReader(PhantomSource(num_train=60), 60)
    (tmp_path / "rubric.yaml").write_text(RUBRIC)
    config = run_config(
        server,
        tmp_path,
        "seed=0",  # whose first rollouts state attributes
        "reward.stages=offline",
        "reward.term_settings.rubric.file=" + str(tmp_path / "rubric.yaml"),
        "+reward.term_settings.attributes.read_by=model",
        "+reward.terms.attributes=1",
        "reward.terms.rubric=1",
        reward="rubric",
    )
    folder = run_in(tmp_path / "run", config)
    told = rollouts(folder)
    assert len(told) == 3 * 4 * 4
    for row in told:
        words = row["generated_report"].lower()
        points = 2 * ("effusion" in words) + ("heart" in words) - ("clear" in words)
        assert row["terms"]["rubric"] == pytest.approx(max(0.0, points / 3))
        assert row["judge"] == "offline"
    assert any(row["terms"]["attributes"] for row in told)
    assert {call.stage for call in server.calls} == {"rubric", "attributes"}
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["judge"]["paid_calls"] == len({(call.stage, call.subject) for call in server.calls})
    assert sum(float(row["judge_cost_usd"]) for row in rows(folder)) == pytest.approx(summary["judge"]["cost_usd"])


def test_an_outage_pauses_the_run_and_it_goes_on_where_it_was(
    faultless: Path, server: JudgeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orapo.training.module import OrapoModule

    step = OrapoModule.training_step

    def fails_in_step_two(self: Any, batch: Any, batch_index: int) -> None:
        server.status = 503 if batch_index == 1 else 0
        step(self, batch, batch_index)

    monkeypatch.setattr(OrapoModule, "training_step", fails_in_step_two)
    folder = tmp_path / "run"
    config = run_config(server, tmp_path, "reward.pause_limit_seconds=11", "reward.deadline_seconds=4")
    with pytest.raises(RunPaused, match=r"no judgement after 11 s for \d+ of \d+ reports"):
        run_in(folder, config)
    assert len(rows(folder)) == 1
    monkeypatch.setattr(OrapoModule, "training_step", step)
    server.status = 0
    run_in(folder, saved_config(folder, [f"resume={folder}"]))
    assert_same_run(faultless, folder)


def test_a_spent_budget_stops_before_it_is_passed_and_a_higher_one_goes_on(
    faultless: Path, server: JudgeServer, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    # A call's estimate allows for the longest answer, so the limit lies a little above the first step's cost.
    first_step = float(rows(faultless)[0]["judge_cost_usd"])
    config = run_config(server, tmp_path, f"reward.max_cost={first_step + 0.03:.4f}", "reward.max_output_tokens=1024")
    with pytest.raises(
        RunPaused, match=r"judge: spent 0\.\d+ US dollars, .*resume the run with a higher reward.max_cost"
    ):
        run_in(folder, config)
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert 0 < checkpoint["judge"]["spent_usd"] <= first_step + 0.03
    with pytest.raises(SettingError, match=r"leave out objective.alpha=0.1 \(what may change is how the judge"):
        saved_config(folder, [f"resume={folder}", "objective.alpha=0.1", "reward.max_cost=5"])
    resumed = saved_config(folder, [f"resume={folder}", "reward.max_cost=5"])
    assert resumed.reward.max_cost == 5
    run_in(folder, resumed)
    assert [row["reward"] for row in rows(folder)] == [row["reward"] for row in rows(faultless)]


def test_the_offline_judge_reads_in_its_stead_and_it_is_written_down(
    server: JudgeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.status = 503
    config = run_config(
        server, tmp_path, "reward.on_failure=offline_judge", "reward.deadline_seconds=4", "training.num_steps=1"
    )
    folder = run_in(tmp_path / "run", config)
    assert {row["judge"] for row in rollouts(folder)} == {"offline"}
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["judge"]["offline_reports"] == float(rows(folder)[0]["judge_offline_reports"]) > 0
    assert "the offline judge read" in capsys.readouterr().out
