"""The FactS reward with a language-model judge, from flat settings: what ``reward=fact_score_llm`` builds."""

import logging
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from orapo.errors import SettingError
from orapo.remote.cache import AnswerCache, CacheMode
from orapo.remote.retry import RetryPolicy
from orapo.reward.llm.budget import Budget
from orapo.reward.llm.endpoint import Endpoint, StructuredOutput
from orapo.reward.llm.judge import FIRST_PAUSE_SECONDS, LlmJudge, OnFailure
from orapo.reward.llm.limits import LimitSettings, RateLimit
from orapo.reward.llm.prices import PricePair
from orapo.reward.llm.prompts import PromptsVersion
from orapo.reward.protocol import Combine
from orapo.reward.weighted import Weight, WeightedReward, ZeroAtMost
from orapo.settings import HttpAddress, Text, VariableName, checked

log = logging.getLogger(__name__)


@checked
def fact_score_llm(
    *,
    model: Text,
    api_base: HttpAddress | None = None,
    api_key_variable: VariableName | None = None,
    identity: str = "",
    fallback_models: Sequence[Text] = (),
    stages: Literal["two", "combined"] = "two",
    prompts: PromptsVersion = "v1",
    temperature: NonNegativeFloat | None = 0.0,
    max_output_tokens: PositiveInt = 2048,
    structured_output: StructuredOutput = "json_schema",
    prices: PricePair | None = None,
    max_concurrent: PositiveInt = 16,
    requests_per_minute: RateLimit | None = None,
    tokens_per_minute: RateLimit | None = None,
    timeout_seconds: PositiveFloat = 60.0,
    max_tries: PositiveInt = 8,
    deadline_seconds: PositiveFloat = 600.0,
    cache: CacheMode = "read_write",
    cache_path: Text | None = None,
    max_cost: PositiveFloat | None = None,
    on_failure: OnFailure = "pause",
    pause_limit_seconds: Annotated[float, Field(ge=FIRST_PAUSE_SECONDS)] = 3600.0,
    allow_external: bool = False,
    is_private: bool = True,
    f_beta: PositiveFloat = 2.0,
    uncertain_is_positive: bool = False,
    terms: Mapping[str, Weight] | None = None,
    combine: Combine = "sum",
    zero_term: str | None = None,
    zero_at_most: ZeroAtMost | None = None,
    term_settings: Mapping[str, Mapping[str, Any]] | None = None,
    modules: Sequence[str] = (),
) -> WeightedReward:
    """Builds the reward; nothing is opened, asked or looked up before the first report.

    Args:
        model: litellm's name, for example ``"openai/gpt-4.1"``; ``"openai/NAME"`` with ``api_base`` for an own server.
        api_base: address of an OpenAI-compatible server; None is the provider's own.
        api_key_variable: the environment variable with the key; None is the provider's usual one.
        identity: what the cache knows the model by; "" takes model and address. Give a name of your own where the same
            model moves between addresses.
        fallback_models: asked, in this order, when the model before doesn't answer; at their providers' addresses.
        stages: ``"two"``, facts and then verdicts, as in the paper; ``"combined"``, both in one call.
        prompts: version of the packaged prompts.
        temperature: at least 0; None leaves it to the provider.
        max_output_tokens: of one answer.
        structured_output: ``"json_schema"``, ``"json_object"`` or ``"none"``: what the provider can enforce.
        prices: US dollars per million tokens in and out; None takes litellm's table.
        max_concurrent: calls under way at once.
        requests_per_minute: None for no limit.
        tokens_per_minute: in and out together; None for no limit.
        timeout_seconds: of a call.
        max_tries: of a question.
        deadline_seconds: of a question with all its tries.
        cache: ``"read_write"``, ``"read_only"`` (replays an experiment without a key) or ``"off"``.
        cache_path: of the SQLite file, on a local disk; shared by runs and processes.
        max_cost: US dollars of one run, its resumed parts together; None for no limit.
        on_failure: ``"pause"``, ``"offline_judge"`` or ``"drop_study"``; see ``LlmJudge``.
        pause_limit_seconds: how long a run waits for an answer before it saves a checkpoint and stops.
        allow_external: whether reports on private data may leave this machine.
        is_private: whether the data set holds patients' data.
        f_beta: of equation (15).
        uncertain_is_positive: as for ``FactScoreReward``.
        terms: this and the rest as for ``WeightedReward``; None pays facts alone.
        combine: how advantages see the terms.
        zero_term: says what counts as zero.
        zero_at_most: up to which value.
        term_settings: by term.
        modules: with terms of one's own.

    Raises:
        SettingError: a value out of range, or private data would leave this machine unallowed.
    """
    endpoints = [
        Endpoint(
            each,
            # An own server has one model; the fallbacks are asked where they live.
            api_base=api_base if each == model else None,
            api_key_variable=api_key_variable if each == model else None,
            identity=identity if each == model else "",
            temperature=temperature,
            max_output_tokens=max_output_tokens,
            timeout_seconds=timeout_seconds,
            structured_output=structured_output,
            prices=prices if each == model else None,
        )
        for each in (model, *fallback_models)
    ]
    judge = LlmJudge(
        endpoints[0],
        AnswerCache(cache_path, cache),
        fallbacks=endpoints[1:],
        prompts_version=prompts,
        combined=stages == "combined",
        uncertain_is_positive=uncertain_is_positive,
        limits=LimitSettings(max_concurrent, requests_per_minute, tokens_per_minute),
        retry=RetryPolicy(max_tries=max_tries, deadline_seconds=deadline_seconds),
        budget=Budget(max_cost),
        on_failure=on_failure,
        pause_limit_seconds=pause_limit_seconds,
    )
    if is_private and cache != "read_only":
        _check_privacy([endpoint for endpoint in endpoints if endpoint.is_external], allow_external)
    return WeightedReward(
        {"facts": 1.0} if terms is None else terms,
        judge=judge,
        f_beta=f_beta,
        uncertain_is_positive=uncertain_is_positive,
        combine=combine,
        zero_term=zero_term,
        zero_at_most=zero_at_most,
        term_settings=term_settings,
        modules=modules,
    )


def _check_privacy(external: Sequence[Endpoint], allow_external: bool) -> None:
    if not external:
        return
    where = ", ".join(endpoint.cache_identity for endpoint in external)
    if not allow_external:
        raise SettingError(
            f"reward.allow_external is false, and reports written about patients' images would go to {where}: the data "
            "sets' agreements forbid services that keep or review what they are sent. Use a server on this machine "
            "(reward.api_base), the offline judge (reward=fact_score), or reward.allow_external=true where your "
            "agreement with the provider permits it"
        )
    log.warning("judge: reports written about patients' images go to %s, as reward.allow_external=true allows", where)
