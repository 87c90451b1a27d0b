"""Sampling K completions per study over one image encoding and one prefill of its prompt."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, Qwen2_5_VLForConditionalGeneration

from orapo.batches import StudyBatch
from orapo.policy.attention import TreeAttention
from orapo.policy.decoding import Decoder, PromptCache
from orapo.policy.packing import pack_row
from orapo.policy.prompts import embed, image_features, prompt_positions
from orapo.policy.sampling import draw_tokens, uniform_numbers
from orapo.policy.settings import SamplingSettings
from orapo.policy.traces import RolloutTracer

_KEPT_FRACTION = 7 / 8
"""Rows that have ended leave once this fraction or less goes on: leaving moves the keys of those that stay."""


@dataclass(frozen=True)
class StopRules:
    """Which tokens end a completion and which may never be drawn.

    Attributes:
        stop_ids: [number of stop tokens], int64.
        banned: [V], bool: image placeholders and other control tokens, which would break the next scoring pass.
    """

    stop_ids: Tensor
    banned: Tensor


@torch.no_grad()
def draw_completions(
    model: Qwen2_5_VLForConditionalGeneration,
    batch: StudyBatch,
    settings: SamplingSettings,
    rules: StopRules,
    seeds: Sequence[int] | None = None,
    tracer: RolloutTracer | None = None,
) -> list[tuple[Tensor, Tensor, bool]]:
    """Draws K = ``settings.per_study`` completions for each of B studies.

    Args:
        model: in eval mode.
        batch: B studies.
        settings: how tokens are drawn.
        rules: which tokens end a completion or are never drawn.
        seeds: B numbers that fix what each study draws, whatever stands beside it; None: torch's generator.
        tracer: is told all that is computed on the way.

    Returns:
        B * K triples in order of study: token ids [T] int64, log-probabilities [T] float32 (of the model at
        the sampling temperature over the whole vocabulary), and whether a stop token ended it.
    """
    num_steps, per_study = settings.max_new_tokens, settings.per_study
    hidden, prompts, position = _prefill(model, batch, tracer)
    decoder = Decoder(model, prompts, position, per_study, num_steps, tracer.write if tracer else None)
    hidden = hidden.repeat_interleave(per_study, dim=0)
    uniform = uniform_numbers(num_steps, len(batch), per_study, seeds, hidden.device)
    is_stop = torch.zeros_like(rules.banned)
    is_stop[rules.stop_ids] = True
    banned_at_first = rules.banned | is_stop
    # Present rows by their number among all B * K, and which of them go on.
    rows = torch.arange(len(hidden), device=hidden.device)
    goes_on = torch.ones_like(rows, dtype=torch.bool)
    finished = torch.zeros_like(goes_on)
    drawn: list[tuple[Tensor, Tensor, Tensor]] = []
    for step in range(num_steps):
        banned = banned_at_first if step < settings.min_new_tokens else rules.banned
        tokens, logps, probabilities = draw_tokens(decoder.logits(hidden), banned, uniform[step, rows], settings)
        if tracer:
            tracer.draw(rows, probabilities)
        drawn.append((rows[goes_on], tokens[goes_on], logps[goes_on]))
        stops = is_stop[tokens] & goes_on
        finished[rows[stops]] = True
        goes_on &= ~stops
        num_going_on = int(goes_on.sum())
        if num_going_on == 0 or step + 1 == num_steps:
            break
        if num_going_on <= len(rows) * _KEPT_FRACTION:
            stays = goes_on.nonzero().squeeze(1)
            decoder.keep(stays)
            rows, tokens, goes_on = rows[stays], tokens[stays], goes_on[stays]
        if tracer:
            tracer.follow(rows)
        hidden = decoder.step(tokens)
    return _collect(drawn, finished)


def _prefill(
    model: Qwen2_5_VLForConditionalGeneration, batch: StudyBatch, tracer: RolloutTracer | None
) -> tuple[Tensor, PromptCache, Tensor]:
    """(last hidden state [B, H], keys and values, next rotary position [B])."""
    positions = prompt_positions(model, batch)
    row = pack_row(batch.prompt_ids, positions, [() for _ in batch.prompt_ids])
    is_prompt = torch.ones_like(row.input_ids, dtype=torch.bool)
    cache = DynamicCache(config=model.config.get_text_config())
    hidden = model.model.language_model(
        inputs_embeds=embed(model, row.input_ids[None], is_prompt[None], image_features(model, batch)),
        position_ids=row.position_ids.unsqueeze(1),
        attention_mask={"full_attention": TreeAttention.of(row, model.config.get_text_config(), tracer=tracer)},
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state[0]
    return hidden, PromptCache.of(cache, row), torch.stack([p.max() + 1 for p in positions])


def _collect(drawn: list[tuple[Tensor, Tensor, Tensor]], finished: Tensor) -> list[tuple[Tensor, Tensor, bool]]:
    """Turns tokens by step into tokens by row."""
    rows = torch.cat([active for active, _, _ in drawn])
    # Stable: within a row the tokens stay in the order in which they were drawn.
    order = torch.argsort(rows, stable=True)
    counts = torch.bincount(rows, minlength=len(finished)).tolist()
    token_ids = torch.split(torch.cat([tokens for _, tokens, _ in drawn])[order], counts)
    logps = torch.split(torch.cat([values for _, _, values in drawn])[order], counts)
    return list(zip(token_ids, logps, finished.tolist(), strict=True))
