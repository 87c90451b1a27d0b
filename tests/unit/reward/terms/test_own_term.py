"""The term of docs/extending.md, as it stands there, by the command that stands there."""

import re
import sys
from pathlib import Path

import pytest
from tests.configs import ROOT, composed
from tests.conftest import make_study

from orapo.experiment.config import build
from orapo.reward import WeightedReward
from orapo.reward.terms import registry

TEXT = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8").partition("# A data set")[0]


def test_the_documented_term_is_found_and_pays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    (command,) = re.findall(r"python train.py (.*)", TEXT)
    (tmp_path / "devices_first.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.load_terms()
    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))
    config = composed(*command.split())
    try:
        reward: WeightedReward = build(config.reward, "reward")
    finally:
        sys.modules.pop("devices_first", None)
    assert reward.weights == pytest.approx({"facts": 1 / 1.3, "devices_first": 0.3 / 1.3})
    study, none = make_study("a", "Endotracheal tube in place. Small effusion."), make_study("b", "Small effusion.")
    reports = ["Endotracheal tube. Effusion.", "Effusion. Endotracheal tube.", "Effusion.", "Endotracheal tube."]
    found = reward.score(reports, [study, study, study, none])
    assert [one.terms["devices_first"] for one in found] == [1.0, 0.2, 0.0, None]
