"""What two reports state of their findings beyond their presence, read by the labeler or by a language model."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from orapo.empty_reports import says_nothing
from orapo.measures.attributes import AttributePair, attribute_agreement, compare_pairs
from orapo.records import FailedJudgement, Study
from orapo.remote.background import gather_or_cancel
from orapo.remote.retry import GaveUp
from orapo.reward.llm.attributes import attributes_request, read_attributes
from orapo.reward.llm.client import PendingAnswers
from orapo.reward.llm.grounding import sentences_of
from orapo.reward.llm.judge import LlmJudge
from orapo.reward.llm.prompts import Request
from orapo.reward.terms.registry import PendingValues, PerReport, Value, Written, register
from orapo.settings import settings

Group = tuple[str, tuple[str, ...]]
"""A radiologist's report and the generated ones of its study: one reader reads them all."""
F1s = tuple[float | None, ...]


@register("attributes")
@settings
class Attributes(PerReport):
    """F1 of what is stated of findings: side, place, severity or size, and change.

    Undefined where the oracle report states none of these.

    Attributes:
        read_by: "labeler", offline; "model", the judge's, which is shown the oracle reports too.
    """

    zero_at_most: ClassVar[float | None] = 0.0

    read_by: Literal["labeler", "model"] = "labeler"

    @property
    def asks_model(self) -> bool:
        return self.read_by == "model"

    def value(self, report: str, study: Study) -> float | None:
        """By the labeler."""
        return attribute_agreement(report, study.oracle_report).f1

    def start(self, written: Written) -> PendingValues:
        """Starts the model; the labeler reads only when its values are asked for."""
        if not self.asks_model:
            return PerReport.start(self, written)
        assert isinstance(written.judge, LlmJudge)
        groups: dict[str, list[str]] = {}
        for report, study in zip(written.reports, written.studies, strict=True):
            groups.setdefault(study.oracle_report, []).append(report)
        items = [(oracle, tuple(reports)) for oracle, reports in groups.items()]
        pending = written.judge.client.start(items, partial(_f1s, written.judge), _f1s_offline)
        return _Values(pending, tuple(items), written)

    def questions(self, judge: LlmJudge, report: str, oracle_report: str) -> Sequence[Request]:
        """The request for a generated report; the oracle report's is sent once for all reports of its study."""
        return [attributes_request(judge.prompts.version, report)]


@dataclass(frozen=True, slots=True)
class _Values:
    pending: PendingAnswers[Group, F1s]
    items: tuple[Group, ...]
    written: Written

    def result(self) -> Sequence[Value]:
        """Waits for the model."""
        found = {oracle: outcome for (oracle, _), outcome in zip(self.items, self.pending.result(), strict=True)}
        rest = {oracle: iter(f1s) for oracle, f1s in found.items() if not isinstance(f1s, FailedJudgement)}
        values: list[Value] = []
        for study in self.written.studies:
            outcome = found[study.oracle_report]
            values.append(outcome if isinstance(outcome, FailedJudgement) else next(rest[study.oracle_report]))
        return values


async def _f1s(judge: LlmJudge, group: Group) -> F1s:
    oracle, reports = group
    stated = await _pairs(judge, oracle)
    if not stated:
        return (None,) * len(reports)
    written = await gather_or_cancel(_pairs_or_not(judge, report) for report in reports)
    if unread := [each for each in written if isinstance(each, GaveUp)]:
        raise unread[0]
    return tuple(compare_pairs(each, stated).f1 for each in written if not isinstance(each, GaveUp))


async def _pairs_or_not(judge: LlmJudge, report: str) -> frozenset[AttributePair] | GaveUp:
    """What one report states; the answers about the others are waited for, since they are paid for."""
    try:
        return await _pairs(judge, report)
    except GaveUp as error:
        return error


async def _pairs(judge: LlmJudge, report: str) -> frozenset[AttributePair]:
    if says_nothing(report) or not sentences_of(report):
        return frozenset()
    request = attributes_request(judge.prompts.version, report)
    pairs, _ = await judge.client.answer(request, partial(read_attributes, report=report))
    return pairs


def _f1s_offline(groups: Sequence[Group]) -> list[F1s]:
    return [tuple(attribute_agreement(report, oracle).f1 for report in reports) for oracle, reports in groups]
