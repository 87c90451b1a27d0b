"""The list of studies that a run could not use: a file with every one, and a line in the log with the counts."""

import csv
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from orapo.data.source import LeftOut

logger = logging.getLogger(__name__)


def count_reasons(left_out: Iterable[LeftOut]) -> str:
    """The counts in words, the most frequent first: ``"no findings section: 12, no frontal image: 3"``."""
    counts = Counter(study.reason for study in left_out)
    return ", ".join(f"{reason}: {count:,}" for reason, count in counts.most_common())


def write_left_out(left_out: Sequence[LeftOut], path: str | Path) -> None:
    """Writes columns study_id and reason; logs how many and why. The file is there, and empty, when there are none."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("study_id", "reason"))
        writer.writerows((study.study_id, study.reason) for study in left_out)
    if left_out:
        logger.info("%d studies left out (%s), listed in %s", len(left_out), count_reasons(left_out), path)
