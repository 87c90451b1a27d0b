"""One model behind one address: a request goes in, what the model wrote comes out, or a ``CallError``."""

import asyncio
import logging
import os
import ssl
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, NonNegativeFloat, PositiveFloat, PositiveInt, Strict

from orapo.remote.address import is_external
from orapo.remote.call_errors import CallError, CallErrorKind, kind_of, quotable, retry_after
from orapo.remote.http import unusable_proxy
from orapo.reward.llm.litellm_client import first_call, load_litellm, text_of, token_count
from orapo.reward.llm.prompts import Request
from orapo.settings import HttpAddress, Text, VariableName, settings

log = logging.getLogger(__name__)

PricePair = Annotated[tuple[NonNegativeFloat, NonNegativeFloat], Strict(False)]
"""US dollars per million tokens in and out; a list will do."""
StructuredOutput = Literal["json_schema", "json_object", "none"]
_NO_KEY = "none-needed"
_CHARACTERS_PER_TOKEN = 3
"""Fewer than English has, so that an estimate is rarely too low."""
_LONGEST_NAME = 200
_MILLION = 1_000_000
_CONTENT_FILTER = ("content_filter", "content management policy", "content policy", "safety system")


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model wrote, unchecked.

    Attributes:
        text: may be empty, cut off, or anything else but what was asked for.
        model: as the provider names it; ours where its name is no line of text.
        prompt_tokens: as counted by the provider; where it gives no count that can be one, a token for every 3
            characters, as before the call.
        completion_tokens: likewise.
        cost_usd: US dollars for these, at least 0; 0 where the price is unknown.
        is_cut_off: it reached ``max_output_tokens``.
    """

    text: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    is_cut_off: bool = False


@settings
class Endpoint:
    """A model reached through litellm; making one opens nothing and needs no key.

    Args:
        model: name with the provider's prefix ("openai/gpt-4.1"); "openai/NAME" for any OpenAI-compatible server.
        api_base: address of such a server ("http://127.0.0.1:8000/v1"); None is the provider's own.
        api_key_variable: the environment variable that holds the key; None takes the provider's usual one, and sends
            no key at all where ``api_base`` is given.
        temperature: at least 0; None leaves it to the provider, for models that don't let it be set.
        max_output_tokens: of one answer.
        timeout_seconds: for which the provider may be silent; a call ends at twice of it, even if it isn't.
        structured_output: "json_schema" has the provider enforce the schema, "json_object" only JSON, "none" nothing.
        prices: US dollars per million tokens in and out; None takes litellm's table.
        identity: what the cache knows the model by; empty takes model and address. Give a name of your own where the
            same model moves between addresses.

    Raises:
        SettingError: a value out of range, a key where its variable's name belongs, a password in the address.
    """

    model: Text
    api_base: HttpAddress | None = None
    api_key_variable: VariableName | None = None
    temperature: NonNegativeFloat | None = 0.0
    max_output_tokens: PositiveInt = 2048
    timeout_seconds: PositiveFloat = 60.0
    structured_output: StructuredOutput = "json_schema"
    prices: PricePair | None = None
    identity: str = ""

    @property
    def is_external(self) -> bool:
        """True where the text judged may leave this machine.

        No address is given, or one that isn't loopback; or a provider other than ``openai/``, which litellm asks by
        clients of its own: they take the environment's proxy, and follow a redirect.
        """
        is_ours = self.model.startswith("openai/")
        return self.api_base is None or is_external(self.api_base) or not is_ours

    @property
    def cache_identity(self) -> str:
        """Who answers, for the cache: servers with the same model name must not share answers by accident."""
        return self.identity or (f"{self.model} at {self.api_base}" if self.api_base else self.model)

    @property
    def answer_settings(self) -> dict[str, object]:
        """The settings that an answer depends on, for the cache."""
        names = ("temperature", "max_output_tokens", "structured_output")
        return {name: getattr(self, name) for name in names}

    @property
    def price_is_known(self) -> bool:
        """Whether a call's cost is known; where no prices are given, looking them up imports litellm."""
        return self._price_per_token is not None

    def estimate_tokens(self, request: Request) -> tuple[int, int]:
        """An upper estimate of the tokens of a call, in and out."""
        characters = sum(len(message["content"]) for message in request.messages)
        return characters // _CHARACTERS_PER_TOKEN + 1, self.max_output_tokens

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """US dollars for these tokens; 0 where prices are unknown, with one warning for an external model."""
        price_in, price_out = self._price_per_token or (0.0, 0.0)
        return prompt_tokens * price_in + completion_tokens * price_out

    async def complete(self, request: Request) -> Completion:
        """One call, never repeated here.

        Raises:
            CallError: no answer; ``kind`` says what to do about it.
        """
        key = self._key()
        if self.is_external and (variable := unusable_proxy()):
            reason = f"{variable} of the environment names no proxy that can be used (http://HOST:PORT)"
            raise CallError(reason, CallErrorKind.REJECTED)
        litellm, failure = load_litellm(), None
        turn = first_call(self.model.partition("/")[0]).turn()
        try:
            async with turn as grace, asyncio.timeout(2 * self.timeout_seconds + grace):
                response = await litellm.acompletion(**self._arguments(request, key))
        except TimeoutError:
            reason = f"no whole answer within {2 * self.timeout_seconds:g} s"
            failure = CallError(reason, CallErrorKind.UNAVAILABLE, may_be_billed=True)
        except Exception as error:
            failure = call_error(error, (key or "", *request.private))
        if failure is not None:  # outside of the handler: its context would be the provider's exception
            raise failure
        return self._completion(response, request)

    @cached_property
    def _price_per_token(self) -> tuple[float, float] | None:
        if self.prices is not None:
            return self.prices[0] / _MILLION, self.prices[1] / _MILLION
        found = _price_of(self.model)
        if found is None and self.is_external:
            log.warning("judge: the price of %s is unknown, its cost is counted as 0; set prices", self.model)
        return found

    def _key(self) -> str | None:
        if self.api_key_variable is None:
            # Without this litellm would send OPENAI_API_KEY to whatever server the address names.
            return _NO_KEY if self.api_base else None
        key = os.environ.get(self.api_key_variable, "").strip()
        if not key:
            reason = f"the environment variable {self.api_key_variable} that should hold the key is not set"
            raise CallError(reason, CallErrorKind.REJECTED)
        return key

    def _arguments(self, request: Request, key: str | None) -> dict[str, Any]:
        return {
            "model": self.model,
            "messages": [dict(message) for message in request.messages],
            "api_base": self.api_base,
            "api_key": key,
            "max_tokens": self.max_output_tokens,
            "timeout": self.timeout_seconds,
            "max_retries": 0,
            "num_retries": 0,
            **({} if self.temperature is None else {"temperature": self.temperature}),
            **_response_format(self.structured_output, request.schema),
        }

    def _completion(self, response: Any, request: Request) -> Completion:
        choices = getattr(response, "choices", None)
        choice = choices[0] if choices else None
        finish = getattr(choice, "finish_reason", None)
        if finish == "content_filter":
            raise CallError("the answer was stopped by a content filter", CallErrorKind.REFUSED, may_be_billed=True)
        usage = getattr(response, "usage", None)
        text = text_of(getattr(getattr(choice, "message", None), "content", None))
        # No question takes 0 tokens; litellm puts 0 where there is no count.
        prompt_tokens = token_count(getattr(usage, "prompt_tokens", None)) or self.estimate_tokens(request)[0]
        completion_tokens = token_count(getattr(usage, "completion_tokens", None)) or _tokens_of(text)
        return Completion(
            text=text,
            model=_name(getattr(response, "model", None)) or self.model,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            cost_usd=self.cost(prompt_tokens, completion_tokens),
            is_cut_off=finish == "length",
        )


def _price_of(model: str) -> tuple[float, float] | None:
    """(input, output) dollars per token by litellm's bundled table; None where it has no price."""
    try:
        entry = load_litellm().get_model_info(model)
    except Exception:  # litellm raises a bare Exception for a model that it doesn't know
        return None
    prices = entry.get("input_cost_per_token") or 0.0, entry.get("output_cost_per_token") or 0.0
    # For names that only resemble a known model, the table answers with zeros.
    return prices if any(prices) else None


def _tokens_of(text: str) -> int:
    return len(text) // _CHARACTERS_PER_TOKEN + 1 if text else 0


def _name(given: object) -> str:
    """A model's name where it is a short line of text, else ""."""
    return given if isinstance(given, str) and len(given) <= _LONGEST_NAME and given.isprintable() else ""


@lru_cache(maxsize=16)  # making a schema costs more than the rest of a request
def _response_format(structured_output: str, schema: type[BaseModel]) -> dict[str, Any]:
    if structured_output == "none":
        return {}
    if structured_output == "json_object":
        return {"response_format": {"type": "json_object"}}
    described = {"name": schema.__name__, "schema": schema.model_json_schema(), "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": described}}


def call_error(error: Exception, private: tuple[str, ...]) -> CallError:
    """Reads an exception of litellm.

    Args:
        error: what ``acompletion`` raised; its text may quote keys, headers, addresses and the prompt.
        private: texts that must not be quoted: the key, and what is judged.
    """
    if untrusted := _untrusted(error):
        return CallError(untrusted, CallErrorKind.REJECTED)
    status = getattr(error, "status_code", None)
    status = status if isinstance(status, int) else 500
    headers = getattr(error, "litellm_response_headers", None)
    named = retry_after(headers) if headers is not None else None
    quoted = provider_reason(str(getattr(error, "message", "")), private)
    if 300 <= status < 400:
        # Where it leads, what must not leave this machine would be sent too.
        reason = f"status {status}: a redirect, which isn't followed; give the address that it leads to"
        return CallError(reason, CallErrorKind.REJECTED)
    kind = kind_of(status)
    if kind is CallErrorKind.REJECTED:
        if any(mark in _all_text(error).lower() for mark in _CONTENT_FILTER) or "ContentPolicy" in type(error).__name__:
            return CallError(f"refused by a content filter (status {status})", CallErrorKind.REFUSED)
        return CallError(f"status {status}{quoted and f': {quoted}'}", CallErrorKind.REJECTED)
    timed_out = status in (408, 504)
    what = "no answer in time" if timed_out else "rate limited" if status == 429 else "not available"
    # A broken connection has no response and comes as 500 as well.
    seen = "no response" if headers is None and status != 429 else f"status {status}"
    return CallError(f"{what} ({seen})", kind, named, may_be_billed=timed_out)


def _untrusted(error: BaseException | None) -> str:
    """Says that the server's certificate isn't trusted, which no further try will change; "" for other errors."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return (
                f"the server's certificate isn't trusted ({error.verify_message}); SSL_CERT_FILE names the file of one "
                "that is"
            )
        error = error.__cause__ or error.__context__
    return ""


def provider_reason(message: str, private: tuple[str, ...]) -> str:
    """What may be quoted of a message of litellm, which stands behind the names of its exceptions."""
    return quotable(message.rpartition("Exception - ")[2], private)


def _all_text(error: Exception) -> str:
    return f"{getattr(error, 'message', '')} {getattr(error, 'body', '')}"
