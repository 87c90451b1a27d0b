"""Layout of packed rows: all prompts of a batch, then all completions as branches after them, in one flat row.

A branch token sees its study's prompt and its own branch, never another branch, and its rotary position continues from
the prompt's, so that its log-probability is the one it would have with the prompt repeated before it. The last token of
a completion predicts nothing and the last prompt token predicts the first token of every branch, so a completion of T
tokens adds T - 1 tokens to the row. Nothing is padded: where attention needs rectangles, it gathers them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor


def take(values: Tensor, index: Tensor) -> Tensor:
    """``values[index]`` along the first axis, with a gradient that is the same to the last bit each time.

    Where a place is taken several times, its gradients are summed. On a CPU with several threads indexing sums them in
    the order in which the threads arrive, ``index_select`` in that of ``index``; on a GPU it is the other way round.

    Args:
        values: [places, ...].
        index: [n], int64.
    """
    return values.index_select(0, index) if values.device.type == "cpu" else values[index]


@dataclass(frozen=True)
class PaddedIndex:
    """Where the tokens of ragged sequences are in a part of the flat row, and back.

    Attributes:
        index: [S, L], int64: place of each token of S sequences in the part; 0 where a sequence has ended.
        is_token: [S, L], bool: True at real tokens, which stand on the left.
        flat_index: [tokens], int64: where each token stands in the flattened rectangle, sequence by sequence.
    """

    index: Tensor
    is_token: Tensor
    flat_index: Tensor

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> "PaddedIndex":
        """For concatenated sequences of these lengths."""
        starts = torch.tensor([0, *accumulate(lengths)][:-1])
        offsets = torch.arange(max(lengths))
        is_token = offsets < torch.tensor(lengths).unsqueeze(1)
        index = (starts.unsqueeze(1) + offsets) * is_token
        flat_index = is_token.flatten().nonzero().squeeze(1)
        return cls(index.to(device), is_token.to(device), flat_index.to(device))

    @property
    def is_full(self) -> bool:
        """Whether all sequences are equally long."""
        return len(self.flat_index) == self.index.numel()

    def pad(self, part: Tensor) -> Tensor:
        """[heads, tokens, d] to [S, heads, L, d]; after a sequence's end any token may stand."""
        if self.is_full:
            return part.reshape(len(part), *self.index.shape, -1).transpose(0, 1)
        return part[:, self.index].transpose(0, 1)

    def unpad(self, padded: Tensor) -> Tensor:
        """[S, heads, L, d] to [tokens, heads, d], without what stands after a sequence's end."""
        rows = padded.transpose(1, 2).flatten(0, 1)
        return rows if self.is_full else rows[self.flat_index]


@dataclass(frozen=True)
class PackedRow:
    """B prompts and their branches in one row of M tokens; N is the number of completion tokens.

    Attributes:
        position_ids: [axes, M], int64: rotary positions of the prompts, study by study, then of the branches.
        num_prompt_tokens: tokens of all prompts, which stand first.
        prompts: B sequences in the row's first part.
        branches: the completions that have a body (T >= 2), in its second part; None when there is none.
        study_index: [branches], int64: the study of each branch.
        logit_positions: [N], int64: the row's token that predicts each completion token.
        targets: [N], int64: the completion tokens, study by study.
        lengths: per study, the number of tokens of each of its completions.
    """

    position_ids: Tensor
    num_prompt_tokens: int
    prompts: PaddedIndex
    branches: PaddedIndex | None
    study_index: Tensor
    logit_positions: Tensor
    targets: Tensor
    lengths: tuple[tuple[int, ...], ...]


def pack_row(prompt_positions: Sequence[Tensor], completions: Sequence[Sequence[Tensor]]) -> PackedRow:
    """Lays out the row.

    Args:
        prompt_positions: B tensors [axes, P_i], as the model's own rotary index gives them.
        completions: per study, its completions as tensors [T], each of at least one token; there may be none.
    """
    device = prompt_positions[0].device
    prompt_lengths = [positions.shape[1] for positions in prompt_positions]
    num_prompt_tokens = sum(prompt_lengths)
    lengths = tuple(tuple(len(ids) for ids in study) for study in completions)
    studies = [(study, length - 1) for study, own in enumerate(lengths) for length in own]
    bodies = [(study, length) for study, length in studies if length]
    # A branch continues at the prompt's largest position + 1, the same on all axes; with images that is not the number
    # of prompt tokens.
    firsts = [positions.max() + 1 for positions in prompt_positions]
    ramp = torch.arange(max((length for _, length in bodies), default=0), device=device)
    num_axes = len(prompt_positions[0])
    branch_positions = [(firsts[study] + ramp[:length]).expand(num_axes, -1) for study, length in bodies]
    return PackedRow(
        position_ids=torch.cat([*prompt_positions, *branch_positions], dim=1),
        num_prompt_tokens=num_prompt_tokens,
        prompts=PaddedIndex.of(prompt_lengths, device),
        branches=PaddedIndex.of([length for _, length in bodies], device) if bodies else None,
        study_index=torch.tensor([study for study, _ in bodies], device=device, dtype=torch.int64),
        logit_positions=_logit_positions(prompt_lengths, studies).to(device),
        targets=torch.cat([torch.empty(0, dtype=torch.int64, device=device), *(i for s in completions for i in s)]),
        lengths=lengths,
    )


def _logit_positions(prompt_lengths: Sequence[int], studies: Sequence[tuple[int, int]]) -> Tensor:
    """For each completion (its study, its tokens in the row): the prompt's end, then the completion's own tokens."""
    prompt_ends = [end - 1 for end in accumulate(prompt_lengths)]
    starts = accumulate((length for _, length in studies), initial=sum(prompt_lengths))
    positions = [
        torch.tensor([prompt_ends[study], *range(start, start + length)])
        for start, (study, length) in zip(starts, studies, strict=False)
    ]
    return torch.cat([torch.empty(0, dtype=torch.int64), *positions])
