"""Runs on phantoms whose reward has several terms: what is logged, and what the advantages are made of."""

import csv
import json
import math
from pathlib import Path

import pytest
from tests.configs import composed

from orapo.evaluation.report_pairs import read_report_pairs
from orapo.experiment.compare_command import main as compare
from orapo.experiment.run import train

pytestmark = pytest.mark.slow

TERMS = ["+reward.terms.attributes=0.5", "+reward.terms.rouge_l=0.5"]
WEIGHTS = {"facts": 0.5, "attributes": 0.25, "rouge_l": 0.25}
SMALL = [
    "data.source.num_train=200",
    "data.subset.num_studies=16",
    "data.max_test_studies=2",
    "training.batch_size=8",
    "training.num_steps=2",
    "training.validate_every_steps=null",
    "callbacks.rollouts_every_steps=1",
    "callbacks.rollouts_studies=8",
    "trainer.accelerator=cpu",
]

ZERO = ["reward.zero_term=rouge_l", "reward.zero_at_most=0.05"]  # it says not itself what a reward of zero is

Rows = list[dict[str, str]]


def run(folder: Path, *overrides: str) -> Path:
    config = composed(*SMALL, *overrides)
    folder.mkdir()
    train(config, folder)
    return folder


def metrics(folder: Path) -> Rows:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def summed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("terms") / "sum", *TERMS)


def test_every_rollout_tells_its_terms_and_their_weighted_mean_is_its_reward(summed: Path) -> None:
    rows = [json.loads(line) for line in (summed / "rollouts.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * 8 * 4
    for row in rows:
        assert list(row["terms"]) == list(WEIGHTS)
        defined = {name: value for name, value in row["terms"].items() if value is not None}
        shared = sum(WEIGHTS[name] for name in defined)
        assert row["reward"] == pytest.approx(sum(WEIGHTS[n] * v for n, v in defined.items()) / shared)
        assert row["is_zero"] == (row["terms"]["facts"] == 0), "facts decide, whatever the others pay"
    assert any(row["terms"]["attributes"] is None for row in rows), "some study states no attribute"
    assert any(row["is_zero"] and row["reward"] > 0 for row in rows)
    for step, told in enumerate(metrics(summed), 1):
        of_step = [row for row in rows if row["step"] == step]
        for name in WEIGHTS:
            values = [row["terms"][name] for row in of_step if row["terms"][name] is not None]
            assert float(told[f"term_{name}"]) == pytest.approx(sum(values) / len(values), abs=1e-6)
        zeros = sum(row["is_zero"] for row in of_step) / len(of_step)
        assert float(told["zero_reward_rate"]) == pytest.approx(zeros, abs=1e-6)
        assert 0 <= float(told["repetition"]) < 1


def test_normalised_terms_change_the_advantages_and_nothing_that_is_told_of_rewards(
    summed: Path, tmp_path: Path
) -> None:
    first, other = metrics(summed)[0], metrics(run(tmp_path / "normalised", *TERMS, "reward.combine=normalised"))[0]
    for name in ("reward", "zero_reward_rate", "mixing_weight", "term_facts", "term_rouge_l", "reward_precision"):
        assert other[name] == first[name]
    for name in ("policy_loss", "grad_norm"):
        assert not math.isclose(float(other[name]), float(first[name]), rel_tol=1e-3)


def test_two_rewards_are_crossed_with_what_they_did_to_every_measure(summed: Path, tmp_path: Path) -> None:
    paid_for_rouge = run(tmp_path / "rouge", "reward.terms.facts=0", "+reward.terms.rouge_l=1", *ZERO)
    assert compare([str(summed), str(paid_for_rouge), "--cross", "--csv", str(tmp_path / "cross.csv")]) == 0
    with (tmp_path / "cross.csv").open() as file:
        cells = {(row["rewarded"], row["measured"]): row for row in csv.DictReader(file)}
    mixture = "1 facts + 0.5 attributes + 0.5 rouge_l"
    is_rewarded = {
        mixture: {"score/reward_facts", "attribute_f1", "rouge_l"},
        "rouge_l": {"rouge_l"},
    }
    assert {rewarded for rewarded, _ in cells} == set(is_rewarded)
    for folder, rewarded in ((summed, mixture), (paid_for_rouge, "rouge_l")):
        measured = {name: row for (of, name), row in cells.items() if of == rewarded}
        assert {name for name, row in measured.items() if row["is_rewarded"] == "True"} == is_rewarded[rewarded]
        assert {"macro_f1", "micro_f1", "rouge_l", "bleu_4", "mean_words"} <= set(measured)
        after, before = (
            [len(pair.generated_report.split()) for pair in read_report_pairs(folder / name)]
            for name in ("test_reports.jsonl", "base_test_reports.jsonl")
        )
        words = float(measured["mean_words"]["difference"])
        assert words == pytest.approx((sum(after) - sum(before)) / len(after), abs=1e-6)
