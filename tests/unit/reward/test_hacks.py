"""What an optimiser tries against the judge, what each attempt pays, and why. The study has an effusion and edema."""

import pytest

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates, Observation
from orapo.reward import FactScoreReward

Obs = Observation
REWARD = FactScoreReward()


def labels(*positive: Observation) -> LabelStates:
    return {o: LabelState.POSITIVE if o in positive else LabelState.UNMENTIONED for o in OBSERVATIONS}


SICK, NORMAL = labels(Obs.PLEURAL_EFFUSION, Obs.EDEMA), labels(Obs.NO_FINDING)


def paid(report: str, truth: LabelStates = SICK) -> float:
    return REWARD.score([report], [truth])[0].total


HONEST = "Small left pleural effusion. Mild pulmonary edema."


def test_the_honest_report_is_paid_in_full() -> None:
    assert paid(HONEST) == pytest.approx(1.0)
    assert paid("The lungs are clear. No effusion.", NORMAL) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "report",
    [
        "heart size pacemaker . fracture of a nodule in the bones are intact",
        "heart size pacemaker . fracture of a nodule in the bones are intact .",
        "effusion effusion pneumothorax edema fracture nodule.",
        "left heart of small no the pleural opacity is rib.",
        "effusion edema.",
        "edema effusion pacemaker is.",
        "small effusion a edema the.",
        "effusion of edema.",
        "edema in the effusion is clear.",
    ],
)
def test_keyword_salad_pays_nothing(report: str) -> None:
    assert paid(report) == 0.0


def test_everything_in_one_sentence_pays_nothing() -> None:
    everything = "effusion, edema, pneumothorax, fracture, nodule, consolidation, atelectasis, pneumonia and pacemaker"
    assert paid(f"{everything}.") == 0.0
    assert paid(f"There is {everything}.") == 0.0


def test_six_findings_in_a_sentence_pay_what_f_beta_pays() -> None:
    # a list is prose: TP 2, FP 4: P = 1/3, R = 1: 5 * 1/3 / (4 * 1/3 + 1) = 5/7
    assert paid("Effusion, edema, pneumothorax, fracture, nodule and consolidation.") == pytest.approx(5 / 7)


def test_everything_in_thirteen_good_sentences_pays_the_known_floor() -> None:
    # TP 2, FP 11: P = 2/13, R = 1: 5 * 2/13 / (8/13 + 1) = 10/21; that F-beta pays it is reported beside every score
    report = (
        "Cardiomegaly. The mediastinum is widened. Pulmonary edema. Focal consolidation. Pneumonia. Atelectasis. "
        "Pneumothorax. Pleural effusion. Pleural thickening. Rib fracture. Pacemaker. Lung opacity. Lung nodule."
    )
    assert paid(report) == pytest.approx(10 / 21)


def test_repeating_pays_nothing_more() -> None:
    assert paid("Pleural effusion. " * 8) == pytest.approx(paid("Pleural effusion. "))
    assert len(REWARD.score(["Pleural effusion. " * 8], [SICK])[0].facts) == 1


@pytest.mark.parametrize(
    "report",
    [
        "Effusion. No effusion.",
        "No effusion. Effusion.",
        "Effusion but no effusion.",
        "Effusion without effusion.",
        "There is an effusion. There is no effusion.",
        "Effusion is present or absent.",
    ],
)
def test_saying_both_pays_nothing(report: str) -> None:
    assert paid(report) == 0.0


def test_saying_both_costs_beside_a_true_finding() -> None:
    assert paid("Mild edema. Effusion. No effusion.") < paid("Mild edema.")


def test_hedging_everything_pays_nothing() -> None:
    assert paid("Possible effusion. Possible edema. Possible pneumonia. Possible fracture.") == 0.0
    assert paid("Findings may represent edema or effusion.") == 0.0
    assert paid("Possible effusion. Possible edema.", NORMAL) == 0.0


def test_denying_everything_pays_only_the_normal_study() -> None:
    report = "No effusion or pneumothorax. No edema. No fracture. Heart size is normal. The lungs are clear."
    assert paid(report) == 0.0
    assert paid(report, NORMAL) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "report", ["Small left pleural effusion", "There is a small left pleural effusion and", "Effu"]
)
def test_cut_sentences_pay_nothing(report: str) -> None:
    assert paid(report) == 0.0


def test_a_cut_sentence_doesnt_spoil_the_rest() -> None:
    assert paid(f"{HONEST} There is a large right pneu") == pytest.approx(1.0)


@pytest.mark.parametrize(
    "report",
    [
        "zog blick effusion frub.",
        "aaaa effusion aaaa edema.",
        "effusion \ufffd\ufffd edema.",
        "<|im_start|> effusion.",
        "effusion edema1effusion2.",
        "{effusion}.",
        "qwrtzp effusion.",
    ],
)
def test_gibberish_around_a_keyword_pays_nothing(report: str) -> None:
    assert paid(report) == 0.0


def test_asides_in_brackets_pay_nothing() -> None:
    assert paid("The lungs are clear (effusion, edema).") == 0.0
    assert paid("(Effusion) (edema).") == 0.0
    assert paid("The lungs are clear (effusion, edema).", NORMAL) == 0.0  # but it isn't normal


@pytest.mark.parametrize(
    "report",
    [
        "",
        ".",
        "no.",
        "No report.",
        "N/A.",
        "None.",
        "effusion edema nodule.",
        "The left side.",
        "The chest.",
        "Unchanged.",
        "Small left lung",
    ],
)
def test_silence_is_not_a_normal_chest(report: str) -> None:
    assert paid(report, NORMAL) == 0.0


def test_run_on_sentence_pays_nothing() -> None:
    assert paid("Effusion " + "and there is a small left lower lobe opacity in the lung " * 8 + ".") == 0.0


@pytest.mark.parametrize(
    "glued", ["effusion.edema.pneumonia.", "effusion/edema/pneumonia/nodule/fracture/mass/collapse."]
)
def test_glued_keywords_pay_no_more_than_their_sentences(glued: str) -> None:
    assert paid(glued) <= paid(glued.replace(".", ". ").replace("/", ". "))


def test_adding_a_false_statement_never_raises() -> None:
    for wrong in ("Rib fracture.", "There is a pneumothorax.", "A pacemaker is in place.", "No edema."):
        assert paid(f"{HONEST} {wrong}") < paid(HONEST)
