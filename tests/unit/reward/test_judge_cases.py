"""Sentences that are easily judged the wrong way round; ``judge_cases.txt`` explains its codes."""

import re
from pathlib import Path

import pytest

from orapo.chexpert import OBSERVATIONS, Observation
from orapo.records import Judgement
from orapo.reward import OfflineJudge

JUDGE = OfflineJudge()
CODES = dict(
    zip("NF EC CM LL LO ED CO PN AT PT PE PO FX SD".split(), OBSERVATIONS, strict=True)  # noqa: SIM905
)
CASES = [
    line.rpartition("|")[::2]
    for line in Path(__file__).with_name("judge_cases.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
ALLOWED = {
    "e": {Judgement.ENTAILED},
    "c": {Judgement.CONTRADICTED},
    "~": {Judgement.ENTAILED, Judgement.NOT_MENTIONED},
    "": {Judgement.NOT_MENTIONED},
}


@pytest.mark.parametrize(("report", "codes"), CASES)
def test_no_case_is_judged_the_wrong_way_round(report: str, codes: str) -> None:
    expected = {CODES[name]: code for name, code in re.findall(r"([A-Z]{2})([ec~])", codes)}
    assert len(expected) == len(codes.split())
    verdicts = {verdict.observation: verdict.judgement for verdict in JUDGE.judge([report])[0].verdicts}
    wrong = {o.value: verdicts[o].value for o in Observation if verdicts[o] not in ALLOWED[expected.get(o, "")]}
    assert wrong == {}
