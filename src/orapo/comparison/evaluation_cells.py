"""What is told of evaluations beside their row among the groups: every number with its interval."""

from orapo.comparison.cells import ABSENT
from orapo.comparison.compare import Comparison
from orapo.comparison.evaluation_folder import CONTROLS, OWN_SCORES, Evaluation

COSTS = ("seconds_per_image", "cost_usd_per_image")
SCORES = tuple(key for key in OWN_SCORES if key not in COSTS)
TABLES = (("scores", SCORES), ("controls and cost", (*CONTROLS, *COSTS)))
"""Narrow enough for text; files and page have all columns side by side."""


def estimate_cell(evaluation: Evaluation, key: str) -> str:
    """A number with its interval, as in "0.341 [0.310, 0.372]"; ``ABSENT`` where it was not measured."""
    if key not in evaluation.estimates:
        return ABSENT
    digits, found = 4 if key in COSTS else 3, evaluation.estimates[key]
    return f"{found.value:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def evaluations_note(comparison: Comparison) -> str:
    """What the brackets are."""
    levels = {evaluation.settings.get("bootstrap.confidence") for _, evaluation in comparison.evaluations}
    told = ", ".join(f"{100 * level:g} %" for level in sorted(level for level in levels if isinstance(level, float)))
    return (
        f"Scores of evaluate.py; brackets: {told} bootstrap over studies. What evaluate.py did not compute is "
        f"{ABSENT}; its table.txt says why."
    )
