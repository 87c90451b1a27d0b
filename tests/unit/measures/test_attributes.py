"""What two reports state of their findings, compared pair by pair."""

import pytest

from orapo.chexpert import Observation
from orapo.data.phantoms import PhantomSource
from orapo.measures.attributes import attribute_agreement, attribute_pairs, change_agreement
from orapo.records import Split

EFFUSION = Observation.PLEURAL_EFFUSION
ORACLE = "Small left pleural effusion. Right basilar atelectasis, unchanged."
"""Effusion: left, mild; atelectasis: right, base, unchanged: five pairs."""


@pytest.mark.parametrize(
    ("generated", "f1"),
    [
        (ORACLE, 1.0),
        ("Right basilar atelectasis, unchanged. Small left pleural effusion.", 1.0),
        # Two of the five pairs, nothing false: P 1, R 2/5.
        ("Small left pleural effusion.", 4 / 7),
        # One wrong side: 4 of 5 each way.
        ("Small right pleural effusion. Right basilar atelectasis, unchanged.", 4 / 5),
        # A side that nobody stated: P 5/6.
        (f"{ORACLE} Left rib fracture.", 10 / 11),
        # The findings without a word on them.
        ("Pleural effusion. Atelectasis.", 0.0),
        ("No left pleural effusion.", 0.0),
        ("", 0.0),
    ],
)
def test_f1_by_hand(generated: str, f1: float) -> None:
    assert attribute_agreement(generated, ORACLE).f1 == pytest.approx(f1)


@pytest.mark.parametrize("oracle", ["", "Clear lungs.", "No left effusion.", "Pleural effusion.", "N/A"])
def test_nothing_stated_is_undefined_whatever_was_written(oracle: str) -> None:
    assert attribute_agreement("Small left effusion.", oracle).f1 is None


@pytest.mark.parametrize(
    ("generated", "oracle", "f1"),
    [
        ("Effusions on the left and on the right.", "Bilateral pleural effusions.", 1.0),
        ("Left effusion.", "Bilateral effusions.", 2 / 3),
        ("An 11 mm nodule.", "A 10 mm nodule.", 1.0),
        ("A 9 mm nodule. An 11 mm nodule.", "A 10 mm nodule.", 1.0),
        ("A 14 mm nodule.", "A 10 mm nodule.", 0.0),
        ("Large effusion.", "Small effusion.", 0.0),
        ("The effusion has resolved.", "The effusion has resolved.", 1.0),
        ("The effusion is new.", "The effusion has resolved.", 0.0),
        ("Left effusion. Left effusion. Left effusion.", "Left effusion.", 1.0),
        ("Possible left effusion.", "Left effusion.", 1.0),
    ],
)
def test_each_kind(generated: str, oracle: str, f1: float) -> None:
    assert attribute_agreement(generated, oracle).f1 == pytest.approx(f1)


def test_pairs_name_finding_kind_and_value() -> None:
    assert attribute_pairs("Small left effusion. No right effusion.") == {
        (EFFUSION, "side", "left"),
        (EFFUSION, "severity", "mild"),
    }


def other_side(report: str) -> str:
    words = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}
    return "".join(words.get(part, part) for part in report.replace(".", " . ").replace(" ", "\0 \0").split("\0"))


def test_phantoms_agree_with_themselves_and_less_with_a_swapped_side() -> None:
    reports = [study.oracle_report for study in PhantomSource(num_train=200).studies(Split.TRAIN)]
    own = [attribute_agreement(report, report).f1 for report in reports]
    assert set(own) == {1.0, None}
    swapped = [attribute_agreement(other_side(report), report).f1 for report in reports]
    sided = [
        score
        for score, report in zip(swapped, reports, strict=True)
        if len({pair.value for pair in attribute_pairs(report) if pair.kind == "side"}) == 1
    ]
    assert len(sided) > 50
    assert all(score is not None and score < 1 for score in sided)


@pytest.mark.parametrize(
    ("generated", "counts"),
    [
        ("", (2, 0, 0)),
        ("Left effusion is new. Pneumothorax has resolved.", (2, 2, 2)),
        ("Left effusion is unchanged.", (2, 1, 0)),
        ("Left effusion. No pneumothorax.", (2, 0, 0)),
        ("Resolved pneumothorax. New edema.", (2, 1, 1)),
    ],
)
def test_changes_by_hand(generated: str, counts: tuple[int, int, int]) -> None:
    assert change_agreement(generated, "New left effusion. Resolved pneumothorax. Heart size is normal.") == counts
