"""Ways of training that must give the same weights: micro-batches, scoring paths, and a run that was interrupted."""

import copy
import csv
import json
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf, open_dict
from tests.configs import composed

from orapo.chexpert import OBSERVATIONS
from orapo.errors import NonFiniteError, RunInterrupted, RunPaused, SettingError
from orapo.experiment.run import train
from orapo.policy.reference import FrozenCopyReference
from orapo.records import FailedJudgement
from orapo.reward import OfflineJudge

pytestmark = pytest.mark.slow


# The embedded policy earns rewards, so that both losses carry a gradient; random weights would earn none.
SMALL = [
    "data.source.num_train=60",
    "data.source.num_validate=4",
    "data.source.num_test=4",
    "data.subset.num_studies=10",
    "data.max_report_tokens=24",
    "rollout.per_study=4",
    "training.batch_size=4",
    "training.num_steps=4",
    "training.validate_every_steps=2",
    "callbacks.checkpoint_every_steps=2",
    "trainer.accelerator=cpu",
]


def small_config(*overrides: str) -> DictConfig:
    return composed(*SMALL, *overrides)


def train_in(folder: Path, config: DictConfig) -> dict[str, torch.Tensor]:
    folder.mkdir(parents=True, exist_ok=True)
    train(config, folder)
    return trained_weights(folder)


def trained_weights(folder: Path) -> dict[str, torch.Tensor]:
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return dict(checkpoint["state_dict"])


def assert_same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], atol: float) -> None:
    assert one.keys() == other.keys()
    for name, weight in one.items():
        torch.testing.assert_close(weight, other[name], atol=atol, rtol=0, msg=lambda m, n=name: f"{n}: {m}")


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four steps in one go."""
    folder = tmp_path_factory.mktemp("whole")
    train_in(folder, small_config())
    return folder


def test_training_moves_the_weights_and_writes_everything(whole_run: Path) -> None:
    from orapo.policy.loading import load_policy
    from orapo.policy.settings import ModelSettings
    from orapo.policy.tiny import base_folder

    base = load_policy(ModelSettings(path=base_folder(), instruction="x")).state_dict()
    trained = trained_weights(whole_run)
    moved = [name for name, weight in trained.items() if not torch.equal(weight, base[name.removeprefix("policy.")])]
    assert moved
    reloaded = load_policy(ModelSettings(path=str(whole_run / "model"), instruction="x")).state_dict()
    assert_same_weights(trained, {n: reloaded[n.removeprefix("policy.")] for n in trained}, atol=0)
    names = {path.name for path in whole_run.iterdir()}
    assert names >= {
        "config.yaml",
        "summary.json",
        "metrics.csv",
        "validation.csv",
        "subset.json",
        "rollouts.jsonl",
        "test_reports.jsonl",
        "learning_curve.png",
        "test_studies.png",
        "checkpoints",
        "model",
    }
    with (whole_run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    assert all(row["mixing_weight"] and row["policy_loss"] and row["oracle_loss"] and row["kl"] for row in rows)
    with (whole_run / "validation.csv").open() as file:
        validations = list(csv.DictReader(file))
    assert validations
    for row in validations:
        own = [float(row[f"{observation.value}/f1"]) for observation in OBSERVATIONS]
        assert float(row["macro_f1"]) == pytest.approx(sum(own) / 14, abs=1e-6)
    assert any(0 < float(row["zero_reward_rate"]) < 1 for row in rows), "nothing here would exercise the advantages"


@pytest.mark.parametrize(
    ("override", "atol"),
    [
        # Adam divides by the root of squared gradients, so rounding in the sums shows as up to a few 1e-5 of the rate.
        ("training.studies_per_micro_batch=1", 2e-5),
        ("model.scoring=repeated", 2e-5),
    ],
)
def test_same_weights(override: str, atol: float, whole_run: Path, tmp_path: Path) -> None:
    other = train_in(tmp_path / "run", small_config(override))
    assert_same_weights(trained_weights(whole_run), other, atol)


def test_micro_batches_give_the_same_weights_over_several_inner_steps(tmp_path: Path) -> None:
    """The first inner step of a whole batch uses the rollouts' encoding of the images, the second must not."""
    inner_steps = "training.inner_steps=2"
    whole = train_in(tmp_path / "whole", small_config(inner_steps))
    split = train_in(tmp_path / "split", small_config(inner_steps, "training.studies_per_micro_batch=1"))
    assert_same_weights(whole, split, 2e-5)


def test_a_twin_with_another_coefficient_differs(whole_run: Path, tmp_path: Path) -> None:
    other = train_in(tmp_path / "run", small_config("objective.w_max=0.5"))
    with pytest.raises(AssertionError):
        assert_same_weights(trained_weights(whole_run), other, 2e-5)


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_an_interrupted_run_goes_on_as_if_it_had_not_stopped(
    stop_after: int, whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orapo.training.module import OrapoModule

    folder = tmp_path / "run"
    folder.mkdir()
    config = small_config()
    step = OrapoModule.training_step

    def interrupted(self: Any, batch: Any, batch_index: int) -> None:
        step(self, batch, batch_index)
        if batch_index + 1 == stop_after:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(OrapoModule, "training_step", interrupted)
    with pytest.raises(RunInterrupted, match=f"after step {stop_after} of 4"):
        train(copy.deepcopy(config), folder)
    monkeypatch.setattr(OrapoModule, "training_step", step)
    torch.manual_seed(999)
    saved = OmegaConf.load(folder / "config.yaml")
    assert isinstance(saved, DictConfig)
    resumed = train_in(folder, saved)
    assert_same_weights(trained_weights(whole_run), resumed, atol=0)
    for name in ("metrics.csv", "validation.csv"):
        whole, parts = ([*csv.DictReader((f / name).open())] for f in (whole_run, folder))
        timeless = [[{k: v for k, v in row.items() if "seconds" not in k} for row in rows] for rows in (whole, parts)]
        assert timeless[0] == timeless[1]
    assert (whole_run / "rollouts.jsonl").read_text() == (folder / "rollouts.jsonl").read_text()


def test_not_a_number_stops_the_run_and_saves_the_studies(tmp_path: Path) -> None:
    import json

    config = small_config("training.learning_rate=1e30", "training.max_grad_norm=1e30")
    with pytest.raises(NonFiniteError, match=r"studies phantom-train-\d+.* saved in"):
        train(config, tmp_path)
    saved = json.loads((tmp_path / "nonfinite_studies.json").read_text())
    assert saved["studies"]
    assert all(study.startswith("phantom-train-") for study in saved["studies"]), "ids, and no report"


def test_a_misspelt_key_in_a_file_is_refused(tmp_path: Path) -> None:
    config = small_config()
    with open_dict(config):
        config.objective.gama = 3.0
    with pytest.raises(SettingError, match=r"objective\.gama is not a setting \(did you mean objective\.gamma\?\)"):
        train(config, tmp_path)


@pytest.mark.parametrize("objective", ["grpo", "dpo", "grpo_sft", "sft"])
def test_every_objective_trains(objective: str, tmp_path: Path) -> None:
    config = small_config(
        f"objective={objective}",
        "training.num_steps=2",
        "training.inner_steps=2",
        "training.validate_every_steps=null",
    )
    weights = train_in(tmp_path, config)
    assert all(weight.isfinite().all() for weight in weights.values())
    with (tmp_path / "metrics.csv").open() as file:
        row = list(csv.DictReader(file))[-1]
    assert bool(row["reward"]) == (objective != "sft")
    assert bool(row["policy_loss"]) == (objective in ("grpo", "grpo_sft"))
    assert bool(row["oracle_loss"]) == (objective != "grpo")


class OutageJudge(OfflineJudge):
    """Reads like the offline judge, but has no answer on some calls."""

    def __init__(self, pauses_on: int | None = None, fails_on: dict[int, set[int]] | None = None) -> None:
        super().__init__()
        self._pauses_on = pauses_on
        self._fails_on = fails_on or {}
        self._num_calls = 0
        self.spent = 0.0

    def start(self, reports: Sequence[str]) -> Any:
        self._num_calls += 1
        call, judge = self._num_calls, super()

        class Pending:
            def result(self) -> list[Any]:
                return outer.answer(call, list(judge.judge(reports)))

        outer = self
        return Pending()

    def answer(self, call: int, judged: list[Any]) -> list[Any]:
        if call == self._pauses_on:
            torch.rand(3)  # what a judge draws must not matter either
            raise RunPaused("nobody answers")
        self.spent += 1.0
        failed = self._fails_on.get(call, set())
        return [FailedJudgement("refused") if i in failed else one for i, one in enumerate(judged)]

    def totals(self) -> dict[str, float]:
        return {"calls": self.spent, "cost_usd": 0.5 * self.spent}

    def state_dict(self) -> dict[str, Any]:
        return {"spent": self.spent}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.spent = state["spent"]


def use_judge(monkeypatch: pytest.MonkeyPatch, judge: OutageJudge) -> None:
    """As the judge of the run's reward, which is built first; the terms of the test table have their own."""
    judges = iter([judge])
    monkeypatch.setattr("orapo.reward.fact_score.OfflineJudge", lambda **s: next(judges, None) or OfflineJudge(**s))


@pytest.mark.parametrize("pauses_on", [1, 2, 4])
def test_a_run_without_an_answering_judge_pauses_and_takes_the_step_back(
    pauses_on: int, whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    use_judge(monkeypatch, OutageJudge(pauses_on=pauses_on))
    with pytest.raises(RunPaused, match="nobody answers"):
        train(small_config(), folder)
    judge = OutageJudge()
    use_judge(monkeypatch, judge)
    torch.manual_seed(999)
    saved = OmegaConf.load(folder / "config.yaml")
    assert isinstance(saved, DictConfig)
    assert_same_weights(trained_weights(whole_run), train_in(folder, saved), atol=0)
    assert judge.spent == 4.0, "what was spent before the pause is not forgotten"
    assert rows_of(folder) == rows_of(whole_run)


def test_the_reference_scores_while_the_judge_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []

    class Watched(OutageJudge):
        def start(self, reports: Sequence[str]) -> Any:
            happened.append("asked")
            return super().start(reports)

        def answer(self, call: int, judged: list[Any]) -> list[Any]:
            happened.append("answered")
            return super().answer(call, judged)

    score = FrozenCopyReference.score

    def watched(self: FrozenCopyReference, *args: Any) -> Any:
        happened.append("referred")
        return score(self, *args)

    use_judge(monkeypatch, Watched())
    monkeypatch.setattr(FrozenCopyReference, "score", watched)
    train_in(tmp_path / "run", small_config("training.num_steps=1", "training.validate_every_steps=null"))
    assert happened == ["asked", "referred", "answered"]


def rows_of(folder: Path) -> list[dict[str, str]]:
    """The metrics without seconds, and without what a judge counts."""
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [{n: v for n, v in row.items() if not n.startswith(("seconds", "judge"))} for row in rows]


def test_studies_that_no_judge_can_read_are_dropped_not_punished(
    whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    # Step 2: one rollout of the first study and all of the third can't be judged; 4 rollouts a study.
    use_judge(monkeypatch, OutageJudge(fails_on={2: {1, 8, 9, 10, 11}}))
    train(small_config("callbacks.rollouts_every_steps=1", "callbacks.rollouts_studies=4"), folder)
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["dropped_studies"] for row in rows] == ["0", "2", "0", "0"]
    assert [row["judge_cost_usd"] for row in rows] == ["0.5"] * 4
    rollouts = [json.loads(line) for line in (folder / "rollouts.jsonl").read_text().splitlines()]
    assert [sum(row["step"] == step for row in rollouts) for step in (1, 2, 3, 4)] == [16, 8, 16, 16]
    assert rows_of(folder)[0] == rows_of(whole_run)[0]
    expected = [row["reward"] for row in rollouts if row["step"] == 2]
    assert float(rows[1]["reward"]) == pytest.approx(sum(expected) / 8, abs=1e-6)


def test_a_step_without_any_judged_study_pauses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    use_judge(monkeypatch, OutageJudge(fails_on={1: {0, 4, 8, 12}}))
    with pytest.raises(RunPaused, match="no study of this step could be judged: refused"):
        train(small_config(), folder)
    assert (folder / "checkpoints" / "last.ckpt").is_file()
