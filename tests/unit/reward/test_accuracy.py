import pytest

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates, Observation
from orapo.records import RewardBreakdown, Split, Study
from orapo.reward import WeightedReward

Obs = Observation


def labels(*positive: Observation) -> LabelStates:
    return {o: LabelState.POSITIVE if o in positive else LabelState.UNMENTIONED for o in OBSERVATIONS}


def scored(report: str, truth: LabelStates) -> RewardBreakdown:
    study = Study("a", "p", Split.TRAIN, ("a.png",), ("PA",), "", truth)
    return WeightedReward({"accuracy": 1.0}).score([report], [study])[0]


@pytest.mark.parametrize(
    ("report", "truth", "total"),
    [
        ("Small left effusion. The heart is enlarged.", labels(Obs.PLEURAL_EFFUSION, Obs.CARDIOMEGALY), 1.0),
        (
            "The heart is enlarged. Small left effusion. No fracture.",
            labels(Obs.PLEURAL_EFFUSION, Obs.CARDIOMEGALY),
            1.0,
        ),
        ("Small left effusion.", labels(Obs.PLEURAL_EFFUSION, Obs.CARDIOMEGALY), 0.0),  # one is missing
        ("Small left effusion. Rib fracture.", labels(Obs.PLEURAL_EFFUSION), 0.0),  # one too many
        ("Small left effusion. No pneumothorax.", labels(Obs.PLEURAL_EFFUSION, Obs.PNEUMOTHORAX), 0.0),  # denied
        ("The lungs are clear.", labels(Obs.NO_FINDING), 1.0),
        ("Possible edema.", labels(), 1.0),  # nothing present, nothing entailed, something said
        ("", labels(), 0.0),
        ("effusion edema nodule.", labels(), 0.0),
    ],
)
def test_everything_or_nothing(report: str, truth: LabelStates, total: float) -> None:
    assert (scored(report, truth).total, scored(report, truth).is_zero) == (total, total == 0)


def test_breakdown_still_shows_precision_and_recall() -> None:
    found = scored("Small left effusion. Rib fracture.", labels(Obs.PLEURAL_EFFUSION))
    assert (found.total, found.precision, found.recall) == (0.0, 0.5, 1.0)
