"""The term that a language model grades by weighted criteria; docs/rewards.md shows how to write a rubric."""

from collections.abc import Sequence
from functools import cached_property, lru_cache, partial
from typing import ClassVar

from orapo.empty_reports import says_nothing
from orapo.reward.llm.grounding import sentences_of
from orapo.reward.llm.judge import LlmJudge
from orapo.reward.llm.prompts import Request
from orapo.reward.llm.rubric import Grader, Rubric, load_rubric
from orapo.reward.terms.registry import PendingValues, Written, register
from orapo.settings import Text, settings


@register("rubric")
@settings
class RubricTerm:
    """Weights of the criteria met over all positive weights, in [0, 1].

    0 for a report that says nothing, about which nobody is asked; undefined where the rubric sees the oracle report and
    this says nothing. Only a model can say, so that ``on_failure=offline_judge`` leaves out what it doesn't answer.

    Attributes:
        file: a rubric in YAML; None is the packaged one for chest films.

    Raises:
        SettingError: the file can't be read or holds no rubric.
    """

    zero_at_most: ClassVar[float | None] = 0.0
    needs_judge: ClassVar[bool] = False
    asks_model: ClassVar[bool] = True

    file: Text | None = None

    def __post_init__(self) -> None:
        assert self.rubric  # read now, so that a mistake in it is told before anything is asked

    @cached_property
    def rubric(self) -> Rubric:
        return load_rubric(self.file)

    def start(self, written: Written) -> PendingValues:
        """Sends one request for each pair of reports."""
        assert isinstance(written.judge, LlmJudge)
        references = [study.oracle_report if self.rubric.sees_reference else None for study in written.studies]
        pairs = list(zip(written.reports, references, strict=True))
        return written.judge.client.start(pairs, partial(self._grade, written.judge))

    def questions(self, judge: LlmJudge, report: str, oracle_report: str) -> Sequence[Request]:
        return [_grader(self.rubric, judge.prompts.version).request(report, oracle_report)]

    async def _grade(self, judge: LlmJudge, pair: tuple[str, str | None]) -> float | None:
        report, reference = pair
        if reference is not None and says_nothing(reference):
            return None
        if says_nothing(report) or not sentences_of(report):
            return 0.0
        grader = _grader(self.rubric, judge.prompts.version)
        met, _ = await judge.client.answer(grader.request(report, reference or ""), partial(grader.read, report=report))
        return self.rubric.score(met)


@lru_cache(maxsize=8)
def _grader(rubric: Rubric, version: str) -> Grader:
    return Grader(rubric, version)
