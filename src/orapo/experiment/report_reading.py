"""What generated reports say: facts, and for each observation label state, verdict and what they rest on.

A study with its reports is text for a reader, and a line of JSON for a program.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orapo.chexpert import OBSERVATIONS, LabelState, Observation
from orapo.evaluation.report_pairs import labeled
from orapo.labeler import LabeledReport, Labeler
from orapo.records import Fact, Judgement, LabelVerdict, Study
from orapo.reward.entailment import OfflineJudge

FORMAT = 1
"""Of a line of JSON; counted up when a key changes its meaning."""

NOT_CLINICAL = "Not for clinical use."
ABOUT_PHANTOMS = "The embedded policy knows drawn phantoms only: what it writes about a radiograph means nothing."

_WIDTH = max(len(observation.value) for observation in Observation)


@dataclass(frozen=True, slots=True)
class ObservationReading:
    """What one report says of one observation.

    Attributes:
        state: read by the rule labeler in the whole report.
        evidence: the sentences that the state rests on, as the labeler cleans them; none for an unmentioned one, nor
            for No Finding, which rests on what is missing.
        judgement: the offline judge's verdict from the facts.
        supporting_facts: what the verdict rests on; none when it isn't mentioned.
    """

    state: LabelState
    evidence: tuple[str, ...]
    judgement: Judgement
    supporting_facts: tuple[str, ...]

    @property
    def is_mentioned(self) -> bool:
        """Whether the labeler or the judge found it."""
        return self.state is not LabelState.UNMENTIONED or self.judgement is not Judgement.NOT_MENTIONED

    def to_dict(self) -> dict[str, Any]:
        return {
            "label": self.state.value,
            "evidence": list(self.evidence),
            "verdict": self.judgement.value,
            "supporting_facts": list(self.supporting_facts),
        }


@dataclass(frozen=True, slots=True)
class ReportReading:
    """One generated report, read.

    Attributes:
        report: may be empty.
        is_finished: False where it was cut at the token limit.
        facts: in reading order.
        rejected: statements that are no facts, each with the reason.
        observations: all 14.
    """

    report: str
    is_finished: bool
    facts: tuple[Fact, ...]
    rejected: Mapping[str, str]
    observations: Mapping[Observation, ObservationReading]

    def to_dict(self) -> dict[str, Any]:
        """Plain words and texts, observations by their CheXpert names."""
        return {
            "report": self.report,
            "is_finished": self.is_finished,
            "facts": [fact.text for fact in self.facts],
            "rejected": dict(self.rejected),
            "observations": {name.value: reading.to_dict() for name, reading in self.observations.items()},
        }


class ReportReader:
    """Reads reports with the rule labeler and the offline judge, without any truth to compare with."""

    def __init__(self, labeler: Labeler, *, uncertain_is_positive: bool) -> None:
        """``uncertain_is_positive`` is the judge's."""
        self._labeler = labeler
        self._judge = OfflineJudge(uncertain_is_positive=uncertain_is_positive)

    def read(self, report: str, *, is_finished: bool) -> ReportReading:
        (judged,) = self._judge.judge([report])
        read = labeled(report, self._labeler)
        verdicts = {verdict.observation: verdict for verdict in judged.verdicts}
        return ReportReading(
            report=report,
            is_finished=is_finished,
            facts=judged.facts,
            rejected=judged.rejected,
            observations={name: _observation(name, read, verdicts[name]) for name in OBSERVATIONS},
        )


def count_verdicts(readings: Sequence[ReportReading]) -> dict[Observation, dict[Judgement, int]]:
    """Over several reports of one study: how many give each verdict, for all 14 observations."""
    return {
        name: {kind: sum(r.observations[name].judgement is kind for r in readings) for kind in Judgement}
        for name in OBSERVATIONS
    }


@dataclass(frozen=True, slots=True)
class GeneratedStudy:
    """What came of one study.

    Attributes:
        study: the images.
        readings: of its reports, at least one, the greedy one first.
        seconds_per_image: that generating took, the study's share being equal to that of the others in its batch.
        model: that wrote them.
        notice: what must stand beside them.
    """

    study: Study
    readings: tuple[ReportReading, ...]
    seconds_per_image: float
    model: str
    notice: str

    def json_line(self) -> str:
        """One line; strings only where texts are meant, lists and objects for the rest."""
        first, *others = self.readings
        content: dict[str, Any] = {
            "format": FORMAT,
            "study": self.study.study_id,
            "images": list(self.study.image_paths),
            **first.to_dict(),
            "seconds_per_image": round(self.seconds_per_image, 4),
            "model": self.model,
            "notice": self.notice,
        }
        if others:
            content["other_reports"] = [reading.to_dict() for reading in others]
            content["verdict_counts"] = {
                name.value: {kind.value: count for kind, count in counts.items()}
                for name, counts in count_verdicts(self.readings).items()
            }
        return json.dumps(content, ensure_ascii=False, allow_nan=False)

    def text(self) -> str:
        """A few lines for the terminal, the last one blank."""
        first, *others = self.readings
        lines = [f"== {self.study.study_id} ==", first.report or "(an empty report)"]
        if not first.is_finished:
            lines.append("(cut off at max_new_tokens)")
        lines += ["", "Facts", *(f"  {place}. {fact.text}" for place, fact in enumerate(first.facts, start=1))]
        if not first.facts:
            lines.append("  none")
        lines += [f"  not a fact ({reason}): {text}" for text, reason in first.rejected.items()]
        lines += ["", *self._observations()]
        lines += [f"Report {number}: {reading.report}" for number, reading in enumerate(others, start=2)]
        lines += [f"{self.seconds_per_image:.3f} seconds per image. {NOT_CLINICAL}", ""]
        return "\n".join(lines)

    def _observations(self) -> list[str]:
        first = self.readings[0]
        counts = count_verdicts(self.readings)
        silent = [name for name in Observation if counts[name][Judgement.NOT_MENTIONED] == len(self.readings)]
        silent = [name for name in silent if not first.observations[name].is_mentioned]
        told = [name for name in Observation if name not in silent]
        lines = [f"{'Observation':<{_WIDTH}}  {'label':<11}  {'verdict':<13}  rests on"] if told else []
        for name in told:
            reading = first.observations[name]
            rests_on = " | ".join(reading.supporting_facts or reading.evidence) or "-"
            lines.append(
                f"{name.value:<{_WIDTH}}  {reading.state.value:<11}  {reading.judgement.value:<13}  {rests_on}"
            )
            if len(self.readings) > 1:
                agreed = ", ".join(f"{kind.value} in {count}" for kind, count in counts[name].items() if count)
                lines.append(f"{'':<{_WIDTH}}  of {len(self.readings)} reports: {agreed}")
        return [*lines, f"Not mentioned: {', '.join(silent) or 'none'}"]


def _observation(name: Observation, read: LabeledReport, verdict: LabelVerdict) -> ObservationReading:
    state = read.states[name]
    sentences = (m.sentence for m in read.mentions if m.observation is name and m.state is state)
    return ObservationReading(
        state=state,
        # A sentence that mentions an observation twice is told once.
        evidence=() if name is Observation.NO_FINDING else tuple(dict.fromkeys(sentences)),
        judgement=verdict.judgement,
        supporting_facts=tuple(fact.text for fact in verdict.supporting_facts),
    )
