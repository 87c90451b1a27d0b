"""The floor that belongs beside every score, since it needs no image (the shuffled images are served by ``data``)."""

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates


def always_positive_states(num_studies: int) -> tuple[LabelStates, ...]:
    """Label states of reports that affirm all 14 observations, "No Finding" included.

    Their recall is 1 and their precision is each observation's prevalence: the floor that an F-beta with beta > 1
    invites a policy to.
    """
    states: LabelStates = dict.fromkeys(OBSERVATIONS, LabelState.POSITIVE)
    return (states,) * num_studies
