"""Generated reports beside the radiologist's, with the label states of both: the rows of test_reports.jsonl."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates, Observation, positive_observations
from orapo.empty_reports import says_nothing
from orapo.errors import DataError
from orapo.evaluation.clinical import ClinicalScores, clinical_scores
from orapo.evaluation.text import TextScores, text_scores
from orapo.json_lines import read_json_lines
from orapo.labeler.types import LabeledReport
from orapo.records import MentionSpan, Study


class ReportLabeler(Protocol):
    """What reads the label states of a generated report."""

    def label(self, text: str) -> LabeledReport:
        """The 14 label states of a report, which may be empty."""


@dataclass(frozen=True, slots=True)
class ReportPair:
    """One test study: what the radiologist wrote, what the policy wrote, and what each says.

    Attributes:
        study_id: unique within the test split.
        oracle_report: the radiologist's report.
        generated_report: the policy's report; may be empty.
        oracle_states: the study's true label states, the yardstick.
        generated_states: what ``labeled`` reads in ``generated_report``.
        generated_mentions: where it reads that; none where the file that a pair was read from doesn't tell.
    """

    study_id: str
    oracle_report: str
    generated_report: str
    oracle_states: LabelStates
    generated_states: LabelStates
    generated_mentions: tuple[MentionSpan, ...] = ()

    def to_row(self) -> dict[str, Any]:
        """One row of test_reports.jsonl: label states as words under the observations' CheXpert names."""
        return {
            "study_id": self.study_id,
            "oracle_report": self.oracle_report,
            "generated_report": self.generated_report,
            "oracle_states": _states_to_words(self.oracle_states),
            "generated_states": _states_to_words(self.generated_states),
            "generated_mentions": [mention.to_row() for mention in self.generated_mentions],
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "ReportPair":
        """Reads a row written by ``to_row``.

        Raises:
            DataError: a key or observation is missing, a label state is none of the four words, or a mention has no
                place.
        """
        study_id = row.get("study_id")
        keys = ("study_id", "oracle_report", "generated_report", "oracle_states", "generated_states")
        missing = [key for key in keys if key not in row]
        if missing:
            raise DataError(f"study {study_id!r}: the row of generated reports lacks {', '.join(missing)}")
        return cls(
            study_id=str(study_id),
            oracle_report=str(row["oracle_report"]),
            generated_report=str(row["generated_report"]),
            oracle_states=_states_from_words(row["oracle_states"], f"study {study_id!r}: oracle_states"),
            generated_states=_states_from_words(row["generated_states"], f"study {study_id!r}: generated_states"),
            generated_mentions=_mentions_from_rows(row.get("generated_mentions", ()), f"study {study_id!r}"),
        )


@dataclass(frozen=True, slots=True)
class Agreement:
    """Observations present in the study or in the generated report, by who says so."""

    agreed: tuple[Observation, ...]
    missed: tuple[Observation, ...]
    false_alarms: tuple[Observation, ...]


@dataclass(frozen=True, slots=True)
class ReportScores:
    """What the examiner says of one system's reports."""

    clinical: ClinicalScores
    text: TextScores

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings for summary.json."""
        return {"clinical": self.clinical.to_dict(), "text": self.text.to_dict()}


def pair_reports(
    studies: Sequence[Study], generated_reports: Sequence[str], labeler: ReportLabeler
) -> tuple[ReportPair, ...]:
    """Puts each generated report beside its study; the study's own labels are the truth.

    Raises:
        DataError: there isn't exactly one report for each study.
    """
    if len(studies) != len(generated_reports):
        raise DataError(f"{len(generated_reports)} generated reports for {len(studies)} studies; one each is needed")
    return tuple(
        ReportPair(
            study_id=study.study_id,
            oracle_report=study.oracle_report,
            generated_report=generated_report,
            oracle_states=study.labels,
            generated_states=read.states,
            generated_mentions=tuple(mention.span for mention in read.mentions),
        )
        for study, generated_report, read in zip(
            studies,
            generated_reports,
            (labeled(report, labeler) for report in generated_reports),
            strict=True,
        )
    )


def labeled(generated_report: str, labeler: ReportLabeler) -> LabeledReport:
    """What the labeler reads in a generated report; in one that says nothing, nothing (by itself: No Finding)."""
    if says_nothing(generated_report):
        return LabeledReport(dict.fromkeys(OBSERVATIONS, LabelState.UNMENTIONED), ())
    return labeler.label(generated_report)


def score_reports(pairs: Sequence[ReportPair], *, uncertain_is_positive: bool = False) -> ReportScores:
    """Clinical and text scores of one system's reports.

    Raises:
        DataError: no pairs.
    """
    return ReportScores(
        clinical=clinical_scores(
            [pair.generated_states for pair in pairs],
            [pair.oracle_states for pair in pairs],
            uncertain_is_positive=uncertain_is_positive,
        ),
        text=text_scores([pair.generated_report for pair in pairs], [pair.oracle_report for pair in pairs]),
    )


def agreement(pair: ReportPair, *, uncertain_is_positive: bool = False) -> Agreement:
    """Which observations the generated report gets right, misses or invents, in the order of ``OBSERVATIONS``."""
    true = positive_observations(pair.oracle_states, uncertain_is_positive=uncertain_is_positive)
    called = positive_observations(pair.generated_states, uncertain_is_positive=uncertain_is_positive)
    return Agreement(
        agreed=tuple(o for o in OBSERVATIONS if o in true and o in called),
        missed=tuple(o for o in OBSERVATIONS if o in true and o not in called),
        false_alarms=tuple(o for o in OBSERVATIONS if o in called and o not in true),
    )


def write_report_pairs(path: Path, pairs: Sequence[ReportPair]) -> None:
    """Writes test_reports.jsonl: one study a line, UTF-8, in the order given."""
    lines = [json.dumps(pair.to_row(), ensure_ascii=False) + "\n" for pair in pairs]
    path.write_text("".join(lines), encoding="utf-8")


def read_report_pairs(path: Path) -> tuple[ReportPair, ...]:
    """Reads what ``write_report_pairs`` wrote.

    Raises:
        DataError: the file is missing, or a line isn't a row of ``ReportPair.to_row``; names file and line.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file of generated reports")
    pairs = []
    for number, row in read_json_lines(path):
        try:
            pairs.append(ReportPair.from_row(row))
        except DataError as error:
            raise DataError(f"{path}, line {number}: {error}") from error
    return tuple(pairs)


def _states_to_words(states: LabelStates) -> dict[str, str]:
    return {observation.value: states[observation].value for observation in OBSERVATIONS}


def _states_from_words(words: Mapping[str, str], where: str) -> dict[Observation, LabelState]:
    allowed = [state.value for state in LabelState]
    states = {}
    for observation in OBSERVATIONS:
        word = words.get(observation.value)
        if word not in allowed:
            raise DataError(f"{where}: {observation.value} is {word!r}, allowed are {', '.join(allowed)}")
        states[observation] = LabelState(word)
    return states


def _mentions_from_rows(rows: Sequence[Mapping[str, Any]], where: str) -> tuple[MentionSpan, ...]:
    try:
        return tuple(map(MentionSpan.from_row, rows))
    except (KeyError, TypeError, ValueError):
        raise DataError(
            f"{where}: one of generated_mentions can't be read; each has observation, state, and whole numbers start, "
            "end, cue_start, cue_end"
        ) from None
