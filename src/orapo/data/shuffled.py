"""The shuffled-image control: every study is shown the images of another one."""

import numpy as np

from orapo.errors import DataError


def derangement(num_studies: int, seed: int) -> tuple[int, ...]:
    """For each study, the index of another study whose images it is shown.

    Uniformly drawn: every study's images are used once and no study keeps its own. Studies of one patient may still
    swap images, which can only make the control look better than it is.

    Args:
        num_studies: at least 2.
        seed: the same seed and number of studies give the same derangement.

    Raises:
        DataError: fewer than 2 studies, for which there is no derangement.
    """
    if num_studies < 2:
        raise DataError(f"the shuffled-image control needs at least 2 studies, got {num_studies}")
    generator = np.random.default_rng(seed)
    own = np.arange(num_studies)
    # About 1 permutation in e has no fixed point, whatever the number of studies: drawing again costs 1.7 more draws.
    while True:
        indices = generator.permutation(num_studies)
        if not np.any(indices == own):
            return tuple(indices.tolist())
