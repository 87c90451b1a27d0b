"""The examiner: it measures base test, validation, final test, evaluate.py and the controls."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from orapo.chexpert import OBSERVATIONS, LabelStates, Observation
from orapo.empty_reports import says_nothing
from orapo.evaluation.answers import ACCURACY, ANSWERED, answer_measures
from orapo.evaluation.clinical import (
    AVERAGES,
    COUNTED,
    RATIOS,
    READINGS,
    clinical_measures,
    observation_counts,
)
from orapo.evaluation.mark_measures import mark_measures
from orapo.evaluation.report_pairs import Reader, ReportPair, Written, pair_reports
from orapo.evaluation.resampling import Bootstrap, Difference, Estimate, Measures, joined
from orapo.evaluation.text_measures import (
    attribute_measures,
    change_measures,
    cost_measures,
    length_measures,
    mean_measures,
    overlap_measures,
)
from orapo.labeler.types import ReportLabeler
from orapo.measures.attributes import changes_of
from orapo.measures.ratios import UNDEFINED_RATIO
from orapo.measures.served import ServedMetrics
from orapo.measures.words import normalised
from orapo.records import Study

SCORE = "score/"
"""Before the name of a metric that is not computed here."""

REFUSED = "refused_fraction"
"""Of a second reader: reports with a sentence that it could not read, which states nothing."""


@dataclass(frozen=True)
class SystemScores:
    """One row of the table, or why it is empty.

    Attributes:
        title: of the row.
        estimates: by measure; empty when not computed.
        counts: whole numbers by name, among them "<reading>/<observation>/<count>".
        not_computed: why, "" when computed.
        note: what a reader should know of these numbers; "" for nothing.
        measures: that the estimates are of, for paired tests; None when not computed.
        pairs: the reports; none for a control without text.
    """

    title: str
    estimates: Mapping[str, Estimate] = field(default_factory=dict)
    counts: Mapping[str, float] = field(default_factory=dict)
    not_computed: str = ""
    note: str = ""
    measures: Measures | None = None
    pairs: tuple[ReportPair, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The entry of one system in evaluation.json."""
        if self.not_computed:
            return {"title": self.title, "not_computed": self.not_computed}
        measures = {name: asdict(estimate) for name, estimate in self.estimates.items()}
        return {"title": self.title, "note": self.note, "measures": measures, "counts": dict(self.counts)}

    def clinical(self, reading: str, num_studies: int) -> dict[str, Any]:
        """The section ``clinical`` of summary.json: one reading of uncertain labels over the 14 observations."""
        value = {name: estimate.value for name, estimate in self.estimates.items()}
        return {
            "num_studies": num_studies,
            "uncertain_is_positive": READINGS[reading],
            "undefined_ratio": UNDEFINED_RATIO,
            **{
                average: {kind: value[f"{reading}/all_14/{average}/{kind}"] for kind in RATIOS}
                for average in AVERAGES[:2]
            },
            "per_observation": {
                observation.value: {
                    **{name: self.counts[f"{reading}/{observation.value}/{name}"] for name in COUNTED},
                    **{kind: value[f"{reading}/{observation.value}/{kind}"] for kind in RATIOS},
                }
                for observation in OBSERVATIONS
            },
        }

    def summary(self, reading: str) -> dict[str, Any]:
        """One system's entry in summary.json; what could not be measured is absent."""
        value = {name: estimate.value for name, estimate in self.estimates.items()}
        names = ("mean_words", "empty_report_fraction", "rouge_l", "bleu_4", "attribute_f1")
        distinct = {normalised(pair.generated_report) for pair in self.pairs}
        text = {name: value[name] for name in names if name in value}
        seconds = [pair.seconds for pair in self.pairs if pair.seconds is not None]
        examined = (
            {"answers": {"num_questions": len(self.pairs), **_answers(value)}}
            if ACCURACY in value
            else {"clinical": self.clinical(reading, len(self.pairs))}
        )
        return {
            **examined,
            "text": {**text, "distinct_report_fraction": len(distinct) / len(self.pairs)},
            "seconds_per_study": sum(seconds) / len(seconds) if seconds else None,
        }


@dataclass(frozen=True)
class Mark:
    """A spurious mark of a source's images.

    Attributes:
        observation: that it went with in training.
        is_on: whether the images of a study, by its id, have it.
    """

    observation: Observation
    is_on: Callable[[str], bool]


Scorer = Callable[[Sequence[str], Sequence[Study]], list[Mapping[str, float]]]
"""From reports and their studies to each report's scores by name; a score is missing where the study leaves it open."""


@dataclass(frozen=True)
class Examiner:
    """Reads generated reports and measures them.

    Attributes:
        labeler: reads every generated report; the reward may read by the same rules.
        bootstrap: of the intervals and paired tests.
        readers: second readers by name, which share no rule with the labeler; each has measures of its own, named
            "<reader>/...", beside the labeler's.
        scorer: gives each report scores of its own; None for none.
        metrics: of a metric server, measured where a study has an oracle report; None for none.
        mark: of the source's images; None where they have none.
    """

    labeler: ReportLabeler
    bootstrap: Bootstrap
    readers: Mapping[str, Reader] = field(default_factory=dict)
    scorer: Scorer | None = None
    metrics: ServedMetrics | None = None
    mark: Mark | None = None

    def read(
        self, studies: Sequence[Study], written: Written, images_of: Sequence[int] | None = None
    ) -> tuple[ReportPair, ...]:
        """``pair_reports``, with the second readers' and the metric server's values of each report.

        Raises:
            DataError: there isn't exactly one report for each study.
            OrapoError: the metric server gives no values.
        """
        pairs = pair_reports(studies, written, self.labeler, images_of)
        if pairs[0].answer is not None:
            # Second readers, terms and metrics of reports have nothing to say of answers.
            return pairs
        own = [dict[str, float]()] * len(pairs) if self.scorer is None else self.scorer(written.reports, studies)
        served = self._served(pairs)
        return tuple(
            replace(
                pair,
                readings={name: reader.read(pair.generated_report) for name, reader in self.readers.items()},
                scores={**scores, **served.get(pair.study_id, {})},
            )
            for pair, scores in zip(pairs, own, strict=True)
        )

    def scored(
        self, title: str, pairs: tuple[ReportPair, ...], counts: Mapping[str, float] | None = None, note: str = ""
    ) -> SystemScores:
        """The row of a system that wrote reports.

        Args:
            title: of the row.
            pairs: of all studies, at least one.
            counts: further counts by name; those above 0 become the note where there is none.
            note: "" for nothing to tell.
        """
        counts = counts or {}
        measures = system_measures(pairs, self.mark)
        told = ", ".join(f"{name.replace('_', ' ')} {count:g}" for name, count in counts.items() if count)
        states = [pair.generated_states for pair in pairs], [pair.oracle_states for pair in pairs]
        counted = observation_counts(*states) if pairs[0].answer is None else _group_counts(pairs)
        distinct = {"distinct_reports": len({pair.generated_report for pair in pairs})}
        return SystemScores(
            title=title,
            estimates=self.bootstrap.estimates(measures),
            counts={**distinct, **counted, **counts},
            note=note or told,
            measures=measures,
            pairs=pairs,
        )

    def of_labels(
        self, title: str, measures: Measures, note: str, counts: Mapping[str, float] | None = None
    ) -> SystemScores:
        """The row of a control that has labels but no text."""
        return SystemScores(title, self.bootstrap.estimates(measures), counts or {}, note=note, measures=measures)

    def differences(self, first: SystemScores, second: SystemScores) -> dict[str, Difference]:
        """Paired differences, first minus second, of the measures that both have; none without either."""
        if first.measures is None or second.measures is None:
            return {}
        return self.bootstrap.differences(first.measures, second.measures)

    def _served(self, pairs: Sequence[ReportPair]) -> dict[str, dict[str, float]]:
        """{study: {metric: value}}."""
        kept = [pair for pair in pairs if not says_nothing(pair.oracle_report)]
        if self.metrics is None or not kept:
            return {}
        values = self.metrics.score([pair.oracle_report for pair in kept], [pair.generated_report for pair in kept])
        rows = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
        return {pair.study_id: row for pair, row in zip(kept, rows, strict=True)}


def system_measures(pairs: Sequence[ReportPair], mark: Mark | None = None) -> Measures:
    """Every measure of a system's reports.

    Overlap, attributes, changes and served metrics stand there only where an oracle report can be compared with. Of
    answers, which are right or wrong, accuracy and length.
    """
    generated = [pair.generated_report for pair in pairs]
    oracle = [pair.oracle_report for pair in pairs]
    true = [pair.oracle_states for pair in pairs]
    metrics = dict.fromkeys(name for pair in pairs for name in pair.scores)
    answers = [pair.answer for pair in pairs if pair.answer is not None]
    if answers:
        return joined(answer_measures(answers), length_measures(generated))
    parts = [
        clinical_measures([pair.generated_states for pair in pairs], true),
        *([overlap_measures(generated, oracle)] if not all(map(says_nothing, oracle)) else []),
        attribute_measures(generated, oracle),
        *([change_measures(generated, oracle)] if any(map(changes_of, oracle)) else []),
        length_measures(generated),
        cost_measures(
            [pair.num_images for pair in pairs],
            [pair.seconds for pair in pairs],
            [pair.cost_usd for pair in pairs],
        ),
        *(_second_reading(pairs, true, name) for name in pairs[0].readings),
    ]
    if metrics:
        parts.append(mean_measures({f"{SCORE}{name}": [pair.scores.get(name) for pair in pairs] for name in metrics}))
    if mark is not None:
        parts.append(
            mark_measures(pairs, [mark.is_on(pair.shown_study_id or pair.study_id) for pair in pairs], mark.observation)
        )
    return joined(*parts)


def _answers(value: Mapping[str, float]) -> dict[str, float]:
    return {name: number for name, number in value.items() if name == ANSWERED or name.startswith(ACCURACY)}


def _group_counts(pairs: Sequence[ReportPair]) -> dict[str, float]:
    """The number of questions of each group, under "<group>/support"."""
    groups = Counter(pair.answer.group for pair in pairs if pair.answer is not None)
    return {f"{group}/support": count for group, count in sorted(groups.items())}


def _second_reading(pairs: Sequence[ReportPair], true: Sequence[LabelStates], reader: str) -> Measures:
    """The clinical measures by another reader, and the share of reports with sentences that it could not read."""
    read = [pair.readings[reader] for pair in pairs]
    return joined(
        clinical_measures([reading.states for reading in read], true, prefix=f"{reader}/"),
        mean_measures({f"{reader}/{REFUSED}": [float(reading.num_refused > 0) for reading in read]}),
    )
