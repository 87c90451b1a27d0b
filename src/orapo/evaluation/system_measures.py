"""All measures of one system: what evaluation.json lists under its scores."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orapo.chexpert import OBSERVATIONS
from orapo.empty_reports import says_nothing
from orapo.evaluation.clinical import clinical_scores
from orapo.evaluation.clinical_measures import READINGS, clinical_measures
from orapo.evaluation.costs import cost_measures
from orapo.evaluation.report_pairs import ReportPair
from orapo.evaluation.resampling import Estimate, Measures, joined
from orapo.evaluation.text_measures import attribute_measures, length_measures, overlap_measures
from orapo.measures.attributes import attribute_pairs

COUNTED = ("support", "true_positives", "false_positives", "false_negatives")


@dataclass(frozen=True)
class SystemScores:
    """One row of the table, or why it is empty.

    Attributes:
        title: of the row.
        estimates: by measure; empty when not computed.
        counts: whole numbers by name, among them "<reading>/<observation>/<count>".
        not_computed: why, "" when computed.
        note: what a reader should know of these numbers; "" for nothing.
    """

    title: str
    estimates: dict[str, Estimate]
    counts: dict[str, float]
    not_computed: str = ""
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For evaluation.json."""
        if self.not_computed:
            return {"title": self.title, "not_computed": self.not_computed}
        measures = {name: asdict(estimate) for name, estimate in self.estimates.items()}
        return {"title": self.title, "note": self.note, "measures": measures, "counts": self.counts}


def system_measures(
    pairs: Sequence[ReportPair],
    images_per_study: Sequence[int],
    seconds: Sequence[float] | None,
    cost_usd: Sequence[float] | None,
) -> Measures:
    """Clinical, text and cost measures of a system's reports; overlap only where some study has an oracle report.

    Attributes only where some oracle report states one.
    """
    generated = [pair.generated_report for pair in pairs]
    oracle = [pair.oracle_report for pair in pairs]
    parts = [
        clinical_measures([pair.generated_states for pair in pairs], [pair.oracle_states for pair in pairs]),
        *([overlap_measures(generated, oracle)] if not all(map(says_nothing, oracle)) else []),
        *([attribute_measures(generated, oracle)] if any(map(attribute_pairs, oracle)) else []),
        length_measures(generated),
        cost_measures(images_per_study, seconds, cost_usd),
    ]
    return joined(*parts)


def observation_counts(pairs: Sequence[ReportPair]) -> dict[str, float]:
    """Counts of every observation in both readings, and of different reports."""
    counts: dict[str, float] = {"distinct_reports": len({pair.generated_report for pair in pairs})}
    for reading, uncertain_is_positive in READINGS.items():
        scores = clinical_scores(
            [pair.generated_states for pair in pairs],
            [pair.oracle_states for pair in pairs],
            uncertain_is_positive=uncertain_is_positive,
        )
        for observation in OBSERVATIONS:
            single = asdict(scores.per_observation[observation])
            counts |= {f"{reading}/{observation.value}/{name}": single[name] for name in COUNTED}
    return counts
