"""How often the 95 % intervals of evaluate.py hold the truth, where some findings are rare.

python benchmarks/intervals.py    (a minute) prints coverage and mean width of macro F1, for 100 and 400 studies.
"""

import numpy as np
from numpy.typing import NDArray

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates
from orapo.evaluation.clinical import clinical_measures
from orapo.evaluation.resampling import Bootstrap, Measures

MACRO_F1 = "uncertain_not_positive/all_14/macro/f1"
PREVALENCE = np.array([0.3, 0.05, 0.25, 0.06, 0.35, 0.2, 0.08, 0.06, 0.25, 0.05, 0.3, 0.04, 0.05, 0.3])
SENSITIVITY, FALSE_POSITIVE_RATE = 0.6, PREVALENCE / 3


def measured(called: NDArray[np.bool_], true: NDArray[np.bool_]) -> Measures:
    """The measures of N studies from what is called present and what is, both [N, 14]."""
    return clinical_measures(label_states(called), label_states(true))


def coverage(num_studies: int, num_trials: int, num_resamples: int) -> tuple[float, float]:
    """The share of drawn test sets whose interval of macro F1 holds the truth, and the interval's mean width."""
    hits, false_alarms = PREVALENCE * SENSITIVITY, (1 - PREVALENCE) * FALSE_POSITIVE_RATE
    truth = (2 * hits / (hits + false_alarms + PREVALENCE)).mean()
    generator = np.random.default_rng(1)
    held, width = 0, 0.0
    for trial in range(num_trials):
        true = generator.random((num_studies, len(OBSERVATIONS))) < PREVALENCE
        called = generator.random(true.shape) < np.where(true, SENSITIVITY, FALSE_POSITIVE_RATE)
        found = Bootstrap(num_resamples, seed=trial).estimates(measured(called, true))[MACRO_F1]
        held += found.low <= truth <= found.high
        width += (found.high - found.low) / num_trials
    return held / num_trials, width


def label_states(present: NDArray[np.bool_]) -> list[LabelStates]:
    """Positive or unmentioned, of [N, 14]."""
    kinds = (LabelState.UNMENTIONED, LabelState.POSITIVE)
    return [{o: kinds[int(at)] for o, at in zip(OBSERVATIONS, row, strict=True)} for row in present]


def _main() -> None:
    for num_studies in (100, 400):
        share, width = coverage(num_studies, num_trials=1000, num_resamples=300)
        print(f"{num_studies} studies: {share:.1%} of 1,000 hold the truth, mean width {width:.3f}", flush=True)


if __name__ == "__main__":
    _main()
