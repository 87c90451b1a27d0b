"""Builds the objective under test from the settings of the independent implementation, and its tensors from a case."""

import importlib.util
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from orapo.objective.dpo import Dpo
from orapo.objective.grpo import DrGrpo, Grpo
from orapo.objective.orapo import OrapoObjective
from orapo.objective.preference import AllRollouts, ZeroRewardRollouts
from orapo.objective.sft import Sft
from orapo.objective.tensors import ScoredGroups
from orapo.objective.zero_reward import AllZeroIndicator, BatchAverage, PerStudyAverage, ZeroRewardFraction

GOLDEN = Path(__file__).parents[2] / "golden"
torch.set_num_threads(1)


def pad(rows: list[list[float]], width: int, filler: float, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor([row + [filler] * (width - len(row)) for row in rows], dtype=dtype)


def score_case(case: dict[str, Any], filler: float = math.nan, dtype: torch.dtype = torch.float64) -> ScoredGroups:
    studies = case["studies"]
    num_tokens = max(len(r["policy"]) for s in studies for r in s["rollouts"]) + 1
    num_oracle = max(len(s["oracle_policy"]) for s in studies) + 1

    def groups(key: str) -> torch.Tensor:
        return torch.stack([pad([r[key] for r in s["rollouts"]], num_tokens, filler, dtype) for s in studies])

    ones = [[[1.0] * len(r["policy"]) for r in s["rollouts"]] for s in studies]
    return ScoredGroups(
        policy_logps=groups("policy"),
        old_logps=groups("old"),
        ref_logps=groups("ref"),
        completion_mask=torch.stack([pad(rows, num_tokens, 0.0) for rows in ones]).bool(),
        rewards=torch.tensor([s["rewards"] for s in studies], dtype=dtype),
        oracle_policy_logps=pad([s["oracle_policy"] for s in studies], num_oracle, filler, dtype),
        oracle_ref_logps=pad([s["oracle_ref"] for s in studies], num_oracle, filler, dtype),
        oracle_mask=pad([[1.0] * len(s["oracle_policy"]) for s in studies], num_oracle, 0.0).bool(),
        # so that some are cut, and not only the longest ones
        finished=torch.tensor([[len(r["policy"]) % 3 != 0 for r in s["rollouts"]] for s in studies]),
    )


def build(s: dict[str, Any]) -> OrapoObjective:
    common = {key: s[key] for key in ("clip_low", "clip_high", "kl_coef")}
    policy = (
        Grpo(std_eps=s["std_eps"], **common)
        if s["policy"] == "grpo"
        else DrGrpo(max_new_tokens=s["max_new_tokens"], **common)
    )
    negatives = ZeroRewardRollouts() if s["negatives"] == "zero" else AllRollouts()
    return OrapoObjective(
        alpha=s["alpha"],
        w_min=s["w_min"],
        w_max=s["w_max"],
        gamma=s["gamma"],
        zero_reward=AllZeroIndicator() if s["zero_reward"] == "indicator" else ZeroRewardFraction(),
        average=BatchAverage() if s["average"] == "batch" else PerStudyAverage(),
        policy_loss=policy,
        oracle_loss=Sft() if s["oracle"] == "sft" else Dpo(s["dpo_beta"], s["length_normalised"], negatives),
    )


def run(case: dict[str, Any], settings: dict[str, Any], dtype: torch.dtype = torch.float64) -> dict[str, Any]:
    """Two visits, then the loss: the same record that the independent implementation gives."""
    objective = build(settings)
    ids = [study["study_id"] for study in case["studies"]]
    scored = score_case(case, dtype=dtype)
    objective.observe(ids, torch.tensor(case["earlier_rewards"], dtype=dtype))
    mixing = objective.observe(ids, scored.rewards)
    output = objective.loss(scored, mixing.weight)
    assert output.policy_loss is not None
    assert output.oracle_loss is not None
    return {
        "smoothed": mixing.smoothed.tolist(),
        "weight": output.weight.tolist(),
        "policy_loss": output.policy_loss.tolist(),
        "oracle_loss": output.oracle_loss.tolist(),
        "loss": output.loss.item(),
    }


@pytest.fixture(scope="session")
def naive() -> ModuleType:
    spec = importlib.util.spec_from_file_location("naive_objective", GOLDEN / "make_objective.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    return json.loads((GOLDEN / "objective.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def run_case() -> Callable[..., dict[str, Any]]:
    return run


@pytest.fixture(scope="session")
def build_objective() -> Callable[[dict[str, Any]], OrapoObjective]:
    return build


@pytest.fixture
def scored(golden: dict[str, Any]) -> ScoredGroups:
    return score_case(golden["case"])
