"""How long the balanced subset takes, and how balanced it is, beside a random subset of the same size.

Labels are drawn with about the prevalence of a large hospital's reports. Usage: python benchmarks/balanced_subset.py
"""

import random
import time

from orapo.chexpert import OBSERVATIONS, LabelState, Observation
from orapo.data.balanced_subset import BalancedSubset
from orapo.records import Split, Study

PREVALENCE = dict(
    zip(OBSERVATIONS[1:], (0.05, 0.3, 0.04, 0.35, 0.18, 0.07, 0.11, 0.3, 0.07, 0.36, 0.013, 0.03, 0.45), strict=True)
)
"""Chance of each observation in a study that is neither normal (33 %) nor without a label (2 %)."""


def synthetic_studies(num_studies: int, seed: int) -> list[Study]:
    """Studies with long-tailed labels and nothing else."""
    draw = random.Random(seed)
    return [_study(f"s{index}", draw) for index in range(num_studies)]


def _study(study_id: str, draw: random.Random) -> Study:
    kind = draw.random()
    present: set[Observation] = set()
    if kind < 0.33:
        present = {Observation.NO_FINDING}
    elif kind > 0.35:
        present = {observation for observation, chance in PREVALENCE.items() if draw.random() < chance}
    labels = {o: LabelState.POSITIVE if o in present else LabelState.UNMENTIONED for o in OBSERVATIONS}
    return Study(study_id, study_id, Split.TRAIN, ("a.png",), ("PA",), "text", labels)


def main() -> None:
    """Prints the table."""
    studies = synthetic_studies(230_000, seed=0)
    start = time.perf_counter()
    manifest = BalancedSubset(num_studies=1_000, seed=0).choose(studies, source_digest="")
    seconds = time.perf_counter() - start
    chance = random.Random(1).sample(studies, 1_000)
    print(
        f"1,000 of 230,000 studies in {seconds:.1f} s\n\n| observation | pool | random | balanced |\n|---|---|---|---|"
    )
    for observation in OBSERVATIONS:
        by_chance = sum(study.labels[observation] is LabelState.POSITIVE for study in chance)
        before, after = manifest.positives_before[observation], manifest.positives_after[observation]
        print(f"| {observation} | {before} | {by_chance} | {after} |")


if __name__ == "__main__":
    main()
