"""The clinical scores against worked arithmetic, torchmetrics, and what must not change them."""

import json

import numpy as np
import pytest
import torch
from tests.unit.evaluation.scores import clinical_scores
from torchmetrics.functional.classification import (
    multilabel_f1_score,
    multilabel_precision,
    multilabel_recall,
)

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates, Observation
from orapo.errors import DataError
from orapo.evaluation.clinical import positive_matrix
from orapo.evaluation.controls import always_positive_states
from orapo.measures import ratios


def states(*present: Observation, uncertain: tuple[Observation, ...] = ()) -> LabelStates:
    labels = dict.fromkeys(OBSERVATIONS, LabelState.UNMENTIONED)
    labels.update(dict.fromkeys(present, LabelState.POSITIVE))
    labels.update(dict.fromkeys(uncertain, LabelState.UNCERTAIN))
    return labels


def random_states(num_studies: int, seed: int) -> list[LabelStates]:
    draws = np.random.default_rng(seed).choice(list(LabelState), size=(num_studies, 14), p=[0.3, 0.2, 0.1, 0.4])
    return [dict(zip(OBSERVATIONS, row, strict=True)) for row in draws]


EDEMA, FRACTURE = Observation.EDEMA, Observation.FRACTURE


def test_worked_arithmetic() -> None:
    # Edema: called in studies 0, 1, 2, present in 0, 1, 3: TP 2, FP 1, FN 1 -> P 2/3, R 2/3, F1 2/3.
    # Fracture: called in 0, present in 0 and 1: TP 1, FP 0, FN 1 -> P 1, R 1/2, F1 2/3.
    predicted = [states(EDEMA, FRACTURE), states(EDEMA), states(EDEMA), states()]
    true = [states(EDEMA, FRACTURE), states(EDEMA, FRACTURE), states(), states(EDEMA)]
    scores = clinical_scores(predicted, true)
    edema, fracture = scores.per_observation[EDEMA], scores.per_observation[FRACTURE]
    assert (edema.true_positives, edema.false_positives, edema.false_negatives, edema.support) == (2, 1, 1, 3)
    assert (edema.precision, edema.recall, edema.f1) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert (fracture.precision, fracture.recall, fracture.f1) == pytest.approx((1.0, 0.5, 2 / 3))
    # Macro: 12 observations are never called and never present and count as 0.
    assert scores.macro.precision == pytest.approx((2 / 3 + 1) / 14)
    assert scores.macro.recall == pytest.approx((2 / 3 + 1 / 2) / 14)
    assert scores.macro.f1 == pytest.approx((2 / 3 + 2 / 3) / 14)
    # Micro: TP 3, FP 1, FN 2.
    assert scores.micro.precision == pytest.approx(3 / 4)
    assert scores.micro.recall == pytest.approx(3 / 5)
    assert scores.micro.f1 == pytest.approx(6 / 9)
    assert scores.num_studies == 4


def test_macro_f1_is_the_mean_of_f1_and_not_the_f1_of_the_means() -> None:
    scores = clinical_scores(random_states(40, 0), random_states(40, 1))
    mean_of_f1 = np.mean([row.f1 for row in scores.per_observation.values()])
    p, r = scores.macro.precision, scores.macro.recall
    assert scores.macro.f1 == pytest.approx(mean_of_f1)
    assert abs(scores.macro.f1 - 2 * p * r / (p + r)) > 1e-4


@pytest.mark.parametrize("uncertain_is_positive", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_agrees_with_torchmetrics(uncertain_is_positive: bool, seed: int) -> None:
    predicted, true = random_states(25, seed), random_states(25, seed + 100)
    for labels in predicted:
        labels[FRACTURE] = LabelState.UNMENTIONED  # type: ignore[index]
    for labels in predicted + true:
        labels[EDEMA] = LabelState.NEGATIVE  # type: ignore[index]
    scores = clinical_scores(predicted, true, uncertain_is_positive=uncertain_is_positive)
    preds = torch.from_numpy(positive_matrix(predicted, uncertain_is_positive=uncertain_is_positive)).int()
    target = torch.from_numpy(positive_matrix(true, uncertain_is_positive=uncertain_is_positive)).int()
    for name, function in [
        ("precision", multilabel_precision),
        ("recall", multilabel_recall),
        ("f1", multilabel_f1_score),
    ]:
        kwargs = {"num_labels": 14, "zero_division": 0}
        assert getattr(scores.macro, name) == pytest.approx(function(preds, target, average="macro", **kwargs).item())
        assert getattr(scores.micro, name) == pytest.approx(function(preds, target, average="micro", **kwargs).item())
        each = [getattr(row, name) for row in scores.per_observation.values()]
        assert each == pytest.approx(function(preds, target, average="none", **kwargs).tolist())


def test_undefined_ratios_are_zero_and_not_one() -> None:
    # Nothing called, nothing present: 0 / 0 three times. zero_division=1 would make a silent report perfect.
    # Present but never called: precision is 0 / 0, recall and F1 are defined and 0.
    missed = clinical_scores([states()] * 5, [states(EDEMA)] * 5).per_observation[EDEMA]
    assert (missed.precision, missed.recall, missed.f1, missed.support) == (0.0, 0.0, 0.0, 5)
    silent = clinical_scores([states()] * 3, [states()] * 3)
    assert silent.macro.f1 == silent.micro.f1 == 0.0
    perfect_on_one = clinical_scores([states(EDEMA)], [states(EDEMA)])
    assert perfect_on_one.macro.f1 == pytest.approx(1 / 14)


def test_the_other_convention_would_reward_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    # The twin: with 1 in place of 0 a silent report on a silent split is perfect. Not what this project reports.
    monkeypatch.setattr(ratios, "UNDEFINED_RATIO", 1.0)
    assert clinical_scores([states()] * 3, [states()] * 3).macro.f1 == 1.0
    assert clinical_scores([states(EDEMA)], [states(EDEMA)]).macro.f1 == 1.0
    preds = torch.zeros(3, 14, dtype=torch.int)
    assert multilabel_f1_score(preds, preds, num_labels=14, zero_division=1).item() == pytest.approx(1.0)


def test_uncertain_mapping_applies_to_both_sides() -> None:
    predicted = [states(EDEMA), states(uncertain=(EDEMA,))]
    true = [states(uncertain=(EDEMA,)), states(EDEMA)]
    absent = clinical_scores(predicted, true).per_observation[EDEMA]
    assert (absent.true_positives, absent.false_positives, absent.false_negatives) == (0, 1, 1)
    present = clinical_scores(predicted, true, uncertain_is_positive=True).per_observation[EDEMA]
    assert (present.true_positives, present.false_positives, present.false_negatives) == (2, 0, 0)


def test_negative_and_unmentioned_never_count() -> None:
    negative = dict.fromkeys(OBSERVATIONS, LabelState.NEGATIVE)
    for uncertain_is_positive in (False, True):
        scores = clinical_scores([negative], [states(EDEMA)], uncertain_is_positive=uncertain_is_positive)
        assert scores.micro.f1 == 0.0
        assert scores.per_observation[EDEMA].false_negatives == 1


def test_order_of_studies_and_of_keys_changes_nothing() -> None:
    predicted, true = random_states(30, 3), random_states(30, 4)
    order = np.random.default_rng(5).permutation(30)
    reordered = clinical_scores(
        [dict(reversed(predicted[i].items())) for i in order], [dict(reversed(true[i].items())) for i in order]
    )
    assert reordered.content == clinical_scores(predicted, true).content
    mismatched = clinical_scores([predicted[i] for i in order], true)
    assert mismatched.content != clinical_scores(predicted, true).content


def test_always_positive_report_has_the_prevalence_as_precision() -> None:
    true = random_states(50, 6)
    scores = clinical_scores(always_positive_states(50), true)
    prevalence = positive_matrix(true, uncertain_is_positive=False).mean(axis=0)
    assert [row.precision for row in scores.per_observation.values()] == pytest.approx(prevalence.tolist())
    assert scores.macro.recall == scores.micro.recall == 1.0


def test_the_section_is_json_with_14_rows() -> None:
    scores = clinical_scores(random_states(10, 7), random_states(10, 8), uncertain_is_positive=True)
    read_back = json.loads(json.dumps(scores.content))
    assert read_back["macro"]["f1"] == scores.macro.f1
    assert list(read_back["per_observation"]) == [observation.value for observation in OBSERVATIONS]
    assert read_back["per_observation"]["Edema"]["support"] == scores.per_observation[EDEMA].support
    assert read_back["uncertain_is_positive"] is True
    assert read_back["undefined_ratio"] == 0.0


@pytest.mark.parametrize(("predicted", "true"), [([], []), ([states()], []), ([states()], [states(), states()])])
def test_wrong_number_of_reports_is_refused(predicted: list[LabelStates], true: list[LabelStates]) -> None:
    with pytest.raises(DataError, match=f"{len(predicted)} reports for {len(true)} studies"):
        clinical_scores(predicted, true)


def test_a_missing_observation_is_named() -> None:
    labels = {o: s for o, s in states().items() if o is not EDEMA}
    with pytest.raises(DataError, match="Edema"):
        clinical_scores([labels], [states()])
