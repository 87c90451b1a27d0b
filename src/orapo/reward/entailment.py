"""From facts to 14 verdicts, equation (14), with the rule labeler as the reader: the offline judge."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from orapo.chexpert import OBSERVATIONS, LabelState, Observation
from orapo.empty_reports import says_nothing
from orapo.labeler import Labeler
from orapo.records import Fact, Judgement, LabelVerdict, MentionSpan
from orapo.reward.facts import extract_facts
from orapo.reward.judging import ReadyJudgements
from orapo.reward.protocol import Judged
from orapo.reward.word_classes import WordClasses, load_word_classes
from orapo.settings import checked

FactMention = tuple[Fact, MentionSpan]

NAME = "offline"
"""What the offline judge's readings are signed with."""

_SEGMENT_BREAK = re.compile(r"[,;:]|\s(?:and|or|nor|with|without|but)\s", re.IGNORECASE)
_WORD = re.compile(r"[a-z-]+")

# Observations that gather things of different kinds: to deny one ("no mass") is not to deny another ("a nodule").
_FAMILIES = frozenset({
    Observation.SUPPORT_DEVICES,
    Observation.LUNG_LESION,
    Observation.LUNG_OPACITY,
    Observation.PLEURAL_OTHER,
    Observation.EDEMA,
    Observation.ENLARGED_CARDIOMEDIASTINUM,
})  # fmt: skip


class OfflineJudge:
    """Judges reports with the grammar and the rule labeler: deterministic, free, thousands of reports per second.

    The labeler reads the whole report once; what it reads outside of facts pays nothing. Per observation, the strongest
    statement decides (positive, uncertain, negative):

    - positive: entailed, unless another fact denies the same thing at a compatible place: then contradicted;
    - negative: contradicted;
    - uncertain ("possible effusion"): not mentioned, so that hedging everything pays nothing and costs nothing;
      entailed with ``uncertain_is_positive``;
    - No Finding: entailed where the labeler reads No Finding in the whole report, rejected statements and words in
      brackets too, and at least one fact says something (an observation, present or denied, or that something is
      normal); a report without such a fact is not a normal one. It's never contradicted: the finding that speaks
      against it is a false positive already.

    Args:
        uncertain_is_positive: as in the ground truth; the two belong together.
    """

    @checked
    def __init__(self, *, uncertain_is_positive: bool = False) -> None:
        self.uncertain_is_positive = uncertain_is_positive
        self._labeler = Labeler()

    def judge(self, reports: Sequence[str]) -> list[Judged]:
        return [self._judge_one(report) for report in reports]

    def start(self, reports: Sequence[str]) -> ReadyJudgements:
        return ReadyJudgements(tuple(self.judge(reports)))

    def totals(self) -> Mapping[str, float]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...

    def verdicts(self, report: str, facts: Sequence[Fact], *, is_normal: bool) -> tuple[LabelVerdict, ...]:
        """One verdict per observation, equation (14), in the order of ``OBSERVATIONS``.

        Args:
            report: that the facts' places count in.
            facts: with their mentions.
            is_normal: the labeler reads No Finding in the whole report.
        """
        said: dict[Observation, list[FactMention]] = {observation: [] for observation in OBSERVATIONS}
        for fact in facts:
            for mention in fact.mentions:
                said[mention.observation].append((fact, mention))
        states = self._labeler.aggregate(mention for fact in facts for mention in fact.mentions)
        return tuple(
            _no_finding(facts, is_normal=is_normal)
            if observation is Observation.NO_FINDING
            else self._verdict(report, observation, states[observation], said[observation])
            for observation in OBSERVATIONS
        )

    def _judge_one(self, report: str) -> Judged:
        mentions = self._labeler.mentions(report)
        extracted = extract_facts(report, mentions)
        states = self._labeler.aggregate(mentions)
        is_normal = states[Observation.NO_FINDING] is LabelState.POSITIVE and not says_nothing(report)
        verdicts = self.verdicts(report, extracted.facts, is_normal=is_normal)
        return Judged(extracted.facts, extracted.rejected, verdicts, judge=NAME)

    def _verdict(
        self, report: str, observation: Observation, state: LabelState, mentions: list[FactMention]
    ) -> LabelVerdict:
        affirmed = {LabelState.POSITIVE} | ({LabelState.UNCERTAIN} if self.uncertain_is_positive else set())
        if state is not LabelState.NEGATIVE and state not in affirmed:
            return LabelVerdict(observation, Judgement.NOT_MENTIONED)
        support = tuple(dict.fromkeys(fact for fact, mention in mentions if mention.state is state))
        if state is LabelState.NEGATIVE:
            return LabelVerdict(observation, Judgement.CONTRADICTED, support)
        denials = _contradicting(report, mentions, affirmed)
        if denials:
            return LabelVerdict(observation, Judgement.CONTRADICTED, tuple(dict.fromkeys((*support, *denials))))
        return LabelVerdict(observation, Judgement.ENTAILED, support)


def states_normality(statement: str) -> bool:
    """Whether a statement denies something or calls it normal: "no acute process", "the lungs are clear"."""
    words = _WORD.findall(statement.lower())
    normality = load_word_classes().normality
    return (
        any(
            word == "no" or (word in normality and "not" not in words[max(0, place - 3) : place])
            for place, word in enumerate(words)
        )
        or "within normal limits" in statement.lower()
    )


def _no_finding(facts: Sequence[Fact], *, is_normal: bool) -> LabelVerdict:
    support = tuple(fact for fact in facts if fact.mentions or states_normality(fact.text))
    if is_normal and support:
        return LabelVerdict(Observation.NO_FINDING, Judgement.ENTAILED, support)
    return LabelVerdict(Observation.NO_FINDING, Judgement.NOT_MENTIONED)


def _contradicting(report: str, mentions: Sequence[FactMention], affirmed: set[LabelState]) -> tuple[Fact, ...]:
    """The facts that deny what another one affirms."""
    positives = [each for each in mentions if each[1].state in affirmed]
    return tuple(
        denial[0]
        for denial in mentions
        if denial[1].state is LabelState.NEGATIVE
        and any(_contradicts(report, denial, positive) for positive in positives)
    )


def _contradicts(report: str, denial: FactMention, positive: FactMention) -> bool:
    """A full denial of the same thing on the same side, or without a side on either part."""
    denied, classes = _segment(report, *denial), load_word_classes()
    if classes.restrictions.intersection(denied):
        return False
    if denial[1].observation in _FAMILIES and _head(report, denial[1]) != _head(report, positive[1]):
        return False
    sides, other_sides = _sides(denied, classes), _sides(_segment(report, *positive), classes)
    return not sides or not other_sides or bool(sides & other_sides)


def _segment(report: str, fact: Fact, mention: MentionSpan) -> list[str]:
    """The words of a fact around a mention, up to the next comma or conjunction on either side."""
    before = [found.end() for found in _SEGMENT_BREAK.finditer(report, fact.start, mention.start)]
    after = _SEGMENT_BREAK.search(report, mention.end, fact.end)
    segment = report[before[-1] if before else fact.start : after.start() if after else fact.end]
    return _WORD.findall(segment.lower())


def _head(report: str, mention: MentionSpan) -> str:
    words = _WORD.findall(report[mention.start : mention.end].lower())
    return load_word_classes().lookup(words[-1]).singular if words else ""


def _sides(words: Sequence[str], classes: WordClasses) -> set[str]:
    sides = {side for side, names in classes.sides.items() if names.intersection(words)}
    return {"left", "right"} if "both" in sides else sides
