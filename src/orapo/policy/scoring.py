"""Log-probabilities of given completions; the prompt is shared by a study's completions, or repeated for each."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from orapo.batches import StudyBatch
from orapo.policy.attention import TreeAttention
from orapo.policy.families import shared_prefix
from orapo.policy.families.general import forward_rows
from orapo.policy.frozen_features import is_shared_out
from orapo.policy.packing import pack_row, take
from orapo.policy.prompts import embed_row, encode_images
from orapo.policy.token_logps import chosen_logps, token_logps

Completions = Sequence[Sequence[Tensor]]
"""Per study, token ids [T] of each of its completions (int64, T >= 1)."""

CompletionLogps = tuple[tuple[Tensor, ...], ...]
"""Per study and completion, log-probabilities [T] (float32)."""

ScoringPath = Callable[[Any, StudyBatch, Completions, float], CompletionLogps]
"""Of a model, studies, their completions and the temperature."""


def score_shared(model: Any, batch: StudyBatch, completions: Completions, temperature: float) -> CompletionLogps:
    """All studies in one packed row: each image is encoded once and each prompt computed once for its completions.

    Gradients flow through the shared prefix. Exact under gradient checkpointing, since no cache is involved.
    """
    family = shared_prefix(model.config)
    assert family is not None
    row = pack_row(family.prompt_positions(model, batch), completions)
    embeddings, levels = embed_row(family, model, batch, [ids[:-1] for study in completions for ids in study])
    states = family.last_states(model, embeddings, row.position_ids, TreeAttention(row), levels)
    logps = token_logps(take(states, row.logit_positions), row.targets, model.get_output_embeddings(), temperature)
    return _by_study(logps, row.lengths)


def score_repeated(model: Any, batch: StudyBatch, completions: Completions, temperature: float) -> CompletionLogps:
    """One row per completion, prompt repeated, through the model's own forward: any architecture, and the check."""
    lengths = [[len(ids) for ids in study] for study in completions]
    rows = [study for study, own in enumerate(completions) for _ in own]
    if batch.image_features is None and not is_shared_out(model):
        batch = replace(batch, image_features=encode_images(model, batch))
    flat = [ids for study in completions for ids in study]
    ids = [torch.cat([batch.prompt_ids[row], own]) for row, own in zip(rows, flat, strict=True)]
    device = batch.device
    ends = torch.tensor([[len(row)] for row in ids], device=device)
    starts = torch.tensor([[len(batch.prompt_ids[row])] for row in rows], device=device)
    first, last = int(starts.min()), int(ends.max())
    # From the token that predicts the earliest completion token.
    output = forward_rows(model, batch, rows, ids, use_cache=False, logits_to_keep=last - first + 1)
    index = torch.arange(first, last, device=device)
    predicting = output.logits[:, :-1][(index >= starts) & (index < ends)]
    return _by_study(chosen_logps(predicting, torch.cat(flat), temperature), lengths)


def _by_study(logps: Tensor, lengths: Sequence[Sequence[int]]) -> CompletionLogps:
    pieces = iter(torch.split(logps, [length for study in lengths for length in study]))
    return tuple(tuple(next(pieces) for _ in study) for study in lengths)
