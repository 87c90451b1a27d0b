"""Layout of packed rows: one study is one row, its prompt first, its completions as branches behind it.

A branch token sees the whole prompt and its own branch, never another branch, and its rotary position goes on from the
prompt's, so that its log-probability is the one it would have with the prompt repeated before it. The last token of a
completion predicts nothing and the last prompt token predicts the first token of every branch, so a completion of T
tokens adds T - 1 tokens to the row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PADDING = -1
PROMPT = 0


@dataclass(frozen=True)
class PackedRows:
    """B rows padded on the right to L tokens; N is the number of completion tokens over all rows.

    Attributes:
        input_ids: [B, L], int64.
        segments: [B, L], int64: -1 padding, 0 prompt, j + 1 for the j-th completion of the study.
        position_ids: [3, B, L], int64: temporal, height and width rotary positions.
        predictors: [N], int64: index into the flattened [B * L] hidden states that predict each completion token.
        targets: [N], int64: the completion tokens, study by study, completion by completion.
        lengths: per study, the number of tokens of each of its completions.
    """

    input_ids: Tensor
    segments: Tensor
    position_ids: Tensor
    predictors: Tensor
    targets: Tensor
    lengths: tuple[tuple[int, ...], ...]

    def attention_mask(self) -> Tensor:
        """[B, 1, L, L], bool: True where the row's token may see the column's; padding sees only itself."""
        length = self.segments.shape[1]
        query, key = self.segments.unsqueeze(2), self.segments.unsqueeze(1)
        visible = (key == PROMPT) | (key == query)
        causal = torch.ones(length, length, dtype=torch.bool, device=self.segments.device).tril()
        itself = torch.eye(length, dtype=torch.bool, device=self.segments.device)
        return ((visible & causal & (query != PADDING)) | itself).unsqueeze(1)


def pack_rows(
    prompt_ids: Sequence[Tensor],
    prompt_positions: Sequence[Tensor],
    completions: Sequence[Sequence[Tensor]],
    padding_id: int,
) -> PackedRows:
    """Lays out one row per study.

    Args:
        prompt_ids: B tensors [P_i].
        prompt_positions: B tensors [3, P_i], as the model's own rotary index gives them.
        completions: per study, its completions as tensors [T], each of at least one token.
        padding_id: written where a row has ended; never seen by a real token.
    """
    ids: list[Tensor] = []
    segments: list[Tensor] = []
    positions: list[Tensor] = []
    for prompt, position, branches in zip(prompt_ids, prompt_positions, completions, strict=True):
        bodies = [branch[:-1] for branch in branches]
        # A branch goes on at the prompt's largest position + 1, the same on all three axes; with images that is not
        # the number of prompt tokens.
        first = position.max() + 1
        offsets = torch.cat([torch.arange(len(body), device=prompt.device) for body in bodies])
        marks = torch.repeat_interleave(
            torch.arange(len(bodies), device=prompt.device) + 1,
            torch.tensor([len(body) for body in bodies], device=prompt.device),
        )
        ids.append(torch.cat([prompt, *bodies]))
        segments.append(torch.cat([torch.full_like(prompt, PROMPT), marks]))
        positions.append(torch.cat([position, (first + offsets).expand(3, -1)], dim=1))
    length = max(len(row) for row in ids)
    predictors, targets = _predictors(prompt_ids, completions, length)
    return PackedRows(
        input_ids=_pad_right(ids, length, padding_id),
        segments=_pad_right(segments, length, PADDING),
        position_ids=torch.stack([_pad_right([p[axis] for p in positions], length, 0) for axis in range(3)]),
        predictors=predictors,
        targets=targets,
        lengths=tuple(tuple(len(branch) for branch in branches) for branches in completions),
    )


def _predictors(
    prompt_ids: Sequence[Tensor], completions: Sequence[Sequence[Tensor]], length: int
) -> tuple[Tensor, Tensor]:
    predictors: list[Tensor] = []
    targets: list[Tensor] = []
    for row, (prompt, branches) in enumerate(zip(prompt_ids, completions, strict=True)):
        next_body = row * length + len(prompt)
        for branch in branches:
            first = torch.tensor([row * length + len(prompt) - 1])
            predictors.append(torch.cat([first, torch.arange(next_body, next_body + len(branch) - 1)]))
            targets.append(branch)
            next_body += len(branch) - 1
    return torch.cat(predictors).to(prompt_ids[0].device), torch.cat(targets)


def _pad_right(rows: Sequence[Tensor], length: int, value: int) -> Tensor:
    return torch.stack([torch.nn.functional.pad(row, (0, length - len(row)), value=value) for row in rows])
