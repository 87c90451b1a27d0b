"""The shuffled-image control: every study is shown the images of another one."""

import numpy as np


def derangement(num_studies: int, seed: int) -> tuple[int, ...]:
    """For each study, whose images it is shown: a permutation of ``range(num_studies)`` in which nobody keeps its own.

    Raises:
        ValueError: fewer than two studies.
    """
    if num_studies < 2:
        raise ValueError(f"num_studies is {num_studies}; images can only be shuffled among at least 2 studies")
    order = np.random.default_rng(seed).permutation(num_studies)
    # Each study is shown the images of the next one along a random cycle.
    shown = np.empty(num_studies, dtype=int)
    shown[order] = np.roll(order, -1)
    return tuple(int(index) for index in shown)
