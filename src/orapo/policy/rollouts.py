"""Sampling K completions per study over one image encoding and one prefill of its prompt."""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, Qwen2_5_VLForConditionalGeneration

from orapo.batches import StudyBatch
from orapo.policy.attention import NAMES
from orapo.policy.prompts import embed, image_features, pad_left, prompt_positions
from orapo.policy.sampling import draw_tokens
from orapo.policy.settings import SamplingSettings


@dataclass(frozen=True)
class StopRules:
    """Which tokens end a completion and which may never be drawn.

    Attributes:
        stop_ids: [number of stop tokens], int64.
        banned: [V], bool: image placeholders and other control tokens, which would break the next scoring pass.
        padding_id: fills prompts on the left.
    """

    stop_ids: Tensor
    banned: Tensor
    padding_id: int


@torch.no_grad()
def draw_completions(
    model: Qwen2_5_VLForConditionalGeneration,
    batch: StudyBatch,
    settings: SamplingSettings,
    rules: StopRules,
) -> list[tuple[Tensor, Tensor, bool]]:
    """Draws K = ``settings.per_study`` completions for each of B studies.

    Returns:
        B * K triples in order of study: token ids [T] int64, log-probabilities [T] float32 (of the model at
        the sampling temperature over the whole vocabulary), and whether a stop token ended it.
    """
    hidden, cache, mask, position = _prefill(model, batch, rules.padding_id)
    cache.batch_repeat_interleave(settings.per_study)
    hidden = hidden.repeat_interleave(settings.per_study, dim=0)
    position = position.repeat_interleave(settings.per_study)
    mask = mask.repeat_interleave(settings.per_study, dim=0)
    is_padded = not bool(mask.all())
    active = torch.arange(len(hidden), device=hidden.device)
    steps: list[tuple[Tensor, Tensor, Tensor]] = []
    finished = torch.zeros(len(hidden), dtype=torch.bool, device=hidden.device)
    is_stop = torch.zeros_like(rules.banned)
    is_stop[rules.stop_ids] = True
    for step in range(settings.max_new_tokens):
        logits = model.get_output_embeddings()(hidden).float()
        banned = rules.banned | is_stop if step < settings.min_new_tokens else rules.banned
        tokens = draw_tokens(logits, banned, settings)
        logps = -torch.nn.functional.cross_entropy(logits / settings.temperature, tokens, reduction="none")
        steps.append((active, tokens, logps))
        stopped = is_stop[tokens]
        finished[active[stopped]] = True
        if step + 1 == settings.max_new_tokens or bool(stopped.all()):
            break
        if bool(stopped.any()):
            # Finished rows leave the batch, and their keys and values with them.
            stays = (~stopped).nonzero().squeeze(1)
            cache.batch_select_indices(stays)
            active, tokens, position, mask = active[stays], tokens[stays], position[stays], mask[stays]
        mask = torch.nn.functional.pad(mask, (0, 1), value=True)
        hidden = model.model.language_model(
            inputs_embeds=model.get_input_embeddings()(tokens.unsqueeze(1)),
            position_ids=(position + step).expand(3, -1).unsqueeze(2),
            attention_mask={"full_attention": _step_mask(model, mask) if is_padded else None},
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state[:, -1]
    return _collect(steps, finished)


def _prefill(
    model: Qwen2_5_VLForConditionalGeneration, batch: StudyBatch, padding_id: int
) -> tuple[Tensor, DynamicCache, Tensor, Tensor]:
    """(last hidden state [B, H], cache, key mask [B, P], next rotary position [B])."""
    positions = prompt_positions(model, batch)
    input_ids, mask = pad_left(batch.prompt_ids, padding_id)
    position_ids = torch.stack([pad_left([p[axis] for p in positions], 0)[0] for axis in range(3)])
    cache = DynamicCache(config=model.config.get_text_config())
    hidden = model.model.language_model(
        inputs_embeds=embed(model, input_ids, mask, image_features(model, batch)),
        position_ids=position_ids,
        attention_mask=None if bool(mask.all()) else mask.long(),
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state[:, -1]
    return hidden, cache, mask, torch.stack([p.max() + 1 for p in positions])


def _step_mask(model: Qwen2_5_VLForConditionalGeneration, mask: Tensor) -> Tensor:
    visible = mask[:, None, None, :]
    if model.config.get_text_config()._attn_implementation == NAMES["sdpa"]:
        return visible
    dtype = model.get_input_embeddings().weight.dtype
    return torch.zeros_like(visible, dtype=dtype).masked_fill(~visible, torch.finfo(dtype).min)


def _collect(steps: list[tuple[Tensor, Tensor, Tensor]], finished: Tensor) -> list[tuple[Tensor, Tensor, bool]]:
    """Turns tokens by step into tokens by row."""
    rows = torch.cat([active for active, _, _ in steps])
    # Stable: within a row the tokens stay in the order in which they were drawn.
    order = torch.argsort(rows, stable=True)
    counts = torch.bincount(rows, minlength=len(finished)).tolist()
    token_ids = torch.split(torch.cat([tokens for _, tokens, _ in steps])[order], counts)
    logps = torch.split(torch.cat([values for _, _, values in steps])[order], counts)
    return list(zip(token_ids, logps, finished.tolist(), strict=True))
