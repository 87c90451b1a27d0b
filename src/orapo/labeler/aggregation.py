"""From mentions to one state per observation."""

from collections.abc import Iterable

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates, Observation
from orapo.labeler.types import Mention

_PRESENT = frozenset({LabelState.POSITIVE, LabelState.UNCERTAIN})


def aggregate_mentions(mentions: Iterable[Mention], *, negative_and_uncertain_hide_positive: bool) -> LabelStates:
    """One state for each of the 14 observations: positive beats uncertain beats negative; no mention, unmentioned.

    No Finding is positive when no observation but Support Devices is positive or uncertain and no mention speaks
    against it (the other abnormalities, kept as No Finding mentions); otherwise it is unmentioned, never negative.

    Args:
        mentions: of one report, in any order.
        negative_and_uncertain_hide_positive: as the original's code has it, an observation with negative and uncertain
            mentions is uncertain even when a positive one stands beside them.
    """
    seen: dict[Observation, set[LabelState]] = {observation: set() for observation in OBSERVATIONS}
    for mention in mentions:
        seen[mention.observation].add(mention.state)
    states = {
        observation: _one_state(found, negative_and_uncertain_hide_positive) for observation, found in seen.items()
    }
    is_contradicted = bool(seen[Observation.NO_FINDING]) or any(
        state in _PRESENT
        for observation, state in states.items()
        if observation not in (Observation.NO_FINDING, Observation.SUPPORT_DEVICES)
    )
    states[Observation.NO_FINDING] = LabelState.UNMENTIONED if is_contradicted else LabelState.POSITIVE
    return states


def _one_state(found: set[LabelState], negative_and_uncertain_hide_positive: bool) -> LabelState:
    if negative_and_uncertain_hide_positive and {LabelState.NEGATIVE, LabelState.UNCERTAIN} <= found:
        return LabelState.UNCERTAIN
    for state in (LabelState.POSITIVE, LabelState.UNCERTAIN, LabelState.NEGATIVE):
        if state in found:
            return state
    return LabelState.UNMENTIONED
