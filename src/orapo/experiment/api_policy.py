"""A model behind an API writes the reports: asked through litellm, within a budget, never twice for the same images."""

import asyncio
import concurrent.futures
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

from orapo.data.collate import StudyImages
from orapo.data.evaluation_studies import EvaluationStudies
from orapo.errors import OrapoError, RunPaused, SettingError
from orapo.evaluation.report_pairs import Written
from orapo.experiment.api_endpoint import TimedCompletion, VisionRequest, open_endpoint, vision_request
from orapo.experiment.evaluate_config import ApiSettings
from orapo.prompt import Prompt
from orapo.remote.background import background_loop
from orapo.remote.cache import Answer, AnswerCache, CacheMiss, cache_key
from orapo.remote.call_errors import CallError, CallErrorKind, InvalidAnswer
from orapo.remote.retry import ActiveTimer, GaveUp
from orapo.reward.llm.endpoint import Completion
from orapo.reward.llm.json_text import without_thoughts
from orapo.reward.llm.limits import Budget, BudgetSpent, Limits
from orapo.reward.llm.retrying_client import RetryingClient, Usage

REFUSED, UNANSWERED, CUT_OFF = "refused_reports", "unanswered_reports", "cut_off_reports"
_LOOK_SECONDS = 0.2


class ApiRejected(OrapoError):
    """The provider refuses every request: the key, the model or a parameter is wrong."""


class ApiPolicy:
    """Asks for one report a study.

    A study that a content filter refuses, and one that is never answered with words, count as empty reports; both are
    counted. Where nobody answers, or the budget is spent, the evaluation stops; what was written is kept.
    """

    def __init__(self, settings: ApiSettings, prompt: Prompt) -> None:
        """Checks the endpoint's settings; connects to nothing yet.

        Raises:
            SettingError: a value that only the endpoint can check, such as its address.
        """
        self._settings = settings
        self._prompt = prompt
        self._usage = Usage()
        self._num_done = 0
        self._endpoint = open_endpoint(settings)
        self._budget = Budget(settings.max_cost)
        limits = Limits(settings.limits)
        self._client = RetryingClient(self._endpoint, limits, settings.retry, self._budget, self._usage)
        self._cache = AnswerCache(settings.cache_path, settings.cache)

    @property
    def described(self) -> dict[str, Any]:
        """Kind, name, and what asking took so far in this evaluation."""
        names = ("model", "api_base", "reasoning_effort", "temperature", "max_output_tokens")
        return {
            "kind": "api",
            "name": self._settings.model,
            **{name: getattr(self._settings, name) for name in names},
            "usage": self._usage.numbers(),
        }

    def write(self, studies: EvaluationStudies, images_of: Sequence[int] | None) -> Written:
        """One report a study; the bar counts studies.

        Raises:
            RunPaused: the budget is spent, or no answer comes; called again, the evaluation continues where it stopped.
            ApiRejected: the key, the model or a parameter is wrong.
            SettingError: a budget, and a price that nobody knows.
        """
        self._check_price()
        with_priors = self._prompt.shows_prior_images
        rows = StudyImages(studies.source.load_images, studies.studies, images_of, with_priors=with_priors)
        running = asyncio.run_coroutine_threadsafe(self._write_all(rows), background_loop())
        answers = self._await(running, len(studies.studies), "Writing reports" if images_of is None else "Shuffled")
        written = [json.loads(answer.text) for answer in answers]
        kinds = Counter(one["kind"] for one in written if one["kind"])
        return Written(
            reports=tuple(one["report"] for one in written),
            seconds=tuple(one["seconds"] for one in written),
            cost_usd=tuple(answer.cost_usd for answer in answers) if self._endpoint.price_is_known else None,
            counts={name: float(kinds[name]) for name in (REFUSED, UNANSWERED, CUT_OFF)},
        )

    def _check_price(self) -> None:
        endpoint = self._endpoint
        if self._settings.max_cost is not None and endpoint.is_external and not endpoint.price_is_known:
            raise SettingError(
                f"system.max_cost is {self._settings.max_cost:g} but the price of {endpoint.model} is unknown; set "
                "system.prices (US dollars per million tokens, in and out)"
            )

    def _await(self, running: "concurrent.futures.Future[list[Answer]]", total: int, title: str) -> list[Answer]:
        columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn())
        try:
            with Progress(*columns, console=Console(stderr=True)) as progress:
                bar = progress.add_task(title, total=total)
                while True:
                    progress.update(bar, completed=self._num_done)
                    try:
                        return running.result(_LOOK_SECONDS)
                    except concurrent.futures.TimeoutError:
                        if running.done():
                            raise
        except BaseException as error:
            running.cancel()
            raise self._explained(error) from None

    def _explained(self, error: BaseException) -> BaseException:
        kept = f"; what is written is kept in {self._settings.cache_path}: the same command goes on from there"
        kept = kept if self._settings.cache == "read_write" else ""
        if isinstance(error, BudgetSpent):
            return RunPaused(
                f"system.max_cost={self._settings.max_cost:g}: {self._budget.spent_usd:.4f} US dollars are spent and "
                f"the next call could exceed it{kept}, with a budget of its own"
            )
        if isinstance(error, GaveUp):
            return RunPaused(f"{self._settings.model} doesn't answer: {error.reason}{kept}")
        if isinstance(error, CacheMiss):
            return SettingError(f"system.cache=read_only: {self._settings.cache_path} lacks a report; use read_write")
        return error

    async def _write_all(self, rows: StudyImages) -> list[Answer]:
        self._num_done = 0
        free = asyncio.Semaphore(self._settings.max_concurrent)  # images of waiting studies stay unopened

        async def one(place: int) -> Answer:
            async with free:
                row = await asyncio.to_thread(rows.__getitem__, place)
                answer = await self._answer(await asyncio.to_thread(vision_request, row, self._prompt))
            self._num_done += 1
            return answer

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(place)) for place in range(len(rows))]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _answer(self, request: VisionRequest) -> Answer:
        endpoint = self._endpoint
        key = cache_key(
            endpoint.cache_identity, request.prompt_digest, request.stage, request.subject, endpoint.answer_settings
        )
        answer, is_hit = await self._cache.get_or_ask(key, lambda: self._ask(request))
        self._usage.cache_hits += is_hit
        return answer

    async def _ask(self, request: VisionRequest) -> Answer:
        """One report; its cost holds that of useless answers before it."""
        timer, paid = ActiveTimer(), 0.0

        def accept(completion: Completion) -> str:
            nonlocal paid
            assert isinstance(completion, TimedCompletion)
            paid += completion.cost_usd
            report = without_thoughts(completion.text).strip()
            # Cut off before its first word it would be so again.
            if not report and not completion.is_cut_off:
                raise InvalidAnswer("the answer is empty")
            return _stored(report, CUT_OFF if completion.is_cut_off else "", completion.seconds)

        try:
            return replace(await self._client.ask(request, accept), cost_usd=paid)
        except GaveUp as error:
            refused = isinstance(error.failure, CallError) and error.failure.kind is CallErrorKind.REFUSED
            if not refused and not isinstance(error.failure, InvalidAnswer):
                raise
            text = _stored("", REFUSED if refused else UNANSWERED, timer())
            return Answer(text, self._endpoint.model, 0, 0, paid)
        except CallError as error:
            reason = f"{self._endpoint.model}: {error.reason}"
        raise ApiRejected(f"{reason}; correct system.model or its settings")


def _stored(report: str, kind: str, seconds: float) -> str:
    return json.dumps({"report": report, "kind": kind, "seconds": round(seconds, 4)}, ensure_ascii=False)
