"""An independent OraPO objective in plain Python floats, and the golden numbers made with it.

Written from the equations, one loop per index, without torch and without importing orapo. Padding tokens are skipped
by the loop, and never part of any sum. Run it to rewrite objective.json beside it:

    python tests/golden/make_objective.py
"""

import json
import math
import random
from pathlib import Path

BASE = {
    "alpha": 0.5,
    "w_min": 0.05,
    "w_max": 0.6,
    "gamma": 2.0,
    "clip_low": 0.15,
    "clip_high": 0.25,
    "kl_coef": 0.04,
    "std_eps": 0.01,
    "max_new_tokens": 7,
    "dpo_beta": 0.8,
}
VARIANTS = {
    "drgrpo_lndpo": {},
    "grpo_lndpo": {"policy": "grpo"},
    "drgrpo_dpo_summed": {"length_normalised": False},
    "drgrpo_dpo_zero_negatives": {"negatives": "zero"},
    "grpo_sft": {"policy": "grpo", "oracle": "sft"},
    "indicator_batch": {"zero_reward": "indicator", "average": "batch"},
    "no_kl": {"kl_coef": 0.0},
}
CHOICES = {
    "policy": "drgrpo",
    "oracle": "dpo",
    "length_normalised": True,
    "negatives": "all",
    "zero_reward": "fraction",
    "average": "per_study",
}


def make_case(seed: int, num_studies: int = 3, group: int = 4, max_tokens: int = 6, max_oracle: int = 5) -> dict:
    """Random studies as ragged lists; policy and old are far enough apart for the clip to bind on both sides."""
    rng = random.Random(seed)

    def near(logps: list[float], spread: float) -> list[float]:
        return [round(value + rng.uniform(-spread, spread), 4) for value in logps]

    studies = []
    for index in range(num_studies):
        rollouts = []
        for _ in range(group):
            old = [round(rng.uniform(-3.0, -0.5), 4) for _ in range(rng.randint(1, max_tokens))]
            rollouts.append({"policy": near(old, 0.4), "old": old, "ref": near(old, 0.6)})
        oracle_ref = [round(rng.uniform(-3.0, -0.5), 4) for _ in range(rng.randint(2, max_oracle))]
        # study 0: mixed rewards; 1: a dead group; 2: some zero
        rewards = [[0.0, 0.3, 0.9, 0.5], [0.0] * 4, [0.0, 0.0, 0.4, 1.0]][index % 3]
        studies.append(
            {
                "study_id": f"s{index}",
                "rewards": rewards[:group],
                "rollouts": rollouts,
                "oracle_policy": near(oracle_ref, 0.5),
                "oracle_ref": oracle_ref,
            }
        )
    # what the same studies earned at an earlier visit, so that the moving average has a past
    earlier = [[0.0, 0.2, 0.1, 0.6], [0.0, 0.0, 0.5, 0.0], [0.0] * 4]
    return {"studies": studies, "earlier_rewards": [earlier[i % 3][:group] for i in range(num_studies)]}


def policy_loss(study: dict, s: dict) -> float:
    rewards = study["rewards"]
    k_total = len(rewards)
    mean = sum(rewards) / k_total
    std = math.sqrt(sum((r - mean) ** 2 for r in rewards) / k_total)
    total = 0.0
    for reward, rollout in zip(rewards, study["rollouts"], strict=True):
        advantage = reward - mean
        if s["policy"] == "grpo":
            advantage /= std + s["std_eps"]
        tokens = 0.0
        for now, old, ref in zip(rollout["policy"], rollout["old"], rollout["ref"], strict=True):
            rho = math.exp(now - old)
            clipped = max(1 - s["clip_low"], min(1 + s["clip_high"], rho))
            kl = math.exp(ref - now) - (ref - now) - 1
            tokens += min(rho * advantage, clipped * advantage) - s["kl_coef"] * kl
        total += tokens / (len(rollout["policy"]) if s["policy"] == "grpo" else s["max_new_tokens"])
    return -total / k_total


def oracle_loss(study: dict, s: dict) -> float:
    if s["oracle"] == "sft":
        return -sum(study["oracle_policy"]) / len(study["oracle_policy"])

    def h(now: list[float], ref: list[float]) -> float:
        summed = sum(a - b for a, b in zip(now, ref, strict=True))
        return summed / len(now) if s["length_normalised"] else summed

    losses = []
    for reward, rollout in zip(study["rewards"], study["rollouts"], strict=True):
        if s["negatives"] == "zero" and reward != 0:
            continue
        margin = h(study["oracle_policy"], study["oracle_ref"]) - h(rollout["policy"], rollout["ref"])
        losses.append(-math.log(1 / (1 + math.exp(-s["dpo_beta"] * margin))))
    return sum(losses) / len(losses) if losses else 0.0


def zero_rate(rewards: list[float], s: dict) -> float:
    zeros = sum(1 for r in rewards if r == 0)
    return float(zeros == len(rewards)) if s["zero_reward"] == "indicator" else zeros / len(rewards)


def smoothed_rates(case: dict, s: dict) -> list[float]:
    """After two visits of every study: the earlier rewards, then the present ones."""
    first = [zero_rate(rewards, s) for rewards in case["earlier_rewards"]]
    second = [zero_rate(study["rewards"], s) for study in case["studies"]]
    if s["average"] == "batch":
        first = [sum(first) / len(first)] * len(first)
        second = [sum(second) / len(second)] * len(second)
    return [s["alpha"] * a + (1 - s["alpha"]) * b for a, b in zip(first, second, strict=True)]


def objective(case: dict, s: dict) -> dict:
    smoothed = smoothed_rates(case, s)
    weights = [
        min(s["w_max"], max(s["w_min"], s["w_min"] + (s["w_max"] - s["w_min"]) * z ** s["gamma"])) for z in smoothed
    ]
    policy = [policy_loss(study, s) for study in case["studies"]]
    oracle = [oracle_loss(study, s) for study in case["studies"]]
    mixed = [(1 - w) * p + w * o for w, p, o in zip(weights, policy, oracle, strict=True)]
    return {
        "smoothed": smoothed,
        "weight": weights,
        "policy_loss": policy,
        "oracle_loss": oracle,
        "loss": sum(mixed) / len(mixed),
    }


def settings_of(variant: str) -> dict:
    return {**BASE, **CHOICES, **VARIANTS[variant]}


def main() -> None:
    case = make_case(seed=20250919)
    expected = {name: objective(case, settings_of(name)) for name in VARIANTS}
    path = Path(__file__).with_name("objective.json")
    path.write_text(json.dumps({"case": case, "expected": expected}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
