"""The request for one study: the pictures, words, limits and bans of local sampling."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from orapo.policy.model import Policy
from orapo.policy.settings import SamplingSettings
from orapo.policy.vllm.images import data_url

_BAN = -100.0
"""The lowest bias that the API takes; a token is then drawn e^100 times less often."""


@dataclass(frozen=True)
class SamplingRules:
    """What the policy's folder says about tokens, as plain numbers.

    Attributes:
        stop_ids: tokens that end a report, the tokenizer's EOS first.
        banned_ids: tokens that may never be drawn.
        num_tokens: in the vocabulary.
    """

    stop_ids: tuple[int, ...]
    banned_ids: frozenset[int]
    num_tokens: int

    @classmethod
    def of(cls, policy: Policy) -> "SamplingRules":
        """The rules that ``policy`` itself samples by."""
        rules = policy.stop_rules
        stops = [int(i) for i in rules.stop_ids.tolist()]
        stops.sort(key=lambda i: i != policy.tokenizer.eos_token_id)
        banned = frozenset(int(i) for i in rules.banned.nonzero().flatten().tolist())
        return cls(tuple(stops), banned, len(rules.banned))


def completion_request(
    adapter: str,
    pictures: Sequence[Image.Image],
    messages: Sequence[Mapping[str, Any]],
    settings: SamplingSettings,
    rules: SamplingRules,
    seed: int,
) -> dict[str, Any]:
    """The body of POST /v1/chat/completions for all rollouts of one study.

    Every sampling parameter is named: what is left out would be taken from the model's generation_config.json, which
    for Qwen2.5-VL has a repetition penalty.

    Args:
        adapter: name of the weights to sample from.
        pictures: in the order of the prompt.
        messages: of the prompt.
        settings: how completions are drawn.
        rules: stops and bans.
        seed: of the first completion; the server gives completion k the seed plus k.
    """
    return {
        "model": adapter,
        "messages": _with_pictures(messages, pictures),
        # Greedy completions of one prompt are all the same, and the server refuses to draw them twice.
        "n": 1 if settings.greedy else settings.per_study,
        "seed": seed,
        "temperature": 0.0 if settings.greedy else settings.temperature,
        "top_p": 1.0 if settings.greedy else settings.top_p,
        "top_k": 0 if settings.greedy else settings.top_k,
        "min_p": 0.0 if settings.greedy else settings.min_p,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "max_completion_tokens": settings.max_new_tokens,
        "min_tokens": settings.min_new_tokens,
        "stop_token_ids": list(rules.stop_ids),
        "logit_bias": {str(i): _BAN for i in sorted(rules.banned_ids)},
        "logprobs": True,
        "top_logprobs": 0,
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
    }


def _with_pictures(messages: Sequence[Mapping[str, Any]], pictures: Sequence[Image.Image]) -> list[dict[str, Any]]:
    urls = iter([data_url(picture) for picture in pictures])
    return [
        {
            **message,
            "content": [
                {"type": "image_url", "image_url": {"url": next(urls)}} if part["type"] == "image" else part
                for part in message["content"]
            ],
        }
        for message in messages
    ]
