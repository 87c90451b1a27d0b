"""Log-probabilities of given completions: the prompt shared by all completions of a study, or repeated for each."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration

from orapo.batches import StudyBatch
from orapo.policy.packing import pack_rows
from orapo.policy.prompts import embed, image_features, prompt_positions
from orapo.policy.token_logps import token_logps

Completions = Sequence[Sequence[Tensor]]
"""Per study, token ids [T] of each of its completions (int64, T >= 1)."""

CompletionLogps = tuple[tuple[Tensor, ...], ...]
"""Per study and completion, log-probabilities [T] (float32)."""

ScoringPath = Callable[[Qwen2_5_VLForConditionalGeneration, StudyBatch, Completions, float, int], CompletionLogps]


def score_shared(
    model: Qwen2_5_VLForConditionalGeneration,
    batch: StudyBatch,
    completions: Completions,
    temperature: float,
    padding_id: int,
) -> CompletionLogps:
    """One row per study: the image is encoded once and the prompt computed once for all completions of the study.

    Gradients flow through the shared prefix. Exact under gradient checkpointing, since no cache is involved.
    """
    rows = pack_rows(batch.prompt_ids, prompt_positions(model, batch), completions, padding_id)
    embeddings = embed(model, rows.input_ids, rows.segments == 0, image_features(model, batch))
    hidden = model.model.language_model(
        inputs_embeds=embeddings,
        position_ids=rows.position_ids,
        attention_mask={"full_attention": _for_attention(model, rows.attention_mask(), embeddings.dtype)},
        use_cache=False,
    ).last_hidden_state
    predicting = hidden.flatten(0, 1)[rows.predictors]
    logps = token_logps(predicting, rows.targets, model.get_output_embeddings(), temperature)
    return _split(logps, rows.lengths)


def score_repeated(
    model: Qwen2_5_VLForConditionalGeneration,
    batch: StudyBatch,
    completions: Completions,
    temperature: float,
    padding_id: int,
) -> CompletionLogps:
    """One row per completion, prompt and image repeated, through the model's public forward: the check on the above."""
    lengths = tuple(tuple(len(completion) for completion in branches) for branches in completions)
    owners = [study for study, branches in enumerate(completions) for _ in branches]
    repeated = batch.select(owners)
    flat = [completion for branches in completions for completion in branches]
    ids = [torch.cat([prompt, c]) for prompt, c in zip(repeated.prompt_ids, flat, strict=True)]
    input_ids = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=padding_id)
    sizes = torch.tensor([len(row) for row in ids], device=input_ids.device)
    prompt_sizes = torch.tensor([len(row) for row in repeated.prompt_ids], device=input_ids.device).unsqueeze(1)
    index = torch.arange(input_ids.shape[1], device=input_ids.device)
    is_image = (input_ids == model.config.image_token_id) & (index < prompt_sizes)
    hidden = model.model(
        input_ids=input_ids,
        attention_mask=(index < sizes.unsqueeze(1)).long(),
        pixel_values=repeated.pixel_values,
        image_grid_thw=repeated.image_grid_thw,
        # Without the token types there is no error, only other positions and so other log-probabilities.
        mm_token_type_ids=is_image.int(),
        use_cache=False,
    ).last_hidden_state
    is_completion = (index >= prompt_sizes) & (index < sizes.unsqueeze(1))
    predicting = hidden[:, :-1][is_completion[:, 1:]]
    logps = token_logps(predicting, input_ids[is_completion], model.get_output_embeddings(), temperature)
    return _split(logps, lengths)


SCORING_PATHS: Mapping[str, ScoringPath] = {"shared": score_shared, "repeated": score_repeated}


def _for_attention(model: Qwen2_5_VLForConditionalGeneration, visible: Tensor, dtype: torch.dtype) -> Tensor:
    # SDPA takes booleans; eager attention adds the mask to the scores and would silently read True as +1.
    if model.config._attn_implementation == "sdpa":
        return visible
    return torch.zeros_like(visible, dtype=dtype).masked_fill(~visible, torch.finfo(dtype).min)


def _split(logps: Tensor, lengths: tuple[tuple[int, ...], ...]) -> CompletionLogps:
    pieces = iter(torch.split(logps, [length for study in lengths for length in study]))
    return tuple(tuple(next(pieces) for _ in study) for study in lengths)
