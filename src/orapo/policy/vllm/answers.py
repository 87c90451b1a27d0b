"""Reads token ids and log-probabilities from the server's answer, after checking that it answers the request."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from orapo.errors import RunPaused
from orapo.policy.settings import SamplingSettings
from orapo.policy.vllm.requests import SamplingRules

_ROUNDING = 1e-3
"""By which a log-probability may exceed 0."""
_LONGEST_WORD = 40


@dataclass(frozen=True)
class Drawn:
    """One completion sampled by the server.

    Attributes:
        token_ids: length T >= 1, closed by a stop token where it finished.
        logps: length T, at temperature 1; NaN for a stop token that the server left out.
        finished: whether a stop token ended it.
        text: in the server's words, special tokens removed.
    """

    token_ids: tuple[int, ...]
    logps: tuple[float, ...]
    finished: bool
    text: str


@dataclass(frozen=True)
class Asked:
    """What an answer is checked against.

    Attributes:
        study_id: for error messages.
        model: what was asked, which names its weights where they are an adapter.
        prompt_ids: the prompt as the policy has it.
        image_token: the placeholder's id.
        settings: how completions are drawn.
        rules: stops and bans.
        pixel_limits: (least, most) pixels of a picture that the server must allow, for error messages; None: any.
    """

    study_id: str
    model: str
    prompt_ids: tuple[int, ...]
    image_token: int
    settings: SamplingSettings
    rules: SamplingRules
    pixel_limits: tuple[int, int] | None

    def read(self, answer: Any) -> tuple[Drawn, ...]:
        """The completions in order: K, or one that stands for all when greedy.

        Raises:
            RunPaused: the answer is of other weights, another prompt, or not what was asked for.
        """
        if not isinstance(answer, dict) or not isinstance(answer.get("choices"), list):
            raise self._wrong("the answer is no chat completion")
        if answer.get("model") != self.model:
            raise self._wrong(f"{_short(answer.get('model'))} answered in the stead of {self.model!r}")
        self._check_prompt(answer.get("prompt_token_ids"))
        choices = [choice for choice in answer["choices"] if isinstance(choice, dict)]
        expected = 1 if self.settings.greedy else self.settings.per_study
        if sorted(str(choice.get("index")) for choice in choices) != sorted(str(k) for k in range(expected)):
            raise self._wrong(f"{len(choices)} completions came back where {expected} were asked for")
        return tuple(self._completion(choice) for choice in sorted(choices, key=lambda choice: int(choice["index"])))

    def _check_prompt(self, prompt_ids: Any) -> None:
        if not _is_ids(prompt_ids):
            raise self._wrong("prompt_token_ids are missing; vLLM returns them from version 0.10.2 on")
        theirs, ours = prompt_ids.count(self.image_token), self.prompt_ids.count(self.image_token)
        if theirs != ours:
            told = f"the server's prompt has {theirs} image tokens, not {ours}: it resizes the pictures again"
            if self.pixel_limits is None:
                raise self._wrong(f"{told}; it must serve model.path")
            least, most = self.pixel_limits
            raise self._wrong(
                f"""{told}; start it with --mm-processor-kwargs '{{"min_pixels": {least}, "max_pixels": {most}}}'"""
            )
        if tuple(prompt_ids) != self.prompt_ids:
            pairs = enumerate(zip(prompt_ids, self.prompt_ids, strict=False))
            place = next((i for i, (one, other) in pairs if one != other), min(len(prompt_ids), len(self.prompt_ids)))
            raise self._wrong(
                f"the server's prompt has {len(prompt_ids)} tokens instead of {len(self.prompt_ids)} and differs from "
                f"token {place} on; it must serve model.path with that folder's own chat template"
            )

    def _completion(self, choice: dict[str, Any]) -> Drawn:
        index, token_ids, message = choice["index"], choice.get("token_ids"), choice.get("message")
        if not _is_ids(token_ids):
            raise self._wrong(f"completion {index} has no token_ids")
        logps = self._logps(index, token_ids, choice.get("logprobs"))
        reason = choice.get("finish_reason")
        if reason not in ("stop", "length"):
            raise self._wrong(f"completion {index} ended by {_short(reason)}; only stop and length are known")
        ids, finished = list(token_ids), reason == "stop"
        if finished and (not ids or ids[-1] not in self.rules.stop_ids):
            stop_reason = choice.get("stop_reason")
            ids.append(stop_reason if stop_reason in self.rules.stop_ids else self.rules.stop_ids[0])
            logps.append(math.nan)
        self._check_tokens(index, ids, finished)
        text = message.get("content") if isinstance(message, dict) else None
        return Drawn(tuple(ids), tuple(logps), finished, str(text or ""))

    def _logps(self, index: int, token_ids: list[int], logprobs: Any) -> list[float]:
        content = logprobs.get("content") if isinstance(logprobs, dict) else None
        if not isinstance(content, list) or len(content) != len(token_ids):
            count = len(content) if isinstance(content, list) else 0
            raise self._wrong(f"completion {index} has {len(token_ids)} tokens but {count} log-probabilities")
        values = []
        for token_id, entry in zip(token_ids, content, strict=True):
            value = entry.get("logprob") if isinstance(entry, dict) else None
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise self._wrong(f"completion {index} has a log-probability that is {type(value).__name__}")
            if not math.isfinite(value) or value > _ROUNDING:
                raise self._wrong(f"completion {index} has a log-probability that is {value}")
            if entry.get("token") != f"token_id:{token_id}":
                raise self._wrong(f"completion {index} has token_ids and log-probabilities of different tokens")
            values.append(float(value))
        return values

    def _check_tokens(self, index: int, ids: Sequence[int], finished: bool) -> None:
        settings, rules = self.settings, self.rules
        words = ids[:-1] if finished else ids
        if banned := sorted(rules.banned_ids.intersection(words)):
            raise self._wrong(f"completion {index} holds token {banned[0]}, which logit_bias should have kept out")
        if beyond := [i for i in words if not 0 <= i < rules.num_tokens]:
            raise self._wrong(f"completion {index} holds token {beyond[0]} of a vocabulary of {rules.num_tokens}")
        if any(i in rules.stop_ids for i in words):
            raise self._wrong(f"completion {index} goes on behind a stop token")
        too_long = len(ids) > settings.max_new_tokens
        if too_long or len(words) < settings.min_new_tokens or (not finished and len(ids) < settings.max_new_tokens):
            raise self._wrong(
                f"completion {index} has {len(words)} tokens and {'a' if finished else 'no'} stop token; "
                f"{settings.min_new_tokens} to {settings.max_new_tokens} were asked for (the server's --max-model-len "
                "must hold the prompt and these)"
            )

    def _wrong(self, what: str) -> RunPaused:
        return RunPaused(f"rollout server, study {self.study_id}: {what}")


def _short(value: Any) -> str:
    return repr(value[:_LONGEST_WORD]) if isinstance(value, str) else type(value).__name__


def _is_ids(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(isinstance(i, int) and not isinstance(i, bool) for i in value)
