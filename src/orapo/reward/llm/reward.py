"""The reward with a language model, from flat settings: what ``reward=fact_score_llm`` builds."""

import logging
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from orapo.errors import SettingError
from orapo.remote.cache import AnswerCache, CacheMode
from orapo.remote.retry import RetryPolicy
from orapo.reward.llm.client import FIRST_PAUSE_SECONDS, LlmClient, OnFailure
from orapo.reward.llm.endpoint import Endpoint, PricePair, StructuredOutput
from orapo.reward.llm.judge import LlmJudge, Stages
from orapo.reward.llm.limits import Budget, LimitSettings, RateLimit
from orapo.reward.llm.prompts import PromptsVersion
from orapo.reward.protocol import Combine
from orapo.reward.weighted import Weight, WeightedReward, ZeroAtMost
from orapo.settings import HttpAddress, Text, VariableName, settings

log = logging.getLogger(__name__)


@settings
class ClientSettings:
    """How a language model is reached, how often, at what cost, and where its answers are kept.

    Attributes:
        model: litellm's name, for example ``"openai/gpt-4.1"``; ``"openai/NAME"`` with ``api_base`` for an own server.
        api_base: address of an OpenAI-compatible server; None is the provider's own.
        api_key_variable: the environment variable with the key; None is the provider's usual one.
        identity: what the cache knows the model by; "" takes model and address. Give a name of your own where the same
            model moves between addresses.
        temperature: at least 0; None leaves it to the provider.
        max_output_tokens: of one answer.
        prices: US dollars per million tokens in and out; None takes litellm's table.
        max_concurrent: calls under way at once.
        requests_per_minute: None for no limit.
        tokens_per_minute: in and out together; None for no limit.
        timeout_seconds: of a call.
        max_tries: of a question.
        deadline_seconds: of a question with all its tries.
        max_cost: US dollars of one run, its resumed parts together; None for no limit.
        cache: ``"read_write"``, ``"read_only"`` (asks nobody and needs no key) or ``"off"``.
        cache_path: of the SQLite file, on a local disk; shared by runs and processes.
        allow_external: whether what is asked about on private data may leave this machine.
        is_private: whether the data set holds patients' data.
    """

    model: Text
    api_base: HttpAddress | None = None
    api_key_variable: VariableName | None = None
    identity: str = ""
    temperature: NonNegativeFloat | None = 0.0
    max_output_tokens: PositiveInt = 2048
    prices: PricePair | None = None
    max_concurrent: PositiveInt = 16
    requests_per_minute: RateLimit | None = None
    tokens_per_minute: RateLimit | None = None
    timeout_seconds: PositiveFloat = 60.0
    max_tries: PositiveInt = 8
    deadline_seconds: PositiveFloat = 600.0
    max_cost: PositiveFloat | None = None
    cache: CacheMode = "read_write"
    cache_path: Text | None = None
    allow_external: bool = False
    is_private: bool = True

    @property
    def limits(self) -> LimitSettings:
        """How fast each endpoint may be asked."""
        return LimitSettings(self.max_concurrent, self.requests_per_minute, self.tokens_per_minute)

    @property
    def retry(self) -> RetryPolicy:
        return RetryPolicy(max_tries=self.max_tries, deadline_seconds=self.deadline_seconds)


@settings
class FactScoreLlm(ClientSettings):
    """The keys of ``reward=fact_score_llm``: the client's, the judge's, and those of ``WeightedReward``.

    Attributes:
        fallback_models: asked, in this order, when the model before doesn't answer; at their providers' addresses.
        stages: who reads facts and verdicts, and in how many calls; see ``LlmJudge``.
        prompts: version of the packaged prompts.
        structured_output: ``"json_schema"``, ``"json_object"`` or ``"none"``: what the provider can enforce.
        on_failure: ``"pause"``, ``"offline_judge"`` or ``"drop_study"``; see ``LlmClient``.
        pause_limit_seconds: how long a run waits for an answer before it saves a checkpoint and stops.
        terms: None pays facts alone.
    """

    fallback_models: Sequence[Text] = ()
    stages: Stages = "two"
    prompts: PromptsVersion = "v1"
    structured_output: StructuredOutput = "json_schema"
    on_failure: OnFailure = "pause"
    pause_limit_seconds: Annotated[float, Field(ge=FIRST_PAUSE_SECONDS)] = 3600.0
    f_beta: PositiveFloat = 2.0
    uncertain_is_positive: bool = False
    terms: Mapping[str, Weight] | None = None
    combine: Combine = "sum"
    zero_term: str | None = None
    zero_at_most: ZeroAtMost | None = None
    term_settings: Mapping[str, Mapping[str, Any]] | None = None
    modules: Sequence[str] = ()

    def open(self) -> WeightedReward:
        """Builds the reward; nothing is opened or asked before the first report.

        Raises:
            SettingError: private data would leave this machine unallowed, or terms that contradict each other.
        """
        endpoints = [self._endpoint(model) for model in (self.model, *self.fallback_models)]
        self._check_privacy([endpoint for endpoint in endpoints if endpoint.is_external])
        client = LlmClient(
            endpoints[0],
            AnswerCache(self.cache_path, self.cache),
            fallbacks=endpoints[1:],
            limits=self.limits,
            retry=self.retry,
            budget=Budget(self.max_cost),
            on_failure=self.on_failure,
            pause_limit_seconds=self.pause_limit_seconds,
        )
        return WeightedReward(
            {"facts": 1.0} if self.terms is None else self.terms,
            judge=LlmJudge(
                client,
                prompts_version=self.prompts,
                stages=self.stages,
                uncertain_is_positive=self.uncertain_is_positive,
            ),
            f_beta=self.f_beta,
            uncertain_is_positive=self.uncertain_is_positive,
            combine=self.combine,
            zero_term=self.zero_term,
            zero_at_most=self.zero_at_most,
            term_settings=self.term_settings,
            modules=self.modules,
        )

    def _endpoint(self, model: str) -> Endpoint:
        # An own server has one model; the fallbacks are asked where they live.
        own = ["api_base", "api_key_variable", "identity", "prices"] if model == self.model else []
        names = [*own, "temperature", "max_output_tokens", "timeout_seconds", "structured_output"]
        return Endpoint(model, **{name: getattr(self, name) for name in names})

    def _check_privacy(self, external: Sequence[Endpoint]) -> None:
        if not external or not self.is_private or self.cache == "read_only":
            return
        where = ", ".join(endpoint.cache_identity for endpoint in external)
        if not self.allow_external:
            raise SettingError(
                f"reward.allow_external is false, and reports written about patients' images would go to {where}: the "
                "data sets' agreements forbid services that keep or review what they are sent. Use a server on this "
                "machine (reward.api_base, with reward.model=openai/NAME), the offline judge (reward=fact_score), or "
                "reward.allow_external=true where your agreement with the provider permits it"
            )
        log.warning(
            "judge: reports written about patients' images go to %s, as reward.allow_external=true allows", where
        )
