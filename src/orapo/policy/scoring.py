"""Log-probabilities of given completions: the prompt shared by all completions of a study, or repeated for each."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from orapo.batches import StudyBatch
from orapo.policy.attention import TreeAttention
from orapo.policy.families import family_of
from orapo.policy.packing import pack_row
from orapo.policy.prompts import embed_row
from orapo.policy.token_logps import token_logps

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
    family = family_of(model)
    row = pack_row(family.prompt_positions(model, batch), completions)
    embeddings = embed_row(model, batch, [ids[:-1] for study in completions for ids in study])
    states = family.last_states(model, embeddings, row.position_ids, TreeAttention(row))
    logps = token_logps(states[row.logit_positions], row.targets, model.get_output_embeddings(), temperature)
    return _by_study(logps, row.lengths)


def score_repeated(model: Any, batch: StudyBatch, completions: Completions, temperature: float) -> CompletionLogps:
    """One row per completion, prompt and image repeated, through the model's own forward: the check on the above."""
    lengths = [[len(ids) for ids in study] for study in completions]
    repeated = batch.select([study for study, own in enumerate(completions) for _ in own])
    flat = [ids for study in completions for ids in study]
    ids = [torch.cat([prompt, own]) for prompt, own in zip(repeated.prompt_ids, flat, strict=True)]
    # Any word will do as padding: nobody sees it.
    input_ids = pad_sequence(ids, batch_first=True, padding_value=int(flat[0][-1]))
    sizes = torch.tensor([[len(row)] for row in ids], device=input_ids.device)
    prompt_sizes = torch.tensor([[len(row)] for row in repeated.prompt_ids], device=input_ids.device)
    index = torch.arange(input_ids.shape[1], device=input_ids.device)
    family = family_of(model)
    is_image = family.is_image(model, input_ids) & (index < prompt_sizes)
    states = family.last_states_of_rows(model, input_ids, (index < sizes).long(), is_image, repeated)
    is_completion = (index >= prompt_sizes) & (index < sizes)
    predicting = states[:, :-1][is_completion[:, 1:]]
    return _by_study(token_logps(predicting, torch.cat(flat), model.get_output_embeddings(), temperature), lengths)


SCORING_PATHS: Mapping[str, ScoringPath] = {"shared": score_shared, "repeated": score_repeated}


def _by_study(logps: Tensor, lengths: Sequence[Sequence[int]]) -> CompletionLogps:
    pieces = iter(torch.split(logps, [length for study in lengths for length in study]))
    return tuple(tuple(next(pieces) for _ in study) for study in lengths)
