"""Ragged log-probabilities to the padded rectangles of the objective."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


def pad_groups(groups: Sequence[Sequence[Tensor]]) -> Tensor:
    """B groups of K tensors [T_k] to [B, K, T], zeros behind each completion's end; T is the longest."""
    flat = pad_sequence([completion for group in groups for completion in group], batch_first=True)
    return flat.reshape(len(groups), -1, flat.shape[1])


def group_mask(groups: Sequence[Sequence[Tensor]]) -> Tensor:
    """[B, K, T], bool: True where ``pad_groups`` put a token."""
    return pad_groups([[torch.ones_like(completion, dtype=torch.bool) for completion in group] for group in groups])
