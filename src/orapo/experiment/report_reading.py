"""What a generated report says: its facts, and for each observation label state, verdict and what they rest on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orapo.chexpert import OBSERVATIONS, LabelState, Observation
from orapo.evaluation.report_pairs import labeled
from orapo.labeler import LabeledReport, Labeler
from orapo.records import Fact, Judgement, LabelVerdict
from orapo.reward.entailment import OfflineJudge


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
