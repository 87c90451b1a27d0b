"""Label states that studies share: most have theirs in common with thousands of others."""

from collections.abc import Hashable

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates, label_state_from_code
from orapo.errors import DataError

LABEL_NAMES = tuple(observation.value for observation in OBSERVATIONS)
"""Names of the 14 labels in the order in which ``SharedStates`` takes codes."""


class SharedStates:
    """Turns codes into label states; equal states are one mapping: 227,835 of their own would take 150 MB."""

    def __init__(self) -> None:
        self._of_codes: dict[Hashable, LabelStates] = {}
        self._of_states: dict[tuple[LabelState, ...], LabelStates] = {}

    def of_codes(self, codes: tuple[float | str | None, ...]) -> LabelStates:
        """The states of 14 codes in the order of ``OBSERVATIONS``; raises DataError naming the observation."""
        found = self._of_codes.get(codes)
        if found is None:
            found = self._of_codes[codes] = self._of(
                tuple(_state(name, code) for name, code in zip(LABEL_NAMES, codes, strict=True))
            )
        return found

    def of(self, states: LabelStates) -> LabelStates:
        """The mapping that stands for all states equal to these."""
        return self._of(tuple(states[observation] for observation in OBSERVATIONS))

    def _of(self, states: tuple[LabelState, ...]) -> LabelStates:
        return self._of_states.setdefault(states, dict(zip(OBSERVATIONS, states, strict=True)))


def _state(name: str, code: float | str | None) -> LabelState:
    try:
        return label_state_from_code(code)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
