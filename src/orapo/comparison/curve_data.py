"""The curves of all groups as plain numbers, for the results page to draw."""

from typing import Any

import numpy as np

from orapo.chexpert import OBSERVATIONS
from orapo.comparison.compare import Comparison
from orapo.comparison.curve_pictures import PANELS, drawn_groups
from orapo.comparison.curves import Band, training_band, validation_band
from orapo.comparison.groups import Group
from orapo.comparison.run_folder import BESIDE_REWARD, OBSERVATION_KEYS, TRAINING_KEYS, VALIDATION_KEYS

MAX_POINTS = 120
"""Of a curve: hundreds of groups stay a page that opens at once."""

QUANTITIES: dict[str, tuple[str, str]] = {
    **{key: (title, unit) for key, title, unit in PANELS},
    "shuffled_macro_f1": ("Validation macro F1, images shuffled", "mean F1 of 14 observations"),
    "reward_precision": ("Precision of the rollouts", "0 to 1"),
    "completion_tokens": ("Length of the rollouts", "tokens"),
    "repetition": ("Repeated 4-grams of the rollouts", "fraction (0 to 1)"),
    **{
        key: (f"{observation.value}, validation F1", "0 to 1")
        for key, observation in zip(OBSERVATION_KEYS, OBSERVATIONS, strict=True)
    },
}
"""Title and unit by the key of a curve."""


def curve_data(comparison: Comparison) -> dict[str, Any]:
    """Groups with curves, the baseline and the best first; quantities that some group has."""
    first = drawn_groups(comparison.groups, comparison.baseline)
    others = [group for group in comparison.groups if not any(group is one for one in first)]
    groups = [(group, _curves(group)) for group in (*first, *others)]
    found = {key for _, curves in groups for key in curves}
    return {
        "quantities": {key: told for key, told in QUANTITIES.items() if key in found},
        "numDrawn": len(first),
        "groups": [
            {
                "label": group.label,
                "runs": len(group.runs),
                "isBaseline": group is comparison.baseline,
                "curves": curves,
            }
            for group, curves in groups
            if curves
        ],
    }


def _curves(group: Group) -> dict[str, list[list[float | None]]]:
    bands = {key: training_band(group, key) for key in (*TRAINING_KEYS, *BESIDE_REWARD)}
    bands |= {key: validation_band(group, key) for key in (*VALIDATION_KEYS, *OBSERVATION_KEYS)}
    return {key: _points(band) for key, band in bands.items() if band is not None}


def _points(band: Band) -> list[list[float | None]]:
    """Steps, means and SDs, the last null where fewer than two runs have the step."""
    kept = np.unique(np.linspace(0, len(band.steps) - 1, min(MAX_POINTS, len(band.steps))).round().astype(int))
    return [[_short(value) for value in column[kept].tolist()] for column in (band.steps, band.mean, band.sd)]


def _short(value: float) -> float | None:
    return None if np.isnan(value) else float(f"{value:.5g}")
