import pytest

from orapo.chexpert import OBSERVATIONS, Observation
from orapo.records import Judgement
from orapo.reward import OfflineJudge
from orapo.reward.entailment import states_normality

Obs = Observation
ENTAILED, CONTRADICTED, SILENT = Judgement.ENTAILED, Judgement.CONTRADICTED, Judgement.NOT_MENTIONED
JUDGE = OfflineJudge()


def judgements(report: str, judge: OfflineJudge = JUDGE) -> dict[Observation, Judgement]:
    verdicts = judge.judge([report])[0].verdicts
    assert tuple(verdict.observation for verdict in verdicts) == OBSERVATIONS
    return {verdict.observation: verdict.judgement for verdict in verdicts}


@pytest.mark.parametrize(
    ("report", "observation", "expected"),
    [
        ("Small left pleural effusion.", Obs.PLEURAL_EFFUSION, ENTAILED),
        ("No pleural effusion.", Obs.PLEURAL_EFFUSION, CONTRADICTED),
        ("Possible pleural effusion.", Obs.PLEURAL_EFFUSION, SILENT),
        ("The lungs are clear.", Obs.PLEURAL_EFFUSION, SILENT),
        ("The heart is enlarged.", Obs.CARDIOMEGALY, ENTAILED),
        ("Heart size is normal.", Obs.CARDIOMEGALY, CONTRADICTED),
        ("Endotracheal tube in place.", Obs.SUPPORT_DEVICES, ENTAILED),
        ("effusion pneumothorax edema.", Obs.PLEURAL_EFFUSION, SILENT),  # salad is not labelled
        ("Pleural effusion", Obs.PLEURAL_EFFUSION, SILENT),  # nor what never ends
    ],
)
def test_single_statements(report: str, observation: Observation, expected: Judgement) -> None:
    assert judgements(report)[observation] is expected


@pytest.mark.parametrize(
    ("report", "observation", "expected"),
    [
        ("Effusion. No effusion.", Obs.PLEURAL_EFFUSION, CONTRADICTED),
        ("No effusion. Small left effusion.", Obs.PLEURAL_EFFUSION, CONTRADICTED),
        ("No left effusion. Bilateral effusions.", Obs.PLEURAL_EFFUSION, CONTRADICTED),
        ("Heart size is normal. The heart is enlarged.", Obs.CARDIOMEGALY, CONTRADICTED),
        ("No pneumothorax. There is a right pneumothorax.", Obs.PNEUMOTHORAX, CONTRADICTED),
        ("No right effusion. Small left effusion.", Obs.PLEURAL_EFFUSION, ENTAILED),  # another side
        ("No large effusion. Small effusion.", Obs.PLEURAL_EFFUSION, ENTAILED),  # a restricted denial
        ("No new consolidation. Left base consolidation is unchanged.", Obs.CONSOLIDATION, ENTAILED),
        ("No lung mass. There is a small lung nodule.", Obs.LUNG_LESION, ENTAILED),  # another thing
        ("Possible effusion. No effusion.", Obs.PLEURAL_EFFUSION, SILENT),  # nothing is affirmed
    ],
)
def test_self_contradiction(report: str, observation: Observation, expected: Judgement) -> None:
    found = judgements(report)[observation]
    if expected is SILENT:
        assert found is not ENTAILED
    else:
        assert found is expected


def test_contradiction_rests_on_both_statements() -> None:
    verdict = next(
        v for v in JUDGE.judge(["Effusion. No effusion."])[0].verdicts if v.observation is Obs.PLEURAL_EFFUSION
    )
    assert {fact.text for fact in verdict.supporting_facts} == {"Effusion", "No effusion"}


@pytest.mark.parametrize(
    ("report", "is_entailed"),
    [
        ("The lungs are clear.", True),
        ("No acute cardiopulmonary process.", True),
        ("No pleural effusion.", True),
        ("A pacemaker is in place.", True),  # the labeler's rule: devices leave No Finding standing
        ("", False),
        ("effusion edema nodule.", False),
        ("no no no.", False),
        ("The lungs are clear", False),
        ("The left side.", False),
        ("Unchanged.", False),
        ("The lungs are not clear.", False),
        ("The lungs are clear. Small effusion.", False),
        ("The lungs are clear. Possible effusion.", False),
    ],
)
def test_no_finding_needs_a_statement_and_no_finding(report: str, is_entailed: bool) -> None:
    assert (judgements(report)[Obs.NO_FINDING] is ENTAILED) == is_entailed


def test_no_finding_is_never_contradicted() -> None:
    assert judgements("Large effusion.")[Obs.NO_FINDING] is SILENT


def test_uncertain_can_count_as_positive() -> None:
    lenient = OfflineJudge(uncertain_is_positive=True)
    assert judgements("Possible pleural effusion.", lenient)[Obs.PLEURAL_EFFUSION] is ENTAILED
    assert judgements("Possible effusion. No effusion.", lenient)[Obs.PLEURAL_EFFUSION] is CONTRADICTED


def test_supporting_facts_name_their_sentence() -> None:
    judged = JUDGE.judge(["The lungs are clear. Small left effusion. Rib fracture."])[0]
    support = {v.observation: v.supporting_facts for v in judged.verdicts if v.judgement is ENTAILED}
    assert [fact.sentence_index for fact in support[Obs.PLEURAL_EFFUSION]] == [1]
    assert [fact.sentence_index for fact in support[Obs.FRACTURE]] == [2]


def test_states_normality() -> None:
    assert states_normality("Heart size is within normal limits")
    assert not states_normality("Lungs are abnormal")
    assert not states_normality("The bones are not intact")
