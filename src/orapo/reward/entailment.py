"""From facts to 14 verdicts, equation (14), with the rule labeler as the reader: the offline judge."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from orapo.chexpert import OBSERVATIONS, LabelState, Observation
from orapo.labeler import Labeler, Mention
from orapo.records import Fact, Judgement, LabelVerdict
from orapo.reward.facts import extract_facts
from orapo.reward.judging import ReadyJudgements
from orapo.reward.lexicon import Lexicon, load_lexicon
from orapo.reward.protocol import Judged

FactMention = tuple[Fact, Mention]

NAME = "offline"
"""What the offline judge's readings are signed with."""

_MOST_REMEMBERED_FACTS = 50_000
_SEGMENT_BREAK = re.compile(r"[,;:]| (?:and|or|nor|with|without|but) ")
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

    Only admitted facts are labelled. Per observation, the strongest statement decides (positive, uncertain, negative):

    - positive: entailed, unless another fact denies the same thing at a compatible place: then contradicted;
    - negative: contradicted;
    - uncertain ("possible effusion"): not mentioned, so that hedging everything pays nothing and costs nothing;
      entailed with ``uncertain_is_positive``;
    - No Finding: entailed where the labeler reads No Finding from the facts and at least one fact says something (an
      observation, present or denied, or that something is normal); a report without such a fact is not a normal one.
      It's never contradicted: the finding that speaks against it is a false positive already.

    Args:
        uncertain_is_positive: as in the ground truth; the two belong together.
    """

    def __init__(self, *, uncertain_is_positive: bool = False) -> None:
        self.uncertain_is_positive = uncertain_is_positive
        self._labeler = Labeler()
        self._remembered: dict[str, tuple[Mention, ...]] = {}

    def judge(self, reports: Sequence[str]) -> list[Judged]:
        """One reading per report, in the same order."""
        return [self._judge_one(report) for report in reports]

    def start(self, reports: Sequence[str]) -> ReadyJudgements:
        """Reads at once."""
        return ReadyJudgements(tuple(self.judge(reports)))

    def totals(self) -> Mapping[str, float]:
        """Nothing to count."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Nothing to remember."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing was remembered."""

    def _judge_one(self, report: str) -> Judged:
        extracted = extract_facts(report)
        mentions = [(fact, mention) for fact in extracted.facts for mention in self._mentions(fact.text)]
        return Judged(extracted.facts, extracted.rejected, self._verdicts(extracted.facts, mentions), judge=NAME)

    def _mentions(self, text: str) -> tuple[Mention, ...]:
        found = self._remembered.get(text)
        if found is None:
            if len(self._remembered) >= _MOST_REMEMBERED_FACTS:
                self._remembered.clear()
            found = self._remembered[text] = self._labeler.mentions(text)
        return found

    def _verdicts(self, facts: tuple[Fact, ...], mentions: list[FactMention]) -> tuple[LabelVerdict, ...]:
        states = self._labeler.aggregate(mention for _, mention in mentions)
        by_observation: dict[Observation, list[FactMention]] = {observation: [] for observation in OBSERVATIONS}
        for fact, mention in mentions:
            by_observation[mention.observation].append((fact, mention))
        return tuple(
            self._no_finding(facts, mentions, states[observation])
            if observation is Observation.NO_FINDING
            else self._verdict(observation, states[observation], by_observation[observation])
            for observation in OBSERVATIONS
        )

    def _no_finding(self, facts: tuple[Fact, ...], mentions: list[FactMention], state: LabelState) -> LabelVerdict:
        telling = {id(fact) for fact, _ in mentions}
        support = tuple(fact for fact in facts if id(fact) in telling or states_normality(fact.text))
        if state is LabelState.POSITIVE and support:
            return LabelVerdict(Observation.NO_FINDING, Judgement.ENTAILED, support)
        return LabelVerdict(Observation.NO_FINDING, Judgement.NOT_MENTIONED)

    def _verdict(self, observation: Observation, state: LabelState, mentions: list[FactMention]) -> LabelVerdict:
        support = _facts_in(mentions, state)
        if state is LabelState.NEGATIVE:
            return LabelVerdict(observation, Judgement.CONTRADICTED, support)
        affirmed = {LabelState.POSITIVE} | ({LabelState.UNCERTAIN} if self.uncertain_is_positive else set())
        if state not in affirmed:
            return LabelVerdict(observation, Judgement.NOT_MENTIONED)
        denials = _contradicting(observation, mentions, affirmed)
        if denials:
            return LabelVerdict(observation, Judgement.CONTRADICTED, tuple(dict.fromkeys((*support, *denials))))
        return LabelVerdict(observation, Judgement.ENTAILED, support)


def states_normality(statement: str) -> bool:
    """True where a statement denies something or calls it normal: "no acute process", "the lungs are clear"."""
    words = _WORD.findall(statement.lower())
    normality = load_lexicon().normality
    return (
        any(
            word == "no" or (word in normality and "not" not in words[max(0, place - 3) : place])
            for place, word in enumerate(words)
        )
        or "within normal limits" in statement.lower()
    )


def _facts_in(mentions: Sequence[FactMention], state: LabelState) -> tuple[Fact, ...]:
    return tuple(dict.fromkeys(fact for fact, mention in mentions if mention.state is state))


def _contradicting(
    observation: Observation, mentions: Sequence[FactMention], affirmed: set[LabelState]
) -> tuple[Fact, ...]:
    lexicon = load_lexicon()
    positives = [mention for _, mention in mentions if mention.state in affirmed]
    return tuple(
        fact
        for fact, denial in mentions
        if denial.state is LabelState.NEGATIVE
        and any(_contradicts(observation, denial, positive, lexicon) for positive in positives)
    )


def _contradicts(observation: Observation, denial: Mention, positive: Mention, lexicon: Lexicon) -> bool:
    """A full denial of the same thing on the same side, or without a side on either part."""
    denied = _segment(denial)
    if lexicon.restrictions.intersection(denied):
        return False
    if observation in _FAMILIES and _head(denial, lexicon) != _head(positive, lexicon):
        return False
    sides, other_sides = _sides(denied, lexicon), _sides(_segment(positive), lexicon)
    return not sides or not other_sides or bool(sides & other_sides)


def _segment(mention: Mention) -> list[str]:
    """The words around a mention up to the next comma or conjunction on either side."""
    before = [found.end() for found in _SEGMENT_BREAK.finditer(mention.sentence, 0, mention.start)]
    after = _SEGMENT_BREAK.search(mention.sentence, mention.end)
    segment = mention.sentence[before[-1] if before else 0 : after.start() if after else None]
    return _WORD.findall(segment)


def _head(mention: Mention, lexicon: Lexicon) -> str:
    words = _WORD.findall(mention.matched_text)
    return lexicon.lookup(words[-1]).singular if words else ""


def _sides(words: Sequence[str], lexicon: Lexicon) -> set[str]:
    sides = {side for side, names in lexicon.sides.items() if names.intersection(words)}
    return {"left", "right"} if "both" in sides else sides
