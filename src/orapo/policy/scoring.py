"""Log-probabilities of given completions: the prompt shared by all completions of a study, or repeated for each."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration

from orapo.batches import StudyBatch, StudyTrace
from orapo.policy.attention import TreeAttention
from orapo.policy.packing import pack_row
from orapo.policy.prompts import embed, image_features, prompt_positions
from orapo.policy.token_logps import token_logps
from orapo.policy.traces import KnownRows

Completions = Sequence[Sequence[Tensor]]
"""Per study, token ids [T] of each of its completions (int64, T >= 1)."""

CompletionLogps = tuple[tuple[Tensor, ...], ...]
"""Per study and completion, log-probabilities [T] (float32)."""

Traces = Sequence[StudyTrace]
"""One for each study; its rollouts are the first completions of the study."""

ScoringPath = Callable[
    [Qwen2_5_VLForConditionalGeneration, StudyBatch, Completions, float, int, Traces | None], CompletionLogps
]


def score_shared(
    model: Qwen2_5_VLForConditionalGeneration,
    batch: StudyBatch,
    completions: Completions,
    temperature: float,
    padding_id: int,
    traces: Traces | None = None,
) -> CompletionLogps:
    """All studies in one packed row: each image is encoded once and each prompt computed once for its completions.

    Gradients flow through the shared prefix. Exact under gradient checkpointing, since no cache is involved. What the
    traces hold is not computed again.
    """
    num_leading = traces[0].whole.per_study if traces else None
    row = pack_row(batch.prompt_ids, prompt_positions(model, batch), completions, num_leading)
    known = KnownRows.of(row, traces) if traces else None
    is_prompt = torch.arange(len(row.input_ids), device=row.input_ids.device) < row.num_prompt_tokens
    hidden = model.model.language_model(
        inputs_embeds=embed(model, row.input_ids[None], is_prompt[None], image_features(model, batch)),
        position_ids=row.position_ids.unsqueeze(1),
        attention_mask={"full_attention": TreeAttention.of(row, model.config.get_text_config(), known)},
        use_cache=False,
    ).last_hidden_state
    probabilities = known.probabilities(temperature) if known else None
    predicting, to_vocabulary = hidden[0, row.predictors], model.get_output_embeddings()
    logps = token_logps(predicting, row.targets, to_vocabulary, temperature, probabilities)
    return row.by_study(logps)


def score_repeated(
    model: Qwen2_5_VLForConditionalGeneration,
    batch: StudyBatch,
    completions: Completions,
    temperature: float,
    padding_id: int,
    traces: Traces | None = None,
) -> CompletionLogps:
    """One row per completion, prompt and image repeated, through the model's public forward: the check on the above.

    It computes everything itself, whatever the traces hold.
    """
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


def _split(logps: Tensor, lengths: tuple[tuple[int, ...], ...]) -> CompletionLogps:
    pieces = iter(torch.split(logps, [length for study in lengths for length in study]))
    return tuple(tuple(next(pieces) for _ in study) for study in lengths)
