"""The reward of a run: terms by name, each in [0, 1], and their weighted sum."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Field, NonNegativeFloat, PositiveFloat

from orapo.chexpert import Observation
from orapo.errors import DataError, NonFiniteError, SettingError
from orapo.records import FailedJudgement, RewardBreakdown, Study
from orapo.reward.fact_score import FactScoreReward
from orapo.reward.judging import RewardsToCome, check_lengths, rewards_only
from orapo.reward.llm.judge import LlmJudge
from orapo.reward.llm.prompts import Request
from orapo.reward.protocol import Combine, Judge, PendingRewards
from orapo.reward.terms.registry import (
    AskingTerm,
    CountingTerm,
    PendingValues,
    Term,
    Value,
    Written,
    asks_model,
    load_terms,
    make_term,
    refuse_without_model,
    require_term,
)
from orapo.settings import checked

DEFAULT_ZERO_TERM = "facts"

Weight = NonNegativeFloat
ZeroAtMost = Annotated[float, Field(ge=0, lt=1)]


class WeightedReward:
    """The weighted mean of the terms that the study defines.

        r = sum_t w_t v_t / sum_t w_t        over the terms t with a value for this study

    The judge reads every report: precision, recall and facts are logged whatever is paid. It doesn't read answers.

    Args:
        terms: weight by name, at least 0; 0 leaves a term out, and at least one is above 0.
        judge: reads the reports; None is the offline judge.
        f_beta: of the term ``facts``, above 0.
        uncertain_is_positive: as for ``FactScoreReward``.
        combine: ``"sum"``; or ``"normalised"``: advantages see each term normalised within its group. Rewards, the
            zero-reward rate and logs keep the weighted mean.
        zero_term: the term that says what counts as a reward of zero; it may have weight 0. None takes ``facts`` where
            it is paid, else the first paid term that says so.
        zero_at_most: a value of the zero term of at most this counts as zero, in [0, 1); None leaves it to the term.
        term_settings: by term, the settings of its own.
        modules: the user's Python modules that register terms.

    Attributes:
        weights: of the terms that are paid; they sum to 1.

    Raises:
        SettingError: an unknown term or setting, or a value out of range.
    """

    @checked
    def __init__(
        self,
        terms: Mapping[str, Weight],
        *,
        judge: Judge | None = None,
        f_beta: PositiveFloat = 2.0,
        uncertain_is_positive: bool = False,
        combine: Combine = "sum",
        zero_term: str | None = None,
        zero_at_most: ZeroAtMost | None = None,
        term_settings: Mapping[str, Mapping[str, Any]] | None = None,
        modules: Sequence[str] = (),
    ) -> None:
        load_terms(modules)
        self.facts = FactScoreReward(judge, f_beta=f_beta, uncertain_is_positive=uncertain_is_positive)
        self.combine: Combine = combine
        self.weights = _weights(terms)
        settings = term_settings or {}
        for key, names in (("reward.terms", terms), ("reward.term_settings", settings)):
            for name in names:
                require_term(key, name)
        used = dict.fromkeys([*self.weights, *([zero_term] if zero_term is not None else [])])
        self._terms = {name: make_term(name, settings.get(name) or {}) for name in used}
        self.zero_term, self._zero_at_most = _zero_rule(self._terms, zero_term, zero_at_most)
        _check_model(self._terms, judge)

    @property
    def judge(self) -> Judge:
        return self.facts.judge

    def check_studies(self, studies: Sequence[Study]) -> None:
        """Refuses a reward whose terms these studies leave undefined: answers have no findings, reports no answer.

        Raises:
            SettingError: names the terms and the way out.
        """
        paid = ", ".join(self.weights)
        if studies[0].question is None:
            if list(self._terms) == ["answer"]:
                raise SettingError("reward.terms pays answer, and these data ask for reports; take reward=fact_score")
        elif unread := [name for name, term in self._terms.items() if term.needs_judge]:
            raise SettingError(
                f"reward.terms pays {paid}, and these data ask questions, in whose answers {', '.join(unread)} finds "
                "nothing; take reward=answer"
            )

    def start(self, reports: Sequence[str], studies: Sequence[Study]) -> "PendingTotals":
        """Starts every term at once; ``studies`` has one entry per report, all with labels or all with questions.

        Raises:
            DataError: the lengths differ.
        """
        check_lengths(reports, studies)
        asked = any(study.question is not None for study in studies)
        judged: PendingRewards = (
            NothingJudged(len(reports))
            if asked
            else Remembered(self.facts.start(reports, [study.labels for study in studies]))
        )
        written = Written(tuple(reports), tuple(studies), judged, self.judge)
        return PendingTotals(self, written, {name: term.start(written) for name, term in self._terms.items()})

    def score(self, reports: Sequence[str], studies: Sequence[Study]) -> list[RewardBreakdown]:
        """The reward of each report.

        Raises:
            DataError: the lengths differ, or a report can't be judged.
        """
        return rewards_only(self.start(reports, studies).result())

    def combined(
        self, judged: RewardBreakdown, values: Mapping[str, float | None], study: Study
    ) -> RewardBreakdown | FailedJudgement:
        """One report's reward from its terms' values; no reward where the study leaves every paid term undefined."""
        paid = [(weight, values[name]) for name, weight in self.weights.items()]
        defined = [(weight, value) for weight, value in paid if value is not None]
        if not defined:
            reason = f"study {study.study_id} leaves every term undefined: {', '.join(self.weights)}"
            return FailedJudgement(f"{reason}; pay another one beside")
        shared = math.fsum(weight for weight, _ in defined)
        total = min(1.0, math.fsum(weight / shared * value for weight, value in defined))
        decisive = None if self.zero_term is None else values[self.zero_term]
        zero = total == 0 if decisive is None else decisive <= self._zero_at_most
        return replace(judged, total=total, terms=values, zero=zero)

    def questions(self, report: str) -> list[Request]:
        """The requests to a language model for one generated report, to estimate costs."""
        judge = self.judge
        if not isinstance(judge, LlmJudge):
            return []
        asking = [term for term in self._terms.values() if isinstance(term, AskingTerm) and term.asks_model]
        return [*judge.questions(report), *(each for term in asking for each in term.questions(judge, report, report))]

    def totals(self) -> Mapping[str, float]:
        """The totals of judge and terms so far, added up by name."""
        totals = dict(self.judge.totals())
        for term in self._counting.values():
            for name, value in term.totals().items():
                totals[name] = totals.get(name, 0.0) + value
        return totals

    def state_dict(self) -> dict[str, Any]:
        """The judge's state, and each counting term's with its name and a dot before the key."""
        state = dict(self.judge.state_dict())
        for name, term in self._counting.items():
            state |= {f"{name}.{key}": value for key, value in term.state_dict().items()}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.judge.load_state_dict({key: value for key, value in state.items() if "." not in key})
        for name, term in self._counting.items():
            start = f"{name}."
            term.load_state_dict({k.removeprefix(start): v for k, v in state.items() if k.startswith(start)})

    @property
    def _counting(self) -> dict[str, CountingTerm]:
        return {name: term for name, term in self._terms.items() if isinstance(term, CountingTerm)}


@dataclass(frozen=True, slots=True)
class NothingJudged:
    """Replaces a judge's readings of answers, in which no observation is looked for."""

    num_answers: int

    def result(self) -> list[RewardBreakdown | FailedJudgement]:
        nothing: frozenset[Observation] = frozenset()
        return [RewardBreakdown(0.0, math.nan, math.nan, nothing, nothing, nothing, (), (), {})] * self.num_answers


class Remembered:
    """The judge's rewards, shared by several terms and waited for once."""

    def __init__(self, pending: RewardsToCome) -> None:
        self._pending = pending
        self._found: list[RewardBreakdown | FailedJudgement] | None = None

    def result(self) -> list[RewardBreakdown | FailedJudgement]:
        """Waits on the first call only."""
        if self._found is None:
            self._found = self._pending.result()
        return self._found


@dataclass(frozen=True, slots=True)
class PendingTotals:
    """Terms that are being computed, and the reward that combines them."""

    reward: WeightedReward
    written: Written
    pending: Mapping[str, PendingValues]

    def result(self) -> list[RewardBreakdown | FailedJudgement]:
        """Waits for every term; one entry per report, in order.

        Raises:
            DataError: a term gave a value outside [0, 1], or not one per report, or defines it for some of a study's
                reports only.
            NonFiniteError: a value is NaN or infinite.
            RunPaused: the judge is unavailable now.
        """
        judged = self.written.judged.result()
        columns = {name: self._checked(name, pending.result()) for name, pending in self.pending.items()}
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return [self._one(*each) for each in zip(judged, rows, self.written.studies, strict=True)]

    def _one(
        self, judged: RewardBreakdown | FailedJudgement, values: Mapping[str, Value], study: Study
    ) -> RewardBreakdown | FailedJudgement:
        if isinstance(judged, FailedJudgement):
            return judged
        numbers: dict[str, float | None] = {}
        for name, value in values.items():
            if isinstance(value, FailedJudgement):
                return value
            numbers[name] = value
        return self.reward.combined(judged, numbers, study)

    def _checked(self, name: str, values: Sequence[Value]) -> Sequence[Value]:
        studies = self.written.studies
        if len(values) != len(studies):
            raise DataError(f"reward term {name} gave {len(values)} values for {len(studies)} reports")
        defined: dict[str, bool] = {}
        for value, study in zip(values, studies, strict=True):
            if isinstance(value, FailedJudgement):
                continue
            if defined.setdefault(study.study_id, value is not None) != (value is not None):
                raise DataError(
                    f"reward term {name} is defined for some reports of study {study.study_id} only; "
                    "None may depend on the study alone"
                )
            if value is not None and not 0 <= value <= 1:
                kind = DataError if math.isfinite(value) else NonFiniteError
                raise kind(f"reward term {name} is {value} for study {study.study_id}; allowed is [0, 1] or None")
        return values


def _weights(terms: Mapping[str, float]) -> dict[str, float]:
    whole = math.fsum(terms.values())
    if not whole:
        raise SettingError(f"reward.terms is {dict(terms)}; at least one weight must be above 0")
    return {name: weight / whole for name, weight in terms.items() if weight}


def _check_model(terms: Mapping[str, Term], judge: Judge | None) -> None:
    """Checks that terms that ask a language model have one, and that no model is there for nothing."""
    if not isinstance(judge, LlmJudge):
        for name, term in terms.items():
            refuse_without_model(name, term)
    reads_facts = judge is not None and not (isinstance(judge, LlmJudge) and judge.stages == "offline")
    if any(term.needs_judge for term in terms.values()) and (reads_facts or judge is None):
        return
    asking = any(map(asks_model, terms.values()))
    paid = ", ".join(terms)
    if reads_facts and asking:
        raise SettingError(f"reward.terms pays {paid}, for which no model has to read facts; set reward.stages=offline")
    if judge is not None and not asking:
        raise SettingError(f"reward.terms pays {paid}, which need no language model; take reward=fact_score")


def _zero_rule(
    terms: Mapping[str, Term], zero_term: str | None, zero_at_most: float | None
) -> tuple[str | None, float]:
    """The term that defines a reward of zero, and the largest value that counts as zero."""
    said = [name for name, term in terms.items() if term.zero_at_most is not None]
    default = DEFAULT_ZERO_TERM if DEFAULT_ZERO_TERM in said else next(iter(said), None)
    name = default if zero_term is None else zero_term
    if name is None:
        if zero_at_most is not None:
            raise SettingError(f"reward.zero_at_most is {zero_at_most}; reward.zero_term must name its term")
        return None, 0.0
    limit = terms[name].zero_at_most if zero_at_most is None else zero_at_most
    if limit is None:
        raise SettingError(f"reward.zero_term is {name!r}, which has no zero of its own; set reward.zero_at_most too")
    return name, float(limit)
