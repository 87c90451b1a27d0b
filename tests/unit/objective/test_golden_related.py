"""The related objectives against an independent implementation, and a twin per setting that must miss its number."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from tests.unit.objective.conftest import score_case

from orapo.objective.cal_dpo import CalDpo
from orapo.objective.cispo import Cispo
from orapo.objective.dapo import Dapo
from orapo.objective.gspo import Gspo
from orapo.objective.kto import Kto
from orapo.objective.orpo import Orpo
from orapo.objective.preference import AllRollouts, ZeroRewardRollouts
from orapo.objective.simpo import SimPo

GOLDEN = Path(__file__).parents[2] / "golden"
CLASSES = {"dapo": Dapo, "gspo": Gspo, "cispo": Cispo, "simpo": SimPo, "orpo": Orpo, "cal_dpo": CalDpo, "kto": Kto}
VARIANTS = [
    "dapo",
    "dapo_plain",
    "gspo",
    "cispo",
    "simpo",
    "simpo_zero",
    "orpo",
    "orpo_zero",
    "cal_dpo",
    "cal_dpo_per_token",
    "kto",
    "kto_per_token",
]


@pytest.fixture(scope="module")
def related() -> ModuleType:
    spec = importlib.util.spec_from_file_location("naive_related", GOLDEN / "make_related.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def expected() -> dict[str, list[float]]:
    return json.loads((GOLDEN / "related.json").read_text(encoding="utf-8"))


def loss_of(related: ModuleType, variant: str, settings: dict[str, Any]):
    content = dict(settings)
    if "negatives" in content:
        content["negatives"] = ZeroRewardRollouts() if content["negatives"] == "zero" else AllRollouts()
    return CLASSES[related.method_of(variant)](**content)


def test_every_variant_is_covered(related, expected):
    assert list(related.SETTINGS) == VARIANTS == list(expected)


@pytest.mark.parametrize("variant", VARIANTS)
def test_golden_numbers(variant, related, golden, expected):
    got = loss_of(related, variant, related.SETTINGS[variant])(score_case(golden["case"])).loss.tolist()
    assert got == pytest.approx(expected[variant], rel=1e-12, abs=1e-14)
    assert related.losses(golden["case"], variant, related.SETTINGS[variant]) == pytest.approx(expected[variant])


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("variant", VARIANTS)
def test_random_cases(variant, seed, naive, related):
    case = naive.make_case(seed)
    got = loss_of(related, variant, related.SETTINGS[variant])(score_case(case)).loss.tolist()
    wanted = related.losses(case, variant, related.SETTINGS[variant])
    assert got == pytest.approx(wanted, rel=1e-11, abs=1e-13)


@pytest.mark.parametrize("variant", VARIANTS)
def test_float32_agrees(variant, related, golden, expected):
    scored = score_case(golden["case"], dtype=torch.float32)
    got = loss_of(related, variant, related.SETTINGS[variant])(scored).loss.tolist()
    assert got == pytest.approx(expected[variant], rel=2e-5, abs=2e-6)


TWINS = {
    ("dapo", "max_new_tokens"): 9,
    ("dapo", "clip_low"): 0.16,
    ("dapo", "clip_high"): 0.31,
    ("dapo", "std_eps"): 0.02,
    ("dapo", "overlong_filtering"): False,
    ("dapo", "overlong_fraction"): 0.61,
    ("dapo", "max_redraws"): None,
    ("gspo", "clip_low"): 0.06,
    ("gspo", "clip_high"): 0.09,
    ("gspo", "std_eps"): 0.02,
    ("cispo", "clip_low"): 0.16,
    ("cispo", "clip_high"): 0.21,
    ("cispo", "std_eps"): 0.02,
    ("simpo", "simpo_beta"): 2.01,
    ("simpo", "margin_ratio"): 0.41,
    ("simpo", "negatives"): "zero",
    ("orpo", "odds_coef"): 0.31,
    ("orpo", "negatives"): "zero",
    ("cal_dpo", "cal_beta"): 0.41,
    ("cal_dpo", "length_normalised"): True,
    ("cal_dpo", "negatives"): "zero",
    ("kto", "kto_beta"): 0.41,
    ("kto", "desirable_weight"): 1.11,
    ("kto", "undesirable_weight"): 0.91,
    ("kto", "length_normalised"): True,
    ("kto", "negatives"): "zero",
}


def test_every_setting_has_a_twin(related):
    plain = {variant for variant in VARIANTS if variant in CLASSES}
    assert set(TWINS) == {(variant, key) for variant in plain for key in related.SETTINGS[variant]}


@pytest.mark.parametrize(("variant", "key"), list(TWINS))
def test_a_changed_setting_misses_the_golden_number(variant, key, related, golden, expected):
    settings = related.SETTINGS[variant]
    assert settings[key] != TWINS[variant, key]
    changed = loss_of(related, variant, {**settings, key: TWINS[variant, key]})
    total = changed(score_case(golden["case"])).loss.sum().item()
    with pytest.raises(AssertionError):
        assert total == pytest.approx(sum(expected[variant]), rel=1e-6)
