"""From mentions to one state per observation."""

from collections.abc import Iterable

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates, Observation
from orapo.labeler.types import Mention

_NEGATIVE, _UNCERTAIN, _POSITIVE = 1, 2, 4  # flags, because a report's mentions of one observation can be of all kinds
_NONE_SEEN = dict.fromkeys(OBSERVATIONS, 0)
_DOCUMENTED = (
    LabelState.UNMENTIONED,
    LabelState.NEGATIVE,
    LabelState.UNCERTAIN,
    LabelState.UNCERTAIN,
    LabelState.POSITIVE,
    LabelState.POSITIVE,
    LabelState.POSITIVE,
    LabelState.POSITIVE,
)
"""State for each sum of flags: positive beats uncertain beats negative."""
_AS_CODED = (*_DOCUMENTED[:-1], LabelState.UNCERTAIN)
"""The original's code asks for negative with uncertain first, so all three together are uncertain."""


def aggregate_mentions(mentions: Iterable[Mention], *, negative_and_uncertain_hide_positive: bool) -> LabelStates:
    """One state for each of the 14 observations: positive beats uncertain beats negative; no mention, unmentioned.

    No Finding is positive when no observation but Support Devices is positive or uncertain and no mention speaks
    against it (the other abnormalities, kept as No Finding mentions); otherwise it is unmentioned, never negative.

    Args:
        mentions: of one report, in any order.
        negative_and_uncertain_hide_positive: as the original's code has it, an observation with negative and uncertain
            mentions is uncertain even when a positive one stands beside them.
    """
    seen = _NONE_SEEN.copy()
    is_contradicted = False
    for mention in mentions:
        observation, state = mention.observation, mention.state
        if observation is Observation.NO_FINDING:
            is_contradicted = True
        elif state is LabelState.NEGATIVE:
            seen[observation] |= _NEGATIVE
        else:
            seen[observation] |= _POSITIVE if state is LabelState.POSITIVE else _UNCERTAIN
            is_contradicted |= observation is not Observation.SUPPORT_DEVICES
    state_of = _AS_CODED if negative_and_uncertain_hide_positive else _DOCUMENTED
    states = {observation: state_of[flags] for observation, flags in seen.items()}
    states[Observation.NO_FINDING] = LabelState.UNMENTIONED if is_contradicted else LabelState.POSITIVE
    return states
