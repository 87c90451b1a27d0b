"""The clinical section of summary.json as the examiner makes it, with dots in place of brackets."""

from collections.abc import Sequence
from types import SimpleNamespace

from orapo.chexpert import LabelStates, Observation
from orapo.evaluation.clinical import clinical_measures, observation_counts, reading_of
from orapo.evaluation.examiner import Examiner
from orapo.evaluation.resampling import Bootstrap
from orapo.labeler import Labeler

EXAMINER = Examiner(Labeler(), Bootstrap(100))


def clinical_scores(
    predicted: Sequence[LabelStates], true: Sequence[LabelStates], *, uncertain_is_positive: bool = False
) -> SimpleNamespace:
    counts = observation_counts(predicted, true)
    row = EXAMINER.of_labels("", clinical_measures(predicted, true), "", counts)
    content = row.clinical(reading_of(uncertain_is_positive), len(true))
    return SimpleNamespace(
        content=content,
        macro=SimpleNamespace(**content["macro"]),
        micro=SimpleNamespace(**content["micro"]),
        per_observation={Observation(name): SimpleNamespace(**one) for name, one in content["per_observation"].items()},
        num_studies=content["num_studies"],
    )
