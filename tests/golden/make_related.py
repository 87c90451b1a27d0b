"""The related objectives in plain Python floats, and the golden numbers made with them.

Written from the papers' equations, one loop per index, without torch and without importing orapo, on the case of
objective.json. A rollout is cut at the limit where its number of tokens is a multiple of 3. Run it to rewrite
related.json beside it:

    python tests/golden/make_related.py
"""

import json
import math
from pathlib import Path

SETTINGS = {
    "dapo": {
        "max_new_tokens": 8,
        "clip_low": 0.15,
        "clip_high": 0.3,
        "std_eps": 0.01,
        "overlong_filtering": True,
        "overlong_fraction": 0.6,
        "max_redraws": 0,
    },
    "dapo_plain": {
        "max_new_tokens": 8,
        "clip_low": 0.15,
        "clip_high": 0.3,
        "std_eps": 0.01,
        "overlong_filtering": False,
        "overlong_fraction": 0.0,
        "max_redraws": None,
    },
    "gspo": {"clip_low": 0.05, "clip_high": 0.08, "std_eps": 0.01},
    "cispo": {"clip_low": 0.15, "clip_high": 0.2, "std_eps": 0.01},
    "simpo": {"simpo_beta": 2.0, "margin_ratio": 0.4, "negatives": "all"},
    "simpo_zero": {"simpo_beta": 2.0, "margin_ratio": 0.4, "negatives": "zero"},
    "orpo": {"odds_coef": 0.3, "negatives": "all"},
    "orpo_zero": {"odds_coef": 0.3, "negatives": "zero"},
    "cal_dpo": {"cal_beta": 0.4, "length_normalised": False, "negatives": "all"},
    "cal_dpo_per_token": {"cal_beta": 0.4, "length_normalised": True, "negatives": "zero"},
    "kto": {
        "kto_beta": 0.4,
        "desirable_weight": 1.1,
        "undesirable_weight": 0.9,
        "length_normalised": False,
        "negatives": "all",
    },
    "kto_per_token": {
        "kto_beta": 0.4,
        "desirable_weight": 1.1,
        "undesirable_weight": 0.9,
        "length_normalised": True,
        "negatives": "zero",
    },
}


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def group_advantages(rewards: list[float], eps: float) -> list[float]:
    mean = sum(rewards) / len(rewards)
    std = math.sqrt(sum((r - mean) ** 2 for r in rewards) / len(rewards))
    return [(r - mean) / (std + eps) for r in rewards]


def dapo(case: dict, s: dict) -> list[float]:
    """Study i's share: B times its part of -(sum over all tokens taken) / (number of tokens taken in the batch)."""
    gains, num_tokens = [], 0
    for study in case["studies"]:
        gain = 0.0
        left_out = s["max_redraws"] is not None and len(set(study["rewards"])) == 1
        shaped = []
        for reward, rollout in zip(study["rewards"], study["rollouts"], strict=True):
            length, limit = len(rollout["policy"]), s["max_new_tokens"]
            buffer = s["overlong_fraction"] * limit
            if buffer > 0 and length > limit - buffer:
                reward -= (length - (limit - buffer)) / buffer
            shaped.append(reward)
        for advantage, rollout in zip(group_advantages(shaped, s["std_eps"]), study["rollouts"], strict=True):
            if left_out or (s["overlong_filtering"] and len(rollout["policy"]) % 3 == 0):
                continue
            for now, old in zip(rollout["policy"], rollout["old"], strict=True):
                rho = math.exp(now - old)
                bounded = min(max(rho, 1 - s["clip_low"]), 1 + s["clip_high"])
                gain += min(rho * advantage, bounded * advantage)
                num_tokens += 1
        gains.append(gain)
    return [-gain * len(gains) / num_tokens for gain in gains]


def gspo(case: dict, s: dict) -> list[float]:
    losses = []
    for study in case["studies"]:
        total = 0.0
        for advantage, rollout in zip(group_advantages(study["rewards"], s["std_eps"]), study["rollouts"], strict=True):
            likelihood_ratio = math.prod(
                math.exp(now) / math.exp(old) for now, old in zip(rollout["policy"], rollout["old"], strict=True)
            )
            ratio = likelihood_ratio ** (1 / len(rollout["policy"]))
            bounded = min(max(ratio, 1 - s["clip_low"]), 1 + s["clip_high"])
            total += min(ratio * advantage, bounded * advantage)
        losses.append(-total / len(study["rollouts"]))
    return losses


def cispo(case: dict, s: dict) -> list[float]:
    losses = []
    for study in case["studies"]:
        total, num_tokens = 0.0, 0
        for advantage, rollout in zip(group_advantages(study["rewards"], s["std_eps"]), study["rollouts"], strict=True):
            for now, old in zip(rollout["policy"], rollout["old"], strict=True):
                weight = min(max(math.exp(now - old), 1 - s["clip_low"]), 1 + s["clip_high"])
                total += weight * advantage * now
                num_tokens += 1
        losses.append(-total / num_tokens)
    return losses


def losers(study: dict, s: dict) -> list[dict]:
    pairs = zip(study["rewards"], study["rollouts"], strict=True)
    return [rollout for reward, rollout in pairs if s["negatives"] == "all" or reward == 0]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def simpo(case: dict, s: dict) -> list[float]:
    beta = s["simpo_beta"]
    gamma = s["margin_ratio"] * beta
    losses = []
    for study in case["studies"]:
        won = beta * mean(study["oracle_policy"])
        terms = [-math.log(sigmoid(won - beta * mean(r["policy"]) - gamma)) for r in losers(study, s)]
        losses.append(mean(terms) if terms else 0.0)
    return losses


def orpo(case: dict, s: dict) -> list[float]:
    def odds(logps: list[float]) -> float:
        p = math.prod(math.exp(value) for value in logps) ** (1 / len(logps))
        return p / (1 - p)

    losses = []
    for study in case["studies"]:
        own = odds(study["oracle_policy"])
        terms = [-math.log(sigmoid(math.log(own / odds(r["policy"])))) for r in losers(study, s)]
        losses.append(-mean(study["oracle_policy"]) + s["odds_coef"] * (mean(terms) if terms else 0.0))
    return losses


def log_ratio(now: list[float], ref: list[float], s: dict) -> float:
    return (sum(now) - sum(ref)) / (len(now) if s["length_normalised"] else 1)


def cal_dpo(case: dict, s: dict) -> list[float]:
    goal = 0.5 / s["cal_beta"]
    losses = []
    for study in case["studies"]:
        won = log_ratio(study["oracle_policy"], study["oracle_ref"], s)
        terms = []
        for rollout in losers(study, s):
            lost = log_ratio(rollout["policy"], rollout["ref"], s)
            terms.append(-math.log(sigmoid(won - lost)) + (won - goal) ** 2 + (lost + goal) ** 2)
        losses.append(mean(terms) if terms else 0.0)
    return losses


def kto(case: dict, s: dict) -> list[float]:
    losses = []
    for study in case["studies"]:
        point = max(0.0, mean([log_ratio(r["policy"], r["ref"], s) for r in study["rollouts"]]))
        won = log_ratio(study["oracle_policy"], study["oracle_ref"], s)
        value = s["desirable_weight"] * sigmoid(s["kto_beta"] * (won - point))
        wanted = s["desirable_weight"] - value
        terms = []
        for rollout in losers(study, s):
            lost = log_ratio(rollout["policy"], rollout["ref"], s)
            value = s["undesirable_weight"] * sigmoid(s["kto_beta"] * (point - lost))
            terms.append(s["undesirable_weight"] - value)
        losses.append((wanted + (mean(terms) if terms else 0.0)) / 2)
    return losses


LOSSES = {"dapo": dapo, "gspo": gspo, "cispo": cispo, "simpo": simpo, "orpo": orpo, "cal_dpo": cal_dpo, "kto": kto}


def method_of(variant: str) -> str:
    return next(method for method in LOSSES if variant == method or variant.startswith(f"{method}_"))


def losses(case: dict, variant: str, settings: dict) -> list[float]:
    return LOSSES[method_of(variant)](case, settings)


def main() -> None:
    folder = Path(__file__).parent
    case = json.loads((folder / "objective.json").read_text(encoding="utf-8"))["case"]
    expected = {variant: losses(case, variant, settings) for variant, settings in SETTINGS.items()}
    (folder / "related.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
