"""The floor affirms everything."""

from orapo.chexpert import OBSERVATIONS, LabelState
from orapo.evaluation.controls import always_positive_states


def test_always_positive_states_affirm_all_14() -> None:
    states = always_positive_states(3)
    assert len(states) == 3
    assert all(study[observation] is LabelState.POSITIVE for study in states for observation in OBSERVATIONS)
