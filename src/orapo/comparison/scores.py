"""The scores of runs and evaluations: what each is called, and where it stands in their files."""

from collections.abc import Mapping
from typing import NamedTuple

from orapo.evaluation.answers import ACCURACY

SYSTEM = "system"
_MACRO_F1 = "all_14/macro/f1"


class Score(NamedTuple):
    """One score.

    Attributes:
        heading: of its column.
        summary: its place in summary.json of a run; "" where a run has none there.
        row: the system or the control that it is of in evaluation.json; "" where an evaluation has none.
        measure: of that row; a clinical one without the reading of uncertain labels.
        curve: of a run; the score is the curve's last value, or of training the mean over its last tenth of steps.
    """

    heading: str
    summary: str = ""
    row: str = ""
    measure: str = ""
    curve: str = ""


SCORES: Mapping[str, Score] = {
    "macro_precision": Score("macro P", "trained.clinical.macro.precision", SYSTEM, "all_14/macro/precision"),
    "macro_recall": Score("macro R", "trained.clinical.macro.recall", SYSTEM, "all_14/macro/recall"),
    "macro_f1": Score("macro F1", "trained.clinical.macro.f1", SYSTEM, _MACRO_F1),
    "micro_precision": Score("micro P", "trained.clinical.micro.precision", SYSTEM, "all_14/micro/precision"),
    "micro_recall": Score("micro R", "trained.clinical.micro.recall", SYSTEM, "all_14/micro/recall"),
    "micro_f1": Score("micro F1", "trained.clinical.micro.f1", SYSTEM, "all_14/micro/f1"),
    "shuffled_macro_f1": Score(
        "shuffled images, macro F1", "shuffled_images.clinical.macro.f1", "shuffled_images", _MACRO_F1
    ),
    "base_macro_f1": Score("before training, macro F1", "base.clinical.macro.f1"),
    "always_positive_macro_f1": Score(
        "always-positive report, macro F1", "always_positive.macro.f1", "always_positive", _MACRO_F1
    ),
    "accuracy": Score("accuracy", "trained.answers.accuracy", SYSTEM, ACCURACY),
    "shuffled_accuracy": Score(
        "shuffled images, accuracy", "shuffled_images.answers.accuracy", "shuffled_images", ACCURACY
    ),
    "base_accuracy": Score("before training, accuracy", "base.answers.accuracy"),
    "seconds_per_study": Score("seconds per study", "trained.seconds_per_study"),
    "label_frequencies_macro_f1": Score("label frequencies, macro F1", "", "label_frequencies", _MACRO_F1),
    "most_common_report_macro_f1": Score("most common report, macro F1", "", "most_common_report", _MACRO_F1),
    "majority_accuracy": Score("majority answer, accuracy", "", "majority_answer", ACCURACY),
    "random_accuracy": Score("random answer, accuracy", "", "random_answer", ACCURACY),
    "seconds_per_image": Score("seconds per image", "", SYSTEM, "seconds_per_image"),
    "cost_usd_per_image": Score("US dollars per image", "", SYSTEM, "cost_usd_per_image"),
    "validation_macro_f1": Score("last validation, macro F1", curve="macro_f1"),
    "reward": Score("reward, last tenth", curve="reward"),
    "zero_reward_rate": Score("zero-reward rate, last tenth", curve="zero_reward_rate"),
    "reward_precision": Score("precision of rollouts, last tenth", curve="reward_precision"),
    "completion_tokens": Score("tokens per rollout, last tenth", curve="completion_tokens"),
    "repetition": Score("repeated 4-grams, last tenth", curve="repetition"),
}
"""By key, in the order of the columns of a CSV."""

EVALUATED = sorted(
    (key for key, one in SCORES.items() if one.row),
    key=lambda key: (SCORES[key].row != SYSTEM, SCORES[key].measure == ACCURACY),
)
"""The scores of an evaluation: the system's own first, reports before answers."""

COSTS = ("seconds_per_image", "cost_usd_per_image")
"""Of an evaluation, whether of reports or of answers."""

LOWEST_FIRST = frozenset(
    {"seconds_per_study", "seconds_per_image", "cost_usd_per_image", "zero_reward_rate", "repetition"}
)
