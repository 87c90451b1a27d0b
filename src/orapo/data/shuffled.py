"""Controls by shuffling: every study gets the images of another one, or another one's prior study."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from orapo.errors import DataError
from orapo.records import Study


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
        raise DataError(f"a control by shuffling needs at least 2 studies, got {num_studies}")
    generator = np.random.default_rng(seed)
    own = np.arange(num_studies)
    # About 1 permutation in e has no fixed point, whatever the number of studies: drawing again costs 1.7 more draws.
    while True:
        indices = generator.permutation(num_studies)
        if not np.any(indices == own):
            return tuple(indices.tolist())


def with_other_priors(studies: Sequence[Study], seed: int) -> tuple[Study, ...]:
    """The studies, each with the prior study of another one; those without a prior stay as they are.

    Args:
        studies: at least 2 with a prior.
        seed: as for ``derangement``.

    Raises:
        DataError: fewer than 2 studies with a prior.
    """
    places = [place for place, study in enumerate(studies) if study.context.prior is not None]
    told = list(studies)
    for place, other in zip(places, derangement(len(places), seed), strict=True):
        own, context = studies[place], studies[places[other]].context
        told[place] = replace(own, context=replace(own.context, prior=context.prior))
    return tuple(told)
