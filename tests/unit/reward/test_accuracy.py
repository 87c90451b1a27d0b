import pytest

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates, Observation
from orapo.errors import DataError
from orapo.reward import AccuracyReward

Obs = Observation


def labels(*positive: Observation) -> LabelStates:
    return {o: LabelState.POSITIVE if o in positive else LabelState.UNMENTIONED for o in OBSERVATIONS}


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
    assert AccuracyReward().score([report], [truth])[0].total == total


def test_breakdown_still_shows_precision_and_recall() -> None:
    found = AccuracyReward().score(["Small left effusion. Rib fracture."], [labels(Obs.PLEURAL_EFFUSION)])[0]
    assert (found.total, found.precision, found.recall) == (0.0, 0.5, 1.0)


def test_one_set_of_labels_per_report() -> None:
    with pytest.raises(DataError, match="1 reports and 0 "):
        AccuracyReward().score(["a."], [])
