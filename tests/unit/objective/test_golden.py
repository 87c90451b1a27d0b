"""The objective against an independent implementation, and a twin per coefficient that must miss the golden number."""

import pytest
import torch

VARIANTS = [
    "drgrpo_lndpo",
    "grpo_lndpo",
    "drgrpo_dpo_summed",
    "drgrpo_dpo_zero_negatives",
    "grpo_sft",
    "indicator_batch",
    "no_kl",
]


def flat(record):
    values = [v for key in ("smoothed", "weight", "policy_loss", "oracle_loss") for v in record[key]]
    return [*values, record["loss"]]


def test_every_variant_is_covered(naive, golden):
    assert list(naive.VARIANTS) == VARIANTS == list(golden["expected"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_golden_numbers(variant, naive, golden, run_case):
    got = run_case(golden["case"], naive.settings_of(variant))
    assert flat(got) == pytest.approx(flat(golden["expected"][variant]), rel=1e-12, abs=1e-14)


def test_golden_file_is_what_the_script_makes(naive, golden):
    assert golden["case"] == naive.make_case(seed=20250919)
    for variant, expected in golden["expected"].items():
        assert flat(naive.objective(golden["case"], naive.settings_of(variant))) == pytest.approx(flat(expected))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("variant", VARIANTS)
def test_random_cases(variant, seed, naive, run_case):
    case = naive.make_case(seed)
    settings = naive.settings_of(variant)
    assert flat(run_case(case, settings)) == pytest.approx(flat(naive.objective(case, settings)), rel=1e-11, abs=1e-13)


TWINS = {
    ("drgrpo_lndpo", "alpha"): 0.6,
    ("drgrpo_lndpo", "w_min"): 0.06,
    ("drgrpo_lndpo", "w_max"): 0.61,
    ("drgrpo_lndpo", "gamma"): 2.1,
    ("drgrpo_lndpo", "clip_low"): 0.16,
    ("drgrpo_lndpo", "clip_high"): 0.26,
    ("drgrpo_lndpo", "kl_coef"): 0.05,
    ("drgrpo_lndpo", "max_new_tokens"): 8,
    ("drgrpo_lndpo", "dpo_beta"): 0.81,
    ("drgrpo_lndpo", "length_normalised"): False,
    ("drgrpo_lndpo", "negatives"): "zero",
    ("drgrpo_lndpo", "zero_reward"): "indicator",
    ("drgrpo_lndpo", "average"): "batch",
    ("drgrpo_lndpo", "policy"): "grpo",
    ("drgrpo_lndpo", "oracle"): "sft",
    ("grpo_lndpo", "std_eps"): 0.02,
    ("grpo_lndpo", "clip_low"): 0.16,
    ("grpo_lndpo", "clip_high"): 0.26,
    ("grpo_lndpo", "kl_coef"): 0.05,
}


def test_every_setting_has_a_twin(naive):
    assert {key for _, key in TWINS} == set(naive.BASE) | set(naive.CHOICES)


@pytest.mark.parametrize(("variant", "key"), list(TWINS))
def test_a_changed_setting_misses_the_golden_loss(variant, key, naive, golden, run_case):
    settings = naive.settings_of(variant)
    assert settings[key] != TWINS[variant, key]
    got = run_case(golden["case"], {**settings, key: TWINS[variant, key]})
    with pytest.raises(AssertionError):
        assert got["loss"] == pytest.approx(golden["expected"][variant]["loss"], rel=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
def test_float32_agrees(variant, naive, golden, run_case):
    got = run_case(golden["case"], naive.settings_of(variant), dtype=torch.float32)
    assert flat(got) == pytest.approx(flat(golden["expected"][variant]), rel=2e-5, abs=2e-6)
