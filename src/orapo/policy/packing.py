"""Layout of packed rows: all prompts of a batch, then all completions as branches behind them, in one flat row.

The completions that lead (a study's rollouts) stand before the others (its oracle report), so that what is known of
them from sampling is one block.

A branch token sees its study's prompt and its own branch, never another branch, and its rotary position goes on from
the prompt's, so that its log-probability is the one it would have with the prompt repeated before it. The last token of
a completion predicts nothing and the last prompt token predicts the first token of every branch, so a completion of T
tokens adds T - 1 tokens to the row. Nothing is padded: where attention needs rectangles, it gathers them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rectangle:
    """Where the tokens of ragged sequences lie in the flat row, and back.

    Attributes:
        index: [S, L], int64: flat position of each token of S sequences; 0 where a sequence has ended.
        is_token: [S, L], bool: True at real tokens, which stand on the left.
        slots: [tokens], int64: where each token stands in the flattened rectangle, sequence by sequence.
    """

    index: Tensor
    is_token: Tensor
    slots: Tensor

    @property
    def is_full(self) -> bool:
        """Whether all sequences are equally long."""
        return len(self.slots) == self.index.numel()

    def leading(self, num_tokens: int) -> "Rectangle":
        """Of the first sequences alone, which have so many tokens together."""
        if num_tokens == len(self.slots):
            return self
        num_sequences = int(self.slots[num_tokens - 1]) // self.index.shape[1] + 1
        return Rectangle(self.index[:num_sequences], self.is_token[:num_sequences], self.slots[:num_tokens])


@dataclass(frozen=True)
class PackedRow:
    """B prompts and their branches in one row of M tokens; N is the number of completion tokens.

    Attributes:
        input_ids: [M], int64: prompts study by study, then branches study by study.
        position_ids: [3, M], int64: temporal, height and width rotary positions.
        num_prompt_tokens: tokens of all prompts, which stand first.
        prompts: B sequences.
        prompt_ends: [B], int64: flat position of the last token of each prompt.
        branches: the completions that have a body (T >= 2), or None when there is none.
        owners: [branches], int64: the study of each branch.
        predictors: [N], int64: what predicts each completion token, among the tokens that ``leave_predicting`` leaves.
        targets: [N], int64: the completion tokens, completion by completion.
        completions: of each completion, its study and its number of tokens: those that lead, study by study, then the
            others.
    """

    input_ids: Tensor
    position_ids: Tensor
    num_prompt_tokens: int
    prompts: Rectangle
    prompt_ends: Tensor
    branches: Rectangle | None
    owners: Tensor
    predictors: Tensor
    targets: Tensor
    completions: tuple[tuple[int, int], ...]

    def leave_predicting(self, rows: Tensor) -> Tensor:
        """[M, width] without the tokens that predict nothing: the last of each prompt, then all of the branches."""
        prompts, branches = torch.split(rows, [self.num_prompt_tokens, len(rows) - self.num_prompt_tokens])
        return torch.cat([prompts[self.prompt_ends], branches])

    def by_study(self, values: Tensor) -> tuple[tuple[Tensor, ...], ...]:
        """[N], one for each target, as per study and completion [T]."""
        studies: list[list[Tensor]] = [[] for _ in range(len(self.prompts.index))]
        pieces = torch.split(values, [length for _, length in self.completions])
        for (study, _), piece in zip(self.completions, pieces, strict=True):
            studies[study].append(piece)
        return tuple(tuple(study) for study in studies)


def pack_row(
    prompt_ids: Sequence[Tensor],
    prompt_positions: Sequence[Tensor],
    completions: Sequence[Sequence[Tensor]],
    num_leading: int | None = None,
) -> PackedRow:
    """Lays out the row.

    Args:
        prompt_ids: B tensors [P_i].
        prompt_positions: B tensors [3, P_i], as the model's own rotary index gives them.
        completions: per study, its completions as tensors [T], each of at least one token; there may be none.
        num_leading: how many completions of each study lead; None: all.
    """
    device = prompt_ids[0].device
    # Stable: within a study they stay in order.
    ordered = sorted(
        ((study, number, ids) for study, branches in enumerate(completions) for number, ids in enumerate(branches)),
        key=lambda item: num_leading is not None and item[1] >= num_leading,
    )
    flat = [ids for _, _, ids in ordered]
    owners = [study for study, _, _ in ordered]
    prompt_lengths = [len(prompt) for prompt in prompt_ids]
    prompt_ends = list(accumulate(prompt_lengths))
    num_prompt_tokens = prompt_ends[-1]
    body_lengths = [len(completion) - 1 for completion in flat]
    body_ends = list(accumulate(body_lengths, initial=num_prompt_tokens))
    # A branch goes on at the prompt's largest position + 1, the same on all three axes; with images that is not the
    # number of prompt tokens.
    firsts = [position.max() + 1 for position in prompt_positions]
    ramp = torch.arange(max(body_lengths, default=0), device=device)
    positions = [
        (firsts[owner] + ramp[:length]).expand(3, -1) for owner, length in zip(owners, body_lengths, strict=True)
    ]
    none = torch.empty(0, dtype=torch.int64)
    first_body = len(prompt_ids) - num_prompt_tokens
    predictors = [
        torch.cat([torch.tensor([owner]), torch.arange(start, start + length) + first_body])
        for owner, start, length in zip(owners, body_ends, body_lengths, strict=False)
    ]
    has_body = [index for index, length in enumerate(body_lengths) if length]
    return PackedRow(
        input_ids=torch.cat([*prompt_ids, *(completion[:-1] for completion in flat)]),
        position_ids=torch.cat([*prompt_positions, *positions], dim=1),
        num_prompt_tokens=num_prompt_tokens,
        prompts=_rectangle([0, *prompt_ends[:-1]], prompt_lengths, device),
        prompt_ends=torch.tensor(prompt_ends, device=device) - 1,
        branches=_rectangle([body_ends[i] for i in has_body], [body_lengths[i] for i in has_body], device)
        if has_body
        else None,
        owners=torch.tensor([owners[i] for i in has_body], device=device, dtype=torch.int64),
        predictors=torch.cat([none, *predictors]).to(device),
        targets=torch.cat([none.to(device), *flat]),
        completions=tuple(zip(owners, (len(completion) for completion in flat), strict=True)),
    )


def _rectangle(starts: Sequence[int], lengths: Sequence[int], device: torch.device) -> Rectangle:
    offsets = torch.arange(max(lengths))
    is_token = offsets < torch.tensor(lengths).unsqueeze(1)
    index = (torch.tensor(starts).unsqueeze(1) + offsets) * is_token
    slots = is_token.flatten().nonzero().squeeze(1)
    return Rectangle(index.to(device), is_token.to(device), slots.to(device))
