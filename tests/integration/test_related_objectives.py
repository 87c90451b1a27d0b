"""The related objectives in real runs: each trains, and DAPO's token mean does not depend on how a batch is split."""

import csv
import json
from pathlib import Path

import pytest
import torch
from tests.configs import composed

from orapo.experiment.run import train
from orapo.objective.orapo import OrapoObjective

pytestmark = pytest.mark.slow


# The embedded policy earns rewards, so that groups have variance; two inner steps move the ratio off 1.
SMALL = [
    "data.source.num_train=60",
    "data.source.num_validate=4",
    "data.source.num_test=2",
    "data.subset.num_studies=10",
    "data.max_report_tokens=24",
    "rollout.per_study=4",
    "training.batch_size=4",
    "training.num_steps=2",
    "training.inner_steps=2",
    "training.validate_every_steps=null",
    "callbacks.rollouts_every_steps=1",
    "callbacks.rollouts_studies=4",
    "trainer.accelerator=cpu",
]
DAPO = ["objective/policy_loss=dapo", "objective.policy_loss.overlong_filtering=true"]


def trained(folder: Path, *overrides: str) -> dict[str, torch.Tensor]:
    folder.mkdir(parents=True, exist_ok=True)
    config = composed(*SMALL, *overrides)
    train(config, folder)
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return dict(checkpoint["state_dict"])


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def dapo_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    folder = tmp_path_factory.mktemp("dapo")
    return folder, trained(folder, *DAPO)


@pytest.mark.parametrize("row", ["gspo", "cispo", "simpo", "orpo", "cal_dpo", "kto"])
def test_every_related_objective_trains(row: str, tmp_path: Path) -> None:
    weights = trained(tmp_path, f"+row={row}")
    assert all(weight.isfinite().all() for weight in weights.values())
    rows = rows_of(tmp_path)
    assert len(rows) == 2
    assert all(row["policy_loss"] and row["oracle_loss"] and float(row["grad_norm"]) > 0 for row in rows)
    assert all(row["dpo_margin"] and not row["redrawn_groups"] for row in rows)


def test_dapo_draws_groups_without_variance_again(dapo_run: tuple[Path, dict[str, torch.Tensor]]) -> None:
    folder, weights = dapo_run
    assert all(weight.isfinite().all() for weight in weights.values())
    rows = rows_of(folder)
    assert sum(float(row["redrawn_groups"]) for row in rows) > 0, "nothing here would exercise the redraw"
    rollouts = [json.loads(line) for line in (folder / "rollouts.jsonl").read_text().splitlines()]
    for step, row in enumerate(rows, start=1):
        rewards: dict[str, list[float]] = {}
        for one in rollouts:
            if one["step"] == step:
                rewards.setdefault(one["study_id"], []).append(one["reward"])
        assert [len(group) for group in rewards.values()] == [4] * 4
        # what is written down, rewarded and trained on are the last draws
        assert float(row["left_out_groups"]) == sum(len(set(group)) == 1 for group in rewards.values())
        assert float(row["reward"]) == pytest.approx(sum(map(sum, rewards.values())) / 16, abs=1e-6)


def test_the_zero_reward_rate_is_that_of_the_first_draw(
    dapo_run: tuple[Path, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    trained(tmp_path, *DAPO, "objective.policy_loss.max_redraws=0", "training.num_steps=1")
    once, again = rows_of(tmp_path)[0], rows_of(dapo_run[0])[0]
    assert once["redrawn_groups"] == "0"
    assert float(again["redrawn_groups"]) > 0
    assert again["reward"] != once["reward"], "the second draw earned something else"
    for name in ("zero_reward_rate", "all_zero_group_fraction", "mixing_weight"):
        assert again[name] == once[name]


def test_dapos_token_mean_is_that_of_the_whole_batch(
    dapo_run: tuple[Path, dict[str, torch.Tensor]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = dapo_run
    apart = trained(tmp_path / "apart", *DAPO, "training.studies_per_micro_batch=1")
    # Adam divides by the root of squared gradients, so rounding in the sums shows as up to a few 1e-5 of the rate.
    assert largest_difference(whole, apart) < 2e-5
    # The twin: every micro-batch takes the mean over its own tokens.
    monkeypatch.setattr(OrapoObjective, "loss_tokens", lambda self, *facts: None)
    twin = trained(tmp_path / "twin", *DAPO, "training.studies_per_micro_batch=1")
    assert largest_difference(whole, twin) > 1e-4


def largest_difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max((weight - other[name]).abs().max().item() for name, weight in one.items())
