"""The language-model judge: reports in, facts and verdicts out, equations (13) and (14)."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

from orapo.empty_reports import says_nothing
from orapo.records import FailedJudgement
from orapo.reward.entailment import OfflineJudge
from orapo.reward.llm.answers import nothing_mentioned, read_combined, read_facts, read_verdicts
from orapo.reward.llm.client import LlmClient
from orapo.reward.llm.grounding import sentences_of
from orapo.reward.llm.prompts import PromptsVersion, Request, load_prompts
from orapo.reward.protocol import Judged, PendingJudgements
from orapo.settings import checked

Stages = Literal["two", "combined", "offline"]


class LlmJudge:
    """Judges reports with a language model, which the reward's terms may ask too.

    Args:
        client: asks the model.
        prompts_version: of the packaged prompts.
        stages: "two": facts, and then verdicts on them, as in the paper; "combined": both in one call; "offline": the
            offline judge reads, so that only what terms ask costs something.
        uncertain_is_positive: as in the ground truth; the two belong together.

    Raises:
        SettingError: an unknown version or way to read.
    """

    @checked
    def __init__(
        self,
        client: LlmClient,
        *,
        prompts_version: PromptsVersion = "v1",
        stages: Stages = "two",
        uncertain_is_positive: bool = False,
    ) -> None:
        self.client = client
        self.prompts = load_prompts(prompts_version, uncertain_is_positive=uncertain_is_positive)
        self.stages = stages
        self._offline = OfflineJudge(uncertain_is_positive=uncertain_is_positive)

    def totals(self) -> Mapping[str, float]:
        return self.client.usage.numbers()

    def state_dict(self) -> dict[str, Any]:
        """What was spent."""
        return self.client.budget.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a checkpoint's state, which is empty if its run had no such judge."""
        if state:
            self.client.budget.load_state_dict(state)

    def judge(self, reports: Sequence[str]) -> list[Judged | FailedJudgement]:
        """One judgement per report, in the same order; raises what ``PendingAnswers.result`` raises."""
        return self.start(reports).result()

    def start(self, reports: Sequence[str]) -> PendingJudgements:
        """Starts to judge and returns at once; equal reports are judged once."""
        if self.stages == "offline":
            return self._offline.start(reports)
        return self.client.start(reports, self._read, self._offline.judge)

    def questions(self, report: str) -> list[Request]:
        """The requests for one report, to estimate costs; its facts aren't known yet."""
        if self.stages == "offline":
            return []
        if self.stages == "combined":
            return [self.prompts.combined(report)]
        return [self.prompts.extract(report), self.prompts.entail(())]

    async def _read(self, report: str) -> Judged:
        """The judgement of one report; no request is sent for a report that says nothing."""
        ask = self.client.answer
        if says_nothing(report) or not sentences_of(report):
            return Judged((), {}, nothing_mentioned(), judge=self.client.endpoints[0].model)
        if self.stages == "combined":
            (facts, verdicts), model = await ask(self.prompts.combined(report), partial(read_combined, report=report))
            return Judged(facts, {}, verdicts, judge=model)
        facts, reader = await ask(self.prompts.extract(report), partial(read_facts, report=report))
        if not facts:
            return Judged((), {}, nothing_mentioned(), judge=reader)
        verdicts, model = await ask(self.prompts.entail(facts), partial(read_verdicts, facts=facts))
        return Judged(facts, {}, verdicts, judge=", ".join(dict.fromkeys((reader, model))))
