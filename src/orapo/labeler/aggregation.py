"""From mentions to one state per observation."""

from collections.abc import Iterable

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates, Observation
from orapo.labeler.types import Mention
from orapo.records import MentionSpan

_NEGATIVE, _UNCERTAIN, _POSITIVE = 1, 2, 4  # flags, because a report's mentions of one observation can be of all kinds
_UNMENTIONED = dict.fromkeys(OBSERVATIONS, LabelState.UNMENTIONED)
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


def aggregate_mentions(
    mentions: Iterable[Mention | MentionSpan], *, negative_and_uncertain_hide_positive: bool
) -> LabelStates:
    """One state for each of the 14 observations: positive beats uncertain beats negative; no mention, unmentioned.

    No Finding is positive when no observation but Support Devices is positive or uncertain and no mention speaks
    against it (the other abnormalities, kept as No Finding mentions); otherwise it is unmentioned, never negative.

    Args:
        mentions: of one report, in any order.
        negative_and_uncertain_hide_positive: as the original's code has it, an observation with negative and uncertain
            mentions is uncertain even when a positive one stands beside them.
    """
    seen: dict[Observation, int] = {}
    is_contradicted = False
    for observation, state, *_ in mentions:
        if observation is Observation.NO_FINDING:
            is_contradicted = True
        elif state is LabelState.NEGATIVE:
            seen[observation] = seen.get(observation, 0) | _NEGATIVE
        else:
            seen[observation] = seen.get(observation, 0) | (_POSITIVE if state is LabelState.POSITIVE else _UNCERTAIN)
            is_contradicted |= observation is not Observation.SUPPORT_DEVICES
    state_of = _AS_CODED if negative_and_uncertain_hide_positive else _DOCUMENTED
    states = _UNMENTIONED.copy()
    for observation, flags in seen.items():
        states[observation] = state_of[flags]
    if not is_contradicted:
        states[Observation.NO_FINDING] = LabelState.POSITIVE
    return states
