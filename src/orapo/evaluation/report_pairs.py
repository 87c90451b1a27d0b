"""Generated reports beside the radiologist's, with their readings, time and cost: the basis of all scores.

Every file of examined reports (test_reports.jsonl, base_test_reports.jsonl, reports.jsonl ...) holds these rows, and
every measure but those of time and cost can be made again from it: the same reports give the same file.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates, Observation
from orapo.empty_reports import says_nothing
from orapo.errors import DataError
from orapo.evaluation.answers import Answered
from orapo.json_lines import read_json_lines
from orapo.labeler.types import LabeledReport, ReportLabeler
from orapo.records import MentionSpan, Reading, Study
from orapo.whole_file import write_whole


class Reader(Protocol):
    """A second reader of generated reports, which shares no rule with the labeler."""

    def read(self, report: str) -> Reading:
        """The 14 label states of a report, which may be empty."""
        ...


@dataclass(frozen=True)
class Written:
    """The reports of one system, one a study.

    Attributes:
        reports: in the order of the studies; may be empty.
        seconds: that each took, those written for at once sharing the time equally; None where it isn't known.
        cost_usd: that each cost; None for what runs on this machine, or isn't known.
        counts: further counts by name.
    """

    reports: tuple[str, ...]
    seconds: tuple[float, ...] | None = None
    cost_usd: tuple[float, ...] | None = None
    counts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReportPair:
    """One study: oracle and generated report, what each states, and what generating took.

    Attributes:
        study_id: unique within the split.
        oracle_report: the radiologist's report.
        generated_report: the system's report; may be empty.
        oracle_states: the study's true label states, the yardstick; empty for a question.
        generated_states: what the labeler reads in ``generated_report``; empty for a question.
        generated_mentions: where it reads that; none where the file that a pair was read from doesn't tell.
        shown_study_id: of the study whose images were shown instead, in the shuffled control; None: its own were.
        num_images: that it was shown, at least 1 but for a question.
        seconds: that writing took; None where it isn't known, as for a pair that was read from a file.
        cost_usd: that it cost; None where it cost nothing, or isn't known.
        readings: by the name of a second reader, what it reads in ``generated_report``.
        scores: of this one report, by the name of a metric that this package does not compute.
        answer: of a question, right or wrong; None where a report was asked for.
    """

    study_id: str
    oracle_report: str
    generated_report: str
    oracle_states: LabelStates
    generated_states: LabelStates
    generated_mentions: tuple[MentionSpan, ...] = ()
    shown_study_id: str | None = None
    num_images: int = 1
    seconds: float | None = None
    cost_usd: float | None = None
    readings: Mapping[str, Reading] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    answer: Answered | None = None

    def to_row(self) -> dict[str, Any]:
        """One row of a file: label states as words under the observations' CheXpert names."""
        texts = {key: getattr(self, key) for key in ("study_id", "oracle_report", "generated_report")}
        shown = {"shown_study_id": self.shown_study_id, "num_images": self.num_images}
        scores = {"scores": dict(self.scores)}
        if self.answer is not None:
            return {**texts, "answer": asdict(self.answer), **shown, **scores}
        return {
            **texts,
            "oracle_states": _states_to_words(self.oracle_states),
            "generated_states": _states_to_words(self.generated_states),
            "generated_mentions": [mention.to_row() for mention in self.generated_mentions],
            **shown,
            "readings": {
                name: {"states": _states_to_words(read.states), "num_refused": read.num_refused}
                for name, read in self.readings.items()
            },
            **scores,
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "ReportPair":
        """Reads a row written by ``to_row``, by this version or an earlier one, which knew only labels and reports.

        Raises:
            DataError: a key or observation is missing, a label state is none of the four words, or a mention has no
                place.
        """
        where = f"study {row.get('study_id')!r}"
        is_answer = "answer" in row
        told = () if is_answer else ("oracle_states", "generated_states")
        keys = ("study_id", "oracle_report", "generated_report", *told)
        missing = [key for key in keys if key not in row]
        if missing:
            raise DataError(f"{where}: the row of generated reports lacks {', '.join(missing)}")
        states = {key: _states_from_words(row[key], f"{where}: {key}") for key in told}
        return cls(
            study_id=str(row["study_id"]),
            oracle_report=str(row["oracle_report"]),
            generated_report=str(row["generated_report"]),
            oracle_states=states.get("oracle_states", {}),
            generated_states=states.get("generated_states", {}),
            generated_mentions=_mentions_from_rows(row.get("generated_mentions", ()), where),
            shown_study_id=row.get("shown_study_id"),
            num_images=row.get("num_images", 1),
            readings={
                name: Reading(_states_from_words(read["states"], f"{where}: readings.{name}"), read["num_refused"])
                for name, read in row.get("readings", {}).items()
            },
            scores=row.get("scores", {}),
            answer=Answered.from_row(row["answer"], where) if is_answer else None,
        )


def pair_reports(
    studies: Sequence[Study], written: Written, labeler: ReportLabeler, images_of: Sequence[int] | None = None
) -> tuple[ReportPair, ...]:
    """Puts each generated report beside its study; the study's own labels, or its question's answer, are the truth.

    Args:
        studies: in the order of the reports.
        written: the reports.
        labeler: reads them.
        images_of: for each study the place of the one whose images were shown; None: its own.

    Raises:
        DataError: there isn't exactly one report for each study.
    """
    if len(studies) != len(written.reports):
        raise DataError(f"{len(written.reports)} generated reports for {len(studies)} studies; one each is needed")
    pairs = []
    for place, (study, report) in enumerate(zip(studies, written.reports, strict=True)):
        question = study.question
        read = labeled(report, labeler) if question is None else LabeledReport({}, ())
        shown = study if images_of is None else studies[images_of[place]]
        pairs.append(
            ReportPair(
                study_id=study.study_id,
                oracle_report=study.oracle_report,
                generated_report=report,
                oracle_states=study.labels,
                generated_states=read.states,
                generated_mentions=tuple(mention.span for mention in read.mentions),
                shown_study_id=None if shown is study else shown.study_id,
                num_images=len(shown.image_paths),
                seconds=None if written.seconds is None else written.seconds[place],
                cost_usd=None if written.cost_usd is None else written.cost_usd[place],
                answer=None if question is None else Answered.of(report, question),
            )
        )
    return tuple(pairs)


def labeled(generated_report: str, labeler: ReportLabeler) -> LabeledReport:
    """The labeler's reading of a generated report; one that says nothing mentions nothing (not even No Finding)."""
    if says_nothing(generated_report):
        return LabeledReport(dict.fromkeys(OBSERVATIONS, LabelState.UNMENTIONED), ())
    return labeler.label(generated_report)


def write_report_pairs(path: Path, pairs: Sequence[ReportPair]) -> None:
    """Writes one study a line, UTF-8, in the order given; the whole file or none of it."""
    lines = [json.dumps(pair.to_row(), ensure_ascii=False) + "\n" for pair in pairs]
    write_whole(path, "".join(lines))


def read_report_pairs(path: Path) -> tuple[ReportPair, ...]:
    """Reads what ``write_report_pairs`` wrote, in the order of the file.

    Raises:
        DataError: the file is missing or empty, a study occurs twice, or a line isn't a row of
            ``ReportPair.to_row``; names file and line.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file of generated reports")
    pairs: dict[str, ReportPair] = {}
    for number, row in read_json_lines(path):
        try:
            pair = ReportPair.from_row(row)
        except DataError as error:
            raise DataError(f"{path}, line {number}: {error}") from error
        if pair.study_id in pairs:
            raise DataError(f"{path}, line {number}: study {pair.study_id!r} stands there twice")
        pairs[pair.study_id] = pair
    if not pairs:
        raise DataError(f"{path} is empty")
    return tuple(pairs.values())


def _states_to_words(states: LabelStates) -> dict[str, str]:
    return {observation.value: states[observation].value for observation in OBSERVATIONS}


_STATES: Mapping[Any, LabelState] = {state.value: state for state in LabelState}


def _states_from_words(words: Any, where: str) -> dict[Observation, LabelState]:
    if not isinstance(words, Mapping):
        raise DataError(f"{where} must map the 14 observations to {', '.join(_STATES)}")
    for observation in OBSERVATIONS:
        if (word := words.get(observation.value)) not in _STATES:
            raise DataError(f"{where}: {observation.value} is {word!r}, allowed are {', '.join(_STATES)}")
    return {observation: _STATES[words[observation.value]] for observation in OBSERVATIONS}


def _mentions_from_rows(rows: Sequence[Mapping[str, Any]], where: str) -> tuple[MentionSpan, ...]:
    try:
        return tuple(map(MentionSpan.from_row, rows))
    except (KeyError, TypeError, ValueError):
        raise DataError(
            f"{where}: one of generated_mentions can't be read; each has observation, state, and whole numbers start, "
            "end, cue_start, cue_end"
        ) from None
