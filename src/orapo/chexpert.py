"""The 14 CheXpert observations, their label states, and the codes by which data sets write them."""

import math
from collections.abc import Mapping
from enum import Enum, StrEnum

from orapo.errors import DataError


class Observation(StrEnum):
    """One of the 14 CheXpert observations; the value is the column name of the original labeler."""

    NO_FINDING = "No Finding"
    ENLARGED_CARDIOMEDIASTINUM = "Enlarged Cardiomediastinum"
    CARDIOMEGALY = "Cardiomegaly"
    LUNG_LESION = "Lung Lesion"
    LUNG_OPACITY = "Lung Opacity"
    EDEMA = "Edema"
    CONSOLIDATION = "Consolidation"
    PNEUMONIA = "Pneumonia"
    ATELECTASIS = "Atelectasis"
    PNEUMOTHORAX = "Pneumothorax"
    PLEURAL_EFFUSION = "Pleural Effusion"
    PLEURAL_OTHER = "Pleural Other"
    FRACTURE = "Fracture"
    SUPPORT_DEVICES = "Support Devices"


OBSERVATIONS: tuple[Observation, ...] = tuple(Observation)
"""All 14, in the column order of the original CheXpert labeler. Other sources use other orders: go by name."""

COMPETITION_OBSERVATIONS: tuple[Observation, ...] = (
    Observation.ATELECTASIS,
    Observation.CARDIOMEGALY,
    Observation.CONSOLIDATION,
    Observation.EDEMA,
    Observation.PLEURAL_EFFUSION,
)
"""The five observations scored by the CheXpert competition."""


class LabelState(Enum):
    """What a report, or a radiologist, states about one observation."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    UNCERTAIN = "uncertain"
    UNMENTIONED = "unmentioned"


LabelStates = Mapping[Observation, LabelState]
"""The state of each of the 14 observations for one study; every observation is a key."""

_LONGEST_CODE = 4
_STATE_OF_CODE = {1.0: LabelState.POSITIVE, 0.0: LabelState.NEGATIVE, -1.0: LabelState.UNCERTAIN}
_CODE_OF_STATE = {
    LabelState.POSITIVE: "1",
    LabelState.NEGATIVE: "0",
    LabelState.UNCERTAIN: "-1",
    LabelState.UNMENTIONED: "",
}


def label_state_from_code(code: float | str | None) -> LabelState:
    """Reads the code of a CheXpert-style table: 1 positive, 0 negative, -1 uncertain, blank or NaN unmentioned.

    Raises:
        DataError: the code is none of these.
    """
    if code is None or (isinstance(code, str) and not code.strip()):
        return LabelState.UNMENTIONED
    try:
        number = float(code)
    except ValueError:
        number = math.inf
    if math.isnan(number):
        return LabelState.UNMENTIONED
    if number not in _STATE_OF_CODE:
        # Of a row whose cells are shifted it may be a report or a patient's id.
        shown = repr(code) if len(str(code)) <= _LONGEST_CODE else f"of {len(str(code))} characters"
        raise DataError(
            f"label code {shown} is none of 1 (positive), 0 (negative), -1 (uncertain), blank (unmentioned)"
        )
    return _STATE_OF_CODE[number]


def label_state_to_code(state: LabelState) -> str:
    """Writes the code of the original labeler's table: "1", "0", "-1" or "" for unmentioned."""
    return _CODE_OF_STATE[state]


def positive_observations(labels: LabelStates, *, uncertain_is_positive: bool) -> frozenset[Observation]:
    """The observations that count as present; negative and unmentioned never do.

    Raises:
        DataError: one of the 14 observations is missing from ``labels``.
    """
    missing = [observation.value for observation in OBSERVATIONS if observation not in labels]
    if missing:
        raise DataError(f"labels lack {', '.join(missing)}; all 14 observations are needed")
    counted = {LabelState.POSITIVE} | ({LabelState.UNCERTAIN} if uncertain_is_positive else set())
    return frozenset(observation for observation in OBSERVATIONS if labels[observation] in counted)
