"""What generating took, per image: seconds and US dollars as sums over studies."""

from collections.abc import Sequence

import numpy as np

from orapo.evaluation.resampling import Array, Measures


def cost_measures(
    images_per_study: Sequence[int], seconds: Sequence[float] | None, cost_usd: Sequence[float] | None
) -> Measures:
    """``seconds_per_image`` and ``cost_usd_per_image`` of N studies, each only where it is known.

    Args:
        images_per_study: length N, each at least 1.
        seconds: per study; of studies generated for at once, each gets an equal share of the batch.
        cost_usd: per study; None for what runs on the user's own machine.
    """
    known = {"seconds_per_image": seconds, "cost_usd_per_image": cost_usd}
    given = {name: values for name, values in known.items() if values is not None}
    columns = np.array([images_per_study, *given.values()], dtype=np.float64).T

    def from_sums(sums: Array) -> dict[str, Array]:
        return {name: sums[:, place] / sums[:, 0] for place, name in enumerate(given, start=1)}

    return Measures(columns, from_sums, {})
