import numpy as np
import pytest
from tests.unit.evaluation.scores import clinical_scores

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates, Observation
from orapo.errors import DataError
from orapo.evaluation.clinical import clinical_measures
from orapo.evaluation.controls import always_positive_states, label_frequency_measures, most_common_report

EDEMA, FRACTURE = Observation.EDEMA, Observation.FRACTURE


def states(*positive: Observation) -> LabelStates:
    return {o: LabelState.POSITIVE if o in positive else LabelState.UNMENTIONED for o in OBSERVATIONS}


def test_all_14_observations_are_affirmed() -> None:
    states = always_positive_states(3)
    assert len(states) == 3
    assert all(set(labels) == set(OBSERVATIONS) for labels in states)
    assert all(state is LabelState.POSITIVE for labels in states for state in labels.values())


def test_label_frequencies_by_hand() -> None:
    # Edema in 3 of 4 training studies, nothing else; in 1 of 2 test studies, where a fracture stands too.
    measures = label_frequency_measures([states(EDEMA)] * 3 + [states()], [states(EDEMA), states(FRACTURE)], seed=0)
    values = measures.values()
    # Expected counts: 0.75 TP, 0.75 FP, 0.25 FN.
    edema = [values[f"uncertain_not_positive/Edema/{kind}"] for kind in ("precision", "recall", "f1")]
    assert edema == pytest.approx([0.5, 0.75, 1.5 / 2.5])
    assert values["uncertain_not_positive/Fracture/recall"] == 0
    assert values["uncertain_not_positive/all_14/micro/recall"] == pytest.approx(0.75 / 2)
    # The first study's own F1 is 1 with probability 3/4, the second's is 0: 1000 draws, standard error 0.014 / 2.
    assert values["uncertain_not_positive/all_14/example/f1"] == pytest.approx(0.375, abs=0.025)


def test_label_frequencies_are_what_many_drawn_reports_score_on_average() -> None:
    generator = np.random.default_rng(0)

    def draw(count: int) -> list[LabelStates]:
        chances = np.linspace(0.1, 0.8, 14)
        rows = generator.random((count, 14)) < chances
        return [states(*(o for o, is_present in zip(OBSERVATIONS, row, strict=True) if is_present)) for row in rows]

    training, true = draw(3000), draw(200)
    expected = label_frequency_measures(training, true, seed=1).values()
    drawn = [clinical_measures(draw(200), true).values() for _ in range(30)]
    for name in ("macro/f1", "micro/precision", "micro/f1", "example/precision", "example/recall", "example/f1"):
        for observations in ("all_14", "competition_5"):
            key = f"uncertain_not_positive/{observations}/{name}"
            assert expected[key] == pytest.approx(np.mean([values[key] for values in drawn]), abs=0.015), key


def test_a_training_frequency_of_one_is_the_always_positive_report() -> None:
    true = [states(EDEMA), states(FRACTURE), states()]
    values = label_frequency_measures(always_positive_states(2), true, seed=0).values()
    scores = clinical_scores(always_positive_states(3), true)
    assert values["uncertain_not_positive/all_14/macro/f1"] == scores.macro.f1
    assert values == pytest.approx(clinical_measures(always_positive_states(3), true).values())


def test_the_most_common_report() -> None:
    assert most_common_report(["Clear.", "No  edema.", "No edema.", "Clear lungs."]) == ("No edema.", 2)
    assert most_common_report(["b", "a"]) == ("b", 1)


def test_without_training_studies_there_are_no_such_controls() -> None:
    with pytest.raises(DataError, match="no training report"):
        most_common_report([])
    with pytest.raises(DataError, match="got 0 and 1"):
        label_frequency_measures([], [states()], seed=0)
